# SPDX-License-Identifier: Apache-2.0
"""Pairing of RGB and thermal frames: frames in, pairs out, every drop counted with its reason.

Nearest match, mutual. A pair goes out as soon as no frame still to come can be nearer to either
half, which for cameras in step is the moment its second frame arrives. Frames are waited for only
as long as it makes sense, so one dead camera never silences the other.

Stamps order the frames; ``received_ns`` (any clock that does not run backwards: monotonic when
live, log time in replay) decides how long to wait. "Aligned" stamps have the camera offset
removed.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections import Counter, deque
from dataclasses import dataclass, field
from math import inf

from rgbt_perception.config import FallbackConfig, SyncConfig
from rgbt_perception.types import DropReason, Frame, Modality, NS_PER_S, Pair

# Stamps further back than this are a new start (bag loop, clock reset), not a late frame.
STAMP_JUMP_NS = NS_PER_S
# The smallest of so many stamp intervals tells how soon the next frame of a camera can come.
NUM_INTERVALS = 16


@dataclass(frozen=True, slots=True, eq=False)
class _Waiting:
    """One frame in a queue, ordered by its aligned stamp."""

    aligned_ns: int
    received_ns: int
    frame: Frame

    def __lt__(self, other: _Waiting) -> bool:
        return self.aligned_ns < other.aligned_ns


@dataclass(slots=True, eq=False)
class _Camera:
    """What is known about one camera."""

    queue: list[_Waiting] = field(default_factory=list)
    seen: set[int] = field(default_factory=set)  # aligned stamps of about the last second
    intervals: deque[int] = field(default_factory=lambda: deque(maxlen=NUM_INTERVALS))
    newest_ns: int | None = None  # largest aligned stamp
    received_ns: int | None = None  # arrival of the last frame
    resumed_ns: int | None = None  # arrival of the first frame after silence

    def note_arrival(self, received_ns: int, silence_ns: int) -> None:
        """Take over the arrival of any frame, usable or not."""
        if self.received_ns is None or received_ns - self.received_ns >= silence_ns:
            self.resumed_ns = received_ns
        self.received_ns = received_ns

    def note(self, aligned_ns: int) -> None:
        """Take over a stamp that is neither a jump nor a duplicate."""
        if self.newest_ns is None or aligned_ns > self.newest_ns:
            if self.newest_ns is not None and aligned_ns - self.newest_ns < STAMP_JUMP_NS:
                self.intervals.append(aligned_ns - self.newest_ns)  # longer ones are dropouts
            self.newest_ns = aligned_ns
            self.seen = {stamp for stamp in self.seen if stamp >= aligned_ns - STAMP_JUMP_NS}
        self.seen.add(aligned_ns)


@dataclass(frozen=True, slots=True, eq=False)
class _Unit:
    """What would go out together if no further frame came."""

    aligned_ns: int  # of the reference frame
    rgb: _Waiting | None
    thermal: _Waiting | None
    is_final: bool  # no frame to come can change it, or waiting for one is over

    def pair(self) -> Pair:
        return Pair(
            rgb=None if self.rgb is None else self.rgb.frame,
            thermal=None if self.thermal is None else self.thermal.frame,
        )


class Pairer:
    """Pairs the frames of two cameras; pure, single-threaded, without a clock of its own.

    * A pair needs ``|thermal - offset - rgb| <= max_skew`` (inclusive). The nearest wins, on a
      tie the earlier; a frame is used at most once.
    * An RGB frame without partner goes out alone: at once when thermal is missing or has already
      moved on, else ``max_wait_s`` after its arrival.
    * A thermal frame without partner goes out alone only when RGB is missing; else it is dropped.
    * A camera is missing when it was silent for ``missing_after_s`` while the other one was there:
      after a pause of both, or at the start, that long after the other camera's first frame.
    * Results leave in the order of their aligned reference stamps.
    * A stamp more than 1 s back starts over: what waits from before is dropped. The two cameras
      may jump at different moments.

    Attributes:
        received: Frames pushed, by modality.
        dropped: Frames dropped, by reason. At any time received = in pairs + dropped + waiting.
    """

    def __init__(self, config: SyncConfig, fallback: FallbackConfig) -> None:
        """Start with empty queues."""
        self.received: Counter[Modality] = Counter()
        self.dropped: Counter[DropReason] = Counter()
        self._max_skew_ns = round(config.max_skew_s * NS_PER_S)
        self._max_wait_ns = round(config.max_wait_s * NS_PER_S)
        self._missing_after_ns = round(fallback.missing_after_s * NS_PER_S)
        self._queue_size = config.queue_size
        self._offset_ns = round(config.offset_s * NS_PER_S)
        self._rgb, self._thermal = _Camera(), _Camera()
        self._now_ns = 0
        self._last_out_ns: int | None = None  # aligned reference stamp of the last pair

    @property
    def num_waiting(self) -> int:
        """Number of frames in the queues."""
        return len(self._rgb.queue) + len(self._thermal.queue)

    @property
    def next_deadline_ns(self) -> int | None:
        """When ``poll`` will next have something to decide, in the clock of ``received_ns``."""
        times = []
        for camera, other in ((self._rgb, self._thermal), (self._thermal, self._rgb)):
            times += [waiting.received_ns + self._max_wait_ns for waiting in camera.queue]
            if camera.queue:
                times.append(self._missing_at_ns(other))
        return min((time_ns for time_ns in times if time_ns > self._now_ns), default=None)

    def push(self, frame: Frame, received_ns: int) -> list[Pair]:
        """Add one frame.

        Args:
            frame: The frame; its pixels are not looked at.
            received_ns: When it arrived, ns; must not decrease from call to call.

        Returns:
            The pairs that are ready now, in order.
        """
        is_rgb = frame.modality is Modality.RGB
        camera = self._rgb if is_rgb else self._thermal
        aligned_ns = frame.stamp_ns - (0 if is_rgb else self._offset_ns)
        self.received[frame.modality] += 1
        self._now_ns = max(self._now_ns, received_ns)
        camera.note_arrival(received_ns, self._missing_after_ns)
        pairs: list[Pair] = []
        old_ns = camera.newest_ns
        if old_ns is not None and aligned_ns < old_ns - STAMP_JUMP_NS:
            pairs += self._start_over(camera, middle_ns=(old_ns + aligned_ns) // 2)
        reason = self._refuse(camera, aligned_ns, is_rgb=is_rgb)
        if reason is not None:
            self.dropped[reason] += 1
            return pairs + self._advance()
        camera.note(aligned_ns)
        insort(camera.queue, _Waiting(aligned_ns, received_ns, frame))
        pairs += self._advance()
        if len(camera.queue) > self._queue_size:
            del camera.queue[0]
            self.dropped[DropReason.QUEUE_FULL] += 1
        return pairs

    def poll(self, now_ns: int) -> list[Pair]:
        """Return what the passing of time makes ready.

        Args:
            now_ns: Current time in the clock of ``received_ns``; must not decrease.
        """
        self._now_ns = max(self._now_ns, now_ns)
        return self._advance()

    def flush(self) -> list[Pair]:
        """Return everything that still waits, as at the end of a bag; the queues are then empty.

        Thermal frames without partner go out alone only when RGB is missing or never came.
        """
        return self._advance(is_end=True)

    def _missing_at_ns(self, camera: _Camera) -> int:
        other = self._thermal if camera is self._rgb else self._rgb
        since_ns = [at for at in (camera.received_ns, other.resumed_ns) if at is not None]
        return max(since_ns, default=self._now_ns) + self._missing_after_ns

    def _refuse(self, camera: _Camera, aligned_ns: int, *, is_rgb: bool) -> DropReason | None:
        if aligned_ns in camera.seen:
            return DropReason.DUPLICATE_STAMP
        if self._last_out_ns is None:
            return None
        # RGB would come out of order; thermal has missed every RGB frame it could have joined.
        first_ns = self._last_out_ns + 1 if is_rgb else self._last_out_ns - self._max_skew_ns
        is_late = self._last_out_ns - STAMP_JUMP_NS <= aligned_ns < first_ns
        return DropReason.LATE if is_late else None

    def _start_over(self, camera: _Camera, *, middle_ns: int) -> list[Pair]:
        """Clear what waits from before ``camera`` jumped back across ``middle_ns``.

        What is nearer to the new stamps stays: the other camera may have jumped already.
        """
        cameras = (self._rgb, self._thermal)
        stays = [[w for w in each.queue if w.aligned_ns < middle_ns] for each in cameras]
        for each in cameras:
            each.queue = [w for w in each.queue if w.aligned_ns >= middle_ns]
        units = self._units(is_end=True)
        pairs = [unit.pair() for unit in units if None not in (unit.rgb, unit.thermal)]
        num_left = self.num_waiting - 2 * len(pairs)
        if num_left:
            self.dropped[DropReason.STAMP_JUMP] += num_left
        for each, queue in zip(cameras, stays, strict=True):
            each.queue = queue
        camera.seen = {stamp_ns for stamp_ns in camera.seen if stamp_ns < middle_ns}
        camera.newest_ns = None
        if self._last_out_ns is not None and self._last_out_ns >= middle_ns:
            self._last_out_ns = None
        return pairs

    def _advance(self, *, is_end: bool = False) -> list[Pair]:
        """Let out every unit that is final, and what has to go before it."""
        if not self._rgb.queue and not self._thermal.queue:
            return []
        units = self._units(is_end=is_end)
        rgb_missing = self._is_gone(self._rgb, is_end=is_end)
        goes_out = [unit.rgb is not None or rgb_missing for unit in units]
        last = max(
            (i for i, unit in enumerate(units) if unit.is_final and goes_out[i]), default=-1
        )
        pairs: list[Pair] = []
        for index, unit in enumerate(units):
            if goes_out[index] and index <= last:
                pairs += self._let_out(unit)
            elif unit.rgb is None and unit.is_final:
                self._take_from_queues(unit)
                self.dropped[DropReason.NO_PARTNER] += 1
        return pairs

    def _let_out(self, unit: _Unit) -> list[Pair]:
        self._take_from_queues(unit)
        if unit.rgb is None and self._last_out_ns is not None:
            lag_ns = self._last_out_ns - unit.aligned_ns
            if 0 <= lag_ns <= STAMP_JUMP_NS:  # a newer RGB frame has gone out already
                self.dropped[DropReason.LATE] += 1
                return []
        self._last_out_ns = unit.aligned_ns
        return [unit.pair()]

    def _take_from_queues(self, unit: _Unit) -> None:
        if unit.rgb is not None:
            self._rgb.queue.remove(unit.rgb)
        if unit.thermal is not None:
            self._thermal.queue.remove(unit.thermal)

    def _units(self, *, is_end: bool) -> list[_Unit]:
        """Match what waits, nearest first, and tell which matches can still change."""
        rgb_partner = _match(self._rgb.queue, self._thermal.queue, self._max_skew_ns)
        used = set(rgb_partner.values())
        next_rgb = self._earliest_next_ns(self._rgb, self._thermal, is_end=is_end)
        next_thermal = self._earliest_next_ns(self._thermal, self._rgb, is_end=is_end)
        units = []
        for index, rgb in enumerate(self._rgb.queue):
            if index in rgb_partner:
                thermal = self._thermal.queue[rgb_partner[index]]
                skew_ns = abs(thermal.aligned_ns - rgb.aligned_ns)
                is_safe = (
                    next_rgb >= thermal.aligned_ns + skew_ns
                    and next_thermal >= rgb.aligned_ns + skew_ns
                )
                is_final = is_safe or not skew_ns or self._is_over(rgb) or self._is_over(thermal)
                units.append(_Unit(rgb.aligned_ns, rgb, thermal, is_final))
            else:
                is_safe = next_thermal > rgb.aligned_ns + self._max_skew_ns
                is_final = is_safe or self._is_over(rgb)
                units.append(_Unit(rgb.aligned_ns, rgb, None, is_final))
        for index, thermal in enumerate(self._thermal.queue):
            if index not in used:
                is_safe = next_rgb > thermal.aligned_ns + self._max_skew_ns
                is_final = is_safe or self._is_over(thermal)
                units.append(_Unit(thermal.aligned_ns, None, thermal, is_final))
        return sorted(units, key=lambda unit: unit.aligned_ns)

    def _is_over(self, waiting: _Waiting) -> bool:
        return self._now_ns >= waiting.received_ns + self._max_wait_ns

    def _is_gone(self, camera: _Camera, *, is_end: bool) -> bool:
        is_missing = self._now_ns >= self._missing_at_ns(camera)
        return is_missing or (is_end and camera.received_ns is None)

    def _earliest_next_ns(self, camera: _Camera, other: _Camera, *, is_end: bool) -> float:
        """Return the smallest aligned stamp expected of a camera; inf when it is missing."""
        if is_end or self._is_gone(camera, is_end=is_end):
            return inf
        if camera.newest_ns is None:
            return -inf
        if other.newest_ns is not None and camera.newest_ns > other.newest_ns + STAMP_JUMP_NS:
            return -inf  # it has yet to make the jump the other camera made
        return camera.newest_ns + min(camera.intervals, default=1)


def _match(rgb: list[_Waiting], thermal: list[_Waiting], max_skew_ns: int) -> dict[int, int]:
    """Match frames greedily, nearest first, on a tie the earlier; RGB index -> thermal index."""
    thermal_ns = [waiting.aligned_ns for waiting in thermal]
    candidates = []
    for rgb_index, waiting in enumerate(rgb):
        low = bisect_left(thermal_ns, waiting.aligned_ns - max_skew_ns)
        high = bisect_right(thermal_ns, waiting.aligned_ns + max_skew_ns)
        candidates += [
            (abs(thermal_ns[index] - waiting.aligned_ns), rgb_index, index)
            for index in range(low, high)
        ]
    partner: dict[int, int] = {}
    used: set[int] = set()
    for _, rgb_index, thermal_index in sorted(candidates):
        if rgb_index not in partner and thermal_index not in used:
            partner[rgb_index] = thermal_index
            used.add(thermal_index)
    return partner
