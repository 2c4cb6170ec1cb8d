# SPDX-License-Identifier: Apache-2.0
"""Heads with random weights in which every tensor matters."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn


def randomise(module: nn.Module, *, seed: int) -> nn.Module:
    """Fill every parameter and buffer with numbers that no default value has."""
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in module.state_dict().items():
        if name.endswith('num_batches_tracked'):
            continue
        noise = torch.randn(tensor.shape, generator=generator)
        if name.endswith('running_var'):
            tensor.copy_(1 + 0.5 * noise.tanh())
        elif tensor.ndim > 1:
            tensor.copy_(noise / tensor[0].numel() ** 0.5)
        else:
            tensor.copy_(0.3 * noise + ('norm' in name or 'bn' in name) * ('weight' in name))
    return module.eval()


def as_numpy(module: nn.Module) -> dict[str, np.ndarray]:
    return {name: tensor.double().numpy() for name, tensor in module.state_dict().items()}
