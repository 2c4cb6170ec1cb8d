# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import replace

from made_models import COLD, HOT, painted_sample, PERSON_LABEL
import numpy as np
import pytest

from rgbt_models.label_sets import UNLABELED
from rgbt_models.train.augment import (
    augment,
    AugmentConfig,
    crop_zoom_flip,
    take_view,
    View,
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
    third = crop(sample, 0, size_hw=(32, 42), zoom=(1.0, 1.0))
    # A triangle 6 px wide leaves (1 - 2 * 2/3 + 2 * 1/3) / 3 = 1/9 of the stripes, every third
    # pixel alone would leave all of them.
    assert third.rgb[:, 3:-3].std() == pytest.approx(100 / 9, rel=0.02)
    assert third.thermal[:, 3:-3].std() == pytest.approx((HOT - COLD) / 2 / 9, rel=0.02)


def take(sample, source_yxhw, *, target_yxhw=None, size_hw=(96, 128), flip=False):
    target_yxhw = target_yxhw or (0, 0, *size_hw)
    view = View(source_yxhw=source_yxhw, target_yxhw=target_yxhw, size_hw=size_hw, flip=flip)
    return take_view(sample, view)


def boxed(*boxes, size_hw=(96, 160)):
    """Return a sample with boxes that need not be whole pixels, and nothing painted."""
    count = len(boxes)
    return replace(
        painted_sample(size_hw=size_hw),
        boxes_xyxy=np.array(boxes, np.float32).reshape(count, 4),
        class_ids=np.arange(count),
        ignore=np.zeros(count, np.bool_),
    )


def test_moved_boxes_are_literals():
    sample = boxed((10, 20, 30, 40))
    # 48 x 32 px from (5, 10) on become 96 x 128: x times 4, y times 2.
    view = take(sample, (10, 5, 48, 32))
    assert view.boxes_xyxy.tolist() == [[20.0, 20.0, 100.0, 60.0]]
    assert view.ignore.tolist() == [False]
    flipped = take(sample, (10, 5, 48, 32), flip=True)
    assert flipped.boxes_xyxy.tolist() == [[128.0 - 100.0, 20.0, 128.0 - 20.0, 60.0]]


def test_boxes_follow_the_image_into_its_place_among_borders():
    view = take(boxed((10, 20, 30, 40)), (0, 0, 96, 160), target_yxhw=(7, 3, 48, 80))
    assert view.boxes_xyxy.tolist() == [[5.0 + 3.0, 10.0 + 7.0, 15.0 + 3.0, 20.0 + 7.0]]
    flipped = take(boxed((10, 20, 30, 40)), (0, 0, 96, 160), target_yxhw=(7, 3, 48, 80), flip=True)
    assert flipped.boxes_xyxy.tolist() == [[110.0, 17.0, 120.0, 27.0]]


@pytest.mark.parametrize('enlargement', [1, 2])
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
def test_a_box_cut_by_the_crop_is_ignored_then_dropped(x, kept, is_cut, enlargement):
    size_hw = (96 * enlargement, 128 * enlargement)
    view = take(boxed((x, 20, x + 20, 60)), (0, 0, 96, 128), size_hw=size_hw)
    assert view.ignore.tolist() == [is_cut] * kept
    assert len(view.boxes_xyxy) == len(view.class_ids) == kept


@pytest.mark.parametrize(('height', 'is_cut'), [(8.0, False), (7.9, True)])
def test_a_box_of_less_than_8_px_height_is_ignored(height, is_cut):
    view = take(boxed((10, 20, 30, 20 + height)), (0, 0, 96, 128))
    assert view.ignore.tolist() == [is_cut]


def gradient_sample():
    """Return a sample in which every pixel differs from its neighbours; counts up to 65535."""
    y, x = np.mgrid[:6, :8]
    counts = (65_535 - 7 * (8 * y + x)).astype(np.uint16)
    rgb = np.stack([10 * y + x, 3 * x, 5 * y], axis=2).astype(np.uint8)
    label_map = ((3 * y + x) % 7).astype(np.uint8)
    return replace(painted_sample(size_hw=(6, 8)), rgb=rgb, thermal=counts, label_map=label_map)


def test_a_window_of_the_size_of_the_target_keeps_every_pixel():
    sample = gradient_sample()
    view = take(sample, (1, 3, 4, 5), size_hw=(4, 5))
    np.testing.assert_array_equal(view.rgb, sample.rgb[1:5, 3:8])
    np.testing.assert_array_equal(view.thermal, sample.thermal[1:5, 3:8])
    np.testing.assert_array_equal(view.label_map, sample.label_map[1:5, 3:8])


def test_labels_stay_sharp_and_images_are_interpolated():
    sample = gradient_sample()
    view = take(sample, (1, 2, 2, 3), size_hw=(4, 9))  # y times 2, x times 3
    expected = sample.label_map[1:3, 2:5].repeat(2, axis=0).repeat(3, axis=1)
    np.testing.assert_array_equal(view.label_map, expected)
    # Centres: column 2 of 9 lies at (2 + 0.5) / 3 - 0.5 = 1/3 from the first of the window.
    first, second = sample.thermal[1, 2:4].astype(float)
    assert view.thermal[0, 2] == round(first + (second - first) / 3)
    assert view.thermal[0, 0] == first
    column = sample.thermal[1:3, 3].astype(float)
    assert view.thermal[1, 4] == round(0.75 * column[0] + 0.25 * column[1])


def test_at_a_border_images_repeat_their_edge_and_labels_are_unlabeled():
    sample = gradient_sample()
    view = take(sample, (0, 0, 6, 8), target_yxhw=(2, 1, 6, 8), size_hw=(9, 12))
    inside = np.s_[2:8, 1:9]
    np.testing.assert_array_equal(view.thermal[inside], sample.thermal)
    np.testing.assert_array_equal(view.label_map[inside], sample.label_map)
    outside = np.ones((9, 12), bool)
    outside[inside] = False
    assert (view.label_map[outside] == UNLABELED).all()
    padding = ((2, 1), (1, 3))
    np.testing.assert_array_equal(view.thermal, np.pad(sample.thermal, padding, mode='edge'))
    np.testing.assert_array_equal(view.rgb, np.pad(sample.rgb, (*padding, (0, 0)), mode='edge'))


@pytest.mark.parametrize('zoom', [0.1, 0.6, 1.0, 3.0])
def test_a_view_has_the_scale_of_its_zoom_to_half_a_pixel(zoom):
    for seed in SEEDS:
        view = crop(boxed((40, 30, 80, 70), size_hw=(96, 128)), seed, zoom=(zoom, zoom))
        x_min, y_min, x_max, y_max = view.boxes_xyxy[0] if len(view.boxes_xyxy) else [0] * 4
        if zoom <= 1.0:  # the whole image is in the view
            assert x_max - x_min == pytest.approx(40 * zoom, abs=0.5 * 40 / 128)
            assert y_max - y_min == pytest.approx(40 * zoom, abs=0.5 * 40 / 96)
        else:
            assert (x_max - x_min) <= 40 * zoom * 1.02
            assert (y_max - y_min) <= 40 * zoom * 1.02


def test_no_boxes_stay_no_boxes():
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


def displacement(shift_px, seed):
    """Return by how much (x, y) the hot rectangle of a view lies off its label, px."""
    config = AugmentConfig(
        min_zoom=1.0, max_zoom=1.0, heavy_sensor=0.0, degraded=0.0, shift_px=shift_px
    )
    sample, rng = painted_sample((44, 28, 84, 68)), np.random.default_rng(seed)
    view = augment(sample, rng, size_hw=(96, 128), config=config)
    inside = view.label_map == PERSON_LABEL
    assert view.boxes_xyxy[0].tolist() == extent(inside)  # labels stay with RGB
    hot, cold = (np.median(view.thermal[place]) for place in (inside, ~inside))
    seen = np.mean(np.nonzero(view.thermal > (hot + cold) / 2), axis=1)
    return (seen - np.mean(np.nonzero(inside), axis=1))[::-1]


def test_thermal_is_misaligned_in_half_of_the_views_by_the_configured_spread():
    moved = np.array([displacement(4.0, seed) for seed in range(60)])
    is_moved = np.abs(moved).max(axis=1) > 0.5
    assert 18 <= is_moved.sum() <= 42
    assert 3.0 < moved[is_moved, 0].std() < 5.0
    assert 3.0 < moved[is_moved, 1].std() < 5.0
    assert abs(moved[is_moved].mean()) < 1.5


def test_without_misalignment_thermal_stays_on_the_label():
    assert max(np.abs(displacement(0.0, seed)).max() for seed in range(20)) < 0.5
