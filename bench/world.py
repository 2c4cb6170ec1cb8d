# SPDX-License-Identifier: Apache-2.0
"""Measure how fast training pairs are rendered, where the time goes, and whether they repeat.

    python -m bench.world [--rounds N] [--seed N] [--scale S] [--pool-scale S] [--out DIR]

Every round renders the scene of another seed, in processor time of this process, so that other
load on the machine counts little. A training pair is what ``rgbt_models.train.pool`` renders: both
cameras of a random rig, thermal on the RGB grid, labels and boxes. A light and a heavy view are
what training makes of a pair of a pool, 256x320: moved, and seen by sensors that are drawn. A
dense view is light and heat of one camera with 1.5 x 1.5 rays per pixel. The stages are those of a
dense view.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
import hashlib
import multiprocessing
import sys
from time import process_time
from typing import ParamSpec, TypeVar

import cv2
import numpy as np

from bench.report import (
    add_common_arguments,
    Bound,
    conditions,
    describe,
    describe_bounds,
    new_parser,
    number,
    print_bounds,
    write_results,
)
from rgbt_models.synthetic import Camera, random_rig, render_view, sample_scene, WORLD_VERSION
from rgbt_models.synthetic.environment import Condition
from rgbt_models.synthetic.rgb_sensor import expose_rgb
from rgbt_models.synthetic.world import radiance_of
from rgbt_models.train.augment import augment, AugmentConfig
from rgbt_models.train.pool import render_sample, Sample

SCALE = 256 / 480  # 256x341, a little more than the 256x320 of the bound
POOL_SCALE = 0.8
SUPERSAMPLING = 1.5
LEAST_PAIRS_PER_S = 3.0
VIEW_HW, VIEWS = (256, 320), {'light view': 0.0, 'heavy view': 1.0}  # shares of heavy sensors
LONGEST_VIEW_MS = 20.0
REPEATED_PAIRS = 4
Made = TypeVar('Made')
P = ParamSpec('P')


class StageClock:
    """Milliseconds of processor time by stage."""

    def __init__(self) -> None:
        """Start without stages."""
        self.samples: dict[str, list[float]] = {}

    def measure(
        self, stage: str, make: Callable[P, Made], *args: P.args, **values: P.kwargs
    ) -> Made:
        """Run ``make`` with these arguments, note its time and return what it made."""
        started = process_time()
        made = make(*args, **values)
        self.samples.setdefault(stage, []).append((process_time() - started) * 1e3)
        return made

    def subtract(self, stage: str, other: str) -> None:
        """Take the newest time of another stage, which the stage repeats, from its own."""
        self.samples[stage][-1] -= self.samples[other][-1]

    def per_second(self, *stages: str) -> float:
        """Return how often all of these stages run in a second of one core."""
        return 1e3 / sum(float(np.mean(self.samples[stage])) for stage in stages)


def measure_dense_view(clock: StageClock, seed: int, scale: float) -> None:
    """Render one dense view whole, then stage by stage."""
    camera = random_rig(np.random.default_rng((seed, 1))).scaled(scale).rgb
    clock.measure('dense view', render_dense_view, seed, camera)
    scene = clock.measure('scene', sample_scene, seed, view_angle_rad=camera.hfov_rad)
    snapshot = clock.measure('search tree', scene.at)
    look = partial(render_view, snapshot, camera, supersampling=SUPERSAMPLING)
    clock.measure('rays and labels', look, radiance=False, temperature=False)
    view = clock.measure('light', look, radiance=True, temperature=False)
    clock.measure('heat', look, radiance=False, temperature=True)
    for stage in ('light', 'heat'):
        clock.subtract(stage, 'rays and labels')
    rng = np.random.default_rng((seed, 1))
    clock.measure('RGB sensor', expose_rgb, radiance_of(view), rng)


def render_dense_view(seed: int, camera: Camera) -> None:
    """Render light and heat of a scene, and expose it."""
    snapshot = sample_scene(seed, view_angle_rad=camera.hfov_rad).at()
    view = render_view(snapshot, camera, supersampling=SUPERSAMPLING)
    expose_rgb(radiance_of(view), np.random.default_rng((seed, 1)))


def measure_views(clock: StageClock, seed: int, sample: Sample) -> None:
    """Augment a pair of a pool with light and with heavy sensors."""
    for stage, share in VIEWS.items():
        rng, config = np.random.default_rng((seed, 2)), AugmentConfig(heavy_sensor=share)
        clock.measure(stage, augment, sample, rng, size_hw=VIEW_HW, config=config)


def hash_sample(sample: Sample) -> str:
    """Return a hash of everything a sample holds."""
    digest = hashlib.sha256(str(sample.is_night).encode())
    for name in ('rgb', 'thermal', 'label_map', 'boxes_xyxy', 'class_ids', 'ignore'):
        array = getattr(sample, name)
        digest.update(f'{name} {array.dtype} {array.shape}'.encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def render_hash(seed: int, scale: float) -> str:
    """Return the hash of a training pair."""
    return hash_sample(render_sample(seed, scale=scale))


def count_differences(seed: int, scale: float) -> int:
    """Return how many of a few pairs differ when they are rendered again, here and elsewhere."""
    seeds = range(seed, seed + REPEATED_PAIRS)
    first, again = ([render_hash(s, scale) for s in order] for order in (seeds, reversed(seeds)))
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context('spawn')) as executor:
        elsewhere = list(executor.map(render_hash, seeds, [scale] * REPEATED_PAIRS))
    return sum(len({*found}) > 1 for found in zip(first, reversed(again), elsewhere, strict=True))


def measure_conditions(seed: int, scale: float, rounds: int) -> dict[str, float]:
    """Return training pairs per second and core by condition."""
    clock = StageClock()
    for index in range(rounds):
        for condition in Condition:
            clock.measure(
                condition.value, render_sample, seed + index, scale=scale, condition=condition
            )
    return {name: round(clock.per_second(name), 3) for name in clock.samples}


def main(arguments: list[str] | None = None) -> int:
    """Run the measurement; return the exit status, 1 when a bound is broken."""
    parser = new_parser('world', __doc__)
    add_common_arguments(parser, rounds=40)
    parser.add_argument('--seed', type=number(int, at_least=0), default=0, help='first scene')
    scale_help = 'size of %s as a fraction of 640x480 (default: %%(default).3f)'
    for name, default in (('--scale', SCALE), ('--pool-scale', POOL_SCALE)):
        what = 'the pairs with a bound' if name == '--scale' else 'the pairs of a default pool'
        parser.add_argument(
            name, type=number(float, at_least=0.05), default=default, help=scale_help % what
        )
    args = parser.parse_args(arguments)
    cv2.setNumThreads(1)
    render_sample(args.seed, scale=args.scale)  # imports and caches
    clock = StageClock()
    for seed in range(args.seed, args.seed + args.rounds):
        clock.measure('training pair', render_sample, seed, scale=args.scale)
        sample = clock.measure('pool pair', render_sample, seed, scale=args.pool_scale)
        measure_views(clock, seed, sample)
        measure_dense_view(clock, seed, args.scale)
    bounds = [
        Bound(name=name, value=clock.per_second(stage), at_least=LEAST_PAIRS_PER_S, unit='per s')
        for name, stage in (
            ('training pairs, one core', 'training pair'),
            ('dense views with light and heat, one core', 'dense view'),
        )
    ]
    view_ms = float(np.mean([clock.samples[stage] for stage in VIEWS]))
    bounds.append(
        Bound(name='augmented view, one core', value=view_ms, at_most=LONGEST_VIEW_MS, unit='ms')
    )
    differing = count_differences(args.seed, args.scale)
    bounds.append(Bound(name='pairs that differ when repeated', value=differing, at_most=0))
    size = render_sample(args.seed, scale=args.scale).label_map.shape
    results = {
        'conditions': conditions(
            rounds=args.rounds, seed=args.seed, size_hw=size, world_version=WORLD_VERSION
        ),
        'pairs_per_second': round(clock.per_second('training pair'), 3),
        'pool_pairs_per_second': round(clock.per_second('pool pair'), 3),
        'pairs_per_second_by_condition': measure_conditions(
            args.seed, args.scale, max(1, args.rounds // 8)
        ),
        'milliseconds': {name: describe(values) for name, values in clock.samples.items()},
        **describe_bounds(bounds),
    }
    return print_bounds(bounds, write_results('world', results, args.out))


if __name__ == '__main__':
    sys.exit(main())
