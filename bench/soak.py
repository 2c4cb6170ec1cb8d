# SPDX-License-Identifier: Apache-2.0
"""Let the node run at rate among random faults, and see whether it grows, slows or falls silent.

    python -m bench.soak [--minutes 20] [--rate 10] [--seed 1] [--input 96x128] [--out DIR]

Three processes: the perception node with the shipped model, cameras that go wrong by plan (see
soak_plan.py), and this one, which listens, operates and samples. Exit status 1 when a bound is
broken.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
import sys
import tempfile

from bench.report import (
    add_common_arguments,
    Bound,
    conditions,
    describe,
    describe_bounds,
    format_hw,
    number,
    parse_size_hw,
    print_bounds,
    write_results,
)
from bench.soak_figures import (
    fit_slope,
    growth,
    latencies_in,
    MIB,
    recoveries_s,
    results_by_fault,
)
from bench.soak_plan import build_plan, LONGEST_WARM_UP_S, Plan
from bench.soak_session import Run, run_soak, Settings
from rgbt_models.card import load_card
from rgbt_perception.demo import ros_environment

MEMORY_BOUND_MIB_PER_H = 1.0
LATENCY_BOUND = 1.2
RECOVERY_BOUND_S = 3.0
RESULTS_BOUND = 0.99


def bounds_of(run: Run, plan: Plan, rate_hz: float) -> list[Bound]:
    """Judge a run."""
    results = run.listener.results
    after = [item for item in run.samples if item.time_s >= plan.warm_up_s]
    # Its own memory: resident memory also holds the shared segments of the cameras, as far as they
    # were read, and becomes smaller and larger by megabytes when a camera is restarted.
    slope = fit_slope(
        [item.time_s for item in after], [item.private_bytes / MIB for item in after]
    )
    first, last = (latencies_in(results, item) for item in (plan.first_window, plan.last_window))
    expected = 2.0 * plan.window_s * rate_hz
    ratio = describe(last)['p99'] / describe(first)['p99'] if first and last else float('nan')
    return [
        Bound(
            name='growth of private memory',
            value=slope.per_hour,
            at_most=MEMORY_BOUND_MIB_PER_H,
            unit='MiB/h',
        ),
        Bound(
            name='growth of open descriptors',
            value=growth(run.samples, plan, 'num_descriptors'),
            at_most=0.0,
        ),
        Bound(
            name='growth of threads', value=growth(run.samples, plan, 'num_threads'), at_most=0.0
        ),
        Bound(name='p99 latency, last window over first', value=ratio, at_most=LATENCY_BOUND),
        Bound(
            name='results per pair sent in the windows without faults',
            value=(len(first) + len(last)) / expected,
            at_least=RESULTS_BOUND,
        ),
        Bound(
            name='longest time from the end of a fault to a result of both cameras',
            value=max(recoveries_s(plan, results), default=float('nan')),
            at_most=RECOVERY_BOUND_S,
            unit='s',
        ),
        Bound(
            name='diagnostics messages whose counts do not add up',
            value=run.listener.num_miscounts,
            at_most=0.0,
        ),
    ]


def describe_run(run: Run, settings: Settings) -> dict[str, object]:
    """Return the JSON value of a run."""
    plan, listener = settings.plan, run.listener
    windows = {'first': plan.first_window, 'last': plan.last_window}
    return {
        'conditions': conditions(
            card=load_card('tiny'),
            minutes=plan.duration_s / 60.0,
            rate_hz=settings.rate_hz,
            seed=plan.seed,
            input=format_hw(settings.input_hw),
            images='640x480 rgb8 and mono16',
            warm_up_s=plan.warm_up_s,
            window_s=plan.window_s,
        ),
        **_describe_process(run, plan),
        'latency_ms': {
            name: describe(latencies)
            if (latencies := latencies_in(listener.results, window))
            else {}
            for name, window in windows.items()
        },
        'sent': run.sent,
        'results': len(listener.results),
        'masks': listener.num_masks,
        'detections': listener.num_detections,
        'answers': dict(sorted(listener.answers.items())),
        'last_miscount': listener.last_miscount,
        'status_texts': dict(listener.status_texts.most_common(60)),
        'faults': results_by_fault(plan, listener.results),
    }


def _describe_process(run: Run, plan: Plan) -> dict[str, object]:
    after = [item for item in run.samples if item.time_s >= plan.warm_up_s]
    times_s = [item.time_s for item in after]
    slopes = {
        name: fit_slope(times_s, [getattr(item, f'{name}_bytes') / MIB for item in after])
        for name in ('rss', 'private')
    }
    return {
        'memory_mib_per_h': {
            name: {
                'slope': _number(item.per_hour),
                'interval_95': [_number(item.low), _number(item.high)],
            }
            for name, item in slopes.items()
        },
        'rss_mib': describe([item.rss_bytes / MIB for item in after]),
        'descriptors': describe([float(item.num_descriptors) for item in after]),
        'threads': describe([float(item.num_threads) for item in after]),
        'trace_s_rss_private_mib': [
            [
                round(item.time_s),
                round(item.rss_bytes / MIB, 2),
                round(item.private_bytes / MIB, 2),
            ]
            for item in run.samples[::10]
        ],
    }


def _number(value: float) -> float | None:
    return round(value, 3) if value == value else None  # noqa: PLR0124  # NaN is not JSON


@contextmanager
def work_folder(path: Path | None) -> Iterator[Path]:
    """Give a folder for logs: the given one, which stays, or one that is removed."""
    if path is not None:
        path.mkdir(parents=True, exist_ok=True)
        yield path.resolve()
        return
    with tempfile.TemporaryDirectory(prefix='rgbt-soak-') as folder:
        yield Path(folder)


def main(argv: list[str] | None = None) -> int:
    """Run, judge, print and write."""
    parser = argparse.ArgumentParser(
        prog='python -m bench.soak', description=(__doc__ or '').partition('\n')[0]
    )
    parser.add_argument(
        '--minutes', type=number(float, at_least=0.5), default=20.0, help='after the warm-up'
    )
    parser.add_argument('--rate', type=number(float, at_least=1.0), default=10.0, help='Hz')
    parser.add_argument('--seed', type=number(int, at_least=0), default=1, help='of the faults')
    parser.add_argument('--input', type=parse_size_hw, default=(96, 128), help='network input, px')
    parser.add_argument('--logs', type=Path, help='folder for logs and snapshots that stays')
    parser.add_argument('--domain', type=number(int, at_least=0), help='ROS domain')
    add_common_arguments(parser)
    args = parser.parse_args(argv)
    measured_s = 60.0 * args.minutes
    warm_up_s = min(LONGEST_WARM_UP_S, measured_s / 2.0)
    with work_folder(args.logs) as folder:
        settings = Settings(
            plan=build_plan(seed=args.seed, duration_s=warm_up_s + measured_s),
            rate_hz=args.rate,
            input_hw=args.input,
            work_dir=folder,
            env=ros_environment(args.domain),
        )
        run = run_soak(settings)
    bounds = bounds_of(run, settings.plan, args.rate)
    results = {**describe_bounds(bounds), **describe_run(run, settings)}
    return print_bounds(bounds, write_results('soak', results, args.out))


if __name__ == '__main__':
    sys.exit(main())
