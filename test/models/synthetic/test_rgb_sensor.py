# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import replace
import math

import numpy as np
import pytest

from rgbt_models.synthetic import RgbSensor
from rgbt_models.synthetic.optics import add_drops, add_streaks, blur_motion, vignette
from rgbt_models.synthetic.rgb_sensor import (
    expose_rgb,
    Exposure,
    grey_noise,
    light_of,
    measure_exposure,
    sample_rgb_sensor,
)

UNIT = Exposure(gain=1.0, glow=0.0)


def rng(seed=0):
    return np.random.default_rng(seed)


def flat(level, size_hw=(60, 80)):
    return np.full((*size_hw, 3), level, np.float32)


def grey(value):
    return round(255 * value ** (1 / 2.2))


def expose(radiance, *, exposure=UNIT, **sensor):
    return expose_rgb(radiance, rng(), exposure=exposure, sensor=RgbSensor(**sensor))


def test_exposure_applies_gain_then_gamma():
    image = expose_rgb(flat(0.25), rng(), exposure=Exposure(gain=2.0, glow=0.0))
    assert image.dtype == np.uint8
    assert (image == grey(0.5)).all()


def test_gain_is_limited_in_the_dark():
    exposure = measure_exposure(flat(0.001), percentile=50.0, level=0.3, max_gain=8.0, glow=0.0)
    assert exposure.gain == 8.0
    exposure = measure_exposure(flat(0.6), percentile=50.0, level=0.3, max_gain=8.0, glow=0.0)
    assert exposure.gain == pytest.approx(0.5, rel=1e-3)


def test_glow_spreads_what_is_too_bright():
    radiance = flat(0.1, (64, 64))
    radiance[30:34, 30:34] = 20.0
    plain = expose(radiance)
    glowing = expose(radiance, exposure=Exposure(gain=1.0, glow=0.5))
    assert glowing[29, 27, 0] > plain[29, 27, 0]
    assert glowing[2, 2, 0] == plain[2, 2, 0]


def test_default_sensor_is_a_clean_camera():
    radiance = rng(3).uniform(0.0, 1.5, (40, 60, 3)).astype(np.float32)
    exposure = Exposure(gain=1.3, glow=0.2, noise=0.02)
    np.testing.assert_array_equal(
        expose_rgb(radiance, rng(), exposure=exposure),
        expose_rgb(radiance, rng(), exposure=exposure, sensor=RgbSensor()),
    )


def test_exposing_leaves_the_radiance_alone():
    radiance = rng(3).uniform(0.0, 1.5, (40, 60, 3)).astype(np.float32)
    before = radiance.copy()
    expose(radiance, saturation=0.5, vignetting=0.4, motion_blur_px=5.0, rain=0.5, glare=0.1)
    np.testing.assert_array_equal(radiance, before)


def test_white_balance_scales_red_first():
    image = expose(flat(0.2), white_balance=(2.0, 1.0, 0.5))
    np.testing.assert_array_equal(image[5, 7], [grey(0.4), grey(0.2), grey(0.1)])


def test_no_saturation_is_luma():
    radiance = flat(0.0)
    radiance[...] = [0.5, 0.2, 0.1]
    image = expose(radiance, saturation=0.0)
    assert (image == grey(0.299 * 0.5 + 0.587 * 0.2 + 0.114 * 0.1)).all()


def test_vignetting_darkens_the_corners_only():
    light = vignette(61, 81, 0.4)
    assert light[30, 40] == 1.0
    np.testing.assert_allclose(light[[0, 0, -1, -1], [0, -1, 0, -1]], 0.6, atol=1e-6)
    image = expose(flat(0.5, (61, 81)), vignetting=0.4)
    assert image[30, 40, 1] == grey(0.5)
    assert image[0, 80, 1] == grey(0.3)


