# SPDX-License-Identifier: Apache-2.0
"""What all pairing rules share: the books, the clock offset, and what to do with odd stamps."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter

from rgbt_perception.clock_offset import ClockOffsetEstimator, OffsetEstimate, OffsetFollower
from rgbt_perception.config import FallbackConfig, SyncConfig
from rgbt_perception.pairing.camera import (
    CameraTrack,
    JUMP_GRACE_NS,
    NEVER_NS,
    STAMP_JUMP_NS,
)
from rgbt_perception.types import DropReason, Frame, Modality, NS_PER_S, Pair


class BasePairer(ABC):
    """Base of the pairing rules; pure, single-threaded, without a clock of its own.

    Stamps order the frames; ``received_ns`` (any clock that does not run backwards: monotonic
    when live, log time in replay) decides how long to wait.

    Attributes:
        dropped: Frames dropped, by reason. At any time received = in pairs + dropped + waiting.
    """

    def __init__(self, config: SyncConfig, fallback: FallbackConfig) -> None:
        """Start with empty queues."""
        self.dropped: Counter[DropReason] = Counter()
        self._rgb, self._thermal = CameraTrack(), CameraTrack()
        self._rgb.other, self._thermal.other = self._thermal, self._rgb
        self._now_ns = 0
        self._last_out_ns = NEVER_NS  # aligned reference stamp of the last pair
        self._estimator: ClockOffsetEstimator | None = None
        self._follower: OffsetFollower | None = None
        self._config = config
        self._offset_ns = round(config.offset_s * NS_PER_S)
        self._queue_size = config.queue_size
        self._take_over(config, fallback, is_new_offset=True)

    @property
    def received(self) -> Counter[Modality]:
        """Frames pushed, by modality."""
        counts = {
            Modality.RGB: self._rgb.num_received,
            Modality.THERMAL: self._thermal.num_received,
        }
        return Counter({modality: count for modality, count in counts.items() if count})

    @property
    def offset_estimate(self) -> OffsetEstimate | None:
        """Clock offset as far as it is known; None when it is not estimated or not known yet."""
        return None if self._estimator is None else self._estimator.estimate

    @property
    def offset_s(self) -> float:
        """Offset subtracted from thermal stamps at present, s: as set, or as estimated."""
        return self._offset_ns / NS_PER_S

    def reconfigure(self, config: SyncConfig, fallback: FallbackConfig) -> None:
        """Take over new live settings; what waits goes on waiting under the new rules.

        ``policy``, ``reference`` and ``queue_size`` are not live: they stay as they were.
        """
        old = self._config
        is_new = (old.offset_s, old.offset_estimate) != (config.offset_s, config.offset_estimate)
        self._take_over(config, fallback, is_new_offset=is_new)
        if is_new:
            self._set_offset(round(config.offset_s * NS_PER_S))
            self._follow_offset()

    def _take_over(
        self, config: SyncConfig, fallback: FallbackConfig, *, is_new_offset: bool
    ) -> None:
        self._config = config
        self._max_skew_ns = self._skew_ns(config)
        self._max_wait_ns = round(config.max_wait_s * NS_PER_S)
        self._max_hold_ns = round(config.max_hold_s * NS_PER_S)
        self._missing_after_ns = round(fallback.missing_after_s * NS_PER_S)
        self._drops_unmatched = config.unmatched == 'drop'
        if config.offset_estimate == 'off':
            self._estimator = None
        elif self._estimator is None:
            self._estimator = ClockOffsetEstimator()
        if config.offset_estimate != 'apply':
            self._follower = None
        elif is_new_offset:
            self._follower = OffsetFollower(round(config.offset_s * NS_PER_S))

    def _skew_ns(self, config: SyncConfig) -> int:
        return round(config.max_skew_s * NS_PER_S)

    def _follow_offset(self) -> None:
        """Apply a new estimate of the clock offset, when that is wanted."""
        estimate = self.offset_estimate
        if self._follower is not None and estimate is not None:
            self._set_offset(self._follower.update(estimate, self._max_skew_ns))

    def _set_offset(self, offset_ns: int) -> None:
        by_ns = self._offset_ns - offset_ns
        if by_ns:
            self._offset_ns = offset_ns
            self._thermal.shift(by_ns)
            self._shift_thermal(by_ns)

    def _screen(
        self, camera: CameraTrack, frame: Frame, aligned_ns: int
    ) -> tuple[list[Pair], DropReason | None]:
        """Look at a frame whose stamp is not simply the next one.

        Returns:
            Pairs that go out because the stamps start over, and why the frame is refused, if so.
        """
        newest_ns = camera.newest_ns
        if not frame.stamp_ns and newest_ns > STAMP_JUMP_NS:  # the driver did not set it
            return [], DropReason.BAD_FRAME
        if NEVER_NS < aligned_ns < newest_ns - STAMP_JUMP_NS:
            return self._jump_back(camera, aligned_ns), None
        if camera.is_repeated(aligned_ns):
            reason = DropReason.DUPLICATE_STAMP
        elif self._is_late(camera, aligned_ns):
            reason = DropReason.LATE
            camera.note_arrival(self._now_ns, self._missing_after_ns)
        else:
            return [], None
        if camera.has_stepped_back(aligned_ns, self._now_ns):
            return self._jump_back(camera, aligned_ns), None
        return [], reason

    def _jump_back(self, camera: CameraTrack, aligned_ns: int) -> list[Pair]:
        """Clear what is from before a jump; the other camera may jump now, later or never."""
        middle_ns = (camera.newest_ns + aligned_ns) // 2
        pairs = self._start_over(middle_ns)
        other = self._thermal if camera is self._rgb else self._rgb
        camera.start_over(middle_ns)
        other.forget_repeats(middle_ns)
        other.expect_jump(middle_ns, self._now_ns + JUMP_GRACE_NS)
        if self._last_out_ns >= middle_ns:
            self._last_out_ns = NEVER_NS
        if self._estimator is not None:
            self._estimator.start_over()
        return pairs

    def _missing_at_ns(self, camera: CameraTrack) -> int:
        """When a camera counts as missing, should it stay silent.

        Silence counts from its last frame; after a pause of both, or at the start, from the
        other camera's first one.
        """
        other = self._thermal if camera is self._rgb else self._rgb
        since_ns = max(camera.received_ns, other.resumed_ns)
        return (self._now_ns if since_ns == NEVER_NS else since_ns) + self._missing_after_ns

    def _is_gone(self, camera: CameraTrack) -> bool:
        return self._now_ns >= self._missing_at_ns(camera)

    @property
    @abstractmethod
    def num_waiting(self) -> int:
        """Number of frames that wait."""

    @property
    @abstractmethod
    def next_deadline_ns(self) -> int | None:
        """When ``poll`` will next have something to decide, in the clock of ``received_ns``."""

    @abstractmethod
    def push(self, frame: Frame, received_ns: int) -> list[Pair]:
        """Add one frame.

        Args:
            frame: The frame; its pixels are not looked at.
            received_ns: When it arrived, ns; must not decrease from call to call.

        Returns:
            The pairs that are ready now, in order.
        """

    @abstractmethod
    def poll(self, now_ns: int) -> list[Pair]:
        """Return what the passing of time makes ready.

        Args:
            now_ns: Current time in the clock of ``received_ns``; must not decrease.
        """

    @abstractmethod
    def flush(self) -> list[Pair]:
        """Return everything that still waits, as at the end of a bag; the queues are then empty.

        Frames of the other camera without partner go out alone only when the reference camera is
        missing or never came.
        """

    @abstractmethod
    def _is_late(self, camera: CameraTrack, aligned_ns: int) -> bool:
        """Tell whether a frame comes after everything it could have gone out with."""

    @abstractmethod
    def _start_over(self, middle_ns: int) -> list[Pair]:
        """Pair or drop what waits from ``middle_ns`` on; what is before it stays."""

    @abstractmethod
    def _shift_thermal(self, by_ns: int) -> None:
        """Move the aligned stamps of waiting thermal frames."""
