# SPDX-License-Identifier: Apache-2.0
"""The outputs of every pair as serialised messages, written directly.

rclpy turns a Python message into a C one field by field before it is serialised, which is most of
what publishing detections, mask and dominance costs (``python -m bench.node_overhead``).
``publish`` also takes bytes: these, which rclpy reads as the same messages.

Source: OMG CDR, little endian, as the ROS middleware uses it.
"""

from __future__ import annotations

import struct
from typing import Any, TYPE_CHECKING

import numpy as np

from rgbt_perception.geometry import xyxy_to_cxcywh

if TYPE_CHECKING:
    from diagnostic_msgs.msg import DiagnosticStatus
    from numpy.typing import NDArray
    from std_msgs.msg import Header

    from rgbt_perception.types import Detections

ENCAPSULATION = b'\x00\x01\x00\x00'  # CDR, little endian; alignment counts from behind it
UNIT_POSE = struct.pack('<7d', 0, 0, 0, 0, 0, 0, 1) + bytes(36 * 8)  # pose and its covariance


class CdrWriter:
    """Appends values with their alignment."""

    def __init__(self) -> None:
        """Begin a message."""
        self._buffer = bytearray(ENCAPSULATION)

    def align(self, size: int) -> None:
        """Pad to a multiple of ``size`` bytes."""
        self._buffer += bytes((len(ENCAPSULATION) - len(self._buffer)) % size)

    def uint8(self, value: int) -> None:
        """Append one byte."""
        self._buffer.append(value)

    def uint32(self, value: int) -> None:
        """Append a 32-bit number."""
        self.align(4)
        self._buffer += value.to_bytes(4, 'little')

    def float64s(self, *values: float) -> None:
        """Append 64-bit numbers."""
        self.align(8)
        self._buffer += struct.pack(f'<{len(values)}d', *values)

    def string(self, text: str) -> None:
        """Append a string: its length, its bytes and a zero."""
        encoded = text.encode()
        self.uint32(len(encoded) + 1)
        self._buffer += encoded
        self._buffer.append(0)

    def raw(self, data: Any) -> None:
        """Append bytes as they are."""
        self._buffer += data

    def header(self, header: Header) -> None:
        """Append a std_msgs/Header."""
        self.uint32(header.stamp.sec & 0xFFFFFFFF)
        self.uint32(header.stamp.nanosec)
        self.string(header.frame_id)

    def take(self, data: Any = b'') -> bytes:
        """Return the message, with further bytes behind it."""
        return b''.join((self._buffer, data))


def serialise_image(pixels: NDArray[Any], encoding: str, header: Header) -> bytes:
    """Return a sensor_msgs/Image without padding.

    Args:
        pixels: (h, w) or (h, w, c), contiguous, of the type that ``encoding`` names.
        encoding: E.g. 'mono8'.
        header: Header of the message.
    """
    contiguous = np.ascontiguousarray(pixels)
    writer = CdrWriter()
    writer.header(header)
    writer.uint32(contiguous.shape[0])
    writer.uint32(contiguous.shape[1])
    writer.string(encoding)
    writer.uint8(0)
    writer.uint32(contiguous.strides[0])
    writer.uint32(contiguous.nbytes)
    return writer.take(contiguous.data.cast('B'))


def serialise_detections(
    detections: Detections, *, header: Header, class_names: tuple[str, ...], use_names: bool
) -> bytes:
    """Return a vision_msgs/Detection2DArray: centre and size in pixels, empty track ids.

    Args:
        detections: Boxes in reference pixels, edge units.
        header: Header of the reference frame; also of every detection.
        class_names: Names of the detection classes.
        use_names: class_id carries the name, else the index as text.
    """
    writer = CdrWriter()
    writer.header(header)
    writer.uint32(len(detections))
    columns = zip(
        xyxy_to_cxcywh(detections.boxes_xyxy).tolist(),
        detections.scores.tolist(),
        detections.class_ids.tolist(),
        strict=True,
    )
    for (x, y, width, height), score, class_id in columns:
        writer.header(header)
        writer.uint32(1)  # hypotheses
        writer.string(class_names[class_id] if use_names else str(class_id))
        writer.float64s(score)
        writer.raw(UNIT_POSE)
        writer.float64s(x, y, 0.0, width, height)
        writer.string('')
    return writer.take()


def serialise_statuses(statuses: list[DiagnosticStatus], header: Header) -> bytes:
    """Return a diagnostic_msgs/DiagnosticArray."""
    writer = CdrWriter()
    writer.header(header)
    writer.uint32(len(statuses))
    for status in statuses:
        writer.raw(status.level)
        for text in (status.name, status.message, status.hardware_id):
            writer.string(text)
        writer.uint32(len(status.values))
        for item in status.values:
            writer.string(item.key)
            writer.string(item.value)
    return writer.take()
