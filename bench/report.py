# SPDX-License-Identifier: Apache-2.0
"""What all measurements share: their report (of ``rgbt_perception.benchmark``) and arguments."""

from __future__ import annotations

import argparse
from pathlib import Path

from rgbt_perception.benchmark.report import (
    Bound,
    conditions,
    describe,
    describe_bounds,
    describe_range,
    NOT_INSTALLED,
    print_bounds,
    read_load,
    versions,
    write_results,
)
from rgbt_perception.cli.options import format_hw, number, parse_size_hw

__all__ = [
    'NOT_INSTALLED',
    'Bound',
    'add_common_arguments',
    'conditions',
    'describe',
    'describe_bounds',
    'describe_range',
    'format_hw',
    'new_parser',
    'number',
    'parse_size_hw',
    'print_bounds',
    'read_load',
    'versions',
    'write_results',
]


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
