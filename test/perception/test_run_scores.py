# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import replace

from made_models import painted_sample, PERSON_LABEL, small_model
from made_runs import run_of
import numpy as np
import pytest
import torch

from rgbt_models.errors import DatasetError
from rgbt_models.heads import Matches
from rgbt_models.label_sets import LabelSet, SEGMENTATION_CLASSES, UNLABELED
from rgbt_models.match_geometry import warp as warp_points
from rgbt_models.train.matching_run import draw_homography
from rgbt_models.train.matching_task import MatchingModel
from rgbt_perception.errors import ConfigError
from rgbt_perception.run_scores import score_run

ROAD = SEGMENTATION_CLASSES.index('road')
SIZE_HW = (96, 128)
LOUD = 20.0  # a logit whose score is 1


class Painter(torch.nn.Module):
    """Gives outputs made by hand: ``draw`` is called with the flags of each camera."""

    def __init__(self, draw):
        super().__init__()
        self._draw = draw

    def forward(self, rgb, thermal, available):
        assert rgb.shape == thermal.shape
        assert not any(side % 16 for side in rgb.shape[2:])
        return self._draw(rgb, tuple(available[0].tolist()))


def label_outputs(size_hw, *, boxes=(), scores=(), class_id=ROAD):
    """Return outputs with boxes of persons and one class everywhere."""
    h, w = size_hw
    class_logits = torch.full((1, len(boxes), 3), -LOUD)
    class_logits[0, :, 0] = torch.logit(torch.tensor(scores)) if boxes else 0.0
    segmentation = torch.zeros(1, 8, h // 4, w // 4)
    segmentation[:, class_id] = LOUD
    return {
        'class_logits': class_logits,
        'boxes_xyxy': torch.tensor(boxes, dtype=torch.float32).reshape(1, -1, 4),
        'segmentation_logits': segmentation,
        'share_map': torch.zeros(1, 1, h // 16, w // 16),
        'rgb_shares': torch.zeros(1, 3),
        'entropies': torch.zeros(1, 2),
    }


def score_painted(task, draw, sample, **options):
    return score_run(run_of(task, Painter(draw)), [(0, sample)], **options)


def test_a_box_found_by_one_camera_only_counts_for_that_camera():
    sample = painted_sample((10, 20, 40, 80))

    def draw(rgb, available):
        boxes = [[10, 20, 40, 80]] if available[0] else []
        return label_outputs(rgb.shape[2:], boxes=boxes, scores=[0.9] * len(boxes))

    scores = score_painted('detection', draw, sample)
    for variant, wanted in (('fused', 1.0), ('rgb_only', 1.0), ('thermal_only', 0.0)):
        values = scores[variant]
        assert (values['mAP'], values['mean_AP50'], values['mean_AP75']) == (wanted,) * 3
        assert values['AP50'] == {'person': wanted}  # of classes with ground truth
        assert 'mIoU' not in values
    assert scores['pairs'] == 1


def test_a_better_wrong_box_halves_the_average_precision_and_a_loose_one_misses_ap75():
    sample = painted_sample((0, 0, 40, 40))
    # .67 of IoU: 40 x 40 against 40 x 60.
    boxes = [[80, 40, 120, 90], [0, 0, 40, 60]]
    scores = score_painted(
        'detection',
        lambda rgb, _: label_outputs(rgb.shape[2:], boxes=boxes, scores=[0.9, 0.5]),
        sample,
    )['fused']
    assert scores['AP50'] == {'person': 0.5}
    assert scores['AP75'] == {'person': 0.0}
    assert scores['mAP'] == pytest.approx(0.4 * 0.5)  # right at .50, .55, .60 and .65


def test_an_ignored_object_costs_nothing():
    sample = replace(painted_sample((0, 0, 40, 40), (60, 30, 90, 90)), ignore=np.array([0, 1]) > 0)
    scores = score_painted(
        'detection',
        lambda rgb, _: label_outputs(
            rgb.shape[2:], boxes=[[60, 30, 90, 90], [0, 0, 40, 40]], scores=[0.9, 0.5]
        ),
        sample,
    )
    assert scores['fused']['AP50'] == {'person': 1.0}


def test_a_place_of_which_nothing_is_known_is_ignored_for_every_class():
    # The pool knows nothing of (60, 30, 90, 90), which it says with class id 0.
    sample = replace(
        painted_sample((0, 0, 40, 40), (60, 30, 90, 90)),
        class_ids=np.array([1, 0]),
        ignore=np.array([False, True]),
    )

    def draw(rgb, _):
        outputs = label_outputs(
            rgb.shape[2:], boxes=[[60, 30, 90, 90], [0, 0, 40, 40]], scores=[0.9, 0.5]
        )
        return {**outputs, 'class_logits': outputs['class_logits'].roll(1, dims=-1)}  # riders

    assert score_painted('detection', draw, sample)['fused']['AP50'] == {'rider': 1.0}


def test_label_maps_are_scored_over_labeled_pixels_and_named_classes_are_left_out():
    label_map = np.full(SIZE_HW, ROAD, np.uint8)
    label_map[:24] = PERSON_LABEL  # a quarter
    label_map[72:] = UNLABELED  # a quarter
    sample = replace(painted_sample(), label_map=label_map)

    def draw(rgb, _):
        return label_outputs(rgb.shape[2:])

    values = score_painted('segmentation', draw, sample)['fused']
    assert values['IoU'] == {'road': pytest.approx(2 / 3, abs=1e-6), 'person': 0.0}
    assert values['mIoU'] == pytest.approx(1 / 3, abs=1e-6)
    assert values['mAcc'] == pytest.approx(1 / 2)
    assert 'mAP' not in values
    scores = score_painted('segmentation', draw, sample, without=['person'])
    assert scores['fused']['mIoU'] == pytest.approx(2 / 3, abs=1e-6)
    assert scores['fused']['mAcc'] == 1.0
    assert scores['conditions']['without'] == ['person']


def test_classes_of_another_pool_go_by_their_names():
    label_map = np.full(SIZE_HW, 1, np.uint8)
    label_map[:48] = 0
    sample = replace(
        painted_sample((10, 20, 40, 80), (60, 20, 90, 80)),
        label_map=label_map,
        class_ids=np.array([1, 0]),
    )
    label_set = LabelSet(
        detection_classes=('dog', 'person'), segmentation_classes=('water', 'road')
    )

    def draw(rgb, _):
        return label_outputs(rgb.shape[2:], boxes=[[10, 20, 40, 80]], scores=[0.9])

    scores = score_painted('both', draw, sample, label_set=label_set)
    assert scores['fused']['AP50'] == {'person': 1.0}
    assert scores['fused']['IoU'] == {'road': 1.0}
    assert scores['classes_left_out'] == ['dog', 'water']


def test_a_pool_with_no_class_of_the_run_is_refused():
    label_set = LabelSet(detection_classes=('dog',), segmentation_classes=())
    with pytest.raises(DatasetError, match=r'classes dog; expected some of those that the run'):
        score_run(run_of('detection', small_model()), [], label_set=label_set)
    with pytest.raises(DatasetError, match=r'classes \(none\); expected some'):
        score_run(run_of('segmentation', small_model()), [], label_set=label_set)
    with pytest.raises(DatasetError, match=r'salient_classes is person, rider, .*; expected'):
        score_run(run_of('saliency', small_model()), [], label_set=label_set)


def test_both_gives_boxes_and_label_maps():
    values = score_painted('both', lambda rgb, _: label_outputs(rgb.shape[2:]), painted_sample())
    assert {'mAP', 'AP50', 'mIoU', 'mAcc', 'IoU'} <= set(values['thermal_only'])


def test_images_of_any_size_are_padded_and_results_cut_to_the_image():
    sample = painted_sample((0, 0, 44, 97), size_hw=(97, 100))  # padded to 112 x 112

    def draw(rgb, _):
        assert rgb.shape[2:] == (112, 112)
        assert not rgb[..., 97:, :].any()
        assert not rgb[..., 100:].any()
        outputs = label_outputs(rgb.shape[2:], boxes=[[0, 0, 44, 112]], scores=[0.9])
        outputs['segmentation_logits'][:, PERSON_LABEL, :, :11] = 2 * LOUD
        return outputs

    values = score_painted('both', draw, sample)['fused']
    assert values['mAP'] == 1.0  # cut to 44 x 97
    assert values['IoU']['person'] > 0.95  # the border is within half a cell


def test_saliency_of_the_right_map_is_perfect_and_of_its_opposite_is_not():
    sample = painted_sample((16, 24, 64, 72))

    def draw(rgb, available):
        h, w = rgb.shape[2:]
        logits = torch.full((1, 1, h // 4, w // 4), -LOUD)
        logits[..., 6:18, 4:16] = LOUD
        return {'saliency_logits': logits if available[1] else -logits}

    scores = score_painted('saliency', draw, sample)
    assert scores['fused']['mae'] < 0.02  # the border is drawn out over a cell
    assert scores['fused']['f_max'] > 0.95
    assert scores['thermal_only'] == scores['fused']
    assert scores['rgb_only']['mae'] > 0.98
    assert set(scores['fused']) >= {'s', 'f_max', 'f_mean', 'f_adaptive', 'e_max', 'mae'}


def test_unlabeled_pixels_do_not_count_against_saliency():
    sample = painted_sample((16, 24, 64, 72))
    sample.label_map[:, 96:] = UNLABELED

    def draw(rgb, _):
        logits = torch.full((1, 1, 24, 32), -LOUD)
        logits[..., 6:18, 4:16] = LOUD
        logits[..., 25:] = LOUD  # on unlabeled ground
        return {'saliency_logits': logits}

    assert score_painted('saliency', draw, sample)['fused']['mae'] < 0.03


def test_pairs_without_a_salient_pixel_are_left_out_and_counted():
    scores = score_painted(
        'saliency', lambda rgb, _: {'saliency_logits': torch.zeros(1, 1, 24, 32)}, painted_sample()
    )
    assert scores['fused'] == {'pairs_without_object': 1}


class KnowsTheTruth(MatchingModel):
    """Returns the true matches, shifted by ``error_px`` in x."""

    def __init__(self, homography, error_px):
        super().__init__(small_model())
        self._homography, self._error_px = homography, error_px

    def match(self, rgb, thermal, **_):
        y, x = np.mgrid[20:76:8, 30:98:8]
        points = np.stack([x.ravel(), y.ravel()], axis=1).astype(float)
        found = warp_points(points, self._homography)
        found[:, 0] += self._error_px
        return Matches(
            rgb_xy=torch.from_numpy(found),
            thermal_xy=torch.from_numpy(points),
            scores=torch.ones(len(points)),
        )


@pytest.mark.parametrize(
    ('error_px', 'precisions', 'auc_5'),
    [(0.0, (1.0, 1.0, 1.0), 1.0), (10.0, (0.0, 1.0, 1.0), 0.0), (20.0, (0.0, 0.0, 1.0), 0.0)],
)
def test_matching_is_scored_at_half_one_and_two_patches(error_px, precisions, auc_5):
    homography = draw_homography(SIZE_HW, seed=(0, 5))[0].double().numpy()
    run = run_of('matching', KnowsTheTruth(homography, error_px))
    scores = score_run(run, [(5, painted_sample((10, 20, 40, 80)))])
    values = scores['fused']
    names = ('precision', 'precision@16px', 'precision@32px')
    # A true match may lie outside the RGB image, where none is counted.
    assert tuple(values[name] for name in names) == precisions
    assert values['AUC@5px'] == pytest.approx(auc_5, abs=1e-3)
    assert 'rgb_only' not in scores
    assert scores['conditions']['single_cameras'].endswith('needs both')


def test_a_class_to_leave_out_must_be_one_of_the_run():
    run = run_of('segmentation', small_model())
    with pytest.raises(ConfigError, match="'backgroun' is no segmentation class of the run; exp"):
        score_run(run, [], without=['backgroun'])
    with pytest.raises(ConfigError, match='expected none for this task'):
        score_run(run_of('detection', small_model()), [], without=['road'])
