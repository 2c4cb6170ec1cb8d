# SPDX-License-Identifier: Apache-2.0
"""Policies ``approximate_time`` and ``exact_time``: message_filters with its stock semantics.

Stock means: the first match within the window instead of the nearest, a difference equal to the
window does not match, no deadline, no frame alone, and silence after a bag loop. Two of its traps
are kept out: nothing foreign runs inside its lock, since the callback only appends to a list, and
what it throws away is counted.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from builtin_interfaces.msg import Time

from rgbt_perception.clock_offset import ClockOffsetEstimator, OffsetEstimate, OffsetFollower
from rgbt_perception.config import FallbackConfig, SyncConfig
from rgbt_perception.errors import BackendUnavailableError
from rgbt_perception.sync import build_pairer, FramePairer, STOCK_POLICIES
from rgbt_perception.types import DropReason, Frame, Modality, NS_PER_S, Pair

MAX_STAMP_NS = NS_PER_S << 31  # what builtin_interfaces/Time can hold


def build_ros_pairer(sync: SyncConfig, fallback: FallbackConfig) -> FramePairer:
    """Build what ``sync.policy`` names, those of message_filters included.

    Raises:
        BackendUnavailableError: If the policy needs message_filters and it is not installed.
    """
    if sync.policy in STOCK_POLICIES:
        return StockPairer(sync)
    return build_pairer(sync, fallback)


class _Header:
    __slots__ = ('stamp',)

    def __init__(self, stamp_ns: int) -> None:
        seconds, nanoseconds = divmod(stamp_ns, NS_PER_S)
        self.stamp = Time(sec=seconds, nanosec=nanoseconds)


class _Stamped:
    """A frame as message_filters wants it: with a header."""

    __slots__ = ('aligned_ns', 'frame', 'header')

    def __init__(self, frame: Frame, aligned_ns: int) -> None:
        self.header = _Header(aligned_ns)
        self.frame, self.aligned_ns = frame, aligned_ns


class StockPairer:
    """Pairs frames with message_filters' own synchroniser.

    Attributes:
        dropped: Frames dropped, by reason. At any time received = in pairs + dropped + waiting.
    """

    def __init__(self, config: SyncConfig) -> None:
        """Build the synchroniser that ``config.policy`` names.

        Raises:
            BackendUnavailableError: If message_filters is not installed.
        """
        try:
            import message_filters
        except ImportError as error:
            raise BackendUnavailableError(
                f"sync.policy is '{config.policy}', which needs message_filters, and that is not "
                f'installed ({error}); install ros-$ROS_DISTRO-message-filters with apt, or set '
                f"sync.policy to 'nearest', the default"
            ) from error
        self.dropped: Counter[DropReason] = Counter()
        self.received: Counter[Modality] = Counter()
        self._num_in_pairs = 0
        self._ready: list[Pair] = []
        self._inputs = {modality: message_filters.SimpleFilter() for modality in Modality}
        inputs = list(self._inputs.values())
        self._synchroniser: Any = (
            message_filters.TimeSynchronizer(inputs, config.queue_size)
            if config.policy == 'exact_time'
            else message_filters.ApproximateTimeSynchronizer(
                inputs, config.queue_size, config.max_skew_s
            )
        )
        self._synchroniser.registerCallback(self._take)
        self._is_exact = config.policy == 'exact_time'
        self._config = config
        self._offset_ns = round(config.offset_s * NS_PER_S)
        self._estimator: ClockOffsetEstimator | None = None
        self._follower: OffsetFollower | None = None
        self._build_estimator()

    @property
    def num_waiting(self) -> int:
        """Number of frames in the synchroniser's queues."""
        return sum(len(queue) for queue in self._synchroniser.queues)

    @property
    def next_deadline_ns(self) -> int | None:
        """None: the stock synchroniser has no deadlines."""
        return None

    @property
    def offset_estimate(self) -> OffsetEstimate | None:
        """Clock offset as far as it is known; None when it is not estimated or not known yet."""
        return None if self._estimator is None else self._estimator.estimate

    @property
    def offset_s(self) -> float:
        """Offset subtracted from thermal stamps at present, s."""
        return self._offset_ns / NS_PER_S

    def push(self, frame: Frame, received_ns: int) -> list[Pair]:
        """Add one frame; return the pairs it completes.

        Args:
            frame: The frame; its pixels are not looked at.
            received_ns: When it arrived, ns; only the clock offset is estimated from it.
        """
        is_rgb = frame.modality is Modality.RGB
        self.received[frame.modality] += 1
        if self._estimator is not None and self._estimator.note(
            is_rgb, frame.stamp_ns, received_ns
        ):
            self._follow_offset()
        aligned_ns = frame.stamp_ns - (0 if is_rgb else self._offset_ns)
        if not 0 <= aligned_ns < MAX_STAMP_NS:  # would raise with the synchroniser's lock held
            self.dropped[DropReason.BAD_FRAME] += 1
            return []
        if aligned_ns in self._synchroniser.queues[0 if is_rgb else 1]:
            self.dropped[DropReason.DUPLICATE_STAMP] += 1  # overwrites the one that waits
        self._inputs[frame.modality].signalMessage(_Stamped(frame, aligned_ns))
        return self._collect()

    def poll(self, now_ns: int) -> list[Pair]:  # noqa: ARG002 part of FramePairer
        """Return nothing: the stock synchroniser does not act on time."""
        return []

    def flush(self) -> list[Pair]:
        """Drop what waits: the stock synchroniser lets nothing out alone."""
        if self.num_waiting:
            self.dropped[DropReason.NO_PARTNER] += self.num_waiting
        for queue in self._synchroniser.queues:
            queue.clear()
        return []

    def reconfigure(self, config: SyncConfig, fallback: FallbackConfig) -> None:  # noqa: ARG002
        """Take over max_skew_s, offset_s and offset_estimate; the rest does not apply here."""
        old, self._config = self._config, config
        if not self._is_exact and old.max_skew_s != config.max_skew_s:
            from rclpy.duration import Duration

            self._synchroniser.slop = Duration(seconds=config.max_skew_s)
        if (old.offset_s, old.offset_estimate) != (config.offset_s, config.offset_estimate):
            self._offset_ns = round(config.offset_s * NS_PER_S)
            self._build_estimator()

    def _build_estimator(self) -> None:
        kind = self._config.offset_estimate
        if kind == 'off':
            self._estimator = None
        elif self._estimator is None:
            self._estimator = ClockOffsetEstimator()
        self._follower = OffsetFollower(self._offset_ns) if kind == 'apply' else None

    def _follow_offset(self) -> None:
        estimate = self.offset_estimate
        if self._follower is not None and estimate is not None:
            max_skew_ns = round(self._config.max_skew_s * NS_PER_S)
            self._offset_ns = self._follower.update(estimate, max_skew_ns)

    def _take(self, rgb: _Stamped, thermal: _Stamped) -> None:
        # Runs inside the synchroniser's lock, which an exception here would leave held for ever.
        offset_ns = thermal.frame.stamp_ns - thermal.aligned_ns
        self._ready.append(Pair(rgb=rgb.frame, thermal=thermal.frame, offset_ns=offset_ns))

    def _collect(self) -> list[Pair]:
        pairs, self._ready = self._ready, []
        self._num_in_pairs += 2 * len(pairs)
        num_known = self._num_in_pairs + self.dropped.total() + self.num_waiting
        num_evicted = self.received.total() - num_known
        if num_evicted:
            self.dropped[DropReason.QUEUE_FULL] += num_evicted
        return pairs
