# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import dataclasses
from pathlib import Path
import time
from typing import Any

import cv2
from fakes import build_pair, rgb_frame, thermal_frame
import numpy as np
import pytest

from rgbt_perception.blindness import UNSHARP
from rgbt_perception.config import FallbackConfig, ThermalConfig
from rgbt_perception.health import HealthMonitor
from rgbt_perception.types import Frame, Modality, Mode, NS_PER_S, Pair

CONFIG = FallbackConfig()  # frozen after 0.25 s, used again after 0.3 s
PERIOD_NS = NS_PER_S // 20
ALIGNED_PAIRS = Path(__file__).resolve().parents[3] / 'shared' / 'data' / 'aligned_pairs'


def thermal_of(pixels: np.ndarray, stamp_ns: int = 0) -> Frame:
    return dataclasses.replace(thermal_frame(stamp_ns), pixels=pixels)


def stamped(frame: Frame, stamp_ns: int) -> Frame:
    return dataclasses.replace(frame, stamp_ns=stamp_ns)


class Feed:
    """Feeds pairs at 20 Hz, fresh images unless told otherwise."""

    def __init__(self, **config: Any) -> None:
        self.monitor = HealthMonitor(FallbackConfig(**config))
        self.index = 0

    def step(self, num: int = 1, **frames: Frame | None) -> list[tuple[Mode, str]]:
        verdicts = []
        for _ in range(num):
            stamp_ns = NS_PER_S + self.index * PERIOD_NS
            self.index += 1
            pair = {'rgb': rgb_frame(stamp_ns), 'thermal': thermal_frame(stamp_ns)}
            for name, frame in frames.items():
                pair[name] = None if frame is None else stamped(frame, stamp_ns)
            verdicts.append(self.monitor.assess(Pair(**pair)))
        return verdicts

    def modes(self, num: int = 1, **frames: Frame | None) -> list[Mode]:
        return [mode for mode, _ in self.step(num, **frames)]


DARK = rgb_frame(value=3)


def test_good_pair_is_fused_without_a_reason():
    monitor = HealthMonitor(CONFIG)
    assert monitor.assess(build_pair()) == (Mode.FUSED, '')
    assert monitor.problems == {}


def test_missing_camera_is_named():
    monitor = HealthMonitor(CONFIG)
    verdict = monitor.assess(Pair(rgb=rgb_frame(), thermal=None))
    assert verdict == (Mode.RGB_ONLY, 'no thermal frame')
    verdict = monitor.assess(Pair(rgb=None, thermal=thermal_frame()))
    assert verdict == (Mode.THERMAL_ONLY, 'no rgb frame')


def test_a_pair_without_a_camera_leaves_the_verdict_on_its_last_frame():
    monitor = HealthMonitor(CONFIG)
    alone = Pair(rgb=rgb_frame(), thermal=None)
    monitor.assess(alone)
    assert monitor.problems == {}  # between two frames of a slow camera nothing is wrong with it
    monitor.assess(Pair(rgb=rgb_frame(), thermal=thermal_frame(value=0)))
    said = dict(monitor.problems)
    assert list(said) == [Modality.THERMAL]
    assert monitor.assess(alone) == (Mode.RGB_ONLY, 'no thermal frame')
    assert monitor.problems == said


def test_no_usable_camera_gives_both_reasons():
    pair = Pair(rgb=rgb_frame(value=0), thermal=thermal_frame(value=0))
    mode, reason = HealthMonitor(CONFIG).assess(pair)
    assert mode is Mode.NONE
    assert reason == (
        'rgb is dark (p99.5 = 0 of 255): uncover the lens or add light; '
        f'thermal has no contrast (standard deviation 0 counts): {UNSHARP}'
    )
    pair = Pair(rgb=rgb_frame(value=0), thermal=None)
    assert HealthMonitor(CONFIG).assess(pair)[0] is Mode.NONE


# Hysteresis


def test_blind_camera_is_left_out_at_once_and_used_again_after_the_recovery_time():
    feed = Feed()
    assert feed.modes(3) == [Mode.FUSED] * 3
    assert feed.modes(2, rgb=DARK) == [Mode.THERMAL_ONLY] * 2
    # 0.3 s after its last bad frame: five good frames at 20 Hz are not enough, the sixth is.
    verdicts = feed.step(7)
    assert [mode for mode, _ in verdicts] == [Mode.THERMAL_ONLY] * 5 + [Mode.FUSED] * 2
    assert verdicts[1][1] == (
        'rgb recovers: used again after 0.30 s, good for 0.10 s (was: rgb is dark (p99.5 = 3 of '
        '255): uncover the lens or add light)'
    )
    assert verdicts[-1][1] == ''


def test_flicker_at_the_limit_does_not_flip_the_mode():
    feed = Feed()
    modes = []
    for _ in range(10):
        modes += feed.modes(1, rgb=DARK) + feed.modes(2)
    assert modes == [Mode.THERMAL_ONLY] * 30


