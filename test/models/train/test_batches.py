# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import replace
from itertools import islice

from fakes import build_card, FakeEngine
from made_models import painted_sample, write_shard
import numpy as np
import pytest
import torch

from rgbt_models.normalise import ThermalNormaliser
from rgbt_models.train.batches import collate, draw_batch, iterate_batches
from rgbt_models.train.config import TrainConfig
from rgbt_models.train.pool import SamplePool
from rgbt_perception.config import build_config
from rgbt_perception.pipeline import Pipeline
from rgbt_perception.types import Frame, Modality, Pair

CONFIG = TrainConfig(
    size_hws=((64, 96), (96, 64)),
    pixels_per_step=2 * 64 * 96,
    rgb_mean=(0.1, 0.2, 0.3),
    rgb_std=(0.5, 0.25, 0.2),
    thermal_mean=0.5,
    thermal_std=0.25,
    thermal_normaliser=ThermalNormaliser(low_percentile=0.0, high_percentile=100.0),
)


@pytest.fixture
def pool(tmp_path):
    write_shard(
        tmp_path,
        'shard_0',
        [painted_sample((10, 20, 40, 70)), painted_sample(), painted_sample((60, 10, 90, 80))],
    )
    return SamplePool(tmp_path)


def test_images_are_standardised_channel_by_channel():
    sample = painted_sample((30, 30, 60, 90))
    batch = collate([sample, painted_sample()], CONFIG)
    assert batch.rgb.shape == batch.thermal.shape == (2, 3, 96, 128)
    bright = batch.rgb[0, :, 60, 45].numpy()  # 230 of 255, row 60, column 45
    expected = [(230 / 255 - 0.1) / 0.5, (230 / 255 - 0.2) / 0.25, (230 / 255 - 0.3) / 0.2]
    np.testing.assert_allclose(bright, expected, rtol=1e-5)


def test_thermal_is_stretched_then_standardised_and_replicated():
    batch = collate([painted_sample((30, 30, 60, 90))], CONFIG)
    assert batch.thermal[0, :, 60, 45].tolist() == pytest.approx([(1.0 - 0.5) / 0.25] * 3)
    assert batch.thermal[0, :, 5, 5].tolist() == pytest.approx([(0.0 - 0.5) / 0.25] * 3)


def test_a_flat_thermal_image_is_finite():
    batch = collate([painted_sample()], CONFIG)
    assert batch.thermal.unique().tolist() == [-2.0]


def test_labels_and_boxes_stay_with_their_image():
    one, none = painted_sample((30, 30, 60, 90)), painted_sample()
    batch = collate([one, none], CONFIG)
    assert batch.label_maps.dtype == torch.uint8
    np.testing.assert_array_equal(batch.label_maps[0].numpy(), one.label_map)
    first, second = batch.targets
    assert first.boxes_xyxy.tolist() == [[30.0, 30.0, 60.0, 90.0]]
    assert (first.class_ids.dtype, first.ignore.dtype) == (torch.int64, torch.bool)
    assert second.boxes_xyxy.shape == (0, 4)


def test_the_batch_size_follows_the_crop_size(pool):
    config = TrainConfig(size_hws=((64, 96),), pixels_per_step=3 * 64 * 96)
    assert len(draw_batch(pool, np.random.default_rng(0), config).rgb) == 3
    config = TrainConfig(size_hws=((96, 128),), pixels_per_step=96 * 128 + 10)
    batch = draw_batch(pool, np.random.default_rng(0), config)
    assert batch.rgb.shape == (1, 3, 96, 128)
    assert len(batch.targets) == 1


def test_every_crop_size_is_drawn_and_one_batch_has_one_size(pool):
    rng = np.random.default_rng(0)
    batches = [draw_batch(pool, rng, CONFIG) for _ in range(12)]
    assert {tuple(batch.rgb.shape[2:]) for batch in batches} == {(64, 96), (96, 64)}
    assert all(batch.label_maps.shape[1:] == batch.rgb.shape[2:] for batch in batches)


def test_a_seed_gives_the_same_batches_through_the_thread(pool):
    threaded = list(islice(iterate_batches(pool, np.random.default_rng(5), CONFIG), 4))
    rng = np.random.default_rng(5)
    for batch in threaded:
        expected = draw_batch(pool, rng, CONFIG)
        torch.testing.assert_close(batch.rgb, expected.rgb, rtol=0, atol=0)
        torch.testing.assert_close(batch.thermal, expected.thermal, rtol=0, atol=0)


def test_an_error_while_preparing_reaches_the_consumer(pool, monkeypatch):
    def fail(*args, **settings):
        raise OSError('disk gone')

    monkeypatch.setattr('rgbt_models.train.batches.draw_batch', fail)
    with pytest.raises(OSError, match='disk gone'):
        next(iterate_batches(pool, np.random.default_rng(0), CONFIG))


def test_the_robot_gives_the_network_the_bits_that_training_gave_it(tmp_path):
    rng = np.random.default_rng(0)
    counts = rng.integers(28_000, 31_000, (96, 128)).astype(np.uint16)
    sample = replace(painted_sample((30, 30, 60, 90)), thermal=counts)
    trained = collate([sample], TrainConfig(thermal_mean=0.4, thermal_std=0.25))  # as the card
    engine = FakeEngine()
    card = build_card(tmp_path, input_hw=(96, 128))
    frames = (
        Frame(pixels=pixels, stamp_ns=1, frame_id=modality.value, modality=modality)
        for pixels, modality in ((sample.rgb, Modality.RGB), (counts, Modality.THERMAL))
    )
    pair = Pair(rgb=next(frames), thermal=next(frames))
    Pipeline(card=card, engine=engine, config=build_config({})).run(pair)
    np.testing.assert_array_equal(engine.batches[0].thermal, trained.thermal.numpy())
