# SPDX-License-Identifier: Apache-2.0
"""What the samplers of a run left out, over all processes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lightning_fabric import Fabric
import torch

from rgbt_models.data.skipped import Skipped


def describe_left_out(
    fabric: Fabric, state: dict[str, Any] | None, folder: Path
) -> dict[str, int]:
    """Count what was left out and name it in ``skipped.jsonl``; to be called in every process.

    Args:
        fabric: Of the run.
        state: Where the sampler of this process stands, with the reasons by name in 'skipped'.
        folder: Of the run; gets no file where nothing was left out.

    Returns:
        'pool_skipped': corrupt pairs and cut shards that the run met, each once; a value of
        ``run.json``.
    """
    skipped = Skipped()
    for reasons in _gather(fabric, (state or {}).get('skipped', {})):
        skipped.reasons.update(reasons)
    if len(skipped) and fabric.is_global_zero:
        skipped.write(folder)
    return {'pool_skipped': len(skipped)}


def _gather(fabric: Fabric, reasons: dict[str, str]) -> list[dict[str, str]]:
    """Return the reasons of all processes, which meet as JSON in padded tensors."""
    if fabric.world_size == 1:
        return [reasons]
    text = json.dumps(reasons).encode()
    longest = torch.as_tensor(fabric.all_reduce(torch.tensor(len(text)), reduce_op='max'))
    padded = text.ljust(int(longest))  # JSON may end in blanks
    rows = torch.as_tensor(fabric.all_gather(torch.tensor(list(padded), dtype=torch.uint8)))
    return [json.loads(bytes(row)) for row in rows.tolist()]
