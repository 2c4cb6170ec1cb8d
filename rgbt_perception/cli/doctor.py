# SPDX-License-Identifier: Apache-2.0
"""Show what this machine has, and what the engine setting 'auto' would take for a card.

Nothing is started: packages, files and devices are looked for. Exits 1 when no backend can run
the card.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
import importlib.metadata
import importlib.util
import json
import os
import platform
import textwrap
from typing import Any, TYPE_CHECKING

if TYPE_CHECKING:
    from rgbt_models.card import ModelCard
    from rgbt_perception.config import EngineConfig

SUMMARY = 'show what this machine has, and which engine it would take'
TENSORRT_NOTE = "TensorRT: contract-tested against NVIDIA's bindings 8.6 to 11, never executed."
WIDTH = 80
_ROS_MODULES = ('rclpy', 'vision_msgs', 'diagnostic_msgs', 'sensor_msgs')
# Distributions on PyPI that bring a module of another name.
_DISTRIBUTIONS = {'cv2': ('opencv-python-headless', 'opencv-python')}
_INT8_FEATURES = {'avx_vnni', 'avx512_vnni', 'amx_int8', 'asimddp', 'i8mm'}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of the command."""
    parser.add_argument(
        'card', nargs='?', default='tiny', help='model card to choose an engine for (tiny)'
    )
    parser.add_argument('--device', default='cpu', help="'cpu' or 'cuda:N' (default: cpu)")
    parser.add_argument('--precision', default='auto', help='as engine.precision (default: auto)')
    parser.add_argument(
        '--cache-dir', default='', metavar='DIR', help='as engine.cache_dir (default: of the user)'
    )
    parser.add_argument('--json', action='store_true', help='for programs')


def run(args: argparse.Namespace) -> int:
    """Look, and print; return the exit status."""
    from rgbt_models.card import load_card
    from rgbt_perception.config import EngineConfig

    config = EngineConfig(device=args.device, precision=args.precision, cache_dir=args.cache_dir)
    card = load_card(args.card)
    found: dict[str, Any] = {
        'machine': _look_at_machine(),
        'ros': _look_at_ros(),
        'cards': _look_at_cards(),
        'engines': _look_at_engines(card, config),
        'cache': _look_at_cache(config),
        'notes': [TENSORRT_NOTE],
    }
    print(json.dumps(found, indent=2) if args.json else format_report(found))
    return 0 if found['engines']['auto'] else 1


def format_report(found: Mapping[str, Any]) -> str:
    """Return what was found as text, at most 80 columns wide."""
    lines = []
    for title in ('machine', 'ros', 'cards', 'cache'):
        lines += [title, *_format_rows(found[title]), '']
    engines = found['engines']
    lines.append(f'engines for card {engines["card"]} on {engines["device"]}')
    for probe in engines['backends']:
        verdict = f'in {probe["precision"]}' if probe['is_usable'] else f'no: {probe["reason"]}'
        version = f'version {probe["version"]}, ' if probe['version'] else ''
        lines += _format_rows({probe['backend']: version + verdict})
    lines += _format_rows({'auto': engines['auto'] or 'nothing: no backend can run this card'})
    for note in found['notes']:
        lines += ['', *textwrap.wrap(note, WIDTH)]
    return '\n'.join(lines)


def _format_rows(rows: Mapping[str, str]) -> list[str]:
    lines = []
    for name, text in rows.items():
        start = f'  {name:<16} '
        lines += textwrap.wrap(
            text, WIDTH, initial_indent=start, subsequent_indent=' ' * len(start)
        )
    return lines


