# SPDX-License-Identifier: Apache-2.0
"""What a rig of cameras publishes beside its images: models, transforms, ground truth."""

from __future__ import annotations

import importlib
from typing import Any, TYPE_CHECKING

from geometry_msgs.msg import Quaternion, TransformStamped, Vector3
import numpy as np
from sensor_msgs.msg import CameraInfo
from std_msgs.msg import Header

from rgbt_perception.geometry import xyxy_to_cxcywh
from rgbt_perception.ros.messages import import_vision_msgs

if TYPE_CHECKING:
    from types import ModuleType

    from numpy.typing import NDArray

    from rgbt_perception.camera_model import CameraModel
    from rgbt_perception.truth import Truth


def import_tf2_msgs() -> ModuleType | None:
    """Return the messages of tf2, None where they are not installed (they are not on PyPI)."""
    try:
        return importlib.import_module('tf2_msgs.msg')
    except ImportError:
        return None


def build_camera_info(model: CameraModel, header: Header) -> CameraInfo:
    """Build a sensor_msgs/CameraInfo without rectification."""
    has_lens = model.distortion_model != 'none'
    message = CameraInfo(header=header)
    message.height, message.width = model.size_hw
    message.distortion_model = model.distortion_model if has_lens else 'plumb_bob'
    message.d = [float(x) for x in model.distortion] if has_lens else [0.0] * 5
    message.k = model.intrinsics.ravel().tolist()
    message.r = np.eye(3).ravel().tolist()
    message.p = np.column_stack([model.intrinsics, np.zeros(3)]).ravel().tolist()
    return message


def build_transform(
    rotation: NDArray[np.float64], position: NDArray[np.float64], header: Header, child: str
) -> TransformStamped:
    """Build the transform of a camera on its rig.

    Args:
        rotation: (3, 3), v_parent = rotation @ v_child.
        position: (3,), of the child in the parent frame, m.
        header: Names the parent frame.
        child: Name of the child frame.
    """
    x, y, z, w = quaternion_of(rotation)
    message = TransformStamped(header=header, child_frame_id=child)
    message.transform.rotation = Quaternion(x=x, y=y, z=z, w=w)
    message.transform.translation = Vector3(
        x=float(position[0]), y=float(position[1]), z=float(position[2])
    )
    return message


def quaternion_of(rotation: NDArray[np.float64]) -> tuple[float, float, float, float]:
    """Return the unit quaternion x, y, z, w of a rotation (3, 3), w >= 0.

    Source: Shepperd's method; the largest of the four is found first, so nothing small is divided
    by.
    """
    r, trace = rotation, float(np.trace(rotation))
    squares = np.array([r[0, 0], r[1, 1], r[2, 2], trace])
    largest = int(squares.argmax())
    if largest == 3:
        parts = [r[2, 1] - r[1, 2], r[0, 2] - r[2, 0], r[1, 0] - r[0, 1], 1.0 + trace]
    else:
        i, j, k = largest, (largest + 1) % 3, (largest + 2) % 3
        parts = [0.0, 0.0, 0.0, r[k, j] - r[j, k]]
        parts[i] = 1.0 + 2.0 * r[i, i] - trace
        parts[j], parts[k] = r[j, i] + r[i, j], r[k, i] + r[i, k]
    quaternion = np.array(parts) / np.linalg.norm(parts)
    if quaternion[3] < 0.0:
        quaternion = -quaternion
    x, y, z, w = (float(part) for part in quaternion)
    return x, y, z, w


def build_truth_message(truth: Truth, header: Header) -> Any:
    """Build a vision_msgs/Detection2DArray; a box that is not scored has score 0, others 1."""
    msgs = import_vision_msgs()
    message = msgs.Detection2DArray(header=header)
    boxes = xyxy_to_cxcywh(truth.boxes_xyxy).tolist()
    for box, name, is_ignored in zip(boxes, truth.class_names, truth.ignore, strict=True):
        item = msgs.Detection2D(header=header)
        item.bbox.center.position.x, item.bbox.center.position.y = box[0], box[1]
        item.bbox.size_x, item.bbox.size_y = box[2], box[3]
        result = msgs.ObjectHypothesisWithPose()
        result.hypothesis.class_id = name
        result.hypothesis.score = 0.0 if is_ignored else 1.0
        item.results.append(result)
        message.detections.append(item)
    return message
