# SPDX-License-Identifier: Apache-2.0
"""Write the tables of the committed results: ``bench/results/summary.md`` from the JSON beside it.

    python -m bench.summary [--results DIR] [--check]

Every figure comes from a JSON file, with the conditions it was measured under. With ``--check``
nothing is written, and the exit status is 1 when the page is not what the files say.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
import json
from pathlib import Path
import sys
from typing import Any, TypeAlias

from bench.page import build_table
from bench.report import Bound, new_parser

Results: TypeAlias = 'Mapping[str, Any]'

RESULTS_DIR = Path(__file__).resolve().parent / 'results'
PAGE = 'summary.md'
INTRODUCTION = """\
<!-- SPDX-License-Identifier: Apache-2.0 -->
<!-- Written by python -m bench.summary from the JSON files in this folder. -->

# Measured

Ratios are of processor time, of sides that took turns in one run. A bound that is broken, or was
not measured, is shown as such.
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
    left_out = ('processor', 'processor_features', 'cores', 'load_1min', 'versions', 'card')
    others = [f'{key} {value}' for key, value in conditions.items() if key not in left_out]
    card = conditions.get('card')
    named = [] if card is None else [f'card {card["name"]} {card["version"]}']
    return (
        f'{conditions["processor"]} ({features}), {conditions["cores"]} cores, load '
        f'{conditions["load_1min"]} at the end; {"; ".join([*named, *others])}; {versions}.'
    )


def describe_bound(item: Results) -> str:
    """Return the line of a bound, as the program printed it."""
    value = float('nan') if item['value'] is None else item['value']
    limits = {key: item[key] for key in ('at_most', 'at_least', 'unit')}
    return Bound(name=item['name'], value=value, **limits).text


def tabulate_engines(results: Results) -> str:
    """Return one row per engine."""
    header = ('engine', 'CPU ms', 'over torch', 'least', 'most', 'p50 ms', 'p95 ms', 'p99 ms')
    header += ('peak MiB', 'start s', 'cold start s')
    rows = [
        (
            name,
            engine['cpu_ms']['median'],
            *(engine['cpu_ratio'][key] for key in ('median', 'min', 'max')),
            *(engine[f'latency_p{share}_ms'] for share in (50, 95, 99)),
            engine['peak_memory_mib'],
            engine['load_s']['median'],
            engine['first_load_s'],
        )
        for name, engine in results['engines'].items()
    ]
    refused = [f'* {name}: {reason}' for name, reason in results['not_measured'].items()]
    drift = results['drift']
    text = f'Drift, {drift["what"]}: {drift["median"]} ({drift["min"]} to {drift["max"]}).'
    return '\n\n'.join([build_table(header, rows), text, '\n'.join(refused)]).strip()


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
        (f'{row["height"]}x{row["width"]}', row['cpu_ms']['median'], *(row[key] for key in keys))
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
    loaded = results['at_80_percent_load']
    stages = [(name, value) for name, value in results['cpu_ms_by_stage'].items()]
    spent = [('engine alone', results['engine_cpu_ms']), *stages, ('node', results['node_cpu_ms'])]
    latency = [(f'p{share}', loaded[f'latency_p{share}_ms']) for share in (50, 95, 99)]
    dropped = ', '.join(f'{key} {value}' for key, value in loaded['dropped'].items() if value)
    text = f'At 80 % load, {loaded["rate_hz"]} pairs per second; dropped: {dropped or "nothing"}.'
    tables = (build_table(('CPU per pair', 'ms'), spent), build_table(('latency', 'ms'), latency))
    return '\n\n'.join((tables[0], text, tables[1]))


def tabulate_token_merging(results: Results) -> str:
    """Return what every share of kept tokens costs in time, and in metrics."""
    shares = list(results['metrics'])
    times = [
        (name, *(by_share[share]['ratio'] for share in shares))
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


BUILDERS: dict[str, Callable[[Results], str]] = {  # by the beginning of the file's name
    'engines': tabulate_engines,
    'decoding': tabulate_decoding,
    'growth': tabulate_growth,
    'node_load': tabulate_node_load,
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
