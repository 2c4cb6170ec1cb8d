# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from rgbt_perception.errors import BackendUnavailableError
from rgbt_perception.metrics import average_precision, BoxScorer, ImageMatches, LabelMapScorer
from rgbt_perception.truth import Truth
from rgbt_perception.types import Detections

Box = tuple[float, float, float, float]
LEFT: Box = (10.0, 20.0, 40.0, 90.0)
RIGHT: Box = (110.0, 20.0, 140.0, 90.0)


def truth(*items: tuple[str, Box, bool]) -> Truth:
    return Truth(
        boxes_xyxy=np.array([box for _, box, _ in items], np.float32).reshape(-1, 4),
        class_names=tuple(name for name, _, _ in items),
        ignore=np.array([ignore for _, _, ignore in items], np.bool_),
    )


def found(*items: tuple[int, Box, float]) -> Detections:
    return Detections(
        boxes_xyxy=np.array([box for _, box, _ in items], np.float32).reshape(-1, 4),
        scores=np.array([score for _, _, score in items], np.float32),
        class_ids=np.array([class_id for class_id, _, _ in items], np.int64),
    )


def scored(*pairs: tuple[Truth, Detections], names: Sequence[str] = ('person', 'car')):
    scorer = BoxScorer(names)
    for item in pairs:
        scorer.add(*item)
    return scorer


def test_perfect_boxes_score_one():
    metrics = scored((truth(('person', LEFT, False)), found((0, LEFT, 0.4)))).compute()
    assert metrics.ap50['person'] == pytest.approx(1.0)
    assert metrics.mean_ap == pytest.approx(1.0)


def test_a_box_that_overlaps_by_two_thirds_counts_at_50_and_not_at_75():
    wide = (10.0, 20.0, 55.0, 90.0)  # 45 wide for 30: IoU 2/3
    metrics = scored((truth(('person', LEFT, False)), found((0, wide, 0.4)))).compute()
    assert metrics.ap50['person'] == pytest.approx(1.0)
    assert metrics.ap75['person'] == pytest.approx(0.0)
    assert metrics.ap75['car'] is None


def test_one_of_two_found_gives_half_of_the_recall_points():
    both = truth(('person', LEFT, False), ('person', RIGHT, False))
    metrics = scored((both, found((0, LEFT, 0.9)))).compute()
    # Precision 1 at the 51 of 101 recall points 0.00 .. 0.50.
    assert metrics.ap50['person'] == pytest.approx(51 / 101)


def test_false_box_of_higher_score_halves_precision():
    metrics = scored(
        (truth(('person', LEFT, False)), found((0, RIGHT, 0.9), (0, LEFT, 0.8)))
    ).compute()
    assert metrics.ap50['person'] == pytest.approx(0.5)


def test_box_of_the_wrong_class_does_not_count():
    metrics = scored((truth(('person', LEFT, False)), found((1, LEFT, 0.9)))).compute()
    assert metrics.ap50['person'] == pytest.approx(0.0)


def test_overlap_below_one_half_is_no_match_at_iou_50():
    x_min, y_min, x_max, _ = LEFT
    upper = (x_min, y_min, x_max, y_min + 34.0)  # 34 of 70 rows
    metrics = scored((truth(('person', LEFT, False)), found((0, upper, 0.9)))).compute()
    assert metrics.ap50['person'] == pytest.approx(0.0)


def test_overlap_of_three_quarters_counts_at_six_of_ten_thresholds():
    x_min, y_min, x_max, _ = LEFT
    upper = (x_min, y_min, x_max, y_min + 54.0)  # IoU 0.77
    metrics = scored((truth(('person', LEFT, False)), found((0, upper, 0.9)))).compute()
    assert metrics.ap50['person'] == pytest.approx(1.0)
    assert metrics.mean_ap == pytest.approx(0.6)  # .50 .55 .60 .65 .70 .75


def test_finding_an_ignored_box_is_neither_right_nor_wrong():
    both = truth(('person', LEFT, False), ('person', RIGHT, True))
    with_it = scored((both, found((0, RIGHT, 0.95), (0, LEFT, 0.9)))).compute()
    without_it = scored((both, found((0, LEFT, 0.9)))).compute()
    assert with_it.ap50['person'] == without_it.ap50['person'] == pytest.approx(1.0)


def test_no_detections_at_all_score_zero():
    metrics = scored((truth(('person', LEFT, False)), found())).compute()
    assert metrics.ap50 == {'person': pytest.approx(0.0), 'car': None}
    assert metrics.mean_ap == pytest.approx(0.0)


def test_class_without_truth_has_no_number_and_is_left_out_of_the_mean():
    metrics = scored(
        (truth(('person', LEFT, False)), found((0, LEFT, 0.9), (1, RIGHT, 0.9)))
    ).compute()
    assert metrics.ap50['car'] is None
    assert metrics.mean_ap == pytest.approx(1.0)


def test_truth_of_an_unknown_class_is_left_out():
    metrics = scored((truth(('tram', LEFT, False)), found())).compute()
    assert metrics.ap50 == {'person': None, 'car': None}
    assert metrics.mean_ap is None


def test_indices_choose_the_pairs():
    good = (truth(('person', LEFT, False)), found((0, LEFT, 0.9)))
    bad = (truth(('person', LEFT, False)), found((0, RIGHT, 0.9)))
    scorer = scored(good, bad, good)
    assert scorer.compute({0, 2}).ap50['person'] == pytest.approx(1.0)
    assert scorer.compute({1}).ap50['person'] == pytest.approx(0.0)
    assert scorer.compute(set()).mean_ap is None


