# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import tarfile

import cv2
from made_layouts import MAKERS, picture
import numpy as np
import pytest

from rgbt_models.data import (
    iterate_pairs,
    read_layout,
    read_shards,
    Skipped,
    write_folder,
    write_shards,
)
from rgbt_models.data.shards import list_shards
from rgbt_models.errors import DatasetError


@pytest.fixture
def manifest_of(tmp_path):
    def make(name):
        MAKERS[name](tmp_path / name)
        return read_layout(name, tmp_path / name)

    return make


def equal(first, second):
    assert first.name == second.name
    for what in ('rgb', 'thermal', 'label_map', 'mask'):
        np.testing.assert_array_equal(getattr(first, what), getattr(second, what))
    assert (first.boxes, first.is_night) == (second.boxes, second.is_night)
    assert first.is_registered == second.is_registered


@pytest.mark.parametrize('name', sorted(MAKERS))
def test_shards_give_back_what_went_in(tmp_path, manifest_of, name):
    manifest = manifest_of(name)
    skipped = Skipped()
    count = write_shards(manifest, tmp_path / 'out', pairs_per_shard=2, skipped=skipped)
    before = list(iterate_pairs(manifest.entries, skipped))
    after = list(read_shards(list_shards(tmp_path / 'out'), skipped))
    assert count == len(before) == len(after)
    assert len(skipped) == 0
    for first, second in zip(before, after, strict=True):
        equal(first, second)


def test_shards_hold_so_many_pairs_and_name_their_files_as_webdataset_does(tmp_path, manifest_of):
    write_shards(manifest_of('kaist'), tmp_path / 'out', pairs_per_shard=2, skipped=Skipped())
    index = json.loads((tmp_path / 'out/shards.json').read_text())
    assert index['shards'] == {'shard-000000.tar': 2, 'shard-000001.tar': 1}
    with tarfile.open(tmp_path / 'out/shard-000001.tar') as archive:
        assert archive.getnames() == [f'000000002.{x}' for x in ('json', 'rgb.jpg', 'thermal.jpg')]


def test_the_same_pairs_give_the_same_bytes(tmp_path, manifest_of):
    manifest = manifest_of('mfnet')
    for name in ('a', 'b'):
        write_shards(manifest, tmp_path / name, pairs_per_shard=9, skipped=Skipped())
    first, second = ((tmp_path / name / 'shard-000000.tar').read_bytes() for name in 'ab')
    assert first == second


def test_processes_share_the_shards(tmp_path, manifest_of):
    write_shards(manifest_of('kaist'), tmp_path / 'out', pairs_per_shard=1, skipped=Skipped())
    ranks = [list_shards(tmp_path / 'out', rank=rank, world_size=2) for rank in range(2)]
    assert [[path.name[6:12] for path in paths] for paths in ranks] == [
        ['000000', '000002'],
        ['000001'],
    ]
    with pytest.raises(DatasetError, match='3 shards for 4 processes'):
        list_shards(tmp_path / 'out', world_size=4)


@pytest.mark.parametrize('part', [0.3, 0.45, 0.5, 0.6])  # .5 falls between two files of the tar
def test_a_cut_shard_gives_its_whole_pairs_and_is_named(tmp_path, manifest_of, part):
    write_shards(manifest_of('kaist'), tmp_path / 'out', pairs_per_shard=9, skipped=Skipped())
    path = tmp_path / 'out/shard-000000.tar'
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * part)])
    skipped = Skipped()
    pairs = list(read_shards([path], skipped))
    assert len(pairs) < 3
    assert 'shard-000000.tar' in skipped.reasons


def test_a_damaged_pair_in_a_shard_is_skipped_and_named(tmp_path, manifest_of):
    write_shards(manifest_of('kaist'), tmp_path / 'out', pairs_per_shard=9, skipped=Skipped())
    path = tmp_path / 'out/shard-000000.tar'
    data = bytearray(path.read_bytes())
    position = data.index(b'\xff\xd8')  # the start of the first JPEG
    data[position : position + 2] = b'xx'
    path.write_bytes(bytes(data))
    skipped = Skipped()
    assert len(list(read_shards([path], skipped))) == 2
    assert list(skipped.reasons) == ['shard-000000.tar:000000000']


