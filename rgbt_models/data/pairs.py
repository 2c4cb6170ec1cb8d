# SPDX-License-Identifier: Apache-2.0
"""Decoding of pairs with everything they are labeled with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from rgbt_models.data.manifest import BoxLabel, PairEntry
from rgbt_models.data.skipped import Skipped
from rgbt_models.errors import DatasetError

MASK_THRESHOLD = 127
TAIL_BYTES = 64  # some writers pad files
_RGBA = {0: 2, 1: 1, 2: 0, 3: 3}  # channel of the file -> channel as OpenCV decodes it


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class LoadedPair:
    """One pair in memory.

    Attributes:
        name: Of the pair.
        rgb: (h, w, 3) uint8.
        thermal: (h2, w2) uint8 or uint16.
        boxes: Boxes in RGB px, None = not labeled with boxes.
        label_map: (h, w) uint8 class ids, 255 = unlabeled; None = no label map.
        mask: (h, w) bool, True = salient; None = no mask.
        is_night: Time of day, None = not said.
        is_registered: Whether thermal pixels lie on RGB pixels (up to scale).
    """

    name: str
    rgb: NDArray[np.uint8]
    thermal: NDArray[np.uint8] | NDArray[np.uint16]
    boxes: tuple[BoxLabel, ...] | None
    label_map: NDArray[np.uint8] | None
    mask: NDArray[np.bool_] | None
    is_night: bool | None
    is_registered: bool


def load_pair(entry: PairEntry) -> LoadedPair:
    """Read and decode one pair.

    Raises:
        DatasetError: If a file is missing or corrupt, or a label does not fit the RGB image.
    """
    rgb = decode_rgb(read_bytes(entry.rgb_path), str(entry.rgb_path))
    thermal = decode_thermal(
        read_bytes(entry.thermal_path), str(entry.thermal_path), entry.thermal_channel
    )
    label_map = mask = None
    if entry.label_map_path is not None:
        label_map = decode_grey(read_bytes(entry.label_map_path), str(entry.label_map_path))
    if entry.mask_path is not None:
        mask = decode_mask(read_bytes(entry.mask_path), str(entry.mask_path))
    pair = LoadedPair(
        name=entry.name,
        rgb=rgb,
        thermal=thermal,
        boxes=entry.boxes,
        label_map=label_map,
        mask=mask,
        is_night=entry.is_night,
        is_registered=entry.is_registered,
    )
    check_sizes(pair)
    return pair


def iterate_pairs(entries: Sequence[PairEntry], skipped: Skipped) -> Iterator[LoadedPair]:
    """Decode pairs one after another; those that cannot be read go to ``skipped``."""
    for entry in entries:
        pair = try_load_pair(entry, skipped)
        if pair is not None:
            yield pair


def try_load_pair(entry: PairEntry, skipped: Skipped) -> LoadedPair | None:
    """Read one pair; None, and a name in ``skipped``, when it cannot be read."""
    try:
        return load_pair(entry)
    except DatasetError as error:
        skipped.add(entry.name, str(error))
        return None


def check_sizes(pair: LoadedPair) -> None:
    """Check that the labels fit the RGB image.

    Raises:
        DatasetError: If one does not.
    """
    for what, image in (('label map', pair.label_map), ('mask', pair.mask)):
        if image is not None and image.shape != pair.rgb.shape[:2]:
            raise DatasetError(
                f'{what} of {pair.name} has size {image.shape}, expected that of the RGB image, '
                f'{pair.rgb.shape[:2]}; restore it from the archive'
            )


def read_bytes(path: Path) -> bytes:
    """Read a file.

    Raises:
        DatasetError: If it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise DatasetError(
            f"cannot read '{path}' ({error.strerror}); expected a file of the data set; restore it"
        ) from error


def decode_rgb(data: bytes, name: str) -> NDArray[np.uint8]:
    """Decode an image to (h, w, 3) uint8 RGB; grey is repeated, alpha is dropped.

    Raises:
        DatasetError: If it is no image.
    """
    return np.ascontiguousarray(_decode(data, name, cv2.IMREAD_COLOR)[..., ::-1])


def decode_thermal(
    data: bytes, name: str, channel: int | None = None
) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """Decode a thermal image to (h, w), 8 or 16 bit as stored.

    Args:
        data: The file.
        name: For messages.
        channel: Channel of the file to take (R, G, B, alpha = 0..3); None = the image is grey.

    Raises:
        DatasetError: If it is no image, lacks the channel, or has neither 8 nor 16 bit.
    """
    image = _decode(data, name, cv2.IMREAD_UNCHANGED)
    if image.dtype not in (np.uint8, np.uint16):
        raise DatasetError(
            f"thermal image '{name}' is {image.dtype}, expected 8 or 16 bit; convert it"
        )
    if channel is None:
        if image.ndim == 3:  # grey that was written as colour
            image = cv2.cvtColor(image[..., :3], cv2.COLOR_BGR2GRAY)
        return np.ascontiguousarray(image)
    if image.ndim != 3 or image.shape[2] <= channel:
        raise DatasetError(
            f"'{name}' has shape {image.shape}, expected a file whose channel {channel} is the "
            f'thermal image; check the layout'
        )
    return np.ascontiguousarray(image[..., _RGBA[channel]])


def decode_grey(data: bytes, name: str) -> NDArray[np.uint8]:
    """Decode class ids to (h, w) uint8; an image of three equal channels is one of them.

    Raises:
        DatasetError: If it is no such image.
    """
    image = _decode(data, name, cv2.IMREAD_UNCHANGED)
    if image.ndim == 3 and (image[..., :1] == image[..., :3]).all():
        image = image[..., 0]
    if image.ndim != 2 or image.dtype != np.uint8:
        raise DatasetError(
            f"label map '{name}' is {image.dtype} {image.shape}, expected 8-bit class ids; use "
            f'the files with ids, not those coloured for people'
        )
    return np.ascontiguousarray(image)


def decode_mask(data: bytes, name: str) -> NDArray[np.bool_]:
    """Decode a saliency mask to (h, w) bool, True = salient (grey > 127).

    Raises:
        DatasetError: If it is no image.
    """
    grey = _decode(data, name, cv2.IMREAD_GRAYSCALE)
    return np.asarray(grey > MASK_THRESHOLD, np.bool_)


def is_complete(data: bytes) -> bool:
    """Whether a JPEG or PNG file has its end: the decoder fills up what is cut off with grey."""
    if data.startswith(b'\xff\xd8'):
        return b'\xff\xd9' in data[-TAIL_BYTES:]
    if data.startswith(b'\x89PNG'):
        return b'IEND' in data[-TAIL_BYTES:]
    return bool(data)


def _decode(data: bytes, name: str, flags: int) -> NDArray[np.uint8]:
    buffer = np.frombuffer(data, np.uint8)
    try:
        image = cv2.imdecode(buffer, flags) if is_complete(data) else None
    except cv2.error:  # some damaged headers
        image = None
    if image is None:
        raise DatasetError(
            f"'{name}' ({len(data)} bytes) cannot be decoded, expected an image; restore it from "
            f'the archive'
        )
    return np.asarray(image)
