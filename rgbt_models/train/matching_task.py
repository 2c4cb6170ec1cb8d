# SPDX-License-Identifier: Apache-2.0
"""The matching task: pairs whose thermal image is warped by a homography that is drawn.

Differs from LoFTR (https://arxiv.org/abs/2104.00680): the truth is a homography between registered
images instead of depth and pose, and fine points are learnt at the true coarse pairs only.
Source: ours on that idea.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn, Tensor

from rgbt_models.build import RGBTModel
from rgbt_models.heads import FineFeatures, Matches, MatchingHead, refine_matches
from rgbt_models.heads.fine_features import FINE_STRIDE
from rgbt_models.heads.matching import (
    COARSE_STRIDE,
    fine_offsets,
    match_logits,
    THRESHOLD,
    token_centres,
)
from rgbt_models.train.batches import TrainBatch
from rgbt_models.train.learner import LossTerms
from rgbt_models.train.matching_loss import (
    coarse_matching_loss,
    fine_matching_loss,
    matching_targets,
    warp_points,
)
from rgbt_models.vit import SiameseViT

MAX_SHIFT = 0.15  # of the image side: how far a corner moves
FINE_WEIGHT = 0.25  # its error is in cells squared, and reaches 2 cells: 0..1 along each axis

Levels = list[tuple[Tensor, Tensor]]


class MatchingModel(nn.Module):
    """Encoder and matching head; in training the thermal image is warped on the way in."""

    def __init__(self, base: RGBTModel, *, is_fine: bool = True) -> None:
        """Take the encoder of ``base``; ``is_fine`` adds features that refine the matches."""
        super().__init__()
        self.encoder = base.encoder
        dim = base.encoder.channels[-1]
        self.matching = MatchingHead(dim=dim)
        self.fine: FineFeatures | None = None
        if is_fine:
            has_tokens_only = isinstance(base.encoder, SiameseViT)
            local = None if has_tokens_only else base.encoder.channels[0]
            self.fine = FineFeatures(dim=dim, local_channels=local)

    def forward(self, rgb: Tensor, thermal: Tensor, available: Tensor) -> dict[str, Tensor]:
        """Return the logits of all token pairs, and the truth while training.

        Args:
            rgb: (b, 3, h, w).
            thermal: (b, 3, h, w), registered in training, as it is else.
            available: (b, 2); a pair that lacks a camera teaches nothing.

        Returns:
            'matching_logits' (b, n, n) and, in training, 'matching_targets' (b, n, n) bool; with
            fine features also, for the k true pairs of the batch, 'fine_offsets' (k, 2) px as
            found and 'fine_wanted' (k, 2) px.
        """
        if not self.training:
            rgb_tokens, thermal_tokens = self.encoder(rgb, thermal)[-1]
            return {'matching_logits': self.matching(rgb_tokens, thermal_tokens)}
        with torch.autocast(rgb.device.type, enabled=False):  # bfloat16 has 3 digits: no pixels
            size_hw = (rgb.shape[2], rgb.shape[3])
            homography = draw_homographies(len(rgb), size_hw, device=rgb.device)
            warped = warp(thermal, homography)
        levels = self.encoder(rgb, warped)
        rgb_tokens, thermal_tokens = levels[-1]
        grid_hw = (rgb_tokens.shape[2], rgb_tokens.shape[3])
        with torch.autocast(rgb.device.type, enabled=False):
            targets = matching_targets(homography, grid_hw, grid_hw)
        has_both = available.amin(dim=1) > 0.5
        targets = targets & has_both[:, None, None]
        outputs = {
            'matching_logits': self.matching(rgb_tokens, thermal_tokens),
            'matching_targets': targets,
        }
        if self.fine is not None:
            outputs |= self._fine_outputs(self.fine, levels, homography, targets)
        return outputs

    @torch.no_grad()
    def match(self, rgb: Tensor, thermal: Tensor, *, threshold: float = THRESHOLD) -> Matches:
        """Match one pair, refined where the model has fine features.

        Args:
            rgb: (3, h, w), standardised.
            thermal: (3, h, w), standardised, not necessarily registered.
            threshold: Smallest coarse score, exclusive.
        """
        levels = self.encoder(rgb[None], thermal[None])
        rgb_tokens, thermal_tokens = levels[-1]
        grid_hw = (rgb_tokens.shape[2], rgb_tokens.shape[3])
        logits = self.matching(rgb_tokens, thermal_tokens)[0]
        matches = match_logits(logits, grid_hw, grid_hw, threshold=threshold)
        if self.fine is None:
            return matches
        rgb_fine, thermal_fine = (
            self.fine([level[modality] for level in levels])[0] for modality in (0, 1)
        )
        return refine_matches(matches, rgb_fine, thermal_fine, stride=FINE_STRIDE)

    def _fine_outputs(
        self, fine: FineFeatures, levels: Levels, homography: Tensor, targets: Tensor
    ) -> dict[str, Tensor]:
        rgb_fine, thermal_fine = (
            fine([level[modality] for level in levels]) for modality in (0, 1)
        )
        grid_hw = (levels[-1][0].shape[2], levels[-1][0].shape[3])
        centres = token_centres(*grid_hw, COARSE_STRIDE, device=homography.device)
        offsets, wanted = [], []
        with torch.autocast(homography.device.type, enabled=False):
            truth = warp_points(centres, torch.linalg.inv(homography))  # (b, n, 2) thermal px
            for index, target in enumerate(targets):
                rows, columns = target.nonzero(as_tuple=True)
                matches = Matches(
                    rgb_xy=centres[rows],
                    thermal_xy=centres[columns],
                    scores=torch.ones_like(rows, dtype=torch.float32),
                )
                offsets.append(
                    fine_offsets(matches, rgb_fine[index], thermal_fine[index], stride=FINE_STRIDE)
                )
                wanted.append(truth[index, rows] - centres[columns])
        return {'fine_offsets': torch.cat(offsets), 'fine_wanted': torch.cat(wanted)}


def matching_loss(outputs: Mapping[str, Tensor], batch: TrainBatch, weights: Tensor) -> LossTerms:
    """Return the loss of ``MatchingModel``: coarse, and fine where there are fine features.

    Args:
        outputs: Of ``MatchingModel.forward`` in training.
        batch: Not used: the truth is the homography that was drawn.
        weights: Of segmentation classes, not used.
    """
    del batch, weights
    coarse = coarse_matching_loss(outputs['matching_logits'], outputs['matching_targets'])
    if 'fine_offsets' not in outputs:
        return LossTerms(total=coarse, parts={'matching': coarse})
    fine = fine_matching_loss(outputs['fine_offsets'], outputs['fine_wanted'], stride=FINE_STRIDE)
    return LossTerms(
        total=coarse + FINE_WEIGHT * fine, parts={'matching': coarse, 'fine_matching': fine}
    )


def draw_homographies(count: int, size_hw: tuple[int, int], *, device: torch.device) -> Tensor:
    """Draw homographies thermal pixel -> RGB pixel that move the corners, shape (b, 3, 3).

    Each corner moves by up to 0.15 of the side, independently.
    """
    h, w = size_hw
    corners = torch.tensor(
        [[0, 0], [w - 1, 0], [w - 1, h - 1], [0, h - 1]], dtype=torch.float64, device=device
    )
    size = torch.tensor([w, h], dtype=torch.float64, device=device)
    draw = torch.rand(count, 4, 2, device=device).double() * 2.0 - 1.0
    moved = corners + draw * MAX_SHIFT * size
    x, y = (t.expand(count, 4) for t in corners.unbind(1))
    u, v = moved.unbind(2)
    one, nil = torch.ones_like(x), torch.zeros_like(x)
    rows_u = torch.stack([x, y, one, nil, nil, nil, -u * x, -u * y], dim=2)
    rows_v = torch.stack([nil, nil, nil, x, y, one, -v * x, -v * y], dim=2)
    system = torch.cat([rows_u, rows_v], dim=1)  # (b, 8, 8)
    solved = torch.linalg.solve(system, torch.cat([u, v], dim=1))
    return torch.cat([solved, torch.ones_like(solved[:, :1])], dim=1).reshape(-1, 3, 3).float()


def warp(image: Tensor, homography: Tensor) -> Tensor:
    """Make of registered images (b, c, h, w) those of a camera with ``homography``.

    The pixel p of the result shows what the image has at ``homography`` p; beyond it, 0.
    """
    b, _, h, w = image.shape
    y, x = torch.meshgrid(
        torch.arange(h, device=image.device, dtype=torch.float32),
        torch.arange(w, device=image.device, dtype=torch.float32),
        indexing='ij',
    )
    points = torch.stack([x, y, torch.ones_like(x)], dim=-1).reshape(1, -1, 3)
    mapped = points @ homography.transpose(1, 2)
    xy = mapped[..., :2] / mapped[..., 2:].clamp(min=1e-6)
    size = torch.tensor([w, h], device=image.device)
    grid = ((xy + 0.5) / size * 2.0 - 1.0).reshape(b, h, w, 2)
    return nn.functional.grid_sample(
        image.float(), grid, mode='bilinear', padding_mode='zeros', align_corners=False
    )
