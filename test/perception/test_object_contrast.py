# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math
from pathlib import Path

from fakes import build_card
import numpy as np
import pytest

from rgbt_models.label_sets import SEGMENTATION_CLASSES
from rgbt_perception.object_contrast import MAX_OBJECTS, MIN_SCORE, ObjectContrast
from rgbt_perception.types import Detections

SIZE_HW = (120, 160)
PERSON, CAR = 0, 4
PLACES = [(left, 20, left + 8, 50) for left in range(10, 150, 20)]


@pytest.fixture
def measure(tmp_path: Path) -> ObjectContrast:
    return ObjectContrast(build_card(tmp_path / 'card'))


def found(boxes, *, scores=None, class_id=PERSON):
    return Detections(
        boxes_xyxy=np.array(boxes, np.float32).reshape(-1, 4),
        scores=np.array([0.9] * len(boxes) if scores is None else scores, np.float32),
        class_ids=np.full(len(boxes), class_id, np.int64),
    )


def people(boxes):
    label_map = np.zeros(SIZE_HW, np.uint8)
    for left, top, right, bottom in boxes:
        label_map[top:bottom, left:right] = SEGMENTATION_CLASSES.index('person')
    return label_map


def images(*, in_rgb=(), in_thermal=()):
    """Even images in which some places stand out by more than enough."""
    rgb, thermal = np.full((*SIZE_HW, 3), 40, np.uint8), np.zeros(SIZE_HW, np.float32)
    for image, places, value in ((rgb, in_rgb, 240), (thermal, in_thermal, 1.0)):
        for left, top, right, bottom in places:
            image[top:bottom, left:right] = value
    return rgb, thermal


@pytest.mark.parametrize(
    ('in_rgb', 'in_thermal', 'expected'),
    [
        (PLACES[:2], (), 1.0),
        ((), PLACES[:2], -1.0),
        (PLACES[:2], PLACES[:2], 0.0),
        (PLACES[:1], PLACES[:2], (1 - 2) / (1 + 2)),
    ],
)
def test_it_says_which_image_shows_what_was_found(measure, in_rgb, in_thermal, expected):
    rgb, thermal = images(in_rgb=in_rgb, in_thermal=in_thermal)
    label_map = people(PLACES[:2])
    assert measure(rgb, thermal, found(PLACES[:2]), label_map) == pytest.approx(expected)


def test_doubtful_detections_do_not_count(measure):
    rgb, thermal = images(in_rgb=PLACES[:1], in_thermal=PLACES[1:2])
    detections = found(PLACES[:2], scores=[MIN_SCORE, MIN_SCORE - 0.01])
    assert measure(rgb, thermal, detections, people(PLACES[:2])) == pytest.approx(1.0)


@pytest.mark.parametrize('scores', [[], [0.1]])
def test_without_objects_there_is_no_number(measure, scores):
    rgb, thermal = images()
    detections = found(PLACES[: len(scores)], scores=scores)
    assert math.isnan(measure(rgb, thermal, detections, people([])))


def test_the_best_detections_alone_are_measured(measure):
    rgb, thermal = images(in_rgb=PLACES[:1], in_thermal=PLACES[1:2])
    boxes = [PLACES[0]] * MAX_OBJECTS + [PLACES[1]]
    assert measure(rgb, thermal, found(boxes), people(PLACES[:2])) == pytest.approx(1.0)


def test_a_detection_of_another_label_has_no_pixels(measure):
    """A car where the label map sees a person shows nothing."""
    rgb, thermal = images(in_rgb=PLACES[:1])
    detections = found(PLACES[:1], class_id=CAR)
    assert measure(rgb, thermal, detections, people(PLACES[:1])) == 0.0
