# SPDX-License-Identifier: Apache-2.0
"""Turn a training run into a card folder, or record metrics in one.

The graph is checked against torch (largest relative error 1e-4) and not written when it differs.
With --metrics, the metrics.json of `rgbt evaluate` goes into the card and nothing else changes.
"""

from __future__ import annotations

import argparse
import json
import logging
from pathlib import Path
import sys

SUMMARY = 'turn a training run into a model card with weights and graph'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of the command."""
    parser.add_argument('card', type=Path, help='card folder to write; its name is the model name')
    parser.add_argument('--run', dest='run_dir', type=Path, help='folder written by rgbt train')
    parser.add_argument('--version', default='1', help='version of the weights')
    parser.add_argument(
        '--calibration-pairs', type=int, default=240, help='pairs taken to calibrate the mdi'
    )
    parser.add_argument(
        '--pool',
        type=Path,
        help='pool of the run, to calibrate on (default: rendered pairs; a run on the classes of '
        'a data set needs it)',
    )
    parser.add_argument(
        '--licence',
        default='',
        metavar='SPDX',
        help='of the weights (default: Apache-2.0 for a run on rendered pairs, else NOASSERTION)',
    )
    parser.add_argument(
        '--metrics',
        nargs=2,
        metavar=('NAME', 'FILE'),
        action='append',
        default=[],
        help='record a metrics.json under NAME',
    )


def run(args: argparse.Namespace) -> int:
    """Export and record."""
    from rgbt_models.errors import DatasetError

    logging.getLogger('rgbt_models').setLevel(logging.INFO)
    if args.run_dir is None and not args.metrics:
        raise DatasetError(
            'nothing to do; expected a training run or metrics; add --run DIR, or --metrics '
            'NAME FILE'
        )
    if args.run_dir is not None:
        from rgbt_models.publish import publish_run

        card = publish_run(
            run_dir=args.run_dir,
            card_dir=args.card,
            version=args.version,
            calibration_pairs=args.calibration_pairs,
            pool_dir=args.pool,
            licence=args.licence,
        )
        sys.stdout.write(f'wrote {card.folder} (parity {card.training["onnx_parity"]:.1e})\n')
    for name, file in args.metrics:
        from rgbt_models.publish import record_metrics

        record_metrics(args.card, name, json.loads(Path(file).read_text(encoding='utf-8')))
        sys.stdout.write(f'recorded {name} in {args.card}\n')
    return 0
