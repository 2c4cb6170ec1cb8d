# SPDX-License-Identifier: Apache-2.0
"""Writing the pairs of a manifest as a training pool, the format that ``rgbt train`` reads.

A pool has one image size and one label set: the data set's own, or this project's. Differs from a
rendered pool: what a data set does not say is marked as unknown, not as background: pairs without
boxes get one ignored box over the image, boxes of classes that the pool lacks are ignored, such
classes of label maps are unlabeled. 8-bit thermal images, whose temperatures are lost, are spread
over 40 K from 0 °C, so that the simulated sensors have a scale to work on.
"""

from __future__ import annotations

import json
from pathlib import Path
import shutil
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from rgbt_models.data.folder import check_empty
from rgbt_models.data.manifest import BoxLabel, Manifest
from rgbt_models.data.pairs import LoadedPair, try_load_pair
from rgbt_models.data.pool_labels import keep_classes, map_classes, PoolLabels
from rgbt_models.data.skipped import Skipped
from rgbt_models.errors import DatasetError
from rgbt_models.label_sets import UNLABELED
from rgbt_models.tlinear import COUNTS_PER_K, ZERO_C_IN_K
from rgbt_models.train.pool import CONVERTED_KEY, POOL_FILE, Sample, save_shard, SHARD_PAIRS

Pixel = TypeVar('Pixel', np.uint8, np.uint16)

GREY_SPAN_K = 40.0


def write_pool(
    manifest: Manifest,
    out: Path,
    *,
    size_hw: tuple[int, int],
    skipped: Skipped,
    is_mapped: bool = False,
) -> int:
    """Write a pool for training.

    Args:
        manifest: Pairs; those that are not registered are skipped.
        out: Folder to create.
        size_hw: Height and width of all images, px; others are scaled to fit and padded.
        skipped: Receives pairs that cannot be used.
        is_mapped: Bring the labels to this project's classes instead of keeping their own.

    Returns:
        Pairs written.

    Raises:
        DatasetError: If ``out`` exists and is not empty, no pair can be used, or the classes
            have no names.
    """
    labels = map_classes(manifest) if is_mapped else keep_classes(manifest)
    check_empty(out)
    out.mkdir(parents=True, exist_ok=True)
    total, samples = 0, list[Sample]()
    for entry in manifest.entries:
        if not entry.is_registered:
            skipped.add(entry.name, 'RGB and thermal are not registered')
            continue
        pair = try_load_pair(entry, skipped)
        if pair is None:
            continue
        samples.append(to_sample(pair, labels, size_hw=size_hw))
        if len(samples) == SHARD_PAIRS:
            total += _flush(samples, out, total)
    total += _flush(samples, out, total)
    if total == 0:
        shutil.rmtree(out)
        raise DatasetError(
            f"none of the {len(manifest.entries)} pairs of '{manifest.name}' can be used, "
            f'expected at least one that is registered and can be read; the first reason: '
            f'{next(iter(skipped.reasons.values()), "no pair")}'
        )
    about = {
        CONVERTED_KEY: manifest.name,
        'size_hw': list(size_hw),
        'pairs': total,
        **labels.label_set.to_json(),
    }
    (out / POOL_FILE).write_text(json.dumps(about) + '\n', encoding='utf-8')
    return total


def to_sample(pair: LoadedPair, labels: PoolLabels, *, size_hw: tuple[int, int]) -> Sample:
    """Bring a registered pair to one size, the classes of a pool and 0.01 K counts.

    Args:
        pair: Registered; thermal is scaled to the RGB image.
        labels: Of the pool.
        size_hw: Size wanted; what the image does not fill is unlabeled and ignored.
    """
    height, width = size_hw
    h, w = pair.rgb.shape[:2]
    scale = min(height / h, width / w)
    inner_hw = (min(height, round(h * scale)), min(width, round(w * scale)))
    counts = thermal_counts(pair.thermal)
    label_map = np.full((h, w), UNLABELED, np.uint8)
    if labels.has_masks and pair.mask is not None:
        label_map = pair.mask.astype(np.uint8)  # ids of MASK_CLASSES
    elif pair.label_map is not None and not labels.has_masks:
        label_map = labels.pixel_ids[pair.label_map]
    boxes, class_ids, ignore = _objects(pair.boxes, labels, scale, (h, w), inner_hw, size_hw)
    fitted = np.full(size_hw, UNLABELED, np.uint8)
    fitted[: inner_hw[0], : inner_hw[1]] = _resized(label_map, inner_hw, cv2.INTER_NEAREST)
    return Sample(
        rgb=_padded(_resized(pair.rgb, inner_hw, cv2.INTER_AREA), size_hw),
        thermal=_padded(_resized(counts, inner_hw, cv2.INTER_LINEAR), size_hw),
        label_map=fitted,
        boxes_xyxy=boxes,
        class_ids=class_ids,
        ignore=ignore,
        is_night=bool(pair.is_night),
    )


def thermal_counts(thermal: NDArray[np.uint8] | NDArray[np.uint16]) -> NDArray[np.uint16]:
    """Return 0.01 K counts: 16 bit as it is, 8 bit spread over 0 to 40 °C."""
    if thermal.dtype == np.uint16:
        return np.asarray(thermal, np.uint16)
    kelvin = ZERO_C_IN_K + thermal.astype(np.float64) / 255.0 * GREY_SPAN_K
    return np.asarray(np.rint(kelvin * COUNTS_PER_K), np.uint16)


def _objects(
    given: tuple[BoxLabel, ...] | None,
    labels: PoolLabels,
    scale: float,
    source_hw: tuple[int, int],
    inner_hw: tuple[int, int],
    size_hw: tuple[int, int],
) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.bool_]]:
    """Return boxes, class ids and ignore of a sample; unknown ground is one ignored box."""
    if given is None:
        h, w = source_hw
        given = (BoxLabel(box_xyxy=(0.0, 0.0, w, h), class_name='', ignore=True),)
    boxes = [[value * scale for value in label.box_xyxy] for label in given]
    known = [labels.box_id(label.class_name) for label in given]
    ids = [class_id or 0 for class_id in known]
    ignore = [label.ignore or name is None for label, name in zip(given, known, strict=True)]
    height, width = size_hw
    for pad in ([0, inner_hw[0], width, height], [inner_hw[1], 0, width, height]):
        if pad[0] < pad[2] and pad[1] < pad[3]:
            boxes.append([float(value) for value in pad])
            ids.append(0)
            ignore.append(True)
    return (
        np.array(boxes, np.float32).reshape(-1, 4),
        np.array(ids, np.int64),
        np.array(ignore, np.bool_),
    )


def _resized(image: NDArray[Pixel], size_hw: tuple[int, int], how: int) -> NDArray[Pixel]:
    if image.shape[:2] == size_hw:
        return image
    resized: NDArray[Pixel] = cv2.resize(image, (size_hw[1], size_hw[0]), interpolation=how)
    return resized


def _padded(image: NDArray[Pixel], size_hw: tuple[int, int]) -> NDArray[Pixel]:
    below, right = size_hw[0] - image.shape[0], size_hw[1] - image.shape[1]
    if not below and not right:
        return image
    how = cv2.BORDER_REPLICATE
    padded: NDArray[Pixel] = cv2.copyMakeBorder(image, 0, below, 0, right, how)
    return padded


def _flush(samples: list[Sample], out: Path, first: int) -> int:
    count = len(samples)
    if count:
        save_shard(samples, out / f'shard_{first:09d}')
        samples.clear()
    return count
