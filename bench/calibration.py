# SPDX-License-Identifier: Apache-2.0
"""Measure how well `rgbt calibrate` finds the geometry of rendered cameras.

    python -m bench.calibration [--kinds board scene] [--seeds N] [--matcher RUN] [--out DIR]

Board: images of boards at 0.9 to 2.4 m before the rig of the sample data, with and without lens
distortion. Scene: rendered streets, the rig of the sample data and random rigs, with parallax. The
error is the distance of the homography found from the true one at the depth of the boards, or at
the median depth of the scenes, RMS over the RGB image. With --matcher the scenes are also
calibrated by the points of a trained matcher; that has no bound, for no matcher is shipped.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
import sys
from time import perf_counter

import cv2
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from bench.board_images import board_pairs, rig_pose, true_homography
from bench.report import (
    add_common_arguments,
    Bound,
    conditions,
    describe_bounds,
    number,
    print_bounds,
    write_results,
)
from rgbt_models.synthetic import Condition, default_rig, random_rig, render_pair, Rig, Sensors
from rgbt_perception.calibration.board import calibrate_board, plane_homography
from rgbt_perception.calibration.image_pairs import ImagePair
from rgbt_perception.calibration.matched import (
    calibrate_matched,
    MatchedCalibration,
    PointMatcher,
)
from rgbt_perception.calibration.pattern import BoardPattern
from rgbt_perception.calibration.scene import (
    calibrate_scene,
    homography_distance_px,
    SceneCalibration,
)
from rgbt_perception.errors import CalibrationError

PATTERNS = {
    'charuco': BoardPattern(kind='charuco', rows=6, columns=8, square_m=0.08),
    'circles': BoardPattern(kind='circles', rows=5, columns=7, square_m=0.08),
    'asymmetric_circles': BoardPattern(
        kind='asymmetric_circles', rows=11, columns=4, square_m=0.05
    ),
    'chessboard': BoardPattern(kind='chessboard', rows=6, columns=8, square_m=0.07),
}
BOARD_PAIRS = 14
SCENE_PAIRS = (8, 24)
SCENE_MODELS = ('similarity', 'homography')
FIRST_SCENE = 900_000
KINDS = ('board', 'scene')
BOUND_PX = {'board': 1.0, 'scene': 3.0}
Row = dict[str, object]


def measure_board(kind: str, *, seed: int, lenses: bool) -> Iterator[Row]:
    """Calibrate one set of board images with known and with estimated cameras.

    Every second seed has a board whose black parts are cold.
    """
    pattern = PATTERNS[kind]
    pairs, rgb, thermal = board_pairs(
        pattern, BOARD_PAIRS, seed=seed, lenses=lenses, is_hot=seed % 2 == 0
    )
    rotation, translation = rig_pose(default_rig())
    for how, known in (
        ('known cameras', {'rgb': rgb, 'thermal': thermal}),
        ('estimated cameras', {}),
    ):
        started = perf_counter()
        found = calibrate_board(pairs, pattern, **known)
        seconds = perf_counter() - started
        truth, _ = plane_homography(rgb, thermal, rotation, translation, depth_m=found.depth_m)
        turned = cv2.Rodrigues(found.rotation @ rotation.T)[0]
        yield {
            'kind': 'board',
            'what': f'{kind}{", lenses" if lenses else ""}',
            'how': how,
            'pairs': len(found.pairs),
            'error_px': homography_distance_px(truth, found.homography, pairs[0].rgb_hw),
            'reprojection_px': found.error_px,
            'rotation_deg': float(np.degrees(np.linalg.norm(turned))),
            'translation_mm': float(1e3 * np.linalg.norm(found.translation - translation)),
            'seconds': seconds,
        }


def render_scenes(rig: Rig, count: int, seed: int) -> tuple[list[ImagePair], float]:
    """Render scenes, every third at night; also return their median depth, m."""
    pairs, depths = [], []
    for index in range(count):
        condition = Condition.NIGHT if index % 3 == 2 else Condition.DAY
        pair = render_pair(seed + index, rig, condition=condition, sensors=Sensors(rgb_noise=0.01))
        pairs.append(ImagePair(name=str(index), rgb=pair.rgb, thermal=pair.thermal_raw))
        depth = pair.rgb_view.depth_m
        depths.append(depth[np.isfinite(depth)])
    return pairs, float(np.median(np.concatenate(depths)))


def measure_scene(seed: int, *, count: int, matcher: PointMatcher | None) -> Iterator[Row]:
    """Calibrate one set of scenes with each model; seed 0 has the rig of the sample data."""
    # What is calibrated is a homography, so the cameras have no lenses to undo.
    rig = random_rig(np.random.default_rng(seed)).without_lenses() if seed else default_rig()
    pairs, depth_m = render_scenes(rig, count, FIRST_SCENE + 1000 * seed)
    truth = true_homography(rig, depth_m)
    for model in SCENE_MODELS:
        row: Row = {'what': f'{count} scenes', 'pairs': count}
        by_edges = partial(calibrate_scene, pairs, model=model)
        yield {'kind': 'scene', 'how': model, **row, **_measure_homography(by_edges, truth)}
        if matcher is not None:
            by_points = partial(calibrate_matched, pairs, matcher, model=model)
            found = _measure_homography(by_points, truth)
            yield {'kind': 'matcher', 'how': f'{model}, matcher', **row, **found}


def _measure_homography(
    calibrate: Callable[[], SceneCalibration | MatchedCalibration],
    truth: NDArray[np.float64],
) -> Row:
    started = perf_counter()
    try:
        found = calibrate()
    except CalibrationError as error:
        return {'refused': str(error), 'seconds': perf_counter() - started}
    row: Row = {
        'error_px': homography_distance_px(truth, found.homography, found.rgb_hw),
        'spread_px': found.spread_px,
        'score': found.score,
        'seconds': perf_counter() - started,
    }
    if isinstance(found, MatchedCalibration):
        return {
            **row,
            'start_px': homography_distance_px(truth, found.start, found.rgb_hw),
            'matches': found.num_matches,
            'inliers': found.num_inliers,
        }
    return {**row, 'peak_ratio': found.peak_ratio}


def measure(kinds: list[str], seeds: int, matcher: PointMatcher | None) -> Iterator[Row]:
    """Yield one row per calibration."""
    if 'board' in kinds:
        for kind in PATTERNS:
            for lenses in (False, True):
                for seed in range(seeds):
                    yield from measure_board(kind, seed=seed, lenses=lenses)
    if 'scene' in kinds:
        for count in SCENE_PAIRS:
            for seed in range(seeds):
                yield from measure_scene(seed, count=count, matcher=matcher)


def find_bounds(rows: list[Row]) -> list[Bound]:
    """Return the bound of each kind on its worst error."""
    worst: dict[str, float] = {}
    for row in rows:
        if 'error_px' in row and row['kind'] in BOUND_PX:
            kind = str(row['kind'])
            worst[kind] = max(worst.get(kind, 0.0), float(str(row['error_px'])))
    return [
        Bound(
            name=f'{kind}, worst homography error', value=value, at_most=BOUND_PX[kind], unit='px'
        )
        for kind, value in worst.items()
    ]


def main() -> int:
    """Measure, print and write; return 1 when a bound is broken."""
    parser = argparse.ArgumentParser(prog='python -m bench.calibration', description=__doc__)
    parser.add_argument('--kinds', nargs='+', choices=KINDS, default=list(KINDS))
    parser.add_argument(
        '--seeds', type=number(int, at_least=1), default=3, help='repetitions of every case'
    )
    parser.add_argument(
        '--matcher', type=Path, metavar='RUN', help='run of rgbt train with the task matching'
    )
    add_common_arguments(parser)
    args = parser.parse_args()
    cv2.setNumThreads(1)
    matcher = _load(args.matcher) if args.matcher else None
    rows = list(measure(args.kinds, args.seeds, matcher))
    bounds = find_bounds(rows)
    results = {'conditions': conditions(seeds=args.seeds), 'calibrations': rows}
    path = write_results('calibration', {**results, **describe_bounds(bounds)}, args.out)
    _print(rows)
    return print_bounds(bounds, path)


def _load(run: Path) -> PointMatcher:
    from rgbt_models.matcher import load_matcher

    return load_matcher(run)


def _print(rows: list[Row]) -> None:
    table = Table(title='distance from the true homography, RGB px RMS')
    for name in ('images', 'method', 'runs', 'median', 'worst', 'refused', 'seconds'):
        table.add_column(name)
    for case in dict.fromkeys((str(row['what']), str(row['how'])) for row in rows):
        own = [row for row in rows if (row['what'], row['how']) == case]
        errors = [float(str(row['error_px'])) for row in own if 'error_px' in row]
        seconds = float(np.median([float(str(row['seconds'])) for row in own]))
        table.add_row(
            *case,
            str(len(own)),
            f'{np.median(errors):.2f}' if errors else '-',
            f'{max(errors):.2f}' if errors else '-',
            str(len(own) - len(errors)),
            f'{seconds:.1f}',
        )
    Console().print(table)


if __name__ == '__main__':
    sys.exit(main())
