# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
from fakes import build_card, FakeEngine
import numpy as np
import pytest

from rgbt_models.card import load_card
from rgbt_perception.bag import BagReader
from rgbt_perception.camera_model import CameraModel
from rgbt_perception.config import build_config, PerceptionConfig, RegistrationConfig
from rgbt_perception.datasets import load_dataset
from rgbt_perception.misregistration import CERTAIN, measure_shift, MisregistrationMonitor
from rgbt_perception.pipeline import Pipeline
from rgbt_perception.registration import Registration
from rgbt_perception.replay import PairStream
from rgbt_perception.sources import load_rig, with_registration
from rgbt_perception.types import Frame, Modality, Pair

SAMPLE_DRIVE = Path(__file__).resolve().parents[2] / 'bags' / 'sample_drive'
REAL_PAIRS = Path(__file__).resolve().parents[3] / 'shared' / 'data' / 'kaist_sample'


def scene(seed=0, size_hw=(480, 640)):
    """A flat world of boxes: RGB, and thermal with other values on the same edges."""
    rng = np.random.default_rng(seed)
    grey = np.full(size_hw, 90, np.float32)
    heat = np.full(size_hw, 0.4, np.float32)
    for _ in range(60):
        x, y = rng.integers(0, size_hw[1]), rng.integers(0, size_hw[0])
        w, h = rng.integers(15, 120, 2)
        corners = (int(x), int(y)), (int(x + w), int(y + h))
        cv2.rectangle(grey, *corners, float(rng.uniform(20, 230)), cv2.FILLED)
        cv2.rectangle(heat, *corners, float(rng.uniform(0, 1)), cv2.FILLED)
    grey += rng.normal(0, 3, size_hw)
    heat += rng.normal(0, 0.01, size_hw)
    rgb = np.clip(grey, 0, 255).astype(np.uint8)
    return np.stack([rgb] * 3, axis=-1), cv2.GaussianBlur(heat, (5, 5), 0).astype(np.float32)


def moved(image, right, down):
    matrix = np.array([[1.0, 0.0, right], [0.0, 1.0, down]])
    size = (image.shape[1], image.shape[0])
    return cv2.warpAffine(image, matrix, size, borderMode=cv2.BORDER_REPLICATE)


@pytest.mark.parametrize(
    ('right', 'down'), [(0, 0), (7, -3), (-16, 16), (16, 2), (-1, -16), (40, 0), (2.5, 0.5)]
)
def test_a_shift_is_found_with_its_direction(right, down):
    rgb, thermal = scene()
    found = measure_shift(rgb, moved(thermal, right, down))
    assert found.shift_x_px == pytest.approx(right, abs=0.8)
    assert found.shift_y_px == pytest.approx(down, abs=0.8)
    assert found.confidence > CERTAIN


def test_the_polarity_of_thermal_means_nothing():
    rgb, thermal = scene()
    plain, inverted = (measure_shift(rgb, moved(t, 6, -4)) for t in (thermal, 1.0 - thermal))
    assert inverted.shift_x_px == pytest.approx(plain.shift_x_px, abs=0.01)
    assert inverted.shift_y_px == pytest.approx(plain.shift_y_px, abs=0.01)


def test_shifts_are_in_rgb_pixels_whatever_the_size():
    rgb, thermal = scene(3, (400, 1000))
    found = measure_shift(rgb, moved(thermal, -20, 30))
    assert found.shift_x_px == pytest.approx(-20, abs=1.5)
    assert found.shift_y_px == pytest.approx(30, abs=1.5)


@pytest.mark.parametrize('seed', range(6))
def test_images_of_different_scenes_are_not_certain(seed):
    rgb, _ = scene(seed)
    _, thermal = scene(seed + 100)
    assert measure_shift(rgb, thermal).confidence < CERTAIN


def test_images_without_structure_are_unknown():
    rgb, thermal = scene()
    for pair in (
        (np.zeros_like(rgb), thermal),
        (rgb, np.zeros_like(thermal)),
        (rgb[:6, :6], thermal[:6, :6]),
    ):
        found = measure_shift(*pair)
        assert found.confidence == 0.0
        assert np.isnan(found.shift_px)


def test_noise_without_structure_is_not_certain():
    rng = np.random.default_rng(0)
    rgb = rng.integers(0, 40, (480, 640, 3)).astype(np.uint8)
    _, thermal = scene()
    assert measure_shift(rgb, thermal).confidence < CERTAIN


def test_a_shift_out_of_reach_is_not_taken_for_a_near_one():
    rgb, thermal = scene()
    assert measure_shift(rgb, moved(thermal, 120, 0)).confidence < CERTAIN


def monitor(**changes):
    return MisregistrationMonitor(RegistrationConfig(score_every=1, **changes))


def test_trust_grows_with_agreeing_measurements():
    rgb, thermal = scene()
    checked = monitor()
    found = [checked.update(rgb, moved(thermal, 9, 0)) for _ in range(3)]
    np.testing.assert_allclose([item.shift_x_px for item in found], 9, atol=0.8)
    assert found[0].confidence < CERTAIN  # a single measurement is not warned of
    assert found[2].confidence == pytest.approx(3 * found[0].confidence, rel=1e-3)
    assert found[2].confidence > CERTAIN


def test_one_outlier_among_five_does_not_move_the_median():
    rgb, thermal = scene()
    checked = monitor()
    for right in (9, 9, -30, 9, 9):
        found = checked.update(rgb, moved(thermal, right, 0))
    assert found.shift_x_px == pytest.approx(9, abs=0.8)


