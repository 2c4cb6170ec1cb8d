# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json

from made_data import MIDDLE_BOX, rgb_pixels, thermal_pixels, write_dataset
import numpy as np
import pytest

from rgbt_perception.config import RegistrationConfig
from rgbt_perception.datasets import load_dataset
from rgbt_perception.errors import DatasetError


def change_image(folder, **values):
    path = folder / 'annotations.json'
    document = json.loads(path.read_text())
    document['images'][1].update(values)
    path.write_text(json.dumps(document))


def test_pairs_come_in_order_with_both_images_and_truth(tmp_path):
    dataset = load_dataset(write_dataset(tmp_path))
    pairs = list(dataset.pairs())
    assert len(dataset) == 3
    assert [item.name for item in pairs] == ['0_rgb', '1_rgb', '2_rgb']
    np.testing.assert_array_equal(pairs[1].pair.rgb.pixels, rgb_pixels(1))
    np.testing.assert_array_equal(pairs[1].pair.thermal.pixels, thermal_pixels(1))
    assert pairs[1].pair.skew_ns == 0
    assert [item.truth.is_night for item in pairs] == [False, True, True]
    assert dataset.segmentation_classes == ('sky', 'road')


def test_boxes_become_corners_and_crowds_are_ignored(tmp_path):
    truth = next(load_dataset(write_dataset(tmp_path)).pairs()).truth
    np.testing.assert_allclose(truth.boxes_xyxy, [MIDDLE_BOX] * 4)
    assert truth.class_names == ('person', 'car', 'cyclist', 'person')
    assert truth.ignore.tolist() == [False, True, False, True]
    assert truth.label_map().shape == (48, 64)


def test_homography_is_taken_from_the_info(tmp_path):
    numbers = [1.0, 0.0, 5.0, 0.0, 1.0, -3.0, 0.0, 0.0, 1.0]
    folder = write_dataset(tmp_path, info={'homography_thermal_to_rgb': numbers})
    dataset = load_dataset(folder)
    assert dataset.registration == RegistrationConfig(
        method='homography', homography_thermal_to_rgb=tuple(numbers)
    )
    assert dataset.segmentation_classes is None


def test_no_homography_means_identity(tmp_path):
    assert load_dataset(write_dataset(tmp_path)).registration == RegistrationConfig()


@pytest.mark.parametrize('numbers', [[1.0, 2.0], 'identity', [0.0] * 9, 5])
def test_bad_homography_is_refused(tmp_path, numbers):
    folder = write_dataset(tmp_path, info={'homography_thermal_to_rgb': numbers})
    with pytest.raises(DatasetError, match=r'homography_thermal_to_rgb .* expected 9 numbers'):
        load_dataset(folder)


def test_folder_without_annotations_is_refused(tmp_path):
    with pytest.raises(DatasetError, match=r"there is no '.*annotations.json'; expected a folder"):
        load_dataset(tmp_path)


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('{', 'is not valid JSON'),
        ('[]', 'holds a list, expected a JSON object'),
        ('{}', "no list of objects 'annotations'"),
        ('{"annotations": [], "images": [3]}', "no list of objects 'images'"),
        ('{"annotations": [], "images": []}', 'lists 0 images, expected at least one'),
    ],
)
def test_malformed_annotations_are_refused(tmp_path, text, message):
    (tmp_path / 'annotations.json').write_text(text)
    with pytest.raises(DatasetError, match=message):
        load_dataset(tmp_path)


def test_image_without_thermal_file_name_is_refused(tmp_path):
    folder = write_dataset(tmp_path)
    change_image(folder, thermal_file_name=None)
    with pytest.raises(DatasetError, match='has thermal_file_name None, expected a str'):
        load_dataset(folder)


def test_missing_file_is_named(tmp_path):
    folder = write_dataset(tmp_path)
    (folder / '1_thermal.png').unlink()
    with pytest.raises(DatasetError, match=r"image 11 names '.*1_thermal.png', which does not"):
        load_dataset(folder)


def test_damaged_image_is_named(tmp_path):
    folder = write_dataset(tmp_path)
    (folder / '1_rgb.png').write_bytes(b'no image')
    pairs = load_dataset(folder).pairs()
    next(pairs)
    with pytest.raises(DatasetError, match=r"image file '.*1_rgb.png': "):
        next(pairs)


def test_file_of_another_kind_is_refused(tmp_path):
    folder = write_dataset(tmp_path)
    (folder / '1_rgb.png').rename(folder / '1_rgb.tiff')
    change_image(folder, file_name='1_rgb.tiff')
    pairs = load_dataset(folder).pairs()
    next(pairs)
    with pytest.raises(DatasetError, match=r"ends in '.tiff', expected one of .png, .jpg"):
        next(pairs)


def test_image_id_used_twice_is_refused(tmp_path):
    folder = write_dataset(tmp_path)
    change_image(folder, id=10)
    with pytest.raises(DatasetError, match='uses image id 10 twice, expected each once'):
        load_dataset(folder)


def test_annotation_of_an_unknown_image_is_refused(tmp_path):
    annotation = {'id': 1, 'image_id': 99, 'category_id': 7, 'bbox': [0, 0, 1, 1]}
    folder = write_dataset(tmp_path, annotations=[annotation])
    with pytest.raises(DatasetError, match='annotations of image 99, which is not in its images'):
        load_dataset(folder)


@pytest.mark.parametrize(
    'box', [None, [1, 2, 3], [0, 0, -1, 2], [0, 0, 'wide', 2], [0, 0, float('nan'), 2]]
)
def test_malformed_box_is_refused(tmp_path, box):
    annotation = {'id': 4, 'image_id': 10, 'category_id': 7, 'bbox': box}
    folder = write_dataset(tmp_path, annotations=[annotation])
    with pytest.raises(DatasetError, match=r'annotation 4 has bbox .* expected'):
        next(load_dataset(folder).pairs())


def test_unknown_category_is_refused(tmp_path):
    annotation = {'id': 4, 'image_id': 10, 'category_id': 2, 'bbox': [0, 0, 1, 1]}
    folder = write_dataset(tmp_path, annotations=[annotation])
    with pytest.raises(DatasetError, match=r'category_id 2, expected one of \[3, 7, 9\]'):
        next(load_dataset(folder).pairs())
