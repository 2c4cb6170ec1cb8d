# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import logging
from pathlib import Path
import shutil

from made_data import (
    build_truth,
    FIRST_NS,
    MIDDLE_BOX,
    rgb_pixels,
    SKEW_NS,
    STEP_NS,
    thermal_pixels,
    write_bag,
    write_raw_bag,
)
import numpy as np
import pytest

from rgbt_perception.bag import BagReader
from rgbt_perception.bag_messages import BagTopics
from rgbt_perception.errors import BackendUnavailableError, BagError
from rgbt_perception.types import Modality


@pytest.fixture(scope='module')
def bag(tmp_path_factory):
    return write_bag(tmp_path_factory.mktemp('bag') / 'drive', without_thermal=(2,))


def frames_of(path: Path, **options):
    with BagReader(path, **options) as reader:
        return list(reader.frames())


def test_frames_come_in_order_of_log_times_with_stamps_and_frame_ids(bag):
    frames = frames_of(bag)
    cameras = [item.frame.modality.value for item in frames]
    assert cameras == ['rgb', 'thermal', 'rgb', 'thermal', 'rgb', 'rgb', 'thermal']
    assert [item.frame.stamp_ns - FIRST_NS for item in frames] == [
        0,
        SKEW_NS,
        STEP_NS,
        STEP_NS + SKEW_NS,
        2 * STEP_NS,
        3 * STEP_NS,
        3 * STEP_NS + SKEW_NS,
    ]
    assert frames[0].log_ns == FIRST_NS + 1
    assert frames[0].frame.frame_id == 'rgb_optical_frame'
    assert frames[1].frame.frame_id == 'thermal_optical_frame'


def test_compressed_thermal_keeps_all_sixteen_bits(bag):
    np.testing.assert_array_equal(frames_of(bag)[3].frame.pixels, thermal_pixels(1))


def test_compressed_rgb_keeps_the_order_of_channels(bag):
    difference = frames_of(bag)[2].frame.pixels.astype(int) - rgb_pixels(1)
    assert abs(difference).mean() < 4.0


@pytest.mark.parametrize('storage', ['MCAP', 'SQLITE3'])
def test_raw_images_are_read_from_both_storages(tmp_path, storage):
    path = write_raw_bag(tmp_path / 'raw', encodings=('mono16', '16UC1'), storage=storage)
    frames = frames_of(path)
    assert len(frames) == 4
    thermal = [item.frame for item in frames if item.frame.modality is Modality.THERMAL]
    np.testing.assert_array_equal(thermal[1].pixels, thermal_pixels(1))
    rgb = [item.frame for item in frames if item.frame.modality is Modality.RGB]
    np.testing.assert_array_equal(rgb[1].pixels, rgb_pixels(1))


def test_bare_file_is_read_like_its_folder(bag):
    assert len(frames_of(bag / 'drive.mcap')) == len(frames_of(bag))


def test_truth_comes_back_by_rgb_stamp(bag):
    with BagReader(bag) as reader:
        truths = reader.truth()
        assert reader.segmentation_classes() == ('sky', 'road')
    assert sorted(truths) == [FIRST_NS + index * STEP_NS for index in range(4)]
    truth = truths[FIRST_NS]
    np.testing.assert_allclose(truth.boxes_xyxy, [MIDDLE_BOX, (0, 1, 10, 9)], atol=1e-5)
    assert truth.class_names == ('person', 'car')
    assert truth.ignore.tolist() == [False, True]
    np.testing.assert_array_equal(truth.label_map(), build_truth().label_map())
    nights = [truths[stamp].is_night for stamp in sorted(truths)]
    assert nights == [False, False, True, True]
    assert truth.sun_level == 0.25


def test_bag_without_truth_has_an_empty_truth(tmp_path):
    with BagReader(write_bag(tmp_path / 'plain', has_truth=False)) as reader:
        assert reader.truth() == {}
        assert reader.segmentation_classes() is None


def test_unusable_image_is_counted_logged_and_left_out(tmp_path, caplog):
    path = write_raw_bag(tmp_path / 'raw', encodings=('mono16', 'bayer_rggb8', 'mono16'))
    with caplog.at_level(logging.WARNING), BagReader(path) as reader:
        frames = list(reader.frames())
        assert reader.bad_frames == {Modality.THERMAL: 1}
    assert len(frames) == 5
    assert "'bayer_rggb8'" in caplog.text


