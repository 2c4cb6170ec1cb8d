# SPDX-License-Identifier: Apache-2.0
"""Show the whole line at work on real ROS 2, without a camera.

Starts the perception node and a bag player as separate programs, subscribes to the results, and
writes to the output folder:
  overlay.mp4     what was found, on both cameras (PNG files where OpenCV has no video encoder)
  timeline.png    dominance, mode, latency and detections over time
  summary.json    counts, latencies and dominance by day and by night
Exits with status 0 when at least 95 % of the pairs sent came back as results.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
import signal
from typing import Any, TYPE_CHECKING

from rgbt_perception.cli.options import positive_float

if TYPE_CHECKING:
    from rgbt_perception.config import PerceptionConfig
    from rgbt_perception.demo import DemoConfig, DemoRun

SUMMARY = 'play a bag through the node on real ROS 2, and show the results'
PLAIN_PERIOD_S = 2.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this subcommand."""
    parser.add_argument('--bag', type=Path, help='bag to play (default: the sample drive)')
    parser.add_argument(
        '--out', type=Path, default=Path('demo_out'), metavar='DIR', help='default: demo_out'
    )
    parser.add_argument(
        '--rate',
        type=positive_float,
        default=5.0,
        metavar='HZ',
        help='pairs per second (default: 5)',
    )
    parser.add_argument(
        '--transport',
        choices=('raw', 'compressed'),
        default='raw',
        help='send raw images, or compressed ones as they lie in the bag (default: raw)',
    )
    parser.add_argument(
        '--params-file',
        type=Path,
        metavar='YAML',
        help='parameters of the node (default: its own)',
    )
    parser.add_argument('--domain-id', type=int, help='ROS domain (default: one of its own)')


def run(args: argparse.Namespace) -> int:
    """Run the demonstration; return the exit status."""
    from rgbt_perception.demo import DemoConfig, SAMPLE_BAG
    from rgbt_perception.share import find_share_file
    from rgbt_perception.timeline import import_figures

    import_figures()  # now rather than after the run
    # A terminated demonstration ends its programs like an interrupted one.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    config = DemoConfig(
        bag=args.bag or find_share_file(SAMPLE_BAG),
        out_dir=args.out,
        rate_hz=args.rate,
        transport=args.transport,
        params_file=args.params_file,
        domain_id=args.domain_id,
    )
    return _report(config, _run_session(config))


def _run_session(config: DemoConfig) -> DemoRun:
    from rgbt_perception.cli.progress import ProgressLine
    from rgbt_perception.errors import BackendUnavailableError

    try:
        from rgbt_perception.ros.demo_session import run_demo
    except ImportError as error:
        raise BackendUnavailableError(
            f'ROS 2 cannot be imported ({error}); source a ROS 2 workspace, or: '
            f"pip install 'rgbt_perception[ros]'"
        ) from error
    with ProgressLine() as line:
        return run_demo(config, line.show)


def _report(config: DemoConfig, demo_run: DemoRun) -> int:
    from rgbt_models.card import load_card
    from rgbt_perception.bag import BagReader
    from rgbt_perception.demo_report import (
        draw_results,
        has_succeeded,
        latencies_ms,
        summarise,
        write_video,
    )
    from rgbt_perception.replay import SUMMARY_FILE, write_json
    from rgbt_perception.timeline import write_timeline

    settings = _node_settings(config)
    with BagReader(config.bag) as reader:
        truths = reader.truth()
    summary = summarise(demo_run, settings, truths)
    summary |= {'bag': config.bag.name, 'rate_hz': config.rate_hz, 'transport': config.transport}
    write_json(config.out_dir / SUMMARY_FILE, summary)
    written = [config.out_dir / SUMMARY_FILE]
    if demo_run.results:
        path = config.out_dir / 'timeline.png'
        title = (
            f'{summary["model"]} on {summary["backend"]}, {summary["precision"]}; '
            f'{config.bag.name} at {config.rate_hz:g} pairs/s'
        )
        write_timeline(path, demo_run.results, latencies_ms(demo_run), truths, title=title)
        card = load_card(settings.model.card)
        pictures = draw_results(config.bag, demo_run.results, card=card, config=settings)
        written += [path, write_video(pictures, config.out_dir, rate_hz=config.rate_hz)]
    _show_summary(summary)
    print(f'written: {", ".join(str(path) for path in written)}')
    if not has_succeeded(summary):
        print(
            f'rgbt demo: {summary["pair_results_received"]} of {summary["pairs_sent"]} pairs came '
            f'back as results, expected at least 95 %; see '
            f"'{config.out_dir / 'perception_node.log'}', or choose a lower --rate"
        )
        return 1
    return 0


def _node_settings(config: DemoConfig) -> PerceptionConfig:
    from rgbt_perception.config import load_config, PerceptionConfig
    from rgbt_perception.sources import load_rig, with_registration

    settings = load_config(config.params_file) if config.params_file else PerceptionConfig()
    return with_registration(settings, load_rig(config.bag))


def _show_summary(summary: dict[str, Any]) -> None:
    latency = summary['latency_ms']
    print(
        f'{summary["results_received"]} results of {summary["pairs_sent"]} pairs and '
        f'{summary["single_frames_sent"]} single frames; {summary["detections"]} detections; '
        f'latency p50 {latency["p50"]} ms, p95 {latency["p95"]} ms, p99 {latency["p99"]} ms'
    )
    print(f'modes: {json.dumps(summary["modes"])}')
    if None not in (summary['mean_mdi_day'], summary['mean_mdi_night']):
        print(f'mean mdi: {summary["mean_mdi_day"]} by day, {summary["mean_mdi_night"]} by night')