def test_motion_blur_is_a_line_as_long_as_said():
    point = np.zeros((21, 31, 3), np.float32)
    point[10, 15] = 1.0
    across = blur_motion(point, 5.0, 0.0)
    np.testing.assert_allclose(across.sum(axis=(0, 1)), 1.0, rtol=1e-5)
    assert np.flatnonzero(across[10, :, 0] > 0.02).tolist() == [13, 14, 15, 16, 17]
    assert not across[9].any()
    down = blur_motion(point, 5.0, math.pi / 2)
    assert np.flatnonzero(down[:, 15, 0] > 0.02).tolist() == [8, 9, 10, 11, 12]
    assert not down[:, 16].max() > 1e-6


def test_motion_blur_of_up_to_a_pixel_changes_nothing():
    image = rng().uniform(0, 1, (9, 12, 3)).astype(np.float32)
    assert blur_motion(image, 1.0, 0.3) is image


def test_noise_grows_with_gain_and_light():
    sensor = RgbSensor(read_noise=0.01, shot_noise=0.02)
    value = np.array([0.0, 0.25], np.float32)
    np.testing.assert_allclose(
        sensor.noise_at(value, Exposure(gain=4.0, glow=0.0)),
        [0.04, math.sqrt(0.04**2 + 0.02**2 * 4.0 * 0.25)],
        rtol=1e-5,
    )


def test_noise_of_an_image_is_what_grey_noise_says():
    sensor, exposure = RgbSensor(read_noise=0.004, shot_noise=0.01), Exposure(gain=3.0, glow=0.0)
    for level in (0.02, 0.1, 0.25):
        image = expose_rgb(flat(level, (200, 200)), rng(), exposure=exposure, sensor=sensor)
        said = grey_noise(exposure, sensor)[round(float(image.mean()))]
        assert image.std() == pytest.approx(said, rel=0.08)


def test_clean_camera_has_the_noise_of_rounding():
    np.testing.assert_allclose(grey_noise(UNIT, RgbSensor()), 12**-0.5, rtol=1e-6)


def test_glare_reaches_beyond_the_lamp_and_needs_one():
    radiance = flat(0.05, (120, 160))
    np.testing.assert_array_equal(expose(radiance, glare=0.1), expose(radiance))
    radiance[58:62, 78:82] = 30.0
    glaring, plain = expose(radiance, glare=0.1).astype(int), expose(radiance).astype(int)
    assert (glaring[60, 60] > plain[60, 60] + 3).all()
    assert (glaring >= plain).all()


def test_no_rain_is_no_streak():
    image = flat(0.2)
    np.testing.assert_array_equal(add_streaks(image, rng(), rain=0.0), image)
    assert add_drops(image, rng(), rain=0.0) is image


def test_more_rain_covers_more_of_the_image():
    image = flat(0.05, (120, 160))
    image[:10] = 0.9
    changed = [
        np.mean(np.abs(add_streaks(image, rng(1), rain=rain) - image).max(axis=-1) > 1e-3)
        for rain in (0.1, 0.4, 1.0)
    ]
    assert 0.0 < changed[0] < changed[1] < changed[2] < 0.9


def test_drops_blur_and_keep_flat_parts():
    np.testing.assert_allclose(add_drops(flat(0.3), rng(1), rain=1.0), 0.3, atol=1e-5)
    pattern = flat(0.2)
    pattern[::2] = 0.4
    blurred = add_drops(pattern, rng(1), rain=1.0)
    assert 0.005 < np.mean(np.abs(blurred - pattern).max(axis=-1) > 0.05) < 0.8


def test_jpeg_is_a_round_trip_that_loses_a_little():
    radiance = np.repeat(rng(3).uniform(0.1, 0.6, (48, 64, 1)), 3, axis=2).astype(np.float32)
    plain, compressed = expose(radiance).astype(int), expose(radiance, jpeg_quality=90).astype(int)
    assert compressed.shape == plain.shape
    assert 0 < np.abs(compressed - plain).mean() < 5
    # Red stays red.
    red = flat(0.0)
    red[..., 0] = 0.5
    assert expose(red, jpeg_quality=90)[20, 20].tolist() == pytest.approx([grey(0.5), 0, 0], abs=4)


