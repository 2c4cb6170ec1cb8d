# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest

from rgbt_models.metrics import LabelMapScorer


def scored(truth, predicted, num_classes=3):
    scorer = LabelMapScorer(num_classes)
    scorer.add(np.array(truth, np.uint8), np.array(predicted, np.uint8))
    return scorer


def test_accuracy_is_the_share_of_the_class_that_is_found():
    scorer = scored([[0, 0, 0, 0], [1, 1, 2, 2]], [[0, 0, 0, 1], [1, 2, 2, 2]])
    assert scorer.accuracy() == [0.75, 0.5, 1.0]
    assert scorer.iou() == [0.75, pytest.approx(1 / 3), pytest.approx(2 / 3)]
    assert scorer.mean_accuracy() == pytest.approx(0.75)


def test_background_is_left_out_of_the_mean_only_where_said():
    scorer = scored([[0, 0, 0, 0], [1, 1, 2, 2]], [[0, 0, 0, 1], [1, 2, 2, 2]])
    assert scorer.mean_iou() == pytest.approx((0.75 + 1 / 3 + 2 / 3) / 3)
    # The background pixel called class 1 still counts against class 1.
    assert scorer.mean_iou(without=(0,)) == pytest.approx(0.5)
    assert scorer.mean_accuracy(without=(0,)) == pytest.approx(0.75)


def test_unlabeled_truth_does_not_count_and_unlabeled_predictions_do():
    scorer = scored([[255, 1, 1]], [[0, 1, 255]])
    assert scorer.accuracy() == [None, 0.5, None]
    assert scorer.mean_iou() == 0.5


def test_without_classes_there_is_no_mean():
    assert LabelMapScorer(2).mean_accuracy() is None
    assert scored([[0, 0]], [[0, 0]]).mean_iou(without=(0,)) is None


def test_merged_classes_are_as_if_both_sides_were_labeled_with_them():
    truth, predicted = [[0, 1, 2, 3, 3, 1]], [[1, 0, 3, 2, 3, 255]]
    merged = scored(truth, predicted, num_classes=4).merged([[3], [0, 1]])
    # 0 and 1 are one class and right; 2 is in no class: not counted, and an error where found.
    coarse = scored([[1, 1, 255, 0, 0, 1]], [[1, 1, 0, 255, 0, 255]], num_classes=2)
    assert merged.iou() == coarse.iou() == [0.5, pytest.approx(2 / 3)]
    assert merged.accuracy() == coarse.accuracy()
