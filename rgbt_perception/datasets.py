# SPDX-License-Identifier: Apache-2.0
"""Reading a folder of RGB-thermal pairs with ``annotations.json`` in COCO form.

Each image names its RGB file (``file_name``) and its thermal file (``thermal_file_name``), and may
name a label map (``label_map_file_name``, 8-bit grey PNG) and say ``is_night``; paths are relative
to the folder. ``info`` may hold ``homography_thermal_to_rgb`` (9 numbers, row-major) and
``segmentation_classes``. Boxes are in RGB pixels; ``iscrowd`` and ``ignore`` boxes are not scored.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
import json
from pathlib import Path
from typing import Any

import numpy as np

from rgbt_perception.camera_model import CameraModel
from rgbt_perception.config import IDENTITY_3X3, RegistrationConfig
from rgbt_perception.errors import ConfigError, DatasetError, FrameError
from rgbt_perception.images import decode_compressed_rgb
from rgbt_perception.thermal import decode_compressed_thermal
from rgbt_perception.truth import Truth, TruthPair
from rgbt_perception.types import Frame, IntArray, Modality, NS_PER_S, Pair

ANNOTATIONS_FILE = 'annotations.json'
IMAGE_FORMATS = {'.png': 'png', '.jpg': 'jpeg', '.jpeg': 'jpeg'}
MAX_PIXELS = 33_554_432


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetEntry:
    """One pair of the folder, not yet decoded.

    Attributes:
        image_id: Id in the annotations.
        rgb_path: RGB file, JPEG or PNG.
        thermal_path: Thermal file, JPEG (8 bit) or PNG (8 or 16 bit).
        label_map_path: Label map file, None when there is none.
        is_night: Whether it is night, None when not said.
        annotations: COCO annotations of the pair.
    """

    image_id: int
    rgb_path: Path
    thermal_path: Path
    label_map_path: Path | None
    is_night: bool | None
    annotations: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PairDataset:
    """A folder of pairs with ground truth.

    Attributes:
        folder: The folder.
        entries: The pairs, in the order of the annotations file.
        class_names: Class name by category id.
        segmentation_classes: Class names of the label maps, None when not said.
        registration: How thermal pixels lie on RGB pixels.
        cameras: Camera models; a folder of pairs knows none.
        has_occlusions: Whether boxes say how much is hidden, as those of KAIST do.
    """

    folder: Path
    entries: tuple[DatasetEntry, ...]
    class_names: Mapping[int, str]
    segmentation_classes: tuple[str, ...] | None
    registration: RegistrationConfig
    cameras: Mapping[Modality, CameraModel] = field(default_factory=dict)
    has_occlusions: bool = False

    def __len__(self) -> int:
        """Return the number of pairs."""
        return len(self.entries)

    def pairs(self) -> Iterator[TruthPair]:
        """Decode the pairs one after another; stamps are whole seconds, counted up from 1.

        Raises:
            DatasetError: If an image is missing or cannot be decoded.
        """
        for index, entry in enumerate(self.entries):
            yield self._load_pair(entry, (index + 1) * NS_PER_S)

    def load_truth(self, entry: DatasetEntry) -> Truth:
        """Build the ground truth of one pair.

        Raises:
            DatasetError: If a box is malformed or the label map is missing.
        """
        items = entry.annotations
        return Truth(
            boxes_xyxy=np.array([_box_xyxy(item) for item in items], np.float32).reshape(-1, 4),
            class_names=tuple(self._class_name(item) for item in items),
            ignore=np.array(
                [bool(item.get('ignore') or item.get('iscrowd')) for item in items], np.bool_
            ),
            label_map_png=read_file(entry.label_map_path) if entry.label_map_path else b'',
            is_night=entry.is_night,
            occlusions=_occlusions(items) if self.has_occlusions else None,
        )

    def _load_pair(self, entry: DatasetEntry, stamp_ns: int) -> TruthPair:
        paths = {Modality.RGB: entry.rgb_path, Modality.THERMAL: entry.thermal_path}
        frames = {
            modality: Frame(
                pixels=decode_image_file(path, modality),
                stamp_ns=stamp_ns,
                frame_id=f'{modality.value}_optical_frame',
                modality=modality,
            )
            for modality, path in paths.items()
        }
        pair = Pair(rgb=frames[Modality.RGB], thermal=frames[Modality.THERMAL])
        return TruthPair(name=entry.rgb_path.stem, pair=pair, truth=self.load_truth(entry))

    def _class_name(self, annotation: Mapping[str, Any]) -> str:
        category = annotation.get('category_id')
        if not isinstance(category, int) or category not in self.class_names:
            raise DatasetError(
                f'annotation {annotation.get("id")} has category_id {category!r}, expected one of '
                f'{sorted(self.class_names)}; correct {ANNOTATIONS_FILE}'
            )
        return self.class_names[category]


def load_dataset(folder: Path) -> PairDataset:
    """Load the annotations of a folder; images are decoded by ``PairDataset.pairs``.

    Raises:
        DatasetError: If the annotations are missing, malformed or empty, or a file is missing.
    """
    document = _load_document(folder / ANNOTATIONS_FILE)
    by_image: dict[int, list[Mapping[str, Any]]] = {}
    for annotation in _list_of(document, 'annotations'):
        by_image.setdefault(annotation.get('image_id', -1), []).append(annotation)
    images = _list_of(document, 'images')
    if not images:
        raise DatasetError(
            f"'{folder / ANNOTATIONS_FILE}' lists 0 images, expected at least one; add pairs"
        )
    entries = tuple(_build_entry(folder, image, by_image) for image in images)
    _check_ids(folder, entries, by_image)
    info = document.get('info') or {}
    classes = info.get('segmentation_classes')
    return PairDataset(
        folder=folder,
        entries=entries,
        class_names={
            item.get('id', -1): str(item.get('name', ''))
            for item in _list_of(document, 'categories')
        },
        segmentation_classes=None if classes is None else tuple(classes),
        registration=_build_registration(folder, info.get('homography_thermal_to_rgb')),
        has_occlusions=any('occlusion' in item for items in by_image.values() for item in items),
    )


def decode_image_file(path: Path, modality: Modality) -> Any:
    """Read and decode an image file: RGB uint8 (h, w, 3), or thermal (h, w) uint8 or uint16.

    Raises:
        DatasetError: If it is missing or cannot be decoded.
    """
    data = np.frombuffer(read_file(path), np.uint8)
    try:
        if modality is Modality.RGB:
            return decode_compressed_rgb(data, format=image_format(path), max_pixels=MAX_PIXELS)
        return decode_compressed_thermal(data, format=image_format(path), max_pixels=MAX_PIXELS)
    except FrameError as error:
        raise DatasetError(f"image file '{path}': {error}") from error


def image_format(path: Path) -> str:
    """Return 'jpeg' or 'png' by the ending of a file name.

    Raises:
        DatasetError: If it ends otherwise.
    """
    suffix = path.suffix.lower()
    if suffix not in IMAGE_FORMATS:
        raise DatasetError(
            f"image file '{path}' ends in '{suffix}', expected one of "
            f'{", ".join(IMAGE_FORMATS)}; convert the image'
        )
    return IMAGE_FORMATS[suffix]


def read_file(path: Path) -> bytes:
    """Read a file of a data set.

    Raises:
        DatasetError: If it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise DatasetError(
            f"cannot read '{path}' ({error.strerror}); expected a file of the data set; check the "
            f'names in {ANNOTATIONS_FILE}'
        ) from error


