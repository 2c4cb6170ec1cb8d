# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import replace
import math

from made_models import (
    COLD,
    HOT,
    NUM_SEGMENTATION_CLASSES,
    painted_sample,
    random_painted_samples,
)
import numpy as np
import pytest
import torch
import train_peer

from rgbt_models.build import ARCHITECTURES
from rgbt_models.contrast import ENOUGH_CONTRAST, FLOOR_SHARE, WHOLE_BOX
from rgbt_models.errors import DatasetError
from rgbt_models.label_sets import DETECTION_CLASSES, LabelSet, PACKAGE_LABEL_SET
from rgbt_models.normalise import ThermalNormaliser
from rgbt_models.train.balance import BalanceConfig
from rgbt_models.train.batches import collate
from rgbt_models.train.config import TrainConfig
from rgbt_models.train.supervised import SupervisedLearner
from rgbt_models.train.visibility import (
    measure_advantage,
    object_labels,
    SHARE_GAIN,
    visibility_loss,
)

LABELS = object_labels(PACKAGE_LABEL_SET)
NORMALISER = ThermalNormaliser()
BOX = (30, 20, 60, 80)
INSIDE = np.s_[20:80, 30:60]
FLOOR = FLOOR_SHARE * 255.0


def measure(sample):
    return measure_advantage(sample, LABELS, NORMALISER)


def grey_person(level, *, temperature=HOT):
    """A person on a road of level 40, of another level and temperature."""
    sample = painted_sample(BOX)
    rgb, thermal = sample.rgb.copy(), sample.thermal.copy()
    rgb[INSIDE], thermal[INSIDE] = level, temperature
    return replace(sample, rgb=rgb, thermal=thermal)


def shares_that_say(*indices):
    return 0.5 + torch.atanh(torch.tensor(indices, dtype=torch.float32)) / SHARE_GAIN


@pytest.mark.parametrize(
    ('sample', 'expected'),
    [
        (grey_person(40), -1.0),
        (grey_person(230, temperature=COLD), 1.0),
        (grey_person(230), 0.0),  # both show more than enough
        # The stretched image is 0 and 1: 1 / FLOOR_SHARE is more than enough too.
        (grey_person(40 + 51), (51 / FLOOR - ENOUGH_CONTRAST) / (51 / FLOOR + ENOUGH_CONTRAST)),
        (painted_sample(), math.nan),
    ],
)
def test_the_advantage_is_that_of_what_each_camera_shows(sample, expected):
    assert measure(sample) == pytest.approx(expected, abs=1e-5, nan_ok=True)


