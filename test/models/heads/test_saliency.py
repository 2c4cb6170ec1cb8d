# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
import torch

from rgbt_models.heads import saliency_scores, SaliencyHead
from rgbt_models.train.saliency_loss import saliency_loss


def test_one_logit_per_position_of_the_finest_level():
    head = SaliencyHead(channels=4).eval()
    assert head(torch.zeros(2, 4, 3, 7)).shape == (2, 1, 3, 7)


@torch.no_grad()
def test_at_the_start_about_a_tenth_is_salient():
    head = SaliencyHead(channels=4).eval()
    torch.nn.init.zeros_(head.classifier.weight)
    assert float(head(torch.zeros(1, 4, 2, 2)).sigmoid().mean()) == pytest.approx(0.1, abs=0.01)


def test_scores_have_image_size_and_keep_left_from_right():
    logits = torch.full((1, 1, 2, 3), -20.0)
    logits[..., 0, 2] = 20.0  # top right
    scores = saliency_scores(logits, (8, 12))
    assert scores.shape == (1, 8, 12)
    assert float(scores[0, 0, 11]) > 0.99
    assert float(scores[0, 7, 11]) < 0.01
    assert float(scores[0, 0, 0]) < 0.01


def test_loss_of_a_perfect_mask_is_zero_and_of_its_opposite_large():
    masks = torch.zeros(1, 8, 12, dtype=torch.uint8)
    masks[:, :4, 8:] = 1
    logits = torch.full((1, 1, 2, 3), -30.0)
    logits[..., 0, 2] = 30.0
    assert float(saliency_loss(logits, masks)) == pytest.approx(0.0, abs=1e-6)
    assert float(saliency_loss(-logits, masks)) > 10.0


def test_loss_has_the_closed_form_of_an_undecided_prediction():
    masks = torch.zeros(1, 4, 8, dtype=torch.uint8)
    masks[:, :, :4] = 255  # any value but 0 and 255 is salient, 255 is not labeled
    masks[:, :, 4:] = 7
    logits = torch.zeros(1, 1, 1, 2)
    # One labeled cell at 0.5: ln 2, and IoU (0.5 + 1) / (1 + 1).
    assert float(saliency_loss(logits, masks)) == pytest.approx(0.693147 + 0.25, abs=1e-5)


def test_loss_without_labels_is_zero_with_a_gradient():
    logits = torch.zeros(1, 1, 1, 2, requires_grad=True)
    loss = saliency_loss(logits, torch.full((1, 4, 8), 255, dtype=torch.uint8))
    loss.backward()
    assert float(loss.detach()) == 0.0
    assert float(logits.grad.abs().sum()) == 0.0


def test_training_the_head_finds_a_bright_square():
    torch.manual_seed(0)
    head = SaliencyHead(channels=4)
    masks = torch.zeros(2, 32, 32, dtype=torch.uint8)
    masks[0, 4:12, 20:28] = 1
    masks[1, 16:28, 4:12] = 1
    features = torch.randn(2, 4, 8, 8) * 0.1
    features[:, 1] += masks[:, 2::4, 2::4].float()
    optimiser = torch.optim.Adam(head.parameters(), lr=0.02)
    first = float(saliency_loss(head(features), masks).detach())
    for _ in range(60):
        optimiser.zero_grad()
        loss = saliency_loss(head(features), masks)
        loss.backward()
        optimiser.step()
    assert float(loss.detach()) < 0.2 * first
