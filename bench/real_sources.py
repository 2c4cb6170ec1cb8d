# SPDX-License-Identifier: Apache-2.0
"""Real images for judging a model: aerial thermal frames with boxes, pairs without any.

Nothing of them is kept by a measurement but figures, and overlays where they are asked for.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from bench.world_sheet import RealSource
from rgbt_perception.datasets import ANNOTATIONS_FILE, decode_image_file
from rgbt_perception.errors import DatasetError
from rgbt_perception.truth import Truth, TruthPair
from rgbt_perception.types import ByteArray, Frame, Modality, NS_PER_S, Pair

# Names of HIT-UAV and of the model; a truck is not scored, but finding a car there is not wrong.
HIT_UAV_NAMES = {'Person': 'person', 'Car': 'car', 'Bicycle': 'bicycle', 'OtherVehicle': 'truck'}
DONT_CARE = 'DontCare'
SCORED = ('person', 'car', 'bicycle')
SHEET_COLUMNS, SHEET_ROWS, SHEET_WIDTH = 2, 4, 640


def load_hit_uav(folder: Path, limit: int = 0) -> Iterator[TruthPair]:
    """Read thermal frames of HIT-UAV with their boxes; there is no RGB.

    Args:
        folder: Has ``annotations.json`` (COCO) and the images that it names.
        limit: Images to read, spread evenly; 0 = all.

    Raises:
        DatasetError: If the annotations or an image cannot be read, or name another class.
    """
    document = _load(folder / ANNOTATIONS_FILE)
    names = {item['id']: item['name'] for item in document['categories']}
    by_image: dict[int, list[Mapping[str, Any]]] = {}
    for item in document['annotations']:
        by_image.setdefault(item['image_id'], []).append(item)
    images = document['images']
    count = min(limit or len(images), len(images))
    for number in range(count):
        image = images[number * len(images) // count]
        path = folder / image['file_name']
        thermal = Frame(
            pixels=decode_image_file(path, Modality.THERMAL),
            stamp_ns=(number + 1) * NS_PER_S,
            frame_id='thermal_optical_frame',
            modality=Modality.THERMAL,
        )
        yield TruthPair(
            name=path.stem,
            pair=Pair(rgb=None, thermal=thermal),
            truth=hit_uav_truth(by_image.get(image['id'], ()), names),
        )


def hit_uav_truth(annotations: Sequence[Mapping[str, Any]], names: Mapping[int, str]) -> Truth:
    """Return boxes under the names of the model; DontCare is to be ignored whatever is found.

    Args:
        annotations: COCO annotations of an image.
        names: Name by category id.

    Raises:
        DatasetError: If a name is none of HIT-UAV.
    """
    boxes: list[list[float]] = []
    found: list[str] = []
    ignore: list[bool] = []
    for item in annotations:
        name = names.get(item['category_id'], '')
        if name != DONT_CARE and name not in HIT_UAV_NAMES:
            raise DatasetError(
                f"an annotation has the class '{name}', expected one of "
                f'{", ".join((*HIT_UAV_NAMES, DONT_CARE))}; give a folder of HIT-UAV'
            )
        x, y, width, height = item['bbox']
        targets = SCORED if name == DONT_CARE else (HIT_UAV_NAMES[name],)
        boxes += [[x, y, x + width, y + height]] * len(targets)
        found += targets
        ignore += [name == DONT_CARE] * len(targets)
    return Truth(
        boxes_xyxy=np.array(boxes, np.float32).reshape(-1, 4),
        class_names=tuple(found),
        ignore=np.array(ignore, np.bool_),
    )


def load_unlabeled(folder: Path) -> Iterator[TruthPair]:
    """Read aligned pairs, files of one stem in sub-folders rgb and thermal, without boxes.

    Raises:
        DatasetError: If there is no pair, or an image cannot be read.
    """
    source = RealSource(folder=folder)
    thermal_by_stem = {path.stem: path for path in source.files('thermal')}
    both = [path for path in source.files('rgb') if path.stem in thermal_by_stem]
    if not both:
        raise DatasetError(
            f"'{folder}' has no pair; expected files of the same name in sub-folders rgb and "
            f'thermal; check the path'
        )
    for path in both:
        frames = {
            modality: Frame(
                pixels=decode_image_file(file, modality),
                stamp_ns=NS_PER_S,
                frame_id=f'{modality.value}_optical_frame',
                modality=modality,
            )
            for modality, file in (
                (Modality.RGB, path),
                (Modality.THERMAL, thermal_by_stem[path.stem]),
            )
        }
        yield TruthPair(
            name=path.stem,
            pair=Pair(rgb=frames[Modality.RGB], thermal=frames[Modality.THERMAL]),
            truth=hit_uav_truth((), {}),
        )


def write_sheets(out_dir: Path, pictures: Sequence[tuple[str, Path]]) -> list[Path]:
    """Put pictures on sheets, eight each, those of one source together.

    Args:
        out_dir: Receives ``sheet_SOURCE_N.png``.
        pictures: Name and file; the source is what comes before the first underscore.

    Returns:
        The sheets.
    """
    by_source: dict[str, list[Path]] = {}
    for name, path in pictures:
        by_source.setdefault(name.partition('_')[0], []).append(path)
    sheets = []
    per_sheet = SHEET_COLUMNS * SHEET_ROWS
    for source, paths in by_source.items():
        for start in range(0, len(paths), per_sheet):
            target = out_dir / f'sheet_{source}_{start // per_sheet:02d}.png'
            cv2.imwrite(str(target), draw_grid(paths[start : start + per_sheet]))
            sheets.append(target)
    return sheets


def draw_grid(paths: Sequence[Path]) -> ByteArray:
    """Return pictures beside and below each other, each ``SHEET_WIDTH`` wide, BGR."""
    cells = []
    for path in paths:
        picture = cv2.imread(str(path), cv2.IMREAD_COLOR)
        height = round(picture.shape[0] * SHEET_WIDTH / picture.shape[1])
        cells.append(cv2.resize(picture, (SHEET_WIDTH, height), interpolation=cv2.INTER_AREA))
    rows = [cells[i : i + SHEET_COLUMNS] for i in range(0, len(cells), SHEET_COLUMNS)]
    heights = [max(cell.shape[0] for cell in row) for row in rows]
    sheet = np.zeros((sum(heights), SHEET_COLUMNS * SHEET_WIDTH, 3), np.uint8)
    top = 0
    for row, height in zip(rows, heights, strict=True):
        for column, cell in enumerate(row):
            left = column * SHEET_WIDTH
            sheet[top : top + cell.shape[0], left : left + SHEET_WIDTH] = cell
        top += height
    return sheet


def _load(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text(encoding='utf-8'))
        if all(isinstance(document[key], list) for key in ('images', 'annotations', 'categories')):
            return dict(document)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DatasetError(
            f"cannot read '{path}' ({error!r}); expected COCO annotations; check the path"
        ) from error
    raise DatasetError(
        f"'{path}' lacks the lists images, annotations and categories, expected COCO annotations; "
        f'check the path'
    )
