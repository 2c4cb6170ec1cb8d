# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import cv2
from fakes import build_card
import numpy as np
import pytest

from rgbt_models.label_sets import SEGMENTATION_CLASSES
from rgbt_perception.config import RegistrationConfig
from rgbt_perception.object_contrast import MAX_OBJECTS, MIN_SCORE, ObjectContrast
from rgbt_perception.registration import Registration
from rgbt_perception.types import Detections, UNLABELED

SIZE_HW = (120, 160)
PERSON, CAR = 0, 4
PLACES = [(left, 20, left + 8, 50) for left in range(10, 150, 20)]


@pytest.fixture
def measure(tmp_path: Path):
    return build_meter(build_card(tmp_path / 'card'))


def build_meter(card, **registration):
    measure = ObjectContrast(card, Registration(RegistrationConfig(**registration)))

    def measure_aligned(rgb, thermal, detections, label_map, native_thermal=None):
        native = thermal if native_thermal is None else native_thermal
        return measure(rgb, thermal, native, detections, label_map)

    return measure_aligned


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


def test_a_detection_that_the_label_map_denies_is_not_measured(measure):
    """A car where the label map sees a person has no pixels."""
    rgb, thermal = images(in_rgb=PLACES[:1])
    detections = found(PLACES[:1], class_id=CAR)
    assert math.isnan(measure(rgb, thermal, detections, people(PLACES[:1])))


def test_without_label_maps_boxes_are_measured(tmp_path: Path):
    card = dataclasses.replace(build_card(tmp_path / 'card'), segmentation_classes=())
    rgb, thermal = images(in_rgb=PLACES[:1])
    unlabeled = np.full(SIZE_HW, UNLABELED, np.uint8)
    assert build_meter(card)(rgb, thermal, found(PLACES[:1]), unlabeled) == pytest.approx(1.0)


def test_without_detection_classes_there_is_no_number(tmp_path: Path):
    card = dataclasses.replace(build_card(tmp_path / 'card'), detection_classes=())
    rgb, thermal = images()
    assert math.isnan(build_meter(card)(rgb, thermal, found([]), people([])))


def test_an_object_at_the_edge_is_compared_with_what_is_left_around_it(measure):
    edge = (152, 100, 160, 120)
    rgb, thermal = images(in_thermal=[edge])
    assert measure(rgb, thermal, found([edge]), people([edge])) == pytest.approx(-1.0)


def test_coarse_thermal_pixels_are_as_noisy_as_they_were(measure):
    """Bringing them onto more pixels smooths their noise, and helps nobody to see."""
    rng = np.random.default_rng(0)
    label_map, detections = people(PLACES), found(PLACES)
    rgb, fine = images(in_rgb=PLACES, in_thermal=PLACES)
    rgb = np.clip(rgb * 0.2 + rng.normal(60, 25, rgb.shape), 0, 255).astype(np.uint8)
    coarse = cv2.resize(fine, (80, 60), interpolation=cv2.INTER_AREA) * 0.2
    fine = (fine * 0.2 + rng.normal(0.5, 0.1, fine.shape)).astype(np.float32)
    coarse = (coarse + rng.normal(0.5, 0.1, coarse.shape)).astype(np.float32)
    enlarged = cv2.resize(coarse, (160, 120))
    aligned = measure(rgb, fine, detections, label_map)
    assert measure(rgb, enlarged, detections, label_map) < aligned - 0.2  # as if it saw better
    assert measure(rgb, enlarged, detections, label_map, coarse) == pytest.approx(aligned, abs=0.1)


def test_what_the_thermal_camera_does_not_see_counts_for_rgb(tmp_path: Path):
    # Thermal covers the left half of RGB; its border is repeated on the right.
    halved = (0.5, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)
    card = build_card(tmp_path / 'card')
    left, right = (20, 20, 28, 50), (110, 20, 118, 50)
    measure = build_meter(card, method='homography', homography_thermal_to_rgb=halved)
    rgb, thermal = images(in_rgb=[left, right], in_thermal=[left, right])
    assert measure(rgb, thermal, found([left]), people([left])) == pytest.approx(0.0)
    assert measure(rgb, thermal, found([right]), people([right])) == pytest.approx(1.0)


def test_large_images_are_measured_on_fewer_pixels(measure):
    """Every third pixel of 1920: the same result, objects and noise included."""
    rng = np.random.default_rng(1)
    rgb, thermal = images(in_rgb=PLACES[:1], in_thermal=PLACES[:2])
    large = [np.repeat(np.repeat(image, 12, axis=0), 12, axis=1) for image in (rgb, thermal)]
    large[0] = np.clip(large[0] + rng.normal(0, 20, large[0].shape), 0, 255).astype(np.uint8)
    label_map = np.repeat(np.repeat(people(PLACES[:2]), 12, axis=0), 12, axis=1)
    boxes = np.multiply(PLACES[:2], 12)
    found_there = measure(large[0], large[1], found(boxes), label_map)
    assert found_there == pytest.approx((1 - 2) / (1 + 2), abs=0.12)
