# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import replace
import json

import cv2
import numpy as np
import pytest

from rgbt_models.errors import DatasetError
from rgbt_models.label_sets import DETECTION_CLASSES, SEGMENTATION_CLASSES
from rgbt_models.synthetic import (
    CameraTiming,
    Condition,
    DatasetOptions,
    default_rig,
    Extra,
    render_pair,
    Sensors,
    tone_map,
    WORLD_VERSION,
    write_dataset,
    write_pairs,
)
from rgbt_models.synthetic.dataset import describe_rig

RIG = default_rig().scaled(0.25)


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp('dataset')
    write_dataset(path, num_pairs=2, seed=40, rig=RIG)
    return path


def test_files_hold_the_rendered_pair(folder):
    content = json.loads((folder / 'annotations.json').read_text('utf-8'))
    pair = render_pair(41, RIG, sensors=Sensors(rgb_noise=0.01))
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
    assert image['condition'] == pair.condition.value


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
    assert [row['name'] for row in content['categories']] == list(DETECTION_CLASSES)
    assert [row['id'] for row in content['categories']] == list(range(1, 8))
    assert set(rows[0]) == {
        'id', 'image_id', 'category_id', 'bbox', 'area', 'iscrowd', 'ignore',
    }  # fmt: skip


def test_info_describes_rig_world_and_classes(folder):
    info = json.loads((folder / 'annotations.json').read_text('utf-8'))['info']
    homography = np.array(info['homography_thermal_to_rgb']).reshape(3, 3)
    assert info['homography_depth_m'] == 15.0
    np.testing.assert_allclose(homography, RIG.homography_thermal_to_rgb(15.0), rtol=1e-12)
    assert info['seed'] == 40
    assert info['segmentation_classes'] == list(SEGMENTATION_CLASSES)
    assert info['world_version'] == WORLD_VERSION
    assert info['thermal_unit'] == 'uint16, 0.01 K'
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


@pytest.fixture(scope='module')
def full_folder(tmp_path_factory):
    path = tmp_path_factory.mktemp('full')
    options = DatasetOptions(sensors=None, has_full_truth=True, has_grey_thermal=True)
    write_dataset(path, num_pairs=2, seed=40, rig=RIG, condition=Condition.DUSK, options=options)
    return path


def read(folder, name):
    return cv2.imread(str(folder / name), cv2.IMREAD_UNCHANGED)


def test_full_truth_is_that_of_the_pair(full_folder):
    content = json.loads((full_folder / 'annotations.json').read_text('utf-8'))
    pair = render_pair(
        41, RIG, condition=Condition.DUSK, sensors=None, extras=Extra.AMODAL | Extra.CONTRAST
    )
    image = content['images'][1]
    assert image['condition'] == 'dusk'
    assert image['contrast_advantage'] == pytest.approx(pair.contrast.contrast_advantage, abs=1e-4)
    instances = read(full_folder, image['instance_map_file_name'])
    np.testing.assert_array_equal(instances.astype(int) - 1, pair.rgb_view.instance_map)
    rows = [row for row in content['annotations'] if row['image_id'] == 2]
    assert [row['instance'] - 1 for row in rows] == pair.rgb_view.objects.instance_ids.tolist()
    amodal = pair.rgb_view.amodal
    hidden = np.array([row['occluded_share'] for row in rows])
    np.testing.assert_allclose(hidden, amodal.occlusion, atol=1e-4)
    cut = [row['truncated_share'] for row in rows]
    np.testing.assert_allclose(cut, amodal.truncation, atol=1e-4)
    # 0 none, 1 partial, 2 heavy.
    levels = np.where(hidden > 0.5, 2, np.where(hidden > 0.05, 1, 0))
    assert [row['occlusion'] for row in rows] == levels.tolist()
    for name in ('contrast_rgb', 'contrast_thermal'):
        found = [row[name] for row in rows]
        np.testing.assert_allclose(found, getattr(pair.contrast, name), atol=1e-4)
    boxes = np.array([row['amodal_bbox'] for row in rows])
    expected = amodal.boxes_xyxy[:, 2:] - amodal.boxes_xyxy[:, :2]
    np.testing.assert_allclose(boxes[:, 2:], expected, atol=0.02)


def test_depth_and_temperature_are_16_bit(full_folder):
    pair = render_pair(40, RIG, condition=Condition.DUSK, sensors=None)
    depth = read(full_folder, 'depth/000000.png')
    is_sky = np.isinf(pair.rgb_view.depth_m)
    assert (depth[is_sky] == 0).all()
    near = ~is_sky & (pair.rgb_view.depth_m < 655.0)
    np.testing.assert_allclose(depth[near] / 100.0, pair.rgb_view.depth_m[near], atol=0.0051)
    temperature = read(full_folder, 'temperature/000000.png')
    assert temperature.dtype == np.uint16
    np.testing.assert_allclose(
        temperature / 100.0 - 273.15, pair.thermal_view.temperature_c, atol=0.006
    )


def test_same_seed_writes_the_same_bytes_of_everything(full_folder, tmp_path):
    options = DatasetOptions(sensors=None, has_full_truth=True, has_grey_thermal=True)
    again = tmp_path / 'again'
    write_dataset(again, num_pairs=2, seed=40, rig=RIG, condition=Condition.DUSK, options=options)
    names = sorted(path.relative_to(full_folder) for path in full_folder.rglob('*.*'))
    assert len(names) == 15
    for name in names:
        assert (full_folder / name).read_bytes() == (again / name).read_bytes()


def test_grey_thermal_is_the_tone_mapped_picture(full_folder):
    grey = read(full_folder, 'thermal_grey/000001.png')
    counts = read(full_folder, 'thermal/000001.png')
    np.testing.assert_array_equal(grey, tone_map(counts, np.random.default_rng([1, 6])))


def test_counts_of_other_units_are_said_for_each_image(tmp_path):
    pairs = [render_pair(seed, RIG, sensors=None) for seed in range(40, 46)]
    path = write_pairs(tmp_path / 'pairs', pairs, info={'seed': 40})
    content = json.loads(path.read_text('utf-8'))
    linear = [pair.thermal_sensor.bits == 14 for pair in pairs]
    assert ['counts_per_k' in image for image in content['images']] == linear
    assert any(linear)
    assert content['info']['thermal_unit'].startswith('uint16, zero_c_counts + counts_per_k')


def test_pairs_without_the_truth_asked_for_are_refused(tmp_path):
    options = DatasetOptions(has_full_truth=True)
    with pytest.raises(DatasetError, match='no amodal boxes or no contrast; expected both'):
        write_pairs(tmp_path / 'pairs', [render_pair(40, RIG)], info={}, options=options)


def test_rig_is_described_with_lens_and_timing():
    timing = CameraTiming(rate_hz=9.0, offset_s=0.01, jitter_s=0.002)
    lens = replace(RIG.thermal, distortion=(-0.1, 0.01, 0.0, 0.0))
    rig = replace(RIG, thermal=lens, thermal_timing=timing)
    described = describe_rig(rig)['rig']['thermal']
    assert described['distortion'] == [-0.1, 0.01, 0.0, 0.0]
    assert [described[name] for name in ('rate_hz', 'offset_s', 'jitter_s')] == [9.0, 0.01, 0.002]
    np.testing.assert_allclose(described['intrinsics'], RIG.thermal.intrinsics.ravel())
