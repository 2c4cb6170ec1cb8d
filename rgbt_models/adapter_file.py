# SPDX-License-Identifier: Apache-2.0
"""LoRA adapters on disk: A and B as safetensors, their settings and the hash of their base."""

from __future__ import annotations

from dataclasses import asdict, dataclass
import hashlib
import json
from pathlib import Path

from safetensors import safe_open, SafetensorError
from safetensors.torch import save
import torch
from torch import Tensor

from rgbt_models.errors import AdapterError, WeightsError
from rgbt_models.weights import list_differences

ADAPTER_FORMAT = '1'


@dataclass(frozen=True, slots=True, kw_only=True)
class LoraSettings:
    """Shape of an adapter; the defaults are UNIV's.

    Attributes:
        rank: Rank of the update B A.
        alpha: The update is scaled by alpha / rank.
        dropout: Of the input of the update, in training.
        layers: Names of linear layers, last part ('qkv') or longer ('attn.qkv').
    """

    rank: int = 8
    alpha: int = 32
    dropout: float = 0.1
    layers: tuple[str, ...] = ('qkv', 'proj', 'fc1', 'fc2')

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            AdapterError: If a number is out of range or no layer is named.
        """
        if self.rank < 1 or self.alpha < 1 or not 0.0 <= self.dropout < 1.0 or not self.layers:
            raise AdapterError(
                f'LoRA has rank {self.rank}, alpha {self.alpha}, dropout {self.dropout} and '
                f'layers {self.layers}; expected rank and alpha of 1 or more, dropout in [0, 1) '
                f'and one layer name or more; correct the settings'
            )


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class AdapterFile:
    """What a file holds.

    Attributes:
        settings: Shape of the adapter.
        base_sha256: Hash of the encoder it was trained on, see ``hash_tensors``.
        tensors: ``<layer>.lora_a`` (rank, in) and ``<layer>.lora_b`` (out, rank).
    """

    settings: LoraSettings
    base_sha256: str
    tensors: dict[str, Tensor]


def write_adapter(file: AdapterFile, path: Path) -> None:
    """Write an adapter; the file appears whole or not at all."""
    metadata = {
        'format': ADAPTER_FORMAT,
        'settings': json.dumps(asdict(file.settings)),
        'base_sha256': file.base_sha256,
    }
    tensors = {name: value.cpu().contiguous() for name, value in file.tensors.items()}
    draft = path.with_name(f'{path.name}.partial')
    draft.write_bytes(save(tensors, metadata))
    draft.replace(path)


def read_adapter(path: Path) -> AdapterFile:
    """Read an adapter.

    Raises:
        WeightsError: If the file cannot be read or is no adapter.
    """
    try:
        with safe_open(path, framework='pt') as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            metadata = file.metadata() or {}
    except (OSError, SafetensorError) as error:
        raise WeightsError(
            f"cannot read adapter '{path}' ({error}); expected a safetensors file; restore it"
        ) from error
    try:
        values = json.loads(metadata['settings'])
        settings = LoraSettings(**{**values, 'layers': tuple(values['layers'])})
        base_sha256, found_format = metadata['base_sha256'], metadata['format']
    except (KeyError, TypeError, ValueError) as error:
        raise WeightsError(
            f"'{path}' is no adapter ({error!r}); expected a file written by Adapter.save; save "
            f'the adapter again'
        ) from error
    if found_format != ADAPTER_FORMAT:
        raise WeightsError(
            f"adapter '{path}' has format {found_format}, this version reads {ADAPTER_FORMAT}; "
            f'save the adapter again or install the matching version'
        )
    return AdapterFile(settings=settings, base_sha256=base_sha256, tensors=tensors)


def check_names(path: Path, found: dict[str, Tensor], wanted: dict[str, Tensor]) -> None:
    """Check that a file has exactly the tensors that an encoder's adapter has.

    Raises:
        WeightsError: If not; the message lists what is missing, unexpected and mismatched.
    """
    differences = list_differences(found, wanted)
    if differences:
        raise WeightsError(
            f"adapter '{path}' does not fit the encoder; {differences}; use the encoder it was "
            f'trained with'
        )


def hash_tensors(tensors: dict[str, Tensor]) -> str:
    """Return the SHA-256 of tensors: names, types, shapes and bytes, in the order of names."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        value = tensors[name].detach().cpu().contiguous()
        digest.update(f'{name} {value.dtype} {tuple(value.shape)};'.encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