def test_computing_twice_gives_the_same():
    scorer = scored((truth(('person', LEFT, False)), found((0, LEFT, 0.9))))
    assert scorer.compute() == scorer.compute()


def test_progress_of_pycocotools_is_kept_quiet(capsys):
    scored((truth(('person', LEFT, False)), found((0, LEFT, 0.9)))).compute()
    assert capsys.readouterr().out == ''


def test_missing_pycocotools_names_the_command_that_installs_it(monkeypatch):
    monkeypatch.setitem(__import__('sys').modules, 'pycocotools.coco', None)
    scorer = scored((truth(('person', LEFT, False)), found()))
    with pytest.raises(BackendUnavailableError, match=r"'rgbt_perception\[evaluate\]'"):
        scorer.compute()


def test_iou_by_hand():
    scorer = LabelMapScorer(3)
    scorer.add(np.array([[0, 0, 1, 1]], np.uint8), np.array([[0, 1, 1, 1]], np.uint8))
    # Class 0: 1 right, 1 missed. Class 1: 2 right, 1 too many. Class 2: no pixel.
    assert scorer.iou() == [pytest.approx(1 / 2), pytest.approx(2 / 3), None]
    assert scorer.mean_iou() == pytest.approx((1 / 2 + 2 / 3) / 2)


def test_iou_is_accumulated_over_pairs_not_averaged():
    scorer = LabelMapScorer(2)
    scorer.add(np.zeros((1, 9), np.uint8), np.zeros((1, 9), np.uint8))
    scorer.add(np.zeros((1, 1), np.uint8), np.ones((1, 1), np.uint8))
    assert scorer.iou()[0] == pytest.approx(0.9)


def test_unlabeled_truth_is_not_counted_and_unlabeled_prediction_is_a_miss():
    scorer = LabelMapScorer(2)
    scorer.add(np.array([[255, 0, 0, 2]], np.uint8), np.array([[1, 0, 255, 1]], np.uint8))
    assert scorer.iou() == [pytest.approx(1 / 2), None]


def test_nothing_labeled_gives_no_number():
    assert LabelMapScorer(2).mean_iou() is None


def random_scorer(num_pairs: int) -> BoxScorer:
    rng = np.random.default_rng(5)
    pairs = []
    for _ in range(num_pairs):
        boxes = [tuple(float(v) for v in (x, 10, x + 30, 80)) for x in rng.integers(0, 600, 5)]
        hits = [(0, box, float(rng.uniform(0.1, 1))) for box in boxes if rng.random() < 0.7]
        misses = [(0, (700.0, 0.0, 720.0, 50.0), float(rng.uniform(0.1, 1)))]
        flags = rng.random(5) < 0.2
        items = [('person', box, bool(flag)) for box, flag in zip(boxes, flags, strict=True)]
        pairs.append((truth(*items), found(*hits, *misses)))
    return scored(*pairs)


def test_average_precision_of_matches_equals_that_of_pycocotools():
    scorer = random_scorer(20)
    expected = scorer.compute().ap50['person']
    assert average_precision(scorer.matches('person')) == pytest.approx(expected, abs=1e-12)


def test_matches_are_by_pair_and_leave_out_ignored_boxes():
    first = (truth(('person', LEFT, False)), found((0, RIGHT, 0.9), (0, LEFT, 0.8)))
    second = (truth(('person', RIGHT, True)), found((0, RIGHT, 0.7)))
    third = (truth(('car', LEFT, False)), found())
    matches = scored(first, second, third).matches('person')
    assert [match.num_truth for match in matches] == [1, 0, 0]
    np.testing.assert_allclose(matches[0].scores, [0.9, 0.8], rtol=1e-6)
    np.testing.assert_array_equal(matches[0].is_right, [False, True])
    assert [len(match.scores) for match in matches] == [2, 0, 0]


def test_average_precision_counts_a_pair_as_often_as_it_is_drawn():
    good = ImageMatches(scores=np.array([0.9]), is_right=np.array([True]), num_truth=1)
    bad = ImageMatches(scores=np.array([0.8]), is_right=np.array([False]), num_truth=1)
    assert average_precision([good]) == pytest.approx(1.0)
    assert average_precision([good, bad]) == pytest.approx(51 / 101)  # recall 0.00 .. 0.50
    assert average_precision([good, bad, bad, bad]) == pytest.approx(26 / 101)  # 0.00 .. 0.25


def test_average_precision_without_boxes_to_find_is_none():
    empty = ImageMatches(scores=np.zeros(0), is_right=np.zeros(0, np.bool_), num_truth=0)
    assert average_precision([empty]) is None


def test_what_a_model_without_the_class_takes_a_rider_for_is_neither_right_nor_wrong():
    item = truth(('person', LEFT, False), ('rider', RIGHT, False), ('truck', RIGHT, False))
    detections = found((0, LEFT, 0.5), (0, RIGHT, 0.9), (1, LEFT, 0.8), (1, RIGHT, 0.7))
    without = scored((item, detections)).compute()
    assert without.ap50 == {'person': pytest.approx(1.0), 'car': None}
    with_class = scored((item, detections), names=('person', 'car', 'rider')).compute()
    assert with_class.ap50['person'] == pytest.approx(0.5)  # the rider is a wrong person here
    assert with_class.ap50['rider'] == 0.0