def test_a_pair_that_lacks_a_file_is_named(tmp_path):
    path = tmp_path / 'x.tar'
    (tmp_path / '0.json').write_text('{}')
    with tarfile.open(path, 'w') as archive:
        archive.add(tmp_path / '0.json', '0.json')
    skipped = Skipped()
    assert list(read_shards([path], skipped)) == []
    assert 'has no rgb, expected json, rgb and thermal' in skipped.reasons['x.tar:0']


def test_a_file_that_is_no_archive_is_named(tmp_path):
    (tmp_path / 'x.tar').write_bytes(b'no archive' * 100)
    skipped = Skipped()
    assert list(read_shards([tmp_path / 'x.tar'], skipped)) == []
    assert 'cannot be read to its end' in skipped.reasons['x.tar']


def test_folder_splits_shared_files_and_copies_the_others(tmp_path, manifest_of):
    write_folder(manifest_of('mfnet'), tmp_path / 'm', skipped=Skipped())
    document = json.loads((tmp_path / 'm/annotations.json').read_text())
    first = document['images'][0]
    assert first['thermal_file_name'] == 'thermal/00001D.png'
    assert first['is_night'] is False
    assert document['info']['segmentation_classes'][1] == 'car'
    manifest = manifest_of('kaist')
    write_folder(manifest, tmp_path / 'k', skipped=Skipped())
    copied = (tmp_path / 'k/rgb/set00_V000_I00001.jpg').read_bytes()
    assert copied == manifest.entries[0].rgb_path.read_bytes()


def test_folder_keeps_boxes_occlusion_and_ignored_classes(tmp_path, manifest_of):
    write_folder(manifest_of('kaist'), tmp_path / 'k', skipped=Skipped())
    document = json.loads((tmp_path / 'k/annotations.json').read_text())
    assert [item['name'] for item in document['categories']] == ['person', 'people']
    person, people = document['annotations'][:2]
    assert (person['bbox'], person['occlusion']) == ([3.0, 4.0, 5.0, 12.0], 1)
    assert (people['category_id'], people['ignore']) == (2, True)


def test_thermal_in_false_colour_becomes_grey(tmp_path, manifest_of):
    manifest = manifest_of('vt5000')
    write_folder(manifest, tmp_path / 'v', skipped=Skipped())
    image = json.loads((tmp_path / 'v/annotations.json').read_text())['images'][0]
    assert image['thermal_file_name'] == 'thermal/train_1.png'
    stored = cv2.imread(str(tmp_path / 'v/thermal/train_1.png'), cv2.IMREAD_UNCHANGED)
    assert stored.ndim == 2


def test_corrupt_pairs_are_left_out_of_a_folder(tmp_path, manifest_of):
    manifest = manifest_of('m3fd')
    manifest.entries[0].thermal_path.write_bytes(b'')
    skipped = Skipped()
    assert write_folder(manifest, tmp_path / 'out', skipped=skipped) == 1
    assert list(skipped.reasons) == ['00000']


@pytest.mark.parametrize('writer', [write_folder, write_shards])
def test_nothing_is_overwritten_and_nothing_readable_is_an_error(tmp_path, manifest_of, writer):
    manifest = manifest_of('m3fd')
    options = {'skipped': Skipped()}
    if writer is write_shards:
        options['pairs_per_shard'] = 5
    with pytest.raises(DatasetError, match='expected a new or empty folder'):
        writer(manifest, tmp_path, **options)
    for entry in manifest.entries:
        entry.rgb_path.write_bytes(b'')
    with pytest.raises(DatasetError, match='none of the 2 pairs'):
        writer(manifest, tmp_path / 'new', **options)


def test_made_pictures_differ():
    assert (picture(1) != picture(2)).any()


def test_a_malformed_index_of_shards_is_refused(tmp_path, manifest_of):
    write_shards(manifest_of('m3fd'), tmp_path / 'out', pairs_per_shard=9, skipped=Skipped())
    (tmp_path / 'out/shards.json').write_text('[]')
    with pytest.raises(DatasetError, match=r"shards.json' is malformed"):
        list(read_shards(list_shards(tmp_path / 'out'), Skipped()))
