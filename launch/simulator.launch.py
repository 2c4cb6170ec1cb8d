# SPDX-License-Identifier: Apache-2.0
"""The perception node on simulated cameras: ``... simulator.launch.py scenario:=fog``.

The node is that of perception.launch.py and takes its arguments. Cameras can be made to fail while
it runs: ``ros2 param set /rig_simulator fault.thermal frozen``; ``none`` mends them.
"""

from launch import LaunchContext, LaunchDescription
from launch.actions import (
    DeclareLaunchArgument,
    IncludeLaunchDescription,
    OpaqueFunction,
    Shutdown,
)
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution, ThisLaunchFileDir
from launch_ros.actions import Node
from launch_ros.substitutions import FindPackageShare

ARGUMENTS = {
    'scenario': {
        'default_value': 'dusk_to_night',
        'description': 'Name of a shipped scenario, or path of a YAML file.',
    },
    'seed': {
        'default_value': '-1',
        'description': 'Seed instead of that of the scenario; -1: that of the scenario.',
    },
    'duration_s': {
        'default_value': '0.0',
        'description': 'Length instead of that of the scenario, s; 0.0: that of the scenario.',
    },
    'rate_hz': {
        'default_value': '0.0',
        'description': 'Rate of both cameras, Hz; 0.0: those of the scenario.',
    },
    'scale': {
        'default_value': '1.0',
        'description': 'Size of the images, as a part of what the scenario says.',
    },
    'rate_scale': {
        'default_value': '1.0',
        'description': 'How much faster than rendered it is played.',
    },
    'loop': {
        'default_value': 'true',
        'choices': ['true', 'false'],
        'description': 'Play it again and again; otherwise its end ends everything.',
    },
    'rig_file': {
        'default_value': PathJoinSubstitution(
            [FindPackageShare('rgbt_perception'), 'config', 'rigs/simulated.param.yaml']
        ),
        'description': 'Parameter file of the cameras; the shipped one is for the default rig.',
    },
    'namespace': {'default_value': '', 'description': 'Namespace of both nodes.'},
    'rgb_topic': {'default_value': 'rgb/image_raw', 'description': 'RGB image topic.'},
    'thermal_topic': {'default_value': 'thermal/image_raw', 'description': 'Thermal image topic.'},
}

FLOATS = ('duration_s', 'rate_hz', 'scale', 'rate_scale')


def generate_launch_description() -> LaunchDescription:
    arguments = [DeclareLaunchArgument(name, **how) for name, how in ARGUMENTS.items()]
    perception = IncludeLaunchDescription(
        PythonLaunchDescriptionSource([ThisLaunchFileDir(), '/perception.launch.py']),
        launch_arguments={'rig_file': LaunchConfiguration('rig_file')}.items(),
    )
    return LaunchDescription([*arguments, perception, OpaqueFunction(function=_simulator)])


def _simulator(context: LaunchContext) -> list[Node]:
    given = {name: LaunchConfiguration(name).perform(context) for name in ARGUMENTS}
    topics = {'rgb': given['rgb_topic'], 'thermal': given['thermal_topic']}
    pairs = [
        pair
        for name, topic in topics.items()
        for pair in (
            (f'{name}/image_raw', topic),
            (f'{name}/camera_info', _beside(topic, 'camera_info')),
        )
    ]
    return [
        Node(
            package='rgbt_perception',
            executable='rig_simulator_node',
            name='rig_simulator',
            namespace=given['namespace'],
            output='screen',
            parameters=[
                {
                    'scenario': given['scenario'],
                    'seed': int(given['seed']),
                    **{name: float(given[name]) for name in FLOATS},
                    'loop': given['loop'] == 'true',
                }
            ],
            remappings=[pair for pair in pairs if pair[0] != pair[1]],
            on_exit=Shutdown(reason='the simulator ended'),
        )
    ]


def _beside(topic: str, name: str) -> str:
    folder, slash, _ = topic.rpartition('/')
    return f'{folder}{slash}{name}'
