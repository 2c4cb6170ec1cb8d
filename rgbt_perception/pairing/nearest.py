# SPDX-License-Identifier: Apache-2.0
"""Nearest match: a pair goes out as soon as no frame still to come can be nearer to either half.

Both queues are in order of aligned stamps, and only their heads are looked at: the earlier head
either has its partner in the other head, or can no longer get one, or waits. So the work per frame
does not grow with what waits.
"""

from __future__ import annotations

from collections import deque

from rgbt_perception.config import FallbackConfig, SyncConfig
from rgbt_perception.pairing.base import BasePairer
from rgbt_perception.pairing.camera import CameraTrack, NEVER_NS, STAMP_JUMP_NS
from rgbt_perception.types import DropReason, Frame, Modality, Pair

# (aligned stamp, arrival, frame); arrivals never decrease along a queue, see ``_insert``.
_Waiting = tuple[int, int, Frame]
_Queue = deque[_Waiting]

# Frames that prefer one another in turn, each a nearer one; longer chains wait for the deadline.
MAX_CHAIN = 32


class Pairer(BasePairer):
    """Pairs the nearest frames of two cameras (policies ``nearest`` and ``exact``).

    * A pair needs ``|thermal - offset - rgb| <= max_skew`` (inclusive; 0 with policy ``exact``).
      The nearest wins, on a tie the earlier; a frame is used at most once, and pairs do not cross.
    * An RGB frame without partner goes out alone: at once when thermal is missing or has already
      moved on, else ``max_wait_s`` after its arrival, or when the queue is full. With
      ``unmatched: drop`` it is dropped unless thermal is missing.
    * A thermal frame without partner goes out alone only when RGB is missing; else it is dropped.
    * A camera is missing when it gave nothing usable for ``missing_after_s`` while the other one
      was there: after a pause of both, or at the start, that long after the other camera's first
      frame.
    * Results leave in the order of their aligned reference stamps.
    * A stamp more than 1 s back, or three frames in a row that are refused for being behind,
      start over: what waits from before is dropped. The two cameras may jump at different moments.
    """

    def __init__(self, config: SyncConfig, fallback: FallbackConfig) -> None:
        """Start with empty queues."""
        self._rgb_queue: _Queue = deque()
        self._thermal_queue: _Queue = deque()
        super().__init__(config, fallback)

    @property
    def num_waiting(self) -> int:
        """Number of frames in the queues."""
        return len(self._rgb_queue) + len(self._thermal_queue)

    @property
    def next_deadline_ns(self) -> int | None:
        """When ``poll`` will next have something to decide, in the clock of ``received_ns``."""
        times = []
        if self._rgb_queue:
            times += [self._over_at_ns(self._rgb_queue), self._missing_at_ns(self._thermal)]
        if self._thermal_queue:
            times += [self._over_at_ns(self._thermal_queue), self._missing_at_ns(self._rgb)]
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
        stamp_ns = frame.stamp_ns
        if received_ns > self._now_ns:  # noqa: PLR1730 max() costs more, and this runs per frame
            self._now_ns = received_ns
        if self._estimator is not None and self._estimator.note(is_rgb, stamp_ns, received_ns):
            self._follow_offset()
        if is_rgb:
            camera, queue, aligned_ns = self._rgb, self._rgb_queue, stamp_ns
        else:
            camera, queue = self._thermal, self._thermal_queue
            aligned_ns = stamp_ns - self._offset_ns
        camera.num_received += 1
        pairs: list[Pair] = []
        if aligned_ns <= camera.newest_ns or aligned_ns <= self._last_out_ns:
            pairs, reason = self._screen(camera, frame, aligned_ns)
            if reason is not None:
                self.dropped[reason] += 1
                return pairs + self._advance()
        camera.note(aligned_ns, received_ns, self._missing_after_ns)
        if not queue or aligned_ns > queue[-1][0]:
            queue.append((aligned_ns, received_ns, frame))
        else:
            _insert(queue, aligned_ns, received_ns, frame)
        ready = self._advance()
        if len(queue) > self._queue_size:
            ready += self._give_way(queue)
        return pairs + ready if pairs else ready

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

    def _skew_ns(self, config: SyncConfig) -> int:
        return 0 if config.policy == 'exact' else super()._skew_ns(config)

    def _is_late(self, camera: CameraTrack, aligned_ns: int) -> bool:
        # RGB would come out of order; thermal has missed every RGB frame it could have joined.
        last_ns = self._last_out_ns
        first_ns = last_ns + 1 if camera is self._rgb else last_ns - self._max_skew_ns
        return last_ns - STAMP_JUMP_NS <= aligned_ns < first_ns

    def _over_at_ns(self, queue: _Queue) -> int:
        return queue[0][1] + self._max_wait_ns

    def _advance(self, *, is_end: bool = False) -> list[Pair]:
        """Let out what is decided, the earlier head first."""
        rgb_queue, thermal_queue = self._rgb_queue, self._thermal_queue
        pairs: list[Pair] = []
        while rgb_queue and thermal_queue:
            skew_ns = thermal_queue[0][0] - rgb_queue[0][0]
            if -self._max_skew_ns <= skew_ns <= self._max_skew_ns:
                is_pair = not skew_ns or self._is_pair(skew_ns, is_end=is_end)
            else:
                is_pair = self._is_apart(is_rgb=skew_ns > 0, is_end=is_end)
            if is_pair is None:
                return pairs
            if is_pair:
                self._last_out_ns, _, rgb = rgb_queue.popleft()
                thermal = thermal_queue.popleft()[2]
                pairs.append(Pair(rgb=rgb, thermal=thermal, offset_ns=self._offset_ns))
            elif skew_ns > 0:
                self._let_rgb_go(pairs)
            else:
                self._let_thermal_go(pairs, is_end=is_end)
        while rgb_queue and self._is_alone(rgb_queue, self._thermal, is_end=is_end):
            self._let_rgb_go(pairs)
        while thermal_queue and self._is_alone(thermal_queue, self._rgb, is_end=is_end):
            self._let_thermal_go(pairs, is_end=is_end)
        return pairs

    def _is_pair(self, skew_ns: int, *, is_end: bool) -> bool | None:
        """Tell whether the two heads, near enough, are a pair; None when a frame to come decides.

        They are one unless the later head prefers the next frame of the earlier head's camera.
        """
        if skew_ns > 0:
            earlier, later, camera, gap_ns = (
                self._rgb_queue,
                self._thermal_queue,
                self._rgb,
                skew_ns,
            )
        else:
            earlier, later, camera = self._thermal_queue, self._rgb_queue, self._thermal
            gap_ns = -skew_ns
        if len(earlier) == 1 and camera.next_ns - later[0][0] >= gap_ns:  # by far the usual case
            return True
        return self._follow_chain(is_rgb=skew_ns > 0, gap_ns=gap_ns, is_end=is_end)

    def _follow_chain(self, *, is_rgb: bool, gap_ns: int, is_end: bool) -> bool | None:
        """Tell whether the two heads, ``gap_ns`` apart, the earlier of RGB or not, are a pair.

        The frame that the later head prefers is free for it unless that one prefers the next
        frame of the later head's camera, and so on; the last link of the chain holds, the one
        before it does not, the one before that does.
        """
        queues = (self._thermal_queue, self._rgb_queue)
        indices = [0, 0]
        is_pair = True
        for _ in range(MAX_CHAIN):
            queue, camera = queues[is_rgb], self._rgb if is_rgb else self._thermal
            later_ns = queues[not is_rgb][indices[not is_rgb]][0]
            indices[is_rgb] += 1
            is_known = indices[is_rgb] < len(queue)
            next_ns = queue[indices[is_rgb]][0] if is_known else camera.next_ns
            if is_known and next_ns <= later_ns:
                return not is_pair
            if next_ns - later_ns >= gap_ns:
                return is_pair
            if not is_known:
                is_decided = is_end or self._is_gone(camera) or self._is_over()
                return is_pair if is_decided else None
            is_rgb, is_pair, gap_ns = not is_rgb, not is_pair, next_ns - later_ns
        return True if is_end or self._is_over() else None

    def _is_over(self) -> bool:
        """Tell whether one of the two heads has waited long enough."""
        first_ns = min(self._over_at_ns(self._rgb_queue), self._over_at_ns(self._thermal_queue))
        return self._now_ns >= first_ns

    def _is_apart(self, *, is_rgb: bool, is_end: bool) -> bool | None:
        """Tell whether the earlier head, of RGB or not, goes alone though the later one waits.

        Returns:
            False when it goes; None while either waits.
        """
        earlier, later = self._rgb_queue, self._thermal_queue
        other = self._thermal
        if not is_rgb:
            earlier, later, other = later, earlier, self._rgb
        if self._is_alone(earlier, other, is_end=is_end):
            return False
        is_over = self._now_ns >= self._over_at_ns(later)
        if is_over and (not is_rgb or self._is_gone(self._rgb)):
            return False  # the later one goes out now, and the earlier one before it
        if is_rgb:
            while later and self._now_ns >= self._over_at_ns(later):
                later.popleft()
                self.dropped[DropReason.NO_PARTNER] += 1
        return None

    def _is_alone(self, queue: _Queue, other: CameraTrack, *, is_end: bool) -> bool:
        """Tell whether the head of a queue can no longer get a partner, or waited long enough."""
        aligned_ns, received_ns, _ = queue[0]
        now_ns, next_ns = self._now_ns, other.next_ns
        return (
            next_ns > aligned_ns + self._max_skew_ns
            or now_ns >= received_ns + self._max_wait_ns
            or (len(queue) > 1 and queue[1][0] <= next_ns)  # that one will be nearer
            or is_end
            or (
                now_ns >= other.received_ns + self._missing_after_ns  # else it cannot be gone
                and now_ns >= self._missing_at_ns(other)
            )
        )

    def _let_rgb_go(self, pairs: list[Pair]) -> None:
        aligned_ns, _, frame = self._rgb_queue.popleft()
        if self._drops_unmatched and not self._is_gone(self._thermal):
            self.dropped[DropReason.NO_PARTNER] += 1
            return
        self._last_out_ns = aligned_ns
        pairs.append(Pair(rgb=frame, thermal=None))

    def _let_thermal_go(self, pairs: list[Pair], *, is_end: bool) -> None:
        aligned_ns, _, frame = self._thermal_queue.popleft()
        is_first = is_end and self._rgb.received_ns == NEVER_NS
        if not (is_first or self._is_gone(self._rgb)):
            self.dropped[DropReason.NO_PARTNER] += 1
        elif 0 <= self._last_out_ns - aligned_ns <= STAMP_JUMP_NS:
            self.dropped[DropReason.LATE] += 1  # a newer RGB frame has gone out already
        else:
            self._last_out_ns = aligned_ns
            pairs.append(Pair(rgb=None, thermal=frame))

    def _give_way(self, queue: _Queue) -> list[Pair]:
        """Make room in a full queue: the oldest RGB frame goes alone, a thermal one is lost."""
        pairs: list[Pair] = []
        if queue is self._rgb_queue and not self._drops_unmatched:
            self._let_rgb_go(pairs)
        else:
            queue.popleft()
            self.dropped[DropReason.QUEUE_FULL] += 1
        return pairs

    def _start_over(self, middle_ns: int) -> list[Pair]:
        """Pair what waits from ``middle_ns`` on as it is, and drop the rest of it."""
        rgb_queue, thermal_queue = self._rgb_queue, self._thermal_queue
        rgb_stays, thermal_stays = (
            _take_before(rgb_queue, middle_ns),
            _take_before(thermal_queue, middle_ns),
        )
        pairs = []
        while rgb_queue and thermal_queue:
            skew_ns = thermal_queue[0][0] - rgb_queue[0][0]
            if abs(skew_ns) <= self._max_skew_ns and self._is_pair(skew_ns, is_end=True):
                rgb, thermal = rgb_queue.popleft()[2], thermal_queue.popleft()[2]
                pairs.append(Pair(rgb=rgb, thermal=thermal, offset_ns=self._offset_ns))
            else:
                (rgb_queue if skew_ns > 0 else thermal_queue).popleft()
                self.dropped[DropReason.STAMP_JUMP] += 1
        if self.num_waiting:
            self.dropped[DropReason.STAMP_JUMP] += self.num_waiting
        for queue, stays in ((rgb_queue, rgb_stays), (thermal_queue, thermal_stays)):
            queue.clear()
            queue.extend(stays)
        return pairs

    def _shift_thermal(self, by_ns: int) -> None:
        queue = self._thermal_queue
        for _ in range(len(queue)):
            aligned_ns, received_ns, frame = queue.popleft()
            queue.append((aligned_ns + by_ns, received_ns, frame))


def _insert(queue: _Queue, aligned_ns: int, received_ns: int, frame: Frame) -> None:
    """Insert a frame that came out of order.

    As frames leave in order of their stamps, it cannot wait longer than the one behind it; its
    arrival is set to that one's, so that the head of a queue always has the first deadline.
    """
    behind = []
    while queue and queue[-1][0] > aligned_ns:
        behind.append(queue.pop())
    queue.append((aligned_ns, min(received_ns, behind[-1][1]), frame))
    queue.extend(reversed(behind))


def _take_before(queue: _Queue, middle_ns: int) -> list[_Waiting]:
    taken = []
    while queue and queue[0][0] < middle_ns:
        taken.append(queue.popleft())
    return taken
