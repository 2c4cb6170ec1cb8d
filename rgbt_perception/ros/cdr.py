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
from rgbt_perception.types import NS_PER_S

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from rgbt_perception.bag_messages import DiagnosticText
    from rgbt_perception.types import Detections, Frame

ENCAPSULATION = b'\x00\x01\x00\x00'  # CDR, little endian; alignment counts from behind it
UNIT_POSE = struct.pack('<7d', 0, 0, 0, 0, 0, 0, 1) + bytes(36 * 8)  # pose and its covariance
# Where centre and size of a detection lie, in 8-byte numbers behind its score; the angle stays 0.
BOX_PLACES = 1 + len(UNIT_POSE) // 8 + np.array([0, 1, 3, 4])
EMPTY_STRING = b'\x01\x00\x00\x00\x00'
_PADDING = tuple(bytes(size) for size in range(8))


class CdrWriter:
    """Appends values with their alignment."""

    def __init__(self) -> None:
        """Begin a message."""
        self._buffer = bytearray(ENCAPSULATION)

    def align(self, size: int) -> None:
        """Pad to a multiple of ``size`` bytes, 2, 4 or 8."""
        self._buffer += _PADDING[(len(ENCAPSULATION) - len(self._buffer)) % size]

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

    def header(self, frame: Frame) -> None:
        """Append the std_msgs/Header that a frame came with."""
        seconds, nanoseconds = divmod(frame.stamp_ns, NS_PER_S)
        self.uint32(seconds & 0xFFFFFFFF)
        self.uint32(nanoseconds)
        self.string(frame.frame_id)

    def take(self, data: Any = b'') -> bytes:
        """Return the message, with further bytes behind it."""
        return b''.join((self._buffer, data))


def serialise_image(pixels: NDArray[Any], encoding: str, frame: Frame) -> bytes:
    """Return a sensor_msgs/Image without padding.

    Args:
        pixels: (h, w) or (h, w, c), of the type that ``encoding`` names.
        encoding: E.g. 'mono8'.
        frame: Frame whose header the message carries.
    """
    contiguous = np.ascontiguousarray(pixels)
    writer = CdrWriter()
    writer.header(frame)
    writer.uint32(contiguous.shape[0])
    writer.uint32(contiguous.shape[1])
    writer.string(encoding)
    writer.uint8(0)
    writer.uint32(contiguous.strides[0])
    writer.uint32(contiguous.nbytes)
    return writer.take(contiguous.data.cast('B'))


def serialise_detections(
    detections: Detections, *, frame: Frame, class_names: tuple[str, ...], use_names: bool
) -> bytes:
    """Return a vision_msgs/Detection2DArray: centre and size in pixels, empty track ids.

    Args:
        detections: Boxes in pixels of the frame, edge units.
        frame: Frame whose header the message carries, and every detection.
        class_names: Names of the detection classes.
        use_names: class_id carries the name, else the index as text.
    """
    writer = CdrWriter()
    writer.header(frame)
    writer.uint32(len(detections))
    pieces = [writer.take()]
    end = len(pieces[0]) - len(ENCAPSULATION)
    templates: dict[tuple[int, int], tuple[bytes, int]] = {}  # by class id and alignment
    scores_at = []
    for class_id in detections.class_ids.tolist():
        template = templates.get((class_id, end % 8))
        if template is None:
            text = class_names[class_id] if use_names else str(class_id)
            template = templates[class_id, end % 8] = _build_template(frame, text, end % 8)
        piece, score_at = template
        scores_at.append(end + score_at)
        pieces.append(piece)
        end += len(piece)
    message = bytearray().join(pieces)
    numbers = np.frombuffer(message, '<f8', end // 8, len(ENCAPSULATION))
    score_places = np.array(scores_at, np.int64) // 8
    numbers[score_places] = detections.scores
    numbers[score_places[:, None] + BOX_PLACES] = xyxy_to_cxcywh(detections.boxes_xyxy)
    return bytes(message)


def serialise_statuses(statuses: Sequence[DiagnosticText], frame: Frame) -> bytes:
    """Return a diagnostic_msgs/DiagnosticArray with the header of a frame."""
    writer = CdrWriter()
    writer.header(frame)
    writer.uint32(len(statuses))
    for status in statuses:
        writer.uint8(status.level)
        for text in (status.name, status.message, status.hardware_id):
            writer.string(text)
        writer.uint32(len(status.values))
        for key, value in status.values.items():
            writer.string(key)
            writer.string(value)
    return writer.take()


def _build_template(frame: Frame, class_id: str, misalignment: int) -> tuple[bytes, int]:
    """Return a vision_msgs/Detection2D with zeros for its numbers, and where its score lies.

    Args:
        frame: Frame whose header it carries.
        class_id: Of its only hypothesis.
        misalignment: Bytes between the last multiple of 8 and the detection.
    """
    writer = CdrWriter()
    writer.raw(bytes(misalignment))
    writer.header(frame)
    writer.uint32(1)  # hypotheses
    writer.string(class_id)
    writer.align(8)
    begin = len(ENCAPSULATION) + misalignment
    score_at = len(writer.take()) - begin
    writer.float64s(0.0)
    writer.raw(UNIT_POSE)
    writer.float64s(*[0.0] * 5)  # centre x and y, angle, width, height
    writer.raw(EMPTY_STRING)
    return writer.take()[begin:], score_at
