# SPDX-License-Identifier: Apache-2.0
"""One engine that is measured, in a process of its own that runs it whenever it is told to."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import asdict, dataclass
import json
from pathlib import Path
import subprocess
import sys
from time import perf_counter
from types import TracebackType
from typing import Any

from rgbt_perception.errors import ProcessError

WORKER_MODULE = 'rgbt_perception.benchmark.worker'
END_WAIT_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """An engine as it is asked for.

    Attributes:
        backend: 'torch', 'onnx', 'openvino' or 'tensorrt'.
        precision: 'fp32', 'bf16', 'fp16' or 'int8'.
    """

    backend: str
    precision: str

    @property
    def name(self) -> str:
        """Name in tables and files."""
        return f'{self.backend} {self.precision}'


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What all sides run.

    Attributes:
        card: Name of a shipped card, or path of a card folder.
        input_hw: Network input, px.
        device: 'cpu' or 'cuda:N'.
        num_threads: CPU threads of each engine.
        cache_dir: Folder of engines that are compiled once, '' = the user's.
    """

    card: str
    input_hw: tuple[int, int]
    device: str
    num_threads: int
    cache_dir: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """How an engine came up.

    Attributes:
        load_s: Start of the process to its first result: interpreter, imports, opening, one run.
        open_s: Part of it: import of the runtime and opening of the model.
        backend: Backend, as the engine says.
        device: Where it runs, as the engine says.
        precision: Its precision, as the engine says.
    """

    load_s: float
    open_s: float
    backend: str
    device: str
    precision: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """Runs of one engine in one round, ms each.

    Attributes:
        wall_ms: Durations.
        cpu_ms: Processor time of all threads of the process.
    """

    wall_ms: list[float]
    cpu_ms: list[float]


def read_peak_memory_bytes(pid: int) -> int:
    """Return the largest resident memory of a process since it was started.

    All of it counts: interpreter, libraries (pages of files that are shared as well), weights and
    buffers. ``VmHWM`` of the kernel.
    """
    lines = Path(f'/proc/{pid}/status').read_text(encoding='utf-8').splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith('VmHWM:'))


class SideProcess:
    """The process of a side; ends with the ``with`` statement, and when this program does.

    Attributes:
        side: What it runs.
        opening: How it came up.
    """

    def __init__(self, side: Side, task: Task) -> None:
        """Start it and wait for its first result.

        Raises:
            ProcessError: If the engine cannot be opened; the message is the engine's.
        """
        self.side = side
        order = json.dumps({**asdict(task), **asdict(side)})
        started = perf_counter()
        self._process = subprocess.Popen(  # noqa: S603  # a module of this package
            [sys.executable, '-m', WORKER_MODULE, order],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            answer = self._read()
        except BaseException:
            self.close()
            raise
        self.opening = Opening(load_s=perf_counter() - started, **answer)

    def __enter__(self) -> SideProcess:
        """Return it, running."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End it."""
        self.close()

    def run(self, num_runs: int, period_s: float = 0.0) -> Turn:
        """Run the network so many times.

        Args:
            num_runs: How many.
            period_s: From the start of one to that of the next, s, if they are done sooner.

        Raises:
            ProcessError: If the network fails.
        """
        return Turn(**self._ask({'num_runs': num_runs, 'period_s': period_s}))

    def peak_memory_bytes(self) -> int:
        """Return the largest resident memory of the process so far."""
        return read_peak_memory_bytes(self._process.pid)

    def close(self) -> None:
        """End it: it goes when its input ends, and is killed when it does not."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(END_WAIT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()

    def _ask(self, request: dict[str, float]) -> dict[str, Any]:
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # what it said last is still to be read
            self._process.stdin.write(json.dumps(request) + '\n')
            self._process.stdin.flush()
        return self._read()

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            status = self._process.wait()
            raise ProcessError(
                f"the process of engine '{self.side.name}' ended with status {status}, expected "
                f'an answer; what it wrote is above'
            )
        answer: dict[str, Any] = json.loads(line)
        if 'error' in answer:
            raise ProcessError(answer['error'])
        return answer
