# SPDX-License-Identifier: Apache-2.0
"""The layers of the published heads once more, slowly, in float64 NumPy without torch.

Maps are (c, h, w), one image at a time; weights come by name from a state dict.
"""

from __future__ import annotations

import math

import numpy as np

Weights = dict[str, np.ndarray]


def below(weights: Weights, prefix: str) -> Weights:
    return {k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)}


def conv(x: np.ndarray, weight: np.ndarray, bias: np.ndarray | None = None) -> np.ndarray:
    out, _, size, _ = weight.shape
    pad = size // 2
    _, height, width = x.shape
    padded = np.pad(x, ((0, 0), (pad, pad), (pad, pad)))
    y = np.zeros((out, height, width))
    for i in range(size):
        for j in range(size):
            patch = padded[:, i : i + height, j : j + width]
            y += np.einsum('oc,chw->ohw', weight[:, :, i, j], patch)
    return y if bias is None else y + bias[:, None, None]


def deconv(x: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    _, height, width = x.shape
    y = np.zeros((weight.shape[1], 2 * height, 2 * width))
    for i in range(2):
        for j in range(2):
            y[:, i::2, j::2] = np.einsum('co,chw->ohw', weight[:, :, i, j], x)
    return y + bias[:, None, None]


def channel_norm(x: np.ndarray, w: Weights) -> np.ndarray:
    centred = x - x.mean(axis=0)
    normed = centred / np.sqrt((centred**2).mean(axis=0) + 1e-5)
    return normed * w['weight'][:, None, None] + w['bias'][:, None, None]


def batch_norm(x: np.ndarray, w: Weights) -> np.ndarray:
    scale = w['weight'] / np.sqrt(w['running_var'] + 1e-5)
    return (x - w['running_mean'][:, None, None]) * scale[:, None, None] + w['bias'][:, None, None]


def gelu(x: np.ndarray) -> np.ndarray:
    return x * 0.5 * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))


def relu(x: np.ndarray) -> np.ndarray:
    return np.maximum(x, 0)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def conv_channel_norm(x: np.ndarray, w: Weights) -> np.ndarray:
    return channel_norm(conv(x, w['conv.weight']), below(w, 'norm_layer.'))


def conv_batch_norm(x: np.ndarray, w: Weights) -> np.ndarray:
    return relu(batch_norm(conv(x, w['conv.weight']), below(w, 'bn.')))


