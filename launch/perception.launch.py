# SPDX-License-Identifier: Apache-2.0
"""Start the perception node: ``ros2 launch rgbt_perception perception.launch.py --show-args``.

An argument without a value leaves the matter to the parameter file. The node configures and
activates itself (its parameter ``autostart``); with a lifecycle manager pass autostart:=false.
"""

import os
import posixpath

from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction, SetEnvironmentVariable
from launch.substitutions import EnvironmentVariable, LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import LifecycleNode, Node
from launch_ros.substitutions import FindPackageShare

PROFILE_VARIABLE = 'FASTDDS_DEFAULT_PROFILES_FILE'
OLD_PROFILE_VARIABLE = 'FASTRTPS_DEFAULT_PROFILES_FILE'  # newer ROS warns about it
OLD_DISTRIBUTIONS = ('humble', 'iron', 'jazzy')
# Names under which nodes of other projects publish; consumers made for them find ours.
OUTPUT_TOPICS = {
    'default': {},
    'isaac': {
        '~/detections': 'detections_output',
        '~/segmentation/mask': 'unet/raw_segmentation_mask',
        '~/segmentation/color_mask': 'unet/colored_segmentation_mask',
    },
    'dusty': {
        '~/detections': 'detectnet/detections',
        '~/vision_info': 'detectnet/vision_info',
        '~/overlay': 'detectnet/overlay',
        '~/segmentation/mask': 'segnet/class_mask',
        '~/segmentation/color_mask': 'segnet/color_mask',
    },
}
ARGUMENTS = {
    'params_file': {
        'default_value': PathJoinSubstitution(
            [FindPackageShare('rgbt_perception'), 'config', 'perception.param.yaml']
        ),
        'description': 'Parameter file of the node; the shipped one holds the defaults.',
    },
    'rig_file': {
        'default_value': '',
        'description': 'Second parameter file, e.g. of the cameras; its values win.',
    },
    'card': {
        'default_value': '',
        'description': 'Model card: a shipped name, or a path of a folder with a separator in it; '
        'empty: by the parameter files.',
    },
    'namespace': {
        'default_value': '',
        'description': 'Namespace of the node and of its topics.',
    },
    'rigs': {
        'default_value': '',
        'description': 'Several rigs in one process, e.g. front,rear: a node for each, in a '
        'namespace of its name; empty: one node.',
    },
    'use_sim_time': {
        'default_value': '',
        'choices': ['', 'true', 'false'],
        'description': 'Use the time of /clock, e.g. with a bag; empty: by the parameter files.',
    },
    'autostart': {
        'default_value': '',
        'choices': ['', 'true', 'false'],
        'description': 'The node activates itself; false with a lifecycle manager; empty: by the '
        'parameter files.',
    },
    'log_level': {
        'default_value': 'info',
        'choices': ['debug', 'info', 'warn', 'error', 'fatal'],
        'description': 'Smallest severity that is printed.',
    },
    'rgb_topic': {
        'default_value': 'rgb/image_raw',
        'description': 'RGB image topic; with compressed transport /compressed is appended.',
    },
    'thermal_topic': {
        'default_value': 'thermal/image_raw',
        'description': 'Thermal image topic; with compressed transport /compressed is appended.',
    },
    'rgb_camera_info_topic': {
        'default_value': '',
        'description': 'RGB camera model; empty: camera_info beside the RGB image topic.',
    },
    'thermal_camera_info_topic': {
        'default_value': '',
        'description': 'Thermal camera model; empty: camera_info beside the thermal image topic.',
    },
    'outputs': {
        'default_value': 'default',
        'choices': list(OUTPUT_TOPICS),
        'description': 'Topic names of results: our own, those of Isaac ROS (which writes also '
        'class_id as a number: output.class_id_format index), or those of ros_deep_learning.',
    },
}


def generate_launch_description() -> LaunchDescription:
    arguments = [DeclareLaunchArgument(name, **how) for name, how in ARGUMENTS.items()]
    return LaunchDescription([*arguments, *_transport(), OpaqueFunction(function=_perception)])


def _transport() -> list[SetEnvironmentVariable]:
    # Uncompressed best-effort images do not fit the default shared memory; see the profile itself.
    profile = PathJoinSubstitution(
        [FindPackageShare('rgbt_perception'), 'config', 'fastdds_shm.xml']
    )
    is_old = os.environ.get('ROS_DISTRO') in OLD_DISTRIBUTIONS
    return [
        SetEnvironmentVariable(name, EnvironmentVariable(name, default_value=profile))
        for name in ((PROFILE_VARIABLE, OLD_PROFILE_VARIABLE) if is_old else (PROFILE_VARIABLE,))
    ]


def _perception(context: LaunchContext) -> list[Node]:
    given = {name: LaunchConfiguration(name).perform(context) for name in ARGUMENTS}
    flags = {name: given[name] == 'true' for name in ('use_sim_time', 'autostart') if given[name]}
    chosen = {**flags, **({'model.card': given['card']} if given['card'] else {})}
    files = [given[name] for name in ('params_file', 'rig_file') if given[name]]
    inputs = {
        **_input_topics('rgb', given['rgb_topic'], given['rgb_camera_info_topic']),
        **_input_topics('thermal', given['thermal_topic'], given['thermal_camera_info_topic']),
    }
    remappings = {**inputs, **OUTPUT_TOPICS[given['outputs']]}
    rigs = [f'--rig={name.strip()}' for name in given['rigs'].split(',') if name.strip()]
    how = {
        'package': 'rgbt_perception',
        'executable': 'perception_node',
        'namespace': given['namespace'],
        'output': 'screen',
        'parameters': [*files, chosen] if chosen else files,
        'arguments': [*rigs, '--ros-args', '--log-level', given['log_level']],
        'remappings': [(name, topic) for name, topic in remappings.items() if name != topic],
    }
    # Parameters given by launch reach a named node only, and rigs put it into other namespaces.
    return [Node(**how)] if rigs else [LifecycleNode(name='perception', **how)]


def _input_topics(camera: str, image: str, camera_info: str) -> dict[str, str]:
    """Return the remappings of one camera; its model is beside the image, as drivers do it."""
    return {
        f'{camera}/image_raw': image,
        f'{camera}/image_raw/compressed': f'{image}/compressed',
        f'{camera}/camera_info': camera_info
        or posixpath.join(posixpath.dirname(image), 'camera_info'),
    }
