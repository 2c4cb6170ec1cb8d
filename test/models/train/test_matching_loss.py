# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
import torch

from rgbt_models.heads import MatchingHead
from rgbt_models.train.matching_loss import (
    coarse_matching_loss,
    fine_matching_loss,
    matching_targets,
    warp_points,
)


def shift(x, y):
    return torch.tensor([[[1.0, 0.0, x], [0.0, 1.0, y], [0.0, 0.0, 1.0]]])


def test_identity_matches_the_diagonal():
    targets = matching_targets(shift(0.0, 0.0), (3, 4), (3, 4))
    assert torch.equal(targets[0], torch.eye(12, dtype=torch.bool))


def test_a_shift_of_one_token_matches_the_neighbour_and_leaves_the_edge_out():
    # Thermal pixel x lies on RGB pixel x + 16: thermal column 0 shows RGB column 1.
    targets = matching_targets(shift(16.0, 0.0), (1, 3), (1, 3))[0]
    assert targets.nonzero().tolist() == [[1, 0], [2, 1]]


def test_a_shift_below_half_a_token_matches_the_same_token():
    targets = matching_targets(shift(7.0, -7.0), (2, 2), (2, 2))[0]
    assert torch.equal(targets, torch.eye(4, dtype=torch.bool))


def test_every_token_matches_at_most_once_when_thermal_is_magnified():
    half = torch.tensor([[[0.5, 0.0, 0.0], [0.0, 0.5, 0.0], [0.0, 0.0, 1.0]]])
    targets = matching_targets(half, (4, 4), (4, 4))[0]
    assert int(targets.sum(dim=0).max()) == 1
    assert int(targets.sum(dim=1).max()) == 1
    assert targets.any()


def test_points_behind_the_camera_go_to_infinity():
    homography = torch.tensor([[[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, -1.0]]])
    assert torch.isinf(warp_points(torch.zeros(1, 2), homography)).all()


def test_coarse_loss_is_the_focal_loss_of_the_dual_softmax():
    # All logits equal: score 1/2 * 1/2 at both true pairs.
    targets = torch.eye(2, dtype=torch.bool)[None]
    expected = 0.25 * (1 - 0.25) ** 2 * 1.386294
    assert float(coarse_matching_loss(torch.zeros(1, 2, 2), targets)) == pytest.approx(expected)


def test_losses_without_a_true_pair_are_zero_with_a_gradient():
    logits = torch.zeros(1, 2, 2, requires_grad=True)
    coarse_matching_loss(logits, torch.zeros(1, 2, 2, dtype=torch.bool)).backward()
    assert float(logits.grad.abs().sum()) == 0.0
    offsets = torch.zeros(1, 2, requires_grad=True)
    fine_matching_loss(offsets, torch.tensor([[100.0, 0.0]]), stride=4).backward()
    assert float(offsets.grad.abs().sum()) == 0.0


def test_fine_loss_counts_cells_and_leaves_out_what_is_out_of_reach():
    offsets = torch.tensor([[4.0, 0.0], [0.0, 0.0]])
    wanted = torch.tensor([[0.0, 8.0], [8.1, 0.0]])  # the second beyond 2 cells of 4 px
    assert float(fine_matching_loss(offsets, wanted, stride=4)) == pytest.approx(1 + 4)


def test_training_the_head_matches_what_looks_different_in_both_cameras():
    generator = torch.Generator().manual_seed(0)
    mixing = torch.linalg.qr(torch.randn(16, 16, generator=generator))[0]
    rgb = torch.randn(1, 16, 4, 5, generator=generator)
    thermal = torch.einsum('dc,bchw->bdhw', mixing, rgb)
    both = (
        torch.cat([rgb, torch.zeros_like(rgb)], 1),
        torch.cat([torch.zeros_like(rgb), thermal], 1),
    )
    head = MatchingHead(dim=32)
    targets = matching_targets(shift(0.0, 0.0), (4, 5), (4, 5))
    optimiser = torch.optim.Adam(head.parameters(), lr=0.02)
    first = float(coarse_matching_loss(head(*both), targets).detach())
    for _ in range(80):
        optimiser.zero_grad()
        loss = coarse_matching_loss(head(*both), targets)
        loss.backward()
        optimiser.step()
    assert float(loss.detach()) < 0.1 * first
