# SPDX-License-Identifier: Apache-2.0
"""Runs the demonstration and subscribes to the results like any user's program would.

Nothing is handed over beside the topics, except for the player's report of what it sent.
"""

from __future__ import annotations

from collections.abc import Callable
import os
import time

import rclpy
from rclpy.signals import SignalHandlerOptions

from rgbt_perception.demo import (
    DemoConfig,
    DemoRun,
    duration_s,
    load_report,
    NODE_NAME,
    perception_process,
    player_process,
    Progress,
    ros_environment,
)
from rgbt_perception.processes import ChildProcess
from rgbt_perception.ros.result_listener import ResultListener
from rgbt_perception.types import NS_PER_S

START_LIMIT_S = 60.0
# After the last frame was sent, results may still come for this long.
SETTLE_S = 2.0
DIAGNOSTICS_WAIT_S = 1.5
SPIN_S = 0.02
RATE_WINDOW_S = 2.0


def run_demo(config: DemoConfig, show: Callable[[Progress], None]) -> DemoRun:
    """Play the bag through the perception node and collect the results.

    Args:
        config: What to show.
        show: Called with the progress.

    Raises:
        ProcessError: If the node or the player fails.
        BackendUnavailableError: If vision_msgs is not installed.
    """
    env = ros_environment(config.domain_id)
    os.environ.update(env)  # for this program's own subscriptions, before rclpy starts
    config.out_dir.mkdir(parents=True, exist_ok=True)
    report_path = config.out_dir / 'sent.json'
    report_path.unlink(missing_ok=True)
    # Ctrl-C stays with this program, so that it ends the other two before itself.
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    try:
        listener = ResultListener(NODE_NAME)
        session = _Session(listener, show)
        with perception_process(config, env) as node:
            session.wait_for_node(node)
            with player_process(config, env, report_path) as player:
                session.watch(node, player)
            session.drain(node)
        listener.destroy_node()
    finally:
        rclpy.try_shutdown()
    sent = load_report(report_path)
    results = tuple(listener.complete_results())
    return DemoRun(
        sent=sent,
        results=results,
        num_received=sum(1 for item in listener.results.values() if item.received_ns),
        dropped_by_reason=dict(sorted(listener.dropped_by_reason.items())),
        engine=listener.engine,
        duration_s=duration_s(sent, results),
    )


class _Session:
    """Spins the listener and shows the progress."""

    def __init__(self, listener: ResultListener, show: Callable[[Progress], None]) -> None:
        self._listener = listener
        self._show = show

    def wait_for_node(self, node: ChildProcess) -> None:
        deadline = time.monotonic() + START_LIMIT_S
        while not self._listener.is_connected:
            self._spin('starting the perception node')
            node.check_alive()
            if time.monotonic() > deadline:
                raise node.failure(f'was not active within {START_LIMIT_S:g} s')

    def watch(self, node: ChildProcess, player: ChildProcess) -> None:
        while player.exit_status is None:
            self._spin('playing')
            node.check_alive()
        if player.exit_status != 0:
            raise player.failure('failed')

    def drain(self, node: ChildProcess) -> None:
        """Wait until results stop coming, and once more for the node's diagnostics."""
        count, quiet_since = -1, time.monotonic()
        while time.monotonic() - quiet_since < SETTLE_S:
            self._spin('waiting for the last results')
            node.check_alive()
            if len(self._listener.results) != count:
                count, quiet_since = len(self._listener.results), time.monotonic()
        deadline = time.monotonic() + DIAGNOSTICS_WAIT_S
        while time.monotonic() < deadline:
            self._spin('waiting for the diagnostics')

    def _spin(self, phase: str) -> None:
        rclpy.spin_once(self._listener, timeout_sec=SPIN_S)
        received = [item.received_ns for item in self._listener.results.values()]
        since_ns = time.monotonic_ns() - int(RATE_WINDOW_S * NS_PER_S)
        num_recent = sum(1 for received_ns in received if received_ns > since_ns)
        latest = max(
            (item for item in self._listener.results.values() if item.values),
            key=lambda item: item.stamp_ns,
            default=None,
        )
        self._show(
            Progress(
                phase=phase,
                num_results=len(received),
                rate_hz=num_recent / RATE_WINDOW_S,
                latest=latest,
            )
        )
