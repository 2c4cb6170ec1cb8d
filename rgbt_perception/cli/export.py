# SPDX-License-Identifier: Apache-2.0
"""Turn a training run into a card folder, add a graph to a card, or record metrics in one.

With --run the weights become a card: its graph is checked against torch (largest relative error
1e-4) and not written when it differs.

With --precision or --target a card gets a further graph: fp32, fp16 or int8, for one runtime. What
it loses is measured by the pipeline against the float32 graph. With more than 1 point of mAP50 or
mIoU (fp16: 0.2) nothing is written (status 1), unless --force is given, which the card says.

With --metrics, the metrics.json of `rgbt evaluate` goes into the card and nothing else changes.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
import json
import logging
from pathlib import Path
import sys
from typing import Any, TYPE_CHECKING

from rgbt_models.graph_variant import PRECISIONS, TARGETS, VariantRequest
from rgbt_perception.cli.options import number, positive_float
from rgbt_perception.errors import ConfigError

if TYPE_CHECKING:
    from rgbt_perception.variant_export import Exported

SUMMARY = 'turn a training run into a model card, or add fp16 and int8 graphs to one'
MDI_PAIRS, QUANTISATION_PAIRS, GATE_PAIRS = 240, 48, 80
STATUS_REFUSED = 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of the command."""
    parser.add_argument(
        'card',
        help='with --run: card folder to write, its name is the model name; else a shipped name '
        'or a card folder',
    )
    parser.add_argument('--run', dest='run_dir', type=Path, help='folder written by rgbt train')
    parser.add_argument('--version', default='1', help='version of the weights')
    parser.add_argument(
        '--calibration-pairs',
        type=number(int, at_least=1),
        metavar='N',
        help=f'pairs taken to calibrate the mdi (default: {MDI_PAIRS}) or an int8 graph '
        f'(default: {QUANTISATION_PAIRS})',
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
    _add_graph_arguments(parser)


def _add_graph_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group('a further graph for a card')
    group.add_argument(
        '--precision', choices=PRECISIONS, help='numbers it computes with (default: fp32)'
    )
    group.add_argument('--target', choices=TARGETS, help='runtime it is for (default: onnx)')
    group.add_argument(
        '--stacked',
        action=argparse.BooleanOptionalAction,
        help='both images through the encoder as one batch (default: for tensorrt only)',
    )
    group.add_argument(
        '--opset', type=number(int, at_least=17), metavar='N', help='ONNX operator set'
    )
    group.add_argument(
        '--keep-tokens',
        type=positive_float,
        default=1.0,
        metavar='R',
        help='share of tokens that each merge leaves, 0.5 to 1 (default: 1, none is merged)',
    )
    group.add_argument(
        '--calibration',
        type=Path,
        metavar='SOURCE',
        help='data set or bag to calibrate an int8 graph on (default: rendered pairs)',
    )
    group.add_argument(
        '--gate-pairs',
        type=number(int, at_least=1),
        default=GATE_PAIRS,
        metavar='N',
        help='pairs that its loss is measured on (default: %(default)s)',
    )
    group.add_argument(
        '--gate',
        type=Path,
        metavar='SOURCE',
        help='data set or bag with ground truth to measure on (default: rendered pairs)',
    )
    group.add_argument(
        '--out',
        type=Path,
        metavar='DIR',
        help='card folder to write to, made as a copy of the card (default: that of the card)',
    )
    group.add_argument('--force', action='store_true', help='write it whatever it loses')


def run(args: argparse.Namespace) -> int:
    """Export and record; return the exit status."""
    logging.getLogger('rgbt_models').setLevel(logging.INFO)
    is_graph = args.precision is not None or args.target is not None
    if args.run_dir is None and not args.metrics and not is_graph:
        raise ConfigError(
            'nothing to do; expected a training run, a graph to make or metrics; add --run DIR, '
            '--precision, --target, or --metrics NAME FILE'
        )
    if args.run_dir is not None and is_graph:
        raise ConfigError(
            '--run is given with --precision or --target; expected one of them, for a graph is '
            'added to a card that is there; export the run first'
        )
    if args.run_dir is not None:
        from rgbt_models.publish import publish_run

        card = publish_run(
            run_dir=args.run_dir,
            card_dir=Path(args.card),
            version=args.version,
            calibration_pairs=args.calibration_pairs or MDI_PAIRS,
            pool_dir=args.pool,
            licence=args.licence,
        )
        sys.stdout.write(f'wrote {card.folder} (parity {card.training["onnx_parity"]:.1e})\n')
    for name, file in args.metrics:
        from rgbt_models.publish import record_metrics

        record_metrics(Path(args.card), name, json.loads(Path(file).read_text(encoding='utf-8')))
        sys.stdout.write(f'recorded {name} in {args.card}\n')
    return _export_graph(args) if is_graph else 0


def _export_graph(args: argparse.Namespace) -> int:
    from rich.console import Console
    from rich.progress import track

    from rgbt_models.card import load_card
    from rgbt_perception.export_pairs import (
        ExportPairs,
        GATE_SEED,
        PairPlan,
        QUANTISATION_SEED,
    )
    from rgbt_perception.variant_export import export_to_card

    console = Console(stderr=True)

    def watch(items: Iterable[Any], what: str, total: int) -> Iterable[Any]:
        return track(items, what, total=total, console=console)

    exported = export_to_card(
        load_card(args.card),
        VariantRequest(
            precision=args.precision or 'fp32',
            target=args.target or 'onnx',
            opset=args.opset,
            is_stacked=args.stacked,
            keep_tokens=args.keep_tokens,
        ),
        out_dir=args.out,
        pairs=ExportPairs(
            calibration=PairPlan(
                source=args.calibration,
                num_pairs=args.calibration_pairs or QUANTISATION_PAIRS,
                seed=QUANTISATION_SEED,
            ),
            gate=PairPlan(source=args.gate, num_pairs=args.gate_pairs, seed=GATE_SEED),
            watch=watch,
        ),
        is_forced=args.force,
    )
    return _report(exported)


def _report(exported: Exported) -> int:
    gate = exported.gate
    figures = (
        f'largest relative error against torch {exported.variant.gate["onnx_parity"]:.1e}'
        if gate is None
        else gate.describe()
    )
    if exported.path is None:
        sys.stderr.write(
            f'{exported.variant.file} is not written: {figures}; calibrate on more pairs, keep '
            f'more tokens, or add --force\n'
        )
        return STATUS_REFUSED
    how = ' although it loses too much' if exported.variant.gate['forced'] else ''
    sys.stdout.write(f'wrote {exported.path}{how}: {figures}\n')
    return 0
