# SPDX-License-Identifier: Apache-2.0
"""Rendered pairs that no training has seen, by condition, kept in a folder.

A column is a data set as ``rgbt simulate dataset`` writes it, with ``contrast_advantage`` in every
image row: 'mixed' draws the condition of each pair, any other column has one condition. Column by
column the scenes are the same ones. What is rendered is kept until the world, that is the source
of ``rgbt_models.synthetic`` or what measures its truth, changes.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
import hashlib
import json
import multiprocessing
import os
from pathlib import Path
from typing import Any

import cv2

from bench.report import number
import rgbt_models
from rgbt_models.synthetic import Condition, WORLD_VERSION
from rgbt_perception.config import PerceptionConfig
from rgbt_perception.datasets import ANNOTATIONS_FILE
from rgbt_perception.evaluate import PipelinePool, VARIANTS
from rgbt_perception.pipeline import Pipeline

HELD_OUT_SEED = 5_000_000  # of no pool and no calibration
MIXED = 'mixed'
CONDITIONS = tuple(condition.value for condition in Condition)
COLUMNS = (MIXED, *CONDITIONS)
RGB_NOISE = 0.01  # of full scale, as in `rgbt simulate dataset`
WORK = Path('bench_out/held_out')
TRUTH_MODULES = ('contrast.py', 'normalise.py')


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldOut:
    """Which pairs.

    Attributes:
        work: Where they are kept.
        seed: Of the first scene of every column.
        has_drawn_sensors: Whether each pair has cameras of its own (lens faults, noise, counts),
            not plain ones.
    """

    work: Path = WORK
    seed: int = HELD_OUT_SEED
    has_drawn_sensors: bool = False

    def folder(self, column: str, num_pairs: int) -> Path:
        """Return where a column lies."""
        sensors = 'drawn' if self.has_drawn_sensors else 'plain'
        world = f'{WORLD_VERSION}-{world_digest()}'
        return self.work / world / f'{column}_{self.seed}_{num_pairs}_{sensors}'

    def describe(self) -> dict[str, object]:
        """Return what the pairs depend on, as JSON values."""
        return {
            'world_version': WORLD_VERSION,
            'world_digest': world_digest(),
            'seed': self.seed,
            'sensors': 'drawn' if self.has_drawn_sensors else 'plain',
        }


class StillPool(PipelinePool):
    """Pipelines for single pairs: each forgets what came before, as pairs are no sequence."""

    def pipeline_for(self, source_hw: tuple[int, int], stream: str = VARIANTS[0]) -> Pipeline:
        """Return the pipeline for reference images of this size, without any memory."""
        pipeline = super().pipeline_for(source_hw, stream)
        pipeline.reset()
        return pipeline


@lru_cache(maxsize=1)
def world_digest() -> str:
    """Return a short hash of the source of the world, and of what its truth is measured with."""
    package = Path(rgbt_models.__file__).parent
    world = sorted((package / 'synthetic').rglob('*.py'))
    digest = hashlib.sha256()
    for path in (*world, *(package / name for name in TRUTH_MODULES)):
        digest.update(str(path.relative_to(package)).encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:8]


def render_columns(
    plan: HeldOut, num_pairs: Mapping[str, int], *, jobs: int = 1
) -> dict[str, Path]:
    """Render the columns that are not there yet.

    Args:
        plan: Which pairs.
        num_pairs: Pairs by column.
        jobs: Processes; each renders one column at a time, on one core.

    Returns:
        Folder of each column.
    """
    folders = {column: plan.folder(column, count) for column, count in num_pairs.items()}
    missing = [
        column for column, folder in folders.items() if not (folder / ANNOTATIONS_FILE).is_file()
    ]
    work = [(plan, column, num_pairs[column]) for column in missing]
    if jobs <= 1 or len(work) <= 1:
        for item in work:
            render_column(*item)
        return folders
    os.environ['OMP_NUM_THREADS'] = '1'  # of the processes, which start afresh
    context = multiprocessing.get_context('spawn')
    with ProcessPoolExecutor(jobs, mp_context=context) as executor:
        for future in [executor.submit(render_column, *item) for item in work]:
            future.result()
    return folders


def render_column(plan: HeldOut, column: str, num_pairs: int) -> None:
    """Render one column of the plan."""
    from rgbt_models.synthetic import default_rig
    from rgbt_models.synthetic.dataset import DatasetOptions, describe_rig, write_pairs
    from rgbt_models.synthetic.world import Extra, render_pair, Sensors

    cv2.setNumThreads(1)
    rig = default_rig()
    condition = None if column == MIXED else Condition(column)
    sensors = None if plan.has_drawn_sensors else Sensors(rgb_noise=RGB_NOISE)
    pairs = (
        render_pair(
            plan.seed + index, rig, condition=condition, sensors=sensors, extras=Extra.CONTRAST
        )
        for index in range(num_pairs)
    )
    write_pairs(
        plan.folder(column, num_pairs),
        pairs,
        info={'column': column, **plan.describe(), **describe_rig(rig)},
        options=DatasetOptions(sensors=sensors),
    )


def render_sequence_of(plan: HeldOut, scenario_name: str, rate_hz: float) -> Path:
    """Render a scenario as a folder of pairs with the truth about the cameras, if not there yet.

    Args:
        plan: Where, and the seed; the cameras are those of the scenario.
        scenario_name: A shipped one, or a YAML file.
        rate_hz: Pairs per second.

    Returns:
        Its folder.
    """
    from rgbt_models.synthetic import (
        build_rig,
        DatasetOptions,
        pair_shots,
        render_sequence,
        write_pairs,
    )
    from rgbt_models.synthetic.dataset import describe_rig
    from rgbt_perception.simulation import load_scenario, ScenarioChanges

    changes = ScenarioChanges(seed=plan.seed, rate_hz=rate_hz)
    scenario = load_scenario(scenario_name, changes)
    settings = hashlib.sha256(repr(scenario).encode()).hexdigest()[:8]
    folder = plan.folder(f'{Path(scenario_name).stem}-{settings}', round(scenario.duration_s))
    if (folder / ANNOTATIONS_FILE).is_file():
        return folder
    cv2.setNumThreads(1)
    rig = build_rig(scenario)
    pairs = pair_shots(
        render_sequence(scenario), rig, max_apart_s=0.5 / rate_hz, has_contrast=True
    )
    info = {'scenario': scenario_name, **plan.describe(), **describe_rig(rig)}
    write_pairs(folder, pairs, info=info, options=DatasetOptions())
    return folder


def read_rows(folder: Path) -> list[dict[str, Any]]:
    """Return what the annotations say about each pair of a column, in order."""
    document = json.loads((folder / ANNOTATIONS_FILE).read_text(encoding='utf-8'))
    return list(document['images'])


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what all benches of the default model share."""
    positive = number(int, at_least=1)
    parser.add_argument('--card', default='tiny', help='name or folder (default: %(default)s)')
    parser.add_argument('--threads', type=positive, default=1, help='CPU threads of the engine')
    parser.add_argument(
        '--device', default='cpu', help="of the engine, 'cpu' or 'cuda:N' (default: %(default)s)"
    )
    parser.add_argument(
        '--write-page', action='store_true', help='write the tables to docs/default_model.md'
    )


