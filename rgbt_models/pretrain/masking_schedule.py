# SPDX-License-Identifier: Apache-2.0
"""From easy, object-centred visible patches to hard ones, epoch by epoch.

The sampling means start as one mean at 0 (rich patches). In the first half of the schedule the
last mean rises; when it passes its component of the mixture it stays there and the next one opens
at 0: one, two, three components. In the second half all of them move, one after another, to the
largest mean of the mixture (flat patches).

Source: M-SpecGene, released sampler, whose schedule is 100 epochs. Differs from it: any number of
epochs; the end is reached in the last epoch and then kept (the release divides by zero one epoch
later); no mean leaves [0, largest mean of the mixture]; both biases of the imbalance have a lower
bound as well as an upper one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
import math

from rgbt_models.errors import PretrainError

KEEP_RATE = 10.0  # patches per unit of loss difference and epoch
MEAN_RATE = 0.1  # shift of the sampling means per unit of loss difference and epoch


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleState:
    """Where the schedule is; a value, replaced at the end of every epoch.

    Attributes:
        epoch: Finished epochs.
        sampling_means: Active means, 1 to K of them, on the scale of normalised CMSS.
        keep_bias: Patches that thermal gives to RGB; its whole part is used.
        mean_bias: Added to the sampling means of thermal and taken from those of RGB.
    """

    epoch: int = 0
    sampling_means: tuple[float, ...] = (0.0,)
    keep_bias: float = 0.0
    mean_bias: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskingSchedule:
    """The rule from one epoch to the next.

    Attributes:
        num_epochs: Epochs until the hardest masking, 100 as published.
        max_keep_bias: Largest absolute ``keep_bias``, patches.
        max_mean_bias: Largest absolute ``mean_bias``.
    """

    num_epochs: int = 100
    max_keep_bias: float = 9.0
    max_mean_bias: float = 0.1

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            PretrainError: If there is no epoch or a bound is negative.
        """
        if self.num_epochs < 1:
            raise PretrainError(
                f'the masking schedule has {self.num_epochs} epochs; expected 1 or more; '
                f'give the epochs of the run'
            )
        if min(self.max_keep_bias, self.max_mean_bias) < 0:
            raise PretrainError(
                f'bounds of the imbalance are {self.max_keep_bias} and {self.max_mean_bias}; '
                f'expected 0 or more; use 0 for no adaptation'
            )

    def advance(
        self, state: ScheduleState, component_means: Sequence[float], loss_gap: float
    ) -> ScheduleState:
        """Return the state of the next epoch.

        Args:
            state: The state of the epoch that ends.
            component_means: Means of the mixture, in any order.
            loss_gap: RGB loss minus thermal loss of that epoch. Above 0, RGB is reconstructed
                worse and gets more visible patches, and richer ones. NaN changes no bias.
        """
        epoch = state.epoch + 1
        gap = 0.0 if math.isnan(loss_gap) else loss_gap
        return ScheduleState(
            epoch=epoch,
            sampling_means=self._move(epoch, list(state.sampling_means), sorted(component_means)),
            keep_bias=_bound(state.keep_bias + KEEP_RATE * gap, self.max_keep_bias),
            mean_bias=_bound(state.mean_bias + MEAN_RATE * gap, self.max_mean_bias),
        )

    def _move(self, epoch: int, means: list[float], components: list[float]) -> tuple[float, ...]:
        if epoch > self.num_epochs:
            return tuple(means)
        if epoch < self.num_epochs / 2:
            return _open_components(means, components, self.num_epochs / 2 - epoch)
        return _leave_for_the_largest(means, components[-1], self.num_epochs + 1 - epoch)


def _open_components(
    means: list[float], components: list[float], epochs_left: float
) -> tuple[float, ...]:
    active = len(means)
    if active < len(components) and means[-1] > components[active - 1]:
        means = [*means[:-1], components[active - 1], 0.0]
    shift = (sum(components) - sum(means)) / max(1.0, epochs_left)
    means[-1] = min(max(means[-1] + shift, 0.0), components[-1])
    return tuple(means)


def _leave_for_the_largest(
    means: list[float], largest: float, epochs_left: int
) -> tuple[float, ...]:
    if epochs_left <= 1:
        return (largest,) * len(means)
    means = [*(min(mean, largest) for mean in means[:-1]), largest]
    left = (len(means) * largest - sum(means)) / epochs_left
    for index in reversed(range(len(means))):
        step = min(left, largest - means[index])
        means[index] += step
        left -= step
    return tuple(means)


def _bound(value: float, largest: float) -> float:
    return min(max(value, -largest), largest)
