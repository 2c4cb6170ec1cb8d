# SPDX-License-Identifier: Apache-2.0
"""From shares or contrasts of one pair to the filtered modality dominance index (MDI)."""

from __future__ import annotations

from dataclasses import dataclass
import math

from rgbt_models.card import MdiCalibration
from rgbt_perception.config import DominanceConfig
from rgbt_perception.errors import ShapeError
from rgbt_perception.types import (
    Dominance,
    DominanceState,
    FloatArray,
    Mode,
    NS_PER_S,
    Perceived,
    RawOutputs,
)

LINEAR_SHARE, CONTRAST = 'linear_share', 'contrast'  # dominance.method


def calibrated_mdi(rgb_shares: FloatArray, calibration: MdiCalibration) -> float:
    """Map raw RGB shares to the calibrated index.

    Args:
        rgb_shares: RGB share per fusion level, shape (l,), finest first.
        calibration: The card's map.

    Returns:
        ``tanh(bias + sum(weights * (rgb_shares - 0.5)))``, in [-1, 1]; NaN if a share is
        or the model gives none.

    Raises:
        ShapeError: If the card has another number of weights than the network has levels.

    Source: ours, on MDACL's idea of a dominance index.
    """
    if rgb_shares.shape != (len(calibration.weights),):
        raise ShapeError(
            'rgb_shares', expected=f'({len(calibration.weights)},)', actual=rgb_shares.shape
        )
    return calibration(rgb_shares.tolist())


@dataclass(frozen=True, slots=True, kw_only=True)
class _Average:
    mean: float
    stamp_ns: int  # of the last pair that entered it


class DominanceFilter:
    """Moving average by stamps with a hysteresis state.

    Fused pairs enter the average with weight ``1 - exp(-dt / time_constant_s)``. Shares and
    contrasts are on different scales: each has an average of its own, and that of the method of
    this pair is published. The state turns to a camera beyond ``threshold`` plus half the
    ``hysteresis`` and back below ``threshold`` minus that half. With one camera the index is +1 or
    -1 and the average starts anew afterwards, as it does when stamps run backwards.

    Attributes:
        config: Settings; may be replaced between two updates.
    """

    def __init__(self, config: DominanceConfig, calibration: MdiCalibration) -> None:
        """Start without history."""
        self.config = config
        self._calibration = calibration
        self._averages: dict[str, _Average] = {}
        self._stamp_ns = 0
        self._state = DominanceState.BALANCED

    def reset(self) -> None:
        """Forget the history."""
        self._averages.clear()
        self._state = DominanceState.BALANCED

    def update(
        self,
        raw: RawOutputs | Perceived | None,
        mode: Mode,
        stamp_ns: int,
        *,
        contrast_advantage: float = math.nan,
    ) -> Dominance:
        """Take one network output into the average.

        Args:
            raw: Outputs of the network, decoded or not; None in mode NONE.
            mode: Which cameras the network used.
            stamp_ns: Stamp of the reference frame, ns.
            contrast_advantage: Of RGB, -1..1, which then is the index; NaN = the shares are.

        Returns:
            The filtered dominance. Not valid in mode NONE, when the network gave no number, or
            when the model gives no shares.
        """
        if raw is None or mode is Mode.NONE:
            self.reset()
            return _build(math.nan, (math.nan, math.nan), 'none', self._state)
        rgb_entropy, thermal_entropy = (float(value) for value in raw.entropies[0])
        if mode is Mode.RGB_ONLY:
            self.reset()
            return _build(1.0, (rgb_entropy, math.nan), 'single', DominanceState.SINGLE)
        if mode is Mode.THERMAL_ONLY:
            self.reset()
            return _build(-1.0, (math.nan, thermal_entropy), 'single', DominanceState.SINGLE)
        entropies = (rgb_entropy, thermal_entropy)
        method = LINEAR_SHARE if self._calibration.weights else 'none'
        mdi = calibrated_mdi(raw.rgb_shares[0], self._calibration)
        if math.isfinite(contrast_advantage):
            method, mdi = CONTRAST, contrast_advantage
        if math.isfinite(mdi):
            mdi = self._average(mdi, stamp_ns, method)
            self._state = self._next_state(mdi)
        return _build(mdi, entropies, method, self._state)

    def _average(self, mdi: float, stamp_ns: int, method: str) -> float:
        if stamp_ns < self._stamp_ns:
            self.reset()
        self._stamp_ns = stamp_ns
        before = self._averages.get(method)
        mean = mdi
        if before is not None and self.config.time_constant_s > 0:
            elapsed_s = (stamp_ns - before.stamp_ns) / NS_PER_S
            gain = -math.expm1(-elapsed_s / self.config.time_constant_s)
            mean = before.mean + gain * (mdi - before.mean)
        self._averages[method] = _Average(mean=mean, stamp_ns=stamp_ns)
        return mean

    def _next_state(self, mdi: float) -> DominanceState:
        half = self.config.hysteresis / 2
        is_held = self._state is (DominanceState.RGB if mdi > 0 else DominanceState.THERMAL)
        limit = self.config.threshold + (-half if is_held else half)
        if abs(mdi) <= limit:
            return DominanceState.BALANCED
        return DominanceState.RGB if mdi > 0 else DominanceState.THERMAL


def _build(
    mdi: float, entropies: tuple[float, float], method: str, state: DominanceState
) -> Dominance:
    return Dominance(
        mdi=mdi,
        rgb_share=(1 + mdi) / 2,
        thermal_share=(1 - mdi) / 2,
        rgb_entropy=entropies[0],
        thermal_entropy=entropies[1],
        method=method,
        valid=math.isfinite(mdi),
        state=state,
    )
