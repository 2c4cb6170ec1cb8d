# SPDX-License-Identifier: Apache-2.0
"""Turn a training run into a card folder, add a graph to a card, or record metrics in one.

With --run the weights become a card: its graph is checked against torch (largest relative error
1e-4) and not written when it differs.

With --precision or --target a card gets a further graph: fp32, fp16 or int8, for one runtime. What
it loses is measured by the pipeline against the float32 graph. With more than 1 point of mAP50 or
mIoU (fp16: 0.2), or a mean change of the mdi above 0.05, nothing is written (status 1), unless
--force is given, which the card says.

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
# What each option is read by; those not named are read by all.
_JOBS = {
    'run': '--run',
    'graph': '--precision or --target',
    'lower': '--precision fp16 or int8',
    'gated': '--precision fp16 or int8 or --keep-tokens below 1',
}
_READERS = {
    'version': ('run',),
    'pool': ('run',),
    'licence': ('run',),
    'calibration_pairs': ('run', 'lower'),
    'stacked': ('graph',),
    'opset': ('graph',),
    'keep_tokens': ('graph',),
    'out': ('graph',),
    'calibration': ('lower',),
    'gate': ('gated',),
    'gate_pairs': ('gated',),
    'force': ('gated',),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of the command."""
    parser.add_argument(
        'card',
        help='with --run: card folder to write, its name is the model name; with --metrics: a '
        'card folder; else a shipped name or a card folder',
    )
    parser.add_argument('--run', dest='run_dir', type=Path, help='folder written by rgbt train')
    parser.add_argument('--version', help='version of the weights (default: 1)')
    parser.add_argument(
        '--calibration-pairs',
        type=number(int, at_least=1),
        metavar='N',
        help=f'pairs taken to calibrate the mdi (default: {MDI_PAIRS}), or for the ranges of an '
        f'int8 or fp16 graph (default: {QUANTISATION_PAIRS})',
    )
    parser.add_argument(
        '--pool',
        type=Path,
        help='pool of the run, to calibrate on (default: rendered pairs; a run on the classes of '
        'a data set needs it)',
    )
    parser.add_argument(
        '--licence',
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
        '--opset', type=number(int, at_least=1), metavar='N', help='ONNX operator set'
    )
    group.add_argument(
        '--keep-tokens',
        type=positive_float,
        metavar='R',
        help='share of tokens that each merge leaves, 0.5 to 1 (default: 1, none is merged)',
    )
    group.add_argument(
        '--calibration',
        type=Path,
        metavar='SOURCE',
        help='data set or bag for the ranges of an int8 or fp16 graph, which needs no ground '
        'truth (default: rendered pairs)',
    )
    group.add_argument(
        '--gate-pairs',
        type=number(int, at_least=1),
        metavar='N',
        help=f'pairs that its loss is measured on (default: {GATE_PAIRS})',
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
    group.add_argument(
        '--force', action='store_true', default=None, help='write it whatever it loses'
    )


def run(args: argparse.Namespace) -> int:
    """Export and record; return the exit status."""
    logging.getLogger('rgbt_models').setLevel(logging.INFO)
    _check_options(args)
    if _is_graph(args):
        return _export_graph(args)
    metrics = {name: _read_metrics(Path(file)) for name, file in args.metrics}
    if args.run_dir is not None:
        from rgbt_models.publish import publish_run

        card = publish_run(
            run_dir=args.run_dir,
            card_dir=Path(args.card),
            version=args.version or '1',
            calibration_pairs=args.calibration_pairs or MDI_PAIRS,
            pool_dir=args.pool,
            licence=args.licence or '',
        )
        sys.stdout.write(f'wrote {card.folder} (parity {card.training["onnx_parity"]:.1e})\n')
    for name, values in metrics.items():
        from rgbt_models.publish import record_metrics

        record_metrics(Path(args.card), name, values)
        sys.stdout.write(f'recorded {name} in {args.card}\n')
    return 0


def _is_graph(args: argparse.Namespace) -> bool:
    return args.precision is not None or args.target is not None


def _read_request(args: argparse.Namespace) -> VariantRequest:
    return VariantRequest(
        precision=args.precision or 'fp32',
        target=args.target or 'onnx',
        opset=args.opset,
        is_stacked=args.stacked,
        keep_tokens=1.0 if args.keep_tokens is None else args.keep_tokens,
    )


def _check_options(args: argparse.Namespace) -> None:
    """Refuse options that would be read by nobody.

    Raises:
        ConfigError: If there is nothing to do, or an option is for something else.
    """
    request = _read_request(args)
    jobs = {
        'run': args.run_dir is not None,
        'metrics': bool(args.metrics),
        'graph': _is_graph(args),
        'lower': request.precision != 'fp32',
        'gated': _is_graph(args) and request.is_gated,
    }
    if not (jobs['run'] or jobs['metrics'] or jobs['graph']):
        raise ConfigError(
            'nothing to do; expected a training run, a graph to make or metrics; add --run DIR, '
            '--precision, --target, or --metrics NAME FILE'
        )
    if jobs['graph'] and (jobs['run'] or jobs['metrics']):
        raise ConfigError(
            '--precision or --target is given with --run or --metrics; expected one of them, for '
            'a graph is added to a card that is there; use two commands'
        )
    for option, readers in _READERS.items():
        if getattr(args, option) is not None and not any(jobs[name] for name in readers):
            raise ConfigError(
                f'--{option.replace("_", "-")} is given, which nothing would read; expected it '
                f'with {" or ".join(_JOBS[name] for name in readers)}; leave it out'
            )


def _read_metrics(path: Path) -> dict[str, Any]:
    """Read a metrics.json.

    Raises:
        ConfigError: If the file is missing or no JSON object.
    """
    try:
        values = json.loads(path.read_text(encoding='utf-8'))
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"metrics '{path}' cannot be read ({error}); expected the metrics.json of rgbt "
            f'evaluate; correct the path'
        ) from error
    if not isinstance(values, dict):
        raise ConfigError(
            f"metrics '{path}' hold a {type(values).__name__}; expected the JSON object of rgbt "
            f'evaluate; correct the path'
        )
    return values


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
        _read_request(args),
        out_dir=args.out,
        pairs=ExportPairs(
            calibration=PairPlan(
                source=args.calibration,
                num_pairs=args.calibration_pairs or QUANTISATION_PAIRS,
                seed=QUANTISATION_SEED,
            ),
            gate=PairPlan(
                source=args.gate, num_pairs=args.gate_pairs or GATE_PAIRS, seed=GATE_SEED
            ),
            watch=watch,
        ),
        is_forced=bool(args.force),
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
