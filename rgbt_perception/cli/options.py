# SPDX-License-Identifier: Apache-2.0
"""Options that several subcommands share."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace
import math
from pathlib import Path
import re
from typing import Protocol, TYPE_CHECKING

from rgbt_perception.errors import ConfigError

if TYPE_CHECKING:
    from rgbt_perception.bag_messages import BagTopics
    from rgbt_perception.config import PerceptionConfig


class RenderSettings(Protocol):
    """What of the settings of a run says which pairs are rendered."""

    @property
    def pool_pairs(self) -> int: ...  # noqa: D102
    @property
    def pool_scale(self) -> float: ...  # noqa: D102
    @property
    def pool_seed(self) -> int: ...  # noqa: D102


def add_pipeline_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of every subcommand that runs the pipeline."""
    group = parser.add_argument_group('pipeline')
    group.add_argument(
        '--params-file',
        type=Path,
        metavar='YAML',
        help='parameters of the node, as for ros2 (default: config/perception.param.yaml)',
    )
    group.add_argument(
        '--model', metavar='NAME|DIR', help='model card: a shipped name or a folder (model.card)'
    )
    group.add_argument(
        '--backend', metavar='NAME', help='what runs the network (engine.backend); see rgbt doctor'
    )
    group.add_argument('--device', metavar='DEVICE', help="where it runs: 'cpu' or 'cuda:0'")
    group.add_argument(
        '--precision', metavar='KIND', help='what it computes in, e.g. bf16 (engine.precision)'
    )


def load_pipeline_config(args: argparse.Namespace) -> PerceptionConfig:
    """Return the settings that the options ask for.

    Raises:
        ConfigError: If the parameter file is wrong.
    """
    from rgbt_perception.config import load_config, PerceptionConfig

    config = load_config(args.params_file) if args.params_file else PerceptionConfig()
    if args.model:
        config = replace(config, model=replace(config.model, card=args.model))
    engine = {name: getattr(args, name) for name in ('backend', 'device', 'precision')}
    return replace(config, engine=replace(config.engine, **{k: v for k, v in engine.items() if v}))


def add_topic_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that name the camera topics of a bag."""
    group = parser.add_argument_group('topics')
    group.add_argument('--rgb-topic', metavar='TOPIC', help='default: /rgb/image_raw')
    group.add_argument('--thermal-topic', metavar='TOPIC', help='default: /thermal/image_raw')


def topics_from(args: argparse.Namespace) -> BagTopics:
    """Return the topics that the options name."""
    from rgbt_perception.bag_messages import BagTopics

    named = {'rgb': args.rgb_topic, 'thermal': args.thermal_topic}
    return BagTopics(**{key: topic for key, topic in named.items() if topic})


def add_rendering_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of subcommands that render what they learn from."""
    parser.add_argument(
        '--on-the-fly',
        action='store_true',
        help='render every pair when it is needed; nothing of it stays in the folder of --pool',
    )
    parser.add_argument(
        '--workers',
        type=count,
        metavar='N',
        default=1,
        help='cores that render; with --on-the-fly those of each process (0: its own)',
    )


def prepare_pool(args: argparse.Namespace, config: RenderSettings) -> None:
    """Render what the pool lacks, or write down what will be rendered on the fly.

    Raises:
        ConfigError: If the options contradict each other.
        DatasetError: If the folder holds something else.
    """
    from rgbt_models.train.pool import claim_stream, render_pool

    if args.on_the_fly:
        if getattr(args, 'render_only', False):
            raise ConfigError(
                '--render-only is given with --on-the-fly; expected one of them, for nothing is '
                'rendered beforehand on the fly; leave one out'
            )
        claim_stream(
            args.pool, seed=config.pool_seed, scale=config.pool_scale, num_workers=args.workers
        )
        return
    render_pool(
        args.pool,
        num_pairs=config.pool_pairs,
        seed=config.pool_seed,
        scale=config.pool_scale,
        num_workers=max(1, args.workers),
    )


def positive_float(text: str) -> float:
    """Parse a number above 0, for argparse."""
    value = float(text)
    if not 0.0 < value < float('inf'):
        raise argparse.ArgumentTypeError(f'{text} is not a number above 0')
    return value


def count(text: str) -> int:
    """Parse a whole number of 0 or more, for argparse."""
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f'{text} is below 0')
    return value


def number(kind: type[int] | type[float], *, at_least: float) -> Callable[[str], float]:
    """Return an argparse type: a number of that kind that is not smaller than a bound.

    Args:
        kind: int or float.
        at_least: Smallest accepted value, inclusive.
    """

    def parse(text: str) -> float:
        try:
            value = kind(text)
        except ValueError as error:
            expected = 'a whole number' if kind is int else 'a number'
            raise argparse.ArgumentTypeError(f"'{text}' is not {expected}; correct it") from error
        if not value >= at_least or math.isinf(value):
            raise argparse.ArgumentTypeError(
                f'{text} is out of range, expected {at_least:g} or more; correct it'
            )
        return value

    return parse


def parse_size_hw(text: str) -> tuple[int, int]:
    """Parse HEIGHTxWIDTH, px.

    Raises:
        argparse.ArgumentTypeError: If it is something else.
    """
    match = re.fullmatch(r'(\d+)x(\d+)', text)
    if match is None:
        raise argparse.ArgumentTypeError(f"'{text}' is not HEIGHTxWIDTH; write e.g. 96x128")
    return int(match[1]), int(match[2])


def format_hw(size_hw: tuple[int, int]) -> str:
    """Return a size as HEIGHTxWIDTH, which ``parse_size_hw`` reads."""
    height, width = size_hw
    return f'{height}x{width}'
