# SPDX-License-Identifier: Apache-2.0
"""Checkpoints from which a run goes on exactly: safetensors and JSON, whole or not there at all.

A checkpoint is a folder. Its tensors are whole, also where processes share them (FSDP). It is
written under another name and renamed when it is complete, so a run killed at any moment leaves
either this checkpoint or the one before it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
import json
import os
from pathlib import Path
import re
import shutil
from typing import Any

from lightning_fabric import Fabric
from safetensors import SafetensorError
from safetensors.torch import load_file, save
import torch
from torch import nn, Tensor

from rgbt_models.errors import DatasetError, WeightsError
from rgbt_models.train.sharding import split_like, whole, whole_state

CHECKPOINT_FORMAT = 1
KEPT = 2  # newest checkpoints of a run that stay on disk
_NAME = re.compile(r'checkpoint_(\d{9})')
_TENSORS, _STATE = 'tensors.safetensors', 'state.json'


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class TrainingParts:
    """What a checkpoint holds beside the counters: modules by name, and the optimiser."""

    modules: Mapping[str, nn.Module]
    optimiser: torch.optim.Optimizer


def save_checkpoint(
    fabric: Fabric,
    folder: Path,
    parts: TrainingParts,
    *,
    shared: Mapping[str, Any],
    own: Mapping[str, Any],
) -> Path:
    """Write the checkpoint of a step; every process calls this.

    Args:
        fabric: Of the run.
        folder: Of the run.
        parts: Modules and optimiser; those of the first process are written.
        shared: JSON values that are the same in all processes; 'step' is required.
        own: JSON values of this process: where its sampler stands.

    Returns:
        The folder of the checkpoint.
    """
    target = folder / f'checkpoint_{shared["step"]:09d}'
    draft = target.with_name(f'{target.name}.partial')
    tensors = {
        f'{part}.{name}': value
        for part, module in parts.modules.items()
        for name, value in whole_state(module).items()
    }
    tensors.update(_optimiser_tensors(parts))
    if fabric.is_global_zero:
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
        _write(draft / _TENSORS, save(_on_cpu(tensors)))
        state = {'format': CHECKPOINT_FORMAT, 'processes': fabric.world_size, **shared}
        _write(draft / _STATE, json.dumps(state, indent=2).encode())
    fabric.barrier()
    rank = fabric.global_rank
    _write(draft / f'rank_{rank}.safetensors', save(_random_states(fabric.device)))
    _write(draft / f'rank_{rank}.json', json.dumps(dict(own)).encode())
    fabric.barrier()
    if fabric.is_global_zero:
        _publish(draft, target)
        for old in _checkpoints(folder)[:-KEPT]:
            gone = old.rename(old.with_name(f'{old.name}.partial'))
            shutil.rmtree(gone)
    fabric.barrier()
    return target


def newest_checkpoint(folder: Path) -> Path | None:
    """Return the newest complete checkpoint of a run, or None."""
    found = _checkpoints(folder)
    return found[-1] if found else None


def read_state(checkpoint: Path) -> dict[str, Any]:
    """Return what ``save_checkpoint`` was given as ``shared``, with the number of processes.

    Raises:
        DatasetError: If it cannot be read or is of another format.
    """
    state = _read_json(checkpoint / _STATE)
    if state.get('format') != CHECKPOINT_FORMAT:
        raise DatasetError(
            f"checkpoint '{checkpoint}' has format {state.get('format')}; expected "
            f'{CHECKPOINT_FORMAT}; go on with the version of this package that wrote it'
        )
    return state


def load_checkpoint(fabric: Fabric, checkpoint: Path, parts: TrainingParts) -> dict[str, Any]:
    """Restore modules, optimiser and random generators; every process calls this.

    Returns:
        What ``save_checkpoint`` of this process was given as ``own``.

    Raises:
        DatasetError: If the number of processes is another, or a file cannot be read.
        WeightsError: If the tensors do not fit.
    """
    processes = read_state(checkpoint)['processes']
    if processes != fabric.world_size:
        raise DatasetError(
            f"checkpoint '{checkpoint}' is of {processes} processes; this run has "
            f'{fabric.world_size}; expected the same number, start that many'
        )
    tensors = _read_tensors(checkpoint / _TENSORS)
    for part, module in parts.modules.items():
        prefix, wanted = f'{part}.', module.state_dict()
        found = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
        found = {k: split_like(v, wanted.get(k, v)) for k, v in found.items()}
        try:
            module.load_state_dict(found, strict=True)
        except RuntimeError as error:
            raise WeightsError(
                f"checkpoint '{checkpoint}' does not fit part '{part}' ({error}); expected the "
                f'checkpoint of this run; use the package that wrote it'
            ) from error
    _restore_optimiser(parts.optimiser, tensors)
    rank = fabric.global_rank
    own = _read_json(checkpoint / f'rank_{rank}.json')
    states = _read_tensors(checkpoint / f'rank_{rank}.safetensors')
    torch.set_rng_state(states['cpu'])
    if 'cuda' in states:
        torch.cuda.set_rng_state(states['cuda'], fabric.device)
    return own


def _optimiser_tensors(parts: TrainingParts) -> dict[str, Tensor]:
    state = parts.optimiser.state_dict()['state']
    return {
        f'optimiser.{index}.{name}': whole(value)
        for index, values in state.items()
        for name, value in values.items()
    }


def _restore_optimiser(optimiser: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    parameters = [p for group in optimiser.param_groups for p in group['params']]
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        if not key.startswith('optimiser.'):
            continue
        _, index, name = key.split('.', 2)
        parameter = parameters[int(index)]
        value = split_like(value, parameter)  # noqa: PLW2901
        if value.shape == parameter.shape:  # in the same memory order, so that sums round alike
            value = torch.empty_like(parameter, dtype=value.dtype).copy_(value)  # noqa: PLW2901
        state.setdefault(int(index), {})[name] = value
    groups = optimiser.state_dict()['param_groups']
    optimiser.load_state_dict({'state': state, 'param_groups': groups})


def _random_states(device: torch.device) -> dict[str, Tensor]:
    states = {'cpu': torch.get_rng_state()}
    if device.type == 'cuda':
        states['cuda'] = torch.cuda.get_rng_state(device)
    return states


def _on_cpu(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    # Copies: safetensors refuses two names for one memory, as frozen averages may be.
    return {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}


def _checkpoints(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob('checkpoint_*') if _NAME.fullmatch(path.name))


def _write(path: Path, content: bytes) -> None:
    with path.open('wb') as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _publish(draft: Path, target: Path) -> None:
    shutil.rmtree(target, ignore_errors=True)
    draft.rename(target)
    handle = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding='utf-8'))
    except (OSError, ValueError) as error:
        raise DatasetError(
            f"cannot read '{path}' ({error}); expected a file of a checkpoint; remove that folder "
            f'to go on from the checkpoint before'
        ) from error
    return content


def _read_tensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise WeightsError(
            f"cannot read '{path}' ({error}); expected safetensors of a checkpoint; remove that "
            f'folder to go on from the checkpoint before'
        ) from error
