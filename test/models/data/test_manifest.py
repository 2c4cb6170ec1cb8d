# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json

import pytest

from rgbt_models.data import BoxLabel, load_manifest, Manifest, PairEntry, save_manifest
from rgbt_models.errors import DatasetError


def full(folder):
    return Manifest(
        name='made',
        note='by hand',
        detection_classes=('person', 'car'),
        segmentation_classes=('background', 'road'),
        entries=(
            PairEntry(
                name='a/1',
                rgb_path=folder / 'rgb/1.png',
                thermal_path=folder / 'rgb/1.png',
                thermal_channel=3,
                label_map_path=folder / 'labels/1.png',
                mask_path=folder / 'masks/1.png',
                boxes=(
                    BoxLabel(box_xyxy=(1.0, 2.0, 4.0, 8.0), class_name='person', occlusion=2),
                    BoxLabel(box_xyxy=(0.0, 0.0, 3.0, 3.0), class_name='people', ignore=True),
                ),
                is_night=True,
                is_registered=False,
                split='train',
            ),
            PairEntry(name='b', rgb_path=folder / 'rgb/2.png', thermal_path=folder / 't/2.png'),
            PairEntry(
                name='c', rgb_path=folder / 'rgb/3.png', thermal_path=folder / 't/3.png', boxes=()
            ),
        ),
    )


@pytest.mark.parametrize('name', ['set.json', 'set.jsonl'])
def test_a_manifest_comes_back_as_it_was(tmp_path, name):
    manifest = full(tmp_path)
    save_manifest(manifest, tmp_path / name)
    assert load_manifest(tmp_path / name) == manifest


def test_paths_are_relative_to_the_manifest_and_boxes_are_coco(tmp_path):
    save_manifest(full(tmp_path), tmp_path / 'lists' / 'set.jsonl')
    header, first, *_ = map(json.loads, (tmp_path / 'lists/set.jsonl').read_text().splitlines())
    assert header['format'] == 'rgbt-manifest'
    assert first['rgb'] == '../rgb/1.png'
    assert first['boxes'][0]['bbox'] == [1.0, 2.0, 3.0, 6.0]


def test_not_labeled_and_labeled_without_a_box_are_different(tmp_path):
    save_manifest(full(tmp_path), tmp_path / 'set.json')
    _, unlabeled, empty = load_manifest(tmp_path / 'set.json').entries
    assert unlabeled.boxes is None
    assert empty.boxes == ()


def written(tmp_path, change):
    save_manifest(full(tmp_path), tmp_path / 'set.json')
    document = json.loads((tmp_path / 'set.json').read_text())
    change(document)
    (tmp_path / 'set.json').write_text(json.dumps(document))
    return tmp_path / 'set.json'


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (lambda d: d.update(version=2), 'version 2, expected'),
        (lambda d: d.update(detection_clases=[]), "did you mean 'detection_classes'"),
        (
            lambda d: d['pairs'][0].update(termal='x'),
            "unknown key 'termal'.*did you mean 'thermal'",
        ),
        (lambda d: d['pairs'][1].pop('thermal'), 'expected an object with name, rgb and thermal'),
        (lambda d: d['pairs'][0]['boxes'][0].update(bbox=[1, 2, -3, 4]), 'expected bbox'),
        (lambda d: d['pairs'][0]['boxes'][0].update(score=1), "unknown key 'score'.*remove it"),
        (lambda d: d['pairs'][1].update(name='a/1'), "two pairs named 'a/1'"),
        (lambda d: d.update(pairs={}), 'no object with a list of pairs'),
    ],
)
def test_mistakes_are_named(tmp_path, change, message):
    with pytest.raises(DatasetError, match=message):
        load_manifest(written(tmp_path, change))


def test_files_that_are_no_manifest_are_refused(tmp_path):
    with pytest.raises(DatasetError, match='there is no'):
        load_manifest(tmp_path / 'set.json')
    with pytest.raises(DatasetError, match=r"ends in '.yaml', expected .json or .jsonl"):
        save_manifest(full(tmp_path), tmp_path / 'set.yaml')
    (tmp_path / 'set.json').write_text('{')
    with pytest.raises(DatasetError, match='not valid JSON'):
        load_manifest(tmp_path / 'set.json')
    (tmp_path / 'set.jsonl').write_text('')
    with pytest.raises(DatasetError, match='has format None'):
        load_manifest(tmp_path / 'set.jsonl')
