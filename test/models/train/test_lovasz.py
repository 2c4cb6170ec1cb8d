# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from itertools import product

import pytest
import torch

from rgbt_models.train.losses import lovasz_loss
from rgbt_models.train.lovasz import lovasz_softmax


def jaccard_loss(found, labels, class_id):
    """Return 1 - IoU of a class."""
    found_it, is_it = found == class_id, labels == class_id
    return 1.0 - float((found_it & is_it).sum() / (found_it | is_it).sum())


@pytest.mark.parametrize('found', list(product(range(3), repeat=4)))
def test_of_certain_predictions_it_is_the_mean_jaccard_loss(found):
    found, labels = torch.tensor(found), torch.tensor([0, 0, 1, 2])
    probabilities = torch.nn.functional.one_hot(found, 3).double()
    wanted = sum(jaccard_loss(found, labels, class_id) for class_id in range(3)) / 3
    assert lovasz_softmax(probabilities, labels).item() == pytest.approx(wanted)


def test_classes_that_no_pixel_has_do_not_count():
    probabilities = torch.tensor([[0.5, 0.0, 0.5], [0.0, 1.0, 0.0]])
    # Of class 0 one pixel is half wrong; class 2 has no pixel.
    assert lovasz_softmax(probabilities, torch.tensor([0, 1])).item() == pytest.approx(0.25)


def test_no_labeled_pixel_costs_nothing_and_is_not_nan():
    logits = torch.randn(1, 3, 4, 4, requires_grad=True)
    loss = lovasz_loss(logits, torch.full((1, 16, 16), 255, dtype=torch.uint8))
    assert loss.item() == 0.0
    loss.backward()
    assert not logits.grad.any()


def test_labeled_pixels_beside_the_cell_centres_count():
    logits = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    labels = torch.randint(3, (2, 16, 16), dtype=torch.uint8)
    labels[0, :8] = 255
    at_cells = labels[:, 2::4, 2::4].long()
    chosen = at_cells != 255
    rows = logits.softmax(1).permute(0, 2, 3, 1)[chosen]
    wanted = lovasz_softmax(rows, at_cells[chosen]).item()
    assert lovasz_loss(logits, labels).item() == pytest.approx(wanted, rel=1e-5)


def test_a_step_against_the_gradient_lowers_it():
    logits = torch.randn(50, 4, generator=torch.Generator().manual_seed(1), requires_grad=True)
    labels = torch.arange(50) % 4
    loss = lovasz_softmax(logits.softmax(1), labels)
    loss.backward()
    after = lovasz_softmax((logits - 5.0 * logits.grad).softmax(1), labels)
    assert after.item() < loss.item()
