# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import cv2
import numpy as np
import pytest

from bench.board_images import true_homography
from rgbt_models.synthetic import Condition, default_rig, render_pair, Sensors
from rgbt_perception.calibration.image_pairs import ImagePair
from rgbt_perception.calibration.scene import (
    calibrate_scene,
    homography_distance_px,
    load_initial,
    resizing_homography,
)
from rgbt_perception.calibration_file import Calibration, write_calibration
from rgbt_perception.errors import CalibrationError, ConfigError

RGB_HW, SMALL_HW = (480, 640), (120, 160)


@pytest.fixture(scope='module')
def street():
    """Eight scenes, five by day and three at night, 5 cm between the cameras; median depth."""
    rig = default_rig()
    pairs, depths = [], []
    for index in range(8):
        condition = Condition.NIGHT if index >= 5 else Condition.DAY
        pair = render_pair(9000 + index, rig, condition=condition, sensors=Sensors(rgb_noise=0.01))
        pairs.append(ImagePair(name=f'{index}', rgb=pair.rgb, thermal=pair.thermal_raw))
        depth = pair.rgb_view.depth_m
        depths.append(depth[np.isfinite(depth)])
    return pairs, float(np.median(np.concatenate(depths)))


def texture(rng, size_hw):
    """Blocks of grey with sharp edges, the same in both cameras up to the sign of contrast."""
    image = np.full(size_hw, 0.5, np.float32)
    height, width = size_hw
    for _ in range(60):
        centre = (int(rng.integers(width)), int(rng.integers(height)))
        axes = (int(rng.integers(4, 24)), int(rng.integers(4, 24)))
        cv2.ellipse(
            image,
            centre,
            axes,
            float(rng.uniform(0, 180)),
            0,
            360,
            float(rng.uniform(0.1, 0.9)),
            -1,
        )
    return cv2.GaussianBlur(image, (0, 0), 0.8)


def textured_pairs(homography, count, *, seed=0, flips=True):
    """RGB and thermal 160x120, thermal of every second pair with inverted contrast."""
    rng = np.random.default_rng(seed)
    pairs = []
    for index in range(count):
        grey = texture(rng, SMALL_HW)
        thermal = cv2.warpPerspective(
            1.0 - grey if flips and index % 2 else grey,
            np.linalg.inv(homography),
            SMALL_HW[::-1],
            borderMode=cv2.BORDER_CONSTANT,
            borderValue=0.5,
        )
        rgb = np.repeat((grey * 255).astype(np.uint8)[..., None], 3, axis=2)
        counts = (28000 + 2000 * thermal + rng.normal(0, 4, SMALL_HW)).astype(np.uint16)
        pairs.append(ImagePair(name=f'{index}', rgb=rgb, thermal=counts))
    return pairs


@pytest.mark.parametrize('model', ['similarity', 'homography'])
def test_street_scenes_give_the_homography_at_their_depth_within_3_px(street, model):
    pairs, depth_m = street
    found = calibrate_scene(pairs, model=model)
    truth = true_homography(default_rig(), depth_m)
    assert homography_distance_px(truth, resizing_homography((512, 640), RGB_HW), RGB_HW) > 20
    assert homography_distance_px(truth, found.homography, RGB_HW) < 3.0  # bound of the project
    assert found.score > 2 * found.score_before
    assert found.spread_px < 3.0
    assert found.overlap > 0.95


def test_thermal_images_of_other_scenes_are_refused(street):
    pairs, _ = street
    mixed = [
        ImagePair(name=first.name, rgb=first.rgb, thermal=second.thermal)
        for first, second in zip(pairs, [*pairs[3:], *pairs[:3]], strict=True)
    ]
    with pytest.raises(CalibrationError, match='the score is flat'):
        calibrate_scene(mixed)


