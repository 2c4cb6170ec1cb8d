# SPDX-License-Identifier: Apache-2.0
"""Pairing of RGB and thermal frames: frames in, pairs out, every drop counted with its reason.

One camera that is dead, late or off the clock never silences the other. The rules themselves are
in ``pairing``; this is what the rest of the package knows of them.
"""

from __future__ import annotations

from collections import Counter
from typing import Protocol

from rgbt_perception.clock_offset import OffsetEstimate
from rgbt_perception.config import FallbackConfig, SyncConfig
from rgbt_perception.errors import ConfigError
from rgbt_perception.pairing import HoldPairer, Pairer
from rgbt_perception.types import DropReason, Frame, Modality, Pair

__all__ = ['FramePairer', 'Pairer', 'build_pairer']

STOCK_POLICIES = ('approximate_time', 'exact_time')


class FramePairer(Protocol):
    """What every pairing policy offers; single-threaded, holds no lock while it calls out."""

    dropped: Counter[DropReason]

    @property
    def received(self) -> Counter[Modality]:
        """Frames pushed, by modality."""

    @property
    def num_waiting(self) -> int:
        """Number of frames that wait; received = in pairs + dropped + waiting."""

    @property
    def next_deadline_ns(self) -> int | None:
        """When ``poll`` will next have something to decide, in the clock of ``received_ns``."""

    @property
    def offset_estimate(self) -> OffsetEstimate | None:
        """Clock offset as far as it is known; None when it is not estimated or not known yet."""

    @property
    def offset_s(self) -> float:
        """Offset subtracted from thermal stamps at present, s: as set, or as estimated."""

    def push(self, frame: Frame, received_ns: int) -> list[Pair]:
        """Add one frame; return the pairs that are ready now, in order."""

    def poll(self, now_ns: int) -> list[Pair]:
        """Return what the passing of time makes ready."""

    def flush(self) -> list[Pair]:
        """Return everything that still waits, as at the end of a bag."""

    def reconfigure(self, config: SyncConfig, fallback: FallbackConfig) -> None:
        """Take over new live settings without losing what waits."""


def build_pairer(sync: SyncConfig, fallback: FallbackConfig) -> FramePairer:
    """Build what ``sync.policy`` names.

    Raises:
        ConfigError: If the policy is one of message_filters, which only the node can build.
    """
    if sync.policy in STOCK_POLICIES:
        raise ConfigError(
            f"sync.policy is '{sync.policy}', which needs ROS: message_filters; expected nearest, "
            f"exact, latest or hold outside of the node; set sync.policy to 'nearest'"
        )
    if sync.policy in ('latest', 'hold'):
        return HoldPairer(sync, fallback)
    return Pairer(sync, fallback)
