# SPDX-License-Identifier: Apache-2.0
"""The real node in a process of its own, and streams of pairs for one or more of its rigs.

The programs around the node are ``bench.node_load_peers``. Cameras warm the node up, wait, send
what is measured, and stay until all is counted: neither their coming nor their going is measured.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, ExitStack
from dataclasses import dataclass
import json
import os
from pathlib import Path
import signal
from statistics import mean
import time
from typing import Any

from bench.report import describe, format_hw, parse_size_hw
from rgbt_perception.benchmark.ros2_benchmark import performance_metrics
from rgbt_perception.benchmark.side import read_peak_memory_bytes, Side, Task
from rgbt_perception.processes import ChildProcess

IMAGE_HW = (480, 640)
MIN_SIDE_PX = 16
WARM_UP_PAIRS = 5
MISSING_AFTER_S = 30.0  # slow cameras are not missing ones
TIMEOUT_S = 60.0
POLL_S = 0.05
SETTLE_PAIRS = 3.0  # periods of the cameras for which the last results are waited for
DIAGNOSTICS_S = 1.2  # until the node has told its counts once more
STAGES = ('preprocess_ms', 'infer_ms', 'postprocess_ms')  # as the node reports them
ENGINE = 'engine'  # stage and group of threads
LOSSES = 'dropped_'  # how the counts of lost frames and pairs begin


def parse_image_hw(text: str) -> tuple[int, int]:
    """Parse HEIGHTxWIDTH of the images of a camera, px.

    Raises:
        argparse.ArgumentTypeError: If it is something else, or too small to show anything.
    """
    size_hw = parse_size_hw(text)
    if min(size_hw) < MIN_SIDE_PX:
        raise argparse.ArgumentTypeError(
            f"'{text}' is too small, expected {MIN_SIDE_PX}x{MIN_SIDE_PX} px or more; correct it"
        )
    return size_hw


def write_report(path: Path, values: Mapping[str, Any]) -> None:
    """Write what a program found, all at once: who waits for the file finds it whole."""
    draft = path.with_suffix('.draft')
    draft.write_text(json.dumps(values), encoding='utf-8')
    draft.replace(path)


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeSettings:
    """How the node runs.

    Attributes:
        side: Its engine.
        task: Model, input size and threads of the engine.
        folder: Gets reports and logs.
        env: Variables of the ROS programs.
        image_hw: Size of the images of both cameras, px.
        rigs: Names of the rigs in one process; () = one node without a rig.
    """

    side: Side
    task: Task
    folder: Path
    env: dict[str, str]
    image_hw: tuple[int, int] = IMAGE_HW
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
        dropped: What the node counted as lost in this phase, by key.
        cpu_ms: Processor time of the node per result.
        stages_ms: The part of it in every stage.
        threads_ms: The part of it in every group of threads.
    """

    rate_hz: float
    sent_ns: list[int]
    results: list[dict[str, Any]]
    dropped: dict[str, int]
    cpu_ms: float
    stages_ms: dict[str, float]
    threads_ms: dict[str, float]

    @property
    def latencies_ms(self) -> list[float]:
        """Arrival of each result less its stamp."""
        return [(item['received_ns'] - item['stamp_ns']) / 1e6 for item in self.results]

    @property
    def worker_ms(self) -> float:
        """Mean time for which a pair occupies the node's worker."""
        return mean(sum(item[stage] for stage in STAGES) for item in self.results)

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
            'dropped': self.dropped,
            'node_cpu_ms': round(self.cpu_ms, 3),
            'stages_cpu_ms': round_each(self.stages_ms),
            'threads_cpu_ms': round_each(self.threads_ms),
        }


def round_each(values: Mapping[str, float], digits: int = 3) -> dict[str, float]:
    """Return the values, rounded."""
    return {name: round(value, digits) for name, value in values.items()}


