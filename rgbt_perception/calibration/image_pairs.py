# SPDX-License-Identifier: Apache-2.0
"""Pairs of images to calibrate from: two folders, a data set, or a bag."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from rgbt_models.normalise import ThermalNormaliser
from rgbt_perception.bag import BagReader
from rgbt_perception.bag_messages import BagTopics
from rgbt_perception.config import PerceptionConfig
from rgbt_perception.datasets import (
    ANNOTATIONS_FILE,
    decode_image_file,
    IMAGE_FORMATS,
    load_dataset,
)
from rgbt_perception.errors import CalibrationError
from rgbt_perception.replay import PairStream
from rgbt_perception.types import ByteArray, FloatArray, Image, Modality

RGB_FOLDER, THERMAL_FOLDER = 'rgb', 'thermal'
_NORMALISE = ThermalNormaliser()
_T = TypeVar('_T')


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class ImagePair:
    """Two images of one instant.

    Attributes:
        name: Where it comes from: file stem or stamp.
        rgb: (h, w, 3) uint8, R, G, B order.
        thermal: (h, w) uint8, uint16 or float32.
    """

    name: str
    rgb: ByteArray
    thermal: Image

    @property
    def rgb_hw(self) -> tuple[int, int]:
        """Height and width of the RGB image, px."""
        return self.rgb.shape[0], self.rgb.shape[1]

    @property
    def thermal_hw(self) -> tuple[int, int]:
        """Height and width of the thermal image, px."""
        return self.thermal.shape[0], self.thermal.shape[1]


def load_image_pairs(
    source: Path, *, max_pairs: int, topics: BagTopics | None = None
) -> list[ImagePair]:
    """Load pairs, evenly spread over the source.

    Args:
        source: Folder with ``rgb/`` and ``thermal/`` (same file stems), data set folder with
            ``annotations.json``, rosbag2 folder, or bag file.
        max_pairs: Most pairs to keep in memory.
        topics: Camera topics, for bags.

    Returns:
        Pairs in the order of the source; all RGB images have one size, all thermal ones too.

    Raises:
        BagError: If a bag cannot be read.
        CalibrationError: If there is no pair, or the sizes differ.
        DatasetError: If an image cannot be read.
    """
    if source.is_dir() and (source / ANNOTATIONS_FILE).is_file():
        entries = load_dataset(source).entries
        files = {
            entry.rgb_path.relative_to(source).with_suffix('').as_posix(): (
                entry.rgb_path,
                entry.thermal_path,
            )
            for entry in entries
        }
        pairs = [_load_pair(name, files[name]) for name in _spread(sorted(files), max_pairs)]
    elif (source / RGB_FOLDER).is_dir() and (source / THERMAL_FOLDER).is_dir():
        files = _match_files(source)
        pairs = [_load_pair(name, files[name]) for name in _spread(sorted(files), max_pairs)]
    elif source.is_dir() and not _looks_like_bag(source):
        raise CalibrationError(
            f"folder '{source}' has neither '{RGB_FOLDER}' and '{THERMAL_FOLDER}' folders nor "
            f'{ANNOTATIONS_FILE} nor metadata.yaml; expected image pairs or a bag; check the path'
        )
    else:
        pairs = _read_bag(source, max_pairs, topics)
    _check_sizes(pairs, source)
    return pairs


def grey_rgb(pair: ImagePair) -> FloatArray:
    """Return the RGB image as grey, shape (h, w), float32 in 0..1 (Rec. 601 weights)."""
    weights = np.array([0.299, 0.587, 0.114], np.float32) / np.float32(255.0)
    return np.asarray(pair.rgb @ weights, np.float32)


def grey_thermal(thermal: NDArray[np.generic]) -> FloatArray:
    """Return a thermal image stretched by percentiles, shape (h, w), float32 in 0..1."""
    return np.clip(_NORMALISE(thermal), 0.0, 1.0).astype(np.float32)


def _match_files(source: Path) -> dict[str, tuple[Path, Path]]:
    by_folder = [_images_by_stem(source / name) for name in (RGB_FOLDER, THERMAL_FOLDER)]
    rgb, thermal = by_folder
    names = sorted(rgb.keys() & thermal.keys())
    if not names:
        raise CalibrationError(
            f"'{source}' has {len(rgb)} images in '{RGB_FOLDER}' and {len(thermal)} in "
            f"'{THERMAL_FOLDER}', but no two with the same name; expected pairs such as "
            f'{RGB_FOLDER}/0001.png and {THERMAL_FOLDER}/0001.png; rename the files'
        )
    return {name: (rgb[name], thermal[name]) for name in names}


def _images_by_stem(folder: Path) -> dict[str, Path]:
    files = (path for path in sorted(folder.iterdir()) if path.suffix.lower() in IMAGE_FORMATS)
    return {path.stem: path for path in files}


def _load_pair(name: str, paths: tuple[Path, Path]) -> ImagePair:
    rgb, thermal = paths
    return ImagePair(
        name=name,
        rgb=decode_image_file(rgb, Modality.RGB),
        thermal=decode_image_file(thermal, Modality.THERMAL),
    )


def _read_bag(source: Path, max_pairs: int, topics: BagTopics | None) -> list[ImagePair]:
    """Keep every k-th pair of a bag of unknown length, where k doubles when memory is full."""
    kept: list[ImagePair] = []
    stride = 1
    for index, pair in enumerate(_bag_pairs(source, topics)):
        if index % stride:
            continue
        kept.append(pair)
        if len(kept) > 2 * max_pairs:
            kept, stride = kept[::2], 2 * stride
    return _spread(kept, max_pairs)


def _bag_pairs(source: Path, topics: BagTopics | None) -> Iterator[ImagePair]:
    with BagReader(source, topics=topics) as reader:
        for _, pair in PairStream(reader, PerceptionConfig()):
            if pair.rgb is not None and pair.thermal is not None:
                yield ImagePair(
                    name=str(pair.reference.stamp_ns),
                    rgb=np.asarray(pair.rgb.pixels, np.uint8),
                    thermal=pair.thermal.pixels,
                )


def _looks_like_bag(folder: Path) -> bool:
    return (folder / 'metadata.yaml').is_file() or any(
        path.suffix in ('.mcap', '.db3') for path in folder.iterdir()
    )


def _spread(items: list[_T], max_items: int) -> list[_T]:
    if len(items) <= max_items:
        return items
    return [items[int(index)] for index in np.linspace(0, len(items) - 1, max_items).round()]


def _check_sizes(pairs: list[ImagePair], source: Path) -> None:
    if not pairs:
        raise CalibrationError(
            f"'{source}' holds no pair of an RGB and a thermal image; expected both cameras at "
            f'the same time; check the topics and sync.max_skew_s'
        )
    first = pairs[0]
    for pair in pairs:
        for modality in ('rgb', 'thermal'):
            found, expected = getattr(pair, f'{modality}_hw'), getattr(first, f'{modality}_hw')
            if found != expected:
                raise CalibrationError(
                    f"the {modality} image of pair '{pair.name}' is {found[1]}x{found[0]}, "
                    f"expected {expected[1]}x{expected[0]} as in '{first.name}'; calibrate each "
                    f'resolution alone'
                )
