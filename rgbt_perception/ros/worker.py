# SPDX-License-Identifier: Apache-2.0
"""One worker thread behind a one-slot, latest-wins mailbox: receiving never waits for it.

Latest wins, with one exception that ``prefers_fused`` states: with a fast and a slow camera the
frames of the fast one that found no partner would push out nearly every fused pair.
"""

from __future__ import annotations

import threading
import time
from typing import Generic, TYPE_CHECKING, TypeVar

from rgbt_perception.types import NS_PER_S

if TYPE_CHECKING:
    from collections.abc import Callable

    from rgbt_perception.types import Pair

# A waiting fused pair stays while what follows alone is younger by less than this: a little more
# than one period of the slow thermal cameras (9 Hz), so that the next fused pair can replace it.
KEEP_FUSED_NS = NS_PER_S * 3 // 20
# Time a caller gives way to the worker, s; more than a thread needs to start.
GIVE_WAY_S = 0.001
ItemT = TypeVar('ItemT')


class Worker(Generic[ItemT]):
    """Calls ``handle`` with the newest item, one at a time, on its own thread.

    ``handle`` must not raise; it runs without any lock of this class.
    """

    def __init__(
        self,
        handle: Callable[[ItemT], None],
        *,
        name: str,
        keeps: Callable[[ItemT, ItemT], bool] | None = None,
    ) -> None:
        """Start the thread.

        Args:
            handle: What is done with an item.
            name: Name of the thread.
            keeps: True when the item that waits (first) shall stay and the new one (second) be
                left out; None = the newest item always wins. Runs under the lock: it must be
                quick and not call back.
        """
        self._handle, self._keeps = handle, keeps
        self._slot: list[ItemT] = []
        self._is_stopping = self._is_idle = False
        self._condition = threading.Condition()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def put(self, item: ItemT) -> ItemT | None:
        """Leave an item for the worker, and give way to it if it was idle.

        A caller that went on at once would keep the interpreter to itself until it waits for
        something, and the worker would begin later (``python -m bench.node_overhead``: .4 ms).

        Returns:
            The item that will never be handled: the one replaced, or the new one when the waiting
            one stays or after ``stop``; None when nothing was lost.
        """
        with self._condition:
            if self._is_stopping:
                return item
            if self._slot and self._keeps is not None and self._keeps(self._slot[0], item):
                return item
            replaced = self._slot.pop() if self._slot else None
            self._slot.append(item)
            self._condition.notify_all()
            if self._is_idle:
                self._condition.wait(GIVE_WAY_S)
        return replaced

    def give_way(self) -> None:
        """Let a busy worker have the interpreter for ``GIVE_WAY_S``; return at once if it is idle.

        The interpreter's lock is not fair: a thread that releases it often and for moments only,
        as an executor under a flood of requests does, takes it back before the worker wakes up.
        Seen: at 2,000 parameter sets per second a pair stood still for 5.7 s.
        """
        if not self._is_idle:
            time.sleep(GIVE_WAY_S)

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
            self._is_idle = True
            self._condition.wait_for(lambda: self._slot or self._is_stopping)
            self._is_idle = False
            self._condition.notify_all()
            return self._slot.pop() if self._slot else None


def prefers_fused(waiting: Pair, new: Pair) -> bool:
    """Return whether a waiting pair of both cameras shall outlive a newer one of a single camera.

    What waits was put there during the run that is going on, so results get no older by more than
    ``KEEP_FUSED_NS``; a stamp that is not newer (jump back) or much newer replaces it.
    """
    if waiting.skew_ns is None or new.skew_ns is not None:
        return False
    return 0 <= new.reference.stamp_ns - waiting.reference.stamp_ns < KEEP_FUSED_NS
