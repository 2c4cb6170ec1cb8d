# SPDX-License-Identifier: Apache-2.0
"""A picture of a run over time: dominance, mode, latency, detections, day and night."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
import importlib
from pathlib import Path
from typing import Any

from rgbt_perception.errors import BackendUnavailableError
from rgbt_perception.received import ReceivedResult
from rgbt_perception.truth import Truth
from rgbt_perception.types import Mode, NS_PER_S

MODE_COLORS = {
    Mode.FUSED: '#4daf7c',
    Mode.RGB_ONLY: '#3b7dd8',
    Mode.THERMAL_ONLY: '#e0702d',
    Mode.NONE: '#9a9a9a',
}
RGB_COLOR, THERMAL_COLOR, NIGHT_COLOR = '#3b7dd8', '#e0702d', '#1d2b4f'
TEXT_COLOR, GRID_COLOR = '#333333', '#dddddd'


def write_timeline(
    path: Path,
    results: Sequence[ReceivedResult],
    latencies: Mapping[int, float],
    truths: Mapping[int, Truth],
    *,
    title: str,
) -> None:
    """Draw a run as PNG.

    Args:
        path: File to write.
        results: Results ordered by stamp; at least one.
        latencies: Milliseconds from sending to receiving, by stamp.
        truths: Ground truth by stamp; it tells day from night.
        title: One line.

    Raises:
        BackendUnavailableError: If matplotlib is not installed.
    """
    figures = import_figures()
    figure = figures.Figure(figsize=(11.0, 6.6), dpi=120, layout='constrained')
    axes = figure.subplots(4, 1, sharex=True, height_ratios=(3.0, 0.55, 2.0, 1.4))
    start_ns = results[0].stamp_ns
    times = [(result.stamp_ns - start_ns) / NS_PER_S for result in results]
    end = times[-1] + (times[-1] / (len(times) - 1) if len(times) > 1 else 1.0)
    figure.suptitle(title, fontsize=11, color=TEXT_COLOR, x=0.01, ha='left')
    _draw_mdi(axes[0], times, results)
    _draw_modes(axes[1], times, results, end)
    _draw_latency(axes[2], times, results, latencies)
    _draw_detections(axes[3], times, results)
    nights = [
        (times[index], truths[result.stamp_ns].is_night)
        for index, result in enumerate(results)
        if result.stamp_ns in truths
    ]
    for index in (0, 2, 3):
        for begin, stop, is_night in spans(nights, end):
            if is_night:
                axes[index].axvspan(begin, stop, color=NIGHT_COLOR, alpha=0.09, lw=0)
        _style(axes[index])
    _label_day(axes[0], spans(nights, end))
    axes[3].set_xlabel('time in the bag, s', color=TEXT_COLOR)
    axes[3].set_xlim(0.0, end)
    figure.savefig(path)


def spans(points: Sequence[tuple[float, Any]], end: float) -> Iterator[tuple[float, float, Any]]:
    """Yield (begin, end, value) of stretches of equal value.

    Args:
        points: (time, value), ordered by time; a value holds until the next point.
        end: End of the last stretch.
    """
    begin = 0
    for index in range(1, len(points) + 1):
        if index == len(points) or points[index][1] != points[begin][1]:
            stop = end if index == len(points) else points[index][0]
            yield points[begin][0], stop, points[begin][1]
            begin = index


def _draw_mdi(axis: Any, times: list[float], results: Sequence[ReceivedResult]) -> None:
    mdi = [result.mdi for result in results]
    axis.axhline(0.0, color='#888888', lw=0.8)
    above, below = ([value >= 0.0 for value in mdi], [value <= 0.0 for value in mdi])
    axis.fill_between(times, mdi, 0.0, where=above, color=RGB_COLOR, alpha=0.3, interpolate=True)
    axis.fill_between(
        times, mdi, 0.0, where=below, color=THERMAL_COLOR, alpha=0.3, interpolate=True
    )
    axis.plot(times, mdi, color=TEXT_COLOR, lw=1.4)
    axis.set_ylim(-1.1, 1.1)
    axis.set_yticks((-1.0, 0.0, 1.0), ('thermal  -1', '0', 'RGB  +1'))
    axis.set_ylabel('mdi', color=TEXT_COLOR)


def _draw_modes(
    axis: Any, times: list[float], results: Sequence[ReceivedResult], end: float
) -> None:
    shown: set[Mode] = set()
    points = [(time, result.mode) for time, result in zip(times, results, strict=True)]
    for begin, stop, mode in spans(points, end):
        label = None if mode in shown else mode.value
        axis.axvspan(begin, stop, color=MODE_COLORS[mode], lw=0, label=label)
        shown.add(mode)
    axis.set_yticks(())
    axis.set_ylabel('mode', color=TEXT_COLOR, rotation=0, ha='right', va='center')
    axis.legend(
        loc='lower left',
        bbox_to_anchor=(0.0, 1.0),
        ncols=4,
        frameon=False,
        fontsize=8,
        handlelength=1.2,
        borderaxespad=0.1,
    )
    for side in axis.spines.values():
        side.set_visible(False)


def _draw_latency(
    axis: Any,
    times: list[float],
    results: Sequence[ReceivedResult],
    latencies: Mapping[int, float],
) -> None:
    nan = float('nan')
    total = [latencies.get(result.stamp_ns, nan) for result in results]
    axis.plot(times, total, color='#7b3fa0', lw=1.2, label='image sent to result received')
    axis.plot(
        times,
        [result.latency_ms for result in results],
        color='#b79acb',
        lw=1.2,
        label='time in the node',
    )
    axis.set_ylim(0.0, 1.3 * axis.get_ylim()[1])  # room for the legend
    axis.set_ylabel('latency, ms', color=TEXT_COLOR)
    axis.legend(loc='upper right', frameon=False, fontsize=8, ncols=2)


def _draw_detections(axis: Any, times: list[float], results: Sequence[ReceivedResult]) -> None:
    names = sorted({name for result in results for name in result.class_names})
    below = [0.0] * len(results)
    for name, color in zip(names, ('#c0504d', '#4f81bd', '#9bbb59', '#8064a2'), strict=False):
        counts = [float(result.class_names.count(name)) for result in results]
        top = [low + count for low, count in zip(below, counts, strict=True)]
        axis.fill_between(times, below, top, step='mid', color=color, alpha=0.8, lw=0, label=name)
        below = top
    axis.set_ylim(0.0, 1.3 * max([*below, 1.0]))
    axis.set_ylabel('detections', color=TEXT_COLOR)
    if names:
        axis.legend(loc='upper right', frameon=False, fontsize=8, ncols=len(names))


def _label_day(axis: Any, stretches: Iterator[tuple[float, float, Any]]) -> None:
    for begin, stop, is_night in stretches:
        text = {True: 'night', False: 'day'}.get(is_night, '')
        axis.text(
            (begin + stop) / 2.0,
            1.02,
            text,
            ha='center',
            va='bottom',
            fontsize=8,
            color='#777777',
            transform=axis.get_xaxis_transform(),
        )


def _style(axis: Any) -> None:
    axis.grid(color=GRID_COLOR, lw=0.6)
    axis.set_axisbelow(True)
    axis.tick_params(colors=TEXT_COLOR, labelsize=8)
    for side in ('top', 'right'):
        axis.spines[side].set_visible(False)


def import_figures() -> Any:
    """Import what draws the timeline.

    Raises:
        BackendUnavailableError: If matplotlib is not installed.
    """
    try:
        return importlib.import_module('matplotlib.figure')
    except ImportError as error:
        raise BackendUnavailableError(
            f'the timeline needs matplotlib, which cannot be imported ({error}): '
            f"pip install 'rgbt_perception[plot]'"
        ) from error
