# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from made_models import painted_sample
import numpy as np
import pytest

from rgbt_models.train.sensing import noise_field, sense_rgb, sense_thermal

BOX = (20, 30, 50, 80)
SEEDS = range(12)
# Mean and 99th percentile, of 255, of the thermal images of published data sets: KAIST, LLVIP,
# TNO, VIFB, HIT-UAV, METU (measured on samples of each).
REAL_MEAN_P99 = [(44, 84), (51, 180), (113, 211), (106, 177), (125, 224), (116, 228)]


def street_counts(seed=0):
    """Return 0.01 K counts of a cold sky, a road with texture and a few hot things."""
    rng = np.random.default_rng(seed)
    counts = rng.normal(29_300.0, 60.0, (96, 128))
    counts[:30] -= 2_000.0
    counts[60:80, 40:50] += 1_200.0
    return counts.astype(np.uint16)


def thermal_views(*, is_heavy, count, counts=None):
    counts = street_counts() if counts is None else counts
    return [
        sense_thermal(counts, np.random.default_rng(seed), is_heavy=is_heavy)
        for seed in range(count)
    ]


@pytest.mark.parametrize('is_heavy', [False, True])
def test_grey_levels_of_thermal_views_cover_every_real_source(is_heavy):
    views = thermal_views(is_heavy=is_heavy, count=600)
    levels = np.array([(view.mean(), np.percentile(view, 99)) for view in views])
    for mean, p99 in REAL_MEAN_P99:
        is_near = np.abs(levels - (mean, p99)).max(axis=1) < 15
        assert is_near.sum() >= 5, (mean, p99)
    # None is all black or all white.
    assert levels[:, 0].min() > 30
    assert levels[:, 0].max() < 145


@pytest.mark.parametrize('is_heavy', [False, True])
def test_a_hot_object_stays_brighter_than_the_road_through_every_sensor(is_heavy):
    counts = painted_sample((40, 20, 90, 80)).thermal
    for grey in thermal_views(is_heavy=is_heavy, count=40, counts=counts):
        assert (grey.shape, grey.dtype) == (counts.shape, np.uint8)
        assert grey[40:60, 55:75].mean() > grey[:10].mean() + 10


@pytest.mark.parametrize('is_heavy', [False, True])
def test_a_scene_of_one_temperature_stays_nearly_one_grey(is_heavy):
    counts = np.full((96, 128), 29_000, np.uint16)
    for grey in thermal_views(is_heavy=is_heavy, count=40, counts=counts):
        # Detail enhancement sharpens noise; without the limit of the gain all have 20 and more.
        assert grey.std() < (60 if is_heavy else 40)
    quiet = [view.std() for view in thermal_views(is_heavy=False, count=40, counts=counts)]
    assert np.median(quiet) < 20


@pytest.mark.parametrize('count', [0, 12, 65_535])
def test_counts_of_any_camera_of_a_data_set_survive(count):
    # Uncalibrated 14-bit counts are far below absolute zero in some cameras of the world.
    counts = np.full((64, 96), count, np.uint16)
    counts[20:40, 30:60] = 9_000
    for grey in thermal_views(is_heavy=False, count=10, counts=counts):
        hot, cold = grey[24:36, 36:54].mean(), grey[:10].mean()
        assert hot < cold - 20 if count > 9_000 else hot > cold + 20


def fine_noise(image):
    """Return the noise from pixel to pixel: differences of neighbours along a row."""
    return float(np.diff(image.astype(np.float32), axis=1).std()) / 2**0.5


def test_heavy_sensors_are_noisier_than_light_ones():
    rgb, counts = np.full((64, 96, 3), 120, np.uint8), street_counts()

    def median_noise(*, is_heavy):
        generators = [np.random.default_rng(seed) for seed in range(60)]
        seen = [sense_rgb(rgb, rng, is_heavy=is_heavy, is_night=False) for rng in generators]
        greys = thermal_views(is_heavy=is_heavy, count=60, counts=counts)
        return np.median(
            [[fine_noise(a), fine_noise(b)] for a, b in zip(seen, greys, strict=True)], axis=0
        )

    light, heavy = median_noise(is_heavy=False), median_noise(is_heavy=True)
    assert 0.3 < light[0] < 3.0  # levels of 255; five sources of real images have 0.5 to 2.5
    assert heavy[0] > 1.2 * light[0]
    assert heavy[1] > 1.2 * light[1]


