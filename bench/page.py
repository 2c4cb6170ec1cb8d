# SPDX-License-Identifier: Apache-2.0
"""Tables in Markdown, and the pages of docs/ that measurements fill.

A page marks what a program writes: everything between ``<!-- begin NAME -->`` and
``<!-- end NAME -->`` is replaced, the rest is written by hand.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

from rgbt_perception.errors import ConfigError

DEFAULT_MODEL_PAGE = Path(__file__).resolve().parent.parent / 'docs' / 'default_model.md'
DIGITS = 3
SPREAD = ('median', 'min', 'max')
RATIO = ('ratio', 'smallest_ratio', 'largest_ratio')  # in the results of bench.token_merging
Cell: TypeAlias = 'str | float | None'


def build_table(header: Sequence[str], rows: Iterable[Sequence[Cell]]) -> str:
    """Return a Markdown table; the first column is text, the others are numbers.

    Args:
        header: Names of the columns.
        rows: Cells; numbers get three digits, None is left empty.
    """
    lines = [_line(header), _line(['---', *['---:'] * (len(header) - 1)])]
    lines += [_line([_text(cell) for cell in row]) for row in rows]
    return '\n'.join(lines)


def describe_spread(values: Mapping[str, float], keys: Sequence[str] = SPREAD) -> str:
    """Return a median with its range as the text of a cell.

    Args:
        values: Has the three numbers.
        keys: Their names: the median, the least and the most.
    """
    middle, least, most = (f'{values[key]:.{DIGITS}f}' for key in keys)
    return f'{middle} ({least} to {most})'


def write_section(page: Path, name: str, text: str) -> None:
    """Replace one section of a page.

    Args:
        page: Markdown file with the marks of the section.
        name: Of the section.
        text: Goes between the marks, an empty line before and after.

    Raises:
        ConfigError: If the page has no such section.
    """
    before, _, after = _split(page, name)
    page.write_text(f'{before}\n\n{text.strip()}\n\n{after}', encoding='utf-8')


def read_section(page: Path, name: str) -> str:
    """Return one section of a page, without the empty lines around it.

    Raises:
        ConfigError: If the page has no such section.
    """
    _, text, _ = _split(page, name)
    return text.strip()


def _split(page: Path, name: str) -> tuple[str, str, str]:
    """Return the text of a page up to and with the first mark, between both, and after that."""
    begin, end = f'<!-- begin {name} -->', f'<!-- end {name} -->'
    before, has_begin, rest = page.read_text(encoding='utf-8').partition(begin)
    text, has_end, after = rest.partition(end)
    if not (has_begin and has_end):
        raise ConfigError(
            f"'{page}' has no section '{name}', expected the lines {begin} and {end}; add them"
        )
    return before + begin, text, end + after


def _line(cells: Sequence[str]) -> str:
    return f'| {" | ".join(cells)} |'


def _text(cell: Cell) -> str:
    if cell is None:
        return ''
    return cell if isinstance(cell, str) else f'{cell:.{DIGITS}f}'
