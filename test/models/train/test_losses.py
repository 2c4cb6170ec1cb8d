# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from made_models import box_targets, NUM_SEGMENTATION_CLASSES, small_model
import pytest
import torch

from rgbt_models.heads import anchor_points
from rgbt_models.train.losses import (
    _level_geometry,
    BOX_WEIGHT,
    compute_losses,
    detection_loss,
    Losses,
    match_points,
    paired_iou,
)

CPU = torch.device('cpu')
SIZE_HW = (128, 192)
NUM_POINTS = {4: 32 * 48, 8: 16 * 24, 16: 8 * 12}


def match(*boxes, size_hw=SIZE_HW, **settings):
    """Return {stride: {(x, y): box index}} of the points that take part."""
    points, strides, low, high = _level_geometry(size_hw, CPU)
    matched = match_points(points, strides, low, high, box_targets(*boxes, **settings))
    found = {4: {}, 8: {}, 16: {}}
    for index in (matched >= 0).nonzero()[:, 0].tolist():
        x, y = points[index].tolist()
        found[int(strides[index])][x, y] = int(matched[index])
    return found


def giou(box, other):
    iou, generalised = paired_iou(torch.tensor([box]), torch.tensor([other]))
    return float(iou), float(generalised)


@pytest.mark.parametrize(
    ('box', 'other', 'iou', 'generalised'),
    [
        ([0.0, 0.0, 2.0, 4.0], [0.0, 0.0, 2.0, 4.0], 1.0, 1.0),
        ([0.0, 0.0, 2.0, 1.0], [1.0, 0.0, 3.0, 1.0], 1 / 3, 1 / 3),  # the hull is the union
        # 1 of 7 shared, hull 3x3: 1/7 - 2/9
        ([0.0, 0.0, 2.0, 2.0], [1.0, 1.0, 3.0, 3.0], 1 / 7, 1 / 7 - 2 / 9),
        # apart in x and y: union 2 + 3, hull 6 x 4
        ([0.0, 0.0, 1.0, 2.0], [3.0, 3.0, 6.0, 4.0], 0.0, -(24 - 5) / 24),
        ([0.0, 0.0, 1.0, 1.0], [1.0, 0.0, 2.0, 1.0], 0.0, 0.0),  # touching
        # a 2x3 box inside a 4x6 one
        ([1.0, 1.0, 3.0, 4.0], [0.0, 0.0, 4.0, 6.0], 0.25, 0.25),
    ],
)
def test_iou_and_generalised_iou_literals(box, other, iou, generalised):
    assert giou(box, other) == pytest.approx((iou, generalised), abs=1e-6)
    assert giou(other, box) == pytest.approx((iou, generalised), abs=1e-6)


def test_iou_goes_row_by_row_and_takes_no_rows():
    boxes = torch.tensor([[0.0, 0.0, 2.0, 2.0], [5.0, 5.0, 6.0, 6.0]])
    others = torch.tensor([[0.0, 0.0, 2.0, 2.0], [0.0, 0.0, 1.0, 1.0]])
    assert paired_iou(boxes, others)[0].tolist() == [1.0, 0.0]
    assert [len(part) for part in paired_iou(boxes[:0], others[:0])] == [0, 0]


def test_an_empty_box_gives_no_nan():
    assert giou([1.0, 1.0, 1.0, 1.0], [1.0, 1.0, 1.0, 1.0])[0] == 0.0


