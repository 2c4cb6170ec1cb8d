# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import replace

from made_models import COLD, HOT, painted_sample, PERSON_LABEL, UNLABELED
import numpy as np
import pytest

from rgbt_models.train.augment import (
    _move_boxes,
    augment,
    AugmentConfig,
    crop_zoom_flip,
    noise_field,
    rgb_sensor,
    thermal_sensor,
    tone_map,
)

BOX = (20, 30, 50, 80)
SEEDS = range(12)


def crop(sample, seed, *, size_hw=(96, 128), zoom=(0.75, 1.7)):
    config = AugmentConfig(min_zoom=zoom[0], max_zoom=zoom[1])
    return crop_zoom_flip(sample, np.random.default_rng(seed), size_hw=size_hw, config=config)


def extent(mask):
    """Return the xyxy of the True pixels, edge units."""
    ys, xs = np.nonzero(mask)
    return [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]


@pytest.mark.parametrize('seed', SEEDS)
@pytest.mark.parametrize('size_hw', [(96, 128), (128, 96), (64, 96)])
def test_boxes_labels_and_both_images_move_together(seed, size_hw):
    view = crop(painted_sample(BOX), seed, size_hw=size_hw)
    assert view.rgb.shape == (*size_hw, 3)
    assert view.thermal.shape == view.label_map.shape == size_hw
    if not len(view.boxes_xyxy):
        assert (view.label_map == PERSON_LABEL).mean() < 0.03
        return
    box = view.boxes_xyxy[0]
    assert (box >= 0).all()
    assert (box <= [size_hw[1], size_hw[0]] * 2).all()
    inside_label = view.label_map == PERSON_LABEL
    np.testing.assert_allclose(extent(inside_label), box, atol=1.01)
    # A replicated border repeats the rectangle where it touches the edge of the image; this one
    # is 20 px away from it, so all bright pixels are its own.
    np.testing.assert_allclose(extent(view.rgb[..., 1] > 135), box, atol=1.01)
    np.testing.assert_allclose(extent(view.thermal > (COLD + HOT) / 2), box, atol=1.01)


def test_both_flips_and_unflipped_views_occur_and_keep_y():
    # The box is left of the middle; at zoom 1 the view is the whole image.
    lefts = {float(crop(painted_sample(BOX), s, zoom=(1.0, 1.0)).boxes_xyxy[0, 0]) for s in SEEDS}
    assert lefts == {20.0, 128.0 - 50.0}
    for seed in SEEDS:
        view = crop(painted_sample(BOX), seed, zoom=(1.0, 1.0))
        assert view.boxes_xyxy[0, 1::2].tolist() == [30.0, 80.0]


def test_at_zoom_one_without_flip_nothing_changes():
    sample = painted_sample(BOX)
    seed = next(s for s in SEEDS if crop(sample, s, zoom=(1.0, 1.0)).boxes_xyxy[0, 0] == 20.0)
    view = crop(sample, seed, zoom=(1.0, 1.0))
    np.testing.assert_array_equal(view.rgb, sample.rgb)
    np.testing.assert_array_equal(view.thermal, sample.thermal)
    np.testing.assert_array_equal(view.label_map, sample.label_map)


def test_a_flip_mirrors_every_pixel():
    sample = painted_sample(BOX)
    seed = next(s for s in SEEDS if crop(sample, s, zoom=(1.0, 1.0)).boxes_xyxy[0, 0] == 78.0)
    view = crop(sample, seed, zoom=(1.0, 1.0))
    np.testing.assert_array_equal(view.rgb, sample.rgb[:, ::-1])
    np.testing.assert_array_equal(view.thermal, sample.thermal[:, ::-1])
    np.testing.assert_array_equal(view.label_map, sample.label_map[:, ::-1])


def test_outside_the_image_nothing_is_labeled():
    view = crop(painted_sample(BOX), 0, zoom=(0.5, 0.5))
    assert (view.label_map == UNLABELED).sum() == 96 * 128 - 48 * 64
    assert view.boxes_xyxy[0, 2] - view.boxes_xyxy[0, 0] == pytest.approx(15.0)


