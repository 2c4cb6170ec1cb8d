# SPDX-License-Identifier: Apache-2.0
"""Two rigs of cameras, one perception node each: an example to copy.

Rig and namespace have the same name: /front/rgb/image_raw and /front/thermal/image_raw give
/front/perception/detections. Every argument of perception.launch.py can be given; it then holds
for both. In one process the nodes share the interpreter: less memory, but also one Python at work.
"""

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, GroupAction, IncludeLaunchDescription
from launch.conditions import IfCondition, UnlessCondition
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution, ThisLaunchFileDir
from launch_ros.substitutions import FindPackageShare

RIGS = ('front', 'rear')


def generate_launch_description() -> LaunchDescription:
    params_file = DeclareLaunchArgument(
        'params_file',
        default_value=PathJoinSubstitution(
            [FindPackageShare('rgbt_perception'), 'config', 'multi_rig.param.yaml']
        ),
        description='Parameter file with a section for each rig, e.g. /front/perception.',
    )
    one_process = DeclareLaunchArgument(
        'one_process',
        default_value='false',
        choices=['true', 'false'],
        description='Both nodes in one process, instead of one each.',
    )
    flag = LaunchConfiguration('one_process')
    together = _perception({'rigs': ','.join(RIGS)}, IfCondition(flag))
    apart = [_perception({'namespace': name}, UnlessCondition(flag)) for name in RIGS]
    return LaunchDescription([params_file, one_process, together, *apart])


def _perception(what: dict[str, str], condition: IfCondition | UnlessCondition) -> GroupAction:
    source = PythonLaunchDescriptionSource([ThisLaunchFileDir(), '/perception.launch.py'])
    arguments = {'params_file': LaunchConfiguration('params_file'), **what}
    include = IncludeLaunchDescription(source, launch_arguments=arguments.items())
    # In a scope of its own: what one rig is given does not reach the next.
    return GroupAction([include], condition=condition)
