# SPDX-License-Identifier: Apache-2.0
"""Look after the engines that were built on this machine and are kept for the next start.

build: open the engine of a card as the node would, so that what it must build first is built now
and kept; with --backend torch, also compile the network ahead of time; exits 1 when something was
built but could not be kept. list, verify and clear: the engines in the cache, a private folder of
this user.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime, timezone
import json
import time
from typing import TYPE_CHECKING

from rgbt_perception.cli.options import format_hw, parse_size_hw, positive_float

if TYPE_CHECKING:
    from rgbt_perception.config import EngineConfig
    from rgbt_perception.engine.cache import EngineCache
    from rgbt_perception.engine.cache_entry import CacheEntry

SUMMARY = 'build engines beforehand; list, verify and clear those that were built'
_MIB = 1 << 20
_DAY_S = 86_400.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what can be done with engines, each with its options."""
    actions = parser.add_subparsers(dest='action', required=True, metavar='ACTION')
    _add_build(actions.add_parser('build', help='build the engine of a card and keep it'))
    for name, act, text in (
        ('list', _list, 'show the engines of the cache'),
        ('verify', _verify, 'check their content; exits 1 when one is damaged'),
    ):
        action = actions.add_parser(name, help=text)
        action.add_argument('--json', action='store_true', help='for programs')
        _add_cache_dir(action)
        action.set_defaults(act=act)
    _add_clear(actions.add_parser('clear', help='remove engines that no running program uses'))


def run(args: argparse.Namespace) -> int:
    """Do it; return the exit status."""
    status: int = args.act(args)
    return status


def _add_build(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('card', nargs='?', default='tiny', help='(default: tiny)')
    parser.add_argument('--backend', default='auto', help='as engine.backend (default: auto)')
    parser.add_argument('--precision', default='auto', help='as engine.precision (default: auto)')
    parser.add_argument('--device', default='cpu', help="'cpu' or 'cuda:N' (default: cpu)")
    parser.add_argument(
        '--input',
        type=parse_size_hw,
        nargs='+',
        default=[(0, 0)],
        metavar='HxW',
        help="sizes of the network input, px (default: the card's)",
    )
    parser.add_argument(
        '--version-compatible', action='store_true', help='as engine.version_compatible'
    )
    _add_cache_dir(parser)
    parser.set_defaults(act=_build)


def _add_clear(parser: argparse.ArgumentParser) -> None:
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument('--all', action='store_true', help='however recently they were used')
    which.add_argument(
        '--older-than', type=positive_float, metavar='DAYS', help='not used for so many days'
    )
    _add_cache_dir(parser)
    parser.set_defaults(act=_clear)


def _add_cache_dir(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        '--cache-dir', default='', metavar='DIR', help='as engine.cache_dir (default: of the user)'
    )


def _build(args: argparse.Namespace) -> int:
    from rgbt_perception.config import EngineConfig

    engine = EngineConfig(
        backend=args.backend,
        precision=args.precision,
        device=args.device,
        version_compatible=args.version_compatible,
        cache_dir=args.cache_dir,
    )
    cache = _open_cache(args)
    cache.check_writable()
    started_s = int(time.time())  # some file systems know whole seconds only
    needed = {_open_once(args.card, engine, input_hw) for input_hw in args.input} - {''}
    kept = [entry for entry in cache.entries() if entry.used_s >= started_s]
    if len(kept) < len(needed):
        print(f'{len(needed) - len(kept)} of {len(needed)} engines could not be kept')
    elif not kept:
        print('this backend builds nothing that could be kept')
    if kept:
        print(_describe_all(kept))
    return int(len(kept) < len(needed))


def _open_once(card: str, engine: EngineConfig, input_hw: tuple[int, int]) -> str:
    """Open and run the engine of a card as the node would, so that it builds what it needs.

    Returns:
        A name for what it needs, '' when its backend builds nothing.
    """
    from rgbt_models.card import load_card
    from rgbt_perception.config import ModelConfig, PerceptionConfig
    from rgbt_perception.engine.torch_package import prepare_package
    from rgbt_perception.pipeline import choose_input_hw, open_pipeline

    height, width = input_hw
    model = ModelConfig(card=card, input_height=height, input_width=width)
    config = PerceptionConfig(model=model, engine=engine)
    if engine.backend == 'torch':  # runs without a package as well, so opening builds none
        loaded = load_card(card)
        prepare_package(loaded, engine, choose_input_hw(loaded, config))
    pipeline = open_pipeline(config)
    pipeline.warm_up()
    print(
        f'{card} runs on {pipeline.engine.device} in {pipeline.engine.precision} with backend '
        f'{pipeline.engine.backend}, input {format_hw(pipeline.input_hw)} px'
    )
    pipeline.close()
    if pipeline.engine.backend == 'openvino':
        return 'one for all sizes'
    builds = pipeline.engine.backend == 'tensorrt' or engine.backend == 'torch'
    return format_hw(pipeline.input_hw) if builds else ''


def _list(args: argparse.Namespace) -> int:
    entries = _open_cache(args).entries()
    print(_to_json(entries) if args.json else _describe_all(entries) or 'no engines')
    return 0


def _verify(args: argparse.Namespace) -> int:
    entries = _open_cache(args).verify()
    print(_to_json(entries) if args.json else _describe_all(entries) or 'no engines')
    return int(any(entry.problem for entry in entries))


def _clear(args: argparse.Namespace) -> int:
    cache = _open_cache(args)
    removed = cache.clear(unused_for_s=None if args.all else args.older_than * _DAY_S)
    num_in_use = sum(entry.is_in_use for entry in cache.entries())
    print(f'removed {_count(removed)}; {num_in_use} in use')
    return 0


def _open_cache(args: argparse.Namespace) -> EngineCache:
    from rgbt_perception.engine.cache import EngineCache
    from rgbt_perception.engine.cache_folder import find_cache_folder

    return EngineCache(find_cache_folder(args.cache_dir))


def _describe_all(entries: Sequence[CacheEntry]) -> str:
    """Return the engines as text, '' when there are none."""
    if not entries:
        return ''
    total = f'{_count(entries)} in {entries[0].path.parent}'
    return '\n'.join([*(_describe(entry) for entry in entries), total])


def _describe(entry: CacheEntry) -> str:
    state = entry.problem or ('in use' if entry.is_in_use else 'not in use')
    used = datetime.fromtimestamp(entry.used_s, tz=timezone.utc).strftime('%Y-%m-%d %H:%M UTC')
    last = f'  {entry.path.name}: {_format_size(entry.size_bytes)}, used {used}, {state}'
    if entry.record is None:
        return f'unknown engine\n{last}'
    key = entry.record.key
    first = f'{key.model}: {key.backend} {key.backend_version}, {key.precision}, {key.shapes}'
    return f'{first}\n  {key.device}\n{last}'


def _to_json(entries: Sequence[CacheEntry]) -> str:
    return json.dumps([{**asdict(entry), 'path': str(entry.path)} for entry in entries], indent=2)


def _count(entries: Sequence[CacheEntry]) -> str:
    noun = 'engine' if len(entries) == 1 else 'engines'
    return f'{len(entries)} {noun}, {_format_size(sum(entry.size_bytes for entry in entries))}'


def _format_size(size_bytes: int) -> str:
    return f'{size_bytes / _MIB:.1f} MiB'
