# SPDX-License-Identifier: Apache-2.0
"""The same scene in every encoding a thermal camera sends, from the message to the result."""

from __future__ import annotations

from types import SimpleNamespace

from fakes import build_card, build_outputs, FakeEngine
import numpy as np
import pytest

from rgbt_perception.config import build_config
from rgbt_perception.frames import frame_from_image
from rgbt_perception.pipeline import Pipeline
from rgbt_perception.types import Modality, Mode, Pair

INPUT_HW = (64, 80)
BOX = (16.0, 8.0, 32.0, 40.0)


def build_scene():
    """A room of 18 to 24 C with a person of 33 C, as a camera with a little noise sees it."""
    rows, columns = np.mgrid[: INPUT_HW[0], : INPUT_HW[1]]
    celsius = 18.0 + 6.0 * columns / INPUT_HW[1] + 0.5 * np.sin(rows / 3.0)
    celsius[10:38, 18:30] = 33.0
    noise = np.random.default_rng(0).normal(0.0, 0.05, INPUT_HW)
    return (celsius + noise).astype(np.float32)


SCENE_C = build_scene()
COUNTS_10MK = (SCENE_C + 273.15) * 100.0
COUNTS_14_BIT = 8_000.0 + (SCENE_C - 20.0) * 40.0
# Name: encoding, values, type, settings, step of the values in K (0 = exact).
CASES = {
    'mono8': ('mono8', (SCENE_C - 10.0) * 10.0, 'u1', {}, 0.1),
    'mono8 with a stated calibration': (
        'mono8',
        (SCENE_C - 10.0) * 10.0,
        'u1',
        {'reading': 'linear', 'linear_gain': 0.1, 'linear_offset_c': 10.0},
        0.1,
    ),
    'mono16, no stated scale': ('mono16', COUNTS_10MK, '<u2', {}, 0.01),
    'mono16': ('mono16', COUNTS_10MK, '<u2', {'reading': 'tlinear_10mk'}, 0.01),
    'mono16 big-endian': ('mono16', COUNTS_10MK, '>u2', {'reading': 'tlinear_10mk'}, 0.01),
    '16UC1': ('16UC1', COUNTS_10MK, '<u2', {'reading': 'tlinear_10mk'}, 0.01),
    '16UC1 big-endian': ('16UC1', COUNTS_10MK, '>u2', {'reading': 'tlinear_10mk'}, 0.01),
    '16UC1, 0.1 K': ('16UC1', COUNTS_10MK / 10.0, '<u2', {'reading': 'tlinear_100mk'}, 0.1),
    '14 bits': (
        '16UC1',
        COUNTS_14_BIT,
        '<u2',
        {
            'reading': 'linear',
            'linear_gain': 0.025,
            'linear_offset_c': -180.0,
            'signal_bits': 14,
        },
        0.025,
    ),
    '32FC1, C': ('32FC1', SCENE_C, '<f4', {}, 0.0),
    '32FC1, C, big-endian': ('32FC1', SCENE_C, '>f4', {'reading': 'celsius'}, 0.0),
    '32FC1, K': ('32FC1', SCENE_C + 273.15, '<f4', {}, 0.0),
    '32FC1, K, stated': ('32FC1', SCENE_C + 273.15, '<f4', {'reading': 'kelvin'}, 0.0),
}
WITHOUT_TEMPERATURE = {'mono8', 'mono16, no stated scale'}


def frame_of(encoding, values, dtype):
    stored = values if dtype.endswith('f4') else np.rint(values)
    message = SimpleNamespace(
        header=SimpleNamespace(stamp=SimpleNamespace(sec=1, nanosec=0), frame_id='thermal'),
        encoding=encoding,
        height=INPUT_HW[0],
        width=INPUT_HW[1],
        step=INPUT_HW[1] * np.dtype(dtype).itemsize,
        is_bigendian=dtype.startswith('>'),
        data=stored.astype(dtype).tobytes(),
    )
    return frame_from_image(message, modality=Modality.THERMAL, max_pixels=10_000)


def run(tmp_path, encoding, values, dtype, settings):
    engine = FakeEngine(build_outputs(INPUT_HW, boxes=[(0, 0.9, BOX)]))
    config = build_config({f'thermal.{name}': value for name, value in settings.items()})
    pipeline = Pipeline(card=build_card(tmp_path, input_hw=INPUT_HW), engine=engine, config=config)
    result = pipeline.run(Pair(rgb=None, thermal=frame_of(encoding, values, dtype)))
    assert result.mode is Mode.THERMAL_ONLY
    return result, engine.batches[0].thermal[0, 0] * 0.25 + 0.4  # mean and std of the card


@pytest.mark.parametrize('name', CASES)
@pytest.mark.parametrize('normaliser', ['card', 'percentile'])
def test_every_encoding_gives_the_network_the_same_image(tmp_path, name, normaliser):
    encoding, values, dtype, settings, step_k = CASES[name]
    _, expected = run(tmp_path, '32FC1', SCENE_C, '<f4', {})
    _, image = run(tmp_path, encoding, values, dtype, {**settings, 'normaliser': normaliser})
    span_k = 15.0  # of the percentiles, about
    np.testing.assert_allclose(image, expected, atol=1.6 * step_k / span_k + 1e-4)


@pytest.mark.parametrize('name', CASES)
def test_every_radiometric_encoding_gives_the_same_temperatures(tmp_path, name):
    encoding, values, dtype, settings, step_k = CASES[name]
    expected = run(tmp_path, '32FC1', SCENE_C, '<f4', {})[0].temperatures
    found = run(tmp_path, encoding, values, dtype, settings)[0].temperatures
    assert expected.max_c[0] == pytest.approx(33.1, abs=0.1)
    assert expected.min_c[0] == pytest.approx(18.6, abs=0.3)
    if name in WITHOUT_TEMPERATURE:
        assert np.isnan([found.min_c[0], found.mean_c[0], found.max_c[0]]).all()
        return
    for field in ('min_c', 'mean_c', 'max_c'):
        value, wanted = (getattr(item, field)[0] for item in (found, expected))
        assert value == pytest.approx(wanted, abs=step_k / 2.0 + 1e-3)


@pytest.mark.parametrize('name', sorted(set(CASES) - WITHOUT_TEMPERATURE))
def test_every_radiometric_encoding_fits_the_window(tmp_path, name):
    encoding, values, dtype, settings, step_k = CASES[name]
    window = {'normaliser': 'window', 'window_low_c': 10.0, 'window_high_c': 40.0}
    _, image = run(tmp_path, encoding, values, dtype, {**settings, **window})
    np.testing.assert_allclose(image, (SCENE_C - 10.0) / 30.0, atol=step_k / 30.0 + 1e-4)


def test_broken_pixels_are_zero_for_the_network_and_leave_temperatures(tmp_path):
    broken = SCENE_C.copy()
    broken[12:14, 20:24] = np.nan
    whole, _ = run(tmp_path, '32FC1', SCENE_C, '<f4', {})
    result, image = run(tmp_path, '32FC1', broken, '<f4', {})
    np.testing.assert_allclose(image[12:14, 20:24], 0.0, atol=1e-6)
    assert result.temperatures.max_c[0] == pytest.approx(whole.temperatures.max_c[0], abs=0.05)
