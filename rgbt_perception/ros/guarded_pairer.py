# SPDX-License-Identifier: Apache-2.0
"""The pairer behind its lock: receiving and reporting may happen in different threads."""

from __future__ import annotations

from collections import Counter
import threading
from typing import TYPE_CHECKING

from rgbt_perception.clock_offset import describe_offset
from rgbt_perception.ros.sync_filters import build_ros_pairer
from rgbt_perception.types import DropReason, Modality

if TYPE_CHECKING:
    from rgbt_perception.config import PerceptionConfig
    from rgbt_perception.types import Frame, Pair


class GuardedPairer:
    """Pairs frames from any thread; no foreign code runs while its lock is held."""

    def __init__(self, config: PerceptionConfig) -> None:
        """Start with empty queues.

        Args:
            config: Settings in force.

        Raises:
            BackendUnavailableError: If the policy needs message_filters and it is not installed.
        """
        self._config = config
        self._lock = threading.Lock()
        self._pairer = build_ros_pairer(config.sync, config.fallback)

    def push(self, frame: Frame, now_ns: int) -> list[Pair]:
        """Add one frame; return the pairs that are ready now, in order."""
        with self._lock:
            return self._pairer.push(frame, now_ns)

    def poll(self, now_ns: int) -> list[Pair]:
        """Return what the passing of time makes ready."""
        with self._lock:
            return self._pairer.poll(now_ns)

    @property
    def has_deadline(self) -> bool:
        """True while ``poll`` will have something to decide."""
        with self._lock:
            return self._pairer.next_deadline_ns is not None

    def empty(self) -> list[Pair]:
        """Take out what waits; what it knows about rates and clock offset stays.

        Returns:
            What would have become pairs; the other frames are counted as dropped.
        """
        with self._lock:
            return self._pairer.flush()

    def reconfigure(self, config: PerceptionConfig) -> None:
        """Take over live settings; what waits keeps waiting."""
        with self._lock:
            old, self._config = self._config, config
            if (config.sync, config.fallback) != (old.sync, old.fallback):
                self._pairer.reconfigure(config.sync, config.fallback)

    def counts(self) -> tuple[Counter[Modality], Counter[DropReason], int]:
        """Return frames received by camera, frames dropped by reason, and frames waiting."""
        with self._lock:
            pairer = self._pairer
            return pairer.received.copy(), pairer.dropped.copy(), pairer.num_waiting

    @property
    def offset_s(self) -> float:
        """Offset subtracted from thermal stamps at present, s: as set, or as estimated."""
        with self._lock:
            return self._pairer.offset_s

    def offset_text(self) -> str:
        """Say what was found out about the clock offset of the cameras, '' for nothing."""
        with self._lock:
            estimate, offset_s = self._pairer.offset_estimate, self._pairer.offset_s
        return describe_offset(estimate, offset_s, self._config.sync.max_skew_s)
