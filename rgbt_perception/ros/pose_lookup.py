# SPDX-License-Identifier: Apache-2.0
"""The pose between the cameras from tf2, looked up until it is found."""

from __future__ import annotations

import importlib
from typing import Any, TYPE_CHECKING

import numpy as np
from rclpy.time import Time

from rgbt_perception.errors import BackendUnavailableError

if TYPE_CHECKING:
    from types import ModuleType

    from numpy.typing import NDArray
    from rclpy.node import Node

    Pose = tuple[NDArray[np.float64], NDArray[np.float64]]

LOG_PERIOD_S = 10.0


class PoseLookup:
    """Listens to tf until the thermal camera's pose in the RGB optical frame is known.

    Optical frames of two cameras on one rig do not move: the first answer is kept.
    """

    def __init__(self, node: Node) -> None:
        """Begin to listen.

        Args:
            node: Node that owns the subscriptions to /tf and /tf_static.

        Raises:
            BackendUnavailableError: If tf2_ros is not installed.
        """
        tf2_ros = _import_tf2_ros()
        self._node = node
        self._buffer: Any = tf2_ros.Buffer()
        self._listener: Any = tf2_ros.TransformListener(self._buffer, node, spin_thread=False)
        self._is_found = False

    @staticmethod
    def check_installed() -> None:
        """Make sure that tf2 can be used.

        Raises:
            BackendUnavailableError: If tf2_ros is not installed.
        """
        _import_tf2_ros()

    def look_up(self, *, rgb_frame_id: str, thermal_frame_id: str) -> Pose | None:
        """Return rotation (3, 3) and translation (3,) m, float64, once; None before and after.

        A point of the thermal frame is ``rotation @ point + translation`` in the RGB frame.

        Args:
            rgb_frame_id: Frame of the RGB images.
            thermal_frame_id: Frame of the thermal images.
        """
        if self._is_found:
            return None
        try:
            stamped = self._buffer.lookup_transform(rgb_frame_id, thermal_frame_id, Time())
        except Exception as error:  # noqa: BLE001 tf2 raises types of its own; all mean: not yet
            self._node.get_logger().warning(
                f"no transform from '{thermal_frame_id}' to '{rgb_frame_id}' yet ({error}); "
                f'expected on /tf_static; publish it, e.g. with static_transform_publisher',
                throttle_duration_sec=LOG_PERIOD_S,
            )
            return None
        self._is_found = True
        self._stop_listening()
        turn, move = stamped.transform.rotation, stamped.transform.translation
        self._node.get_logger().info(
            f"pose of '{thermal_frame_id}' in '{rgb_frame_id}' taken from tf"
        )
        return rotation_matrix(turn.x, turn.y, turn.z, turn.w), np.array([move.x, move.y, move.z])

    def close(self) -> None:
        """Stop listening."""
        self._stop_listening()

    def _stop_listening(self) -> None:
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.unregister()


def rotation_matrix(x: float, y: float, z: float, w: float) -> NDArray[np.float64]:
    """Return the rotation of a quaternion, shape (3, 3), float64; its length does not matter."""
    x, y, z, w = np.array([x, y, z, w]) / np.linalg.norm([x, y, z, w])
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )


def _import_tf2_ros() -> ModuleType:
    try:
        return importlib.import_module('tf2_ros')
    except ImportError as error:
        raise BackendUnavailableError(
            f"registration.source 'tf' needs tf2_ros ({error}); install it with "
            f"apt install ros-$ROS_DISTRO-tf2-ros-py, or use source 'file' or 'parameters'"
        ) from error
