# SPDX-License-Identifier: Apache-2.0
"""Writing a dominance study: figures as JSON and CSV, a table as Markdown, and pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
import csv
from pathlib import Path
from typing import Any

from rgbt_perception.mdi_study import Estimator, ESTIMATORS, Measurement, ORACLE
from rgbt_perception.replay import write_json
from rgbt_perception.timeline import GRID_COLOR, import_figures, TEXT_COLOR

STUDY_FILE = 'study.json'
MEASUREMENTS_FILE = 'measurements.csv'
TABLE_FILE = 'table.md'
CURVES_FILE = 'by_degradation.png'
SCATTER_FILE = 'against_oracle.png'
DIGITS = 5
RGB_COLOR, THERMAL_COLOR, CLEAN_COLOR = '#3b7dd8', '#e0702d', '#4daf7c'
SHOWN = (
    'entropy_channel',
    'gradient_norm',
    'gradient_times_input',
    'linear_share_calibrated',
    'drop_kl',
    'shapley_pseudo',
)
ENTROPY_WARNING = (
    'Feature entropy is a property of the features, not a vote: it can rise with sensor noise and '
    'then points at the worse camera. Do not steer by it, whatever its correlation is here.'
)


def write_study(
    out_dir: Path, summary: Mapping[str, Any], measurements: Sequence[Measurement]
) -> None:
    """Write everything about a study into a folder.

    Args:
        out_dir: Created if missing; files of an earlier study are replaced.
        summary: Of ``mdi_study.summarise``.
        measurements: What it was made of.

    Raises:
        BackendUnavailableError: If matplotlib is not installed; the rest is written before.
    """
    out_dir.mkdir(parents=True, exist_ok=True)
    write_json(out_dir / STUDY_FILE, dict(summary))
    write_measurements(out_dir / MEASUREMENTS_FILE, measurements)
    (out_dir / TABLE_FILE).write_text(markdown_tables(summary), encoding='utf-8')
    draw_curves(out_dir / CURVES_FILE, summary)
    draw_scatter(out_dir / SCATTER_FILE, summary, measurements)


def write_measurements(path: Path, measurements: Sequence[Measurement]) -> None:
    """Write one line per pair and condition: pair, degradation, oracle, estimators."""
    names = [ORACLE, *(estimator.name for estimator in ESTIMATORS)]
    with path.open('w', encoding='utf-8', newline='') as file:
        writer = csv.writer(file)
        writer.writerow(['pair', 'degradation', *names])
        for item in measurements:
            values = [round(item.values[name], DIGITS) for name in names]
            writer.writerow([item.pair_name, item.degradation, *values])


def markdown_tables(summary: Mapping[str, Any]) -> str:
    """Return the correlations and the mean index by degradation as two Markdown tables."""
    conditions = summary['degradations']
    lines = [
        f'Rank correlation with the true loss change, {summary["pairs"]} pairs by condition.',
        '',
        _row(['estimator', 'labels', 'cost', 'all [95 %]', *conditions]),
        _row(['---', '---', '---', *['---:'] * (1 + len(conditions))]),
    ]
    for estimator in ESTIMATORS:
        found = summary['estimators'][estimator.name]
        low, high = found['interval']
        cells = [format_rho(found['rho_by_degradation'][name]) for name in conditions]
        overall = f'{format_rho(found["rho"])} [{format_rho(low)}, {format_rho(high)}]'
        lines.append(_row([*_described(estimator), overall, *cells]))
    lines += ['', ENTROPY_WARNING, '', 'Mean index, and mean true loss change, by condition.', '']
    lines += [_row(['', *conditions]), _row(['---', *['---:'] * len(conditions)])]
    rows = {'true loss change (oracle)': summary['oracle']}
    rows |= {item.title: summary['estimators'][item.name] for item in ESTIMATORS}
    for title, found in rows.items():
        means = [format_rho(found['mean_by_degradation'][name]) for name in conditions]
        lines.append(_row([title, *means]))
    return '\n'.join(lines) + '\n'


def format_rho(value: float | None) -> str:
    """Write a correlation or an index with its sign; n/a where it is not defined."""
    return 'n/a' if value is None else f'{value:+.2f}'


def draw_curves(path: Path, summary: Mapping[str, Any]) -> None:
    """Draw the mean index of the main estimators by condition, with the oracle below."""
    figure = import_figures().Figure(figsize=(11.0, 6.4), dpi=110, layout='constrained')
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(2.2, 1.0))
    conditions = summary['degradations']
    places = range(len(conditions))
    above.axhline(0.0, color='#888888', lw=0.8)
    for estimator in _shown():
        means = summary['estimators'][estimator.name]['mean_by_degradation']
        above.plot(
            places, [means[name] for name in conditions], marker='o', ms=4, label=estimator.title
        )
    above.set_ylim(-1.05, 1.05)
    above.set_ylabel('mean mdi  (thermal -1, RGB +1)', color=TEXT_COLOR)
    above.legend(frameon=False, fontsize=8, ncols=3, loc='upper left')
    oracle = summary['oracle']['mean_by_degradation']
    colors = [_color_of(name) for name in conditions]
    below.bar(places, [oracle[name] for name in conditions], color=colors)
    below.axhline(0.0, color='#888888', lw=0.8)
    below.set_ylabel('true loss change', color=TEXT_COLOR)
    below.set_xticks(list(places), conditions, rotation=20, ha='right', fontsize=8)
    figure.suptitle(f'Dominance by condition, {summary["pairs"]} pairs', fontsize=11)
    for axis in (above, below):
        axis.grid(color=GRID_COLOR, lw=0.6)
        axis.set_axisbelow(True)
    figure.savefig(path)


def draw_scatter(
    path: Path, summary: Mapping[str, Any], measurements: Sequence[Measurement]
) -> None:
    """Draw the main estimators against the oracle, one point per pair and condition."""
    figure = import_figures().Figure(figsize=(11.0, 6.8), dpi=110, layout='constrained')
    axes = figure.subplots(2, 3, sharex=True).flat
    oracle = [item.values[ORACLE] for item in measurements]
    colors = [_color_of(item.degradation) for item in measurements]
    for axis, estimator in zip(axes, _shown(), strict=True):
        values = [item.values[estimator.name] for item in measurements]
        axis.scatter(oracle, values, c=colors, s=6, alpha=0.6, lw=0)
        rho = format_rho(summary['estimators'][estimator.name]['rho'])
        axis.set_title(f'{estimator.title}: {rho}', fontsize=9, color=TEXT_COLOR)
        axis.grid(color=GRID_COLOR, lw=0.6)
        axis.set_axisbelow(True)
        axis.tick_params(labelsize=8)
    figure.supxlabel('true loss without RGB less true loss without thermal', fontsize=9)
    figure.supylabel('mdi', fontsize=9)
    figure.suptitle('RGB made worse blue, thermal made worse orange, neither green', fontsize=10)
    figure.savefig(path)


def _shown() -> list[Estimator]:
    by_name = {estimator.name: estimator for estimator in ESTIMATORS}
    return [by_name[name] for name in SHOWN]


def _described(estimator: Estimator) -> list[str]:
    return [estimator.title, 'yes' if estimator.needs_labels else 'no', estimator.cost]


def _color_of(condition: str) -> str:
    if condition.startswith('rgb'):
        return RGB_COLOR
    return THERMAL_COLOR if condition.startswith('thermal') else CLEAN_COLOR


def _row(cells: Sequence[str]) -> str:
    return f'| {" | ".join(cells)} |'
