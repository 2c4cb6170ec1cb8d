# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import replace
import json

import cv2
import numpy as np
import pytest
from source_tree import ROOT

from rgbt_models.label_sets import DETECTION_CLASSES, SEGMENTATION_CLASSES
from rgbt_models.synthetic import build_rig, build_scenario
from rgbt_models.synthetic.sequence import exposures
from rgbt_perception.bag import BagReader
from rgbt_perception.config import load_config
from rgbt_perception.convert import FIRST_STAMP_NS
from rgbt_perception.datasets import load_dataset
from rgbt_perception.errors import BagError, ConfigError, DatasetError
from rgbt_perception.simulation import (
    encode_depth,
    find_scenario,
    load_scenario,
    SAMPLE_DRIVE,
    ScenarioChanges,
    write_scenario_bag,
    write_scenario_folder,
)
from rgbt_perception.sources import load_rig
from rgbt_perception.types import Modality

DRIVE = load_scenario(
    SAMPLE_DRIVE, ScenarioChanges(seed=3, duration_s=2.4, rate_hz=5.0, scale=0.25)
)


def short(**changes):
    return load_scenario(
        SAMPLE_DRIVE, ScenarioChanges(**{'duration_s': 0.4, 'scale': 0.1, **changes})
    )


@pytest.fixture(scope='module')
def bag(tmp_path_factory):
    path = tmp_path_factory.mktemp('drive') / 'drive'
    assert list(write_scenario_bag(DRIVE, path)) == list(range(1, 25))
    return path


@pytest.fixture(scope='module')
def frames(bag):
    with BagReader(bag) as reader:
        found = [item.frame for item in reader.frames()]
        assert not reader.bad_frames
    return {modality: [x for x in found if x.modality is modality] for modality in Modality}


def test_images_have_the_sizes_and_depths_of_the_cameras(frames):
    assert {x.size_hw for x in frames[Modality.RGB]} == {(120, 160)}
    assert {x.size_hw for x in frames[Modality.THERMAL]} == {(64, 80)}
    assert {x.pixels.dtype for x in frames[Modality.THERMAL]} == {np.dtype(np.uint16)}


def test_stamps_are_those_of_two_cameras_that_are_not_triggered_together(frames):
    rgb = [x.stamp_ns for x in frames[Modality.RGB]]
    assert np.unique(np.diff(rgb)).tolist() == [200_000_000]
    skews = [min((x.stamp_ns - stamp for stamp in rgb), key=abs) for x in frames[Modality.THERMAL]]
    assert 2_000_000 <= min(skews) < max(skews) < 6_000_000


def test_thermal_camera_drops_out_by_day(frames, bag):
    # Shares .125 to .258 of 12 instants: instants 2 and 3.
    stamps = np.array([x.stamp_ns for x in frames[Modality.RGB]])
    thermal = np.array([x.stamp_ns for x in frames[Modality.THERMAL]])
    missing = [
        index for index, stamp in enumerate(stamps) if abs(thermal - stamp).min() > 50_000_000
    ]
    assert missing == [2, 3]
    with BagReader(bag) as reader:
        truths = reader.truth()
    assert [truths[int(stamps[index])].is_night for index in missing] == [False, False]


def test_rgb_lens_is_covered_later(frames):
    # Shares .583 to .717: instants 7 and 8.
    bright = [np.percentile(x.pixels, 99.5) > 12 for x in frames[Modality.RGB]]
    assert [index for index, value in enumerate(bright) if not value] == [7, 8]
    assert frames[Modality.RGB][7].pixels.std() > 0.0


def test_truth_has_label_maps_boxes_and_a_falling_sun(frames, bag):
    with BagReader(bag) as reader:
        truths = reader.truth()
        assert reader.segmentation_classes() == SEGMENTATION_CLASSES
    assert sorted(truths) == [x.stamp_ns for x in frames[Modality.RGB]]
    found = [truths[stamp] for stamp in sorted(truths)]
    assert all(x.label_map().shape == (120, 160) for x in found)
    assert {name for x in found for name in x.class_names} <= set(DETECTION_CLASSES)
    assert sum(len(x.class_names) for x in found) > 0
    suns = [x.sun_level for x in found]
    assert suns[0] == pytest.approx(1.0, abs=0.1)
    assert suns[-1] == pytest.approx(0.0, abs=0.1)
    assert suns == sorted(suns, reverse=True)
    assert found[-1].is_night


