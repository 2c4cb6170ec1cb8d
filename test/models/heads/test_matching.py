# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
import torch

from rgbt_models.heads import match, Matches, MatchingHead, refine_matches
from rgbt_models.heads.matching import (
    fine_offsets,
    log_dual_softmax,
    match_logits,
    mutual_nearest,
    similarity_logits,
    token_centres,
)

CPU = torch.device('cpu')


def random_features(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(3))


def smooth_features(height, width, *, shift_xy=(0.0, 0.0)):
    """Plane waves over a grid, evaluated at positions moved by ``shift_xy`` cells."""
    generator = torch.Generator().manual_seed(1)
    frequency = torch.rand(32, 2, generator=generator) - 0.5
    phase = torch.rand(32, generator=generator) * 6.28
    y = torch.arange(height) - shift_xy[1]
    x = torch.arange(width) - shift_xy[0]
    angle = frequency[:, :1, None] * x + frequency[:, 1:, None] * y[:, None] + phase[:, None, None]
    return angle.sin()


def test_token_centres_are_xy_row_by_row_with_pixel_centres_at_whole_numbers():
    expected = [[7.5, 7.5], [23.5, 7.5], [39.5, 7.5], [7.5, 23.5], [23.5, 23.5], [39.5, 23.5]]
    assert token_centres(2, 3, 16, device=CPU).tolist() == expected


def test_dual_softmax_of_equal_logits_is_one_over_rows_times_columns():
    scores = log_dual_softmax(torch.zeros(1, 2, 5)).exp()
    torch.testing.assert_close(scores, torch.full((1, 2, 5), 1 / 10))


def test_identical_tokens_match_on_the_diagonal():
    features = random_features(64, 4, 6)
    matches = match(features, features)
    assert len(matches.scores) == 24
    torch.testing.assert_close(matches.rgb_xy, matches.thermal_xy)
    assert float(matches.scores.min()) > 0.2


def test_scale_of_tokens_does_not_matter():
    features = random_features(64, 4, 6)
    torch.testing.assert_close(
        match(features, 100 * features).scores, match(features, features).scores
    )


def test_planted_shift_is_recovered_with_x_and_y_apart():
    # Thermal sees the same scene 2 tokens further right and 1 further down.
    features = random_features(64, 5, 8)
    thermal = random_features(64, 5, 8).flip(0)
    thermal[:, 1:, 2:] = features[:, :-1, :-2]
    matches = match(features, thermal)
    moved = matches.thermal_xy - matches.rgb_xy
    assert len(moved) >= 24
    share = (moved == torch.tensor([32.0, 16.0])).all(dim=1).float().mean()
    assert float(share) > 0.9


def test_images_of_different_sizes_can_be_matched():
    features = random_features(64, 4, 7)
    matches = match(features, features[:, 1:3, 2:6])  # the thermal camera sees a part
    assert len(matches.scores) == 8
    torch.testing.assert_close(
        matches.rgb_xy - matches.thermal_xy, torch.tensor([[32.0, 16.0]]).expand(8, 2)
    )


def test_unrelated_tokens_do_not_match():
    assert len(match(random_features(64, 6, 8), random_features(64, 6, 8).flip(0)).scores) < 10


def test_a_score_equal_to_the_threshold_does_not_match():
    scores = torch.tensor([[0.2, 0.0], [0.0, 0.21]])
    rows, columns = mutual_nearest(scores, threshold=0.2)
    assert (rows.tolist(), columns.tolist()) == ([1], [1])


def test_only_mutual_best_match():
    scores = torch.tensor([[0.6, 0.5], [0.9, 0.3]])  # both rows prefer column 0
    rows, columns = mutual_nearest(scores)
    assert (rows.tolist(), columns.tolist()) == ([1], [0])


def test_ties_match_once():
    rows, columns = mutual_nearest(torch.full((3, 3), 0.5))
    assert (rows.tolist(), columns.tolist()) == ([0], [0])


def test_no_tokens_no_matches():
    rows, columns = mutual_nearest(torch.zeros(0, 4))
    assert len(rows) == len(columns) == 0


def test_head_starts_as_the_plain_comparison_of_tokens():
    rgb, thermal = random_features(2, 16, 3, 4), random_features(2, 16, 3, 4).flip(0)
    head = MatchingHead(dim=16)
    expected = similarity_logits(
        rgb.flatten(2).transpose(1, 2), thermal.flatten(2).transpose(1, 2)
    )
    torch.testing.assert_close(head(rgb, thermal), expected)


def test_match_logits_reads_rows_as_rgb_and_columns_as_thermal():
    logits = torch.full((6, 4), -10.0)
    logits[5, 1] = 10.0  # RGB grid 2x3: row 1, column 2; thermal grid 2x2: row 0, column 1
    matches = match_logits(logits, (2, 3), (2, 2))
    best = matches.scores.argmax()
    assert matches.rgb_xy[best].tolist() == [39.5, 23.5]
    assert matches.thermal_xy[best].tolist() == [23.5, 7.5]


def test_fine_refinement_recovers_a_shift_below_one_token():
    # At stride 4, thermal is shifted by (+1.25, -0.75) cells = (+5, -3) px.
    rgb = smooth_features(24, 32)
    thermal = smooth_features(24, 32, shift_xy=(1.25, -0.75))
    centres = token_centres(6, 8, 16, device=CPU)
    inner = centres[(centres > 16).all(dim=1) & (centres < torch.tensor([112.0, 80.0])).all(dim=1)]
    coarse = Matches(rgb_xy=inner, thermal_xy=inner.clone(), scores=torch.ones(len(inner)))
    fine = refine_matches(coarse, rgb, thermal, stride=4, temperature=0.02)
    moved = fine.thermal_xy - fine.rgb_xy
    assert (moved - torch.tensor([5.0, -3.0])).abs().mean() < 1.0
    assert torch.equal(fine.rgb_xy, coarse.rgb_xy)


def test_fine_offsets_have_a_gradient_and_vanish_for_symmetric_features():
    rgb = torch.ones(3, 6, 6, requires_grad=True)
    point = torch.tensor([[11.5, 11.5]])
    matches = Matches(rgb_xy=point, thermal_xy=point, scores=torch.ones(1))
    offsets = fine_offsets(matches, rgb, torch.ones(3, 6, 6), stride=4)
    assert offsets.detach().abs().max() < 1e-5
    offsets.sum().backward()
    assert rgb.grad is not None


@pytest.mark.parametrize('count', [0, 1])
def test_refining_keeps_the_number_of_matches(count):
    points = torch.full((count, 2), 7.5)
    matches = Matches(rgb_xy=points, thermal_xy=points, scores=torch.ones(count))
    refined = refine_matches(matches, torch.ones(3, 4, 4), torch.ones(3, 4, 4), stride=4)
    assert refined.thermal_xy.shape == (count, 2)
