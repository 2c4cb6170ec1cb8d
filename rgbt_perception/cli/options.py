# SPDX-License-Identifier: Apache-2.0
"""Options that several subcommands share."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rgbt_perception.bag_messages import BagTopics
    from rgbt_perception.config import PerceptionConfig


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
        '--backend', choices=('auto', 'onnx', 'torch'), help='what runs the network'
    )
    group.add_argument('--device', metavar='DEVICE', help="where it runs: 'cpu' or 'cuda:0'")


def load_pipeline_config(args: argparse.Namespace) -> PerceptionConfig:
    """Return the settings that the options ask for.

    Raises:
        ConfigError: If the parameter file is wrong.
    """
    from rgbt_perception.config import load_config, PerceptionConfig

    config = load_config(args.params_file) if args.params_file else PerceptionConfig()
    if args.model:
        config = replace(config, model=replace(config.model, card=args.model))
    engine = {'backend': args.backend, 'device': args.device}
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
