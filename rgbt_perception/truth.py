# SPDX-License-Identifier: Apache-2.0
"""Ground truth of one pair, as bags and data set folders carry it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from rgbt_perception.errors import FrameError, ShapeError
from rgbt_perception.types import BoolArray, ByteArray, FloatArray, IntArray, Pair, UNLABELED


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Truth:
    """What is really in one pair, in RGB pixels. Arrays share length n (may be 0).

    Attributes:
        boxes_xyxy: (n, 4) float32, px, edge units, max edge exclusive.
        class_names: One name per box.
        ignore: (n,) bool, True = the box is not scored: finding it is neither right nor wrong.
        label_map_png: Label map as 8-bit grey PNG at RGB size, b'' when there is none.
        is_night: Whether it is night, None when unknown.
        sun_level: Daylight in 0..1, None when unknown.
        occlusions: (n,) 0 = none, 1 = partial, 2 = heavy; None when unknown. Miss rates need it.
    """

    boxes_xyxy: FloatArray
    class_names: tuple[str, ...]
    ignore: BoolArray
    label_map_png: bytes = b''
    is_night: bool | None = None
    sun_level: float | None = None
    occlusions: IntArray | None = None

    def __post_init__(self) -> None:
        """Check that the arrays fit together.

        Raises:
            ShapeError: If a shape is wrong.
        """
        n = len(self.class_names)
        if self.boxes_xyxy.shape != (n, 4):
            raise ShapeError('boxes_xyxy', expected=f'({n}, 4)', actual=self.boxes_xyxy.shape)
        if self.ignore.shape != (n,):
            raise ShapeError('ignore', expected=f'({n},)', actual=self.ignore.shape)
        if self.occlusions is not None and self.occlusions.shape != (n,):
            raise ShapeError('occlusions', expected=f'({n},)', actual=self.occlusions.shape)

    @property
    def has_label_map(self) -> bool:
        """True when every pixel is labeled."""
        return bool(self.label_map_png)

    def label_map(self) -> ByteArray:
        """Decode the label map, shape (h, w) uint8, 255 = unlabeled.

        Raises:
            FrameError: If there is none, or it is not an 8-bit grey image.
        """
        return decode_label_map(self.label_map_png)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class TruthPair:
    """A pair with its ground truth, and a name for messages and file names."""

    name: str
    pair: Pair
    truth: Truth


def encode_label_map(label_map: ByteArray, *, level: int = 9) -> bytes:
    """Encode a label map as PNG.

    Args:
        label_map: (h, w) uint8.
        level: Effort in 0..9; 1 is fast, 9 is small.
    """
    _, data = cv2.imencode('.png', label_map, [cv2.IMWRITE_PNG_COMPRESSION, level])
    return bytes(data.tobytes())


def decode_label_map(png: bytes) -> ByteArray:
    """Decode a label map, shape (h, w) uint8.

    Raises:
        FrameError: If the data is not an 8-bit grey image.
    """
    data = np.frombuffer(png, np.uint8)
    image = cv2.imdecode(data, cv2.IMREAD_UNCHANGED) if data.size else None
    if image is None or image.ndim != 2 or image.dtype != np.uint8:
        found = 'no image' if image is None else f'{image.dtype} {image.shape}'
        raise FrameError(
            f'label map is {found}, expected an 8-bit grey PNG of class ids; write it again'
        )
    return np.asarray(image, np.uint8)


def map_class_ids(
    label_map: ByteArray, names: tuple[str, ...], targets: tuple[str, ...]
) -> ByteArray:
    """Renumber a label map from one list of class names to another.

    Args:
        label_map: (h, w) uint8 ids into ``names``.
        names: Class names of the label map.
        targets: Class names wanted; a class that is not among them becomes unlabeled (255).
    """
    if names == targets:
        return label_map
    table: NDArray[np.uint8] = np.full(256, UNLABELED, np.uint8)
    ids: Mapping[str, int] = {name: index for index, name in enumerate(targets)}
    for index, name in enumerate(names):
        table[index] = ids.get(name, UNLABELED)
    return table[label_map]
