# SPDX-License-Identifier: Apache-2.0
"""Writing a folder of pairs with ``annotations.json`` (COCO), as evaluation and bags read it.

PNG and JPEG files are copied as they are; others, images that share a file, and thermal images in
false colour (which become grey) are written as PNG. Beside COCO's keys an annotation may hold
``occlusion``, an image ``mask_file_name``, ``is_registered`` and ``split``.
"""

from __future__ import annotations

from collections.abc import Mapping
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from rgbt_models.data.manifest import box_to_json, Manifest, PairEntry
from rgbt_models.data.pairs import LoadedPair, read_bytes, try_load_pair
from rgbt_models.data.skipped import Skipped
from rgbt_models.errors import DatasetError

ANNOTATIONS_FILE = 'annotations.json'
COPIED_SUFFIXES = ('.png', '.jpg', '.jpeg')
MAX_TINT = 12  # grey levels between the channels of a pixel
MAX_TINTED_SHARE = 0.01


def write_folder(manifest: Manifest, out: Path, *, skipped: Skipped) -> int:
    """Write a folder of pairs; every image is decoded once to see that it can be.

    Args:
        manifest: What to write.
        out: Folder to create.
        skipped: Receives pairs that cannot be read.

    Returns:
        Pairs written.

    Raises:
        DatasetError: If ``out`` exists and is not empty, or no pair can be read.
    """
    check_empty(out)
    names = _class_names(manifest)
    category_ids = {name: index for index, name in enumerate(names, start=1)}
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for entry in manifest.entries:
        pair = try_load_pair(entry, skipped)
        if pair is None:
            continue
        image_id = len(images) + 1
        images.append(_write_pair(entry, pair, out, image_id))
        for box in entry.boxes or ():
            item = box_to_json(box)
            category_id = category_ids[item.pop('class')]
            width, height = item['bbox'][2:]
            annotations.append(
                {
                    'id': len(annotations) + 1,
                    'image_id': image_id,
                    'category_id': category_id,
                    'area': width * height,
                    'iscrowd': 0,
                    **item,
                }
            )
    if not images:
        raise DatasetError(
            f"none of the {len(manifest.entries)} pairs of '{manifest.name}' can be read, "
            f'expected at least one; restore the images'
        )
    document: dict[str, Any] = {
        'info': {'description': manifest.name, 'note': manifest.note},
        'categories': [{'id': index, 'name': name} for name, index in category_ids.items()],
        'images': images,
        'annotations': annotations,
    }
    if manifest.segmentation_classes:
        document['info']['segmentation_classes'] = list(manifest.segmentation_classes)
    (out / ANNOTATIONS_FILE).write_text(json.dumps(document, indent=1) + '\n', encoding='utf-8')
    return len(images)


def check_empty(out: Path) -> None:
    """Refuse a folder that holds something.

    Raises:
        DatasetError: If it does.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise DatasetError(f"'{out}' exists, expected a new or empty folder; choose another name")


def encode_png(image: NDArray[Any]) -> bytes:
    """Encode RGB (h, w, 3) or grey (h, w), 8 or 16 bit, as PNG."""
    stored = image[..., ::-1] if image.ndim == 3 else image
    _, data = cv2.imencode('.png', stored)
    return bytes(data.tobytes())


def is_grey(data: bytes) -> bool:
    """Whether an image is grey, or grey written as colour (JPEG may tint it a little)."""
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if image.ndim == 2:
        return True
    channels = image[..., :3].astype(np.int16)
    spread = channels.max(axis=2) - channels.min(axis=2)
    return bool((spread > MAX_TINT).mean() < MAX_TINTED_SHARE)


def image_file(entry: PairEntry, pair: LoadedPair, what: str) -> tuple[bytes, str]:
    """Return the bytes and ending of one image of a pair: as stored where that can be read again.

    Args:
        entry: The pair.
        pair: The same, decoded.
        what: 'rgb', 'thermal', 'label_map' or 'mask'.
    """
    paths: Mapping[str, Path | None] = {
        'rgb': entry.rgb_path,
        'thermal': entry.thermal_path,
        'label_map': entry.label_map_path,
        'mask': entry.mask_path,
    }
    path = paths[what]
    is_shared = entry.thermal_channel is not None and what in {'rgb', 'thermal'}
    is_camera = what in {'rgb', 'thermal'}
    is_stored = path is not None and path.suffix.lower() in COPIED_SUFFIXES
    if path is not None and is_camera and is_stored and not is_shared:
        data = read_bytes(path)
        if what == 'rgb' or is_grey(data):
            return data, path.suffix.lower()
    image = getattr(pair, what)
    if what == 'mask':
        image = image.astype(np.uint8) * 255
    return encode_png(image), '.png'


def _write_pair(entry: PairEntry, pair: LoadedPair, out: Path, image_id: int) -> dict[str, Any]:
    h, w = pair.rgb.shape[:2]
    image: dict[str, Any] = {'id': image_id, 'height': h, 'width': w}
    keys = {
        'rgb': 'file_name',
        'thermal': 'thermal_file_name',
        'label_map': 'label_map_file_name',
        'mask': 'mask_file_name',
    }
    stem = entry.name.replace('/', '_')
    for what, key in keys.items():
        if getattr(pair, what) is None:
            continue
        data, suffix = image_file(entry, pair, what)
        (out / what).mkdir(parents=True, exist_ok=True)
        image[key] = f'{what}/{stem}{suffix}'
        (out / image[key]).write_bytes(data)
    if entry.is_night is not None:
        image['is_night'] = entry.is_night
    if not entry.is_registered:
        image['is_registered'] = False
    if entry.split:
        image['split'] = entry.split
    return image


def _class_names(manifest: Manifest) -> list[str]:
    """Return the declared classes, then those that only boxes name (people, dog)."""
    found = [box.class_name for entry in manifest.entries for box in entry.boxes or ()]
    return list(dict.fromkeys((*manifest.detection_classes, *sorted(set(found)))))
