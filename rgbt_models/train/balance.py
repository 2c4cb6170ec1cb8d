# SPDX-License-Identifier: Apache-2.0
"""Balancing the two cameras in training: HCG and AER with minimal inverse weights (MIW).

MDACL (https://arxiv.org/abs/2601.00598) names hierarchical cross-modal guidance (HCG: low-level
feature mapping and re-projection, high-level distillation) and adversarial equilibrium
regularisation (AER: inverse dynamic fusion weights). Its formulas and code are not public: **the
definitions here are ours**, and no result of theirs is claimed for them.

Everything here exists in training only. The network stays a plain fusion: its state dict and its
exported graph are those of a model that was never balanced. Inverse weights at inference do
harm, because they favour the worse camera.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn, Tensor
from torch.nn import functional

from rgbt_models.dominance import feature_entropy, linear_share_mdi, mdi_of_amounts
from rgbt_models.dominance.ablation import (
    bernoulli_divergence,
    Decoder,
    logits_with_classes,
    segmentation_divergence,
    select_anchors,
    TOP_ANCHORS,
)
from rgbt_models.dominance.shares import dominance_amounts
from rgbt_models.errors import DatasetError
from rgbt_models.train.fusion_watch import FusionPass, FusionWatch
from rgbt_models.train.reduction import is_distributed, mean_over_processes

AMOUNT_EPS = 1e-6
HALF_TYPES = (torch.bfloat16, torch.float16)
LOGITS_BY_HEAD = {'detection': 'class_logits', 'segmentation': 'segmentation_logits'}


@dataclass(frozen=True, slots=True, kw_only=True)
class BalanceConfig:
    """Strength and schedule of the balancing terms; all weights 0 = off.

    Progress is the part of the run that is done, 0..1. Inverse weights are plain (1/2) until
    ``start``, ramp in until ``full``, and are annealed back to plain between ``anneal`` and
    ``end``; the losses begin at ``start`` and stay.

    Attributes:
        mapping: alpha, weight of mapping the low-level features of one camera to the other's.
        reprojection: beta, weight of mapping them there and back.
        distillation: gamma, weight of the dominant camera teaching the weaker one.
        temperature: Of the distillation.
        equilibrium: lambda, weight of the squared dominance of the fusion layers.
        use_inverse_weights: Weigh the cameras inversely to their dominance in training (MIW).
        min_weight: Smallest inverse weight, in (0, 1/2); the largest is 1 - min_weight.
        delta: Part of the feature entropy in the dominance, 0..1; see ``paper_style_mdi``.
        decay: Of the running mean of the dominance, per step.
        low_level: Index of the fusion level, finest first, whose features are mapped.
        start: Progress at which balancing begins, after the warm-up.
        full: Progress at which the inverse weights act fully.
        anneal: Progress from which they fade.
        end: Progress from which they are plain again.
    """

    mapping: float = 0.1
    reprojection: float = 0.1
    distillation: float = 0.5
    temperature: float = 2.0
    equilibrium: float = 0.01
    use_inverse_weights: bool = True
    min_weight: float = 0.1
    delta: float = 0.0
    decay: float = 0.9
    low_level: int = 0
    start: float = 0.1
    full: float = 0.3
    anneal: float = 0.6
    end: float = 0.9

    def __post_init__(self) -> None:
        """Check ranges and the order of the schedule.

        Raises:
            DatasetError: If a value is out of range.
        """
        schedule = (self.start, self.full, self.anneal, self.end)
        if not 0.0 <= self.start < self.full <= self.anneal < self.end <= 1.0:
            raise DatasetError(
                f'balance schedule is {schedule}; expected 0 <= start < full <= anneal < end <= '
                f'1; correct the training file'
            )
        if self.low_level < 0:
            raise DatasetError(
                f'balance low_level is {self.low_level}; expected 0 or more, finest level first; '
                f'correct the training file'
            )
        weights = (self.mapping, self.reprojection, self.distillation, self.equilibrium)
        if min(weights) < 0.0 or self.temperature <= 0.0:
            raise DatasetError(
                f'balance weights are {weights} and the temperature {self.temperature}; expected '
                f'weights >= 0 and a temperature > 0; correct the training file'
            )
        if not (0.0 < self.min_weight < 0.5 and 0.0 <= self.delta <= 1.0 and 0 <= self.decay < 1):
            raise DatasetError(
                f'balance min_weight, delta and decay are {self.min_weight}, {self.delta} and '
                f'{self.decay}; expected (0, 0.5), [0, 1] and [0, 1); correct the training file'
            )


class Balancer(nn.Module):
    """Training-only terms for a model; holds its own parameters and running figures.

    It watches the ``SplitFusion`` layers of the model through hooks, which act in training mode
    only and leave nothing in the model's state dict. One step of one or more batches::

        for rgb, thermal, available in batches:
            balancer.begin_batch(progress)
            outputs = model(rgb, thermal, available)
            extra = balancer.extra_losses()      # scalars to add to the loss, by name
            (losses.total + sum(extra.values())).backward()
            balancer.end_batch()
        balancer.end_step()                      # before gradients are clipped and used

    Add ``balancer.parameters()`` to the optimiser; its state dict belongs into the checkpoint.
    Attach before the model is wrapped for several processes: ``end_step`` averages gradients and
    figures of the balancer over them. Parameters must be whole (DDP, not FSDP), for the
    distillation runs neck and heads outside the wrapper. A copy of the model is not watched.
    """

    amounts: Tensor

    def __init__(
        self,
        model: nn.Module,
        config: BalanceConfig,
        *,
        heads: tuple[str, ...] = tuple(LOGITS_BY_HEAD),
    ) -> None:
        """Attach to a model.

        Args:
            model: Has ``SplitFusion`` layers, finest first, and ``decode`` (see ``RGBTModel``).
            config: Strength and schedule.
            heads: Those that are trained: a frozen one has nothing to distil.

        Raises:
            DatasetError: If the model has no such layer, or not the level to map.
        """
        super().__init__()
        watch = FusionWatch(model)
        if config.low_level >= len(watch.fusions):
            watch.detach()
            raise DatasetError(
                f'balance low_level is {config.low_level} and the model has {len(watch.fusions)} '
                f'fusion levels; expected the index of one of them; correct the training file'
            )
        self.config = config
        self._logits = tuple(LOGITS_BY_HEAD[head] for head in heads)
        self._watch = watch
        self._model = (model,)  # a tuple keeps it out of this module's own parameters
        self._progress = 0.0
        self._figures: Tensor | None = None  # of the batches of this step
        channels = watch.fusions[config.low_level].rgb_weight.in_channels
        self.rgb_to_thermal = nn.Conv2d(channels, channels, 1)
        self.thermal_to_rgb = nn.Conv2d(channels, channels, 1)
        # Running means of D_rgb and D_thermal, alike at the start.
        self.register_buffer('amounts', torch.full((2,), 0.5))

    def detach(self) -> None:
        """Remove the hooks; the model is as if it had never been watched."""
        self._watch.detach()

    @property
    def mdi(self) -> float:
        """Running dominance index in [-1, 1], > 0 = RGB dominant."""
        return float(mdi_of_amounts(self.amounts[0], self.amounts[1]))

    def weights_at(self, progress: float) -> tuple[float, float]:
        """Return the inverse weights of RGB and thermal, which sum to 1; 1/2 each = plain.

        w_m = (1/D_m) / (1/D_rgb + 1/D_thermal), clipped, blended with 1/2 by the schedule.
        """
        config = self.config
        if not config.use_inverse_weights:
            return 0.5, 0.5
        rgb, thermal = (1.0 / max(amount, AMOUNT_EPS) for amount in self.amounts.tolist())
        weight = min(max(rgb / (rgb + thermal), config.min_weight), 1.0 - config.min_weight)
        rise = (progress - config.start) / (config.full - config.start)
        fall = (config.end - progress) / (config.end - config.anneal)
        weight = 0.5 + min(1.0, max(0.0, min(rise, fall))) * (weight - 0.5)
        return weight, 1.0 - weight

    def begin_batch(self, progress: float) -> None:
        """Start a batch: forget the last pass and weigh the halves by the schedule.

        Args:
            progress: Part of the run that is done, 0..1.
        """
        self._progress = progress
        self._watch.clear()
        self._watch.weights = self.weights_at(progress)

    def extra_losses(self) -> dict[str, Tensor]:
        """Return the weighted terms of the forward pass since ``begin_batch``, by name.

        Returns:
            Scalars 'hcg_low', 'hcg_high' and 'aer', as far as their weights are above 0, over
            the samples with both cameras; nothing before the start of the schedule.

        Raises:
            DatasetError: If the model made no pass in training mode since ``begin_batch``.
        """
        config, passes = self.config, self._passes()
        if self._progress < config.start:
            return {}
        has_both = passes[0].has_both
        losses: dict[str, Tensor] = {}
        if config.mapping > 0.0 or config.reprojection > 0.0:
            losses['hcg_low'] = _mean_of(self._low_level(passes[config.low_level]), has_both)
        if config.distillation > 0.0 and self.mdi != 0.0:
            losses['hcg_high'] = config.distillation * _mean_of(self._high_level(passes), has_both)
        if config.equilibrium > 0.0:
            squared = linear_share_mdi(self.rgb_shares()) ** 2
            losses['aer'] = config.equilibrium * _mean_of(squared, has_both)
        return losses

    def rgb_shares(self) -> Tensor:
        """Return the RGB share by level of the pass since ``begin_batch``, shape (b, l).

        Differentiable, of the plain fusion; a loss on it does not count as dominance.

        Raises:
            DatasetError: If the model made no pass in training mode since ``begin_batch``.
        """
        return torch.stack([item.rgb_shares() for item in self._passes()], dim=1)

    @torch.no_grad()
    def end_batch(self) -> None:
        """Measure the dominance that the backward pass of a batch showed.

        The contribution is |F * dL/dF| of the loss on the outputs of the pass; the terms of
        ``extra_losses`` do not count. Per level, then the mean over the levels. A batch whose
        gradients overflowed does not count.

        Raises:
            DatasetError: If the model made no pass in training mode since ``begin_batch``.
        """
        passes = self._passes()
        measured = torch.stack([_dominance_of(item, self.config.delta) for item in passes])
        count = passes[0].has_both.sum()
        figures = torch.cat([measured.mean(dim=0) * count, count[None]])
        figures = torch.where(figures.isfinite().all(), figures, 0.0)
        self._figures = figures if self._figures is None else self._figures + figures
        self._watch.clear()

    @torch.no_grad()
    def end_step(self) -> None:
        """Take over the mean dominance of the step's samples; average over processes.

        Raises:
            DatasetError: If no batch was measured since the last step.
        """
        if self._figures is None:
            raise DatasetError(
                'the balancer has measured no batch of this step, expected one or more; call '
                'end_batch after each backward pass'
            )
        figures, self._figures = mean_over_processes(self._figures), None
        if figures[2] > 0:
            amounts = (figures[:2] / figures[2]).to(self.amounts.device)
            self.amounts.lerp_(amounts, 1.0 - self.config.decay)
        if not is_distributed():
            return
        for parameter in self.parameters():
            gradient = parameter.grad
            if gradient is None:  # every process must take part
                gradient = torch.zeros_like(parameter)
            parameter.grad = mean_over_processes(gradient)

    def _passes(self) -> list[FusionPass]:
        passes = [item for item in self._watch.passes if item is not None]
        if len(passes) != len(self._watch.passes):
            raise DatasetError(
                f'the balancer has seen {len(passes)} of {len(self._watch.passes)} fusion levels '
                f'in training mode, expected all; call begin_batch, then run the attached model'
            )
        return passes

    def _low_level(self, item: FusionPass) -> Tensor:
        """Return the mapping and re-projection terms, shape (b,)."""
        rgb, thermal = (features.float() for features in item.features)
        as_thermal, as_rgb = self.rgb_to_thermal(rgb), self.thermal_to_rgb(thermal)
        mapping = _squared(as_thermal, thermal.detach()) + _squared(as_rgb, rgb.detach())
        returned = _squared(self.thermal_to_rgb(as_thermal), rgb)
        returned = returned + _squared(self.rgb_to_thermal(as_rgb), thermal)
        return self.config.mapping * mapping + self.config.reprojection * returned

    def _high_level(self, passes: list[FusionPass]) -> Tensor:
        """Return the divergence of the weak camera's outputs from the dominant one's, (b,)."""
        model: Decoder = self._model[0]  # type: ignore[assignment]  # any module with decode
        features = [item.features for item in passes]
        first = features[0][0]
        dominant = first.new_tensor([[1.0, 0.0]] if self.mdi > 0.0 else [[0.0, 1.0]])
        dominant = dominant.expand(len(first), 2)
        dtype = next((f.dtype for pair in features for f in pair if f.dtype in HALF_TYPES), None)
        with (
            evaluating(self._model[0]),
            torch.autocast(first.device.type, dtype=dtype, enabled=dtype is not None),
        ):
            with torch.no_grad():
                teacher = model.decode(features, dominant)
            student = model.decode(features, 1.0 - dominant)
        taught = {name: teacher[name] for name in self._logits}
        return distillation(taught, student, temperature=self.config.temperature)


def distillation(
    teacher: Mapping[str, Tensor], student: Mapping[str, Tensor], *, temperature: float
) -> Tensor:
    """Return T^2 KL(teacher / T || student / T) of the heads there are, added, shape (b,).

    Softmax over the classes for segmentation; on the best 1000 anchors of the teacher a sigmoid
    per class for detection. The teacher gets no gradient. Source: ours, after knowledge
    distillation (https://arxiv.org/abs/1503.02531).
    """
    terms, names = [], logits_with_classes(teacher)
    if 'segmentation_logits' in names:
        wanted = teacher['segmentation_logits'].detach() / temperature
        terms.append(segmentation_divergence(wanted, student['segmentation_logits'] / temperature))
    if 'class_logits' in names:
        wanted, logits = select_anchors(
            teacher['class_logits'],
            teacher['class_logits'].detach(),
            student['class_logits'],
            top=TOP_ANCHORS,
        )
        divergence = bernoulli_divergence(wanted / temperature, logits / temperature)
        terms.append(divergence.sum(dim=2).mean(dim=1))
    return temperature**2 * torch.stack(terms).sum(dim=0)


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Put a model into evaluation mode for a while; its running statistics do not move."""
    modules = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in modules:
            module.training = True


def _dominance_of(item: FusionPass, delta: float) -> Tensor:
    """Return D_m of one level, (2,), RGB first; NaN where the gradient was not finite."""
    entropies = [feature_entropy(features.detach()).mean() for features in item.features]
    amounts = dominance_amounts(
        torch.stack(entropies)[None], item.contributions[None], delta=delta
    )
    return amounts[0]


def _squared(features: Tensor, target: Tensor) -> Tensor:
    return functional.mse_loss(features, target, reduction='none').mean(dim=(1, 2, 3))


def _mean_of(values: Tensor, use: Tensor) -> Tensor:
    """Return the mean of values (b,) where ``use`` (b,) is True; 0 where it is nowhere."""
    return torch.where(use, values, 0.0).sum() / use.sum().clamp(min=1)
