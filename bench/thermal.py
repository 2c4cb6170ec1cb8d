# SPDX-License-Identifier: Apache-2.0
"""Measure what normalising thermal images costs, and how far a hot object moves the background.

    python -m bench.thermal [--rounds N] [--out DIR]

One core, frames of 512x640. Every normaliser takes its turn in each round. The hot object covers
30 % of the image, is 200 K hotter than what it hides, appears at once and stays for 20 s.
"""

from __future__ import annotations

from collections.abc import Callable
import sys
from time import perf_counter

import cv2
import numpy as np
from numpy.typing import NDArray

from bench.report import (
    add_common_arguments,
    Bound,
    conditions,
    describe,
    describe_bounds,
    new_parser,
    print_bounds,
    write_results,
)
from rgbt_models.normalise import ThermalNormaliser
from rgbt_perception.config import build_config, ThermalConfig
from rgbt_perception.radiometry import Radiometry
from rgbt_perception.temperatures import measure_boxes
from rgbt_perception.thermal_scaling import ThermalScaler
from rgbt_perception.types import Frame, Modality, NS_PER_S

HW = (512, 640)
RATE_HZ = 10
WARM_UP_S, HOT_S = 2, 20
HOT_SIDE = 0.5477  # of height and width: 30 % of the image
MAX_SHIFT_LEVELS, MAX_MEASURE_MS = 3.0, 2.0
NORMALISERS = ('card', 'window', 'percentile')


def main(arguments: list[str] | None = None) -> int:
    """Run the measurement; return the exit status, 1 when a bound is broken."""
    parser = new_parser('thermal', __doc__)
    add_common_arguments(parser, rounds=100)
    args = parser.parse_args(arguments)
    cv2.setNumThreads(1)
    costs = measure_costs(args.rounds)
    shifts = {name: measure_shift(name) for name in NORMALISERS}
    bounds = [
        Bound(
            name='background shift by a hot object, percentile',
            value=shifts['percentile'],
            at_most=MAX_SHIFT_LEVELS,
            unit='of 255 levels',
        ),
        Bound(
            name='temperatures of 100 boxes',
            value=costs['temperatures of 100 boxes']['median'],
            at_most=MAX_MEASURE_MS,
            unit='ms',
        ),
    ]
    results = {
        'conditions': conditions(rounds=args.rounds, size_hw=HW),
        'milliseconds': costs,
        'background_shift_levels': shifts,
        **describe_bounds(bounds),
    }
    return print_bounds(bounds, write_results('thermal', results, args.out))


def measure_costs(rounds: int) -> dict[str, dict[str, float]]:
    """Return milliseconds per frame of every normaliser, of radiometry and of measuring boxes."""
    counts = build_counts(np.random.default_rng(0))
    radiometry = Radiometry(ThermalConfig(reading='tlinear_10mk'))
    celsius = radiometry.temperature_c(counts)
    assert celsius is not None
    scalers = {name: build_scaler(name) for name in NORMALISERS}
    scalers['card with CLAHE'] = build_scaler('card', clahe_clip=2.0)
    ways: dict[str, Callable[[int], object]] = {
        name: lambda index, scaler=scaler: scaler(build_frame(counts, index))
        for name, scaler in scalers.items()
    }
    ways['counts to temperatures'] = lambda _: radiometry.temperature_c(counts.view())
    for num_boxes in (5, 100):
        boxes = build_boxes(num_boxes)
        ways[f'temperatures of {num_boxes} boxes'] = lambda _, boxes=boxes: measure_boxes(
            boxes, celsius
        )
    samples: dict[str, list[float]] = {name: [] for name in ways}
    for index in range(-3, rounds):
        for name, way in ways.items():
            started = perf_counter()
            way(index + 3)
            if index >= 0:
                samples[name].append((perf_counter() - started) * 1e3)
    return {name: describe(values) for name, values in samples.items()}


def measure_shift(normaliser: str) -> float:
    """Return the largest mean change of the background, of 255 levels, while it is hot."""
    rng, scaler = np.random.default_rng(0), build_scaler(normaliser)
    background = build_counts(rng, noise=False)
    height, width = (round(side * HOT_SIDE) for side in HW)
    hot = background.copy()
    hot[100 : 100 + height, 200 : 200 + width] += 20_000
    is_background = hot == background
    largest, before = 0.0, np.zeros(HW, np.float32)
    for index in range((WARM_UP_S + HOT_S) * RATE_HZ):
        is_hot = index >= WARM_UP_S * RATE_HZ
        noise = np.rint(rng.normal(0.0, 5.0, HW)).astype(np.int16)
        noisy = ((hot if is_hot else background) + noise).astype(np.uint16)
        image = scaler(build_frame(noisy, index))
        if not is_hot:
            before = image
            continue
        change = np.abs(cv2.blur(image, (5, 5)) - cv2.blur(before, (5, 5)))[is_background]
        largest = max(largest, float(change.mean()) * 255.0)
    return round(largest, 3)


def build_scaler(normaliser: str, **values: float) -> ThermalScaler:
    """Return the scaler of a node with these settings and the default rule of cards."""
    settings = {'reading': 'tlinear_10mk', 'normaliser': normaliser, **values}
    config = build_config({f'thermal.{name}': value for name, value in settings.items()}).thermal
    return ThermalScaler(config, ThermalNormaliser(), Radiometry(config))


def build_frame(counts: NDArray[np.uint16], index: int) -> Frame:
    """Return a frame with the stamp of its index."""
    stamp_ns = index * NS_PER_S // RATE_HZ
    # A view of its own, so that no stage may know the image already.
    return Frame(
        pixels=counts.view(), stamp_ns=stamp_ns, frame_id='thermal', modality=Modality.THERMAL
    )


def build_counts(rng: np.random.Generator, *, noise: bool = True) -> NDArray[np.uint16]:
    """Return a smooth scene of about 8 to 32 C in 0.01 K counts."""
    coarse = rng.normal(0.0, 4.0, (16, 20)).astype(np.float32)
    celsius = 20.0 + cv2.resize(coarse, HW[::-1], interpolation=cv2.INTER_CUBIC)
    if noise:
        celsius = celsius + rng.normal(0.0, 0.05, HW)
    return np.rint((celsius + 273.15) * 100.0).astype(np.uint16)


def build_boxes(num_boxes: int) -> NDArray[np.float32]:
    """Return boxes all over the image, 10 to 70 px wide and 20 to 150 px high."""
    rng = np.random.default_rng(1)
    corners = rng.uniform((0, 0), (HW[1] - 70, HW[0] - 150), (num_boxes, 2))
    sizes = rng.uniform((10, 20), (70, 150), (num_boxes, 2))
    return np.concatenate([corners, corners + sizes], axis=1).astype(np.float32)


if __name__ == '__main__':
    sys.exit(main())
