# SPDX-License-Identifier: Apache-2.0
"""Percentile stretch whose range follows the scene slowly and is not disturbed by hot objects.

A stretch taken on every frame anew darkens the whole image when one hot object enters. Here the
range is carried from frame to frame:

* Pixels far beyond the range (half its width above or below) do not count.
* When they are more than 2 % of the image, something came into view: the range is held until it
  has left. What stays for six time constants is part of the scene.
* When it is, or when such pixels are the majority (the camera pans to another scene), the range
  follows all pixels until few are left beyond it.
* When nearly all are beyond it from one frame to the next, the values mean something else (gain
  switch, camera restart, a cut): the range starts anew, as it does when stamps run backwards.

Source: ours.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from rgbt_models.normalise import find_finite, FloatArray, sample_finite, ThermalNormaliser

NS_PER_S = 1_000_000_000
GATE = 0.5  # pixels further beyond the range than this part of its width do not count
DISTURBED_SHARE = 0.02  # the range is held while more pixels than this are beyond
MAJORITY = 0.5
JUMP_SHARE = 0.9
HELD_TIME_CONSTANTS = 6.0  # what was beyond for so long is part of the scene


class SmoothedPercentileNormaliser:
    """Stretches the frames of one thermal camera, in the order they come.

    The first frame is stretched as ``rule`` does it alone; later ones by a range that moves
    towards theirs with weight ``1 - exp(-dt / time_constant_s)``.

    Attributes:
        rule: The percentiles and clip values.
        time_constant_s: How slowly the range follows, s; 0 = every frame alone. May be changed
            between two frames.
    """

    def __init__(self, rule: ThermalNormaliser, *, time_constant_s: float) -> None:
        """Start without history."""
        self.rule = rule
        self.time_constant_s = time_constant_s
        self.reset()

    def reset(self) -> None:
        """Forget the history: the next frame is a first one."""
        self._limits: tuple[float, float] | None = None
        self._stamp_ns = 0
        self._dtype: np.dtype[np.generic] | None = None
        self._beyond_share = 0.0  # of the last frame
        self._held_s = 0.0
        self._is_new_scene = False

    def __call__(self, thermal: NDArray[np.generic], *, stamp_ns: int) -> FloatArray:
        """Stretch one frame to about 0..1.

        Args:
            thermal: Image, shape (h, w), any real dtype and unit; not finite pixels do not count.
            stamp_ns: Its stamp, ns; earlier than the last one starts anew.

        Returns:
            Stretched image, shape (h, w), float32 in the clip values of ``rule``, 0 where not
            finite. Flat and empty images are as ``rule`` gives them and leave no trace.
        """
        values = np.asarray(thermal, np.float32)
        finite = find_finite(values)
        sample = sample_finite(values, finite)
        if self.time_constant_s <= 0.0 or sample.size == 0 or sample.min() == sample.max():
            return self.rule(thermal)
        if self._limits is None or stamp_ns < self._stamp_ns or thermal.dtype != self._dtype:
            self._start(sample)
        else:
            self._follow(sample, (stamp_ns - self._stamp_ns) / NS_PER_S)
        self._stamp_ns, self._dtype = stamp_ns, thermal.dtype
        if self._limits is None:
            return self.rule(thermal)
        low, high = self._limits
        return self.rule.stretch(values, finite, low=low, high=high)

    def _start(self, sample: FloatArray) -> None:
        self.reset()
        low, high = self.rule.limits_of(sample)
        if high > low:
            self._limits = (low, high)

    def _follow(self, sample: FloatArray, elapsed_s: float) -> None:
        assert self._limits is not None
        low, high = self._limits
        margin = GATE * (high - low)
        beyond = (sample < low - margin) | (sample > high + margin)
        share = float(np.count_nonzero(beyond)) / sample.size
        before, self._beyond_share = self._beyond_share, share
        if share > JUMP_SHARE and before <= MAJORITY:
            self._start(sample)
            return
        if share <= DISTURBED_SHARE:
            self._is_new_scene, self._held_s = False, 0.0
            self._move(sample[~beyond] if share else sample, elapsed_s)
            return
        self._held_s += elapsed_s
        is_part = self._held_s > HELD_TIME_CONSTANTS * self.time_constant_s
        self._is_new_scene |= is_part or share > MAJORITY
        if self._is_new_scene:
            self._move(sample, elapsed_s)

    def _move(self, sample: FloatArray, elapsed_s: float) -> None:
        assert self._limits is not None
        low, high = self.rule.limits_of(sample)
        if high > low:
            weight = 1.0 - math.exp(-elapsed_s / self.time_constant_s)
            old_low, old_high = self._limits
            self._limits = (
                old_low + weight * (low - old_low),
                old_high + weight * (high - old_high),
            )
