# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from made_outputs import as_tensors, draw_outputs, INPUT_HW, SOURCES
import numpy as np
import pytest

from rgbt_perception.box_votes import (
    add_votes,
    find_planes,
    find_windows,
    MAX_VOTES,
    MIN_SCORE,
    NO_PLANE,
    Votes,
)
from rgbt_perception.config import OutputConfig
from rgbt_perception.engine.torch_stages import find_boxes, TorchStages
from rgbt_perception.geometry import letterbox_transform
from rgbt_perception.postprocess import decode_detections, decode_label_map
from rgbt_perception.types import Detections, RawOutputs

STRIDE = 4
LETTERBOX = letterbox_transform(INPUT_HW, INPUT_HW)
CELLS_HW = (INPUT_HW[0] // STRIDE, INPUT_HW[1] // STRIDE)
BOXED, MAPPED = ('person', 'car', 'truck', 'sign'), ('road', 'car', 'person', 'sky', 'truck')
ROAD, CAR, PERSON, TRUCK = 0, 1, 2, 4
PLANES = find_planes(BOXED, MAPPED)


def found(*boxes: tuple[int, float, tuple[float, float, float, float]]) -> Detections:
    """Return detections of (class of ``BOXED``, score, box), best first."""
    return Detections(
        boxes_xyxy=np.array([box for *_, box in boxes], np.float32).reshape(-1, 4),
        scores=np.array([score for _, score, _ in boxes], np.float32),
        class_ids=np.array([class_id for class_id, *_ in boxes], np.int64),
    )


def votes_of(*boxes, weight: float = 3.0) -> Votes:
    return Votes(detections=found(*boxes), planes=PLANES, weight=weight)


def flat_planes(**logits: float) -> np.ndarray:
    """Return planes that are everywhere alike, -9 for classes that are not named."""
    planes = np.full((len(MAPPED), *CELLS_HW), -9.0, np.float32)
    for name, value in logits.items():
        planes[MAPPED.index(name)] = value
    return planes


def best(planes: np.ndarray, votes: Votes) -> np.ndarray:
    return add_votes(planes, votes, LETTERBOX, stride=STRIDE).argmax(axis=0)


def test_classes_meet_by_name():
    assert PLANES.objects == (CAR, PERSON, TRUCK)
    assert PLANES.class_to_object == (1, 0, 2, NO_PLANE)
    assert find_planes(BOXED, ('grass',)).objects == ()


def test_a_truck_in_its_box_is_no_car_and_the_border_stays():
    planes = flat_planes(car=2.0, truck=1.0, road=0.0)
    planes[[CAR, TRUCK], :, 20:] -= 5.0  # the right half is road, also within the box
    ids = best(planes, votes_of((2, 0.5, (8.0, 16.0, 120.0, 64.0))))
    assert (ids[:, 20:] == ROAD).all()
    wanted = np.full((CELLS_HW[0], 20), CAR)
    wanted[4:16, 2:] = TRUCK
    np.testing.assert_array_equal(ids[:, :20], wanted)


def test_what_is_no_object_keeps_its_logits_and_objects_their_best():
    rng = np.random.default_rng(0)
    planes = rng.normal(0.0, 3.0, (len(MAPPED), *CELLS_HW)).astype(np.float32)
    before = planes.copy()
    after = add_votes(
        planes,
        votes_of((1, 0.9, (0, 0, 90, 60)), (0, 0.4, (30, 20, 160, 96))),
        LETTERBOX,
        stride=STRIDE,
    )
    np.testing.assert_array_equal(planes, before)
    objects = list(PLANES.objects)
    others = [index for index in range(len(MAPPED)) if index not in objects]
    np.testing.assert_array_equal(after[others], before[others])
    np.testing.assert_allclose(
        after[objects].max(axis=0), before[objects].max(axis=0), rtol=0, atol=1e-5
    )
    assert (after.argmax(axis=0) != before.argmax(axis=0)).any()
    # Outside of all boxes nothing changes.
    np.testing.assert_array_equal(after[:, 16:, :7], before[:, 16:, :7])


def test_the_vote_grows_with_score_and_weight_and_the_best_of_a_class_counts_once():
    planes = flat_planes(car=2.0, truck=1.0)
    box = (0.0, 0.0, 160.0, 96.0)
    assert (best(planes, votes_of((2, 0.32, box))) == CAR).all()  # 1 + 3 * .32 < 2
    assert (best(planes, votes_of((2, 0.34, box))) == TRUCK).all()
    assert (best(planes, votes_of((2, 0.34, box), weight=2.9)) == CAR).all()
    assert (best(planes, votes_of(*[(2, 0.32, box)] * 3)) == CAR).all()
    small = (0.0, 0.0, 16.0, 16.0)
    ids = best(planes, votes_of((2, 0.9, small), (2, 0.2, box)))
    assert (ids[:4, :4] == TRUCK).all()  # not what the worse box says
    assert (ids == TRUCK).sum() == 16


@pytest.mark.parametrize(
    'boxes', [[], [(3, 0.9, (0.0, 0.0, 160.0, 96.0))], [(1, 0.9, (9.9, 9.9, 10.0, 10.0))]]
)
def test_nobody_to_vote_nothing_to_vote_for_and_no_cell_change_nothing(boxes):
    planes = flat_planes(car=2.0, truck=2.5)
    after = add_votes(planes, votes_of(*boxes), LETTERBOX, stride=STRIDE)
    np.testing.assert_array_equal(after, planes)


def test_a_doubtful_detection_and_one_too_many_have_no_say():
    planes = flat_planes(car=2.0, truck=1.9)
    box, small = (0.0, 0.0, 160.0, 96.0), (0.0, 0.0, 16.0, 16.0)
    assert (best(planes, votes_of((2, MIN_SCORE, box))) == TRUCK).all()
    assert (best(planes, votes_of((2, MIN_SCORE - 0.001, box))) == CAR).all()
    others = [(1, 0.9, small)] * (MAX_VOTES - 1)
    assert (best(planes, votes_of(*others, (2, 0.5, box)))[4:] == TRUCK).all()
    assert (best(planes, votes_of(*others, (1, 0.9, small), (2, 0.5, box))) == CAR).all()


def test_an_edge_on_the_centre_of_a_cell_is_exact():
    letterbox = letterbox_transform((480, 640), (288, 384))  # scale 0.6, 50 px = cell 7.5
    edges = np.array([[50.0, 50.0, 50.0, 50.0]], np.float32)
    assert find_windows(edges, letterbox, stride=STRIDE).tolist() == [[7, 7, 7, 7]]


@pytest.mark.parametrize('source_hw', SOURCES)
def test_windows_hold_the_cells_whose_centres_are_in_the_box(source_hw):
    letterbox = letterbox_transform(source_hw, INPUT_HW)
    rng = np.random.default_rng(1)
    corners = rng.uniform(0, 1, (50, 2, 2)) * (source_hw[1], source_hw[0])
    boxes = np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1).astype(np.float32)
    x = ((np.arange(CELLS_HW[1]) + 0.5) * STRIDE - letterbox.pad_x) / letterbox.scale
    y = ((np.arange(CELLS_HW[0]) + 0.5) * STRIDE - letterbox.pad_y) / letterbox.scale
    windows = find_windows(boxes, letterbox, stride=STRIDE)
    for box, (left, top, right, bottom) in zip(boxes, windows.tolist(), strict=True):
        in_x, in_y = (x >= box[0]) & (x < box[2]), (y >= box[1]) & (y < box[3])
        np.testing.assert_array_equal(np.flatnonzero(in_x), np.arange(left, right))
        np.testing.assert_array_equal(np.flatnonzero(in_y), np.arange(top, bottom))


