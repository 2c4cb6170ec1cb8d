# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from made_layouts import MAKERS
import numpy as np
import pytest

from rgbt_models.data import BoxLabel, LoadedPair, read_layout, Skipped
from rgbt_models.data.pool_writer import thermal_counts, to_sample, write_pool
from rgbt_models.errors import DatasetError
from rgbt_models.train.pool import render_pool, SamplePool

CLASSES = ('background', 'sky', 'person')


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
    boxes = (box('Pedestrian'), box('Bus'), box('car', ignore=True))
    sample = to_sample(pair(boxes=boxes), (), size_hw=(20, 40))
    np.testing.assert_array_equal(sample.boxes_xyxy, [[2, 4, 10, 18]] * 3)
    assert sample.class_ids.tolist() == [0, 0, 1]
    assert sample.ignore.tolist() == [False, True, True]


def test_a_pair_without_box_labels_is_unknown_everywhere():
    sample = to_sample(pair(boxes=None), (), size_hw=(10, 20))
    assert sample.boxes_xyxy.tolist() == [[0, 0, 20, 10]]
    assert sample.ignore.tolist() == [True]


def test_label_maps_are_renumbered_and_the_rest_is_unlabeled():
    label_map = np.zeros((10, 20), np.uint8)
    label_map[0], label_map[1], label_map[2] = 1, 2, 255
    sample = to_sample(pair(label_map=label_map), CLASSES, size_hw=(10, 20))
    assert sample.label_map[:4, 0].tolist() == [0, 5, 255, 255]


def test_other_shapes_are_fitted_and_what_is_padded_is_unknown():
    label_map = np.ones((10, 20), np.uint8)
    sample = to_sample(pair(label_map=label_map), CLASSES, size_hw=(16, 20))
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