def _look_at_machine() -> dict[str, str]:
    from rgbt_models.cpu import BF16_FEATURES, find_cpu_features, find_cpu_name
    from rgbt_perception.engine.machine import find_cuda_problem, find_gpu_names

    features = find_cpu_features()
    noted = {'bf16': BF16_FEATURES, 'int8 dot products': _INT8_FEATURES}
    lacking = [name for name, any_of in noted.items() if not any_of & set(features)]
    usable = len(os.sched_getaffinity(0))
    return {
        'CPU': f'{find_cpu_name()}, {usable} of {os.cpu_count()} cores usable',
        'CPU has': ', '.join(features) or 'none of the instruction sets that matter here',
        'CPU lacks': ', '.join(lacking) or 'nothing that matters here',
        'GPU': ', '.join(find_gpu_names()) or find_cuda_problem() or 'NVIDIA, without a name',
        'system': f'{platform.system()} {platform.release()}, {platform.machine()}',
        'Python': platform.python_version(),
        'numpy': _find_version('numpy'),
        'OpenCV': _find_version('cv2'),
    }


def _look_at_ros() -> dict[str, str]:
    from rgbt_perception.demo import profile_variable, TRANSPORT_PROFILE
    from rgbt_perception.errors import ConfigError
    from rgbt_perception.share import find_share_file

    variable = profile_variable()
    profile = os.environ.get(variable, '')
    try:
        shipped = str(find_share_file(TRANSPORT_PROFILE))
    except ConfigError:
        shipped = f'{TRANSPORT_PROFILE}, which is not installed'
    return {
        'distribution': os.environ.get('ROS_DISTRO', 'none is sourced'),
        **{name: _find_version(name) for name in _ROS_MODULES},
        'middleware': os.environ.get('RMW_IMPLEMENTATION', 'the default of rclpy'),
        'Fast DDS profile': profile or f'none: set {variable} to {shipped}',
    }


def _look_at_cards() -> dict[str, str]:
    from rgbt_models.card import list_cards, load_card

    found = {}
    for name in list_cards():
        card = load_card(name)
        graphs = ', '.join(f'{item.precision} for {item.target}' for item in card.variants)
        data = 'synthetic data only' if card.synthetic_only else card.training_data
        height, width = card.input_hw
        further = f'; further graphs: {graphs}' if graphs else ''
        found[name] = f'version {card.version}, {height}x{width} px, {data}{further}'
    return found


def _look_at_engines(card: ModelCard, config: EngineConfig) -> dict[str, Any]:
    from rgbt_perception.engine.choice import rank_backends
    from rgbt_perception.engine.precision import choose_precision

    probes = [
        {
            'backend': probe.backend,
            'version': probe.version,
            'is_usable': probe.is_usable,
            'reason': probe.reason,
            'precision': choose_precision(card, config, probe.backend) if probe.is_usable else '',
        }
        for probe in rank_backends(card, config)
    ]
    auto = ''
    usable = [probe for probe in probes if probe['is_usable']]
    if usable:
        first = usable[0]
        then = ', '.join(str(probe['backend']) for probe in usable[1:])
        auto = f'{first["backend"]} in {first["precision"]}, the first that is usable'
        auto += f'; should it fail: {then}' if then else ''
    return {
        'card': card.name,
        'device': config.device,
        'backends': probes,
        'auto': auto,
    }


def _look_at_cache(config: EngineConfig) -> dict[str, str]:
    from rgbt_perception.engine.cache import EngineCache
    from rgbt_perception.engine.cache_folder import find_cache_folder

    folder = find_cache_folder(config.cache_dir)
    cache = EngineCache(folder)
    problem = cache.find_problem()
    if problem:
        return {'folder': str(folder), 'state': f'not usable: {problem}'}
    entries = cache.entries()
    size_mib = sum(entry.size_bytes for entry in entries) / (1 << 20)
    return {'folder': str(folder), 'state': f'{len(entries)} engines, {size_mib:.0f} MiB'}


def _find_version(module: str) -> str:
    """Return the version of a package that can be imported, from where its installer wrote it."""
    if importlib.util.find_spec(module) is None:
        return 'not found'
    for name in _DISTRIBUTIONS.get(module, (module, f'ros-{module.replace("_", "-")}')):
        for distribution in importlib.metadata.distributions(name=name):
            return distribution.version
    return 'found, version unknown'
