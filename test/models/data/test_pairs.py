# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import logging

import cv2
from made_layouts import HW, picture, write
import numpy as np
import pytest

from rgbt_models.data import iterate_pairs, load_pair, PairEntry, Skipped
from rgbt_models.errors import DatasetError


@pytest.fixture
def entry(tmp_path):
    write(tmp_path / 'rgb.png', picture(1, 3))
    write(tmp_path / 'thermal.png', picture(2).astype(np.uint16) * 256 + 7)
    return PairEntry(
        name='one', rgb_path=tmp_path / 'rgb.png', thermal_path=tmp_path / 'thermal.png'
    )


def test_rgb_comes_in_rgb_order_and_thermal_keeps_16_bit(entry):
    pair = load_pair(entry)
    np.testing.assert_array_equal(pair.rgb, picture(1, 3)[..., ::-1])
    assert pair.thermal.dtype == np.uint16
    np.testing.assert_array_equal(pair.thermal, picture(2).astype(np.uint16) * 256 + 7)


def test_grey_written_as_colour_becomes_grey(entry, tmp_path):
    write(tmp_path / 'thermal.png', np.repeat(picture(2)[..., None], 3, axis=2))
    np.testing.assert_array_equal(load_pair(entry).thermal, picture(2))


def damage(path, how):
    data = path.read_bytes()
    path.write_bytes({'cut': data[: len(data) // 2], 'empty': b'', 'other': b'no image'}[how])


@pytest.mark.parametrize('how', ['cut', 'empty', 'other'])
@pytest.mark.parametrize('suffix', ['.png', '.jpg'])
def test_damaged_files_are_skipped_counted_and_named(entry, tmp_path, caplog, how, suffix):
    path = tmp_path / f'bad{suffix}'
    write(path, picture(3, 3))
    damage(path, how)
    bad = PairEntry(name='two', rgb_path=path, thermal_path=entry.thermal_path)
    skipped = Skipped()
    with caplog.at_level(logging.WARNING):
        names = [pair.name for pair in iterate_pairs([entry, bad, entry], skipped)]
    assert names == ['one', 'one']
    assert len(skipped) == 1
    assert 'cannot be decoded, expected an image' in skipped.reasons['two']
    assert 'left out two' in caplog.text


def test_a_missing_file_is_skipped(entry, tmp_path):
    gone = PairEntry(name='gone', rgb_path=tmp_path / 'no.png', thermal_path=entry.thermal_path)
    skipped = Skipped()
    assert list(iterate_pairs([gone], skipped)) == []
    assert 'No such file' in skipped.reasons['gone']


def test_labels_of_another_size_are_refused(entry, tmp_path):
    write(tmp_path / 'labels.png', np.zeros((3, 4), np.uint8))
    labeled = PairEntry(
        name='one',
        rgb_path=entry.rgb_path,
        thermal_path=entry.thermal_path,
        label_map_path=tmp_path / 'labels.png',
    )
    with pytest.raises(DatasetError, match=r'label map of one has size \(3, 4\)'):
        load_pair(labeled)


def test_coloured_label_maps_are_refused(entry, tmp_path):
    write(tmp_path / 'labels.png', picture(4, 3))
    labeled = PairEntry(
        name='one',
        rgb_path=entry.rgb_path,
        thermal_path=entry.thermal_path,
        label_map_path=tmp_path / 'labels.png',
    )
    with pytest.raises(DatasetError, match='not those coloured for people'):
        load_pair(labeled)


def test_a_missing_channel_is_refused(entry):
    with_channel = PairEntry(
        name='one', rgb_path=entry.rgb_path, thermal_path=entry.rgb_path, thermal_channel=3
    )
    with pytest.raises(DatasetError, match='expected a file whose channel 3 is the thermal image'):
        load_pair(with_channel)


def test_float_images_are_no_thermal_image(entry, tmp_path):
    path = tmp_path / 'thermal.tiff'
    assert cv2.imwrite(str(path), np.ones(HW, np.float32))
    with pytest.raises(DatasetError, match='is float32, expected 8 or 16 bit'):
        load_pair(PairEntry(name='one', rgb_path=entry.rgb_path, thermal_path=path))


def test_skipped_names_are_written_once_each(tmp_path):
    skipped = Skipped()
    skipped.add('a', 'first')
    skipped.add('a', 'again')
    assert skipped.write(tmp_path).read_text() == '{"name": "a", "reason": "first"}\n'
    assert skipped.write(tmp_path / 'set.json').name == 'set_skipped.jsonl'
