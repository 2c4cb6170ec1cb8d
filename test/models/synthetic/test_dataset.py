# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json

import cv2
import numpy as np
import pytest

from rgbt_models.errors import DatasetError
from rgbt_models.synthetic import default_rig, render_pair, write_dataset

RIG = default_rig().scaled(0.25)


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp('dataset')
    write_dataset(path, num_pairs=2, seed=40, rig=RIG)
    return path


def test_files_hold_the_rendered_pair(folder):
    content = json.loads((folder / 'annotations.json').read_text('utf-8'))
    pair = render_pair(41, RIG, rgb_noise=0.01)
    image = content['images'][1]
    rgb = cv2.imread(str(folder / image['file_name']), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(rgb[..., ::-1], pair.rgb)
    thermal = cv2.imread(str(folder / image['thermal_file_name']), cv2.IMREAD_UNCHANGED)
    assert thermal.dtype == np.uint16
    np.testing.assert_array_equal(thermal, pair.thermal_raw)
    label_map = cv2.imread(str(folder / image['label_map_file_name']), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(label_map, pair.rgb_view.label_map)
    assert (image['height'], image['width']) == (120, 160)
    assert image['is_night'] == pair.is_night


def test_annotations_are_coco_boxes_of_the_rgb_view(folder):
    content = json.loads((folder / 'annotations.json').read_text('utf-8'))
    objects = render_pair(41, RIG).rgb_view.objects
    rows = [row for row in content['annotations'] if row['image_id'] == 2]
    assert len(rows) == len(objects.boxes_xyxy)
    boxes = np.array([row['bbox'] for row in rows], np.float32).reshape(-1, 4)
    np.testing.assert_array_equal(boxes[:, :2], objects.boxes_xyxy[:, :2])
    np.testing.assert_array_equal(boxes[:, :2] + boxes[:, 2:], objects.boxes_xyxy[:, 2:])
    assert [row['category_id'] - 1 for row in rows] == objects.class_ids.tolist()
    assert [bool(row['ignore']) for row in rows] == objects.ignore.tolist()
    ids = [row['id'] for row in content['annotations']]
    assert len(set(ids)) == len(ids)
    assert [row['name'] for row in content['categories']] == ['person', 'car', 'bicycle']
    assert [row['id'] for row in content['categories']] == [1, 2, 3]


def test_info_describes_rig_world_and_classes(folder):
    info = json.loads((folder / 'annotations.json').read_text('utf-8'))['info']
    homography = np.array(info['homography_thermal_to_rgb']).reshape(3, 3)
    np.testing.assert_allclose(homography, RIG.homography_thermal_to_rgb(), rtol=1e-12)
    assert info['seed'] == 40
    assert info['segmentation_classes'][5:] == ['person', 'car', 'bicycle']
    assert info['rig']['thermal']['height'] == 128


def test_same_seed_writes_the_same_bytes(folder, tmp_path):
    write_dataset(tmp_path / 'again', num_pairs=2, seed=40, rig=RIG)
    names = sorted(path.relative_to(folder) for path in folder.rglob('*') if path.is_file())
    assert len(names) == 7
    for name in names:
        assert (folder / name).read_bytes() == (tmp_path / 'again' / name).read_bytes()


def test_existing_data_set_is_not_overwritten(folder):
    with pytest.raises(DatasetError, match='exists; expected a new folder; choose another one'):
        write_dataset(folder, num_pairs=1, seed=0, rig=RIG)


def test_no_pairs_is_refused(tmp_path):
    with pytest.raises(DatasetError, match='num_pairs is 0; expected at least 1'):
        write_dataset(tmp_path, num_pairs=0, seed=0)
