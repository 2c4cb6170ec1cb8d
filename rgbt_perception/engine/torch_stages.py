# SPDX-License-Identifier: Apache-2.0
"""Pre- and postprocessing by torch, on the device of the network.

Frames go up as they are, uint8 and float32; boxes, scores, class ids and the uint8 label map come
back. The numbers are those of ``preprocess`` and ``postprocess``: the resamplings are theirs (see
``resampling``), scores and boxes are computed in float64 like there. Only RGB differs, by less
than one of 255 grey levels: the CPU rounds the resized image to uint8, here it stays float32.

Matrices are multiplied in float32: ``load_network`` forbids TF32. Nothing that is the same for
every pair goes to the device again, and the device is waited for three times: for the candidates,
by the suppression, and for what comes back.

No CUDA device has run this code: its tests run it on CPU tensors.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache, partial
from time import perf_counter
from typing import Any, NamedTuple, TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from rgbt_perception.box_votes import (
    find_planes,
    MAX_VOTES,
    MIN_SCORE,
    NO_PLANE,
    VotingPlanes,
)
from rgbt_perception.config import OutputConfig
from rgbt_perception.engine.base import check_finite, CHECKED_OUTPUTS
from rgbt_perception.engine.resampling import label_resampling, letterbox_resampling, Resampling
from rgbt_perception.engine.stages import Images
from rgbt_perception.geometry import letterbox_transform
from rgbt_perception.pixel_labels import find_stride
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
        self._statistics = keep(partial(_upload_statistics, device))
        self._voting = keep(partial(_upload_voting, device))

    def perceive(self, network: Network, images: Images, config: OutputConfig) -> Perceived:
        """Run a network on the images of one pair; all work is queued on the current stream.

        Args:
            network: On the device.
            images: Of one pair.
            config: Score threshold, overlap, number and votes of detections.

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
        planes = outputs['segmentation_logits'][0]
        boxes: dict[str, Tensor] | None = None
        voting = find_planes(images.card.detection_classes, images.card.segmentation_classes)
        if config.box_votes > 0.0 and voting.objects:
            boxes = find_boxes(outputs, letterbox, source_hw, config)
            stride = find_stride(letterbox, source_hw[0], planes.shape[1])
            planes = self.add_votes(
                planes, boxes, letterbox, voting, stride=stride, weight=config.box_votes
            )
        label_map = self.label_pixels(planes, letterbox, source_hw)
        is_finite = torch.stack([torch.isfinite(outputs[name]).all() for name in CHECKED_OUTPUTS])
        statistics = {name: outputs[name].float() for name in _STATISTICS}
        if boxes is None:  # last, because suppression waits for the device
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
            statistics = self._statistics(card.rgb_mean, card.rgb_std)
            rgb = _standardise(units, operator.coverage, statistics)
        if available[0, 1] and images.thermal is not None:
            units = _resample(_upload(images.thermal, self._device)[None], operator)
            statistics = self._statistics((card.thermal_mean,) * 3, (card.thermal_std,) * 3)
            heat = _standardise(units, operator.coverage, statistics)
        return rgb, heat, _upload(available, self._device)

    def add_votes(
        self,
        planes: Tensor,
        boxes: Mapping[str, Tensor],
        letterbox: LetterboxTransform,
        voting: VotingPlanes,
        *,
        stride: int,
        weight: float,
    ) -> Tensor:
        """Return logits in which detections had their say; see ``box_votes.add_votes``.

        Args:
            planes: Logits of all classes, shape (k, h, w).
            boxes: As of ``find_boxes``.
            letterbox: How reference pixels became network pixels.
            voting: Of the classes, some of which are objects.
            stride: Network pixels per cell.
            weight: What a detection of score 1 adds.
        """
        import torch

        planes = planes.float()
        boxes = {name: item[:MAX_VOTES] for name, item in boxes.items()}
        class_to_object, objects = self._voting(voting)
        objects_of_boxes = class_to_object[boxes['class_ids']]
        is_voter = boxes['scores'] >= float(np.float32(MIN_SCORE))
        covers = (is_voter & (objects_of_boxes != NO_PLANE))[:, None, None]
        sides = (2, 0, letterbox.pad_x), (1, 1, letterbox.pad_y)
        for dimension, axis, pad in sides:
            edges = boxes['boxes_xyxy'][:, axis::2].double() * letterbox.scale + pad
            begins, ends = (edges / stride - 0.5).ceil().T[..., None]  # each (n, 1)
            cells = torch.arange(planes.shape[dimension], device=self._device)
            is_inside = (cells >= begins) & (cells < ends)
            covers = covers & is_inside.unsqueeze(3 - dimension)
        support = torch.zeros(len(objects), *planes.shape[1:], device=self._device)
        votes = covers * (weight * boxes['scores'])[:, None, None]
        targets = objects_of_boxes.clamp(min=0)[:, None, None].expand(votes.shape)
        support.scatter_reduce_(0, targets, votes, 'amax')
        logits = planes[objects]
        voted = logits + support
        voted += logits.amax(dim=0) - voted.amax(dim=0)
        return planes.index_copy(0, objects, voted)

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
    from torchvision.ops import nms

    logits = outputs['class_logits'][0]  # (n, k)
    # In the order of anchors and classes where scores are equal, as sorting is stable.
    scores, order = logits.double().sigmoid().float().flatten().sort(descending=True, stable=True)
    scores, order = scores[:MAX_CANDIDATES], order[:MAX_CANDIDATES]
    num_classes = max(1, logits.shape[1])
    class_ids = order % num_classes
    boxes = outputs['boxes_xyxy'][0][order // num_classes].double()
    sides = (letterbox.pad_x, source_hw[1]), (letterbox.pad_y, source_hw[0])
    for axis, (pad, size) in enumerate(sides):
        along = boxes[:, axis::2]
        along.sub_(pad).div_(letterbox.scale).clamp_(0, size)
    boxes = boxes.float()
    is_whole = (boxes[:, 2:] - boxes[:, :2] >= MIN_SIDE_PX).all(dim=1)
    is_candidate = is_whole & (scores >= float(np.float32(config.score_threshold)))
    candidates = is_candidate.nonzero()[:, 0]
    scores, boxes, class_ids = (item[candidates] for item in (scores, boxes, class_ids))
    # Classes are kept apart by moving their boxes, in float64, as float32 would round them.
    apart = boxes.double() + (class_ids * (max(source_hw) + 1))[:, None]
    # By ranks, because which of two equal scores is kept is not defined.
    ranks = torch.arange(len(scores), 0, -1, device=scores.device, dtype=torch.float64)
    kept = nms(apart, ranks, config.nms_iou)[: config.max_detections]
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


def _upload_voting(device: torch.device, voting: VotingPlanes) -> tuple[Tensor, Tensor]:
    tables = np.array(voting.class_to_object, np.int64), np.array(voting.objects, np.int64)
    return _upload(tables[0], device), _upload(tables[1], device)


def _upload_statistics(
    device: torch.device, mean: tuple[float, ...], std: tuple[float, ...]
) -> Tensor:
    table = np.array([mean, std], np.float32)[..., None, None]  # (2, c, 1, 1)
    return _upload(table, device)


def _upload_resampling(device: torch.device, resampling: Resampling) -> Operator:
    rows, columns = _upload(resampling.rows, device), _upload(resampling.columns.T, device)
    coverage = rows.sum(dim=1)[:, None] * columns.sum(dim=0)
    return Operator(rows=rows, columns=columns, coverage=coverage)


def _resample(planes: Tensor, operator: Operator) -> Tensor:
    """Resample planes, shape (c, h, w)."""
    return operator.rows.matmul(planes).matmul(operator.columns)


def _standardise(planes: Tensor, coverage: Tensor, statistics: Tensor) -> Tensor:
    """Standardise resampled planes of 0..1 units, shape (1 or c, h, w); the padding stays 0.

    Args:
        planes: What is standardised.
        coverage: Of the resampling, (h, w).
        statistics: Mean and standard deviation of every channel, (2, c, 1, 1).

    Returns:
        Shape (1, c, h, w).
    """
    mean, std = statistics.unbind()
    standardised: Tensor = (planes - mean * coverage) / std
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