def test_the_unit_of_the_thermal_image_does_not_matter():
    sample = grey_person(70)
    noise = np.random.default_rng(0).normal(0.0, 400.0, sample.thermal.shape)
    noisy = replace(sample, thermal=np.rint(sample.thermal + noise).astype(np.uint16))
    halved = replace(noisy, thermal=(noisy.thermal // 2 + 9000).astype(np.uint16))
    assert -1.0 < measure(noisy) < 0.0
    assert measure(halved) == pytest.approx(measure(noisy), abs=2e-3)


def test_noise_in_rgb_moves_the_advantage_to_thermal():
    sample = grey_person(80)
    noise = np.random.default_rng(1).normal(0.0, 25.0, sample.rgb.shape)
    noisy = np.clip(sample.rgb + noise, 0, 255).astype(np.uint8)
    assert measure(replace(sample, rgb=noisy)) < measure(sample) - 0.2


def test_ignored_objects_count_only_if_there_are_no_others():
    two = painted_sample(BOX, (90, 20, 110, 80))
    rgb = two.rgb.copy()
    rgb[INSIDE] = 40  # RGB shows the second one only
    two = replace(two, rgb=rgb)
    without_second = replace(two, ignore=np.array([False, True]))
    assert measure(two) == pytest.approx((0.5 - 1.0) / 1.5, abs=1e-5)
    assert measure(without_second) == pytest.approx(-1.0)
    both = replace(two, ignore=np.array([True, True]))
    assert measure(both) == pytest.approx(measure(two))


def test_labels_are_found_by_name():
    labels = LabelSet(detection_classes=('car', 'cat', 'sky'), segmentation_classes=('sky', 'car'))
    assert object_labels(labels) == (1, WHOLE_BOX, 0)
    assert len(LABELS) == len(DETECTION_CLASSES)
    assert WHOLE_BOX not in LABELS


def test_a_pool_without_boxes_is_refused():
    with pytest.raises(DatasetError, match='visibility_weight is on and the pool has no boxes'):
        object_labels(LabelSet(detection_classes=(), segmentation_classes=('sky',)))


def test_the_loss_is_the_squared_distance_of_the_index_of_each_level():
    shares = torch.stack([torch.tensor([0.5, 0.5]), shares_that_say(0.5, -0.5)])
    wanted, both = torch.tensor([0.5, 0.5]), torch.tensor([True, True])
    # (.25 + .25) / 2 of the first sample, (0 + 1) / 2 of the second.
    assert float(visibility_loss(shares, wanted, both)) == pytest.approx((0.25 + 0.5) / 2)


def test_samples_without_objects_or_without_a_camera_do_not_count():
    shares = torch.tensor([[0.5], [0.9], [0.1]], requires_grad=True)
    wanted = torch.tensor([0.5, math.nan, 1.0])
    use = torch.tensor([True, True, False])
    loss = visibility_loss(shares, wanted, use)
    loss.backward()
    assert loss.item() == pytest.approx(0.25)
    assert shares.grad is not None
    assert shares.grad[0] < 0.0  # the share must rise
    np.testing.assert_array_equal(shares.grad[1:].numpy(), 0.0)


def test_a_batch_in_which_nothing_counts_has_no_loss():
    shares = torch.tensor([[0.7]], requires_grad=True)
    loss = visibility_loss(shares, torch.tensor([math.nan]), torch.tensor([True]))
    loss.backward()
    assert loss.item() == 0.0
    assert shares.grad.item() == 0.0


def build_learner(monkeypatch, **settings):
    monkeypatch.setitem(ARCHITECTURES, train_peer.ARCHITECTURE, None)
    train_peer.register()
    config = TrainConfig(
        architecture=train_peer.ARCHITECTURE,
        segmentation_weights=(1.0,) * NUM_SEGMENTATION_CLASSES,
        precision='32-true',
        **settings,
    )
    return SupervisedLearner(config, device=torch.device('cpu')), config


def losses_of(learner, config, *, progress=0.0):
    batch = collate(random_painted_samples(3, seed=8), config)
    torch.manual_seed(4)
    return learner.losses(learner.model, batch, step=0, progress=progress)


def test_off_leaves_batches_and_losses_as_they_were(monkeypatch):
    learner, config = build_learner(monkeypatch)
    terms = losses_of(learner, config)
    assert collate(random_painted_samples(2, seed=8), config).advantages is None
    assert set(terms.parts) == {'classification', 'box', 'segmentation'}


def test_the_term_is_weighted_and_reaches_encoder_and_fusion_only(monkeypatch):
    plain = losses_of(*build_learner(monkeypatch))
    learner, config = build_learner(monkeypatch, visibility_weight=3.0)
    terms = losses_of(learner, config)
    added = terms.parts['visibility']
    assert float(added.detach()) > 0.0
    assert float(terms.total.detach()) == pytest.approx(
        float(plain.total.detach()) + float(added.detach()), rel=1e-5
    )
    added.backward()
    reached = {
        name.split('.')[0]
        for name, parameter in learner.model.named_parameters()
        if parameter.grad is not None and parameter.grad.abs().sum() > 0.0
    }
    assert reached == {'encoder', 'neck'}


def test_no_sample_counts_when_every_one_lacks_a_camera(monkeypatch):
    learner, config = build_learner(
        monkeypatch, visibility_weight=1.0, modality_dropout=1.0, dropout_start=0.0
    )
    assert float(losses_of(learner, config, progress=1.0).parts['visibility'].detach()) == 0.0


def test_the_term_does_not_count_as_dominance(monkeypatch):
    """What the balancer measures is the same with a strong term and without one."""
    measured = []
    for weight in (0.0, 50.0):
        learner, config = build_learner(
            monkeypatch,
            is_balanced=True,
            balance=BalanceConfig(decay=0.0),
            visibility_weight=weight,
        )
        losses_of(learner, config).total.backward()
        learner.finish_backward(is_last=True)
        measured.append(learner.extra_modules['balancer'].amounts.clone())
    torch.testing.assert_close(measured[0], measured[1])


def test_minimising_the_term_orders_samples_by_their_advantage(monkeypatch):
    learner, config = build_learner(monkeypatch, visibility_weight=1.0)
    wanted = torch.tensor([-0.8, 0.0, 0.8])
    samples = [grey_person(40), grey_person(200), grey_person(200, temperature=COLD)]
    batch = replace(collate(samples, config), advantages=wanted)
    optimiser = torch.optim.Adam(learner.model.parameters(), lr=3e-3)
    for _ in range(25):
        torch.manual_seed(4)
        optimiser.zero_grad()
        terms = learner.losses(learner.model, batch, step=0, progress=0.0)
        terms.parts['visibility'].backward()
        optimiser.step()
    outputs = learner.model.eval()(batch.rgb, batch.thermal, torch.ones(3, 2))
    low, middle, high = outputs['rgb_shares'].mean(dim=1).tolist()
    assert low < middle < high
