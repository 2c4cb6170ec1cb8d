# SPDX-License-Identifier: Apache-2.0
"""What a measurement reports: its conditions, summaries, bounds, and a JSON file.

    samples: list[float] = ...
    bounds = [Bound(name='p99 latency', value=1.1, at_most=1.2, unit='x')]
    results = {'conditions': conditions(rounds=5), 'latency_ms': describe(samples)}
    path = write_results('soak', {**results, **describe_bounds(bounds)}, Path('bench_out'))
    return print_bounds(bounds, path)

Sides that are compared take turns in every round, so that other load on the machine meets both
alike; ratios are what is quoted.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
import json
import math
import os
from pathlib import Path
import platform
import re
from statistics import median

import numpy as np
from rich.console import Console

from rgbt_models.card import ModelCard
from rgbt_models.cpu import find_cpu_features, find_cpu_name

PACKAGES = (
    'rgbt_perception',
    'numpy',
    'opencv-python-headless',
    'onnxruntime',
    'openvino',
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

    The load is that of this moment: call it when all is measured, and give what ``read_load`` said
    before as ``load_1min_at_start``.

    Args:
        card: Model card in use, None = no model.
        **facts: Further conditions of this measurement, e.g. ``rounds=5``; JSON values.
    """
    described: dict[str, object] = {
        'processor': find_cpu_name(),
        'processor_features': list(find_cpu_features()),
        'cores': len(os.sched_getaffinity(0)),
        'load_1min': read_load(),
        'system': f'{platform.system()} {platform.release()}',
        'python': platform.python_version(),
        'versions': versions(),
    }
    if card is not None:
        described['card'] = {'name': card.name, 'version': card.version}
    return {**described, **facts}


def read_load() -> float:
    """Return how many threads ran or wanted to, mean of the last minute."""
    return round(os.getloadavg()[0], 2)


def versions(names: Iterable[str] = PACKAGES) -> dict[str, str]:
    """Return the installed version of each distribution, that of torch with its build."""
    return {name: find_torch_build() if name == 'torch' else _version_of(name) for name in names}


def find_torch_build() -> str:
    """Return the version of torch as torch says it, e.g. '2.9.1+cpu', without importing torch.

    The version of the distribution does not tell a build for CPUs from one for CUDA, and these
    differ in memory and time.
    """
    spec = find_spec('torch')
    if spec is None or spec.origin is None:
        return NOT_INSTALLED
    path = Path(spec.origin).with_name('version.py')
    text = path.read_text(encoding='utf-8') if path.is_file() else ''
    found = re.search(r"__version__ = '(.+)'", text)
    return found[1] if found else _version_of('torch')


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


def describe_range(values: Sequence[float], digits: int = 3) -> dict[str, float]:
    """Return median, smallest and largest of one or more values, rounded."""
    found = {'median': median(values), 'min': min(values), 'max': max(values)}
    return {name: round(value, digits) for name, value in found.items()}


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


def _version_of(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return NOT_INSTALLED
