# SPDX-License-Identifier: Apache-2.0
"""A folder of synthetic pairs with COCO boxes and label maps, byte-identical by seed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from rgbt_models.errors import DatasetError
from rgbt_models.label_sets import DETECTION_CLASSES
from rgbt_models.synthetic.materials import Label
from rgbt_models.synthetic.rig import Camera, default_rig, Rig
from rgbt_models.synthetic.scene import WORLD_VERSION
from rgbt_models.synthetic.world import render_pair, SyntheticPair

if TYPE_CHECKING:
    from rgbt_models.synthetic.arrays import ByteArray, CountArray
    from rgbt_models.synthetic.labels import ObjectTruth

_FIRST_CATEGORY_ID = 1  # COCO counts from one


def write_dataset(
    out_dir: Path | str,
    *,
    num_pairs: int,
    seed: int,
    rig: Rig | None = None,
    night: bool | None = None,
    rgb_noise: float = 0.01,
) -> Path:
    """Render pairs into a folder.

    Layout: ``annotations.json``, ``rgb/``, ``thermal/`` (16-bit PNG, 0.01 K) and ``label_map/``
    (8-bit PNG in RGB pixels). Boxes are those of the RGB view, in RGB pixels.

    Args:
        out_dir: Created if missing; must not hold a data set yet.
        num_pairs: How many, at least 1.
        seed: Pair i is the scene of seed ``seed + i``.
        rig: The two cameras; ``default_rig()`` if None.
        night: Force day or night; None draws.
        rgb_noise: Standard deviation of the RGB sensor's noise, of full scale.

    Returns:
        Path of ``annotations.json``.

    Raises:
        DatasetError: If ``num_pairs`` is not positive or the folder holds a data set.
    """
    folder = Path(out_dir)
    target = folder / 'annotations.json'
    if num_pairs < 1:
        raise DatasetError(f'num_pairs is {num_pairs}; expected at least 1; ask for more pairs')
    if target.exists():
        raise DatasetError(
            f"'{target}' exists; expected a new folder; choose another one or remove it"
        )
    used_rig = default_rig() if rig is None else rig
    for name in ('rgb', 'thermal', 'label_map'):
        (folder / name).mkdir(parents=True, exist_ok=True)
    images: list[dict[str, object]] = []
    annotations: list[dict[str, object]] = []
    for index in range(num_pairs):
        pair = render_pair(seed + index, used_rig, night=night, rgb_noise=rgb_noise)
        images.append(_write_pair(folder, index, pair))
        first_id = len(annotations) + 1
        annotations += _annotate(pair.rgb_view.objects, image_id=index + 1, first_id=first_id)
    content = {
        'info': _describe(used_rig, seed=seed, rgb_noise=rgb_noise),
        'categories': [
            {'id': number, 'name': name}
            for number, name in enumerate(DETECTION_CLASSES, start=_FIRST_CATEGORY_ID)
        ],
        'images': images,
        'annotations': annotations,
    }
    target.write_text(json.dumps(content, indent=1) + '\n', encoding='utf-8')
    return target


def _write_pair(folder: Path, index: int, pair: SyntheticPair) -> dict[str, object]:
    rgb_name = f'rgb/{index:06d}.png'
    thermal_name, label_name = f'thermal/{index:06d}.png', f'label_map/{index:06d}.png'
    _write_png(folder / rgb_name, np.ascontiguousarray(pair.rgb[..., ::-1]))
    _write_png(folder / thermal_name, pair.thermal_raw)
    _write_png(folder / label_name, pair.rgb_view.label_map)
    height, width = pair.rgb.shape[:2]
    return {
        'id': index + 1,
        'file_name': rgb_name,
        'thermal_file_name': thermal_name,
        'label_map_file_name': label_name,
        'height': height,
        'width': width,
        'is_night': pair.is_night,
    }


def _write_png(path: Path, image: ByteArray | CountArray) -> None:
    is_encoded, data = cv2.imencode('.png', image)
    if not is_encoded:
        raise DatasetError(
            f"cannot encode '{path.name}' ({image.dtype}, {image.shape}); "
            f'expected an 8-bit or 16-bit image; check that OpenCV has PNG support'
        )
    path.write_bytes(data.tobytes())


def _annotate(objects: ObjectTruth, *, image_id: int, first_id: int) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for position, box in enumerate(objects.boxes_xyxy.tolist()):
        left, top, right, bottom = box
        rows.append(
            {
                'id': first_id + position,
                'image_id': image_id,
                'category_id': int(objects.class_ids[position]) + _FIRST_CATEGORY_ID,
                'bbox': [left, top, right - left, bottom - top],
                'area': float(objects.visible_area_px[position]),
                'iscrowd': 0,
                'ignore': int(objects.ignore[position]),
            }
        )
    return rows


def _describe(rig: Rig, *, seed: int, rgb_noise: float) -> dict[str, object]:
    return {
        'description': 'synthetic RGB-thermal pairs',
        'world_version': WORLD_VERSION,
        'seed': seed,
        'rgb_noise': rgb_noise,
        'thermal_unit': 'uint16, 0.01 K',
        'segmentation_classes': [label.name.lower() for label in Label],
        'homography_thermal_to_rgb': rig.homography_thermal_to_rgb().ravel().tolist(),
        'rig': {'rgb': _describe_camera(rig.rgb), 'thermal': _describe_camera(rig.thermal)},
    }


def _describe_camera(camera: Camera) -> dict[str, object]:
    return {
        'height': camera.height,
        'width': camera.width,
        'intrinsics': camera.intrinsics.ravel().tolist(),
        'rotation': camera.rotation.ravel().tolist(),
        'position': camera.position.tolist(),
    }
