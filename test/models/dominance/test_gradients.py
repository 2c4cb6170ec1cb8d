# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
import torch

from rgbt_models.dominance import feature_gradients, gradient_norm, gradient_times_input


def test_norm_and_product_of_a_linear_loss_are_closed_forms():
    # Image 0: F_rgb = (1, -2), F_thermal = (3, 0); loss = 4 F_rgb + 3 F_thermal, so the gradient
    # is 4 and 3 at both positions. Image 1 is image 0 times 10.
    rgb = torch.tensor([1.0, -2.0]).reshape(1, 1, 1, 2)
    thermal = torch.tensor([3.0, 0.0]).reshape(1, 1, 1, 2)
    features = [(torch.cat([rgb, 10 * rgb]), torch.cat([thermal, 10 * thermal]))]
    for pair in features:
        for tensor in pair:
            tensor.requires_grad_()
    loss = (4 * features[0][0] + 3 * features[0][1]).sum()
    gradients = feature_gradients(loss, features)
    norm = gradient_norm(gradients)
    assert norm.shape == (2, 1, 2)
    root_2 = 2**0.5
    assert norm[:, 0].tolist() == [pytest.approx([4 * root_2, 3 * root_2])] * 2
    product = gradient_times_input(features, gradients)[:, 0]
    assert product.tolist() == [pytest.approx([12.0, 9.0]), pytest.approx([120.0, 90.0])]


def test_what_the_loss_ignores_has_no_gradient():
    first, second = (torch.ones(2, 3, 2, 2, requires_grad=True) for _ in range(2))
    gradients = feature_gradients(first.sum(), [(first, second)])
    assert gradient_norm(gradients)[:, 0, 1].tolist() == [0.0, 0.0]
    assert gradients[0][1].shape == second.shape


def test_levels_and_cameras_stay_apart():
    features = [
        (torch.ones(1, 1, 1, 1, requires_grad=True), torch.ones(1, 1, 1, 1, requires_grad=True))
        for _ in range(3)
    ]
    flat = [tensor for pair in features for tensor in pair]
    loss = sum((index + 1) * tensor.sum() for index, tensor in enumerate(flat))
    norm = gradient_norm(feature_gradients(loss, features))
    assert norm.tolist() == [[[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]]
