# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest

from rgbt_models.metrics import (
    log_average_miss_rate,
    MISS_RATE_SETTINGS,
    MissRateScorer,
    PedestrianTruth,
)
from rgbt_models.metrics.miss_rate import match_boxes

SETTINGS = {setting.name: setting for setting in MISS_RATE_SETTINGS}


def box(x, height, *, y=100.0):
    return (x, y, x + 0.4 * height, y + height)


def truth(*boxes, occlusions=None, ignore=None, is_night=False):
    return PedestrianTruth(
        boxes_xyxy=np.array(boxes, np.float64).reshape(-1, 4),
        occlusions=np.array(occlusions or [0] * len(boxes), np.int64),
        ignore=np.array(ignore or [False] * len(boxes), np.bool_),
        is_night=is_night,
    )


def scorer(*images, **options):
    made = MissRateScorer(**options)
    for item, boxes, scores in images:
        made.add(item, np.array(boxes, np.float64).reshape(-1, 4), np.array(scores, np.float64))
    return made


def test_the_nine_settings_are_those_of_the_benchmark():
    rows = {
        s.name: (s.min_height_px, s.max_height_px, s.occlusions, s.is_night)
        for s in MISS_RATE_SETTINGS
    }
    inf = float('inf')
    assert rows == {
        'reasonable-all': (55, inf, (0, 1), None),
        'reasonable-day': (55, inf, (0, 1), False),
        'reasonable-night': (55, inf, (0, 1), True),
        'scale-near': (115, inf, (0,), None),
        'scale-medium': (45, 115, (0,), None),
        'scale-far': (1, 45, (0,), None),
        'occlusion-none': (1, inf, (0,), None),
        'occlusion-partial': (1, inf, (1,), None),
        'occlusion-heavy': (1, inf, (2,), None),
    }


def test_everything_found_first_gives_the_floor():
    values = np.array([0.9, 0.8]), np.array([True, True])
    assert log_average_miss_rate(*values, num_truth=2, num_images=10) == pytest.approx(1e-10)


def test_nothing_found_gives_one():
    empty = np.zeros(0), np.zeros(0, np.bool_)
    assert log_average_miss_rate(*empty, num_truth=3, num_images=10) == 1.0


def test_half_found_without_a_false_positive_gives_one_half():
    assert log_average_miss_rate(
        np.array([0.9]), np.array([True]), num_truth=2, num_images=5
    ) == pytest.approx(0.5)


def test_a_false_positive_of_highest_score_hides_the_points_below_it():
    # 1 false positive in 10 images = 0.1 per image: the four points 10^-2 .. 10^-1.25 see no
    # detection (miss 1), the five from 10^-1 on see the person found (miss 0.5).
    rate = log_average_miss_rate(
        np.array([0.9, 0.8]), np.array([False, True]), num_truth=2, num_images=10
    )
    assert rate == pytest.approx(0.5 ** (5 / 9))


def test_reasonable_wants_55_px_and_no_heavy_occlusion():
    person, small, hidden = box(50, 80), box(150, 54), box(250, 80)
    item = truth(person, small, hidden, occlusions=[1, 0, 2])
    found = scorer((item, [person], [0.9]))
    assert found.miss_rate(SETTINGS['reasonable-all']) == pytest.approx(1e-10)
    assert found.miss_rate(SETTINGS['occlusion-heavy']) == 1.0
    assert found.miss_rate(SETTINGS['occlusion-partial']) == pytest.approx(1e-10)
    assert found.miss_rate(SETTINGS['scale-near']) is None


def test_heights_at_the_limits_belong_to_both_scales():
    item = truth(box(50, 45))
    rates = scorer((item, [], [])).compute()
    assert rates['scale-far'] == rates['scale-medium'] == 1.0
    assert rates['scale-near'] is None


def test_day_and_night_are_apart():
    by_day, by_night = truth(box(50, 80)), truth(box(50, 80), is_night=True)
    rates = scorer((by_day, [box(50, 80)], [0.9]), (by_night, [], [])).compute()
    assert rates['reasonable-day'] == pytest.approx(1e-10)
    assert rates['reasonable-night'] == 1.0
    assert rates['reasonable-all'] == pytest.approx(0.5)


def test_detections_on_ignored_boxes_are_not_wrong():
    crowd = (300.0, 100.0, 500.0, 300.0)
    item = truth(box(50, 80), crowd, ignore=[False, True])
    within = [box(310, 80, y=110.0), box(350, 80, y=110.0), box(50, 80)]
    assert scorer((item, within, [0.9, 0.8, 0.7])).miss_rate(
        SETTINGS['reasonable-all']
    ) == pytest.approx(1e-10)


def test_a_box_cut_by_the_edge_is_ignored_unless_told_otherwise():
    item = truth((2.0, 100.0, 42.0, 200.0), box(200, 80))
    found = [box(200, 80)], [0.9]
    inside = scorer((item, *found)).miss_rate(SETTINGS['reasonable-all'])
    everywhere = scorer((item, *found), edge_px=None).miss_rate(SETTINGS['reasonable-all'])
    assert inside == pytest.approx(1e-10)
    assert everywhere == pytest.approx(0.5)


def test_small_false_positives_are_left_out_below_the_widened_range():
    item = truth(box(50, 80))
    detections = [box(300, 43), box(50, 80)], [0.9, 0.8]  # 55 / 1.25 = 44
    assert scorer((item, *detections)).miss_rate(SETTINGS['reasonable-all']) == pytest.approx(
        1e-10
    )
    kept = scorer((item, *detections), widen_range=False).miss_rate(SETTINGS['reasonable-all'])
    # One false positive in one image: only the last of nine points sees the person found.
    assert kept == pytest.approx(1e-10 ** (1 / 9))


def test_the_best_overlap_wins_and_a_second_detection_is_wrong():
    wanted = np.array([box(50, 80), box(60, 80)])
    boxes = np.array([box(60, 80), box(60, 80), box(50, 80)])
    is_right, counted = match_boxes(boxes, wanted, np.zeros(2, np.bool_))
    # The first takes its own; the second takes the neighbour (IoU 22 / 42 > .5); none is left.
    assert is_right.tolist() == [True, True, False]
    assert counted.all()


def test_overlap_of_exactly_one_half_matches():
    wanted = np.array([[0.0, 0.0, 10.0, 100.0]])
    is_right, _ = match_boxes(np.array([[0.0, 0.0, 10.0, 50.0]]), wanted, np.zeros(1, np.bool_))
    assert is_right.tolist() == [True]


def test_without_images_there_is_no_rate():
    assert set(MissRateScorer().compute().values()) == {None}
