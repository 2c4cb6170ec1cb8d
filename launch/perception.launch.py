# SPDX-License-Identifier: Apache-2.0
"""Start the perception node: ``ros2 launch rgbt_perception perception.launch.py --show-args``."""

import os

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, SetEnvironmentVariable
from launch.substitutions import EnvironmentVariable, LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare

PROFILE_VARIABLE = 'FASTDDS_DEFAULT_PROFILES_FILE'
OLD_PROFILE_VARIABLE = 'FASTRTPS_DEFAULT_PROFILES_FILE'  # newer ROS warns about it
OLD_DISTRIBUTIONS = ('humble', 'iron', 'jazzy')


def generate_launch_description() -> LaunchDescription:
    config = [FindPackageShare('rgbt_perception'), 'config']
    profile = PathJoinSubstitution([*config, 'fastdds_shm.xml'])
    # Uncompressed best-effort images do not fit the default shared memory; see the profile itself.
    is_old = os.environ.get('ROS_DISTRO') in OLD_DISTRIBUTIONS
    environment = [
        SetEnvironmentVariable(name, EnvironmentVariable(name, default_value=profile))
        for name in ((PROFILE_VARIABLE, OLD_PROFILE_VARIABLE) if is_old else (PROFILE_VARIABLE,))
    ]
    arguments = _arguments(PathJoinSubstitution([*config, 'perception.param.yaml']))
    return LaunchDescription([*arguments, *environment, _perception_node()])


def _arguments(params_file: PathJoinSubstitution) -> list[DeclareLaunchArgument]:
    return [
        DeclareLaunchArgument(
            'params_file',
            default_value=params_file,
            description='Parameter file of the node; the shipped one holds the defaults.',
        ),
        DeclareLaunchArgument(
            'namespace', default_value='', description='Namespace of the node and of its topics.'
        ),
        DeclareLaunchArgument(
            'use_sim_time',
            default_value='false',
            choices=['true', 'false'],
            description='Use the time of /clock, e.g. with a bag.',
        ),
        DeclareLaunchArgument(
            'log_level',
            default_value='info',
            choices=['debug', 'info', 'warn', 'error', 'fatal'],
            description='Smallest severity that is printed.',
        ),
        DeclareLaunchArgument(
            'autostart',
            default_value='true',
            choices=['true', 'false'],
            description='The node activates itself; false with a lifecycle manager.',
        ),
        DeclareLaunchArgument(
            'rgb_topic',
            default_value='rgb/image_raw',
            description='RGB image topic; with compressed transport /compressed is appended.',
        ),
        DeclareLaunchArgument(
            'thermal_topic',
            default_value='thermal/image_raw',
            description='Thermal image topic; with compressed transport /compressed is appended.',
        ),
    ]


def _perception_node() -> Node:
    rgb_topic, thermal_topic = (
        LaunchConfiguration('rgb_topic'),
        LaunchConfiguration('thermal_topic'),
    )
    flags = {
        name: ParameterValue(LaunchConfiguration(name), value_type=bool)
        for name in ('use_sim_time', 'autostart')
    }
    return Node(
        package='rgbt_perception',
        executable='perception_node',
        name='perception',
        namespace=LaunchConfiguration('namespace'),
        output='screen',
        parameters=[LaunchConfiguration('params_file'), flags],
        arguments=['--ros-args', '--log-level', LaunchConfiguration('log_level')],
        remappings=[
            ('rgb/image_raw', rgb_topic),
            ('rgb/image_raw/compressed', [rgb_topic, '/compressed']),
            ('thermal/image_raw', thermal_topic),
            ('thermal/image_raw/compressed', [thermal_topic, '/compressed']),
        ],
    )
