# SPDX-License-Identifier: Apache-2.0
"""A step of several batches, as the balancer measures it."""

from __future__ import annotations

from made_models import NUM_SEGMENTATION_CLASSES, random_painted_samples, small_model
import pytest
import torch

from rgbt_models.errors import DatasetError
from rgbt_models.train.balance import BalanceConfig, Balancer
from rgbt_models.train.batches import collate
from rgbt_models.train.config import TrainConfig
from rgbt_models.train.losses import compute_losses

BOTH = torch.ones(2, 2)
ONE_LACKS_THERMAL = torch.tensor([[1.0, 1.0], [1.0, 0.0]])


def batch_of(seed):
    return collate(random_painted_samples(2, seed=seed), TrainConfig())


def amounts_after(*batches):
    """Return the dominance that one step takes over from (batch, available, factor) each."""
    model = small_model().train()
    balancer = Balancer(model, BalanceConfig(decay=0.0))
    for batch, available, factor in batches:
        model.load_state_dict(small_model().state_dict())  # batch statistics have moved
        balancer.begin_batch(0.05)
        torch.manual_seed(9)  # the encoder shifts its positions at random in training
        outputs = model(batch.rgb, batch.thermal, available)
        losses = compute_losses(
            outputs, batch.targets, batch.label_maps, torch.ones(NUM_SEGMENTATION_CLASSES)
        )
        (factor * losses.total).backward()
        balancer.end_batch()
    balancer.end_step()
    return balancer.amounts.clone()


def test_the_dominance_is_the_mean_over_the_samples_with_both_cameras_of_every_batch():
    first, second = (batch_of(5), BOTH, 1.0), (batch_of(6), ONE_LACKS_THERMAL, 1.0)
    alone = amounts_after(first), amounts_after(second)
    assert not torch.allclose(*alone, atol=1e-3)
    torch.testing.assert_close(amounts_after(first, second), (2 * alone[0] + alone[1]) / 3)


def test_a_batch_that_overflowed_does_not_count():
    batch = batch_of(5)
    expected = amounts_after((batch, BOTH, 1.0))
    found = amounts_after((batch_of(6), BOTH, torch.inf), (batch, BOTH, 1.0))
    torch.testing.assert_close(found, expected)


def test_a_step_without_a_measured_batch_is_refused():
    balancer = Balancer(small_model().train(), BalanceConfig())
    with pytest.raises(DatasetError, match='has measured no batch of this step'):
        balancer.end_step()
