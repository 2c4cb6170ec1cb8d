# SPDX-License-Identifier: Apache-2.0
"""Pre- and postprocessing by torch, on the device of the network.

Frames go up as they are, uint8 and float32; boxes, scores, class ids and the uint8 label map come
back. The numbers are those of ``preprocess`` and ``postprocess``: the resamplings are theirs (see
``resampling``), scores and boxes are computed in float64 like there. Only RGB differs, by less
than one of 255 grey levels: the CPU rounds the resized image to uint8, here it stays float32.

Matrices are multiplied in float32, which is torch's default: nothing here sets TF32.

No CUDA device has run this code: its tests run it on CPU tensors.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache, partial
from time import perf_counter
from typing import Any, NamedTuple, TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from rgbt_perception.config import OutputConfig
from rgbt_perception.engine.base import check_finite, CHECKED_OUTPUTS
from rgbt_perception.engine.resampling import label_resampling, letterbox_resampling, Resampling
from rgbt_perception.engine.stages import Images
from rgbt_perception.geometry import letterbox_transform
from rgbt_perception.postprocess import MAX_CANDIDATES, MIN_SIDE_PX
from rgbt_perception.preprocess import find_available
from rgbt_perception.types import Detections, LetterboxTransform, Perceived, UNLABELED

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from rgbt_perception.engine.torch_runs import Network, Outputs

MAX_GEOMETRIES = 4
# Outputs that are handed on as they are.
_STATISTICS = ('share_map', 'rgb_shares', 'entropies')
# Interpolated logits that are held at once: the label map is decided in bands of rows.
MAX_LOGITS = 1 << 24


class Operator(NamedTuple):
    """A resampling on the device: ``rows @ planes @ columns``."""

    rows: Tensor  # (h_out, h_in)
    columns: Tensor  # (w_in, w_out)
    coverage: Tensor  # (h_out, w_out), what it makes of a plane of ones


class TorchStages:
    """Prepares images for a network on one device, and decodes its outputs there.

    What it keeps on the device is made for one engine and goes with it.
    """

    def __init__(self, device: torch.device) -> None:
        """Keep the resamplings of the geometries used last."""
        self._device = device
        keep = lru_cache(MAX_GEOMETRIES)
        self._letterboxing = keep(partial(_upload_letterboxing, device))
        self._labelling = keep(partial(_upload_labelling, device))

    def perceive(self, network: Network, images: Images, config: OutputConfig) -> Perceived:
        """Run a network on the images of one pair; all work is queued on the current stream.

        Args:
            network: On the device.
            images: Of one pair.
            config: Score threshold, overlap and number of detections.

        Returns:
            What was found, in host memory; the time of all stages counts as that of the network.

        Raises:
            EngineError: If a logit or box is not finite.
        """
        import torch

        started = perf_counter()
        source_hw = images.pair.reference.size_hw
        letterbox = letterbox_transform(source_hw, images.input_hw)
        outputs = network(*self.prepare(images))
        label_map = self.label_pixels(outputs['segmentation_logits'][0], letterbox, source_hw)
        is_finite = torch.stack([torch.isfinite(outputs[name]).all() for name in CHECKED_OUTPUTS])
        statistics = {name: outputs[name].float() for name in _STATISTICS}
        # Last, because suppression waits for the device.
        boxes = find_boxes(outputs, letterbox, source_hw, config)
        arrays = _download({**boxes, **statistics, 'label_map': label_map, 'finite': is_finite})
        check_finite(dict(zip(CHECKED_OUTPUTS, arrays['finite'].tolist(), strict=True)))
        return Perceived(
            detections=Detections(**{name: arrays[name] for name in boxes}),
            **{name: arrays[name] for name in ('label_map', *_STATISTICS)},
            preprocess_ms=0.0,
            infer_ms=(perf_counter() - started) * 1e3,
        )

    def prepare(self, images: Images) -> tuple[Tensor, Tensor, Tensor]:
        """Return the network's inputs on the device; see ``preprocess.build_batch``.

        Returns:
            RGB and thermal, each (1, 3, h, w), and which are available, (1, 2); all float32.
        """
        import torch

        card, available = images.card, find_available(images.mode)
        operator = self._letterboxing(images.pair.reference.size_hw, images.input_hw)
        rgb = heat = torch.zeros(1, 3, *images.input_hw, device=self._device)
        if available[0, 0] and images.pair.rgb is not None:
            pixels = _upload(images.pair.rgb.pixels, self._device)  # (h, w, 3) uint8
            units = _resample(pixels.permute(2, 0, 1).float(), operator) / 255.0
            rgb = _standardise(units, operator.coverage, card.rgb_mean, card.rgb_std)
        if available[0, 1] and images.thermal is not None:
            units = _resample(_upload(images.thermal, self._device)[None], operator)
            mean, std = (card.thermal_mean,) * 3, (card.thermal_std,) * 3
            heat = _standardise(units, operator.coverage, mean, std)
        return rgb, heat, _upload(available, self._device)

    def label_pixels(
        self, planes: Tensor, letterbox: LetterboxTransform, source_hw: tuple[int, int]
    ) -> Tensor:
        """Return the class of every pixel; see ``postprocess.decode_label_map``.

        Args:
            planes: Logits, shape (k, h, w).
            letterbox: How reference pixels became network pixels.
            source_hw: Height and width of the reference image, px.

        Returns:
            Shape ``source_hw``, uint8.
        """
        import torch

        num_classes, *cells_hw = planes.shape
        if num_classes == 0:
            return torch.full(source_hw, UNLABELED, dtype=torch.uint8, device=self._device)
        operator = self._labelling(letterbox, source_hw, tuple(cells_hw))
        wide = planes.float() @ operator.columns  # (k, h, source width)
        num_rows = max(1, MAX_LOGITS // (num_classes * source_hw[1]))
        bands = [
            (operator.rows[begin : begin + num_rows] @ wide).argmax(dim=0)
            for begin in range(0, source_hw[0], num_rows)
        ]
        return torch.cat(bands).to(torch.uint8)


def find_boxes(
    outputs: Outputs,
    letterbox: LetterboxTransform,
    source_hw: tuple[int, int],
    config: OutputConfig,
) -> dict[str, Tensor]:
    """Turn class logits and boxes into detections; see ``postprocess.decode_detections``.

    Args:
        outputs: Of the network, batch of one.
        letterbox: How reference pixels became network pixels.
        source_hw: Height and width of the reference image, px.
        config: Score threshold, overlap and number of detections.

    Returns:
        The fields of ``Detections``, on the device of the outputs.
    """
    import torch
    from torchvision.ops import batched_nms

    logits = outputs['class_logits'][0]  # (n, k)
    # In the order of anchors and classes where scores are equal, as sorting is stable.
    scores, order = logits.double().sigmoid().float().flatten().sort(descending=True, stable=True)
    scores, order = scores[:MAX_CANDIDATES], order[:MAX_CANDIDATES]
    num_classes = max(1, logits.shape[1])
    class_ids = order % num_classes
    boxes = outputs['boxes_xyxy'][0][order // num_classes].double()
    (pad_x, pad_y), (height, width) = (letterbox.pad_x, letterbox.pad_y), source_hw
    boxes = (boxes - boxes.new_tensor([pad_x, pad_y] * 2)) / letterbox.scale
    boxes = boxes.float().clamp(min=0)
    boxes = boxes.minimum(boxes.new_tensor([width, height] * 2))
    is_whole = (boxes[:, 2:] - boxes[:, :2] >= MIN_SIDE_PX).all(dim=1)
    is_candidate = is_whole & (scores >= scores.new_tensor(config.score_threshold))
    scores, boxes, class_ids = (item[is_candidate] for item in (scores, boxes, class_ids))
    # In float64, because classes are kept apart by moving their boxes, which float32 would round.
    # By ranks, because which of two equal scores is kept is not defined.
    ranks = torch.arange(len(scores), 0, -1, device=scores.device, dtype=torch.float64)
    kept = batched_nms(boxes.double(), ranks, class_ids, config.nms_iou)[: config.max_detections]
    return {'boxes_xyxy': boxes[kept], 'scores': scores[kept], 'class_ids': class_ids[kept]}


def _upload_letterboxing(
    device: torch.device, source_hw: tuple[int, int], input_hw: tuple[int, int]
) -> Operator:
    return _upload_resampling(device, letterbox_resampling(source_hw, input_hw))


def _upload_labelling(
    device: torch.device,
    letterbox: LetterboxTransform,
    source_hw: tuple[int, int],
    cells_hw: tuple[int, int],
) -> Operator:
    return _upload_resampling(device, label_resampling(letterbox, source_hw, cells_hw))


def _upload_resampling(device: torch.device, resampling: Resampling) -> Operator:
    rows, columns = _upload(resampling.rows, device), _upload(resampling.columns.T, device)
    coverage = rows.sum(dim=1)[:, None] * columns.sum(dim=0)
    return Operator(rows=rows, columns=columns, coverage=coverage)


def _resample(planes: Tensor, operator: Operator) -> Tensor:
    """Resample planes, shape (c, h, w)."""
    return operator.rows.matmul(planes).matmul(operator.columns)


def _standardise(
    planes: Tensor, coverage: Tensor, mean: tuple[float, ...], std: tuple[float, ...]
) -> Tensor:
    """Standardise resampled planes of 0..1 units, shape (1 or c, h, w); the padding stays 0.

    Returns:
        Shape (1, c, h, w), c = the number of means.
    """
    table = planes.new_tensor([mean, std])[..., None, None]  # (2, c, 1, 1)
    standardised: Tensor = (planes - table[0] * coverage) / table[1]
    return standardised[None]


def _upload(array: NDArray[Any], device: torch.device) -> Tensor:
    """Copy an array to a device, through pinned memory on the way to CUDA."""
    import torch

    kind = getattr(torch, array.dtype.name)
    host = torch.empty(array.shape, dtype=kind, pin_memory=device.type == 'cuda')
    np.copyto(host.numpy(), array)
    return host.to(device, non_blocking=True)


def _download(tensors: Mapping[str, Tensor]) -> dict[str, NDArray[Any]]:
    """Copy tensors from one device to host memory, and wait once for all of them."""
    import torch

    is_cuda = any(value.is_cuda for value in tensors.values())
    hosts = {}
    for name, value in tensors.items():
        hosts[name] = torch.empty(value.shape, dtype=value.dtype, pin_memory=is_cuda)
        hosts[name].copy_(value, non_blocking=True)
    if is_cuda:
        torch.cuda.current_stream().synchronize()
    return {name: host.numpy().copy() for name, host in hosts.items()}  # not pinned any more
