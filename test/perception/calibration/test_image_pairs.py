# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import cv2
from made_data import write_bag, write_dataset
import numpy as np
import pytest

from rgbt_perception.calibration.image_pairs import (
    grey_rgb,
    grey_thermal,
    ImagePair,
    load_image_pairs,
)
from rgbt_perception.errors import BagError, CalibrationError, DatasetError


def write_folder(folder, count, *, size_hw=(12, 16)):
    for index in range(count):
        name = f'{index:03d}.png'
        rgb = np.zeros((*size_hw, 3), np.uint8)
        rgb[..., 2] = 10 + index  # OpenCV writes blue first: this is red
        thermal = np.full((9, 11), 29000 + index, np.uint16)
        for kind, image in (('rgb', rgb), ('thermal', thermal)):
            (folder / kind).mkdir(parents=True, exist_ok=True)
            assert cv2.imwrite(str(folder / kind / name), image)


def test_folders_are_paired_by_file_name(tmp_path):
    write_folder(tmp_path, 3)
    (tmp_path / 'rgb' / '001.png').rename(tmp_path / 'rgb' / 'alone.png')
    pairs = load_image_pairs(tmp_path, max_pairs=10)
    assert [pair.name for pair in pairs] == ['000', '002']
    assert pairs[1].rgb[0, 0].tolist() == [12, 0, 0]
    assert pairs[1].thermal.dtype == np.uint16
    assert pairs[1].thermal[0, 0] == 29002
    assert (pairs[0].rgb_hw, pairs[0].thermal_hw) == ((12, 16), (9, 11))


def test_pairs_are_spread_evenly_over_the_source(tmp_path):
    write_folder(tmp_path, 9)
    pairs = load_image_pairs(tmp_path, max_pairs=3)
    assert [pair.name for pair in pairs] == ['000', '004', '008']


def test_data_sets_and_bags_are_read(tmp_path):
    write_dataset(tmp_path / 'set')
    from_set = load_image_pairs(tmp_path / 'set', max_pairs=2)
    assert from_set
    from_bag = load_image_pairs(write_bag(tmp_path / 'bag', num_instants=9), max_pairs=4)
    assert len(from_bag) == 4
    stamps = [int(pair.name) for pair in from_bag]
    assert stamps == sorted(stamps)
    assert max(stamps) - min(stamps) > 5 * min(np.diff(stamps)) / 2


def test_grey_is_a_weighted_mean_and_thermal_is_stretched():
    pair = ImagePair(
        name='a',
        rgb=np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255]]], np.uint8),
        thermal=np.zeros((1, 3), np.uint8),
    )
    np.testing.assert_allclose(grey_rgb(pair), [[0.299, 0.587, 0.114]], atol=1e-6)
    stretched = grey_thermal(np.linspace(29000, 31000, 900).reshape(30, 30).astype(np.uint16))
    assert stretched.min() == 0.0
    assert stretched.max() == 1.0
    assert stretched.dtype == np.float32


@pytest.mark.parametrize('missing', ['rgb', 'thermal'])
def test_folder_without_images_is_refused(tmp_path, missing):
    write_folder(tmp_path, 2)
    for path in (tmp_path / missing).iterdir():
        path.rename(path.with_name(f'other{path.name}'))
    with pytest.raises(CalibrationError, match='no two with the same name'):
        load_image_pairs(tmp_path, max_pairs=5)


def test_mixed_sizes_are_refused_by_name(tmp_path):
    write_folder(tmp_path, 2)
    assert cv2.imwrite(str(tmp_path / 'rgb' / '001.png'), np.zeros((24, 32, 3), np.uint8))
    with pytest.raises(
        CalibrationError, match=r"rgb image of pair '001' is 32x24, expected 16x12"
    ):
        load_image_pairs(tmp_path, max_pairs=5)


def test_other_folders_missing_bags_and_broken_images_are_named(tmp_path):
    with pytest.raises(CalibrationError, match='has neither'):
        load_image_pairs(tmp_path, max_pairs=5)
    with pytest.raises(BagError, match='there is no bag'):
        load_image_pairs(tmp_path / 'none', max_pairs=5)
    write_folder(tmp_path, 1)
    (tmp_path / 'thermal' / '000.png').write_bytes(b'no image')
    with pytest.raises(DatasetError, match=r'000\.png'):
        load_image_pairs(tmp_path, max_pairs=5)