def add_held_out_arguments(parser: argparse.ArgumentParser) -> None:
    """Add where rendered pairs are kept and how they are rendered."""
    parser.add_argument(
        '--work', type=Path, default=WORK, help='rendered pairs are kept here (%(default)s)'
    )
    parser.add_argument('--seed', type=number(int, at_least=0), default=HELD_OUT_SEED)
    parser.add_argument(
        '--drawn-sensors', action='store_true', help='every pair with cameras of its own'
    )
    parser.add_argument(
        '--columns',
        nargs='+',
        choices=COLUMNS,
        default=list(COLUMNS),
        help='instead of all conditions',
    )
    parser.add_argument(
        '--jobs', type=number(int, at_least=1), default=1, help='processes that render'
    )


def plan_from(args: argparse.Namespace) -> HeldOut:
    """Return the plan of the arguments."""
    return HeldOut(work=args.work, seed=args.seed, has_drawn_sensors=args.drawn_sensors)


def config_from(args: argparse.Namespace) -> PerceptionConfig:
    """Return the settings of the product: card, device and threads; the rest is default."""
    from rgbt_perception.config import EngineConfig, ModelConfig

    return PerceptionConfig(
        model=ModelConfig(card=args.card),
        engine=EngineConfig(num_threads=args.threads, device=args.device),
    )


def in_order(columns: Iterable[str], known: Sequence[str] = COLUMNS) -> list[str]:
    """Return columns in the order of the world, each once."""
    chosen = set(columns)
    return [column for column in known if column in chosen]
