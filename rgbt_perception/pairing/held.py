# SPDX-License-Identifier: Apache-2.0
"""The reference camera at its own rate: each of its frames goes out at once.

With policy ``latest`` the other camera's newest frame within ``max_skew_s`` goes with it; with
``hold`` the newest one that is at most ``max_hold_s`` older, so that a slow camera is used again
and again. Nothing of the reference camera ever waits.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right

from rgbt_perception.config import FallbackConfig, SyncConfig
from rgbt_perception.pairing.base import BasePairer
from rgbt_perception.pairing.camera import CameraTrack, NEVER_NS, STAMP_JUMP_NS
from rgbt_perception.types import DropReason, Frame, Modality, Pair


class _Held:
    """A frame of the other camera, ready to be used."""

    __slots__ = ('frame', 'is_used')

    def __init__(self, frame: Frame) -> None:
        self.frame = frame
        self.is_used = False


class HoldPairer(BasePairer):
    """Pairs every frame of the reference camera with the newest one of the other.

    * The other frame is at most ``max_skew_s`` newer than the reference frame, and at most
      ``max_skew_s`` (``latest``) or ``max_hold_s`` (``hold``) older; without one the reference
      frame goes out alone, or is dropped with ``unmatched: drop`` while the other camera delivers.
    * A frame of the other camera may be part of several pairs. One that was in none is counted as
      dropped when a newer one has taken its place.
    * When the reference camera is missing, frames of the other one go out alone.
    * Results leave in the order of their aligned reference stamps.
    """

    def __init__(self, config: SyncConfig, fallback: FallbackConfig) -> None:
        """Start with nothing held."""
        self._stamps: list[int] = []  # aligned, ascending, of what is held
        self._held: list[_Held] = []
        self._num_unused = 0
        self._is_rgb_reference = config.reference == 'rgb'
        self._holds = config.policy == 'hold'
        super().__init__(config, fallback)
        cameras = (self._rgb, self._thermal)
        self._reference, self._other = cameras if self._is_rgb_reference else cameras[::-1]

    @property
    def num_waiting(self) -> int:
        """Number of frames of the other camera that were in no pair yet."""
        return self._num_unused

    @property
    def next_deadline_ns(self) -> int | None:
        """When the reference camera will count as missing, while something waits for it."""
        missing_ns = self._missing_at_ns(self._reference)
        return missing_ns if self._num_unused and missing_ns > self._now_ns else None

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
        aligned_ns = stamp_ns if is_rgb else stamp_ns - self._offset_ns
        camera = self._rgb if is_rgb else self._thermal
        camera.num_received += 1
        pairs: list[Pair] = []
        if aligned_ns <= camera.newest_ns or aligned_ns <= self._last_out_ns:
            pairs, reason = self._screen(camera, frame, aligned_ns)
            if reason is not None:
                self.dropped[reason] += 1
                return pairs + self._let_other_go()
        camera.note(aligned_ns, received_ns, self._missing_after_ns)
        if camera is self._reference:
            return pairs + self._pair_reference(aligned_ns, frame)
        self._hold(aligned_ns, frame)
        return pairs + self._let_other_go()

    def poll(self, now_ns: int) -> list[Pair]:
        """Return what the passing of time makes ready.

        Args:
            now_ns: Current time in the clock of ``received_ns``; must not decrease.
        """
        self._now_ns = max(self._now_ns, now_ns)
        return self._let_other_go()

    def flush(self) -> list[Pair]:
        """Return everything that still waits, as at the end of a bag; nothing is then held.

        Frames of the other camera go out alone only when the reference is missing or never came.
        """
        never_came = self._reference.received_ns == NEVER_NS
        pairs = self._let_other_go(is_forced=never_came)
        self._forget(len(self._held), DropReason.NO_PARTNER)
        return pairs

    def _pair_reference(self, aligned_ns: int, frame: Frame) -> list[Pair]:
        """Let a reference frame out, with the newest other one that is near enough."""
        older_ns = self._max_hold_ns if self._holds else self._max_skew_ns
        index = bisect_right(self._stamps, aligned_ns + self._max_skew_ns) - 1
        partner = None
        if index >= 0 and self._stamps[index] >= aligned_ns - older_ns:
            partner = self._held[index]
            self._use(partner)
            self._forget(index, DropReason.NO_PARTNER)
        else:
            self._forget(index + 1, DropReason.NO_PARTNER)
            if self._drops_unmatched and not self._is_gone(self._other):
                self.dropped[DropReason.NO_PARTNER] += 1
                return []
        self._last_out_ns = aligned_ns
        return [self._pair(frame, None if partner is None else partner.frame)]

    def _let_other_go(self, *, is_forced: bool = False) -> list[Pair]:
        """Let the newest unused frame of the other camera out while the reference is missing."""
        if not self._num_unused or not (is_forced or self._is_gone(self._reference)):
            return []
        newest, newest_ns = self._held[-1], self._stamps[-1]
        if newest.is_used or 0 <= self._last_out_ns - newest_ns <= STAMP_JUMP_NS:
            self._forget(len(self._held), DropReason.LATE)
            return []
        self._use(newest)
        self._forget(len(self._held) - 1, DropReason.NO_PARTNER)
        self._last_out_ns = newest_ns
        return [self._pair(None, newest.frame)]

    def _pair(self, reference: Frame | None, other: Frame | None) -> Pair:
        if self._is_rgb_reference:
            return Pair(rgb=reference, thermal=other, offset_ns=self._offset_ns)
        return Pair(rgb=other, thermal=reference, offset_ns=self._offset_ns)

    def _hold(self, aligned_ns: int, frame: Frame) -> None:
        index = bisect_left(self._stamps, aligned_ns)
        self._stamps.insert(index, aligned_ns)
        self._held.insert(index, _Held(frame))
        self._num_unused += 1
        if len(self._held) > self._queue_size:
            self._forget(1, DropReason.QUEUE_FULL)

    def _use(self, held: _Held) -> None:
        if not held.is_used:
            held.is_used = True
            self._num_unused -= 1

    def _forget(self, num: int, reason: DropReason) -> None:
        """Let go of the oldest ``num`` frames; those that were in no pair count as dropped."""
        if num <= 0:
            return
        num_unused = sum(not held.is_used for held in self._held[:num])
        if num_unused:
            self.dropped[reason] += num_unused
            self._num_unused -= num_unused
        del self._stamps[:num], self._held[:num]

    def _is_late(self, camera: CameraTrack, aligned_ns: int) -> bool:
        if camera is not self._reference:
            return False  # what is too old is never the newest one near enough
        return self._last_out_ns - STAMP_JUMP_NS <= aligned_ns <= self._last_out_ns

    def _start_over(self, middle_ns: int) -> list[Pair]:
        first = bisect_left(self._stamps, middle_ns)
        stamps, held = self._stamps[:first], self._held[:first]
        del self._stamps[:first], self._held[:first]
        self._forget(len(self._held), DropReason.STAMP_JUMP)
        self._stamps, self._held = stamps, held
        return []

    def _shift_thermal(self, by_ns: int) -> None:
        if self._is_rgb_reference:
            self._stamps = [stamp_ns + by_ns for stamp_ns in self._stamps]
        elif self._last_out_ns != NEVER_NS:
            self._last_out_ns += by_ns
