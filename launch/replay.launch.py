# SPDX-License-Identifier: Apache-2.0
"""Play a bag through the node: ``ros2 launch rgbt_perception replay.launch.py bag:=...``.

The node is that of perception.launch.py and takes its arguments. Its time is that of the bag. A
file rig.param.yaml in the folder of the bag describes the cameras and is used by itself.
"""

import os

from launch import Action, Event, EventHandler, LaunchContext, LaunchDescription
from launch.actions import (
    DeclareLaunchArgument,
    IncludeLaunchDescription,
    OpaqueFunction,
    RegisterEventHandler,
    Shutdown,
    TimerAction,
)
from launch.events.process import ProcessExited
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration, ThisLaunchFileDir
from launch_ros.actions import Node

RIG_FILE = 'rig.param.yaml'
LAST_RESULTS_S = 1.0  # from the last image to the end
ARGUMENTS = {
    'bag': {'description': 'rosbag2 folder, or an .mcap or .db3 file.'},
    'rate_hz': {
        'default_value': '0.0',
        'description': 'RGB frames per second, e.g. 10.0; 0.0 = as recorded.',
    },
    'transport': {
        'default_value': 'raw',
        'choices': ['raw', 'compressed'],
        'description': 'Images as they are sent; compressed needs compressed images in the bag, '
        'and input.rgb_transport and input.thermal_transport: compressed.',
    },
    'loop': {
        'default_value': 'false',
        'choices': ['true', 'false'],
        'description': 'Play the bag again and again; otherwise its end ends everything.',
    },
    'rig_file': {
        'default_value': '',
        'description': f'Parameter file of the cameras; empty: {RIG_FILE} beside the bag.',
    },
    'use_sim_time': {
        'default_value': 'true',
        'choices': ['true', 'false'],
        'description': 'The time of the node is that of the bag.',
    },
    'namespace': {'default_value': '', 'description': 'Namespace of both nodes.'},
    'rgb_topic': {'default_value': 'rgb/image_raw', 'description': 'RGB image topic.'},
    'thermal_topic': {'default_value': 'thermal/image_raw', 'description': 'Thermal image topic.'},
}


def generate_launch_description() -> LaunchDescription:
    arguments = [DeclareLaunchArgument(name, **how) for name, how in ARGUMENTS.items()]
    return LaunchDescription([*arguments, OpaqueFunction(function=_replay)])


def _replay(context: LaunchContext) -> list[Action]:
    given = {name: LaunchConfiguration(name).perform(context) for name in ARGUMENTS}
    folder = ThisLaunchFileDir().perform(context)
    perception = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(os.path.join(folder, 'perception.launch.py')),  # noqa: PTH118
        launch_arguments={'rig_file': given['rig_file'] or _rig_file(given['bag'])}.items(),
    )
    without_node = EventHandler(
        matcher=_is_end_of_node, entities=OpaqueFunction(function=_node_ended)
    )
    return [RegisterEventHandler(without_node), perception, _player(given)]


def _player(given: dict[str, str]) -> Node:
    cameras = {name: given[f'{name}_topic'] for name in ('rgb', 'thermal')}
    pairs = [
        (f'{name}/image_raw{suffix}', f'{topic}{suffix}')
        for name, topic in cameras.items()
        for suffix in ('', '/compressed')
    ]
    return Node(
        package='rgbt_perception',
        executable='bag_player_node',
        name='bag_player',
        namespace=given['namespace'],
        output='screen',
        parameters=[
            {
                'bag': given['bag'],
                'rate_hz': float(given['rate_hz']),
                'transport': given['transport'],
                'loop': given['loop'] == 'true',
                'clock': given['use_sim_time'] == 'true',
            }
        ],
        remappings=[pair for pair in pairs if pair[0] != pair[1]],
        on_exit=_end,
    )


def _end(event: ProcessExited, context: LaunchContext) -> TimerAction | None:
    """End everything when the player ends by itself, after the last results."""
    if context.is_shutdown:
        return None
    reason = 'the bag was played' if event.returncode == 0 else 'the player failed'
    return TimerAction(period=LAST_RESULTS_S, actions=[Shutdown(reason=reason)])


def _node_ended(context: LaunchContext) -> list[Shutdown]:
    return [] if context.is_shutdown else [Shutdown(reason='the perception node ended')]


def _is_end_of_node(event: Event) -> bool:
    return isinstance(event, ProcessExited) and event.process_name.startswith('perception_node')


def _rig_file(bag: str) -> str:
    folder = bag if os.path.isdir(bag) else os.path.dirname(bag)  # noqa: PTH112, PTH120
    path = os.path.join(folder, RIG_FILE)  # noqa: PTH118
    return path if os.path.isfile(path) else ''  # noqa: PTH113
