# SPDX-License-Identifier: Apache-2.0
"""The manifest: one list of pairs with boxes, label maps and saliency masks, JSON or JSON lines.

As ``.json`` it is one object whose ``pairs`` is a list; as ``.jsonl`` the first line is that
object without ``pairs``, and every further line is one pair, so that it can be cut and joined.
Paths are relative to the manifest, or absolute. Boxes are COCO: ``bbox`` = [x, y, width, height]
in RGB pixels. docs/datasets.md lists every key.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
import difflib
import json
import math
import os
from pathlib import Path
from typing import Any

from rgbt_models.errors import DatasetError

FORMAT = 'rgbt-manifest'
VERSION = 1
SUFFIXES = ('.json', '.jsonl')
_HEADER_KEYS = ('format', 'version', 'name', 'note', 'detection_classes', 'segmentation_classes')
_PATH_KEYS = ('rgb', 'thermal', 'label_map', 'mask')
_PAIR_KEYS = (
    *_PATH_KEYS,
    'name',
    'thermal_channel',
    'boxes',
    'is_night',
    'is_registered',
    'split',
)
_BOX_KEYS = ('bbox', 'class', 'ignore', 'occlusion')


@dataclass(frozen=True, slots=True, kw_only=True)
class BoxLabel:
    """One box of the ground truth.

    Attributes:
        box_xyxy: RGB px, edge units, max edge exclusive.
        class_name: Of the data set.
        ignore: True = neither to be found nor wrong to be found.
        occlusion: 0 = none, 1 = partial, 2 = heavy; None = not said.
    """

    box_xyxy: tuple[float, float, float, float]
    class_name: str
    ignore: bool = False
    occlusion: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PairEntry:
    """One pair, not yet read.

    Attributes:
        name: Unique in the manifest.
        rgb_path: RGB image.
        thermal_path: Thermal image, 8 or 16 bit; may be the RGB file (see ``thermal_channel``).
        thermal_channel: Channel of the thermal file that is the thermal image, counted as stored
            (R, G, B, alpha); None = the file is grey, or grey written as colour.
        boxes: Boxes, None = the pair is not labeled with boxes.
        label_map_path: 8-bit grey PNG of class ids, 255 = unlabeled.
        mask_path: Saliency mask, > 127 = salient.
        is_night: Time of day, None = not said.
        is_registered: Whether thermal pixels lie on RGB pixels (up to scale).
        split: 'train', 'test', ..., '' = not said.
    """

    name: str
    rgb_path: Path
    thermal_path: Path
    thermal_channel: int | None = None
    boxes: tuple[BoxLabel, ...] | None = None
    label_map_path: Path | None = None
    mask_path: Path | None = None
    is_night: bool | None = None
    is_registered: bool = True
    split: str = ''


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """A data set.

    Attributes:
        name: Of the data set.
        entries: Its pairs.
        detection_classes: Class names of the boxes.
        segmentation_classes: Class names of the label maps by id, background included.
        note: What a reader must know: licence, split, which camera was labeled.
    """

    name: str
    entries: tuple[PairEntry, ...]
    detection_classes: tuple[str, ...] = ()
    segmentation_classes: tuple[str, ...] = ()
    note: str = ''


def is_manifest_name(path: Path) -> bool:
    """Whether a path ends as a manifest does."""
    return path.suffix.lower() in SUFFIXES


def save_manifest(manifest: Manifest, path: Path) -> None:
    """Write a manifest; its format follows from the ending, ``.json`` or ``.jsonl``.

    Raises:
        DatasetError: If it ends otherwise.
    """
    _check_suffix(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    header = {
        'format': FORMAT,
        'version': VERSION,
        'name': manifest.name,
        'note': manifest.note,
        'detection_classes': list(manifest.detection_classes),
        'segmentation_classes': list(manifest.segmentation_classes),
    }
    pairs = [_pair_to_json(entry, path.parent) for entry in manifest.entries]
    if path.suffix.lower() == '.jsonl':
        text = ''.join(json.dumps(item) + '\n' for item in (header, *pairs))
    else:
        text = json.dumps({**header, 'pairs': pairs}, indent=1) + '\n'
    path.write_text(text, encoding='utf-8')


def load_manifest(path: Path) -> Manifest:
    """Read a manifest; the files it names are not opened.

    Raises:
        DatasetError: If it is missing, malformed, of another version, or holds an unknown key.
    """
    _check_suffix(path)
    if not path.is_file():
        raise DatasetError(f"there is no '{path}'; expected a manifest; check the path")
    header, pairs = _load_parts(path)
    if header.get('format') != FORMAT or header.get('version') != VERSION:
        raise DatasetError(
            f"'{path}' has format {header.get('format')!r} version {header.get('version')!r}, "
            f'expected {FORMAT!r} version {VERSION}; write it with rgbt convert dataset'
        )
    _check_keys(header, _HEADER_KEYS, f"'{path}'")
    entries = tuple(
        _entry(item, path.parent, f"pair {index} of '{path}'") for index, item in enumerate(pairs)
    )
    _check_names(entries, path)
    return Manifest(
        name=str(header.get('name', '')),
        note=str(header.get('note', '')),
        detection_classes=tuple(header.get('detection_classes', ())),
        segmentation_classes=tuple(header.get('segmentation_classes', ())),
        entries=entries,
    )


def box_to_json(box: BoxLabel) -> dict[str, Any]:
    """Return a box as JSON values."""
    x_min, y_min, x_max, y_max = box.box_xyxy
    item: dict[str, Any] = {
        'bbox': [x_min, y_min, x_max - x_min, y_max - y_min],
        'class': box.class_name,
    }
    if box.ignore:
        item['ignore'] = True
    if box.occlusion is not None:
        item['occlusion'] = box.occlusion
    return item


def box_from_json(item: object, where: str) -> BoxLabel:
    """Read a box.

    Raises:
        DatasetError: If it is malformed.
    """
    values = item.get('bbox') if isinstance(item, dict) else None
    if (
        not isinstance(item, dict)
        or not isinstance(values, list)
        or len(values) != 4
        or not all(isinstance(v, (int, float)) and math.isfinite(v) for v in values)
        or min(values[2:]) < 0
        or not isinstance(item.get('class'), str)
    ):
        raise DatasetError(
            f'{where} has the box {item!r}, expected bbox [x, y, width, height] in pixels and a '
            f'class; correct it'
        )
    _check_keys(item, _BOX_KEYS, where)
    x, y, width, height = (float(value) for value in values)
    return BoxLabel(
        box_xyxy=(x, y, x + width, y + height),
        class_name=item['class'],
        ignore=bool(item.get('ignore', False)),
        occlusion=item.get('occlusion'),
    )


def _load_parts(path: Path) -> tuple[dict[str, Any], Sequence[object]]:
    text = path.read_text(encoding='utf-8')
    try:
        if path.suffix.lower() == '.jsonl':
            items = [json.loads(line) for line in text.splitlines() if line.strip()]
            header, pairs = (items[0], items[1:]) if items else ({}, [])
        else:
            header = json.loads(text)
            pairs = header.pop('pairs', []) if isinstance(header, dict) else []
    except ValueError as error:
        raise DatasetError(
            f"'{path}' is not valid JSON ({error}); expected a manifest; write it again"
        ) from error
    if not isinstance(header, dict) or not isinstance(pairs, list):
        raise DatasetError(
            f"'{path}' holds no object with a list of pairs; expected a manifest; write it again"
        )
    return header, pairs


def _entry(item: object, folder: Path, where: str) -> PairEntry:
    if not isinstance(item, dict) or not all(
        isinstance(item.get(key), str) for key in ('name', 'rgb', 'thermal')
    ):
        raise DatasetError(
            f'{where} is {item!r}, expected an object with name, rgb and thermal; correct it'
        )
    _check_keys(item, _PAIR_KEYS, where)
    boxes = item.get('boxes')
    paths = {key: folder / item[key] for key in _PATH_KEYS if item.get(key)}
    return PairEntry(
        name=item['name'],
        rgb_path=paths['rgb'],
        thermal_path=paths['thermal'],
        label_map_path=paths.get('label_map'),
        mask_path=paths.get('mask'),
        thermal_channel=item.get('thermal_channel'),
        boxes=None if boxes is None else tuple(box_from_json(box, where) for box in boxes),
        is_night=item.get('is_night'),
        is_registered=bool(item.get('is_registered', True)),
        split=str(item.get('split', '')),
    )


def _pair_to_json(entry: PairEntry, folder: Path) -> dict[str, Any]:
    item: dict[str, Any] = {'name': entry.name}
    paths = (entry.rgb_path, entry.thermal_path, entry.label_map_path, entry.mask_path)
    for key, path in zip(_PATH_KEYS, paths, strict=True):
        if path is not None:
            item[key] = _relative(path, folder)
    if entry.boxes is not None:
        item['boxes'] = [box_to_json(box) for box in entry.boxes]
    defaults = {field.name: field.default for field in fields(PairEntry)}
    for key in ('thermal_channel', 'is_night', 'is_registered', 'split'):
        if getattr(entry, key) != defaults[key]:
            item[key] = getattr(entry, key)
    return item


def _relative(path: Path, folder: Path) -> str:
    return Path(os.path.relpath(path, folder)).as_posix()


def _check_suffix(path: Path) -> None:
    if not is_manifest_name(path):
        raise DatasetError(
            f"'{path}' ends in '{path.suffix}', expected {' or '.join(SUFFIXES)}; rename it"
        )


def _check_keys(item: Mapping[str, Any], known: Sequence[str], where: str) -> None:
    for key in item:
        if key not in known:
            close = difflib.get_close_matches(key, known, 1)
            hint = f"; did you mean '{close[0]}'?" if close else '; remove it'
            raise DatasetError(
                f"{where} has the unknown key '{key}', expected only {', '.join(known)}{hint}"
            )


def _check_names(entries: Sequence[PairEntry], path: Path) -> None:
    seen: set[str] = set()
    for entry in entries:
        if entry.name in seen:
            raise DatasetError(
                f"'{path}' has two pairs named '{entry.name}', expected each name once; rename one"
            )
        seen.add(entry.name)