def test_dark_rgb_images_are_refused(street):
    pairs, _ = street
    dark = [
        ImagePair(name=item.name, rgb=np.zeros_like(item.rgb), thermal=item.thermal)
        for item in pairs
    ]
    with pytest.raises(CalibrationError, match='record 20 or more pairs'):
        calibrate_scene(dark)


def test_scale_roll_and_shift_are_found_without_a_start():
    angle, scale = np.radians(3.0), 1.2
    cos, sin = scale * np.cos(angle), scale * np.sin(angle)
    truth = np.array([[cos, -sin, -9.0], [sin, cos, -22.0], [0.0, 0.0, 1.0]])
    found = calibrate_scene(textured_pairs(truth, 8))
    assert homography_distance_px(truth, found.homography, SMALL_HW) < 0.3


def test_perspective_is_found_with_the_homography_model():
    truth = np.array([[1.05, 0.02, 6.0], [-0.01, 1.04, -5.0], [2e-4, -1e-4, 1.0]])
    found = calibrate_scene(textured_pairs(truth, 8, seed=1), model='homography')
    assert homography_distance_px(truth, found.homography, SMALL_HW) < 0.3


def test_translation_keeps_the_scale_of_the_initial_homography():
    start = np.array([[1.1, 0.0, 0.0], [0.0, 1.1, 0.0], [0.0, 0.0, 1.0]])
    truth = np.array([[1.1, 0.0, 4.0], [0.0, 1.1, -3.0], [0.0, 0.0, 1.0]])
    pairs = textured_pairs(truth, 8, seed=2)
    found = calibrate_scene(pairs, model='translation', initial=start)
    np.testing.assert_allclose(found.homography, truth, atol=0.1)
    assert found.homography[0, 0] == pytest.approx(1.1)
    assert np.isnan(found.peak_ratio)
    np.testing.assert_array_equal(found.start, start)


def test_translation_is_searched_for_without_a_start():
    truth = np.array([[1.0, 0.0, 25.0], [0.0, 1.0, -18.0], [0.0, 0.0, 1.0]])
    found = calibrate_scene(textured_pairs(truth, 8, seed=3), model='translation')
    np.testing.assert_allclose(found.homography, truth, atol=0.2)


def test_few_pairs_and_unknown_models_are_refused():
    pairs = textured_pairs(np.eye(3), 7)
    with pytest.raises(CalibrationError, match='7 pairs of images, expected at least 8'):
        calibrate_scene(pairs)
    with pytest.raises(ConfigError, match="model is 'magic', expected one of translation"):
        calibrate_scene(pairs, model='magic')


def test_resizing_maps_centres_of_pixels_as_resizing_does():
    # 2 columns become 4: the centre of the first pixel, 0, comes to 0.5.
    matrix = resizing_homography((3, 2), (12, 4))
    np.testing.assert_allclose(matrix, [[2.0, 0.0, 0.5], [0.0, 4.0, 1.5], [0.0, 0.0, 1.0]])


def test_distance_of_homographies_is_the_shift_between_them():
    moved = np.array([[1.0, 0.0, 3.0], [0.0, 1.0, -4.0], [0.0, 0.0, 1.0]])
    assert homography_distance_px(np.eye(3), moved, RGB_HW) == pytest.approx(5.0)


def test_initial_homography_is_scaled_to_the_images(tmp_path):
    half = np.array([[1.0, 0.0, 10.0], [0.0, 1.0, -6.0], [0.0, 0.0, 1.0]])
    write_calibration(
        tmp_path / 'c.yaml',
        Calibration(
            method='scene',
            num_images=8,
            homography_thermal_to_rgb=half,
            rgb_size_hw=(60, 80),
            thermal_size_hw=(60, 80),
        ),
    )
    full = load_initial(tmp_path / 'c.yaml', rgb_hw=SMALL_HW, thermal_hw=SMALL_HW)
    expected = [[1.0, 0.0, 20.0], [0.0, 1.0, -12.0], [0.0, 0.0, 1.0]]
    np.testing.assert_allclose(full, expected, atol=1e-9)
