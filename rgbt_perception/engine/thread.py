# SPDX-License-Identifier: Apache-2.0
"""One engine on a thread of its own: opened there, run there, closed there.

The caller can therefore stop waiting. What hangs is left behind on its daemon thread: a hanging
call into a runtime cannot be interrupted, only abandoned.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from queue import Empty, SimpleQueue
import threading
from time import monotonic, perf_counter
from typing import Any, TypeAlias, TypeVar

from rgbt_perception.engine.base import Engine
from rgbt_perception.engine.failure import as_engine_error
from rgbt_perception.errors import EngineError, EngineTimeoutError
from rgbt_perception.types import Batch

T = TypeVar('T')
Job: TypeAlias = Callable[[Engine], T]


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class _Answer:
    """Outcome of one run: what the job returned, or an error."""

    value: Any
    error: Exception | None
    run_s: float


class EngineThread:
    """Opens an engine in the background and runs it with a time limit.

    One thread calls ``run``; the engine's own thread closes the engine after ``stop``.

    Attributes:
        started_s: When opening began, ``time.monotonic`` seconds.
        engine: The engine; None until ``is_open``.
        problem: Why it could not be opened; None while it opens and when it is open. A failure of
            the warm-up run is an ``EngineError``.
        warm_up_s: Time of the warm-up run, seconds; 0 without one.
        run_s: Time of the newest run, seconds, without the way to this thread and back.
    """

    def __init__(self, open_engine: Callable[[], Engine], *, warm_up: Batch | None) -> None:
        """Begin to open.

        Args:
            open_engine: Opens the engine; may take long, may raise.
            warm_up: Run once before the engine counts as open; None = no warm-up.
        """
        self.started_s = monotonic()
        self.engine: Engine | None = None
        self.problem: Exception | None = None
        self.warm_up_s = self.run_s = 0.0
        self._open_engine, self._warm_up = open_engine, warm_up
        self._name = 'the engine'
        self._opened = threading.Event()
        self._jobs: SimpleQueue[Job[Any] | None] = SimpleQueue()
        self._answers: SimpleQueue[_Answer] = SimpleQueue()
        self._thread = threading.Thread(target=self._work, name='engine', daemon=True)
        self._thread.start()

    @property
    def is_open(self) -> bool:
        """True when the engine is ready to run."""
        return self._opened.is_set() and self.engine is not None

    @property
    def is_alive(self) -> bool:
        """True until the thread has ended and the engine is released."""
        return self._thread.is_alive()

    def wait_until_opened(self, timeout_s: float) -> bool:
        """Wait until the engine is open or has failed to open; False when it takes longer."""
        return self._opened.wait(timeout_s)

    def run(self, job: Job[T], timeout_s: float) -> T:
        """Let the thread run its engine.

        Args:
            job: Runs the engine on one pair; called on the thread.
            timeout_s: Longest wait, seconds. After a timeout this object is of no further use:
                call ``stop``.

        Raises:
            EngineTimeoutError: If the outputs do not come in time, or ``stop`` was called before.
            Exception: Whatever the engine raised.
        """
        self._jobs.put(job)
        try:
            answer = self._answers.get(timeout=timeout_s)
        except Empty:
            raise EngineTimeoutError(
                f'the inference on {self._name} has not come back after {timeout_s:.3g} s, '
                f'expected an answer within this time; check the device, or set engine.timeout_s '
                f'if the model is this slow'
            ) from None
        self.run_s = answer.run_s
        if answer.error is not None:
            raise answer.error
        value: T = answer.value
        return value

    def stop(self, timeout_s: float = 0.0) -> bool:
        """Let the thread close the engine and end, as soon as it comes back.

        Args:
            timeout_s: Longest wait for that, seconds.

        Returns:
            False if the thread is still alive after the wait.
        """
        self._jobs.put(None)
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _work(self) -> None:
        engine = self._open()
        if engine is None:
            return
        try:
            while (job := self._jobs.get()) is not None:
                self._answers.put(_answer(engine, job))
                del job  # what it holds is not kept while waiting for the next one
        finally:
            self.engine = None
            engine.close()

    def _open(self) -> Engine | None:
        engine = None
        try:
            engine = self._open_engine()
            self._name = f'{engine.backend}, {engine.device}'
            if self._warm_up is not None:
                self.warm_up_s = _warm_up(engine, self._warm_up)
        except Exception as error:  # noqa: BLE001 handed to the caller's thread
            self.problem = error
            if engine is not None:
                engine.close()
            engine = None
        self.engine = engine
        self._open_engine, self._warm_up = _nothing, None  # what they hold may be large
        self._opened.set()
        return engine


def _warm_up(engine: Engine, batch: Batch) -> float:
    """Run an engine once; return the seconds it took.

    Raises:
        EngineError: Whatever the runtime raises: that it opened makes it no better.
    """
    started = perf_counter()
    try:
        engine.run(batch)
    except Exception as error:
        problem = as_engine_error(error)
        if problem is error:
            raise
        raise problem from error
    return perf_counter() - started


def _answer(engine: Engine, job: Job[Any]) -> _Answer:
    started = perf_counter()
    try:
        value = job(engine)
    except Exception as error:  # noqa: BLE001 handed to the caller's thread
        return _Answer(value=None, error=error, run_s=perf_counter() - started)
    return _Answer(value=value, error=None, run_s=perf_counter() - started)


def _nothing() -> Engine:
    raise EngineError('the engine was opened already, expected one opening; open a new one')
