# SPDX-License-Identifier: Apache-2.0
"""Weights on disk: safetensors in and out, strict, never pickle."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import nn, Tensor

from rgbt_models.card import verify_file
from rgbt_models.errors import WeightsError


def save_weights(model: nn.Module, path: Path) -> None:
    """Write parameters and buffers as safetensors."""
    save_tensors(model.state_dict(), path)


def save_tensors(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Write tensors as safetensors, contiguous, on the CPU.

    The file appears whole or not at all, with the permissions of any new file (``save_file`` of
    safetensors would make one that only its owner can read).
    """
    on_cpu = {name: t.detach().cpu().contiguous() for name, t in tensors.items()}
    draft = path.with_name(f'{path.name}.partial')
    draft.write_bytes(save(on_cpu))
    draft.replace(path)


def load_weights(model: nn.Module, path: Path, *, expected_sha256: str | None = None) -> None:
    """Load safetensors into a model; every name and shape must fit.

    Args:
        model: Receives the weights in place.
        path: The safetensors file.
        expected_sha256: Hash the file must have, or None to skip that check.

    Raises:
        WeightsError: If the file is missing, altered or unreadable, or names or shapes differ;
            the message lists what is missing, unexpected and mismatched.
    """
    if expected_sha256 is not None:
        verify_file(path, expected_sha256)
    try:
        found = load_file(path)
    except (OSError, SafetensorError) as error:
        raise WeightsError(
            f"cannot read weights '{path}' ({error}); expected a safetensors file; restore it"
        ) from error
    wanted = model.state_dict()
    differences = list_differences(found, wanted)
    if differences:
        raise WeightsError(
            f"weights '{path}' do not fit the model; {differences}; use the weights of this "
            f'architecture'
        )
    model.load_state_dict(found, strict=True)


def list_differences(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> str:
    """Return what is missing, unexpected and mismatched as text, three names of each list.

    Args:
        found: Tensors of a file, of any shape.
        wanted: Tensors of a network.

    Returns:
        '' where all names and shapes are alike.
    """
    mismatched = [
        f'{name} {tuple(found[name].shape)} for {tuple(wanted[name].shape)}'
        for name in sorted(set(wanted) & set(found))
        if found[name].shape != wanted[name].shape
    ]
    lists = {
        'missing': sorted(set(wanted) - set(found)),
        'unexpected': sorted(set(found) - set(wanted)),
        'mismatched': mismatched,
    }
    if not any(lists.values()):
        return ''
    return '; '.join(f'{title}: {_shorten(names)}' for title, names in lists.items())


def _shorten(names: list[str]) -> str:
    shown = ', '.join(names[:3]) if names else 'none'
    return shown if len(names) <= 3 else f'{shown} and {len(names) - 3} more'
