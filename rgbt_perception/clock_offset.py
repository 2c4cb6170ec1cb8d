# SPDX-License-Identifier: Apache-2.0
"""How far the clocks of the two cameras are apart, from stamps and times of arrival alone.

A frame's transit (arrival minus stamp) is the difference of two clocks plus the time it travelled.
The smallest transit of a second is nearly free of queueing, so the difference between the smallest
transits of both cameras is their clock offset plus the difference of their fastest journeys. It
needs no pair to be formed, and works where stamps are seconds apart. What it cannot tell is a
constant difference of transport from a clock offset; below ``TRANSPORT_NS`` nothing is applied.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from itertools import pairwise
from math import isfinite, nan, sqrt
from statistics import median

from rgbt_perception.types import NS_PER_S

BLOCK_NS = NS_PER_S
FIRST_BLOCK_NS = 200_000_000  # the first ones are shorter, so that a large offset is soon told
NUM_FIRST_BLOCKS = 8
NUM_BLOCKS = 60  # a minute, for the drift
NUM_RECENT = 15  # blocks of which the offset is the median
MIN_BLOCKS = 5  # for a confident offset
MIN_DRIFT_BLOCKS = 20
MAX_SPREAD_S = 0.01
MAX_DRIFT_ERROR_PPM = 30.0
MIN_DRIFT_PPM = 20.0  # smaller drifts are normal for quartz clocks
TRANSPORT_NS = 50_000_000  # a smaller difference may as well be transport
MIN_STEP_NS = 1_000_000
MAD_TO_SIGMA = 1.4826
_FAR_NS = 1 << 62


@dataclass(frozen=True, slots=True, kw_only=True)
class OffsetEstimate:
    """Clock offset between the cameras: thermal stamps minus RGB stamps of the same moment.

    Attributes:
        offset_s: Positive when thermal runs ahead of RGB, s. Includes any difference between the
            fastest journeys of the two cameras' images.
        spread_s: Standard deviation of one block's estimate, s.
        drift_ppm: Change of the offset, microseconds per second; NaN while it cannot be told.
        span_s: Time the estimate rests on, s.
        is_confident: True when enough was seen and the spread is small.
    """

    offset_s: float
    spread_s: float
    drift_ppm: float
    span_s: float
    is_confident: bool


class ClockOffsetEstimator:
    """Estimates the clock offset as frames arrive; O(1) per frame, amortised.

    Attributes:
        estimate: The newest estimate, None before both cameras were heard of.
    """

    def __init__(self) -> None:
        """Start without knowledge."""
        self.estimate: OffsetEstimate | None = None
        self._blocks: deque[tuple[int, int]] = deque(maxlen=NUM_BLOCKS)  # end of block, offset
        self._end_ns = -_FAR_NS
        self._rgb_ns = self._thermal_ns = _FAR_NS  # smallest transits of the running block

    def note(self, is_rgb: bool, stamp_ns: int, received_ns: int) -> bool:
        """Take over one frame.

        Args:
            is_rgb: Which camera it is of.
            stamp_ns: Its stamp, without any correction, ns.
            received_ns: When it arrived, in any clock common to both cameras, ns.

        Returns:
            True when ``estimate`` is new.
        """
        is_new = received_ns >= self._end_ns and self._close_block(received_ns)
        transit_ns = received_ns - stamp_ns
        if is_rgb:
            if transit_ns < self._rgb_ns:  # noqa: PLR1730 min() costs more, and this runs per frame
                self._rgb_ns = transit_ns
        elif transit_ns < self._thermal_ns:
            self._thermal_ns = transit_ns
        return is_new

    def start_over(self) -> None:
        """Forget the running block: stamps have jumped within it."""
        self._rgb_ns = self._thermal_ns = _FAR_NS

    def _close_block(self, received_ns: int) -> bool:
        is_full = _FAR_NS not in (self._rgb_ns, self._thermal_ns)
        if is_full:
            self._blocks.append((self._end_ns, self._rgb_ns - self._thermal_ns))
            self.estimate = _estimate(list(self._blocks))
        is_early = len(self._blocks) < NUM_FIRST_BLOCKS
        self._end_ns = received_ns + (FIRST_BLOCK_NS if is_early else BLOCK_NS)
        self.start_over()
        return is_full


class OffsetFollower:
    """Decides which offset to apply, so that it neither chases noise nor swaps partners.

    A first estimate nearer than ``TRANSPORT_NS`` to the configured offset is taken for transport
    and kept as it is; only its changes are followed. A farther one is taken over in one step, as
    nothing can pair before. Later changes count when they are above three times the spread and a
    quarter of ``max_skew``, and are followed by at most half of ``max_skew`` a second.

    Attributes:
        applied_ns: The offset in force, ns.
    """

    def __init__(self, configured_ns: int) -> None:
        """Start from the configured offset, ns."""
        self.applied_ns = configured_ns
        self._transport_ns: int | None = None

    def update(self, estimate: OffsetEstimate, max_skew_ns: int) -> int:
        """Return the offset to apply after a new estimate, ns."""
        if not estimate.is_confident:
            return self.applied_ns
        noise_ns = round(3 * estimate.spread_s * NS_PER_S)
        far_ns = max(TRANSPORT_NS, noise_ns)
        estimate_ns = round(estimate.offset_s * NS_PER_S)
        if self._transport_ns is None:
            apart_ns = estimate_ns - self.applied_ns
            self._transport_ns = apart_ns if abs(apart_ns) <= far_ns else 0
        error_ns = estimate_ns - self._transport_ns - self.applied_ns
        if abs(error_ns) > far_ns:
            self.applied_ns += error_ns
        elif abs(error_ns) > max(max_skew_ns // 4, noise_ns, MIN_STEP_NS):
            step_ns = max(max_skew_ns // 2, MIN_STEP_NS)
            self.applied_ns += max(-step_ns, min(step_ns, error_ns))
        return self.applied_ns


def describe_offset(estimate: OffsetEstimate | None, offset_s: float, max_skew_s: float) -> str:
    """Return what the offset means and what to set, '' when there is nothing to correct.

    Args:
        estimate: What was estimated, or None.
        offset_s: The offset already subtracted from thermal stamps, s.
        max_skew_s: Largest accepted stamp difference, s; a smaller error is not worth a word.
    """
    if estimate is None or not estimate.is_confident:
        return ''
    left_s = abs(estimate.offset_s - offset_s)
    texts = []
    if left_s > max(max_skew_s, TRANSPORT_NS / NS_PER_S, 3 * estimate.spread_s):
        side = 'ahead of' if estimate.offset_s > 0 else 'behind'
        texts.append(
            f'thermal runs {abs(estimate.offset_s):.3f} s {side} rgb: '
            f'set sync.offset_s to {estimate.offset_s:.3f}'
        )
    if isfinite(estimate.drift_ppm) and abs(estimate.drift_ppm) > MIN_DRIFT_PPM:
        texts.append(
            f'the offset drifts by {estimate.drift_ppm:+.0f} ppm: synchronise the clocks; '
            f"meanwhile sync.offset_estimate 'apply' follows it"
        )
    return '; '.join(texts)


def _estimate(blocks: list[tuple[int, int]]) -> OffsetEstimate:
    recent = [offset_ns for _, offset_ns in blocks[-NUM_RECENT:]]
    steps = [abs(after - before) for before, after in pairwise(recent)]
    # Differences of neighbours, so that a drift does not count as spread.
    spread_s = MAD_TO_SIGMA * median(steps) / sqrt(2.0) / NS_PER_S if steps else nan
    return OffsetEstimate(
        offset_s=median(recent) / NS_PER_S,
        spread_s=spread_s,
        drift_ppm=_drift_ppm(blocks, spread_s),
        span_s=(blocks[-1][0] - blocks[0][0] + FIRST_BLOCK_NS) / NS_PER_S,
        is_confident=len(recent) >= MIN_BLOCKS and spread_s <= MAX_SPREAD_S,
    )


def _drift_ppm(blocks: list[tuple[int, int]], spread_s: float) -> float:
    """Compare the medians of the first and the last third; NaN when noise could explain it."""
    if len(blocks) < MIN_DRIFT_BLOCKS:
        return nan
    num = len(blocks) // 3
    first, last = blocks[:num], blocks[-num:]
    time_s = (median(at for at, _ in last) - median(at for at, _ in first)) / NS_PER_S
    change_s = (median(x for _, x in last) - median(x for _, x in first)) / NS_PER_S
    error_ppm = 2.0 * spread_s * sqrt(2.0 / num) / time_s * 1e6
    return change_s / time_s * 1e6 if error_ppm <= MAX_DRIFT_ERROR_PPM else nan
