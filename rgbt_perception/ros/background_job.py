# SPDX-License-Identifier: Apache-2.0
"""One piece of work on a thread of its own, waited for in short steps."""

from __future__ import annotations

import threading
from typing import Generic, TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

ValueT = TypeVar('ValueT')


class BackgroundJob(Generic[ValueT]):
    """Calls a function once, on a daemon thread; who waits can still look at other things."""

    def __init__(self, work: Callable[[], ValueT]) -> None:
        """Start the thread.

        Args:
            work: What is done.
        """
        self._work = work
        self._values: list[ValueT] = []
        self._error: BaseException | None = None
        self._done = threading.Event()
        threading.Thread(target=self._run, name='perception job', daemon=True).start()

    def is_done(self, timeout_s: float) -> bool:
        """Wait for the end of the work, at most ``timeout_s`` seconds; return whether it came."""
        return self._done.wait(timeout_s)

    def result(self) -> ValueT:
        """Return what the work returned, or raise what it raised; only when it is done."""
        if self._error is not None:
            raise self._error
        return self._values[0]

    def _run(self) -> None:
        try:
            self._values.append(self._work())
        except BaseException as error:  # noqa: BLE001 handed to who waits
            self._error = error
        finally:
            self._done.set()