def test_fine_stripes_are_smoothed_before_shrinking():
    sample = painted_sample()
    sample.rgb[:, ::2] = 240
    sample.thermal[:, ::2] = HOT
    third = crop(sample, 0, size_hw=(32, 42), zoom=(1.0, 1.0))  # every third pixel, else striped
    assert third.rgb[:, 3:-3].std() < 5
    assert third.thermal[:, 3:-3].std() < 0.03 * (HOT - COLD)


def move(*boxes, scale=1.0, offset_xy=(0.0, 0.0), flip=False, size_hw=(96, 128)):
    array = np.array(boxes, np.float32).reshape(-1, 4)
    return _move_boxes(array, scale, offset_xy, flip=flip, size_hw=size_hw)


def test_moved_boxes_are_literals():
    moved, keep, cut = move((10, 20, 30, 40), scale=2.0, offset_xy=(5.0, -7.0))
    assert moved.tolist() == [[25.0, 33.0, 65.0, 73.0]]
    assert (keep.tolist(), cut.tolist()) == ([True], [False])
    flipped, _, _ = move((10, 20, 30, 40), scale=2.0, offset_xy=(5.0, -7.0), flip=True)
    assert flipped.tolist() == [[128.0 - 65.0, 33.0, 128.0 - 25.0, 73.0]]


@pytest.mark.parametrize(
    ('x', 'kept', 'is_cut'),
    [
        (108.0, True, False),  # wholly inside
        (121.0, True, False),  # 7 of 20 px: 0.35, the least that is an example
        (122.0, True, True),  # 6 of 20 px: there, but not to be learnt
        (126.9, True, True),
        (127.1, False, True),  # less than a twentieth
        (140.0, False, True),
    ],
)
def test_a_box_cut_by_the_crop_is_ignored_then_dropped(x, kept, is_cut):
    _, keep, cut = move((x, 20, x + 20, 60))
    assert (keep.tolist(), cut.tolist()) == ([kept], [is_cut])


@pytest.mark.parametrize(('height', 'is_cut'), [(8.0, False), (7.9, True)])
def test_a_box_of_less_than_8_px_height_is_ignored(height, is_cut):
    _, keep, cut = move((10, 20, 30, 20 + height))
    assert (keep.tolist(), cut.tolist()) == ([True], [is_cut])


def test_no_boxes_stay_no_boxes():
    moved, keep, cut = move()
    assert (moved.shape, keep.shape, cut.shape) == ((0, 4), (0,), (0,))
    view = crop(painted_sample(), 0)
    assert (view.boxes_xyxy.shape, view.class_ids.shape, view.ignore.shape) == ((0, 4), (0,), (0,))


def test_what_was_ignored_stays_ignored_and_classes_stay_with_their_boxes():
    sample = painted_sample(BOX, (80, 10, 100, 60))
    sample = replace(sample, class_ids=np.array([2, 1]), ignore=np.array([True, False]))
    for seed in SEEDS:
        view = crop(sample, seed, zoom=(1.0, 1.0))
        assert view.class_ids.tolist() == [2, 1]
        assert view.ignore.tolist() == [True, False]


def whole(seed, **config):
    sample = painted_sample(BOX, is_night=bool(seed % 2))
    rng = np.random.default_rng(seed)
    return augment(sample, rng, size_hw=(64, 96), config=AugmentConfig(**config))


@pytest.mark.parametrize('heavy', [0.0, 1.0])
def test_a_view_is_what_cameras_deliver_and_repeatable(heavy):
    for seed in SEEDS:
        view, again = whole(seed, heavy_sensor=heavy), whole(seed, heavy_sensor=heavy)
        assert (view.rgb.dtype, view.thermal.dtype) == (np.uint8, np.uint16)
        assert view.thermal.max() <= 255
        for name in ('rgb', 'thermal', 'label_map', 'boxes_xyxy', 'ignore'):
            np.testing.assert_array_equal(getattr(view, name), getattr(again, name))
    assert not np.array_equal(whole(0).rgb, whole(1).rgb)


