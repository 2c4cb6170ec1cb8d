# SPDX-License-Identifier: Apache-2.0
"""Write the tables of the committed results: ``bench/results/summary.md`` from the JSON beside it.

    python -m bench.summary [--results DIR] [--check]

Every figure comes from a JSON file, with the conditions it was measured under. With ``--check``
nothing is written, and the exit status is 1 when the page is not what the files say.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
import json
from pathlib import Path
import sys
from typing import Any, TypeAlias

from bench.page import build_table, Cell, describe_spread, RATIO
from bench.report import Bound, format_hw, new_parser

Results: TypeAlias = 'Mapping[str, Any]'

RESULTS_DIR = Path(__file__).resolve().parent / 'results'
PAGE = 'summary.md'
NAMED = (  # conditions that have a place of their own
    'processor',
    'processor_features',
    'cores',
    'load_1min',
    'load_1min_at_start',
    'versions',
    'card',
)
INTRODUCTION = """\
<!-- SPDX-License-Identifier: Apache-2.0 -->
<!-- Written by python -m bench.summary from the JSON files in this folder. -->

# Measured

Ratios are of processor time (on a GPU of wall time), of sides that took turns in one run; in
brackets the least and the most of its rounds. A bound that is broken, or was not measured, is
shown as such.
"""


def summarise(folder: Path) -> str:
    """Return the page of the results in a folder."""
    parts = [INTRODUCTION]
    for path in sorted(folder.glob('*.json')):
        results = json.loads(path.read_text(encoding='utf-8'))
        builder = _find_builder(path.stem)
        parts += [f'## {path.stem}', describe_conditions(results['conditions'])]
        if builder is not None:
            parts.append(builder(results))
        if results.get('bounds'):
            parts.append('\n'.join(f'* {describe_bound(item)}' for item in results['bounds']))
    return '\n\n'.join(part.strip() for part in parts) + '\n'


def describe_conditions(conditions: Results) -> str:
    """Return one paragraph: processor, versions, settings."""
    versions = ', '.join(f'{name} {text}' for name, text in conditions['versions'].items())
    features = ', '.join(conditions.get('processor_features', ())) or 'not recorded'
    loads = [f'{conditions["load_1min"]} at the end']
    if 'load_1min_at_start' in conditions:
        loads.insert(0, f'{conditions["load_1min_at_start"]} at the start')
    others = [f'{key} {value}' for key, value in conditions.items() if key not in NAMED]
    card = conditions.get('card')
    named = [] if card is None else [f'card {card["name"]} {card["version"]}']
    return (
        f'{conditions["processor"]} ({features}), {conditions["cores"]} cores, '
        f'load {", ".join(loads)}; {"; ".join([*named, *others])}; {versions}.'
    )


def describe_bound(item: Results) -> str:
    """Return the line of a bound, as the program printed it."""
    value = float('nan') if item['value'] is None else item['value']
    limits = {key: item[key] for key in ('at_most', 'at_least', 'unit')}
    return Bound(name=item['name'], value=value, **limits).text


def tabulate_engines(results: Results) -> str:
    """Return one row per engine; without torch there are no ratios. Memory is that of the host."""
    clock = results['clock']
    memory = ('memory over torch', 'peak MiB')
    if clock == 'wall':  # on a GPU, whose own memory is not measured
        memory = ('host memory over torch', 'host MiB')
    header = ('engine', f'{clock} ms', 'over torch', *memory)
    header += ('p50 ms', 'p95 ms', 'p99 ms', 'start s', 'cold start s')
    rows = [
        (
            name,
            engine[f'{clock}_ms']['median'],
            describe_spread(engine[f'{clock}_ratio']) if f'{clock}_ratio' in engine else None,
            engine.get('memory_ratio'),
            engine['peak_memory_mib'],
            *(engine[f'latency_p{share}_ms'] for share in (50, 95, 99)),
            engine['load_s']['median'],
            engine['first_load_s'],
        )
        for name, engine in results['engines'].items()
    ]
    refused = [f'* {name}: {reason}' for name, reason in results['not_measured'].items()]
    drift = results.get('drift')
    text = '' if drift is None else f'Drift, {drift["what"]}: {describe_spread(drift)}.'
    parts = (build_table(header, rows), text, '\n'.join(refused))
    return '\n\n'.join(part for part in parts if part)


def tabulate_decoding(results: Results) -> str:
    """Return one row per side."""
    rows = [
        (name, *(times[key] for key in ('median', 'p99', 'min')))
        for name, times in results['cpu_ms'].items()
    ]
    return build_table(('', 'median ms', 'p99 ms', 'least ms'), rows)


def tabulate_growth(results: Results) -> str:
    """Return a table by size and one by rigs."""
    keys = ('latency_p50_ms', 'latency_p99_ms', 'peak_memory_mib')
    sizes = [
        (
            format_hw((row['height'], row['width'])),
            row['cpu_ms']['median'],
            *(row[key] for key in keys),
        )
        for row in results['sizes']
    ]
    rigs = [
        (str(row['rigs']), row['node_cpu_ms_per_pair'], *(row[key] for key in keys))
        for row in results['rigs']
    ]
    columns = ('CPU ms per pair', 'p50 ms', 'p99 ms', 'peak MiB')
    tables = (
        build_table(('engine, input', *columns), sizes),
        build_table(('node, rigs', *columns), rigs),
    )
    return '\n\n'.join((*tables, '![latency and memory](growth.svg)'))


def tabulate_node_load(results: Results) -> str:
    """Return what the node spends beside its engine, and its latency at load."""
    spent = (
        ('engine alone', describe_spread(results['engine_cpu_ms'])),
        *results['cpu_ms_by_stage'].items(),
        ('node', describe_spread(results['node_cpu_ms'])),
    )
    loaded = [item['at_80_percent_load'] for item in results['rounds']]
    latency = [
        (
            f'{index + 1}',
            item['rate_hz'],
            *(item[f'latency_p{share}_ms'] for share in (50, 95, 99)),
        )
        for index, item in enumerate(loaded)
    ]
    dropped = Counter[str]()
    for item in loaded:
        dropped.update(item['dropped'])
    lost = ', '.join(f'{key} {value}' for key, value in dropped.items() if value) or 'nothing'
    tables = (
        build_table(('CPU per pair', 'ms'), spent),
        build_table(('threads of the node', 'ms'), results['cpu_ms_by_thread'].items()),
        build_table(('80 % load, round', 'pairs per s', 'p50 ms', 'p95 ms', 'p99 ms'), latency),
    )
    text = (
        f'Over the engine alone, less 1: {describe_spread(results["overhead"])}. At 80 % load p99 '
        f'over p50: {describe_spread(results["tail"])}; dropped: {lost}.'
    )
    return '\n\n'.join((*tables, text))


def tabulate_gpu(results: Results) -> str:
    """Return one column per model, or why there is none."""
    if 'models' not in results:
        return f'Not run: {results["reason"]}.'
    models, ceiling = results['models'], results['ceiling']
    rows = [(name, *cells) for name, cells in _list_gpu_rows(list(models.values())).items()]
    text = f'Roofline: {ceiling["tflops"]} TFLOP/s, {ceiling["gpu"]}, {ceiling["source"]}.'
    return '\n\n'.join((build_table(('', *models), rows), text))


def _list_gpu_rows(models: Sequence[Results]) -> dict[str, list[Cell]]:
    """Return the cells of all models, by name of the row."""
    first = models[0]
    ratios = ('eager_over_replay', 'host_over_replay', 'gflop_per_pair', 'roofline_share')
    return {
        **{
            f'{side}, {share} ms': [model['ms'][side][share] for model in models]
            for side in first['ms']
            for share in ('median', 'p99')
        },
        **{
            f'{side}, sustained, pairs per s': [
                model['sustained_pairs_per_s'][side] for model in models
            ]
            for side in first['sustained_pairs_per_s']
        },
        **{name.replace('_', ' '): [model[name] for model in models] for name in ratios},
    }


def tabulate_token_merging(results: Results) -> str:
    """Return what every share of kept tokens costs in time, and in metrics."""
    shares = list(results['metrics'])
    times = [
        (name, *(describe_spread(by_share[share], RATIO) for share in shares))
        for name, by_share in results['times'].items()
    ]
    scores = [
        (name, *(results['metrics'][share][name] for share in shares)) for name in ('mAP', 'mIoU')
    ]
    header = [f'keep {share}' for share in shares]
    tables = (
        build_table(('CPU time over all tokens', *header), times),
        build_table(('held-out pairs', *header), scores),
    )
    return '\n\n'.join(tables)


def tabulate_ceiling(results: Results) -> str:
    """Return the rates of the runtimes, and the least ratio to torch of each network."""
    asked = {
        precision: ', '.join(f'{runtime} {ratio:g}' for runtime, ratio in by_runtime.items())
        for precision, by_runtime in results['asked_ratio'].items()
    }
    rates = [(name, describe_spread(rate)) for name, rate in results['gflop_per_s'].items()]
    ratios = [
        (
            f'{name}, {precision}',
            network['gflop'],
            describe_spread(network['torch_cpu_ms']),
            describe_spread(ratio),
            asked[precision],
        )
        for name, network in results['networks'].items()
        for precision, ratio in network['least_ratio'].items()
    ]
    header = ('network', 'GFLOP', 'torch fp32, CPU ms', 'least over torch', 'bounds of rgbt bench')
    return '\n\n'.join((build_table(('operation', 'GFLOP/s'), rates), build_table(header, ratios)))


BUILDERS: dict[str, Callable[[Results], str]] = {  # by the beginning of the file's name
    'engines': tabulate_engines,
    'ceiling': tabulate_ceiling,
    'decoding': tabulate_decoding,
    'growth': tabulate_growth,
    'node_load': tabulate_node_load,
    'gpu': tabulate_gpu,
    'token_merging': tabulate_token_merging,
}


def _find_builder(name: str) -> Callable[[Results], str] | None:
    return next((build for prefix, build in BUILDERS.items() if name.startswith(prefix)), None)


def main(argv: Sequence[str] | None = None) -> int:
    """Write or check the page."""
    parser = new_parser('summary', __doc__)
    parser.add_argument('--results', type=Path, default=RESULTS_DIR, help='folder of the JSON')
    parser.add_argument('--check', action='store_true', help='compare, write nothing')
    args = parser.parse_args(argv)
    page, text = args.results / PAGE, summarise(args.results)
    if args.check:
        is_same = page.is_file() and page.read_text(encoding='utf-8') == text
        print(f'{page} is {"" if is_same else "not "}what the results say')
        return 0 if is_same else 1
    page.write_text(text, encoding='utf-8')
    print(f'wrote {page}')
    return 0


if __name__ == '__main__':
    sys.exit(main())
