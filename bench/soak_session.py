# SPDX-License-Identifier: Apache-2.0
"""Runs the programs of the soak test through its plan: samples, operates, restarts the cameras."""

from __future__ import annotations

from dataclasses import dataclass, field
import json
import os
from pathlib import Path
import time

import rclpy
from rclpy.signals import SignalHandlerOptions
from rich.console import Console

from bench.soak_figures import MIB, ProcessSample, sample_process, seconds_since
from bench.soak_listener import SoakListener
from bench.soak_plan import Fault, FaultKind, Plan
from rgbt_perception.processes import ChildProcess

START_LIMIT_S = 60.0
SPIN_S = 0.02
SET_PERIOD_S = 0.05
SHOW_PERIOD_S = 30.0
RESTART_AFTER_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What is run.

    Attributes:
        plan: The faults.
        rate_hz: Images per second and camera.
        input_hw: Network input, px.
        work_dir: Logs, reports and snapshots.
        env: Variables of the ROS programs.
    """

    plan: Plan
    rate_hz: float
    input_hw: tuple[int, int]
    work_dir: Path
    env: dict[str, str]


@dataclass(slots=True, kw_only=True)
class Run:
    """What a run left.

    Attributes:
        listener: What was heard.
        samples: Looks at the node's process, one per second.
        sent: Images sent, per camera.
    """

    listener: SoakListener
    samples: list[ProcessSample] = field(default_factory=list)
    sent: dict[str, int] = field(default_factory=dict)


class Session:
    """Runs the plan: samples, operates, restarts the cameras."""

    def __init__(self, settings: Settings, node: ChildProcess) -> None:
        """Start the clock of the plan when the node is active.

        Raises:
            ProcessError: If the node does not become active.
        """
        self._settings, self._node = settings, node
        self._console = Console(highlight=False)
        self.run = Run(listener=SoakListener())
        self._wait_for_node()
        self._origin_ns = self.run.listener.origin_ns = time.monotonic_ns()
        self._cameras: ChildProcess | None = None
        self._num_starts = 0
        self._next_sample_s = self._next_set_s = self._next_show_s = 0.0
        self._under_way: Fault | None = None

    def play(self) -> None:
        """Go through the plan.

        Raises:
            ProcessError: If the node or the cameras end.
        """
        plan, listener = self._settings.plan, self.run.listener
        self._start_cameras()
        try:
            while (now_s := self._now_s()) < plan.duration_s:
                rclpy.spin_once(listener, timeout_sec=SPIN_S)
                self._node.check_alive()
                if self._cameras is not None:
                    self._cameras.check_alive()
                self._sample(now_s)
                self._operate(now_s)
        finally:
            self._stop_cameras()

    def _now_s(self) -> float:
        return seconds_since(self._origin_ns, time.monotonic_ns())

    def _wait_for_node(self) -> None:
        deadline = time.monotonic() + START_LIMIT_S
        while not self.run.listener.is_node_there:
            rclpy.spin_once(self.run.listener, timeout_sec=SPIN_S)
            self._node.check_alive()
            if time.monotonic() > deadline:
                raise self._node.failure(f'was not active within {START_LIMIT_S:g} s')

    def _sample(self, now_s: float) -> None:
        if now_s >= self._next_sample_s:
            self._next_sample_s = now_s + 1.0
            self.run.samples.append(sample_process(self._node.pid, now_s))
        if now_s >= self._next_show_s:
            self._next_show_s = now_s + SHOW_PERIOD_S
            last = self.run.samples[-1]
            self._console.print(
                f'{now_s:6.0f} s  {len(self.run.listener.results)} results  '
                f'{last.rss_bytes / MIB:.1f} MiB  {last.num_descriptors} descriptors  '
                f'{last.num_threads} threads'
            )

    def _operate(self, now_s: float) -> None:
        """Begin, go on with and end the faults that this process makes."""
        fault = next((item for item in self._settings.plan.faults if item.is_active(now_s)), None)
        if fault is not self._under_way:
            previous, self._under_way = self._under_way, fault
            if previous is not None:
                self._end(previous)
            if fault is not None:
                self._begin(fault)
        if fault is None:
            return
        if fault.kind is FaultKind.PARAMETERS and now_s >= self._next_set_s:
            self._next_set_s = now_s + SET_PERIOD_S
            self.run.listener.set_something()
        is_time = now_s >= fault.begin_s + RESTART_AFTER_S
        if fault.kind is FaultKind.RESTART and self._cameras is None and is_time:
            self._start_cameras()

    def _begin(self, fault: Fault) -> None:
        listener = self.run.listener
        if fault.kind is FaultKind.RESTART:
            self._stop_cameras()
        elif fault.kind is FaultKind.CYCLE:
            listener.deactivate()
        elif fault.kind is FaultKind.DISABLE:
            listener.enable(is_on=False)
        elif fault.kind is FaultKind.SNAPSHOT:
            listener.snapshot()

    def _end(self, fault: Fault) -> None:
        listener = self.run.listener
        if fault.kind is FaultKind.PARAMETERS:
            listener.set_right_again()
        elif fault.kind is FaultKind.CYCLE:
            listener.activate()
        elif fault.kind is FaultKind.DISABLE:
            listener.enable(is_on=True)

    def _start_cameras(self) -> None:
        settings, plan = self._settings, self._settings.plan
        self._num_starts += 1
        values = {
            'seed': plan.seed,
            'duration-s': plan.duration_s,
            'origin-ns': self._origin_ns,
            'rate': settings.rate_hz,
            'report': settings.work_dir / f'sent_{self._num_starts}.json',
        }
        self._cameras = ChildProcess(
            f'cameras_{self._num_starts}',
            'bench.soak_camera',
            arguments=[
                part for name, value in values.items() for part in (f'--{name}', str(value))
            ],
            log_dir=settings.work_dir,
            env=settings.env,
        )
        self._cameras.__enter__()

    def _stop_cameras(self) -> None:
        cameras, self._cameras = self._cameras, None
        if cameras is None:
            return
        cameras.stop()
        report = self._settings.work_dir / f'sent_{self._num_starts}.json'
        if report.is_file():
            for camera, num in json.loads(report.read_text(encoding='utf-8')).items():
                self.run.sent[camera] = self.run.sent.get(camera, 0) + num


def run_soak(settings: Settings) -> Run:
    """Run the plan.

    Raises:
        ProcessError: If a program fails.
    """
    os.environ.update(settings.env)  # for this program's own topics, before rclpy starts
    rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)
    try:
        with _node_process(settings) as node:
            session = Session(settings, node)
            session.play()
            session.run.listener.destroy_node()
    finally:
        rclpy.try_shutdown()
    return session.run


def _node_process(settings: Settings) -> ChildProcess:
    height, width = settings.input_hw
    values = {
        'model.input_height': height,
        'model.input_width': width,
        'engine.num_threads': 1,
        'output.snapshot_dir': settings.work_dir / 'snapshots',
    }
    arguments = ['--ros-args']
    for name, value in values.items():
        arguments += ['-p', f'{name}:={value}']
    return ChildProcess(
        'perception_node',
        'rgbt_perception.nodes.perception_node',
        arguments=arguments,
        log_dir=settings.work_dir,
        env=settings.env,
    )