def test_the_geometry_of_all_levels_is_that_of_the_head():
    points, strides, low, high = _level_geometry(SIZE_HW, CPU)
    start = 0
    expected_ranges = {4: (0.0, 48.0), 8: (32.0, 128.0), 16: (96.0, 1e9)}
    for stride, count in NUM_POINTS.items():
        rows = slice(start, start + count)
        level = anchor_points(SIZE_HW[0] // stride, SIZE_HW[1] // stride, stride, device=CPU)
        torch.testing.assert_close(points[rows], level)
        assert set(strides[rows].tolist()) == {stride}
        assert set(low[rows].tolist()) == {expected_ranges[stride][0]}
        assert set(high[rows].tolist()) == {expected_ranges[stride][1]}
        start += count
    assert start == len(points)


def test_points_within_one_and_a_half_strides_of_the_centre_take_part():
    # centre (62, 32), 24 wide and 30 high: only stride 4, within 6 px on both axes
    found = match((50.0, 17.0, 74.0, 47.0))
    expected = {(x, y) for x in (58.0, 62.0, 66.0) for y in (26.0, 30.0, 34.0, 38.0)}
    assert set(found[4]) == expected
    assert not found[8]
    assert not found[16]


def test_points_outside_a_narrow_box_take_no_part():
    # 5 wide, 30 high, centre (62, 30): 2.5 px in x, 6 px in y
    found = match((59.5, 15.0, 64.5, 45.0))
    assert set(found[4]) == {(62.0, 26.0), (62.0, 30.0), (62.0, 34.0)}


@pytest.mark.parametrize('centre', [(61.0, 33.0), (62.0, 30.0), (63.9, 28.1)])
def test_the_cell_of_the_centre_takes_part_even_for_a_box_smaller_than_it(centre):
    x, y = centre
    found = match((x - 0.5, y - 0.5, x + 0.5, y + 0.5))
    cell = (x // 4 * 4 + 2, y // 4 * 4 + 2)
    assert cell in found[4]
    assert len(found[4]) <= 2


@pytest.mark.parametrize(
    ('side', 'strides'),
    [
        (31.9, {4}),
        (32.0, {4, 8}),
        (48.0, {4, 8}),
        (48.1, {8}),
        (95.9, {8}),
        (96.0, {8, 16}),
        (128.0, {8, 16}),
        (128.1, {16}),
        (190.0, {16}),
    ],
)
def test_the_longest_side_says_which_levels_learn_a_box(side, strides):
    wide = match((0.0, 40.0, side, 60.0))
    assert {stride for stride, points in wide.items() if points} == strides
    high = match((40.0, 0.0, 60.0, side), size_hw=(192, 128))
    assert {stride for stride, points in high.items() if points} == strides


def test_the_smallest_box_wins_whatever_the_order():
    large, small = (42.0, 12.0, 82.0, 52.0), (52.0, 22.0, 72.0, 42.0)  # the same centre
    assert set(match(large, small)[4].values()) == {1}
    assert set(match(small, large)[4].values()) == {0}
    assert set(match(large, small)[8].values()) == {0}  # the small one has no place there


def test_ignored_boxes_are_left_out_and_indices_stay_those_of_the_target():
    boxes = ((52.0, 22.0, 72.0, 42.0), (42.0, 12.0, 82.0, 52.0))
    found = match(*boxes, ignore=[True, False])
    assert set(found[4].values()) == {1}
    assert not any(match(*boxes, ignore=[True, True]).values())


def test_no_boxes_match_nothing():
    assert not any(match().values())


def made_outputs(*, batch, logit=-9.0, size_hw=SIZE_HW):
    points, strides, _, _ = _level_geometry(size_hw, CPU)
    half = strides[:, None] / 2
    boxes = torch.cat([points - half, points + half], dim=1)
    logits = torch.full((batch, len(points), 3), logit)
    return logits, boxes.expand(batch, -1, 4).clone()


def test_a_silent_network_on_an_empty_street_costs_nothing():
    logits, boxes = made_outputs(batch=2)
    boxes.requires_grad_()
    targets = [box_targets(), box_targets()]
    classification, box = detection_loss(logits, boxes, targets, size_hw=SIZE_HW)
    assert float(classification.detach()) < 1e-6
    assert float(box.detach()) == 0.0
    box.backward()  # so that every process of a parallel run has gradients
    assert not boxes.grad.any()


def test_the_quality_focal_loss_is_that_of_a_slow_reference():
    logits, boxes = made_outputs(batch=1, logit=-2.0)
    target = box_targets((50.0, 17.0, 74.0, 47.0), (8.0, 8.0, 28.0, 40.0), class_ids=[2, 1])
    matched = match_points(*_level_geometry(SIZE_HW, CPU), target)
    expected, box_losses = 0.0, []
    for index in range(len(matched)):
        for class_id in range(3):
            quality = 0.0
            if matched[index] >= 0 and int(target.class_ids[matched[index]]) == class_id:
                wanted = target.boxes_xyxy[matched[index]]
                iou, generalised = giou(boxes[0, index].tolist(), wanted.tolist())
                quality = max(iou, 0.1)
                box_losses.append(1 - generalised)
            score = torch.tensor(-2.0).sigmoid()
            entropy = -quality * score.log() - (1 - quality) * (1 - score).log()
            expected += float(entropy * (quality - score).abs() ** 2)
    classification, box = detection_loss(logits, boxes, [target], size_hw=SIZE_HW)
    assert float(classification) == pytest.approx(expected / len(box_losses), rel=1e-4)
    assert float(box) == pytest.approx(sum(box_losses) / len(box_losses), rel=1e-5)


def test_perfect_boxes_and_sure_scores_cost_nothing():
    target = box_targets((50.0, 17.0, 74.0, 47.0), class_ids=[1])
    logits, boxes = made_outputs(batch=1, logit=-20.0)
    positive = match_points(*_level_geometry(SIZE_HW, CPU), target) >= 0
    boxes[0, positive] = target.boxes_xyxy[0]
    logits[0, positive, 1] = 20.0
    classification, box = detection_loss(logits, boxes, [target], size_hw=SIZE_HW)
    assert float(classification) == pytest.approx(0.0, abs=1e-6)
    assert float(box) == pytest.approx(0.0, abs=1e-6)


def test_what_is_said_inside_an_ignored_box_costs_nothing():
    ignored = box_targets((40.0, 20.0, 80.0, 60.0), ignore=[True])
    logits, boxes = made_outputs(batch=1)
    points = _level_geometry(SIZE_HW, CPU)[0]
    inside = ((points > torch.tensor([40.0, 20.0])) & (points < torch.tensor([80.0, 60.0]))).all(1)
    logits[0, inside] = 5.0
    quiet, _ = detection_loss(logits, boxes, [ignored], size_hw=SIZE_HW)
    loud, _ = detection_loss(logits, boxes, [box_targets()], size_hw=SIZE_HW)
    assert float(quiet) < 1e-6
    assert float(loud) > 1.0


def test_an_object_in_front_of_an_ignored_crowd_is_still_learnt():
    crowd, person = (20.0, 10.0, 120.0, 110.0), (50.0, 17.0, 74.0, 47.0)
    logits, boxes = made_outputs(batch=1)
    together = box_targets(crowd, person, ignore=[True, False])
    alone = box_targets(person)
    with_crowd = detection_loss(logits, boxes, [together], size_hw=SIZE_HW)
    without = detection_loss(logits, boxes, [alone], size_hw=SIZE_HW)
    torch.testing.assert_close(with_crowd, without, atol=1e-4, rtol=1e-4)


def test_targets_belong_to_their_image():
    target = box_targets((50.0, 17.0, 74.0, 47.0), class_ids=[1])
    logits, boxes = made_outputs(batch=2, logit=-4.0)
    positive = match_points(*_level_geometry(SIZE_HW, CPU), target) >= 0
    logits[1, positive, 1] = 1.0
    right, _ = detection_loss(logits, boxes, [box_targets(), target], size_hw=SIZE_HW)
    wrong, _ = detection_loss(logits, boxes, [target, box_targets()], size_hw=SIZE_HW)
    assert float(right) < float(wrong)


def made_segmentation(labels, *, batch=1):
    logits, boxes = made_outputs(batch=batch, size_hw=(16, 32))
    generator = torch.Generator().manual_seed(0)
    segmentation = torch.randn(batch, 8, 4, 8, generator=generator, requires_grad=True)
    outputs = {'class_logits': logits, 'boxes_xyxy': boxes, 'segmentation_logits': segmentation}
    losses = compute_losses(outputs, [box_targets()] * batch, labels, torch.arange(1.0, 9.0))
    return segmentation, losses.segmentation


def test_segmentation_compares_with_the_pixel_beside_the_cell_centre():
    labels = torch.full((1, 16, 32), 255, dtype=torch.uint8)
    labels[0, 2 + 4 * 3, 2 + 4 * 5] = 6  # row 3 and column 5 of the 4x8 cells
    labels[0, 1, 1] = 3  # between the sampled pixels
    logits, loss = made_segmentation(labels)
    expected = -logits[0, :, 3, 5].log_softmax(0)[6]
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)


def test_segmentation_is_the_mean_weighted_by_class():
    labels = torch.full((1, 16, 32), 255, dtype=torch.uint8)
    labels[0, 2, 2], labels[0, 6, 10] = 0, 4  # weights 1 and 5
    logits, loss = made_segmentation(labels)
    costs = -logits[0, 0].new_tensor(0.0)
    costs = costs - logits[0, :, 0, 0].log_softmax(0)[0] - 5 * logits[0, :, 1, 2].log_softmax(0)[4]
    assert loss.item() == pytest.approx(costs.item() / 6, rel=1e-5)


def test_a_batch_without_any_label_costs_nothing_and_is_not_nan():
    logits, loss = made_segmentation(torch.full((2, 16, 32), 255, dtype=torch.uint8), batch=2)
    assert loss.item() == 0.0
    loss.backward()
    assert not logits.grad.any()


def test_the_total_weights_the_box_loss():
    one, ten, hundred = (torch.tensor(value) for value in (1.0, 10.0, 100.0))
    losses = Losses(classification=one, box=ten, segmentation=hundred)
    assert float(losses.total) == 101.0 + BOX_WEIGHT * 10.0


def test_losses_of_the_whole_network_reach_every_weight():
    model = small_model().train()
    torch.manual_seed(1)
    outputs = model(torch.randn(2, 3, 64, 96), torch.randn(2, 3, 64, 96), torch.ones(2, 2))
    targets = [box_targets((20.0, 10.0, 60.0, 50.0)), box_targets()]
    labels = torch.randint(0, NUM_SEGMENTATION_CLASSES, (2, 64, 96), dtype=torch.uint8)
    losses = compute_losses(outputs, targets, labels, torch.ones(NUM_SEGMENTATION_CLASSES))
    losses.total.backward()
    lacking = [name for name, p in model.named_parameters() if p.grad is None]
    assert not lacking
    assert all(p.grad.isfinite().all() for p in model.parameters())