def test_rig_file_holds_the_homography_of_the_written_sizes(bag):
    expected = build_rig(DRIVE).homography_thermal_to_rgb(15.0).ravel()
    registration = load_rig(bag)
    assert registration.method == 'homography'
    np.testing.assert_allclose(registration.homography_thermal_to_rgb, expected, rtol=1e-12)


def test_no_failures_means_every_frame(tmp_path):
    list(write_scenario_bag(short(duration_s=0.8, has_failures=False), tmp_path / 'drive'))
    with BagReader(tmp_path / 'drive') as reader:
        assert len(list(reader.frames())) == 8


def test_same_scenario_gives_the_same_bytes(tmp_path):
    for name, seed in (('a', 0), ('b', 0), ('c', 1)):
        list(write_scenario_bag(short(seed=seed), tmp_path / name / 'drive'))
        write_scenario_folder(short(seed=seed), tmp_path / name / 'folder')
    content = {
        name: [
            (path.relative_to(tmp_path / name), path.read_bytes())
            for path in sorted((tmp_path / name).rglob('*'))
            if path.is_file()
        ]
        for name in 'abc'
    }
    assert content['a'] == content['b']
    assert [path for path, _ in content['a']] == [path for path, _ in content['c']]
    assert content['a'] != content['c']


def test_a_late_camera_is_recorded_late_with_the_right_stamps(tmp_path):
    failure = {'camera': 'rgb', 'kind': 'late', 'from_share': 0.5}
    scenario = build_scenario({'duration_s': 0.8, 'rig': {'scale': 0.1}, 'failures': [failure]})
    list(write_scenario_bag(scenario, tmp_path / 'bag'))
    with BagReader(tmp_path / 'bag') as reader:
        rgb = [item for item in reader.images() if item.modality is Modality.RGB]
    delays = [round((item.log_ns - item.stamp_ns) / 1e6) for item in rgb]
    assert delays == [25, 25, 525, 525]
    assert np.unique(np.diff([item.stamp_ns for item in rgb])).tolist() == [200_000_000]


def test_the_clock_of_a_camera_does_not_change_when_its_images_arrive(tmp_path):
    rig = {'scale': 0.1, 'rgb': {'offset_s': 0.3, 'transport_s': 0.02}}
    scenario = build_scenario({'duration_s': 0.4, 'rig': rig})
    list(write_scenario_bag(scenario, tmp_path / 'bag'))
    with BagReader(tmp_path / 'bag') as reader:
        rgb = [item for item in reader.images() if item.modality is Modality.RGB]
    since_start = [
        (
            round((item.stamp_ns - FIRST_STAMP_NS) / 1e6),
            round((item.log_ns - FIRST_STAMP_NS) / 1e6),
        )
        for item in rgb
    ]
    assert since_start == [(300, 20), (500, 220)]


def test_depth_instances_and_camera_models_are_written_when_asked_for(tmp_path):
    scenario = build_scenario(
        {
            'duration_s': 0.2,
            'rig': {'scale': 0.2, 'rgb': {'distortion': [-0.1, 0.01, 0.0, 0.0]}},
            'write': {'camera_info': True, 'depth': True, 'instances': True},
        }
    )
    list(write_scenario_bag(scenario, tmp_path / 'bag'))
    with BagReader(tmp_path / 'bag') as reader:
        infos = reader.camera_models()
        maps = {
            topic: [
                cv2.imdecode(np.asarray(message.data), cv2.IMREAD_UNCHANGED)
                for _, _, message in reader.messages(topic)
            ]
            for topic in ('/ground_truth/depth', '/ground_truth/instances')
        }
    assert infos[Modality.RGB].distortion_model == 'plumb_bob'
    assert infos[Modality.RGB].distortion == pytest.approx((-0.1, 0.01, 0.0, 0.0))
    (depth,), (instances,) = maps.values()
    assert (depth.dtype, depth.shape) == (np.uint16, (96, 128))
    assert depth[:20].min() == 0  # sky
    assert 150 < depth[-1, 64] < 600  # the road before the rig, 0.01 m
    assert instances.max() > 0
    assert (depth[instances > 0] > 0).all()


