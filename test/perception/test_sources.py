# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import replace

from made_data import FIRST_NS, STEP_NS, write_bag, write_dataset
import pytest

from rgbt_perception.bag_messages import BagTopics
from rgbt_perception.config import IDENTITY_3X3, PerceptionConfig, RegistrationConfig
from rgbt_perception.convert import write_rig_file
from rgbt_perception.datasets import PairDataset
from rgbt_perception.errors import BagError
from rgbt_perception.sources import load_rig, open_source, plain_pairs, with_registration

SHIFT = RegistrationConfig(
    method='homography', homography_thermal_to_rgb=(1.0, 0.0, 5.0, 0.0, 1.0, -3.0, 0.0, 0.0, 1.0)
)


def test_bag_gives_the_pairs_that_have_both_frames_and_truth(tmp_path):
    path = write_bag(tmp_path / 'bag', num_instants=5, without_thermal=(3,))
    source = open_source(path, PerceptionConfig())
    pairs = list(source.pairs())
    assert [item.pair.rgb.stamp_ns for item in pairs] == [
        FIRST_NS + index * STEP_NS for index in (0, 1, 2, 4)
    ]
    assert pairs[0].name == str(FIRST_NS)
    assert [item.truth.is_night for item in pairs] == [False, False, False, True]
    assert source.segmentation_classes == ('sky', 'road')


def test_folder_with_annotations_is_a_data_set(tmp_path):
    source = open_source(write_dataset(tmp_path), PerceptionConfig())
    assert isinstance(source, PairDataset)


def test_folder_with_neither_is_refused(tmp_path):
    with pytest.raises(BagError, match=r'holds neither annotations.json nor metadata.yaml'):
        open_source(tmp_path, PerceptionConfig())


def test_bag_without_truth_cannot_be_evaluated(tmp_path):
    source = open_source(write_bag(tmp_path / 'bag', has_truth=False), PerceptionConfig())
    with pytest.raises(BagError, match=r"has no ground truth on '/ground_truth/detections'"):
        list(source.pairs())


def test_bag_without_pairs_is_refused(tmp_path):
    path = write_bag(tmp_path / 'bag', num_instants=2, without_thermal=(0, 1))
    write_bag(tmp_path / 'other', num_instants=2)
    topics = BagTopics(thermal='/rgb/image_raw')
    source = open_source(path, PerceptionConfig(), topics)
    with pytest.raises(BagError, match=r'no pair of bag .* has ground truth \(2 ground truth'):
        list(source.pairs())


def test_rig_file_beside_the_bag_gives_the_registration(tmp_path):
    path = write_bag(tmp_path / 'bag')
    assert load_rig(path) == RegistrationConfig()
    write_rig_file(path, SHIFT)
    assert load_rig(path) == SHIFT
    assert load_rig(path / 'bag.mcap') == SHIFT
    assert open_source(path, PerceptionConfig()).registration == SHIFT


def test_identity_needs_no_rig_file(tmp_path):
    write_rig_file(tmp_path, RegistrationConfig())
    assert not list(tmp_path.iterdir())


def test_registration_of_the_settings_wins_over_that_of_the_source():
    assert with_registration(PerceptionConfig(), SHIFT).registration == SHIFT
    own = replace(SHIFT, homography_thermal_to_rgb=(2.0, *IDENTITY_3X3[1:]))
    assert with_registration(PerceptionConfig(registration=own), SHIFT).registration == own


def test_checks_of_the_settings_do_not_replace_the_registration_of_the_source():
    own = RegistrationConfig(score_every=0, max_parallax_px=3.0)
    merged = with_registration(PerceptionConfig(registration=own), SHIFT).registration
    assert merged == replace(SHIFT, score_every=0, max_parallax_px=3.0)


def test_plain_pairs_need_no_truth(tmp_path):
    bag = write_bag(tmp_path / 'bag', num_instants=5, without_thermal=(3,), has_truth=False)
    pairs = list(plain_pairs(open_source(bag, PerceptionConfig())))
    assert [pair.rgb.stamp_ns for pair in pairs] == [FIRST_NS + i * STEP_NS for i in (0, 1, 2, 4)]
    folder = open_source(write_dataset(tmp_path / 'data', num_pairs=2), PerceptionConfig())
    assert [pair.rgb.size_hw for pair in plain_pairs(folder)] == [(48, 64)] * 2
