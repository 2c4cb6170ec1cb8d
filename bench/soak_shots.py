# SPDX-License-Identifier: Apache-2.0
"""What a camera sends while a fault is on: the fields of an image message, without ROS."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from bench.soak_plan import Fault, FaultKind
from rgbt_perception.types import NS_PER_S

JUMP_NS = 60 * NS_PER_S
FUTURE_NS = 3600 * NS_PER_S
OFFSET_NS = 2 * NS_PER_S
BACK_NS = 150_000_000
SMALL_HW = (120, 160)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Shot:
    """One image as it is sent.

    Attributes:
        camera: 'rgb' or 'thermal', where it is sent.
        pixels: (h, w, 3) uint8 or (h, w) uint16.
        stamp_ns: Stamp of the header.
        encoding: Encoding as it is said.
        missing_step: So much less than the bytes of a row is said in ``step``.
        kept: Share of the data that is sent.
    """

    camera: str
    pixels: NDArray[Any]
    stamp_ns: int
    encoding: str
    missing_step: int = 0
    kept: float = 1.0

    @property
    def step(self) -> int:
        """Bytes per row as they are said."""
        row = self.pixels[:1]
        return max(0, row.nbytes - self.missing_step)

    @property
    def data(self) -> memoryview:
        """The bytes that are sent."""
        flat = np.ascontiguousarray(self.pixels).reshape(-1).view(np.uint8)
        return flat[: int(len(flat) * self.kept)].data


class FaultyCamera:
    """Applies the faults of one camera to what it sends; remembers what a fault holds on to."""

    def __init__(self) -> None:
        """Begin without a fault."""
        self._held: tuple[Fault, Shot] | None = None
        self._num_sent = 0

    def apply(self, shot: Shot, faults: list[Fault]) -> Shot | None:
        """Return what is sent instead of a shot, None for nothing.

        Args:
            shot: What the camera would send.
            faults: Its faults at this time.
        """
        self._num_sent += 1
        changed: Shot | None = shot
        for fault in faults:
            if fault.kind is FaultKind.DROPOUT or changed is None:
                return None
            if fault.kind in CHANGES:
                changed = CHANGES[fault.kind](changed)
            elif fault.kind in (FaultKind.FROZEN, FaultKind.SAME_STAMP):
                changed = self._hold(changed, fault)
            elif fault.kind is FaultKind.OUT_OF_ORDER and self._num_sent % 2:
                changed = replace(changed, stamp_ns=changed.stamp_ns - BACK_NS)
        return changed

    def _hold(self, shot: Shot, fault: Fault) -> Shot:
        if self._held is None or self._held[0] is not fault:
            self._held = (fault, shot)
        held = self._held[1]
        if fault.kind is FaultKind.FROZEN:
            return replace(shot, pixels=held.pixels)
        return replace(shot, stamp_ns=held.stamp_ns)


def _fill(shot: Shot, value: int) -> Shot:
    return replace(shot, pixels=np.full_like(shot.pixels, value))


def _shrink(shot: Shot) -> Shot:
    small = cv2.resize(shot.pixels, SMALL_HW[::-1], interpolation=cv2.INTER_AREA)
    return replace(shot, pixels=np.asarray(small))


def _offset(shot: Shot) -> Shot:
    is_ahead = shot.camera == 'thermal'
    return replace(shot, stamp_ns=shot.stamp_ns + OFFSET_NS) if is_ahead else shot


CHANGES: dict[FaultKind, Callable[[Shot], Shot]] = {
    FaultKind.BLACK: lambda shot: _fill(shot, 0),
    FaultKind.SATURATED: lambda shot: _fill(shot, np.iinfo(shot.pixels.dtype).max),
    FaultKind.BAD_ENCODING: lambda shot: replace(shot, encoding='yuv422_yuy2'),
    FaultKind.TRUNCATED: lambda shot: replace(shot, kept=0.5),
    FaultKind.WRONG_STEP: lambda shot: replace(shot, missing_step=1),
    FaultKind.EMPTY: lambda shot: replace(shot, pixels=shot.pixels[:0, :0]),
    FaultKind.ZERO_STAMP: lambda shot: replace(shot, stamp_ns=0),
    FaultKind.FUTURE_STAMP: lambda shot: replace(shot, stamp_ns=shot.stamp_ns + FUTURE_NS),
    FaultKind.SMALL: _shrink,
    FaultKind.JUMP_BACK: lambda shot: replace(shot, stamp_ns=shot.stamp_ns - JUMP_NS),
    FaultKind.JUMP_FORWARD: lambda shot: replace(shot, stamp_ns=shot.stamp_ns + JUMP_NS),
    FaultKind.CLOCK_OFFSET: _offset,
    FaultKind.SWAPPED: lambda shot: replace(
        shot, camera='thermal' if shot.camera == 'rgb' else 'rgb'
    ),
}