def max_pool(x: np.ndarray) -> np.ndarray:
    height, width = (side // 2 for side in x.shape[1:])
    return x[:, : 2 * height, : 2 * width].reshape(-1, height, 2, width, 2).max(axis=(2, 4))


def average_pool(x: np.ndarray, size: int) -> np.ndarray:
    """Average over size x size cells that may overlap, as adaptive pooling cuts them."""
    _, height, width = x.shape
    y = np.zeros((x.shape[0], size, size))
    for i in range(size):
        for j in range(size):
            rows = slice(i * height // size, -(-(i + 1) * height // size))
            columns = slice(j * width // size, -(-(j + 1) * width // size))
            y[:, i, j] = x[:, rows, columns].mean(axis=(1, 2))
    return y


def resize(x: np.ndarray, height: int, width: int) -> np.ndarray:
    """Bilinear with half-pixel centres (align_corners false)."""
    y = np.zeros((x.shape[0], height, width))
    for i in range(height):
        for j in range(width):
            y[:, i, j] = sample(x, i, j, height, width)
    return y


def sample(x: np.ndarray, i: int, j: int, height: int, width: int) -> np.ndarray:
    h, w = x.shape[1:]
    top, bottom, dy = neighbours(i, height, h)
    left, right, dx = neighbours(j, width, w)
    upper = x[:, top, left] * (1 - dx) + x[:, top, right] * dx
    lower = x[:, bottom, left] * (1 - dx) + x[:, bottom, right] * dx
    return upper * (1 - dy) + lower * dy


def neighbours(index: int, target: int, source: int) -> tuple[int, int, float]:
    position = max((index + 0.5) * source / target - 0.5, 0.0)
    first = min(int(position), source - 1)
    return first, min(first + 1, source - 1), position - first


def iou(a: np.ndarray, b: np.ndarray) -> float:
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)]
    return width * height / (sum(areas) - width * height)


def suppress(
    boxes: np.ndarray, scores: np.ndarray, groups: np.ndarray, max_iou: float
) -> list[int]:
    kept: list[int] = []
    for index in np.argsort(-scores, kind='stable'):
        rivals = [k for k in kept if groups[k] == groups[index]]
        if all(iou(boxes[k], boxes[index]) <= max_iou for k in rivals):
            kept.append(int(index))
    return kept


def decode(
    box: np.ndarray, delta: np.ndarray, stds: tuple[float, ...], hw: tuple[int, int]
) -> list:
    dx, dy, dw, dh = (d * s for d, s in zip(delta, stds, strict=True))
    limit = abs(math.log(16 / 1000))
    width, height = box[2] - box[0], box[3] - box[1]
    x = (box[0] + box[2]) / 2 + dx * width
    y = (box[1] + box[3]) / 2 + dy * height
    width *= math.exp(min(max(dw, -limit), limit))
    height *= math.exp(min(max(dh, -limit), limit))
    edges = [x - width / 2, y - height / 2, x + width / 2, y + height / 2]
    limits = [hw[1], hw[0], hw[1], hw[0]]
    return [min(max(edge, 0.0), top) for edge, top in zip(edges, limits, strict=True)]


def roi_align(level: np.ndarray, box: list[float], scale: float, size: int) -> np.ndarray:
    """RoIAlign after Mask R-CNN, half-pixel centres, one loop per number, float64."""
    channels = level.shape[0]
    x1, y1, x2, y2 = (value * scale - 0.5 for value in box)
    bin_h, bin_w = (y2 - y1) / size, (x2 - x1) / size
    grid_h, grid_w = math.ceil((y2 - y1) / size), math.ceil((x2 - x1) / size)
    pooled = np.zeros((channels, size, size))
    for row in range(size):
        for column in range(size):
            for i in range(grid_h):
                for j in range(grid_w):
                    y = y1 + (row + (i + 0.5) / grid_h) * bin_h
                    x = x1 + (column + (j + 0.5) / grid_w) * bin_w
                    pooled[:, row, column] += bilinear(level, y, x)
            pooled[:, row, column] /= grid_h * grid_w
    return pooled


def bilinear(level: np.ndarray, y: float, x: float) -> np.ndarray:
    channels, height, width = level.shape
    if y < -1 or y > height or x < -1 or x > width:
        return np.zeros(channels)
    y, x = max(y, 0.0), max(x, 0.0)
    top, left = min(int(y), height - 1), min(int(x), width - 1)
    bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
    y = float(top) if top == height - 1 else y
    x = float(left) if left == width - 1 else x
    dy, dx = y - top, x - left
    return (
        level[:, top, left] * (1 - dy) * (1 - dx)
        + level[:, top, right] * (1 - dy) * dx
        + level[:, bottom, left] * dy * (1 - dx)
        + level[:, bottom, right] * dy * dx
    )


def paste(mask: np.ndarray, box: list[float], height: int, width: int) -> np.ndarray:
    """Return the probability at every pixel centre of an image; 0 fades in around the box."""
    size, padded = len(mask), np.pad(mask, 1)
    x1, y1, x2, y2 = box
    out = np.zeros((height, width))
    for row in range(height):
        for column in range(width):
            y = (row + 0.5 - y1) / (y2 - y1) * size - 0.5
            x = (column + 0.5 - x1) / (x2 - x1) * size - 0.5
            if -1 <= y < size and -1 <= x < size:
                top, left = math.floor(y), math.floor(x)
                cell = padded[top + 1 : top + 3, left + 1 : left + 3]
                along_x = cell @ np.array([1 - (x - left), x - left])
                out[row, column] = np.array([1 - (y - top), y - top]) @ along_x
    return out
