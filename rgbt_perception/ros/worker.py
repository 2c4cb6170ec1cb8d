# SPDX-License-Identifier: Apache-2.0
"""One worker thread behind a one-slot, latest-wins mailbox: receiving never waits for it."""

from __future__ import annotations

import threading
from typing import Generic, TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

ItemT = TypeVar('ItemT')


class Worker(Generic[ItemT]):
    """Calls ``handle`` with the newest item, one at a time, on its own thread.

    ``handle`` must not raise; it runs without any lock of this class.
    """

    def __init__(self, handle: Callable[[ItemT], None], *, name: str) -> None:
        """Start the thread.

        Args:
            handle: What is done with an item.
            name: Name of the thread.
        """
        self._handle = handle
        self._slot: list[ItemT] = []
        self._is_stopping = False
        self._condition = threading.Condition()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def put(self, item: ItemT) -> ItemT | None:
        """Leave an item for the worker.

        Returns:
            The item it replaced, which will never be handled, or None. After ``stop`` the item
            itself comes back.
        """
        with self._condition:
            if self._is_stopping:
                return item
            replaced = self._slot.pop() if self._slot else None
            self._slot.append(item)
            self._condition.notify_all()
        return replaced

    def stop(self, timeout_s: float) -> bool:
        """Handle what is waiting, then end the thread.

        Args:
            timeout_s: Longest wait, seconds.

        Returns:
            False if the thread is still busy after the wait.
        """
        with self._condition:
            self._is_stopping = True
            self._condition.notify_all()
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while (item := self._take()) is not None:
            self._handle(item)

    def _take(self) -> ItemT | None:
        with self._condition:
            self._condition.wait_for(lambda: self._slot or self._is_stopping)
            return self._slot.pop() if self._slot else None