def test_images_beyond_max_pixels_are_counted(tmp_path):
    path = write_raw_bag(tmp_path / 'raw', encodings=('mono16',))
    with BagReader(path, max_pixels=40 * 56) as reader:
        assert [item.frame.modality for item in reader.frames()] == [Modality.THERMAL]
        assert reader.bad_frames == {Modality.RGB: 1}


def test_missing_topic_is_named_with_those_that_exist(bag):
    with pytest.raises(BagError) as caught:
        frames_of(bag, topics=BagTopics(thermal='/flir/image'))
    assert f"bag '{bag}' has no images on '/flir/image' or '/flir/image/compressed'" in str(
        caught.value
    )
    assert '/thermal/image_raw/compressed' in str(caught.value)
    assert '--thermal-topic' in str(caught.value)


def test_topic_may_be_named_with_its_compressed_suffix(bag):
    topics = BagTopics(rgb='/rgb/image_raw/compressed')
    assert len(frames_of(bag, topics=topics)) == 7


def test_missing_bag_is_named(tmp_path):
    with pytest.raises(BagError, match=r"there is no bag at '.*nothing'; expected a rosbag2"):
        frames_of(tmp_path / 'nothing')


def test_folder_without_metadata_names_the_file_to_take(bag, tmp_path):
    shutil.copytree(bag, tmp_path / 'copy')
    (tmp_path / 'copy/metadata.yaml').unlink()
    with pytest.raises(BagError, match=r'has no metadata.yaml.*name the file instead: .*\.mcap'):
        frames_of(tmp_path / 'copy')
    assert len(frames_of(tmp_path / 'copy/drive.mcap')) == 7


def test_empty_bag_is_refused(tmp_path):
    path = write_bag(tmp_path / 'empty', num_instants=0)
    with pytest.raises(BagError, match='holds 0 messages, expected images of both cameras'):
        frames_of(path)


@pytest.mark.parametrize('name', ['garbage.mcap', 'garbage.db3'])
def test_garbage_is_refused(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(np.random.default_rng(0).bytes(5000))
    with pytest.raises(BagError, match='cannot be read'):
        frames_of(path)


@pytest.mark.parametrize('storage', ['MCAP', 'SQLITE3'])
@pytest.mark.parametrize('share', [0.0, 0.1, 0.35, 0.6, 0.9, 0.999])
def test_truncated_bag_is_refused_in_one_sentence(tmp_path, storage, share):
    path = write_raw_bag(tmp_path / 'raw', encodings=('mono16',) * 6, storage=storage)
    file = next(item for item in path.iterdir() if item.suffix != '.yaml')
    data = file.read_bytes()
    file.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(BagError) as caught:
        frames_of(path)
    message = str(caught.value)
    assert f"bag '{path}' cannot be read" in message
    assert 'it may be truncated or damaged; copy or record it again' in message


@pytest.mark.parametrize('storage', ['MCAP', 'SQLITE3'])
def test_overwritten_bytes_never_raise_anything_but_a_bag_error(tmp_path, storage):
    path = write_raw_bag(tmp_path / 'raw', encodings=('mono16',) * 3, storage=storage)
    file = next(item for item in path.iterdir() if item.suffix != '.yaml')
    data = file.read_bytes()
    rng = np.random.default_rng(1)
    for _ in range(60):
        start = int(rng.integers(0, len(data)))
        damaged = bytearray(data)
        damaged[start : start + 40] = rng.bytes(len(damaged[start : start + 40]))
        file.write_bytes(damaged)
        try:
            frames_of(path)
        except BagError:
            continue


def test_damaged_metadata_is_refused(bag, tmp_path):
    shutil.copytree(bag, tmp_path / 'copy')
    (tmp_path / 'copy/metadata.yaml').write_text('')
    with pytest.raises(BagError, match='cannot be read'):
        frames_of(tmp_path / 'copy')


def test_missing_rosbags_names_the_command_that_installs_it(monkeypatch, bag):
    monkeypatch.setitem(__import__('sys').modules, 'rosbags.highlevel', None)
    with pytest.raises(BackendUnavailableError, match=r"pip install 'rgbt_perception\[bags\]'"):
        frames_of(bag)
