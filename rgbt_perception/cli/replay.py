# SPDX-License-Identifier: Apache-2.0
"""Run the pipeline over a bag, offline: every pair, same results every time.

Writes to the output folder:
  results/        a bag with detections, masks and dominance, as the node publishes them
  results.jsonl   one line per pair: stamps, mode, boxes, scores, classes, mdi, skew
  summary.json    counts, and every dropped frame by reason
"""

from __future__ import annotations

import argparse
from pathlib import Path

from rgbt_perception.cli.options import (
    add_pipeline_options,
    add_topic_options,
    load_pipeline_config,
    topics_from,
)

SUMMARY = 'run the pipeline over a bag, offline'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this subcommand."""
    parser.add_argument('bag', type=Path, help='rosbag2 folder, or an .mcap or .db3 file')
    parser.add_argument('--out', type=Path, required=True, metavar='DIR', help='output folder')
    add_pipeline_options(parser)
    add_topic_options(parser)


def run(args: argparse.Namespace) -> int:
    """Replay the bag; return the exit status."""
    from rgbt_perception.bag import BagReader
    from rgbt_perception.pipeline import open_pipeline
    from rgbt_perception.replay import replay_to_folder
    from rgbt_perception.sources import load_rig, with_registration

    config = with_registration(load_pipeline_config(args), load_rig(args.bag))
    topics, max_pixels = topics_from(args), config.input.max_pixels
    with BagReader(args.bag, topics=topics, max_pixels=max_pixels) as reader:
        pipeline = open_pipeline(config)
        try:
            summary = replay_to_folder(reader, pipeline, args.out)
        finally:
            pipeline.close()
    modes = ', '.join(f'{number} {mode}' for mode, number in summary.modes.items())
    lost = {name: number for name, number in summary.dropped_by_reason.items() if number}
    dropped = ', '.join(f'{number} {name}' for name, number in lost.items()) or 'none'
    print(
        f'{summary.results} results ({modes}), {summary.detections} detections, '
        f'dropped frames: {dropped}; written to {args.out}'
    )
    return 0
