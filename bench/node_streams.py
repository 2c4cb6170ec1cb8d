# SPDX-License-Identifier: Apache-2.0
"""The real node in a process of its own, and streams of pairs for one or more of its rigs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, ExitStack
from dataclasses import dataclass
import json
import os
from pathlib import Path
import signal
import time
from typing import Any

from bench.report import describe
from rgbt_perception.benchmark.ros2_benchmark import performance_metrics
from rgbt_perception.benchmark.side import read_peak_memory_bytes, Side, Task
from rgbt_perception.processes import ChildProcess

WARM_UP_PAIRS = 5
MISSING_AFTER_S = 30.0  # slow cameras are not missing ones
TIMEOUT_S = 60.0
POLL_S = 0.05
SETTLE_PAIRS = 3.0  # periods of the cameras for which the last results are waited for
DIAGNOSTICS_S = 1.2  # until the node has told its counts once more
STAGES = ('preprocess_ms', 'infer_ms', 'postprocess_ms')


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeSettings:
    """How the node runs.

    Attributes:
        side: Its engine.
        task: Model, input size and threads of the engine.
        folder: Gets reports and logs.
        env: Variables of the ROS programs.
        image_size: Of both cameras, WxH px.
        rigs: Names of the rigs in one process; () = one node without a rig.
    """

    side: Side
    task: Task
    folder: Path
    env: dict[str, str]
    image_size: str
    rigs: tuple[str, ...] = ()

    @property
    def clock_report(self) -> Path:
        """File in which the node writes its processor times when it is asked."""
        return self.folder / 'stages.json'

    @property
    def arguments(self) -> list[str]:
        """Arguments of the node's program."""
        values = {
            'model.card': self.task.card,
            'model.input_height': self.task.input_hw[0],
            'model.input_width': self.task.input_hw[1],
            'engine.backend': self.side.backend,
            'engine.precision': self.side.precision,
            'engine.num_threads': self.task.num_threads,
            'engine.cache_dir': self.task.cache_dir,
            'engine.timeout_s': TIMEOUT_S,
            'fallback.missing_after_s': MISSING_AFTER_S,
        }
        parameters = [
            part for name, value in values.items() for part in ('-p', f'{name}:={value}')
        ]
        rigs = [part for rig in self.rigs for part in ('--rig', rig)]
        return ['--report', str(self.clock_report), *rigs, '--ros-args', *parameters]


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """What came of one stream of pairs.

    Attributes:
        rate_hz: Pairs per second.
        sent_ns: Stamps of the RGB images.
        results: As the listener reports them.
        counts: The node's own counts at the end, by key.
        cpu_ms: Processor time of the node per result.
        stages_ms: The part of it in every stage.
    """

    rate_hz: float
    sent_ns: list[int]
    results: list[dict[str, Any]]
    counts: dict[str, str]
    cpu_ms: float
    stages_ms: dict[str, float]

    @property
    def latencies_ms(self) -> list[float]:
        """Arrival of each result less its stamp."""
        return [(item['received_ns'] - item['stamp_ns']) / 1e6 for item in self.results]

    def describe(self) -> dict[str, object]:
        """Return the JSON value, latency and rate under the names of ros2_benchmark."""
        received = {item['stamp_ns']: item['received_ns'] for item in self.results}
        skews_ms = [item['skew_ms'] for item in self.results if item['skew_ms'] is not None]
        return {
            'rate_hz': round(self.rate_hz, 3),
            **performance_metrics({stamp: stamp for stamp in self.sent_ns}, received),
            'skew_ms': describe(skews_ms) if skews_ms else None,
            **{stage: describe([item[stage] for item in self.results]) for stage in STAGES},
            'modes': sorted({item['mode'] for item in self.results}),
            'dropped': {
                key: int(value)
                for key, value in self.counts.items()
                if key.startswith(('dropped_', 'pairs_')) and value.isdigit()
            },
            'node_cpu_ms': round(self.cpu_ms, 3),
            'stages_cpu_ms': {name: round(value, 3) for name, value in self.stages_ms.items()},
        }


