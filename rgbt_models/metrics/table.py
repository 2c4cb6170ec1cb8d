# SPDX-License-Identifier: Apache-2.0
"""Result tables: fused beside each camera alone, always.

A fusion that loses to its better camera is the standing complaint about published RGB-thermal
numbers, so a table without the single cameras cannot be built here.
"""

from __future__ import annotations

from collections.abc import Mapping

from rgbt_models.errors import DatasetError

VARIANTS = ('rgb_only', 'thermal_only', 'fused')


def build_table(
    results: Mapping[str, Mapping[str, float | None]], *, title: str, digits: int = 3
) -> str:
    """Return a Markdown table with one row per variant.

    Args:
        results: Metric by name, by variant: 'rgb_only', 'thermal_only' and 'fused'; others may
            follow. Columns are the metrics of ``fused``, in its order.
        title: What was measured: model, data set, split, and the setting of the metric.
        digits: Behind the point.

    Raises:
        DatasetError: If one of the three variants is missing.
    """
    missing = [variant for variant in VARIANTS if variant not in results]
    if missing:
        raise DatasetError(
            f"results of '{title}' hold {sorted(results)}, expected all of {', '.join(VARIANTS)}; "
            f'measure {", ".join(missing)} too'
        )
    columns = list(results['fused'])
    rows = [*VARIANTS, *(name for name in results if name not in VARIANTS)]
    lines = [
        f'**{title}**',
        '',
        '| | ' + ' | '.join(columns) + ' |',
        '|---|' + '---:|' * len(columns),
    ]
    for row in rows:
        cells = [_cell(results[row].get(column), digits) for column in columns]
        lines.append(f'| {row} | ' + ' | '.join(cells) + ' |')
    return '\n'.join(lines) + '\n'


def _cell(value: float | None, digits: int) -> str:
    return '' if value is None else f'{value:.{digits}f}'
