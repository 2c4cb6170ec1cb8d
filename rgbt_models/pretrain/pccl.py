# SPDX-License-Identifier: Apache-2.0
"""Patch-wise cross-modality contrastive learning (PCCL) of UNIV.

Paper: https://arxiv.org/abs/2509.15642. A frozen RGB teacher says by its attention which patches
of an image belong together; the student's tokens of the aligned thermal image, and of the RGB
image itself, must be similar to the teacher's RGB tokens at exactly those patches.

Differs from the released code: the leading tokens of a ViT are taken out of the attention (its
teacher has none), and every patch belongs to itself (there, a row whose largest weight exceeds
the threshold has no positive at all). ``force_diagonal=False`` gives the released labels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
import torch.nn.functional as F

from rgbt_models.errors import PretrainError
from rgbt_models.pretrain.teacher import TeacherView

RGB_TERMS = ('pccl', 'self_similarity')
ROUNDING = 1e-6  # a running sum of attention may exceed its threshold by this

Teacher = Callable[[Tensor], TeacherView]
Student = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


@dataclass(frozen=True, slots=True, kw_only=True)
class PcclConfig:
    """Settings of PCCL; the defaults are UNIV's but for the forced diagonal.

    Attributes:
        temperature: Divides the cosine similarity.
        attention_threshold: Keys of a row are positive while their attention, largest first,
            sums up to at most this.
        force_diagonal: Every patch is positive to itself.
        thermal_weight: Weight of the thermal term.
        rgb_weight: Weight of the RGB term, which keeps what the teacher knows.
        rgb_term: 'pccl', or 'self_similarity': mean squared difference of the cosine
            similarities among the student's and among the teacher's patches.
    """

    temperature: float = 0.04
    attention_threshold: float = 0.6
    force_diagonal: bool = True
    thermal_weight: float = 1.0
    rgb_weight: float = 1.0
    rgb_term: str = 'pccl'

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            PretrainError: If a number is out of range or the RGB term is unknown.
        """
        if self.temperature <= 0 or not 0.0 < self.attention_threshold <= 1.0:
            raise PretrainError(
                f'PCCL has temperature {self.temperature} and attention_threshold '
                f'{self.attention_threshold}; expected a temperature above 0 and a threshold in '
                f'(0, 1]; correct the settings'
            )
        if min(self.thermal_weight, self.rgb_weight) < 0 or self.thermal_weight == 0:
            raise PretrainError(
                f'PCCL has thermal_weight {self.thermal_weight} and rgb_weight '
                f'{self.rgb_weight}; expected above 0 and at least 0; correct the settings'
            )
        if self.rgb_term not in RGB_TERMS:
            raise PretrainError(
                f"PCCL has rgb_term '{self.rgb_term}'; expected one of {', '.join(RGB_TERMS)}; "
                f'correct the settings'
            )


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class UnivLosses:
    """Weighted losses of one step, scalars; their sum is minimised."""

    thermal: Tensor
    rgb: Tensor

    @property
    def total(self) -> Tensor:
        """The sum."""
        return self.thermal + self.rgb


@torch.no_grad()
def attention_labels(
    attention: Tensor,
    *,
    num_prefix_tokens: int = 0,
    threshold: float = 0.6,
    force_diagonal: bool = True,
) -> Tensor:
    """Say which patches belong together, by the teacher's attention.

    The mean over the heads is taken, the leading tokens are dropped and each row is made to sum
    to 1 again; then a row keeps its largest entries while their running sum stays at or below
    the threshold. Of equal entries the one of the smaller index is kept first.

    Args:
        attention: (b, a, p + n, p + n), rows are queries.
        num_prefix_tokens: p, the class token and registers.
        threshold: Share of a row's attention that makes positives, in (0, 1].
        force_diagonal: Every patch belongs to itself.

    Returns:
        (b, n, n) bool, True = positive: entry (i, j) says that i attends to j; not symmetric.

    Source: UNIV, M_VP as coded (threshold 0.6); leading tokens and diagonal: ours.
    """
    p = num_prefix_tokens
    rows = attention.float().mean(dim=1)[:, p:, p:]  # (b, n, n)
    rows = rows / rows.sum(dim=-1, keepdim=True).clamp_min(torch.finfo(rows.dtype).tiny)
    weights, order = rows.sort(dim=-1, descending=True, stable=True)
    # Weights are rounded to 24 bits: six times a tenth must not be more than 0.6.
    is_kept = weights.double().cumsum(dim=-1) <= threshold + ROUNDING
    labels = torch.zeros_like(is_kept).scatter(-1, order, is_kept)
    if force_diagonal:
        labels = labels | torch.eye(labels.shape[-1], dtype=torch.bool, device=labels.device)
    return labels


