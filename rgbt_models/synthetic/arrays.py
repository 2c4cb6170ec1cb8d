# SPDX-License-Identifier: Apache-2.0
"""Array aliases of the synthetic world, and the one rotation helper every module needs."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]
DoubleArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
IndexArray = NDArray[np.int32]
ByteArray = NDArray[np.uint8]
CountArray = NDArray[np.uint16]
BoolArray = NDArray[np.bool_]


def rotation_from_angles(yaw_rad: float, pitch_rad: float, roll_rad: float) -> DoubleArray:
    """Build the rotation of a body whose frame is x forward, y left, z up.

    Applied in the order roll, pitch, yaw: ``v_parent = rotation @ v_body``.

    Args:
        yaw_rad: Turn about z, positive to the left.
        pitch_rad: Positive raises the nose (x axis) above the horizon.
        roll_rad: Turn about x, positive lowers the right side.

    Returns:
        Rotation, shape (3, 3), float64.
    """
    cy, sy = math.cos(yaw_rad), math.sin(yaw_rad)
    cp, sp = math.cos(pitch_rad), math.sin(pitch_rad)
    cr, sr = math.cos(roll_rad), math.sin(roll_rad)
    yaw = np.array([[cy, -sy, 0.0], [sy, cy, 0.0], [0.0, 0.0, 1.0]])
    pitch = np.array([[cp, 0.0, -sp], [0.0, 1.0, 0.0], [sp, 0.0, cp]])
    roll = np.array([[1.0, 0.0, 0.0], [0.0, cr, -sr], [0.0, sr, cr]])
    return np.asarray(yaw @ pitch @ roll)