def count_dropped(told: Sequence[Mapping[str, Any]], since_ns: int) -> dict[str, int]:
    """Return what was lost since a time: the last counts less those that were told before it.

    Args:
        told: What the node told of its counts, in order: 'received_ns', and 'counts' by key.
        since_ns: When what counts began; counts that came later are taken as of after it.
    """
    before: Mapping[str, str] = {}
    for item in told:
        if item['received_ns'] < since_ns:
            before = item['counts']
    last: Mapping[str, str] = told[-1]['counts'] if told else {}
    return {
        key: int(value) - int(before.get(key, 0))
        for key, value in last.items()
        if key.startswith(LOSSES) and value.isdigit()
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
        arguments = ['--pairs', str(num_pairs), '--rate', str(rate_hz)]
        arguments += ['--size', format_hw(self._settings.image_hw)]
        with ExitStack() as stack:
            listeners = [stack.enter_context(self._peer('listener', rig)) for rig in rigs]
            self._wait_for([self._mark('listener', rig) for rig in rigs], listeners, TIMEOUT_S)
            cameras = [stack.enter_context(self._peer('camera', rig, arguments)) for rig in rigs]
            warm_up_s = TIMEOUT_S + WARM_UP_PAIRS / rate_hz
            self._wait_for([self._mark('camera', rig) for rig in rigs], cameras, warm_up_s)
            time.sleep(max(SETTLE_PAIRS / rate_hz, DIAGNOSTICS_S))
            before = self._read_clock()
            for camera in cameras:
                os.kill(camera.pid, signal.SIGUSR1)
            reports = [self._report('camera', rig) for rig in rigs]
            self._wait_for(reports, cameras, TIMEOUT_S + num_pairs / rate_hz)
            time.sleep(SETTLE_PAIRS / rate_hz)
            after = self._read_clock()
            time.sleep(DIAGNOSTICS_S)
            for program in (*listeners, *cameras):
                program.stop()
        return self._build_phases(rigs, rate_hz, before, after)

    def peak_memory_bytes(self) -> int:
        """Return the largest resident memory of the node's process so far."""
        return read_peak_memory_bytes(self._process.pid)

    def _build_phases(
        self,
        rigs: Sequence[str],
        rate_hz: float,
        before: Mapping[str, Any],
        after: Mapping[str, Any],
    ) -> list[Phase]:
        sent = [self._load('camera', rig)['sent_ns'] for rig in rigs]
        heard = [self._load('listener', rig) for rig in rigs]
        results = [
            [item for item in report['results'] if item['stamp_ns'] in set(sent_ns)]
            for report, sent_ns in zip(heard, sent, strict=True)
        ]
        if not all(results):
            raise self._process.failure('gave no result')
        num_results = sum(len(items) for items in results)

        def per_result_ms(name: str) -> dict[str, float]:
            return {
                key: (spent_s - before[name].get(key, 0.0)) * 1e3 / num_results
                for key, spent_s in after[name].items()
            }

        return [
            Phase(
                rate_hz=rate_hz,
                sent_ns=sent_ns,
                results=items,
                dropped=count_dropped(report['counts'], sent_ns[0]),
                cpu_ms=(after['process_s'] - before['process_s']) * 1e3 / num_results,
                stages_ms=per_result_ms('stages_s'),
                threads_ms=per_result_ms('threads_s'),
            )
            for sent_ns, items, report in zip(sent, results, heard, strict=True)
        ]

    def _wait_for(
        self, paths: Sequence[Path], writers: Sequence[ChildProcess], timeout_s: float
    ) -> None:
        """Wait until the programs have written their files."""
        for path, writer in zip(paths, writers, strict=True):
            self._wait_until(path.is_file, writer, timeout_s)

    def _wait_until(
        self, is_done: Callable[[], bool], awaited: ChildProcess, timeout_s: float
    ) -> None:
        """Wait for a program while all live.

        Raises:
            ProcessError: If it or the node ends, or it takes too long.
        """
        deadline = time.monotonic() + timeout_s
        while not is_done():
            self._process.check_alive()
            awaited.check_alive()
            if time.monotonic() > deadline:
                raise awaited.failure(f'was not done within {timeout_s:.0f} s')
            time.sleep(POLL_S)

    def _peer(self, role: str, rig: str, arguments: Sequence[str] = ()) -> ChildProcess:
        report, mark = self._report(role, rig), self._mark(role, rig)
        for path in (report, mark):
            path.unlink(missing_ok=True)
        fixed = ['--role', role, '--namespace', rig, '--report', str(report), '--mark', str(mark)]
        return ChildProcess(
            report.stem,
            'bench.node_load_peers',
            arguments=[*fixed, *arguments],
            log_dir=self._settings.folder,
            env=self._settings.env,
        )

    def _report(self, role: str, rig: str) -> Path:
        return self._settings.folder / f'{role}_{rig}.json'

    def _mark(self, role: str, rig: str) -> Path:
        return self._settings.folder / f'{role}_{rig}.mark'

    def _load(self, role: str, rig: str) -> dict[str, Any]:
        report: dict[str, Any] = json.loads(self._report(role, rig).read_text(encoding='utf-8'))
        return report

    def _read_clock(self) -> dict[str, Any]:
        """Ask the node for its processor times."""
        report = self._settings.clock_report
        report.unlink(missing_ok=True)
        os.kill(self._process.pid, signal.SIGUSR1)
        self._wait_until(report.is_file, self._process, TIMEOUT_S)
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