def cpu_and_torch_planes(raw: RawOutputs, source_hw: tuple[int, int]):
    import torch

    config = OutputConfig(score_threshold=0.02, max_detections=300, box_votes=2.0)
    letterbox = letterbox_transform(source_hw, INPUT_HW)
    voting = find_planes(tuple('abcdefg'), tuple('xbzdgy'))
    detections = decode_detections(raw, letterbox, source_hw, config)
    votes = Votes(detections=detections, planes=voting, weight=config.box_votes)
    planes = raw.segmentation_logits[0]
    wanted = add_votes(planes, votes, letterbox, stride=STRIDE)
    outputs = as_tensors(raw)
    found = TorchStages(torch.device('cpu')).add_votes(
        outputs['segmentation_logits'][0],
        find_boxes(outputs, letterbox, source_hw, config),
        letterbox,
        voting,
        stride=STRIDE,
        weight=config.box_votes,
    )
    return planes, wanted, found.numpy()


@pytest.mark.parametrize('source_hw', SOURCES)
def test_torch_counts_the_same_votes(source_hw):
    planes, wanted, found = cpu_and_torch_planes(draw_outputs(0), source_hw)
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-5)
    assert (wanted != planes).any()


def test_torch_without_detections_changes_nothing():
    raw = draw_outputs(0)
    raw.class_logits[:] = -9.0
    planes, wanted, found = cpu_and_torch_planes(raw, (480, 640))
    np.testing.assert_array_equal(wanted, planes)
    np.testing.assert_array_equal(found, planes)


def test_label_maps_are_decided_after_the_votes():
    raw = draw_outputs(0, num_labels=len(MAPPED))
    raw.segmentation_logits[0] = flat_planes(car=2.0, truck=1.0)
    label_map = decode_label_map(raw, letterbox_transform((192, 320), INPUT_HW), (192, 320))
    assert (label_map == CAR).all()
    votes = votes_of((2, 0.9, (0.0, 0.0, 320.0, 96.0)))
    label_map = decode_label_map(
        raw, letterbox_transform((192, 320), INPUT_HW), (192, 320), votes=votes
    )
    assert (label_map[:92] == TRUCK).all()
    assert (label_map[100:] == CAR).all()