def test_measurements_that_disagree_are_not_trusted():
    rgb, thermal = scene()
    checked = monitor()
    for right in (-40, -20, 0, 20, 40):
        found = checked.update(rgb, moved(thermal, right, 0))
    assert found.confidence < CERTAIN


def test_old_measurements_fade_when_nothing_can_be_seen_any_more():
    rgb, thermal = scene()
    checked = monitor()
    for _ in range(5):
        checked.update(rgb, thermal)
    for _ in range(5):
        found = checked.update(np.zeros_like(rgb), thermal)
    assert found.confidence == 0.0


def test_only_every_so_manieth_pair_is_measured():
    rgb, thermal = scene()
    checked = MisregistrationMonitor(RegistrationConfig(score_every=3))
    shifts = [checked.update(rgb, moved(thermal, right, 0)).shift_x_px for right in (8, 0, 0, 8)]
    np.testing.assert_allclose(shifts, 8, atol=0.8)


def test_zero_turns_it_off_and_reset_forgets():
    rgb, thermal = scene()
    assert np.isnan(
        MisregistrationMonitor(RegistrationConfig(score_every=0)).update(rgb, thermal).shift_px
    )
    checked = MisregistrationMonitor(RegistrationConfig(score_every=10))
    checked.update(rgb, moved(thermal, 20, 0))
    checked.reset()
    assert checked.update(rgb, thermal).shift_x_px == pytest.approx(0, abs=0.8)


def test_a_change_of_the_geometry_and_a_reset_start_the_check_anew(tmp_path):
    # Without its cameras the extrinsic registration only resizes; then they come, in mid-stream.
    values = {
        'registration.method': 'extrinsics',
        'registration.score_every': 1,
        'fallback.frozen_after_s': 0.0,
    }
    card, engine = build_card(tmp_path), FakeEngine()
    pipeline = Pipeline(card=card, engine=engine, config=build_config(values))
    rgb, thermal = scene()
    counts = np.rint(1000.0 * moved(thermal, 9, 0)).astype(np.uint16)
    frames = {Modality.RGB: rgb, Modality.THERMAL: counts}
    pair = Pair(
        **{
            modality.value: Frame(pixels=pixels, stamp_ns=1, frame_id='', modality=modality)
            for modality, pixels in frames.items()
        }
    )
    for _ in range(5):
        resized = pipeline.run(pair).misregistration
    assert resized.shift_x_px == pytest.approx(9, abs=0.8)
    assert resized.confidence > CERTAIN
    for modality, centre_x in ((Modality.RGB, 320.0), (Modality.THERMAL, 329.0)):
        model = CameraModel(
            intrinsics=np.array([[500.0, 0, centre_x], [0, 500.0, 240.0], [0, 0, 1]]),
            distortion_model='none',
            distortion=(),
            size_hw=(480, 640),
        )
        pipeline.set_camera(modality, model)
    registered = pipeline.run(pair).misregistration
    assert registered.shift_x_px == pytest.approx(0, abs=0.8)
    assert registered.confidence < CERTAIN  # a single measurement
    for _ in range(2):
        registered = pipeline.run(pair).misregistration
    assert registered.confidence > CERTAIN
    pipeline.reset()
    assert pipeline.run(Pair(rgb=pair.rgb, thermal=None)).misregistration.confidence == 0.0
    assert pipeline.run(pair).misregistration.confidence < CERTAIN


def test_the_sample_drive_is_aligned_by_its_rig_and_a_wrong_rig_is_seen():
    config = with_registration(PerceptionConfig(), load_rig(SAMPLE_DRIVE))
    right = Registration(config.registration)
    matrix = np.reshape(config.registration.homography_thermal_to_rgb, (3, 3))
    displaced = np.array([[1, 0, 14], [0, 1, -11], [0, 0, 1]]) @ matrix
    numbers = tuple(float(value) for value in displaced.ravel())
    wrong = Registration(replace(config.registration, homography_thermal_to_rgb=numbers))
    normaliser = load_card('tiny').thermal_normaliser
    num_certain = 0
    with BagReader(SAMPLE_DRIVE) as reader:
        for index, (_, pair) in enumerate(PairStream(reader, config)):
            if index % 6 or pair.skew_ns is None or pair.rgb.pixels.mean() < 8:
                continue
            thermal = normaliser(pair.thermal.pixels)
            aligned, moved_away = (
                measure_shift(pair.rgb.pixels, rig.register(thermal, pair.rgb.size_hw))
                for rig in (right, wrong)
            )
            for found, shift in ((aligned, (0, 0)), (moved_away, (14, -11))):
                if found.confidence >= CERTAIN:
                    num_certain += 1
                    assert found.shift_x_px == pytest.approx(shift[0], abs=7)
                    assert found.shift_y_px == pytest.approx(shift[1], abs=7)
    assert num_certain >= 12


@pytest.mark.skipif(not REAL_PAIRS.is_dir(), reason='needs ../shared/data')
def test_real_pairs_are_aligned_and_their_shifts_are_found():
    num_certain = 0
    for item in load_dataset(REAL_PAIRS).pairs():
        rgb = item.pair.rgb.pixels
        thermal = item.pair.thermal.pixels.astype(np.float32) / 255.0
        aligned = measure_shift(rgb, thermal)
        if aligned.confidence < CERTAIN:
            continue
        num_certain += 1
        assert aligned.shift_px < 8.0
        found = measure_shift(rgb, moved(thermal, 13, -9))
        assert found.shift_x_px - aligned.shift_x_px == pytest.approx(13, abs=2)
        assert found.shift_y_px - aligned.shift_y_px == pytest.approx(-9, abs=2)
    assert num_certain >= 4