def test_drawn_sensors_follow_the_weather():
    drawn = [sample_rgb_sensor(rng(seed), lights=1.0, rain=0.7) for seed in range(50)]
    assert {sensor.rain for sensor in drawn} == {0.7}
    assert max(sensor.glare for sensor in drawn) > 0.02
    dry = [sample_rgb_sensor(rng(seed)) for seed in range(50)]
    assert {(sensor.rain, sensor.glare) for sensor in dry} == {(0.0, 0.0)}
    assert np.mean([s.motion_blur_px for s in drawn]) > np.mean([s.motion_blur_px for s in dry])
    assert {0} < {sensor.jpeg_quality for sensor in dry}


def test_poor_cameras_are_rarer_than_good_ones():
    drawn = [sample_rgb_sensor(rng(seed)).read_noise for seed in range(200)]
    # 0.0004 + 0.0036 u^2, u uniform: the median is at u = 1/2.
    assert np.median(drawn) == pytest.approx(0.0013, abs=0.0004)
    assert max(drawn) > 0.0035


def test_same_generator_draws_the_same_image():
    radiance = rng(3).uniform(0.0, 1.5, (40, 60, 3)).astype(np.float32)
    sensor = replace(sample_rgb_sensor(rng(5)), rain=0.5)
    one, two = (expose_rgb(radiance, rng(9), sensor=sensor) for _ in range(2))
    np.testing.assert_array_equal(one, two)


def test_light_of_an_image_gives_the_image_again():
    image = rng(4).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    light = light_of(image)
    assert (light.dtype, light.shape) == (np.float32, image.shape)
    # In the three darkest levels 16 bits of light are too few: half a level off is another level.
    np.testing.assert_allclose(expose_rgb(light, rng(), exposure=UNIT), image, atol=1)
    assert light_of(np.array([[[0, 128, 255]]], np.uint8))[0, 0].tolist() == pytest.approx(
        [0.0, (128 / 255) ** 2.2, 1.0], rel=1e-5
    )


def test_tone_is_an_exponent_of_the_grey_levels():
    assert (expose(flat(0.25), tone=1.5) == round(255 * 0.25 ** (1.5 / 2.2))).all()
    assert (expose(flat(0.25), tone=0.7) == round(255 * 0.25 ** (0.7 / 2.2))).all()


def test_noise_of_a_toned_image_is_what_grey_noise_says():
    sensor = RgbSensor(read_noise=0.004, shot_noise=0.01, tone=1.4)
    exposure = Exposure(gain=3.0, glow=0.0)
    image = expose_rgb(flat(0.1, (200, 200)), rng(), exposure=exposure, sensor=sensor)
    said = grey_noise(exposure, sensor)[round(float(image.mean()))]
    assert image.std() == pytest.approx(said, rel=0.08)


def test_lens_blur_softens_edges_and_keeps_flat_parts():
    step = flat(0.1, (20, 40))
    step[:, 20:] = 0.5
    plain, soft = expose(step).astype(int), expose(step, blur_px=1.0).astype(int)
    assert (soft[:, 19] > plain[:, 19] + 5).all()
    np.testing.assert_array_equal(soft[:, :14], plain[:, :14])


def test_saturation_acts_on_balanced_colours():
    image = expose(flat(0.2), white_balance=(2.0, 1.0, 0.5), saturation=0.5)
    balanced = np.array([0.4, 0.2, 0.1])
    luma = balanced @ [0.299, 0.587, 0.114]
    wanted = 255 * (0.5 * luma + 0.5 * balanced) ** (1 / 2.2)
    np.testing.assert_allclose(image[5, 7], wanted, atol=1)
