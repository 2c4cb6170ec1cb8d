# SPDX-License-Identifier: Apache-2.0
"""Render a scenario of the simulated world, with exact ground truth.

SCENARIO is a YAML file, a shipped scenario (day_drive, dusk_to_night, fog, crossover, car_park,
thermal_dropout, city_mix), or one of
  drive    dusk_to_night: a street from day into night; the thermal camera drops out for a while
           by day, later the RGB lens is covered
  dataset  single pairs of places of all kinds, always as a folder

A bag has RGB as JPEG and thermal as 16-bit PNG; a data set is a folder with annotations.json
(COCO) and label maps. Both go into rgbt evaluate. The same options give the same bytes.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from functools import partial
from pathlib import Path

from rgbt_perception.cli.options import count, positive_float
from rgbt_perception.errors import ConfigError

SUMMARY = 'render a scenario of the simulated world as a bag or a data set'
SINGLE_PAIRS = 'dataset'
DRIVE = 'drive'
NUM_PAIRS = 300


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this subcommand."""
    parser.add_argument('scenario', metavar='SCENARIO', help='a name or a YAML file, see above')
    parser.add_argument('--out', type=Path, required=True, metavar='DIR', help='folder to create')
    parser.add_argument(
        '--as', dest='form', choices=('bag', 'dataset'), help='what is written (default: bag)'
    )
    parser.add_argument('--seed', type=count, metavar='N', help='instead of that of the scenario')
    parser.add_argument(
        '--scale', type=positive_float, default=1.0, help='size of the images (default: 1)'
    )
    parser.add_argument(
        '--full-truth',
        action='store_true',
        help='also write depth and instances; in a folder all there is to know of each object',
    )
    scenario = parser.add_argument_group('of scenarios')
    scenario.add_argument('--duration', type=positive_float, metavar='S', help='another length')
    scenario.add_argument(
        '--rate', type=positive_float, metavar='HZ', help='another rate, of both cameras'
    )
    scenario.add_argument(
        '--no-failures', action='store_true', help='both cameras work all the time'
    )
    scenario.add_argument(
        '--camera-info', action='store_true', help='also write the model of each camera'
    )
    pairs = parser.add_argument_group('of single pairs (dataset)')
    pairs.add_argument('--pairs', type=count, metavar='N', help=f'how many (default: {NUM_PAIRS})')
    pairs.add_argument('--condition', metavar='NAME', help='of all pairs: day, dusk, night, ...')
    pairs.add_argument(
        '--drawn-sensors',
        action='store_true',
        help='cameras as they are: noise, blur, colours, ranges of counts drawn for each pair',
    )
    pairs.add_argument(
        '--grey-thermal', action='store_true', help='also write thermal as 8-bit grey images'
    )


def run(args: argparse.Namespace) -> int:
    """Render; return the exit status."""
    is_single = args.scenario == SINGLE_PAIRS
    _refuse_unused(args, is_single=is_single)
    try:
        return _run_dataset(args) if is_single else _run_scenario(args)
    except ImportError as error:
        from rgbt_perception.errors import BackendUnavailableError

        raise BackendUnavailableError(
            f"the synthetic world cannot be imported ({error}): pip install 'rgbt_perception[sim]'"
        ) from error


def _refuse_unused(args: argparse.Namespace, *, is_single: bool) -> None:
    """Refuse options that would do nothing.

    Raises:
        ConfigError: If one is given.
    """
    of_scenarios = ('duration', 'rate', 'no_failures', 'camera_info')
    of_pairs = ('pairs', 'condition', 'drawn_sensors', 'grey_thermal')
    given = [
        f'--{name.replace("_", "-")}'
        for name in (of_scenarios if is_single else of_pairs)
        if getattr(args, name) is not None and getattr(args, name) is not False
    ]
    if args.form == 'dataset' and args.camera_info:
        given.append('--camera-info (a data set always says it)')
    if is_single and args.form == 'bag':
        given.append('--as bag')
    if given:
        kind = 'single pairs (dataset)' if is_single else f"scenario '{args.scenario}'"
        raise ConfigError(
            f'{", ".join(given)} means nothing for {kind}; expected options of that kind; '
            f'leave it out, or see rgbt simulate --help'
        )


def _run_scenario(args: argparse.Namespace) -> int:
    from rich.console import Console
    from rich.progress import track

    from rgbt_models.synthetic.sequence import exposures
    from rgbt_perception.simulation import (
        load_scenario,
        SAMPLE_DRIVE,
        ScenarioChanges,
        write_scenario_bag,
        write_scenario_folder,
    )

    changes = ScenarioChanges(
        seed=args.seed,
        duration_s=args.duration,
        rate_hz=args.rate,
        scale=None if args.scale == 1.0 else args.scale,
        has_failures=not args.no_failures,
        has_camera_info=args.camera_info,
        has_full_truth=args.full_truth,
    )
    name = SAMPLE_DRIVE if args.scenario == DRIVE else args.scenario
    scenario = load_scenario(name, changes)
    images = exposures(scenario)
    console = Console(stderr=True)
    if args.form == 'dataset':
        watch = partial(track, description='rendering', total=len(images), console=console)
        write_scenario_folder(scenario, args.out, watch=watch)
        print(f'{name} written to {args.out} as pairs')
        return 0
    steps = write_scenario_bag(scenario, args.out)
    for _ in track(steps, 'rendering', total=len(images), console=console):
        pass
    num_rgb = sum(camera == 'rgb' for _, camera, _ in images)
    size_mb = sum(path.stat().st_size for path in args.out.iterdir()) / 1e6
    print(f'{num_rgb} instants written to {args.out} ({size_mb:.1f} MB)')
    return 0


def _run_dataset(args: argparse.Namespace) -> int:
    from rgbt_models.synthetic import Condition, DatasetOptions, default_rig, write_dataset

    names = [item.value for item in Condition]
    if args.condition is not None and args.condition not in names:
        raise ConfigError(
            f"condition is '{args.condition}', expected one of {', '.join(names)}; choose one"
        )
    rig = default_rig()
    if args.scale != 1.0:
        rig = rig.scaled(args.scale)
    num_pairs = NUM_PAIRS if args.pairs is None else args.pairs
    options = DatasetOptions(has_full_truth=args.full_truth, has_grey_thermal=args.grey_thermal)
    if args.drawn_sensors:
        options = replace(options, sensors=None)
    write_dataset(
        args.out,
        num_pairs=num_pairs,
        seed=args.seed or 0,
        rig=rig,
        condition=None if args.condition is None else Condition(args.condition),
        options=options,
    )
    print(f'{num_pairs} pairs written to {args.out}')
    return 0
