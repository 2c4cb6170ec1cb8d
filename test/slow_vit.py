# SPDX-License-Identifier: Apache-2.0
"""Vision transformers written slowly: float64, einsum and plain loops, no torch layer."""

from __future__ import annotations

import math

import torch
from torch import Tensor

Weights = dict[str, Tensor]


def double(module: torch.nn.Module) -> Weights:
    return {name: value.double() for name, value in module.state_dict().items()}


def randomise(module: torch.nn.Module, *, seed: int, scale: float = 0.1) -> torch.nn.Module:
    """Move every parameter away from its neutral start value; evaluation mode."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(scale * torch.randn(parameter.shape, generator=generator))
    return module.eval()


def layer_norm(x: Tensor, weights: Weights, name: str, *, eps: float) -> Tensor:
    centred = x - x.sum(-1, keepdim=True) / x.shape[-1]
    variance = (centred**2).sum(-1, keepdim=True) / x.shape[-1]
    scaled = centred / (variance + eps) ** 0.5
    return scaled * weights[f'{name}.weight'] + weights[f'{name}.bias']


def linear(x: Tensor, weights: Weights, name: str) -> Tensor:
    return torch.einsum('...i,oi->...o', x, weights[f'{name}.weight']) + weights[f'{name}.bias']


def gelu(x: Tensor) -> Tensor:
    return x * 0.5 * (1.0 + torch.special.erf(x / math.sqrt(2.0)))


def mlp(x: Tensor, weights: Weights, name: str) -> Tensor:
    return linear(gelu(linear(x, weights, f'{name}.fc1')), weights, f'{name}.fc2')


def attention(x: Tensor, weights: Weights, name: str, *, heads: int, bias=None) -> Tensor:
    """Attend over tokens (n, d); ``bias(head, q)`` returns (n, n) from queries (n, d / heads)."""
    n, d = x.shape
    size = d // heads
    qkv = linear(x, weights, f'{name}.qkv')
    out = torch.zeros(n, d, dtype=x.dtype)
    for head in range(heads):
        q, k, v = (qkv[:, part * d + head * size :][:, :size] for part in range(3))
        logits = torch.einsum('ic,jc->ij', q, k) / math.sqrt(size)
        if bias is not None:
            logits = logits + bias(head, q)
        shares = torch.exp(logits - logits.max(dim=1, keepdim=True).values)
        shares = shares / shares.sum(dim=1, keepdim=True)
        out[:, head * size : (head + 1) * size] = shares @ v
    return linear(out, weights, f'{name}.proj')


def offset_rows(table: Tensor, side: int) -> Tensor:
    """Return (side, side, c): the row of query minus key, of a table resized linearly."""
    target, out = 2 * side - 1, torch.zeros(side, side, table.shape[1], dtype=torch.float64)
    for query in range(side):
        for key in range(side):
            centre = (query - key + side - 1 + 0.5) * len(table) / target - 0.5
            centre = min(max(centre, 0.0), len(table) - 1.0)
            first = min(int(centre), max(len(table) - 2, 0))
            second = min(first + 1, len(table) - 1)
            share = centre - first
            out[query, key] = (1 - share) * table[first].double() + share * table[second].double()
    return out


def bias_of_offsets(table: Tensor, height: int, width: int) -> Tensor:
    """Return (heads, 1 + n, 1 + n) of BEiT's table: class token first, query before key."""
    n = height * width
    out = torch.zeros(table.shape[1], 1 + n, 1 + n, dtype=torch.float64)
    for i in range(n):
        for j in range(n):
            dy, dx = i // width - j // width, i % width - j % width
            row = (dy + height - 1) * (2 * width - 1) + dx + width - 1
            out[:, 1 + i, 1 + j] = table[row]
    out[:, 0, 1:] = table[-3, :, None]  # the class token asks
    out[:, 1:, 0] = table[-2, :, None]  # the class token is asked
    out[:, 0, 0] = table[-1]
    return out


def patches(image: Tensor, weights: Weights, name: str, *, patch: int) -> Tensor:
    """Embed (3, h, w) patch by patch to (h / patch, w / patch, d)."""
    kernel, bias = weights[f'{name}.weight'], weights[f'{name}.bias']
    rows, columns = image.shape[1] // patch, image.shape[2] // patch
    out = torch.zeros(rows, columns, len(bias), dtype=torch.float64)
    for y in range(rows):
        for x in range(columns):
            cut = image[:, y * patch : (y + 1) * patch, x * patch : (x + 1) * patch].double()
            out[y, x] = torch.einsum('cyx,dcyx->d', cut, kernel) + bias
    return out


def bicubic(grid: Tensor, height: int, width: int) -> Tensor:
    """Resize (h, w, d) with the cubic kernel a = -0.75, half-pixel centres, edges repeated."""
    out = torch.zeros(height, width, grid.shape[2], dtype=torch.float64)
    for y in range(height):
        for x in range(width):
            for row, weight_y in _taps(y, height, grid.shape[0]):
                for column, weight_x in _taps(x, width, grid.shape[1]):
                    out[y, x] += weight_y * weight_x * grid[row, column].double()
    return out


def _taps(index: int, size: int, source: int) -> list[tuple[int, float]]:
    centre = (index + 0.5) * source / size - 0.5
    first = math.floor(centre) - 1
    return [
        (min(max(tap, 0), source - 1), _cubic(abs(centre - tap)))
        for tap in range(first, first + 4)
    ]


def _cubic(t: float, a: float = -0.75) -> float:
    if t <= 1.0:
        return (a + 2.0) * t**3 - (a + 3.0) * t**2 + 1.0
    return a * t**3 - 5.0 * a * t**2 + 8.0 * a * t - 4.0 * a if t < 2.0 else 0.0
