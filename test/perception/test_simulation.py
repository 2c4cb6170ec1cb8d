# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest

from rgbt_perception.bag import BagReader
from rgbt_perception.simulation import drive_rig, DriveConfig, write_drive
from rgbt_perception.sources import load_rig
from rgbt_perception.types import Modality

CONFIG = DriveConfig(seed=3, duration_s=2.4, rate_hz=5.0, scale=0.25)
CLASSES = ('sky', 'road', 'ground', 'building', 'vegetation', 'person', 'car', 'bicycle')


@pytest.fixture(scope='module')
def bag(tmp_path_factory):
    path = tmp_path_factory.mktemp('drive') / 'drive'
    assert list(write_drive(CONFIG, path)) == list(range(1, 13))
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
        assert reader.segmentation_classes() == CLASSES
    assert sorted(truths) == [x.stamp_ns for x in frames[Modality.RGB]]
    found = [truths[stamp] for stamp in sorted(truths)]
    assert all(x.label_map().shape == (120, 160) for x in found)
    assert {name for x in found for name in x.class_names} <= {'person', 'car', 'bicycle'}
    assert sum(len(x.class_names) for x in found) > 0
    suns = [x.sun_level for x in found]
    assert suns[0] == pytest.approx(1.0, abs=0.1)
    assert suns[-1] == pytest.approx(0.0, abs=0.1)
    assert suns == sorted(suns, reverse=True)
    assert found[-1].is_night


def test_rig_file_holds_the_homography_of_the_written_sizes(bag):
    expected = drive_rig(0.25).homography_thermal_to_rgb().ravel()
    registration = load_rig(bag)
    assert registration.method == 'homography'
    np.testing.assert_allclose(registration.homography_thermal_to_rgb, expected, rtol=1e-12)


def test_no_failures_means_every_frame(tmp_path):
    config = DriveConfig(duration_s=0.8, rate_hz=5.0, scale=0.1, has_failures=False)
    list(write_drive(config, tmp_path / 'drive'))
    with BagReader(tmp_path / 'drive') as reader:
        assert len(list(reader.frames())) == 8


def test_same_seed_gives_the_same_bytes(tmp_path):
    config = DriveConfig(duration_s=0.4, rate_hz=5.0, scale=0.1)
    for name in ('a', 'b'):
        list(write_drive(config, tmp_path / name / 'drive'))
    first, second = (tmp_path / name / 'drive/drive.mcap' for name in ('a', 'b'))
    assert first.read_bytes() == second.read_bytes()
