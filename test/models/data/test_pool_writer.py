# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from made_layouts import MAKERS
import numpy as np
import pytest

from rgbt_models.data import BoxLabel, LoadedPair, Manifest, PairEntry, read_layout, Skipped
from rgbt_models.data.pool_labels import keep_classes, map_classes
from rgbt_models.data.pool_writer import thermal_counts, to_sample, write_pool
from rgbt_models.errors import DatasetError
from rgbt_models.label_sets import DETECTION_CLASSES, LabelSet, MASK_CLASSES
from rgbt_models.train.pool import read_label_set, read_origin, render_pool, SamplePool

CLASSES = ('background', 'sky', 'person')
ENTRY = PairEntry(
    name='one',
    rgb_path=Path('rgb'),
    thermal_path=Path('thermal'),
    label_map_path=Path('labels'),
    boxes=(BoxLabel(box_xyxy=(0, 0, 1, 1), class_name='Tram'),),
)
MANIFEST = Manifest(name='made', entries=(ENTRY,), segmentation_classes=CLASSES)
OURS = map_classes(MANIFEST)


def pair(*, boxes=(), label_map=None, hw=(10, 20)):
    rgb = np.zeros((*hw, 3), np.uint8)
    rgb[:, 0] = (255, 0, 9)
    return LoadedPair(
        name='one',
        rgb=rgb,
        thermal=np.full((5, 10), 255, np.uint8),
        boxes=boxes,
        label_map=label_map,
        mask=None,
        is_night=None,
        is_registered=True,
    )


def box(name, *, ignore=False):
    return BoxLabel(box_xyxy=(1.0, 2.0, 5.0, 9.0), class_name=name, ignore=ignore)


def test_classes_we_train_keep_their_box_and_others_are_ignored():
    boxes = (box('Pedestrian'), box('Tram'), box('Bus', ignore=True), box('Van'))
    sample = to_sample(pair(boxes=boxes), OURS, size_hw=(20, 40))
    np.testing.assert_array_equal(sample.boxes_xyxy, [[2, 4, 10, 18]] * 4)
    assert sample.class_ids.tolist() == [0, 0, 5, 4]
    assert sample.ignore.tolist() == [False, True, True, False]


def test_a_pair_without_box_labels_is_unknown_everywhere():
    sample = to_sample(pair(boxes=None), OURS, size_hw=(10, 20))
    assert sample.boxes_xyxy.tolist() == [[0, 0, 20, 10]]
    assert sample.ignore.tolist() == [True]


def test_label_maps_are_renumbered_and_the_rest_is_unlabeled():
    label_map = np.zeros((10, 20), np.uint8)
    label_map[0], label_map[1], label_map[2] = 1, 2, 255
    sample = to_sample(pair(label_map=label_map), OURS, size_hw=(10, 20))
    assert sample.label_map[:4, 0].tolist() == [0, 6, 255, 255]


def test_a_set_keeps_its_own_classes_and_ids():
    labels = keep_classes(replace(MANIFEST, detection_classes=('Bus', 'pedestrian')))
    assert labels.label_set == LabelSet(
        detection_classes=('Bus', 'pedestrian'), segmentation_classes=CLASSES
    )
    label_map = np.zeros((10, 20), np.uint8)
    label_map[1], label_map[2], label_map[3] = 2, 3, 255  # 3 has no name
    boxes = (box('Pedestrian'), box('Bus', ignore=True), box('dog'))
    sample = to_sample(pair(boxes=boxes, label_map=label_map), labels, size_hw=(10, 20))
    assert sample.class_ids.tolist() == [1, 0, 0]
    assert sample.ignore.tolist() == [False, True, True]
    assert sample.label_map[:5, 0].tolist() == [0, 2, 255, 255, 0]


def test_names_of_boxes_that_are_not_listed_are_found():
    assert keep_classes(MANIFEST).label_set.detection_classes == ('Tram',)


def test_label_maps_without_names_are_said():
    with pytest.raises(DatasetError, match=r"'made' has label maps and no segmentation_classes"):
        keep_classes(replace(MANIFEST, segmentation_classes=()))


def test_saliency_masks_become_two_classes():
    labels = keep_classes(
        replace(MANIFEST, entries=(replace(ENTRY, label_map_path=None, mask_path=Path('mask')),))
    )
    assert labels.label_set.segmentation_classes == MASK_CLASSES
    mask = np.zeros((10, 20), bool)
    mask[0, 0] = True
    sample = to_sample(replace(pair(), mask=mask), labels, size_hw=(10, 20))
    assert sample.label_map[0, :2].tolist() == [1, 0]


@pytest.mark.parametrize(
    ('layout', 'is_mapped', 'detection', 'segmentation'),
    [
        ('kaist', True, DETECTION_CLASSES, ()),
        ('llvip', False, ('person',), ()),
        ('pst900', False, (), 5),
        ('vt821', False, (), 2),
        ('folders', False, (), ()),
    ],
)
def test_a_pool_says_what_it_is_labeled_with(tmp_path, layout, is_mapped, detection, segmentation):
    MAKERS[layout](tmp_path / 'source')
    manifest = read_layout(layout, tmp_path / 'source')
    out = tmp_path / 'pool'
    write_pool(manifest, out, size_hw=(24, 32), skipped=Skipped(), is_mapped=is_mapped)
    label_set = read_label_set(out)
    assert label_set.detection_classes == detection
    assert len(label_set.segmentation_classes) == (segmentation or 0)
    assert read_origin(out) == layout


def test_other_shapes_are_fitted_and_what_is_padded_is_unknown():
    label_map = np.ones((10, 20), np.uint8)
    sample = to_sample(pair(label_map=label_map), OURS, size_hw=(16, 20))
    assert sample.rgb.shape == (16, 20, 3)
    assert (sample.label_map[:10] == 0).all()
    assert (sample.label_map[10:] == 255).all()
    assert sample.boxes_xyxy.tolist() == [[0, 10, 20, 16]]
    assert sample.ignore.all()
    assert sample.rgb[15, 0].tolist() == [255, 0, 9]


def test_grey_is_spread_over_40_kelvin_and_counts_stay():
    assert thermal_counts(np.array([[0, 255]], np.uint8)).tolist() == [[27315, 31315]]
    assert thermal_counts(np.array([[7]], np.uint16)).tolist() == [[7]]


def test_training_reads_the_pool_and_does_not_render_into_it(tmp_path):
    MAKERS['kaist'](tmp_path / 'source')
    manifest = read_layout('kaist', tmp_path / 'source')
    count = write_pool(manifest, tmp_path / 'pool', size_hw=(24, 32), skipped=Skipped())
    render_pool(tmp_path / 'pool', num_pairs=64, seed=0, scale=0.1, num_workers=1)
    pool = SamplePool(tmp_path / 'pool')
    assert count == len(pool) == 3
    assert pool[0].boxes_xyxy.tolist() == [[3, 4, 8, 16], [10, 4, 19, 16]]
    assert pool[0].ignore.tolist() == [False, True]
    assert [pool[i].is_night for i in range(3)] == [False, False, True]
    assert len(pool[2].boxes_xyxy) == 0


def test_pairs_that_are_not_registered_are_skipped(tmp_path):
    MAKERS['metu-vistir'](tmp_path / 'source')
    manifest = read_layout('metu-vistir', tmp_path / 'source')
    skipped = Skipped()
    with pytest.raises(DatasetError, match=r'none of the 3 pairs.*not registered'):
        write_pool(manifest, tmp_path / 'pool', size_hw=(24, 32), skipped=skipped)
    assert len(skipped) == 3
    assert not (tmp_path / 'pool').exists()