def test_missing_frames_need_no_recovery_time():
    feed = Feed()
    assert feed.modes(3) == [Mode.FUSED] * 3
    assert feed.modes(3, thermal=None) == [Mode.RGB_ONLY] * 3
    assert feed.modes(1) == [Mode.FUSED]


def test_a_missing_frame_between_does_not_end_the_recovery_early():
    feed = Feed()
    feed.step(1, rgb=DARK)
    assert feed.modes(2) == [Mode.THERMAL_ONLY] * 2
    assert feed.step(1, rgb=None)[0] == (Mode.THERMAL_ONLY, 'no rgb frame')
    assert feed.modes(3) == [Mode.THERMAL_ONLY, Mode.THERMAL_ONLY, Mode.FUSED]


def test_pairs_far_apart_are_judged_one_by_one():
    monitor = HealthMonitor(CONFIG)
    pairs = [
        Pair(rgb=stamped(DARK, NS_PER_S), thermal=thermal_frame(NS_PER_S)),
        build_pair(2 * NS_PER_S),
    ]
    assert [monitor.assess(pair)[0] for pair in pairs] == [Mode.THERMAL_ONLY, Mode.FUSED]


def test_stamps_that_run_backwards_start_over():
    feed = Feed()
    feed.step(4, rgb=DARK)
    feed.index = 0  # the bag starts over
    assert feed.modes(1) == [Mode.FUSED]


def test_reset_forgets():
    feed = Feed()
    feed.step(1, rgb=DARK)
    feed.monitor.reset()
    assert feed.monitor.problems == {}
    assert feed.modes(1) == [Mode.FUSED]


def test_settings_can_be_replaced_between_two_pairs():
    feed = Feed()
    feed.step(1, rgb=DARK)
    feed.monitor.config = FallbackConfig(recover_after_s=0.0)
    assert feed.modes(1) == [Mode.FUSED]
    feed.monitor.config = FallbackConfig(min_contrast=100.0)
    assert feed.step(1)[0][1].startswith('rgb has no contrast')


# Frozen images


def test_repeated_image_is_frozen_after_the_limit_and_names_the_shutter():
    feed = Feed()
    feed.step(2)
    same = thermal_frame(7)
    verdicts = feed.step(9, thermal=same)
    # First seen at 0; at 20 Hz 0.25 s later is the sixth frame.
    assert [mode for mode, _ in verdicts] == [Mode.FUSED] * 5 + [Mode.RGB_ONLY] * 4
    assert verdicts[5][1].startswith(
        'thermal is frozen (same image for 0.25 s): wait if its shutter'
    )
    assert verdicts[8][1].startswith(
        'thermal is frozen (same image for 0.40 s): wait if its shutter'
    )
    # Fresh images again: five more frames until 0.3 s after the last frozen one.
    assert feed.modes(6) == [Mode.RGB_ONLY] * 5 + [Mode.FUSED]


def test_frozen_rgb_names_the_driver():
    verdicts = Feed().step(6, rgb=rgb_frame(7))
    assert verdicts[-1] == (
        Mode.THERMAL_ONLY,
        'rgb is frozen (same image for 0.25 s): its driver repeats one buffer, restart it',
    )


def test_missing_frames_do_not_end_a_freeze():
    feed = Feed()
    same = thermal_frame(7)
    assert feed.modes(6, thermal=same)[-1] is Mode.RGB_ONLY
    feed.step(4, thermal=None)
    mode, reason = feed.step(1, thermal=same)[0]
    assert mode is Mode.RGB_ONLY
    assert reason.startswith('thermal is frozen (same image for 0.50 s): wait if its shutter')


def test_a_frame_used_again_under_its_own_stamp_is_not_frozen():
    monitor = HealthMonitor(CONFIG)
    held = thermal_frame(5)
    for index in range(20):
        pair = Pair(rgb=rgb_frame(5 + index * PERIOD_NS), thermal=held)
        assert monitor.assess(pair) == (Mode.FUSED, '')


def test_zero_turns_the_frozen_check_off():
    assert set(Feed(frozen_after_s=0.0).modes(40, thermal=thermal_frame(7))) == {Mode.FUSED}


def test_slow_core_behind_a_fast_stream_is_not_frozen():
    # A 9 Hz core whose driver sends every image three times.
    feed = Feed()
    for index in range(10):
        assert set(feed.modes(3, thermal=thermal_frame(index + 1))) == {Mode.FUSED}


def test_frozen_needs_the_same_stamps_to_go_on_after_a_bag_starts_over():
    feed = Feed()
    same = thermal_frame(7)
    feed.step(5, thermal=same)
    feed.index = 0
    assert set(feed.modes(5, thermal=same)) == {Mode.FUSED}


STATIC = np.linspace(0.0, 40.0, 120)[:, None] + np.linspace(100.0, 180.0, 160)


