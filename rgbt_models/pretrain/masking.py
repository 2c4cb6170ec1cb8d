# SPDX-License-Identifier: Apache-2.0
"""Which patches of a pair the encoder sees: GMM-CMSS sampling, and the random baseline.

GMM-CMSS (M-SpecGene, https://arxiv.org/abs/2507.16318): sparsity of the patches, an online mixture
over it, sampling means that move from rich to flat patches over the run, draws matched to patches,
disjoint visible sets. Thermal draws first, as in the release. All state, including the number of
draws, is in ``state_dict``; random numbers depend on the seed and on that number only, and all
processes draw from one stream, so that a run resumes exactly and equals that of one process.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
import math

import numpy as np
import torch
from torch import nn, Tensor

from rgbt_models.errors import PretrainError
from rgbt_models.pretrain.cmss import compute_cmss, normalise_cmss, NORMALISERS, VARIANTS
from rgbt_models.pretrain.gmm_masking import OnlineGaussianMixture
from rgbt_models.pretrain.masking_schedule import MaskingSchedule, ScheduleState
from rgbt_models.pretrain.sampling import draw_targets, match_nearest
from rgbt_models.train.reduction import process_rank

_DRAW_STREAM = 12  # separates the draws from the start of the mixture of the same seed
_ROUNDING = 1e-9  # 20 * (0.95 - 0.9) is meant to be 1


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskingConfig:
    """How patches are hidden.

    Attributes:
        method: 'gmm_cmss', or 'random' for the baseline: each modality by itself, uniform.
        mask_ratio: Fraction of the patches hidden in each modality.
        max_mask_ratio: What the imbalance may raise it to in one of them.
        num_components: Gaussians of the mixture.
        variant: CMSS formula, 'corrected' or 'released'.
        normaliser: CMSS scale, 'q99' or 'max'.
        num_epochs: Length of the schedule; 100 is published.
        steps_per_epoch: Optimiser steps of one of its epochs; 268 is published (274,119 pairs in
            batches of 1024).
        seed: Of the start of the mixture and of all draws.
    """

    method: str = 'gmm_cmss'
    mask_ratio: float = 0.9
    max_mask_ratio: float = 0.95
    num_components: int = 3
    variant: str = 'corrected'
    normaliser: str = 'q99'
    num_epochs: int = 100
    steps_per_epoch: int = 268
    seed: int = 0

    def __post_init__(self) -> None:
        """Check every value.

        Raises:
            PretrainError: If a name is unknown or a number is out of range.
        """
        for name, choices in (
            ('method', tuple(_MASKERS)),
            ('variant', VARIANTS),
            ('normaliser', NORMALISERS),
        ):
            if getattr(self, name) not in choices:
                raise PretrainError(
                    f"masking {name} is '{getattr(self, name)}'; expected one of "
                    f'{", ".join(choices)}; choose one'
                )
        if not 0.5 <= self.mask_ratio <= self.max_mask_ratio < 1.0:
            raise PretrainError(
                f'mask_ratio is {self.mask_ratio} and max_mask_ratio {self.max_mask_ratio}; '
                f'expected 0.5 <= mask_ratio <= max_mask_ratio < 1: two disjoint visible sets '
                f'must fit; correct them'
            )
        for name in ('num_components', 'num_epochs', 'steps_per_epoch'):
            if getattr(self, name) < 1:
                raise PretrainError(
                    f'masking {name} is {getattr(self, name)}; expected 1 or more; correct it'
                )

    def num_visible(self, num_patches: int) -> int:
        """Return how many patches of a modality stay visible; 19 of 196 as published."""
        return int(num_patches * (1.0 - self.mask_ratio) + _ROUNDING)

    def max_keep_bias(self, num_patches: int) -> int:
        """Return how many patches one modality may give to the other; 9 of 196 as published."""
        bound = math.floor(num_patches * (self.max_mask_ratio - self.mask_ratio) + _ROUNDING)
        return max(0, min(bound, self.num_visible(num_patches) - 1))


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class VisiblePatches:
    """Indices of the patches that the encoder sees, int64, per modality."""

    rgb: Tensor  # (b, v)
    thermal: Tensor  # (b, u); v + u is constant, v = u without imbalance


class Masker(nn.Module, ABC):
    """Chooses visible patches; in evaluation mode it repeats itself and learns nothing."""

    def __init__(self, config: MaskingConfig, *, num_patches: int) -> None:
        """Build it for images of ``num_patches`` patches.

        Raises:
            PretrainError: If no patch would stay visible.
        """
        super().__init__()
        self.config = config
        self.num_patches = num_patches
        self._num_draws = 0
        if config.num_visible(num_patches) < 1:
            raise PretrainError(
                f'mask_ratio {config.mask_ratio} leaves no patch of {num_patches} visible; '
                f'expected at least one; lower it or use larger images'
            )

    def draw(self, rgb_tokens: Tensor, thermal_tokens: Tensor) -> VisiblePatches:
        """Choose the visible patches of a batch.

        Args:
            rgb_tokens: Embedded patches plus positions, shape (b, n, d).
            thermal_tokens: The same patches of the other modality.

        Raises:
            PretrainError: If n is not ``num_patches``.
        """
        if rgb_tokens.shape[1] != self.num_patches:
            raise PretrainError(
                f'{rgb_tokens.shape[1]} patches in the batch; expected {self.num_patches}; '
                f'feed images of the size the masker was built for'
            )
        visible = self._choose(rgb_tokens.detach(), thermal_tokens.detach())
        if self.training:
            self._num_draws += 1
        return visible

    def finish_step(self, rgb_loss: float, thermal_loss: float, step_index: int) -> None:
        """Follow one optimiser step; losses are averages over all processes."""

    def get_extra_state(self) -> Tensor:
        """Return what is not in a buffer, float64, of a constant shape."""
        return torch.tensor(self._extra_values(), dtype=torch.float64)

    def set_extra_state(self, state: Tensor) -> None:
        """Take the values of ``get_extra_state``.

        Raises:
            PretrainError: If they are those of another kind of masker.
        """
        values = state.tolist()
        if len(values) != len(self._extra_values()):
            raise PretrainError(
                f'masking state has {len(values)} values; expected {len(self._extra_values())}; '
                f'resume with the masking of the checkpoint'
            )
        self._take_extra_values(values)

    def _random(self) -> np.random.Generator:
        return np.random.default_rng((self.config.seed, _DRAW_STREAM, self._num_draws))

    def _extra_values(self) -> list[float]:
        return [float(self._num_draws)]

    def _take_extra_values(self, values: list[float]) -> None:
        self._num_draws = int(values[0])

    @abstractmethod
    def _choose(self, rgb_tokens: Tensor, thermal_tokens: Tensor) -> VisiblePatches:
        """Choose for tokens (b, n, d) of the right number."""


class RandomMasker(Masker):
    """Uniform random patches, each modality by itself: plain masked autoencoding."""

    def _choose(self, rgb_tokens: Tensor, thermal_tokens: Tensor) -> VisiblePatches:
        rng, b = self._random(), len(rgb_tokens)
        v = self.config.num_visible(self.num_patches)
        chosen = [
            draw_rows(rng, b, self.num_patches, normal=False)
            .argsort(dim=1)[:, :v]
            .to(tokens.device)
            for tokens in (rgb_tokens, thermal_tokens)
        ]
        return VisiblePatches(rgb=chosen[0], thermal=chosen[1])


class GmmCmssMasker(Masker):
    """Progressive GMM-CMSS sampling with adaptive imbalance.

    Differs from the release: the imbalance follows the mean losses of an epoch, not those of its
    last iteration; see also ``masking_schedule``, ``gmm_masking``, ``sampling``.
    """

    def __init__(self, config: MaskingConfig, *, num_patches: int) -> None:
        """Build it for images of ``num_patches`` patches."""
        super().__init__(config, num_patches=num_patches)
        self.mixture = OnlineGaussianMixture(
            num_components=config.num_components, seed=config.seed
        )
        self.schedule = MaskingSchedule(
            num_epochs=config.num_epochs, max_keep_bias=config.max_keep_bias(num_patches)
        )
        self.schedule_state = ScheduleState()
        self._loss_sums = [0.0, 0.0, 0.0]  # RGB, thermal, number of steps

    def num_visible(self) -> tuple[int, int]:
        """Return how many patches of RGB and of thermal stay visible now."""
        keep = self.config.num_visible(self.num_patches)
        bias = int(self.schedule_state.keep_bias)
        return keep + bias, keep - bias

    def finish_step(self, rgb_loss: float, thermal_loss: float, step_index: int) -> None:
        """Sum up the losses; at the end of an epoch of the schedule, move it."""
        for index, value in enumerate((rgb_loss, thermal_loss, 1.0)):
            self._loss_sums[index] += value
        if (step_index + 1) % self.config.steps_per_epoch == 0:
            rgb_sum, thermal_sum, count = self._loss_sums
            self.schedule_state = self.schedule.advance(
                self.schedule_state, self.mixture.means.tolist(), (rgb_sum - thermal_sum) / count
            )
            self._loss_sums = [0.0, 0.0, 0.0]

    @torch.no_grad()
    def _choose(self, rgb_tokens: Tensor, thermal_tokens: Tensor) -> VisiblePatches:
        values = compute_cmss(rgb_tokens, thermal_tokens, variant=self.config.variant)
        values = normalise_cmss(values, rule=self.config.normaliser)
        if self.training:
            self.mixture.update(values)
        rng, state = self._random(), self.schedule_state
        chosen = []
        num_rgb, num_thermal = self.num_visible()
        for count, bias in ((num_thermal, state.mean_bias), (num_rgb, -state.mean_bias)):
            targets = draw_targets(
                self.mixture,
                state.sampling_means,
                bias=bias,
                choices=draw_rows(rng, len(values), count, normal=False),
                noise=draw_rows(rng, len(values), count, normal=True),
            )
            chosen.append(match_nearest(values, targets))
        return VisiblePatches(rgb=chosen[1], thermal=chosen[0])

    def _extra_values(self) -> list[float]:
        state, k = self.schedule_state, self.config.num_components
        means = [*state.sampling_means, *[math.nan] * (k - len(state.sampling_means))]
        schedule = [float(state.epoch), state.keep_bias, state.mean_bias]
        return [float(self._num_draws), *self._loss_sums, *schedule, *means]

    def _take_extra_values(self, values: list[float]) -> None:
        self._num_draws = int(values[0])
        self._loss_sums = values[1:4]
        self.schedule_state = ScheduleState(
            epoch=int(values[4]),
            keep_bias=values[5],
            mean_bias=values[6],
            sampling_means=tuple(mean for mean in values[7:] if not math.isnan(mean)),
        )


_MASKERS: dict[str, type[Masker]] = {'gmm_cmss': GmmCmssMasker, 'random': RandomMasker}


def build_masker(config: MaskingConfig, *, num_patches: int) -> Masker:
    """Build the masker that the settings name."""
    return _MASKERS[config.method](config, num_patches=num_patches)


def draw_rows(rng: np.random.Generator, rows: int, columns: int, *, normal: bool) -> Tensor:
    """Draw this process's rows of a table that all processes draw alike.

    Args:
        rng: In the same state on every process; it advances by the whole table.
        rows: Rows of this process, the same on every process.
        columns: Columns.
        normal: Standard normal numbers; else uniform in [0, 1).

    Returns:
        Shape (rows, columns), float32, on the CPU.
    """
    rank, size = process_rank()
    shape = (rows * size, columns)
    table = rng.standard_normal(shape, np.float32) if normal else rng.random(shape, np.float32)
    return torch.from_numpy(table[rank * rows : (rank + 1) * rows])
