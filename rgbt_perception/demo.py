# SPDX-License-Identifier: Apache-2.0
"""The demonstration: a bag player and the perception node as separate programs on real ROS 2.

This module prepares the programs; ``ros.demo_session`` runs them and listens to the results.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import metadata
import json
import os
from pathlib import Path

from rgbt_perception.processes import ChildProcess
from rgbt_perception.received import ReceivedResult
from rgbt_perception.share import find_share_file
from rgbt_perception.sources import rig_file
from rgbt_perception.types import NS_PER_S

NODE_NAME = 'perception'
SAMPLE_BAG = 'bags/sample_drive'
TRANSPORT_PROFILE = 'config/fastdds_shm.xml'
# Domains above 101 use ports that the system may have given to others.
FIRST_DOMAIN, NUM_DOMAINS = 20, 80
LAST_OLD_RCLPY = 7  # that of Jazzy
# Below this the time limits of the synchroniser are stretched with the intervals.
NOMINAL_RATE_HZ = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoConfig:
    """What to show.

    Attributes:
        bag: rosbag2 folder, or an .mcap or .db3 file.
        out_dir: Where the programs log to.
        rate_hz: RGB frames per second.
        transport: 'raw' or 'compressed' images.
        params_file: Parameters of the node, None = defaults.
        domain_id: ROS domain, None = one of this program's own.
    """

    bag: Path
    out_dir: Path
    rate_hz: float
    transport: str = 'raw'
    params_file: Path | None = None
    domain_id: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SentFrame:
    """One frame the player sent: camera, stamp, and monotonic time of sending, nanoseconds."""

    modality: str
    stamp_ns: int
    sent_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoRun:
    """What was sent, and what came back.

    Attributes:
        sent: Frames sent, in order.
        results: Complete results, ordered by stamp.
        num_received: Results of which at least the detections came.
        dropped_by_reason: Frames the node lost, by reason.
        engine: Key-values of the node's engine status.
        duration_s: From the first frame sent to the last result.
    """

    sent: tuple[SentFrame, ...]
    results: tuple[ReceivedResult, ...]
    num_received: int
    dropped_by_reason: dict[str, int]
    engine: dict[str, str]
    duration_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """The state of the demonstration, several times a second."""

    phase: str
    num_results: int = 0
    rate_hz: float = 0.0
    latest: ReceivedResult | None = None


def ros_environment(domain_id: int | None) -> dict[str, str]:
    """Return the variables of the ROS programs: transport profile, this machine only, own domain.

    Raises:
        ConfigError: If the transport profile is not installed.
    """
    profile = str(find_share_file(TRANSPORT_PROFILE))
    if domain_id is None:
        domain_id = FIRST_DOMAIN + os.getpid() % NUM_DOMAINS
    return {
        'ROS_DOMAIN_ID': str(domain_id),
        'ROS_AUTOMATIC_DISCOVERY_RANGE': 'LOCALHOST',
        profile_variable(): profile,
    }


def profile_variable() -> str:
    """Return the variable that names the Fast DDS profile: renamed after ROS 2 Jazzy.

    The old name still works but makes every newer program print a warning.
    """
    distribution = os.environ.get('ROS_DISTRO')
    if distribution is not None:
        is_old = distribution in ('humble', 'iron', 'jazzy')
    else:
        try:
            is_old = int(metadata.version('ros-rclpy').partition('.')[0]) <= LAST_OLD_RCLPY
        except metadata.PackageNotFoundError:
            is_old = False
    return 'FASTRTPS_DEFAULT_PROFILES_FILE' if is_old else 'FASTDDS_DEFAULT_PROFILES_FILE'


def load_report(path: Path) -> tuple[SentFrame, ...]:
    """Load the player's report of what it sent."""
    rows = json.loads(path.read_text(encoding='utf-8'))['sent']
    return tuple(
        SentFrame(modality=modality, stamp_ns=stamp_ns, sent_ns=sent_ns)
        for modality, stamp_ns, sent_ns in rows
    )


def perception_process(config: DemoConfig, env: dict[str, str]) -> ChildProcess:
    """Prepare the perception node with the parameters of the bag's cameras.

    Args:
        config: What to show.
        env: Result of ``ros_environment``.
    """
    arguments = ['--ros-args', '-r', f'__node:={NODE_NAME}']
    rig = rig_file(config.bag)
    for path in (rig if rig.is_file() else None, config.params_file):
        if path is not None:
            arguments += ['--params-file', str(path)]
    if config.transport == 'compressed':
        for modality in ('rgb', 'thermal'):
            arguments += ['-p', f'input.{modality}_transport:=compressed']
    if config.rate_hz < NOMINAL_RATE_HZ:  # a camera is not missing because it is slow
        stretch = NOMINAL_RATE_HZ / config.rate_hz
        arguments += ['-p', f'fallback.missing_after_s:={0.5 * stretch:.3f}']
        arguments += ['-p', f'sync.max_wait_s:={0.15 * stretch:.3f}']
    return ChildProcess(
        'perception_node',
        'rgbt_perception.nodes.perception_node',
        arguments=arguments,
        log_dir=config.out_dir,
        env=env,
    )


def player_process(config: DemoConfig, env: dict[str, str], report: Path) -> ChildProcess:
    """Prepare the bag player.

    Args:
        config: What to show.
        env: Result of ``ros_environment``.
        report: JSON file the player writes at its end.
    """
    values = {
        'bag': config.bag.resolve(),
        'rate_hz': float(config.rate_hz),
        'transport': config.transport,
        'report_file': report.resolve(),
    }
    arguments = ['--ros-args']
    for name, value in values.items():
        arguments += ['-p', f'{name}:={value}']
    return ChildProcess(
        'bag_player_node',
        'rgbt_perception.nodes.bag_player_node',
        arguments=arguments,
        log_dir=config.out_dir,
        env=env,
    )


def duration_s(sent: tuple[SentFrame, ...], results: tuple[ReceivedResult, ...]) -> float:
    """Return the time from the first frame sent to the last result, seconds."""
    if not sent or not results:
        return 0.0
    return (max(item.received_ns for item in results) - sent[0].sent_ns) / NS_PER_S
