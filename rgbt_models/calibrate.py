# SPDX-License-Identifier: Apache-2.0
"""Fit the map from raw fusion shares to the modality dominance index.

The raw linear shares order day and night well but span only a part of 0..1, so they are fitted
to an index measured with labels on pairs, rendered or of a pool, clean and degraded: to the
contrast advantage where training taught the shares to follow it (``visibility_weight``), else to
the two-player Shapley index of the loss.
Source: ours, on MDACL's idea; not the paper's formula.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
import logging

import cv2
import numpy as np
import torch
from torch import Tensor

from rgbt_models.build import RGBTModel
from rgbt_models.card import MdiCalibration
from rgbt_models.dominance import shapley_mdi
from rgbt_models.errors import DatasetError
from rgbt_models.label_sets import LabelSet, PACKAGE_LABEL_SET
from rgbt_models.train.batches import collate, TrainBatch
from rgbt_models.train.config import TrainConfig
from rgbt_models.train.pool import render_sample, Sample, SamplePool
from rgbt_models.train.sensing import sense_rgb, sense_thermal
from rgbt_models.train.tasks import find_task

# Seeds of scenes: pools of pairs from 0 and 1 million, calibration of the dominance index from 2
# million, calibration and gate of exported graphs from 3 and 4 million (rgbt_perception.
# export_pairs), benches from 5 million. None of them may meet.
CALIBRATION_SEED = 2_000_000
COALITIONS = ((1.0, 1.0), (1.0, 0.0), (0.0, 1.0), (0.0, 0.0))
DEGRADATIONS = ('none', 'none', 'rgb', 'thermal')
CONTRAST, SHAPLEY = 'contrast advantage', 'labelled Shapley index'
RIDGE = 1e-4
SIZE_MULTIPLE = 16
_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationFit:
    """The fitted map and how well it orders the pairs it was fitted on.

    Attributes:
        calibration: The map.
        correlation: Between fitted and wanted index; 0 where all pairs are alike.
        num_pairs: Pairs fitted on.
        target: What the wanted index is, ``CONTRAST`` or ``SHAPLEY``.
    """

    calibration: MdiCalibration
    correlation: float
    num_pairs: int
    target: str = SHAPLEY


def calibrate_mdi(
    model: RGBTModel,
    config: TrainConfig,
    *,
    num_pairs: int,
    scale: float,
    pool: SamplePool | None = None,
    label_set: LabelSet = PACKAGE_LABEL_SET,
) -> CalibrationFit:
    """Fit the dominance map of a trained model, on freshly rendered pairs or on those of a pool.

    Every fourth pair has a nearly black RGB image, every fourth a nearly flat thermal one. A run
    with a ``visibility_weight`` is fitted to the contrast advantage; pairs without objects have
    none and are left out.

    Args:
        model: In evaluation mode, on the CPU.
        config: Its training run; gives the normalisation, the loss and what to fit to.
        num_pairs: Pairs to take, at least 4: one of each degradation.
        scale: Size of rendered images as a fraction of 640x480; that at which the model will run.
        pool: Labeled with the classes of the model; its pairs are taken evenly, at their size.
            None = render pairs.
        label_set: Classes of the pairs.

    Raises:
        DatasetError: If there are too few pairs to fit anything, or too few with objects.
    """
    if num_pairs < len(DEGRADATIONS):
        raise DatasetError(
            f'{num_pairs} calibration pairs asked for; expected at least {len(DEGRADATIONS)}, one '
            f'of each degradation; ask for more (some hundred are usual)'
        )
    shares, targets = [], []
    for sample in _calibration_samples(num_pairs, scale, pool):
        batch = collate([sample], config, label_set=label_set)
        share, target = _measure(model, batch, config.task)
        if target.isfinite():
            shares.append(share)
            targets.append(target)
    if len(targets) < len(DEGRADATIONS):
        raise DatasetError(
            f'{len(targets)} of {num_pairs} calibration pairs have objects; expected at least '
            f'{len(DEGRADATIONS)}; ask for more pairs, or give a pool with boxes'
        )
    inputs, wanted = torch.cat(shares), torch.cat(targets)
    calibration = fit_tanh(inputs, wanted)
    fitted = torch.tensor([calibration(row) for row in inputs.tolist()])
    correlation = _correlation(fitted, wanted)
    target_name = CONTRAST if config.visibility_weight > 0.0 else SHAPLEY
    count = len(targets)
    _LOGGER.info('calibrated mdi on %d pairs, %.2f with the %s', count, correlation, target_name)
    return CalibrationFit(
        calibration=calibration,
        correlation=correlation,
        num_pairs=count,
        target=target_name,
    )


def fit_tanh(shares: Tensor, targets: Tensor) -> MdiCalibration:
    """Fit ``tanh(bias + weights * (shares - 0.5))`` to targets by ridge least squares.

    Args:
        shares: (n, l).
        targets: (n,) in [-1, 1].
    """
    inputs = shares.double() - 0.5
    scale = inputs.std(dim=0).clamp(min=1e-6)
    inputs = inputs / scale
    weights = torch.zeros(inputs.shape[1], dtype=torch.double, requires_grad=True)
    bias = torch.zeros((), dtype=torch.double, requires_grad=True)
    optimiser = torch.optim.LBFGS([weights, bias], max_iter=200, line_search_fn='strong_wolfe')

    def loss() -> Tensor:
        optimiser.zero_grad()
        error = torch.tanh(bias + inputs @ weights) - targets.double()
        value = (error**2).mean() + RIDGE * (weights**2).sum()
        value.backward()  # type: ignore[no-untyped-call]
        return value

    optimiser.step(loss)  # type: ignore[no-untyped-call]
    fitted = (weights.detach() / scale).tolist()
    return MdiCalibration(weights=tuple(round(w, 6) for w in fitted), bias=round(bias.item(), 6))


def _correlation(values: Tensor, others: Tensor) -> float:
    if values.max() == values.min() or others.max() == others.min():
        return 0.0  # nothing is ordered; NaN would not be JSON
    return float(torch.corrcoef(torch.stack([values, others]))[0, 1])


@torch.no_grad()
def _measure(model: RGBTModel, batch: TrainBatch, task: str) -> tuple[Tensor, Tensor]:
    """Return the shares (1, l) of one pair with both cameras, and the index wanted, (1,)."""
    if batch.advantages is not None:
        outputs = model(batch.rgb, batch.thermal, torch.tensor([COALITIONS[0]]))
        return outputs['rgb_shares'], batch.advantages
    values, shares = _coalition_values(model, batch, task)
    return shares, shapley_mdi(*values)


@torch.no_grad()
def _coalition_values(
    model: RGBTModel, batch: TrainBatch, task: str
) -> tuple[list[Tensor], Tensor]:
    """Return minus the loss with each set of cameras, and the shares with both."""
    class_weights = torch.ones(model.segmentation.classifier.out_channels)
    values, shares = [], torch.empty(0)
    for available in COALITIONS:
        outputs = model(batch.rgb, batch.thermal, torch.tensor([available]))
        losses = find_task(task).loss(outputs, batch, class_weights)
        values.append(-losses.total[None])
        if available == COALITIONS[0]:
            shares = outputs['rgb_shares']
    return values, shares


def _calibration_samples(
    num_pairs: int, scale: float, pool: SamplePool | None
) -> Iterator[Sample]:
    cv2.setNumThreads(1)
    for index in range(num_pairs):
        if pool is None:
            sample = render_sample(CALIBRATION_SEED + index, scale=scale)
        else:
            sample = _cropped(pool[index * len(pool) // num_pairs])
        rng = np.random.default_rng(CALIBRATION_SEED + index)
        degradation = DEGRADATIONS[index % len(DEGRADATIONS)]
        yield _sense(sample, rng, degradation)


def _cropped(sample: Sample) -> Sample:
    """Cut what is more than a multiple of 16 off at the right and below."""
    height, width = (side // SIZE_MULTIPLE * SIZE_MULTIPLE for side in sample.thermal.shape)
    inside = np.s_[:height, :width]
    boxes = np.minimum(sample.boxes_xyxy, np.array([width, height] * 2, np.float32))
    keep = (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
    return replace(
        sample,
        rgb=sample.rgb[inside],
        thermal=sample.thermal[inside],
        label_map=sample.label_map[inside],
        boxes_xyxy=boxes[keep],
        class_ids=sample.class_ids[keep],
        ignore=sample.ignore[keep],
    )


def _sense(sample: Sample, rng: np.random.Generator, degradation: str) -> Sample:
    """Pass a sample through light sensors, one of them nearly blind if asked for."""
    brightness = rng.uniform(0.0, 0.1) if degradation == 'rgb' else 1.0
    contrast = rng.uniform(0.0, 0.05) if degradation == 'thermal' else 1.0
    grey = sense_thermal(sample.thermal, rng, is_heavy=False, contrast=contrast)
    return replace(
        sample,
        rgb=sense_rgb(
            sample.rgb, rng, is_heavy=False, is_night=sample.is_night, brightness=brightness
        ),
        thermal=grey.astype(np.uint16),
    )
