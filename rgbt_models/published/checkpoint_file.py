# SPDX-License-Identifier: Apache-2.0
"""Read a released checkpoint file without running anything it contains.

The one place that unpickles: released files are PyTorch pickles, so an offline converter must.
``weights_only=True`` admits tensors, numbers, text and containers. Finished checkpoints also hold
their trainer's loss history, whose classes and functions would make that reader refuse the whole
file; those names are mapped to an inert class that keeps nothing and calls nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rgbt_models.errors import WeightsError

# Written by the trainer of the release (OpenMMLab's) beside the weights.
_HISTORY_NAMES = (
    'mmengine.logging.history_buffer.HistoryBuffer',
    'builtins.getattr',
    '__builtin__.getattr',
    'numpy.core.multiarray._reconstruct',
    'numpy._core.multiarray._reconstruct',
    'numpy.core.multiarray.scalar',
    'numpy._core.multiarray.scalar',
    'numpy.ndarray',
    'numpy.dtype',
)


class _Discarded:
    """Stands in for what is not read: accepts any arguments and state, keeps nothing."""

    def __new__(cls, *_args: object) -> _Discarded:
        return super().__new__(cls)

    def __setstate__(self, _state: object) -> None:
        pass


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointFile:
    """What a released file holds.

    Attributes:
        tensors: The weights by their released names.
        class_names: Class names that the trainer noted; empty when it noted none.
    """

    tensors: Mapping[str, Tensor]
    class_names: tuple[str, ...]


def read_checkpoint(path: Path) -> CheckpointFile:
    """Read the tensors of a released checkpoint.

    Args:
        path: A file of ``torch.save``; nothing it names is imported or called.

    Raises:
        WeightsError: If the file is missing, no such file, names anything but weights, or holds
            no dictionary of tensors.
    """
    if not path.is_file():
        raise WeightsError(
            f"there is no checkpoint '{path}'; expected a .pth file; check the path"
        )
    allowed: list[Callable[..., Any] | tuple[Callable[..., Any], str]] = [
        (_Discarded, name) for name in _HISTORY_NAMES
    ]
    try:
        with torch.serialization.safe_globals(allowed):
            content = torch.load(  # noqa: TID251 - the offline converter; see the docstring
                path, map_location='cpu', weights_only=True
            )
    except Exception as error:
        # pickle's own errors, RuntimeError, EOFError, KeyError: whatever the reader meets in a
        # file that is not one of weights.
        reason = str(error).strip().partition('\n')[0]
        raise WeightsError(
            f"cannot read checkpoint '{path}' as weights ({reason}); expected a PyTorch file with "
            f'nothing but weights; download it again and do not open it by other means'
        ) from error
    return _pick_weights(content, path)


def _pick_weights(content: object, path: Path) -> CheckpointFile:
    found: dict[str, Any] = content if isinstance(content, dict) else {}
    names = _class_names(found)
    nested = next((found[key] for key in ('state_dict', 'model') if key in found), found)
    tensors: dict[str, Any] = nested if isinstance(nested, dict) else {}
    if not tensors or not all(isinstance(value, Tensor) for value in tensors.values()):
        raise WeightsError(
            f"checkpoint '{path}' holds no dictionary of tensors; expected one at the top or "
            f"below 'state_dict' or 'model'; give the file as the authors publish it"
        )
    return CheckpointFile(tensors=tensors, class_names=names)


def _class_names(content: dict[str, Any]) -> tuple[str, ...]:
    meta = content.get('meta')
    dataset = meta.get('dataset_meta') if isinstance(meta, dict) else None
    classes = dataset.get('classes') if isinstance(dataset, dict) else None
    if isinstance(classes, list | tuple) and all(isinstance(name, str) for name in classes):
        return tuple(classes)
    return ()