def _load_document(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise DatasetError(
            f"there is no '{path}'; expected a folder of pairs with COCO annotations; check the "
            f'path'
        )
    try:
        document = json.loads(path.read_text(encoding='utf-8'))
    except ValueError as error:
        raise DatasetError(
            f"'{path}' is not valid JSON ({error}); expected COCO annotations; write it again"
        ) from error
    if not isinstance(document, dict):
        raise DatasetError(
            f"'{path}' holds a {type(document).__name__}, expected a JSON object with images, "
            f'annotations and categories; write it again'
        )
    return document


def _list_of(document: Mapping[str, Any], key: str) -> Sequence[Mapping[str, Any]]:
    items = document.get(key)
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise DatasetError(
            f"{ANNOTATIONS_FILE} has no list of objects '{key}', expected COCO annotations with "
            f'images, annotations and categories; write it again'
        )
    return items


def _build_entry(
    folder: Path, image: Mapping[str, Any], by_image: Mapping[int, list[Mapping[str, Any]]]
) -> DatasetEntry:
    for key, kind in (('id', int), ('file_name', str), ('thermal_file_name', str)):
        if not isinstance(image.get(key), kind):
            raise DatasetError(
                f'an image of {ANNOTATIONS_FILE} has {key} {image.get(key)!r}, expected a '
                f'{kind.__name__} (file_name is the RGB file, thermal_file_name the thermal one); '
                f'add it to {image}'
            )
    paths = {
        key: folder / image[key]
        for key in ('file_name', 'thermal_file_name', 'label_map_file_name')
        if image.get(key)
    }
    for path in paths.values():
        if not path.is_file():
            raise DatasetError(
                f"image {image['id']} names '{path}', which does not exist; expected a file below "
                f'{folder}; restore it or correct {ANNOTATIONS_FILE}'
            )
    is_night = image.get('is_night')
    return DatasetEntry(
        image_id=image['id'],
        rgb_path=paths['file_name'],
        thermal_path=paths['thermal_file_name'],
        label_map_path=paths.get('label_map_file_name'),
        is_night=None if is_night is None else bool(is_night),
        annotations=tuple(by_image.get(image['id'], ())),
    )


def _check_ids(
    folder: Path, entries: Sequence[DatasetEntry], by_image: Mapping[int, Sequence[object]]
) -> None:
    counts = Counter(entry.image_id for entry in entries)
    twice = sorted(image_id for image_id, count in counts.items() if count > 1)
    if twice:
        raise DatasetError(
            f"'{folder / ANNOTATIONS_FILE}' uses image id {twice[0]} twice, expected each once; "
            f'number the images anew'
        )
    orphans = sorted(str(image_id) for image_id in by_image if image_id not in counts)
    if orphans:
        raise DatasetError(
            f"'{folder / ANNOTATIONS_FILE}' has annotations of image {orphans[0]}, which is not "
            f'in its images; expected image_id to name one of them; correct the annotations'
        )


def _box_xyxy(annotation: Mapping[str, Any]) -> tuple[float, float, float, float]:
    box = annotation.get('bbox')
    if (
        not isinstance(box, list)
        or len(box) != 4
        or not all(isinstance(value, (int, float)) and np.isfinite(value) for value in box)
        or min(box[2:]) < 0
    ):
        raise DatasetError(
            f'annotation {annotation.get("id")} has bbox {box!r}, expected [x, y, width, height] '
            f'in pixels with width, height >= 0; correct {ANNOTATIONS_FILE}'
        )
    x, y, width, height = box
    return x, y, x + width, y + height


def _occlusions(annotations: Sequence[Mapping[str, Any]]) -> IntArray:
    levels = [item.get('occlusion', 0) for item in annotations]
    if not all(isinstance(level, int) and level in {0, 1, 2} for level in levels):
        raise DatasetError(
            f'annotations have the occlusions {levels}, expected 0 (none), 1 (partial) or 2 '
            f'(heavy); correct {ANNOTATIONS_FILE}'
        )
    return np.array(levels, np.int64)


def _build_registration(folder: Path, homography: object) -> RegistrationConfig:
    if homography is None or homography == list(IDENTITY_3X3):
        return RegistrationConfig()
    try:
        values = tuple(float(value) for value in homography)  # type: ignore[attr-defined]
        return RegistrationConfig(method='homography', homography_thermal_to_rgb=values)
    except (TypeError, ValueError, ConfigError) as error:
        raise DatasetError(
            f"'{folder / ANNOTATIONS_FILE}' has homography_thermal_to_rgb {homography!r} "
            f'({error}); expected 9 numbers, row-major 3x3; correct it'
        ) from error
