# SPDX-License-Identifier: Apache-2.0
"""Programs started beside this one, which never outlive it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
import os
from pathlib import Path
import signal
import subprocess
import sys
import threading
from types import TracebackType

from rgbt_perception.errors import ProcessError

INTERRUPT_WAIT_S = 8.0
TERMINATE_WAIT_S = 3.0
NUM_LAST_LINES = 12


class ChildProcess:
    """A Python module run as a program; ends with the ``with`` statement, whatever happens.

    Attributes:
        name: Name for messages.
        log_path: What it wrote.
    """

    def __init__(
        self,
        name: str,
        module: str,
        *,
        arguments: Sequence[str],
        log_dir: Path,
        env: Mapping[str, str],
    ) -> None:
        """Remember what to start.

        Args:
            name: Name for messages and for the log file.
            module: Module to run with this interpreter.
            arguments: Its arguments.
            log_dir: Folder of the log file.
            env: Variables set on top of the present environment.
        """
        self.name = name
        self.log_path = log_dir / f'{name}.log'
        self._command = [sys.executable, '-m', module, *arguments]
        self._env = {**os.environ, **env}
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> ChildProcess:
        """Start it, in a process group of its own: Ctrl-C reaches it through this program only."""
        with self.log_path.open('wb') as log, _interrupts_after(self.stop):
            self._process = subprocess.Popen(  # noqa: S603  # a module of this package
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self._env,
                start_new_session=True,
            )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End it: interrupt, then terminate, then kill."""
        self.stop()

    @property
    def pid(self) -> int:
        """Its process id.

        Raises:
            ProcessError: If it was not started.
        """
        if self._process is None:
            raise ProcessError(
                f'{self.name} has no process id, expected it to be started; use it with `with`'
            )
        return self._process.pid

    @property
    def exit_status(self) -> int | None:
        """Its exit status, None while it runs."""
        return None if self._process is None else self._process.poll()

    def stop(self) -> None:
        """Interrupt it and wait; terminate or kill it when it does not go."""
        process = self._process
        if process is None:
            return
        for number, wait_s in (
            (signal.SIGINT, INTERRUPT_WAIT_S),
            (signal.SIGTERM, TERMINATE_WAIT_S),
            (signal.SIGKILL, None),
        ):
            if process.poll() is not None:
                return
            process.send_signal(number)
            try:
                process.wait(wait_s)
            except subprocess.TimeoutExpired:
                continue

    def check_alive(self) -> None:
        """Check that it still runs.

        Raises:
            ProcessError: If it ended.
        """
        if self.exit_status is not None:
            raise self.failure('ended')

    def failure(self, what: str) -> ProcessError:
        """Return an error with the last lines of its log."""
        lines = self.log_path.read_text(encoding='utf-8', errors='replace').splitlines()
        status = '' if self.exit_status is None else f' with status {self.exit_status}'
        tail = '\n'.join(f'  {line}' for line in lines[-NUM_LAST_LINES:])
        return ProcessError(
            f'{self.name} {what}{status}; expected it to run until it is stopped; see '
            f"'{self.log_path}':\n{tail}"
        )


@contextmanager
def _interrupts_after(undo: Callable[[], None]) -> Iterator[None]:
    """Hold back interrupts until the block is done; then undo it and raise KeyboardInterrupt.

    Otherwise one that comes while a program is being started would leave it without a parent that
    knows of it. Only the main thread gets interrupts, elsewhere there is nothing to hold back.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    caught: list[int] = []
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    interrupting = [
        number for number in numbers if signal.getsignal(number) is signal.default_int_handler
    ]
    for number in interrupting:
        signal.signal(number, lambda caught_number, _: caught.append(caught_number))
    try:
        yield
    finally:
        for number in interrupting:
            signal.signal(number, signal.default_int_handler)
    if caught:
        undo()
        raise KeyboardInterrupt
