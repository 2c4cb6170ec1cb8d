# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from rgbt_perception.errors import FrameError
from rgbt_perception.false_colour import extract_grey, is_palette

ALIGNED_PAIRS = Path(__file__).resolve().parents[3] / 'shared' / 'data' / 'aligned_pairs'
LEVELS = np.arange(256, dtype=np.uint8)


def palette(name: str) -> np.ndarray:
    """All 256 colours, shape (256, 3)."""
    return cv2.applyColorMap(LEVELS[:, None], getattr(cv2, f'COLORMAP_{name}'))[:, 0]


@pytest.mark.parametrize('name', ['JET', 'HOT', 'INFERNO', 'MAGMA', 'PLASMA', 'RAINBOW', 'HSV'])
def test_few_strong_colours_are_a_palette(name: str):
    assert is_palette(np.tile(palette(name), (10, 1)))


@pytest.mark.parametrize('name', ['JET', 'INFERNO', 'RAINBOW'])
def test_palette_with_noise_is_still_a_palette(name: str):
    noise = np.random.default_rng(0).normal(0.0, 3.0, (256 * 20, 3))
    sample = np.clip(np.tile(palette(name), (20, 1)) + noise, 0, 255).astype(np.uint8)
    assert len(np.unique(sample, axis=0)) > 1000
    assert is_palette(sample)


def test_greys_and_many_colours_are_no_palette():
    assert not is_palette(np.repeat(np.tile(LEVELS, 10)[:, None], 3, axis=1))
    assert not is_palette(np.random.default_rng(0).integers(0, 255, (5000, 3), np.uint8))


def test_few_pixels_say_nothing_about_the_number_of_colours():
    sample = np.random.default_rng(0).integers(0, 255, (200, 3), np.uint8)
    assert not is_palette(sample)


def test_grey_within_the_colour_noise_of_jpeg_is_accepted():
    grey = np.tile(LEVELS, (64, 1))
    pixels = np.stack([grey, grey, np.clip(grey.astype(int) + 8, 0, 255).astype(np.uint8)], -1)
    np.testing.assert_array_equal(extract_grey(pixels, 'it'), grey)
    pixels[..., 2] = np.clip(grey.astype(int) + 9, 0, 255)
    with pytest.raises(FrameError, match=r'^it is coloured'):
        extract_grey(pixels, 'it')


def test_one_pixel_has_a_colour():
    assert extract_grey(np.full((1, 1, 3), 5, np.uint8), 'it').tolist() == [[5]]
    with pytest.raises(FrameError, match='on 100 % of its pixels'):
        extract_grey(np.array([[[200, 0, 0]]], np.uint8), 'it')


@pytest.mark.skipif(not ALIGNED_PAIRS.is_dir(), reason='needs ../shared/data')
def test_real_images_are_taken_for_what_they_are():
    # Thermal images as three equal channels: grey levels. RGB ones: never a palette.
    thermal = sorted((ALIGNED_PAIRS / 'thermal').iterdir())
    assert len(thermal) == 120
    for path in thermal:
        grey = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        pixels = np.repeat(grey[..., None], 3, axis=2)
        np.testing.assert_array_equal(extract_grey(pixels, path.name), grey)
    for path in sorted((ALIGNED_PAIRS / 'rgb').iterdir()):
        bgr = cv2.imread(str(path))
        assert not is_palette(np.ascontiguousarray(bgr[::4, ::4]).reshape(-1, 3)), path.name


@pytest.mark.skipif(not ALIGNED_PAIRS.is_dir(), reason='needs ../shared/data')
def test_real_thermal_images_in_a_palette_are_recognised():
    for path in sorted((ALIGNED_PAIRS / 'thermal').iterdir())[::4]:
        grey = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        with pytest.raises(FrameError, match='palette-coloured'):
            extract_grey(cv2.applyColorMap(grey, cv2.COLORMAP_INFERNO), path.name)
