# SPDX-License-Identifier: Apache-2.0
"""What data a run has seen, its encoder included: cards and scores must not claim less."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
import json
from pathlib import Path
from typing import Any

from rgbt_models.card import load_card
from rgbt_models.errors import CardError, WeightsError
from rgbt_models.label_sets import LabelSet, parse_label_set
from rgbt_models.train.loop import RUN_NAME
from rgbt_models.train.pool import read_origin, SHARD_PAIRS

UNKNOWN = 'unknown, of '


def describe_origin(init_from: str, pool_dir: Path) -> dict[str, str]:
    """Return where the data of a run is from, as values of its ``run.json``.

    Args:
        init_from: Encoder that the run starts from, '' = random weights.
        pool_dir: Pool that it reads.

    Returns:
        'encoder_origin' and 'pool_origin'; '' stands for rendered pairs alone.
    """
    encoder = read_encoder_origin(Path(init_from)) if init_from else ''
    return {'encoder_origin': encoder, 'pool_origin': read_origin(pool_dir)}


def read_encoder_origin(path: Path) -> str:
    """Return what data an encoder on disk has seen, '' = rendered pairs alone.

    Known from the ``run.json`` that training writes beside it, or from the card it is of;
    'unknown' without either.
    """
    run = _read_run_of(path)
    if not {'encoder_origin', 'pool_origin'} <= set(run):
        return f'{UNKNOWN}{path.parent.name}/{path.name}'
    origins = (run['encoder_origin'], run['pool_origin'])
    return ', then '.join(origin for origin in origins if origin)


def check_classes_of(init_from: str, wanted: LabelSet) -> None:
    """Refuse weights whose heads tell other classes, or the same in another order.

    Args:
        init_from: Weights of a card or a run; of others the classes are not known.
        wanted: Classes that the heads are to tell.

    Raises:
        WeightsError: If they differ.
    """
    run = _read_run_of(Path(init_from))
    if not run:
        return
    found = parse_label_set(run)
    for kind, names in wanted.to_json().items():
        if names and found.to_json()[kind] != names:
            raise WeightsError(
                f"the weights of init_from '{init_from}' have the {kind} "
                f'{", ".join(found.to_json()[kind])}; expected {", ".join(names)} in this order; '
                f'start from other weights, or from the encoder alone with init_heads: false'
            )


def _read_run_of(weights: Path) -> dict[str, Any]:
    """Return what is known of the run that wrote weights, {} = nothing."""
    with suppress(OSError, ValueError):
        run: dict[str, Any] = json.loads(weights.with_name(RUN_NAME).read_text(encoding='utf-8'))
        return run
    with suppress(CardError):
        return load_card(weights.parent).training
    return {}


def describe_scenes(
    init_from: str, pool_dir: Path, sampler_state: Mapping[str, Any] | None
) -> dict[str, Any]:
    """Return which rendered scenes a run has seen, as a value of its ``run.json``.

    Args:
        init_from: Encoder that the run started from, '' = random weights.
        pool_dir: Pool that it read.
        sampler_state: Where its sampler stood at the end, with the names of the shards it read,
            or the scenes it rendered on the fly.

    Returns:
        'scenes_read': [first, end) of each range of seeds, ascending, the encoder's included as
        far as its ``run.json`` or its card says them.
    """
    seen: list[range] = []
    if init_from:
        seen += scenes_of(_read_run_of(Path(init_from)))
    if not read_origin(pool_dir):
        state = sampler_state or {}
        seen += scenes_in(state.get('shards', ()))
        seen += [range(*ends) for ends in state.get('scenes', ())]
    merged: list[list[int]] = []
    for scenes in sorted(seen, key=lambda scenes: scenes.start):
        if merged and scenes.start <= merged[-1][1]:
            merged[-1][1] = max(merged[-1][1], scenes.stop)
        else:
            merged.append([scenes.start, scenes.stop])
    return {'scenes_read': merged}


def scenes_of(run: Mapping[str, Any]) -> list[range]:
    """Return the seeds of the rendered scenes that a run has seen.

    Args:
        run: Its ``run.json``. Of one that does not say them, from before they were kept, they
            are those of its settings, and of all pairs it read if those are more.
    """
    if 'scenes_read' in run:
        return [range(*ends) for ends in run['scenes_read']]
    settings = run.get('config', {})
    if run.get('pool_origin') or 'pool_seed' not in settings:
        return []
    first = int(settings['pool_seed'])
    pairs = max(int(settings.get('pool_pairs', 0)), int(run.get('pool_pairs_read', 0)))
    return [range(first, first - -pairs // SHARD_PAIRS * SHARD_PAIRS)]  # whole shards


def scenes_in(shard_names: Iterable[str]) -> list[range]:
    """Return the seeds of the scenes of rendered shards, which are named after their first."""
    firsts = (name.removeprefix('shard_') for name in shard_names)
    return [range(int(f), int(f) + SHARD_PAIRS) for f in firsts if f.isdigit()]