@pytest.mark.parametrize(
    ('dtype', 'noise', 'gain', 'offset'),
    [
        (np.uint8, 0.15, 1.0, 0.0),  # tone-mapped, hardly any noise left
        (np.uint8, 1.0, 1.0, 0.0),
        (np.uint16, 3.0, 10.0, 28_000.0),  # NETD of 30 mK at 10 mK per count
        (np.float32, 0.03, 0.1, 10.0),  # the same in kelvin
        (np.float32, 0.012, 0.1, 10.0),  # a good core: a difference counts in steps of 0.01 K
    ],
)
def test_static_scene_before_a_real_sensor_is_not_frozen(
    dtype: Any, noise: float, gain: float, offset: float
):
    rng = np.random.default_rng(5)
    feed = Feed()
    for _ in range(20):
        values = STATIC * gain + offset + rng.normal(0.0, noise, STATIC.shape)
        pixels = values.astype(dtype) if dtype == np.float32 else np.rint(values).astype(dtype)
        assert feed.step(1, thermal=thermal_of(pixels)) == [(Mode.FUSED, '')]


def test_night_image_clipped_to_black_nearly_everywhere_is_not_frozen():
    rng = np.random.default_rng(6)
    is_lit = rng.random((120, 160)) < 0.015  # noise on so few pixels: mean difference below 0.02
    feed = Feed()
    for _ in range(20):
        pixels = np.zeros((120, 160, 3), np.uint8)
        pixels[is_lit] = np.rint(rng.normal(90.0, 1.0, (np.count_nonzero(is_lit), 3)))
        frame = dataclasses.replace(rgb_frame(), pixels=pixels)
        assert feed.step(1, rgb=frame) == [(Mode.FUSED, '')]


def test_nearly_identical_repeats_are_frozen():
    # A repeated image on which one pixel of a thousand moves: a clock drawn by the driver.
    base = thermal_frame(7, size_hw=(60, 80)).pixels
    feed = Feed(frozen_difference=2.0)
    for index in range(6):
        pixels = base.copy()
        pixels[0, index : index + 4] += 100
        modes = feed.modes(1, thermal=thermal_of(pixels))
    assert modes == [Mode.RGB_ONLY]


def test_float_image_with_nan_can_freeze():
    pixels = np.full((40, 56), 20.0, np.float32) + np.arange(56, dtype=np.float32)
    pixels[5] = np.nan
    assert Feed().modes(6, thermal=thermal_of(pixels))[-1] is Mode.RGB_ONLY


# Settings of the thermal camera


def test_bits_in_use_set_the_top_of_the_range():
    pixels = np.full((40, 56), 16_383, np.uint16)
    pixels[:10] = thermal_frame().pixels[:10] // 4
    pair = Pair(rgb=rgb_frame(), thermal=thermal_of(pixels))
    assert HealthMonitor(CONFIG).assess(pair)[0] is Mode.RGB_ONLY  # no longer: rows are dead
    verdict = HealthMonitor(CONFIG, ThermalConfig(signal_bits=14)).assess(pair)
    assert verdict == (
        Mode.RGB_ONLY,
        (
            'thermal is saturated (75 % of the pixels at 16383, the top of 14 bits, or above): '
            'check its gain and range'
        ),
    )


def test_one_pair_costs_little():
    rng = np.random.default_rng(0)
    frames = [
        Pair(
            rgb=dataclasses.replace(
                rgb_frame(index), pixels=rng.integers(0, 255, (480, 640, 3), np.uint8)
            ),
            thermal=thermal_of(rng.integers(29_000, 30_000, (512, 640), np.uint16), index),
        )
        for index in range(20)
    ]
    monitor = HealthMonitor(CONFIG)
    times_ms = []
    for pair in frames:
        start = time.perf_counter()
        monitor.assess(pair)
        times_ms.append((time.perf_counter() - start) * 1e3)
    # 0.5 ms on a quiet core; the bound leaves room for a busy machine.
    assert np.percentile(times_ms, 25) < 3.0


@pytest.mark.skipif(not ALIGNED_PAIRS.is_dir(), reason='needs ../shared/data')
def test_all_real_pairs_are_fused():
    monitor = HealthMonitor(CONFIG)
    paths = sorted((ALIGNED_PAIRS / 'rgb').iterdir())
    assert len(paths) == 120
    for index, rgb_path in enumerate(paths):
        (thermal_path,) = (ALIGNED_PAIRS / 'thermal').glob(f'{rgb_path.stem}.*')
        stamp_ns = (index + 1) * PERIOD_NS
        rgb = dataclasses.replace(
            rgb_frame(stamp_ns), pixels=np.ascontiguousarray(cv2.imread(str(rgb_path))[..., ::-1])
        )
        thermal = thermal_of(cv2.imread(str(thermal_path), cv2.IMREAD_GRAYSCALE), stamp_ns)
        verdict = monitor.assess(Pair(rgb=rgb, thermal=thermal))
        assert verdict == (Mode.FUSED, ''), rgb_path.name
