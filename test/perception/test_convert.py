# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from made_data import MIDDLE_BOX, rgb_pixels, thermal_pixels, write_dataset
import numpy as np
import pytest

from rgbt_perception.bag import BagReader
from rgbt_perception.convert import convert_pairs, FIRST_STAMP_NS
from rgbt_perception.datasets import load_dataset
from rgbt_perception.errors import BagError, DatasetError
from rgbt_perception.sources import load_rig


def convert(tmp_path, **changes):
    dataset = load_dataset(write_dataset(tmp_path / 'pairs', **changes))
    assert convert_pairs(dataset, tmp_path / 'bag', rate_hz=4.0) == 3
    return tmp_path / 'bag'


def test_images_arrive_bit_for_bit_at_the_rate(tmp_path):
    with BagReader(convert(tmp_path)) as reader:
        frames = [item.frame for item in reader.frames()]
    assert len(frames) == 6
    np.testing.assert_array_equal(frames[2].pixels, rgb_pixels(1))
    np.testing.assert_array_equal(frames[3].pixels, thermal_pixels(1))
    stamps = [frame.stamp_ns - FIRST_STAMP_NS for frame in frames]
    assert stamps == [0, 0, 250_000_000, 250_000_000, 500_000_000, 500_000_000]


def test_truth_arrives_with_its_flags(tmp_path):
    with BagReader(convert(tmp_path)) as reader:
        truths = reader.truth()
        assert reader.segmentation_classes() == ('sky', 'road')
    truth = truths[FIRST_STAMP_NS + 250_000_000]
    np.testing.assert_allclose(truth.boxes_xyxy, [MIDDLE_BOX] * 4)
    assert truth.class_names == ('person', 'car', 'cyclist', 'person')
    assert truth.ignore.tolist() == [False, True, False, True]
    assert truth.is_night is True
    assert np.unique(truth.label_map()).tolist() == [1]


def test_compressed_format_names_depth_and_coding(tmp_path):
    with BagReader(convert(tmp_path)) as reader:
        formats = [image.message.format for image in reader.images()]
    assert formats[:2] == ['rgb8; png compressed bgr8', 'mono16; png compressed ']


def test_homography_of_the_data_set_goes_beside_the_bag(tmp_path):
    numbers = [1.0, 0.0, 5.25, 0.0, 1.0, -3.0, 1e-05, 0.0, 1.0]
    path = convert(tmp_path, info={'homography_thermal_to_rgb': numbers})
    assert load_rig(path).homography_thermal_to_rgb == tuple(numbers)


def test_existing_bag_is_refused(tmp_path):
    convert(tmp_path)
    dataset = load_dataset(tmp_path / 'pairs')
    with pytest.raises(BagError, match='exists already'):
        convert_pairs(dataset, tmp_path / 'bag', rate_hz=4.0)


def test_damaged_image_is_named(tmp_path):
    dataset = load_dataset(write_dataset(tmp_path / 'pairs'))
    (tmp_path / 'pairs/0_thermal.png').write_bytes(b'nothing')
    with pytest.raises(DatasetError, match=r'0_thermal\.png'):
        convert_pairs(dataset, tmp_path / 'bag', rate_hz=4.0)