def similarity_logits(
    student_tokens: Tensor, teacher_tokens: Tensor, *, temperature: float = 0.04
) -> Tensor:
    """Return cosine similarities over the temperature, (b, n, n), rows are the student's.

    Args:
        student_tokens: (b, n, d).
        teacher_tokens: (b, n, d), of the same grid.
        temperature: Above 0; 0.04 makes logits of -25 to 25.

    Raises:
        PretrainError: If the shapes differ.

    Source: UNIV, M_IVS (thermal student) and M_VVS (RGB student).
    """
    if student_tokens.shape != teacher_tokens.shape or student_tokens.ndim != 3:
        raise PretrainError(
            f'student tokens have shape {tuple(student_tokens.shape)}, teacher tokens '
            f'{tuple(teacher_tokens.shape)}; expected the same (b, n, d); give student and '
            f'teacher the same width, patch size and image size, and drop leading tokens'
        )
    student = F.normalize(student_tokens.float(), dim=-1)
    teacher = F.normalize(teacher_tokens.float(), dim=-1)
    return student @ teacher.transpose(1, 2) / temperature


def pccl_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the multi-label binary cross-entropy over all pairs of patches.

    UNIV averages the loss of (logits, labels) with that of both transposed. As each is a mean
    over all entries, the two are the same number, which is computed once here.

    Args:
        logits: (b, n, n).
        labels: (b, n, n) bool, True = positive.

    Source: UNIV, PCCL as coded: no bias term, no softmax.
    """
    return F.binary_cross_entropy_with_logits(logits, labels.to(logits.dtype))


def self_similarity_loss(student_tokens: Tensor, teacher_tokens: Tensor) -> Tensor:
    """Return the mean squared difference of the two cosine similarity matrices.

    Args:
        student_tokens: (b, n, d).
        teacher_tokens: (b, n, e); the widths may differ.

    Source: UNIV, the alternative RGB term in its code.
    """
    student = F.normalize(student_tokens.float(), dim=-1)
    teacher = F.normalize(teacher_tokens.float(), dim=-1)
    return F.mse_loss(student @ student.transpose(1, 2), teacher @ teacher.transpose(1, 2))


def univ_step(
    student: Student, teacher: Teacher, rgb: Tensor, thermal: Tensor, config: PcclConfig
) -> UnivLosses:
    """Compute the losses of one batch of aligned pairs.

    Args:
        student: Maps (rgb, thermal) to the patch tokens of both, (b, n, d) each.
        teacher: Frozen; maps RGB images to its view of them.
        rgb: (b, 3, h, w), standardised.
        thermal: (b, 3, h, w), standardised, pixel-aligned with ``rgb``.
        config: Weights and thresholds.

    Raises:
        PretrainError: If the tokens of student and teacher do not fit each other.

    Source: UNIV: L(M_IVS, M_VP) + L(M_VVS, M_VP), both with weight 1.
    """
    view = teacher(rgb)
    rgb_tokens, thermal_tokens = student(rgb, thermal)
    with torch.autocast(rgb.device.type, enabled=False):  # logits of up to 25: not in 16 bit
        labels = attention_labels(
            view.attention,
            num_prefix_tokens=view.num_prefix_tokens,
            threshold=config.attention_threshold,
            force_diagonal=config.force_diagonal,
        )
        thermal_loss = pccl_loss(
            similarity_logits(thermal_tokens, view.patch_tokens, temperature=config.temperature),
            labels,
        )
        if config.rgb_term == 'pccl':
            rgb_loss = pccl_loss(
                similarity_logits(rgb_tokens, view.patch_tokens, temperature=config.temperature),
                labels,
            )
        else:
            rgb_loss = self_similarity_loss(rgb_tokens, view.patch_tokens)
    return UnivLosses(
        thermal=config.thermal_weight * thermal_loss, rgb=config.rgb_weight * rgb_loss
    )
