# SPDX-License-Identifier: Apache-2.0
"""Which dominance estimator tells what a camera is worth: a study on labelled pairs.

Every pair is measured as it is and with one camera made worse in several steps. The oracle is the
true loss without RGB less the true loss without thermal. Each estimator is judged by Spearman's
rank correlation with the oracle: over everything, and within each degradation. All definitions
are ours, on the idea of MDACL (https://arxiv.org/abs/2601.00598).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from rgbt_models.card import ModelCard
from rgbt_perception.config import PerceptionConfig
from rgbt_perception.degradations import Degradation, degrade
from rgbt_perception.errors import DatasetError
from rgbt_perception.geometry import letterbox_boxes
from rgbt_perception.preprocess import build_batch
from rgbt_perception.registration import Registration
from rgbt_perception.sources import PairSource
from rgbt_perception.truth import map_class_ids, Truth, TruthPair
from rgbt_perception.types import ByteArray, LetterboxTransform, Mode, Pair, UNLABELED

if TYPE_CHECKING:
    from rgbt_models.build import RGBTModel
    from rgbt_models.dominance.study import LabelledPair

ORACLE = 'oracle'
BOOTSTRAP_DRAWS = 200
INTERVAL_PERCENTILES = (2.5, 97.5)
DIGITS = 3
MIN_PAIRS = 3  # a rank correlation of two points is always 1 or -1
DEGRADATIONS = (
    Degradation(),
    Degradation(kind='rgb_dark', amount=0.3),
    Degradation(kind='rgb_dark', amount=0.1),
    Degradation(kind='rgb_dark', amount=0.02),
    Degradation(kind='rgb_noise', amount=0.2),
    Degradation(kind='thermal_flat', amount=0.1),
    Degradation(kind='thermal_flat', amount=0.03),
    Degradation(kind='thermal_flat', amount=0.01),
    Degradation(kind='thermal_noise', amount=0.5),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimator:
    """One way to estimate the index.

    Attributes:
        name: Key in the measurements.
        title: For tables and pictures.
        needs_labels: Whether it can only be had offline.
        cost: What it costs beside one forward pass.
    """

    name: str
    title: str
    needs_labels: bool
    cost: str


ESTIMATORS = (
    Estimator(
        name='entropy_channel',
        title='feature entropy, channel softmax',
        needs_labels=False,
        cost='none',
    ),
    Estimator(
        name='entropy_covariance',
        title='feature entropy, token covariance',
        needs_labels=False,
        cost='eigenvalues',
    ),
    Estimator(name='gradient_norm', title='gradient norm', needs_labels=True, cost='backward'),
    Estimator(
        name='gradient_times_input',
        title='gradient x input (delta 0)',
        needs_labels=True,
        cost='backward',
    ),
    Estimator(
        name='paper_style_half',
        title='entropy and gradient x input (delta 0.5)',
        needs_labels=True,
        cost='backward',
    ),
    Estimator(name='linear_share', title='linear share, raw', needs_labels=False, cost='none'),
    Estimator(
        name='linear_share_calibrated',
        title="linear share, the card's map",
        needs_labels=False,
        cost='none',
    ),
    Estimator(
        name='drop_kl',
        title='KL when a camera is dropped',
        needs_labels=False,
        cost='2 decoder passes',
    ),
    Estimator(
        name='drop_kl_detection',
        title='the same, detection only',
        needs_labels=False,
        cost='2 decoder passes',
    ),
    Estimator(
        name='drop_kl_segmentation',
        title='the same, segmentation only',
        needs_labels=False,
        cost='2 decoder passes',
    ),
    Estimator(
        name='shapley_pseudo',
        title='Shapley, pseudo-labels',
        needs_labels=False,
        cost='3 decoder passes',
    ),
    Estimator(
        name='shapley_pseudo_difference',
        title='Shapley, pseudo-labels, difference',
        needs_labels=False,
        cost='3 decoder passes',
    ),
    Estimator(
        name='shapley_labels',
        title='Shapley, labels (its difference is the oracle)',
        needs_labels=True,
        cost='3 decoder passes',
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """All estimators on one pair in one condition, with the oracle."""

    pair_name: str
    degradation: str
    values: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyPlan:
    """What to measure.

    Attributes:
        degradations: Conditions, one measurement of each pair in each.
        chosen: Indices of the pairs to measure, None = all.
        seed: Of the noise; the noise of a pair and condition depends on nothing else.
    """

    degradations: tuple[Degradation, ...] = DEGRADATIONS
    chosen: Collection[int] | None = None
    seed: int = 0


def measure_source(
    model: RGBTModel,
    card: ModelCard,
    source: PairSource,
    config: PerceptionConfig,
    plan: StudyPlan,
) -> Iterator[Measurement]:
    """Measure the pairs of a source in every condition.

    Args:
        model: The network, in evaluation mode, on the CPU.
        card: Its card.
        source: Pairs with ground truth.
        config: Gives the registration.
        plan: Pairs, conditions and seed.
    """
    from rgbt_models.dominance.study import measure_pair

    registration = Registration(config.registration)
    for modality, camera in source.cameras.items():
        registration.set_camera(modality, camera)
    registration.check_complete()
    classes = source.segmentation_classes or card.segmentation_classes
    for index, item in enumerate(source.pairs()):
        if plan.chosen is not None and index > max(plan.chosen, default=-1):
            return
        if plan.chosen is not None and index not in plan.chosen:
            continue
        for number, degradation in enumerate(plan.degradations):
            rng = np.random.default_rng((plan.seed, index, number))
            pair = degrade(item.pair, degradation, rng)
            labelled = label_pair(item, pair, card, registration, classes)
            values = measure_pair(model, card.mdi_calibration, labelled)
            yield Measurement(pair_name=item.name, degradation=degradation.name, values=values)


def choose_pairs(available: int, wanted: int) -> frozenset[int]:
    """Return the indices of ``wanted`` pairs spread evenly over ``available``; 0 = all."""
    if wanted <= 0 or wanted >= available:
        return frozenset(range(available))
    return frozenset(index * available // wanted for index in range(wanted))


def label_pair(
    item: TruthPair,
    pair: Pair,
    card: ModelCard,
    registration: Registration,
    classes: tuple[str, ...],
) -> LabelledPair:
    """Build the network input of a pair and bring its ground truth into network pixels.

    Args:
        item: Gives the ground truth; boxes of classes that the card lacks are left out.
        pair: The frames, maybe degraded.
        card: Normalisation, input size and classes.
        registration: Brings thermal onto the RGB grid.
        classes: Class names of the label map.

    Raises:
        DatasetError: If a frame is missing or the label map has another size than the RGB image.
    """
    from rgbt_models.dominance.study import LabelledPair

    if pair.rgb is None or pair.thermal is None:
        raise DatasetError(
            f'pair {item.name} lacks a frame; expected RGB and thermal; leave the pair out'
        )
    normalised = card.thermal_normaliser(pair.thermal.pixels)
    thermal = np.asarray(registration.register(normalised, pair.rgb.size_hw), np.float32)
    batch = build_batch(pair, Mode.FUSED, thermal, card, card.input_hw)
    truth = item.truth
    use = np.array([name in card.detection_classes for name in truth.class_names], np.bool_)
    known = [name for name in truth.class_names if name in card.detection_classes]
    return LabelledPair(
        rgb=batch.rgb,
        thermal=batch.thermal,
        label_map=_letterbox_labels(item, classes, card, batch.letterbox),
        boxes_xyxy=letterbox_boxes(truth.boxes_xyxy[use], batch.letterbox),
        class_ids=np.array([card.detection_classes.index(name) for name in known], np.int64),
        ignore=np.asarray(truth.ignore[use], np.bool_),
    )


def _letterbox_labels(
    item: TruthPair, classes: tuple[str, ...], card: ModelCard, transform: LetterboxTransform
) -> ByteArray:
    height, width = card.input_hw
    truth: Truth = item.truth
    if not truth.has_label_map:
        return np.full((height, width), UNLABELED, np.uint8)
    label_map = truth.label_map()
    if label_map.shape != item.pair.reference.size_hw:
        raise DatasetError(
            f'label map of {item.name} has size {label_map.shape}, expected that of the RGB '
            f'image, {item.pair.reference.size_hw}; write it again'
        )
    label_map = map_class_ids(label_map, classes, card.segmentation_classes)
    scale = transform.scale
    shift_x, shift_y = (pad + (scale - 1.0) / 2.0 for pad in (transform.pad_x, transform.pad_y))
    matrix = np.array([[scale, 0.0, shift_x], [0.0, scale, shift_y]])
    warped = cv2.warpAffine(
        label_map, matrix, (width, height), flags=cv2.INTER_NEAREST, borderValue=UNLABELED
    )
    return np.asarray(warped, np.uint8)


def rank(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the ranks 0..n-1 of values (n,); equal values share the mean of theirs."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    means = last - (counts + 1) / 2.0
    return np.asarray(means[inverse], np.float64)


def spearman(values: NDArray[np.float64], others: NDArray[np.float64]) -> float:
    """Return the rank correlation of two rows (n,) in [-1, 1].

    NaN where a row is constant or has a value that is not finite.
    """
    if not (np.isfinite(values).all() and np.isfinite(others).all()):
        return float('nan')
    a, b = (rank(row) - (len(row) - 1) / 2.0 for row in (values, others))
    norm = float(np.sqrt((a * a).sum() * (b * b).sum()))
    return float((a * b).sum()) / norm if norm > 0.0 else float('nan')


def summarise(measurements: Sequence[Measurement], *, seed: int = 0) -> dict[str, Any]:
    """Correlate every estimator with the oracle.

    Args:
        measurements: Every pair in every condition.
        seed: Of the bootstrap over the pairs.

    Returns:
        ``pairs``, ``degradations``, and per estimator the correlation ``rho`` over everything
        with its 95 % bootstrap ``interval``, ``rho_by_degradation`` and ``mean_by_degradation``;
        the oracle's means under ``oracle``. A correlation is None where the estimator or the
        oracle is constant.

    Raises:
        DatasetError: If there are fewer than 3 pairs.
    """
    pairs = list(dict.fromkeys(item.pair_name for item in measurements))
    conditions = list(dict.fromkeys(item.degradation for item in measurements))
    if len(pairs) < MIN_PAIRS:
        raise DatasetError(
            f'{len(pairs)} pairs measured; expected at least {MIN_PAIRS} to correlate anything; '
            f'use a larger data set'
        )
    tables = {
        name: _table(measurements, name, pairs, conditions)
        for name in (ORACLE, *(estimator.name for estimator in ESTIMATORS))
    }
    oracle = tables.pop(ORACLE)
    rng = np.random.default_rng(seed)
    draws = rng.integers(len(pairs), size=(BOOTSTRAP_DRAWS, len(pairs)))
    return {
        'pairs': len(pairs),
        'degradations': conditions,
        'oracle': {'mean_by_degradation': _by_name(oracle.mean(axis=0), conditions)},
        'estimators': {
            name: _judge(table, oracle, conditions, draws) for name, table in tables.items()
        },
    }


def _table(
    measurements: Sequence[Measurement], name: str, pairs: list[str], conditions: list[str]
) -> NDArray[np.float64]:
    """Return the values of one estimator, (pairs, conditions)."""
    table = np.full((len(pairs), len(conditions)), np.nan)
    rows = {pair: index for index, pair in enumerate(pairs)}
    for item in measurements:
        table[rows[item.pair_name], conditions.index(item.degradation)] = item.values[name]
    return table


def _judge(
    table: NDArray[np.float64],
    oracle: NDArray[np.float64],
    conditions: list[str],
    draws: NDArray[np.int64],
) -> dict[str, Any]:
    drawn = np.array([spearman(table[rows].ravel(), oracle[rows].ravel()) for rows in draws])
    defined = drawn[np.isfinite(drawn)]
    interval = np.percentile(defined, INTERVAL_PERCENTILES) if defined.size else (np.nan,) * 2
    by_condition = [
        spearman(table[:, index], oracle[:, index]) for index in range(len(conditions))
    ]
    return {
        'rho': _rounded(spearman(table.ravel(), oracle.ravel())),
        'interval': [_rounded(value) for value in interval],
        'rho_by_degradation': _by_name(by_condition, conditions),
        'mean_by_degradation': _by_name(table.mean(axis=0), conditions),
    }


def _by_name(values: Any, conditions: list[str]) -> dict[str, float | None]:
    return {name: _rounded(value) for name, value in zip(conditions, values, strict=True)}


def _rounded(value: float) -> float | None:
    return round(float(value), DIGITS) if np.isfinite(value) else None
