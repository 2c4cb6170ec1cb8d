# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import torch

from rgbt_models.heads import SegmentationHead


def test_logits_keep_the_size_of_the_features():
    head = SegmentationHead(channels=4, num_classes=8).eval()
    assert head(torch.zeros(2, 4, 3, 7)).shape == (2, 8, 3, 7)


def test_logits_are_not_yet_scores():
    head = SegmentationHead(channels=4, num_classes=3).eval()
    torch.nn.init.zeros_(head.classifier.weight)
    head.classifier.bias.data = torch.tensor([-5.0, 0.5, 9.0])
    logits = head(torch.zeros(1, 4, 2, 2))
    torch.testing.assert_close(logits[0, :, 1, 0], torch.tensor([-5.0, 0.5, 9.0]))


def test_a_position_only_sees_its_neighbours():
    torch.manual_seed(0)
    head = SegmentationHead(channels=4, num_classes=3).eval()
    features = torch.randn(1, 4, 5, 9)
    changed = features.clone()
    changed[..., 4, 8] += 1.0
    differs = (head(features) - head(changed)).abs().amax(dim=1)[0] > 1e-7
    assert differs[3:, 7:].any()
    differs[3:, 7:] = False
    assert not differs.any()
