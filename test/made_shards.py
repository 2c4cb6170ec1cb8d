# SPDX-License-Identifier: Apache-2.0
"""Tar shards of painted pairs, whole or damaged."""

from __future__ import annotations

from pathlib import Path
import tarfile

import cv2
from made_models import random_painted_samples

from rgbt_models.data import BoxLabel, Manifest, PairEntry, Skipped, write_shards
from rgbt_models.label_sets import DETECTION_CLASSES, SEGMENTATION_CLASSES

PAIRS, PER_SHARD = 13, 3  # four whole shards and one pair


def make_shards(folder: Path, *, num_pairs: int = PAIRS, is_registered: bool = True) -> Path:
    """Write shards of painted pairs; the top left RGB pixel of pair i is grey 3 i."""
    entries = []
    (folder / 'source').mkdir(parents=True)
    for index, sample in enumerate(random_painted_samples(num_pairs, seed=3)):
        sample.rgb[:8, :8] = 3 * index
        paths = {}
        for name in ('rgb', 'thermal', 'label_map'):
            paths[name] = folder / 'source' / f'{index}_{name}.png'
            assert cv2.imwrite(str(paths[name]), getattr(sample, name))
        box = BoxLabel(box_xyxy=tuple(sample.boxes_xyxy[0].tolist()), class_name='person')
        entries.append(
            PairEntry(
                name=f'pair {index}',
                rgb_path=paths['rgb'],
                thermal_path=paths['thermal'],
                label_map_path=paths['label_map'],
                boxes=(box,),
                is_registered=is_registered,
            )
        )
    manifest = Manifest(
        name='painted',
        entries=tuple(entries),
        detection_classes=DETECTION_CLASSES,
        segmentation_classes=SEGMENTATION_CLASSES,
    )
    out = folder / 'shards'
    write_shards(manifest, out, pairs_per_shard=PER_SHARD, skipped=Skipped())
    return out


def damage(folder: Path, shard: str, pair: int) -> None:
    """Spoil the RGB image of a pair."""
    path = folder / shard
    with tarfile.open(path) as archive:
        start = archive.getmember(f'{pair:09d}.rgb.png').offset_data
    data = bytearray(path.read_bytes())
    data[start : start + 2] = b'xx'
    path.write_bytes(bytes(data))
