# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math

import pytest
import torch

from rgbt_models.train.balance import distillation


def test_distillation_is_the_closed_form_and_0_for_equal_outputs():
    # Probabilities at T = 2 are (.6, .4) of the teacher, (.5, .5) of the student.
    teacher = {'segmentation_logits': 2 * torch.tensor([0.6, 0.4]).log().reshape(1, 2, 1, 1)}
    student = {'segmentation_logits': torch.zeros(1, 2, 1, 1)}
    expected = 4 * (0.6 * math.log(0.6 / 0.5) + 0.4 * math.log(0.4 / 0.5))
    assert distillation(teacher, student, temperature=2.0).item() == pytest.approx(
        expected, rel=1e-5
    )
    logits = {'class_logits': torch.randn(2, 7, 3), **teacher}
    teacher = {**logits, 'segmentation_logits': torch.randn(2, 3, 2, 2)}
    assert distillation(teacher, teacher, temperature=3.0).tolist() == pytest.approx([0.0, 0.0])


def test_distillation_leaves_out_a_head_without_classes():
    one = {'segmentation_logits': torch.randn(2, 3, 2, 2)}
    other = {'segmentation_logits': torch.randn(2, 3, 2, 2)}
    none = {'class_logits': torch.zeros(2, 7, 0)}
    torch.testing.assert_close(
        distillation({**one, **none}, {**other, **none}, temperature=2.0),
        distillation(one, other, temperature=2.0),
    )
