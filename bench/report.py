# SPDX-License-Identifier: Apache-2.0
"""What all measurements share: conditions, summaries, bounds, and a JSON file.

    samples: list[float] = ...
    bounds = [Bound(name='p99 latency', value=1.1, at_most=1.2, unit='x')]
    results = {'conditions': conditions(rounds=5), 'latency_ms': describe(samples)}
    path = write_results('soak', {**results, **describe_bounds(bounds)}, Path('bench_out'))
    return print_bounds(bounds, path)

Sides that are compared take turns in every round, so that other load on the machine meets both
alike; ratios are what is quoted.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib import metadata
import json
import math
import os
from pathlib import Path
import platform
import re

import numpy as np
from rich.console import Console

from rgbt_models.card import ModelCard

PACKAGES = (
    'rgbt_perception',
    'numpy',
    'opencv-python-headless',
    'onnxruntime',
    'torch',
    'ros-rclpy',
)
NOT_INSTALLED = 'not installed'


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """One promise and what was measured.

    Attributes:
        name: What was measured.
        value: The measured value; NaN never keeps a bound.
        at_most: Largest allowed value, inclusive; None = no upper bound.
        at_least: Smallest allowed value, inclusive; None = no lower bound.
        unit: Unit for the text.
    """

    name: str
    value: float
    at_most: float | None = None
    at_least: float | None = None
    unit: str = ''

    @property
    def is_kept(self) -> bool:
        """True when the value is within the bound."""
        if math.isnan(self.value):
            return False
        is_low_enough = self.at_most is None or self.value <= self.at_most
        return is_low_enough and (self.at_least is None or self.value >= self.at_least)

    @property
    def text(self) -> str:
        """One line: name, value, bound and verdict."""
        limits = [
            f'{word} {limit:g}'
            for word, limit in (('at least', self.at_least), ('at most', self.at_most))
            if limit is not None
        ]
        unit = f' {self.unit}' if self.unit else ''
        verdict = 'kept' if self.is_kept else 'BROKEN'
        return f'{verdict}: {self.name} {self.value:.4g}{unit}, bound {" and ".join(limits)}{unit}'


def conditions(*, card: ModelCard | None = None, **facts: object) -> dict[str, object]:
    """Return what figures depend on: processor, cores, load, versions, and given facts.

    Args:
        card: Model card in use, None = no model.
        **facts: Further conditions of this measurement, e.g. ``rounds=5``; JSON values.
    """
    described: dict[str, object] = {
        'processor': processor_name(),
        'cores': len(os.sched_getaffinity(0)),
        'load_1min': round(os.getloadavg()[0], 2),
        'system': f'{platform.system()} {platform.release()}',
        'python': platform.python_version(),
        'versions': versions(),
    }
    if card is not None:
        described['card'] = {'name': card.name, 'version': card.version}
    return {**described, **facts}


def versions(names: Iterable[str] = PACKAGES) -> dict[str, str]:
    """Return the installed version of each distribution."""
    return {name: _version_of(name) for name in names}


def describe(samples: Sequence[float], digits: int = 3) -> dict[str, float]:
    """Return median, p99, smallest, largest and number of samples, rounded.

    Args:
        samples: At least one value.
        digits: Digits after the point.

    Raises:
        ValueError: If there is no sample.
    """
    if not len(samples):
        raise ValueError('no samples, expected at least one; measure for longer')
    values = np.asarray(samples, np.float64)
    return {
        'median': round(float(np.median(values)), digits),
        'p99': round(float(np.percentile(values, 99.0)), digits),
        'min': round(float(values.min()), digits),
        'max': round(float(values.max()), digits),
        'num': len(values),
    }


def describe_bounds(bounds: Iterable[Bound]) -> dict[str, object]:
    """Return the bounds as the JSON value ``bounds`` of a results file."""
    return {
        'bounds': [
            {
                'name': bound.name,
                'value': None if math.isnan(bound.value) else round(bound.value, 6),
                'unit': bound.unit,
                'at_most': bound.at_most,
                'at_least': bound.at_least,
                'is_kept': bound.is_kept,
            }
            for bound in bounds
        ]
    }


def write_results(name: str, results: dict[str, object], out_dir: Path) -> Path:
    """Write ``<out_dir>/<name>.json`` and return its path."""
    out_dir.mkdir(parents=True, exist_ok=True)
    path = out_dir / f'{name}.json'
    text = json.dumps(results, indent=2, allow_nan=False)
    path.write_text(text + '\n', encoding='utf-8')
    return path


def print_bounds(bounds: Sequence[Bound], path: Path) -> int:
    """Print one line per bound and where the results are; return the exit status.

    Returns:
        0 when every bound is kept, else 1.
    """
    console = Console(soft_wrap=True, highlight=False)
    for bound in bounds:
        console.print(bound.text, style=None if bound.is_kept else 'bold red', markup=False)
    console.print(f'wrote {path}', markup=False)
    return 0 if all(bound.is_kept for bound in bounds) else 1


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


def new_parser(name: str, text: str | None) -> argparse.ArgumentParser:
    """Return the parser of ``python -m bench.NAME``, which shows ``text`` as it is."""
    return argparse.ArgumentParser(
        prog=f'python -m bench.{name}',
        description=text,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def add_common_arguments(parser: argparse.ArgumentParser, *, rounds: int | None = None) -> None:
    """Add ``--out`` and, with a default for it, ``--rounds``."""
    if rounds is not None:
        parser.add_argument(
            '--rounds',
            type=number(int, at_least=1),
            default=rounds,
            help='rounds in which the compared sides take turns (default: %(default)s)',
        )
    parser.add_argument(
        '--out', type=Path, default=Path('bench_out'), help='folder of the JSON file'
    )


def processor_name() -> str:
    """Return the name of the processor as the system tells it."""
    try:
        lines = Path('/proc/cpuinfo').read_text(encoding='utf-8').splitlines()
    except OSError:
        return platform.processor()
    names = [line.split(':', 1)[1].strip() for line in lines if line.startswith('model name')]
    return names[0] if names else platform.processor()


def _version_of(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return NOT_INSTALLED


def parse_size_hw(text: str) -> tuple[int, int]:
    """Parse HEIGHTxWIDTH, px.

    Raises:
        argparse.ArgumentTypeError: If it is something else.
    """
    match = re.fullmatch(r'(\d+)x(\d+)', text)
    if match is None:
        raise argparse.ArgumentTypeError(f"'{text}' is not HEIGHTxWIDTH; write e.g. 96x128")
    return int(match[1]), int(match[2])
