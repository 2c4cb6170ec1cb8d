# SPDX-License-Identifier: Apache-2.0
"""Results to ROS messages; ``frames`` goes the other way.

Writing appends bytes to the fresh array of a new message, the fastest public way
(0.02 ms for 640x480 rgb8; assigning an ndarray takes 43 ms).
"""

from __future__ import annotations

import sys
from typing import Any, TYPE_CHECKING

from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticStatus, KeyValue
import numpy as np
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from rgbt_perception.errors import BackendUnavailableError
from rgbt_perception.types import NS_PER_S

if TYPE_CHECKING:
    from types import ModuleType

    from rgbt_models.card import ModelCard
    from rgbt_perception.types import Frame

IMAGE_ENCODINGS = {
    'mono8': (np.uint8, 1),
    'mono16': (np.uint16, 1),
    'rgb8': (np.uint8, 3),
    '32FC1': (np.float32, 1),
}


def import_vision_msgs() -> ModuleType:
    """Import the messages of vision_msgs.

    Raises:
        BackendUnavailableError: If they are not installed.
    """
    try:
        import vision_msgs.msg
    except ImportError as error:
        raise BackendUnavailableError(
            f'vision_msgs cannot be imported ({error}), expected version 4; install it with '
            f'apt install ros-$ROS_DISTRO-vision-msgs, or without a ROS distribution with '
            f'python tools/pip_ros/install_vision_msgs.py'
        ) from error
    messages: ModuleType = vision_msgs.msg
    return messages


def header_of(frame: Frame) -> Header:
    """Return the header a frame came with: its stamp and its frame id, exactly."""
    stamp = Time(sec=frame.stamp_ns // NS_PER_S, nanosec=frame.stamp_ns % NS_PER_S)
    return Header(stamp=stamp, frame_id=frame.frame_id)


def build_image(pixels: np.ndarray[Any, Any], encoding: str, header: Header) -> Image:
    """Build an image message without padding.

    Args:
        pixels: (h, w) uint8 for mono8, (h, w, 3) uint8 for rgb8, (h, w) float32 for 32FC1.
        encoding: 'mono8', 'rgb8' or '32FC1'.
        header: Header of the reference frame.
    """
    dtype, channels = IMAGE_ENCODINGS[encoding]
    height, width = pixels.shape[:2]
    contiguous = np.ascontiguousarray(pixels, dtype)
    message = Image(header=header, height=height, width=width, encoding=encoding)
    message.step = width * channels * contiguous.itemsize
    message.is_bigendian = int(sys.byteorder == 'big')
    message.data.frombytes(contiguous.reshape(-1).view(np.uint8))
    return message


def build_status(
    *, level: bytes, name: str, text: str, values: dict[str, str], hardware_id: str = ''
) -> DiagnosticStatus:
    """Build one diagnostic status.

    Args:
        level: DiagnosticStatus.OK, WARN or ERROR.
        name: 'node: subcomponent'.
        text: One line for a human reader.
        values: Text by key.
        hardware_id: What it is about, e.g. the frame id of a camera.
    """
    return DiagnosticStatus(
        level=level,
        name=name,
        message=text,
        hardware_id=hardware_id,
        values=[KeyValue(key=key, value=value) for key, value in values.items()],
    )


def build_label_info(class_names: tuple[str, ...], *, header: Header, threshold: float) -> Any:
    """Build a vision_msgs/LabelInfo: the name of every class id.

    Args:
        class_names: Names, index = class id.
        header: Header of the message; stamp 0 for a set that does not change.
        threshold: Smallest score of what is published.
    """
    msgs = import_vision_msgs()
    message = msgs.LabelInfo(header=header, threshold=threshold)
    message.class_map = [
        msgs.VisionClass(class_id=index, class_name=name) for index, name in enumerate(class_names)
    ]
    return message


def build_vision_info(card: ModelCard, *, header: Header, database_location: str) -> Any:
    """Build a vision_msgs/VisionInfo: which model speaks, and where its classes are found.

    Args:
        card: The model's card.
        header: Header of the message.
        database_location: Topic of the label information.
    """
    return import_vision_msgs().VisionInfo(
        header=header,
        method=f'{card.name} version {card.version} ({card.architecture})',
        database_location=database_location,
        database_version=int(card.version) if card.version.isdigit() else 0,
    )