def test_depth_is_in_centimetres_and_0_means_none():
    depth = np.array([[1.234, np.inf], [900.0, 0.5]], np.float32)
    decoded = cv2.imdecode(np.frombuffer(encode_depth(depth), np.uint8), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(decoded, [[123, 0], [65_535, 50]])


def test_a_folder_has_pairs_that_evaluation_reads(tmp_path):
    scenario = replace(short(duration_s=2.4, scale=0.15), seed=3)
    write_scenario_folder(scenario, tmp_path / 'folder')
    dataset = load_dataset(tmp_path / 'folder')
    # Instants 2 and 3 have no thermal image.
    assert len(dataset) == 10
    truth = dataset.load_truth(dataset.entries[0])
    assert set(truth.class_names) <= set(DETECTION_CLASSES)
    homography = build_rig(scenario).homography_thermal_to_rgb(15.0).ravel()
    np.testing.assert_allclose(dataset.registration.homography_thermal_to_rgb, homography)
    with pytest.raises(DatasetError, match='exists; expected a new folder'):
        write_scenario_folder(scenario, tmp_path / 'folder')


def test_a_folder_says_when_its_images_were_exposed_and_what_failed(tmp_path):
    rig = {'scale': 0.1, 'thermal': {'phase_s': 0.03}}
    failures = [
        {'camera': 'thermal', 'kind': 'frozen', 'from_share': 0.5},
        {'camera': 'rgb', 'kind': 'dark', 'from_share': 0.7},
    ]
    scenario = build_scenario({'duration_s': 0.8, 'rig': rig, 'failures': failures})
    path = write_scenario_folder(scenario, tmp_path / 'folder')
    images = json.loads(path.read_text('utf-8'))['images']
    assert [image['time_s'] for image in images] == [0.0, 0.2, 0.4, 0.6]
    assert {image['skew_s'] for image in images} == {0.03}
    assert [image['thermal_fault'] for image in images] == [None, None, 'frozen', 'frozen']
    assert [image['rgb_fault'] for image in images] == [None, None, None, 'dark']


def test_a_full_folder_says_which_camera_sees_more(tmp_path):
    scenario = build_scenario({'duration_s': 0.4, 'rig': {'scale': 0.3}, 'write': {'full': True}})
    path = write_scenario_folder(scenario, tmp_path / 'folder')
    content = json.loads(path.read_text('utf-8'))
    assert content['info']['scenario']['duration_s'] == 0.4
    assert all(-1.0 <= image['contrast_advantage'] <= 1.0 for image in content['images'])
    assert {'occlusion', 'contrast_rgb', 'amodal_bbox'} <= content['annotations'][0].keys()
    for kind in ('depth', 'instance_map', 'temperature'):
        assert len(list((tmp_path / 'folder' / kind).iterdir())) == 2


def test_changes_are_made_to_what_was_read():
    changed = short(
        seed=9,
        rate_hz=2.5,
        scale=0.5,
        has_camera_info=True,
        has_full_truth=True,
        has_failures=False,
    )
    assert (changed.seed, changed.duration_s, changed.rig.scale) == (9, 0.4, 0.5)
    assert (changed.failures, changed.write.camera_info, changed.write.full) == ((), True, True)
    assert exposures(changed) == [(0.0, 'rgb', 0), (0.0, 'thermal', 0)]
    assert load_scenario(SAMPLE_DRIVE, ScenarioChanges()) == load_scenario(SAMPLE_DRIVE)


def test_a_scenario_is_found_by_name_or_path(tmp_path):
    assert find_scenario('fog') == ROOT / 'config/scenarios/fog.yaml'
    mine = tmp_path / 'mine.yaml'
    assert find_scenario(str(mine)) == mine
    with pytest.raises(ConfigError, match=r"no scenario 'day_drvie'; .*car_park, .*'day_drive'"):
        find_scenario('day_drvie')
    with pytest.raises(ConfigError, match=r'name a file that ends in \.yaml'):
        find_scenario('zzz')


def test_a_bag_that_exists_is_not_overwritten(tmp_path):
    with pytest.raises(BagError, match='exists already'):
        list(write_scenario_bag(short(), tmp_path))


@pytest.mark.parametrize(
    'path', sorted((ROOT / 'config/scenarios').glob('*.yaml')), ids=lambda path: path.stem
)
def test_the_rig_file_for_the_node_is_that_of_every_shipped_scenario(path):
    rig = build_rig(load_scenario(str(path)))
    registration = load_config(ROOT / 'config/rigs/simulated.param.yaml').registration
    rotation = rig.rgb.rotation.T @ rig.thermal.rotation
    np.testing.assert_allclose(registration.rotation_thermal_to_rgb, rotation.ravel(), atol=1e-8)
    translation = rig.rgb.rotation.T @ (rig.thermal.position - rig.rgb.position)
    np.testing.assert_allclose(registration.translation_thermal_to_rgb, translation, atol=1e-9)
