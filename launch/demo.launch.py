# SPDX-License-Identifier: Apache-2.0
"""The sample drive through the perception node, again and again: no camera, no bag of your own.

Boxes and mask drawn on the image are on /perception/overlay, the RGB share of every patch is on
/perception/mdi/map; both are only made while somebody looks at them, e.g. rqt_image_view.
"""

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription, LogInfo
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution, ThisLaunchFileDir
from launch_ros.substitutions import FindPackageShare

VIEW = 'ros2 run rqt_image_view rqt_image_view /perception/overlay'


def generate_launch_description() -> LaunchDescription:
    bag = PathJoinSubstitution([FindPackageShare('rgbt_perception'), 'bags', 'sample_drive'])
    replay = IncludeLaunchDescription(
        PythonLaunchDescriptionSource([ThisLaunchFileDir(), '/replay.launch.py']),
        launch_arguments={'bag': bag, 'loop': LaunchConfiguration('loop')}.items(),
    )
    loop = DeclareLaunchArgument(
        'loop',
        default_value='true',
        choices=['true', 'false'],
        description='Play the drive again and again; otherwise its end ends everything.',
    )
    return LaunchDescription([loop, LogInfo(msg=f'to see the results: {VIEW}'), replay])
