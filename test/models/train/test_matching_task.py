# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from made_models import random_painted_samples, small_model
import pytest
import torch

from rgbt_models.build import RGBTModel
from rgbt_models.heads import FineFeatures
from rgbt_models.train import matching_task
from rgbt_models.train.batches import collate
from rgbt_models.train.config import TrainConfig
from rgbt_models.train.matching_loss import warp_points
from rgbt_models.train.matching_task import (
    draw_homographies,
    matching_loss,
    MatchingModel,
    warp,
)
from rgbt_models.vit import ViTEncoder

CPU = torch.device('cpu')


def shift(x, y):
    return torch.tensor([[[1.0, 0.0, x], [0.0, 1.0, y], [0.0, 0.0, 1.0]]])


def made(*, is_fine=True):
    return MatchingModel(small_model(), is_fine=is_fine)


def test_homographies_move_corners_as_far_as_they_say():
    torch.manual_seed(3)
    homographies = draw_homographies(200, (48, 80), device=CPU)
    corners = torch.tensor([[0.0, 0], [79, 0], [79, 47], [0, 47]])
    moved = (warp_points(corners, homographies) - corners).abs()
    assert (moved <= torch.tensor([12.0, 7.2]) + 1e-2).all()
    assert moved[..., 0].max() > 11.0
    assert moved[..., 1].max() > 6.5


def test_a_warped_image_shows_what_the_homography_points_at():
    image = torch.zeros(1, 3, 32, 48)
    image[:, :, 20, 30] = 1.0
    warped = warp(image, shift(5.0, -3.0))  # thermal + (5, -3) = RGB
    assert float(warped[0, 0, 23, 25]) == pytest.approx(1.0, abs=1e-4)
    assert float(warped.sum()) == pytest.approx(3.0, abs=1e-3)


def test_a_pair_without_a_camera_teaches_no_matching():
    model = made().train()
    images = torch.rand(2, 3, 64, 96)
    outputs = model(images, images, torch.tensor([[1.0, 1.0], [0.0, 1.0]]))
    targets = outputs['matching_targets']
    assert targets[0].any()
    assert not targets[1].any()
    assert len(outputs['fine_offsets']) == len(outputs['fine_wanted']) == int(targets.sum())


def test_a_batch_that_teaches_nothing_gives_every_parameter_a_zero_gradient():
    model = made().train()
    images = torch.rand(1, 3, 64, 96)
    outputs = model(images, images, torch.tensor([[0.0, 1.0]]))
    matching_loss(outputs, None, None).total.backward()
    gradients = [parameter.grad for parameter in model.parameters()]
    assert all(gradient is not None and not gradient.any() for gradient in gradients)


def test_outside_training_there_are_logits_only():
    images = torch.rand(1, 3, 64, 96)
    outputs = made().eval()(images, images, torch.ones(1, 2))
    assert set(outputs) == {'matching_logits'}


def test_wanted_offsets_lead_from_the_thermal_token_to_the_true_point(monkeypatch):
    # Thermal pixel + (5, -3) = RGB pixel, so a point lies (-5, +3) from the token of its number.
    monkeypatch.setattr(matching_task, 'draw_homographies', lambda *_, **__: shift(5.0, -3.0))
    images = torch.rand(1, 3, 64, 96)
    wanted = made().train()(images, images, torch.ones(1, 2))['fine_wanted']
    assert len(wanted) == 24
    torch.testing.assert_close(wanted, torch.tensor([[-5.0, 3.0]]).expand(24, 2))


def test_pixels_are_not_rounded_in_mixed_precision():
    images = torch.rand(2, 3, 256, 384)
    model, outputs = made().train(), []
    for is_mixed in (False, True):
        torch.manual_seed(5)
        with torch.autocast('cpu', torch.bfloat16, enabled=is_mixed):
            outputs.append(model(images, images, torch.ones(2, 2)))
    assert torch.equal(outputs[0]['matching_targets'], outputs[1]['matching_targets'])
    torch.testing.assert_close(outputs[0]['fine_wanted'], outputs[1]['fine_wanted'])


def test_without_fine_matching_there_is_no_such_weight_and_no_such_loss():
    model = made(is_fine=False).train()
    assert not [name for name in model.state_dict() if name.startswith('fine')]
    images = torch.rand(1, 3, 64, 96)
    terms = matching_loss(model(images, images, torch.ones(1, 2)), None, None)
    assert set(terms.parts) == {'matching'}


def test_the_total_weighs_the_fine_loss_by_a_quarter():
    images = torch.rand(1, 3, 64, 96)
    terms = matching_loss(made().train()(images, images, torch.ones(1, 2)), None, None)
    expected = terms.parts['matching'] + 0.25 * terms.parts['fine_matching']
    torch.testing.assert_close(terms.total, expected)


def test_a_transformer_has_fine_features_from_its_tokens_alone():
    base = RGBTModel(
        encoder=ViTEncoder('vit_tiny_patch16_224', stride=16),
        channels=(16, 24, 32),
        num_detection_classes=1,
        num_segmentation_classes=1,
    )
    model = MatchingModel(base)
    assert model.fine is not None
    assert model.fine.local is None
    features = model.fine([torch.rand(1, 192, 2, 3)])
    assert features.shape == (1, 32, 8, 12)


def test_fine_features_add_the_map_at_stride_4():
    fine = FineFeatures(dim=8, local_channels=5)
    levels = [torch.rand(1, 5, 8, 12), torch.rand(1, 8, 2, 3)]
    other = [torch.rand(1, 5, 8, 12), levels[1]]
    assert fine(levels).shape == (1, 32, 8, 12)
    assert not torch.equal(fine(levels), fine(other))


def test_matches_are_refined_where_there_are_fine_features():
    torch.manual_seed(1)
    images = torch.rand(2, 3, 64, 96)
    fine, coarse = made().eval(), made(is_fine=False).eval()
    refined, plain = (model.match(*images, threshold=0.0) for model in (fine, coarse))
    torch.testing.assert_close(refined.rgb_xy, plain.rgb_xy)
    assert len(plain.scores) > 0
    moved = (refined.thermal_xy - plain.thermal_xy).abs()
    assert 0.0 < float(moved.max()) <= 8.0


def test_training_teaches_the_fine_features_where_a_point_lies():
    torch.manual_seed(0)
    config = TrainConfig(task='matching')
    batch = collate(random_painted_samples(4, seed=1), config)
    model = made().train()
    optimiser = torch.optim.Adam(model.parameters(), lr=3e-3)
    losses = []
    for _ in range(40):
        optimiser.zero_grad()
        terms = matching_loss(
            model(batch.rgb, batch.thermal, torch.ones(4, 2)), batch, torch.ones(8)
        )
        terms.total.backward()
        optimiser.step()
        losses.append(float(terms.parts['fine_matching'].detach()))
    assert sum(losses[-10:]) < 0.8 * sum(losses[:10]), losses
