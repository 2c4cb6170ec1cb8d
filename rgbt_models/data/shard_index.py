# SPDX-License-Identifier: Apache-2.0
"""What tar shards say about themselves: ``shards.json`` beside them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
import json
from pathlib import Path
from typing import Any

from rgbt_models.data.manifest import Manifest
from rgbt_models.data.pool_labels import (
    box_classes,
    keep_names,
    label_kinds,
    LabelKinds,
    PoolLabels,
)
from rgbt_models.errors import DatasetError

INDEX_FILE = 'shards.json'


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardIndex:
    """Contents of ``shards.json``.

    Attributes:
        name: Of the data set.
        note: What a reader of results must know.
        counts: Pairs by name of a shard.
        detection_classes: Of boxes.
        segmentation_classes: Of label maps, by id.
        kinds: What the pairs are labeled with; None = not said.
        size_hw: Height and width that training brings all pairs to, px; None = not said.
    """

    name: str
    note: str
    counts: Mapping[str, int]
    detection_classes: tuple[str, ...]
    segmentation_classes: tuple[str, ...]
    kinds: LabelKinds | None
    size_hw: tuple[int, int] | None


def is_sharded(folder: Path) -> bool:
    """Whether a folder holds tar shards."""
    return (folder / INDEX_FILE).is_file()


def write_index(
    manifest: Manifest, out: Path, *, counts: Mapping[str, int], size_hw: tuple[int, int]
) -> None:
    """Write the index of shards made of a manifest.

    Args:
        manifest: What the shards hold.
        out: Folder of the shards.
        counts: Pairs by name of a shard.
        size_hw: Height and width for training, px.
    """
    kinds = label_kinds(manifest)
    content = {
        'name': manifest.name,
        'note': manifest.note,
        'size_hw': list(size_hw),
        'labels': [kind for kind in LabelKinds._fields if getattr(kinds, kind)],
        'detection_classes': list(box_classes(manifest)),
        'segmentation_classes': list(manifest.segmentation_classes),
        'shards': dict(counts),
    }
    (out / INDEX_FILE).write_text(json.dumps(content, indent=1) + '\n', encoding='utf-8')


def load_index(folder: Path) -> ShardIndex:
    """Read the index of shards.

    Raises:
        DatasetError: If it cannot be read or says something else.
    """
    path = folder / INDEX_FILE
    try:
        return _parse(json.loads(path.read_text(encoding='utf-8')))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DatasetError(
            f"'{path}' is malformed ({error!r}), expected what rgbt convert dataset writes; "
            f'write the shards again'
        ) from error


def training_labels(index: ShardIndex, folder: Path) -> tuple[PoolLabels, tuple[int, int]]:
    """Return how labels become those of training samples, and the size of these.

    Args:
        index: Of the shards.
        folder: For messages.

    Raises:
        DatasetError: If the index was written before it said either, or label maps have no names.
    """
    if index.kinds is None or index.size_hw is None:
        raise DatasetError(
            f"'{folder / INDEX_FILE}' has no labels or no size_hw, expected both for training; "
            f'write the shards again'
        )
    labels = keep_names(
        index.name,
        kinds=index.kinds,
        detection_classes=index.detection_classes,
        segmentation_classes=index.segmentation_classes,
    )
    return labels, index.size_hw


def _parse(content: Mapping[str, Any]) -> ShardIndex:
    kinds, size_hw = content.get('labels'), content.get('size_hw')
    return ShardIndex(
        name=str(content.get('name', '')),
        note=str(content.get('note', '')),
        counts={str(name): int(count) for name, count in content['shards'].items()},
        detection_classes=tuple(content.get('detection_classes', ())),
        segmentation_classes=tuple(content.get('segmentation_classes', ())),
        kinds=None if kinds is None else LabelKinds(**dict.fromkeys(kinds, True)),
        size_hw=None if size_hw is None else _parse_size(*size_hw),
    )


def _parse_size(height: int, width: int) -> tuple[int, int]:
    if not (isinstance(height, int) and isinstance(width, int) and min(height, width) > 0):
        raise ValueError(f'size_hw is [{height!r}, {width!r}]')
    return height, width