class NodeUnderLoad:
    """The node's process, and the streams its rigs are given."""

    def __init__(self, settings: NodeSettings, process: ChildProcess) -> None:
        """Take a node that was started."""
        self._settings, self._process = settings, process

    def stream(self, rate_hz: float, num_pairs: int) -> list[Phase]:
        """Give every rig so many pairs at a rate, all at once; return what came, rig by rig.

        Raises:
            ProcessError: If a program fails, or a rig gives not a single result.
        """
        rigs = self._settings.rigs or ('',)
        with ExitStack() as stack:
            listeners = [stack.enter_context(self._peer('listener', rig)) for rig in rigs]
            self._send(rigs, rate_hz, WARM_UP_PAIRS)
            before = self._read_clock()
            sent = self._send(rigs, rate_hz, num_pairs)
            time.sleep(SETTLE_PAIRS / rate_hz)
            after = self._read_clock()
            time.sleep(DIAGNOSTICS_S)
            for listener in listeners:
                listener.stop()
        reports = [self._load('listener', rig) for rig in rigs]
        results = [
            [item for item in report['results'] if item['stamp_ns'] in set(sent_ns)]
            for report, sent_ns in zip(reports, sent, strict=True)
        ]
        if not all(results):
            raise self._process.failure('gave no result')
        num_results = sum(len(items) for items in results)
        stages_ms = {
            stage: (spent_s - before['stages_s'].get(stage, 0.0)) * 1e3 / num_results
            for stage, spent_s in after['stages_s'].items()
        }
        return [
            Phase(
                rate_hz=rate_hz,
                sent_ns=sent_ns,
                results=items,
                counts=report['counts'],
                cpu_ms=(after['process_s'] - before['process_s']) * 1e3 / num_results,
                stages_ms=stages_ms,
            )
            for sent_ns, items, report in zip(sent, results, reports, strict=True)
        ]

    def peak_memory_bytes(self) -> int:
        """Return the largest resident memory of the node's process so far."""
        return read_peak_memory_bytes(self._process.pid)

    def _send(self, rigs: Sequence[str], rate_hz: float, num_pairs: int) -> list[list[int]]:
        """Run the cameras of all rigs to their end; return the stamps."""
        deadline = time.monotonic() + TIMEOUT_S + num_pairs / rate_hz
        arguments = ['--pairs', str(num_pairs), '--rate', str(rate_hz)]
        arguments += ['--size', self._settings.image_size]
        with ExitStack() as stack:
            cameras = [stack.enter_context(self._peer('camera', rig, arguments)) for rig in rigs]
            for camera in cameras:
                while camera.exit_status is None:
                    self._process.check_alive()
                    if time.monotonic() > deadline:
                        raise camera.failure('was not done in time')
                    time.sleep(POLL_S)
                if camera.exit_status:
                    raise camera.failure('failed')
        return [self._load('camera', rig)['sent_ns'] for rig in rigs]

    def _peer(self, role: str, rig: str, arguments: Sequence[str] = ()) -> ChildProcess:
        report = self._report(role, rig)
        report.unlink(missing_ok=True)
        fixed = ['--role', role, '--namespace', rig, '--report', str(report)]
        return ChildProcess(
            report.stem,
            'bench.node_load_peers',
            arguments=[*fixed, *arguments],
            log_dir=self._settings.folder,
            env=self._settings.env,
        )

    def _report(self, role: str, rig: str) -> Path:
        return self._settings.folder / f'{role}_{rig}.json'

    def _load(self, role: str, rig: str) -> dict[str, Any]:
        report: dict[str, Any] = json.loads(self._report(role, rig).read_text(encoding='utf-8'))
        return report

    def _read_clock(self) -> dict[str, Any]:
        """Ask the node for its processor times."""
        report = self._settings.clock_report
        report.unlink(missing_ok=True)
        os.kill(self._process.pid, signal.SIGUSR1)
        deadline = time.monotonic() + TIMEOUT_S
        while not report.is_file():
            self._process.check_alive()
            if time.monotonic() > deadline:
                raise self._process.failure('did not report its times')
            time.sleep(POLL_S)
        times: dict[str, Any] = json.loads(report.read_text(encoding='utf-8'))
        return times


@contextmanager
def running_node(settings: NodeSettings) -> Iterator[NodeUnderLoad]:
    """Run the node while the block lasts."""
    with ChildProcess(
        'perception_node',
        'bench.node_load_node',
        arguments=settings.arguments,
        log_dir=settings.folder,
        env=settings.env,
    ) as process:
        yield NodeUnderLoad(settings, process)