@pytest.mark.parametrize('is_heavy', [False, True])
@pytest.mark.parametrize('is_night', [False, True])
def test_an_rgb_sensor_keeps_size_and_order_of_brightness(is_heavy, is_night):
    rgb = painted_sample((40, 20, 90, 80)).rgb
    for seed in SEEDS:
        rng = np.random.default_rng(seed)
        seen = sense_rgb(rgb, rng, is_heavy=is_heavy, is_night=is_night)
        assert (seen.shape, seen.dtype) == (rgb.shape, np.uint8)
        assert seen[40:60, 55:75].mean() > seen[:10].mean() + 20


def test_light_rgb_sensors_stay_near_the_image_and_differ():
    rgb = np.full((64, 96, 3), 120, np.uint8)
    means = [
        sense_rgb(rgb, np.random.default_rng(seed), is_heavy=False, is_night=False).mean()
        for seed in range(80)
    ]
    # Grey levels times 0.7..1.4, then an exponent of 0.8..1.3: from 56 to 185; vignetting.
    assert 50 < min(means) < 80
    assert 150 < max(means) < 195
    assert 100 < np.median(means) < 130


def test_night_is_noisier():
    rgb = np.full((64, 64, 3), 77, np.uint8)

    def mean_noise(*, is_night):
        generators = [np.random.default_rng(seed) for seed in range(40)]
        return np.mean(
            [
                fine_noise(sense_rgb(rgb, rng, is_heavy=False, is_night=is_night))
                for rng in generators
            ]
        )

    assert mean_noise(is_night=True) > 1.5 * mean_noise(is_night=False)


def test_brightness_is_the_share_of_the_grey_levels_that_is_left():
    rgb = np.full((64, 96, 3), 200, np.uint8)
    for seed in range(20):
        generators = [np.random.default_rng(seed) for _ in range(2)]
        full, half = (
            sense_rgb(rgb, rng, is_heavy=False, is_night=False, brightness=share).mean()
            for rng, share in zip(generators, (1.0, 0.4), strict=True)
        )
        # The tone's exponent is 0.8..1.3; a saturated image loses less.
        assert half < full * 0.4**0.75


def test_contrast_is_the_share_of_the_thermal_contrast_that_is_left():
    counts = painted_sample((40, 20, 90, 80)).thermal
    flat = [
        sense_thermal(counts, np.random.default_rng(seed), is_heavy=False, contrast=0.0)
        for seed in range(20)
    ]
    differences = [float(grey[40:60, 55:75].mean()) - float(grey[:10].mean()) for grey in flat]
    assert abs(np.mean(differences)) < 12  # slow patterns of some cameras remain


@pytest.mark.parametrize('is_heavy', [False, True])
def test_sensors_leave_their_input_alone_and_repeat(is_heavy):
    rgb, counts = painted_sample(BOX).rgb, street_counts()
    before = rgb.copy(), counts.copy()
    for seed in SEEDS:
        one, two = (
            (
                sense_rgb(rgb, rng, is_heavy=is_heavy, is_night=True, brightness=0.5),
                sense_thermal(counts, rng, is_heavy=is_heavy, contrast=0.5),
            )
            for rng in (np.random.default_rng(seed), np.random.default_rng(seed))
        )
        np.testing.assert_array_equal(one[0], two[0])
        np.testing.assert_array_equal(one[1], two[1])
    np.testing.assert_array_equal(rgb, before[0])
    np.testing.assert_array_equal(counts, before[1])


@pytest.mark.parametrize('size', [(1, 1), (7, 90), (64, 48)])
def test_a_noise_field_has_any_size(size):
    field = noise_field(np.random.default_rng(0), *size)
    assert (field.shape, field.dtype) == (size, np.float32)
    assert np.isfinite(field).all()
