# SPDX-License-Identifier: Apache-2.0
"""Drives a pairer with stamps in milliseconds."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from rgbt_perception.config import FallbackConfig, SyncConfig
from rgbt_perception.sync import build_pairer
from rgbt_perception.types import Frame, Modality, Pair

MS = 1_000_000
RGB_PIXELS = np.zeros((1, 1, 3), np.uint8)
THERMAL_PIXELS = np.zeros((1, 1), np.uint8)


def rgb(stamp_ms: float) -> Frame:
    return Frame(
        pixels=RGB_PIXELS, stamp_ns=round(stamp_ms * MS), frame_id='rgb', modality=Modality.RGB
    )


def thermal(stamp_ms: float) -> Frame:
    return Frame(
        pixels=THERMAL_PIXELS,
        stamp_ns=round(stamp_ms * MS),
        frame_id='thermal',
        modality=Modality.THERMAL,
    )


class Feed:
    """Drives a pairer in milliseconds and checks its books after every call."""

    def __init__(self, *, missing_after_s: float = 0.5, **sync: Any) -> None:
        self.pairer = build_pairer(
            SyncConfig(**sync), FallbackConfig(missing_after_s=missing_after_s)
        )
        self.pairs: list[tuple[float | None, float | None]] = []
        self.ready: list[Pair] = []
        self._used: dict[int, Frame] = {}  # a frame may be in several pairs with latest and hold

    def _take(self, pairs: list[Pair]) -> list[tuple[float | None, float | None]]:
        new = [
            (
                None if pair.rgb is None else pair.rgb.stamp_ns / MS,
                None if pair.thermal is None else pair.thermal.stamp_ns / MS,
            )
            for pair in pairs
        ]
        self.pairs += new
        self.ready += pairs
        for pair in pairs:
            frames = [frame for frame in (pair.rgb, pair.thermal) if frame is not None]
            self._used.update({id(frame): frame for frame in frames})
        num_paired = len(self._used)
        num_dropped = sum(self.pairer.dropped.values())
        assert sum(self.pairer.received.values()) == (
            num_paired + num_dropped + self.pairer.num_waiting
        )
        return new

    def push(self, frame: Frame, at_ms: float | None = None) -> list[Any]:
        at_ns = frame.stamp_ns if at_ms is None else round(at_ms * MS)
        return self._take(self.pairer.push(frame, at_ns))

    def poll(self, at_ms: float) -> list[Any]:
        return self._take(self.pairer.poll(round(at_ms * MS)))

    def flush(self) -> list[Any]:
        return self._take(self.pairer.flush())

    def run(self, arrivals: Iterable[tuple[float, Frame]]) -> None:
        """Push frames in order of arrival, polling at every deadline in between."""
        for at_ms, frame in sorted(arrivals, key=lambda arrival: arrival[0]):
            at_ns = round(at_ms * MS)
            while (deadline := self.pairer.next_deadline_ns) is not None and deadline <= at_ns:
                self._take(self.pairer.poll(deadline))
            self._take(self.pairer.push(frame, at_ns))

    @property
    def fused(self) -> list[tuple[float, float]]:
        return [(a, b) for a, b in self.pairs if a is not None and b is not None]