def test_the_sample_of_the_pool_is_left_alone():
    sample, fresh = painted_sample(BOX), painted_sample(BOX)
    for seed in SEEDS:
        config = AugmentConfig(degraded=0.5)
        augment(sample, np.random.default_rng(seed), size_hw=(64, 96), config=config)
    np.testing.assert_array_equal(sample.rgb, fresh.rgb)
    np.testing.assert_array_equal(sample.thermal, fresh.thermal)
    np.testing.assert_array_equal(sample.boxes_xyxy, fresh.boxes_xyxy)


def test_a_hot_object_stays_brighter_than_the_road_through_every_tone_curve():
    sample = painted_sample((40, 20, 90, 80))
    counts = sample.thermal.astype(np.float32)
    for seed in range(40):
        grey = tone_map(counts, np.random.default_rng(seed))
        assert grey.dtype == np.uint8
        assert grey[40:60, 55:75].mean() > grey[:10].mean() + 10


def test_tone_curves_of_a_flat_image_are_finite():
    for seed in range(40):
        grey = tone_map(np.full((48, 64), 29_000.0, np.float32), np.random.default_rng(seed))
        assert grey.shape == (48, 64)


@pytest.mark.parametrize('heavy', [False, True])
def test_thermal_noise_is_tenths_of_a_kelvin(heavy):
    counts = np.full((96, 128), 29_000.0, np.float32)
    for seed in SEEDS:
        noisy = thermal_sensor(counts, np.random.default_rng(seed), heavy=heavy)
        assert noisy.shape == counts.shape
        assert 0.0 < noisy.std() < 300.0
        assert abs(noisy.mean() - 29_000.0) < 150.0
    assert (counts == 29_000.0).all()


@pytest.mark.parametrize('heavy', [False, True])
def test_an_rgb_sensor_keeps_size_and_order_of_brightness(heavy):
    rgb = painted_sample((40, 20, 90, 80)).rgb.astype(np.float32) / 255.0
    for seed in SEEDS:
        seen = rgb_sensor(rgb, np.random.default_rng(seed), heavy=heavy, is_night=False)
        assert (seen.shape, seen.dtype) == (rgb.shape, np.uint8)
        assert seen[40:60, 55:75].mean() > seen[:10].mean() + 20


def test_night_is_noisier():
    rgb = np.full((64, 64, 3), 0.3, np.float32)

    def mean_noise(*, is_night):
        return np.mean(
            [
                rgb_sensor(rgb, np.random.default_rng(s), heavy=False, is_night=is_night).std()
                for s in SEEDS
            ]
        )

    assert mean_noise(is_night=True) > 1.5 * mean_noise(is_night=False)


def test_a_degraded_view_has_one_useless_camera_and_never_two():
    dark = flat = 0
    for seed in range(30):
        config = AugmentConfig(degraded=1.0, heavy_sensor=0.0, min_zoom=1.0, max_zoom=1.0)
        rng = np.random.default_rng(seed)
        view = augment(painted_sample(BOX), rng, size_hw=(96, 128), config=config)
        is_dark = view.rgb.max() < 120
        inside = view.label_map == PERSON_LABEL
        is_contrast = float(view.thermal[inside].mean()) - float(view.thermal[~inside].mean()) > 15
        dark += is_dark
        flat += not is_dark
        assert is_contrast or not is_dark
    assert dark >= 8
    assert flat >= 8


@pytest.mark.parametrize('size', [(1, 1), (7, 90), (64, 48)])
def test_a_noise_field_has_any_size(size):
    field = noise_field(np.random.default_rng(0), *size)
    assert (field.shape, field.dtype) == (size, np.float32)
    assert np.isfinite(field).all()
