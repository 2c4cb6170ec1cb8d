# SPDX-License-Identifier: Apache-2.0
"""What data a run has seen, its encoder included: a card must not claim less than is true."""

from __future__ import annotations

import json
from pathlib import Path

from rgbt_models.train.loop import RUN_NAME
from rgbt_models.train.pool import read_origin


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

    Known from the ``run.json`` that ``rgbt pretrain`` writes beside it; 'unknown' without one.
    """
    try:
        run = json.loads(path.with_name(RUN_NAME).read_text(encoding='utf-8'))
        origins = (run['encoder_origin'], run['pool_origin'])
    except (OSError, ValueError, KeyError):
        return f'unknown, of {path.parent.name}/{path.name}'
    return ', then '.join(origin for origin in origins if origin)
