# SPDX-License-Identifier: Apache-2.0
"""Measure what registration costs, and how well the live check of it sees a shift.

    python -m bench.registration [--rounds N] [--pairs DIR] [--out DIR]

One core. Every way of registering takes its turn in each round, beside OpenCV's warpPerspective
and fixed-point tables. With ``--pairs``, a folder of aligned images ``rgb/*`` and ``thermal/*``
with equal names, thermal is shifted by known amounts and the shifts found are compared with them:
against the amount itself (``absolute``, where the pair's own misalignment counts as error) and
against what is found on the unshifted pair (``relative``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
import sys
from time import perf_counter
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from bench.report import (
    add_common_arguments,
    Bound,
    conditions,
    describe,
    describe_bounds,
    format_hw,
    new_parser,
    print_bounds,
    write_results,
)
from rgbt_perception.camera_model import CameraModel
from rgbt_perception.config import RegistrationConfig
from rgbt_perception.geometry import scaled_homography
from rgbt_perception.misregistration import CERTAIN, measure_shift
from rgbt_perception.registration import Registration
from rgbt_perception.types import Modality

REFERENCE_HW = (512, 640)
SIZES = (((512, 640), (512, 640)), ((256, 320), (480, 640)))  # thermal, RGB
MAX_REGISTER_MS, MAX_MEASURE_MS = 2.0, 6.0
HOMOGRAPHY = (1.05, 0.01, -8.0, -0.01, 1.04, -5.0, 1e-6, 2e-6, 1.0)
SHIFTS = ((5, -3), (-12, 8), (16, 16), (-3, -15), (10, 0), (-16, -16))
FALSE_ALARM_PX = 8.0


def build_registrations(
    thermal_hw: tuple[int, int], rgb_hw: tuple[int, int]
) -> dict[str, Registration]:
    """Return every way of registering, with cameras that have real lenses."""
    plane = RegistrationConfig(
        method='extrinsics', translation_thermal_to_rgb=(0.05, 0.01, 0.0), depth_m=12.0
    )
    numbers = homography_for(thermal_hw, rgb_hw)
    ways = {
        'homography': RegistrationConfig(method='homography', homography_thermal_to_rgb=numbers),
        'extrinsics, plane': plane,
        'extrinsics, ground': replace(plane, surface='ground'),
    }
    registrations = {name: Registration(config) for name, config in ways.items()}
    for registration in registrations.values():
        for modality in Modality:
            size_hw = rgb_hw if modality is Modality.RGB else thermal_hw
            registration.set_camera(modality, build_camera().scaled_to(size_hw))
    return registrations


def homography_for(thermal_hw: tuple[int, int], rgb_hw: tuple[int, int]) -> tuple[float, ...]:
    """Return nine numbers: the homography of the cameras at these sizes."""
    (height, width) = REFERENCE_HW
    scaled = scaled_homography(
        np.reshape(HOMOGRAPHY, (3, 3)),
        source_scale_xy=(thermal_hw[1] / width, thermal_hw[0] / height),
        destination_scale_xy=(rgb_hw[1] / width, rgb_hw[0] / height),
    )
    return tuple(float(value) for value in scaled.ravel())


def build_camera() -> CameraModel:
    """Return a camera of 640x512 with barrel distortion."""
    return CameraModel(
        intrinsics=np.array([[600.0, 0.0, 321.0], [0.0, 600.0, 254.0], [0.0, 0.0, 1.0]]),
        distortion_model='plumb_bob',
        distortion=(-0.15, 0.03, 0.001, -0.001, 0.0),
        size_hw=REFERENCE_HW,
    )


def measure_registering(rounds: int) -> dict[str, dict[str, dict[str, float]]]:
    """Return milliseconds per frame by case and way."""
    rng = np.random.default_rng(0)
    results = {}
    for thermal_hw, rgb_hw in SIZES:
        for dtype in (np.float32, np.uint16):
            image = (rng.random(thermal_hw) * 30_000).astype(dtype)
            ways: dict[str, Callable[[], object]] = {
                f'registration, {name}': partial(way.register, image, rgb_hw)
                for name, way in build_registrations(thermal_hw, rgb_hw).items()
            }
            ways.update(opencv_ways(image, rgb_hw))
            case = f'{dtype.__name__} {format_hw(thermal_hw)} to {format_hw(rgb_hw)}'
            results[case] = take_turns(ways, rounds)
    return results


def opencv_ways(image: NDArray[Any], rgb_hw: tuple[int, int]) -> dict[str, Callable[[], object]]:
    """Return what OpenCV offers for a homography, as a comparison."""
    size, thermal_hw = (rgb_hw[1], rgb_hw[0]), (image.shape[0], image.shape[1])
    matrix = np.reshape(homography_for(thermal_hw, rgb_hw), (3, 3))
    x, y = np.meshgrid(np.arange(size[0]), np.arange(size[1]))
    points = np.stack([x, y, np.ones_like(x)], axis=-1) @ np.linalg.inv(matrix).T
    table = (points[..., :2] / points[..., 2:]).astype(np.float32)
    fixed = cv2.convertMaps(table, None, cv2.CV_16SC2)
    border = {'borderMode': cv2.BORDER_REPLICATE}
    return {
        'warpPerspective': lambda: cv2.warpPerspective(
            image, matrix, size, flags=cv2.INTER_LINEAR, **border
        ),
        'fixed-point tables': lambda: cv2.remap(image, *fixed, cv2.INTER_LINEAR, **border),
    }


def measure_building(rounds: int) -> dict[str, dict[str, float]]:
    """Return milliseconds until the tables of a new pose are there, by way."""
    image = np.zeros(REFERENCE_HW, np.float32)
    samples: dict[str, list[float]] = {}
    for _ in range(rounds):
        for name, registration in build_registrations(REFERENCE_HW, REFERENCE_HW).items():
            started = perf_counter()
            registration.register(image, REFERENCE_HW)
            samples.setdefault(name, []).append((perf_counter() - started) * 1e3)
    return {name: describe(values) for name, values in samples.items()}


def measure_measuring(rounds: int) -> dict[str, float]:
    """Return milliseconds per measured VGA pair."""
    rng = np.random.default_rng(0)
    texture = cv2.GaussianBlur(rng.integers(0, 256, (480, 640, 3)).astype(np.uint8), (9, 9), 0)
    thermal = texture[..., 1].astype(np.float32) / 255.0
    return take_turns({'measure': lambda: measure_shift(texture, thermal)}, rounds)['measure']


def check_accuracy(pairs: Iterator[tuple[NDArray[Any], NDArray[Any]]]) -> dict[str, float]:
    """Shift thermal by known amounts and compare with what is found."""
    aligned, found = [], []
    for rgb, thermal in pairs:
        unshifted = measure_shift(rgb, thermal)
        aligned.append((unshifted.shift_px, unshifted.confidence))
        for right, down in SHIFTS:
            shifted = measure_shift(rgb, _shifted(thermal, right, down))
            x, y = shifted.shift_x_px - right, shifted.shift_y_px - down
            relative = np.hypot(x - unshifted.shift_x_px, y - unshifted.shift_y_px)
            found.append((relative, np.hypot(x, y), shifted.confidence))
    still, moved = np.array(aligned), np.array(found)
    is_sure, still_sure = moved[:, 2] >= CERTAIN, still[still[:, 1] >= CERTAIN, 0]
    return {
        'pairs': len(still),
        'measurements': len(moved),
        'certain': _share(moved[:, 2] >= CERTAIN),
        'relative_within_2_px_all': _share(moved[:, 0] < 2),
        'relative_within_2_px_certain': _share(moved[is_sure, 0] < 2),
        'absolute_within_2_px_certain': _share(moved[is_sure, 1] < 2),
        'absolute_within_4_px_certain': _share(moved[is_sure, 1] < 4),
        'aligned_certain': len(still_sure),
        'aligned_median_px': round(float(np.median(still_sure)), 2),
        'aligned_max_px': round(float(still_sure.max()), 2),
        'false_alarms': int((still_sure > FALSE_ALARM_PX).sum()),
    }


def load_folder(folder: Path) -> Iterator[tuple[NDArray[Any], NDArray[Any]]]:
    """Yield RGB uint8 (h, w, 3) and thermal float32 (h, w) in 0..1 of equal names."""
    thermal_paths = {path.stem: path for path in (folder / 'thermal').iterdir()}
    for path in sorted((folder / 'rgb').iterdir()):
        if path.stem in thermal_paths:
            rgb = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
            thermal = cv2.imread(str(thermal_paths[path.stem]), cv2.IMREAD_GRAYSCALE)
            yield rgb, thermal.astype(np.float32) / 255.0


def take_turns(ways: dict[str, Callable[[], object]], rounds: int) -> dict[str, dict[str, float]]:
    """Run every way once per round and return milliseconds by way."""
    samples: dict[str, list[float]] = {name: [] for name in ways}
    for way in ways.values():
        way()  # the first run builds tables
    for _ in range(rounds):
        for name, way in ways.items():
            started = perf_counter()
            way()
            samples[name].append((perf_counter() - started) * 1e3)
    return {name: describe(values) for name, values in samples.items()}


def main(arguments: list[str] | None = None) -> int:
    """Run the measurement; return the exit status, 1 when a bound is broken."""
    parser = new_parser('registration', __doc__)
    parser.add_argument(
        '--pairs', type=Path, metavar='DIR', help='aligned pairs: rgb/*, thermal/*'
    )
    add_common_arguments(parser, rounds=100)
    args = parser.parse_args(arguments)
    cv2.setNumThreads(1)
    registering = measure_registering(args.rounds)
    measuring = measure_measuring(args.rounds)
    results: dict[str, object] = {
        'conditions': conditions(rounds=args.rounds, opencv_threads=1),
        'register_ms': registering,
        'build_tables_ms': measure_building(max(3, args.rounds // 20)),
        'measure_shift_ms': measuring,
    }
    if args.pairs is not None:
        results['shift_accuracy'] = check_accuracy(load_folder(args.pairs))
    bounds = [
        Bound(name=f'{way}, {case}', value=found['median'], at_most=MAX_REGISTER_MS, unit='ms')
        for case, ways in registering.items()
        for way, found in ways.items()
        if way.startswith('registration')
    ]
    bounds.append(
        Bound(
            name='measured VGA pair',
            value=measuring['median'],
            at_most=MAX_MEASURE_MS,
            unit='ms',
        )
    )
    path = write_results('registration', {**results, **describe_bounds(bounds)}, args.out)
    _print(registering, results)
    return print_bounds(bounds, path)


def _print(
    registering: dict[str, dict[str, dict[str, float]]], results: dict[str, object]
) -> None:
    console = Console(soft_wrap=True, highlight=False)
    table = Table(title='milliseconds per frame on one core: median (smallest)')
    cases = list(registering)
    for column in ('way', *cases):
        table.add_column(column)
    for way in registering[cases[0]]:
        found = [registering[case][way] for case in cases]
        table.add_row(way, *(f'{item["median"]:.2f} ({item["min"]:.2f})' for item in found))
    console.print(table)
    for key in ('build_tables_ms', 'shift_accuracy'):
        if key in results:
            console.print(f'{key}: {results[key]}', markup=False)


def _shifted(thermal: NDArray[Any], right: int, down: int) -> NDArray[Any]:
    matrix = np.array([[1.0, 0.0, right], [0.0, 1.0, down]])
    size = (thermal.shape[1], thermal.shape[0])
    return np.asarray(cv2.warpAffine(thermal, matrix, size, borderMode=cv2.BORDER_REPLICATE))


def _share(selection: NDArray[np.bool_]) -> float:
    return round(float(np.mean(selection)), 4) if len(selection) else float('nan')


if __name__ == '__main__':
    sys.exit(main())
