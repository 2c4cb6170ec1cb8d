# SPDX-License-Identifier: Apache-2.0
"""What ``~/temperatures`` says about one result, as plain values: the same live and in bags."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from rgbt_perception.bag_messages import DiagnosticText

if TYPE_CHECKING:
    from rgbt_perception.config import ThermalConfig
    from rgbt_perception.types import IntArray, Result

TEMPERATURE_STATUS_NAME = 'perception: temperature'
_OK, _WARN = 0, 1


def hot_spots(result: Result, config: ThermalConfig) -> IntArray:
    """Return the indices of the detections hotter than ``hot_spot_c``, in order of score."""
    if config.hot_spot_c <= 0.0:
        return np.zeros(0, np.int64)
    return np.flatnonzero(result.temperatures.max_c > config.hot_spot_c)


def temperature_texts(
    result: Result, class_names: tuple[str, ...], config: ThermalConfig
) -> list[DiagnosticText]:
    """Return one status per detection, in the order of the detections.

    Args:
        result: The result.
        class_names: Names of the detection classes, index = class id.
        config: Gives the temperature of a hot spot.

    Returns:
        Level 1 (WARN) for a hot spot, else 0 (OK). Boxes are reference pixels, edge units;
        temperatures degrees C, 'nan' when unknown. ``hardware_id`` is the frame id of the
        thermal image, '' when there is none.
    """
    hot = set(hot_spots(result, config).tolist())
    thermal = result.pair.thermal
    detections, measured = result.detections, result.temperatures
    texts = []
    for index, class_id in enumerate(detections.class_ids.tolist()):
        name = class_names[class_id]
        low, mean, high = (
            float(values[index]) for values in (measured.min_c, measured.mean_c, measured.max_c)
        )
        edges = zip(
            ('x_min', 'y_min', 'x_max', 'y_max'),
            detections.boxes_xyxy[index].tolist(),
            strict=True,
        )
        if index in hot:
            message = f'hot spot: {name} has {high:.1f} C, limit {config.hot_spot_c:.1f} C'
        elif not math.isnan(high):
            message = f'{name} has {low:.1f} to {high:.1f} C'
        else:
            message = f'temperature of {name} is unknown'
        values = {
            'index': str(index),
            'class': name,
            'score': f'{detections.scores[index]:.4f}',
            **{edge: f'{value:.2f}' for edge, value in edges},
            'min_c': f'{low:.2f}',
            'mean_c': f'{mean:.2f}',
            'max_c': f'{high:.2f}',
        }
        texts.append(
            DiagnosticText(
                level=_WARN if index in hot else _OK,
                name=TEMPERATURE_STATUS_NAME,
                message=message,
                hardware_id='' if thermal is None else thermal.frame_id,
                values=values,
            )
        )
    return texts


def temperatures_to_json(result: Result) -> list[list[float | None]]:
    """Return [min, mean, max] in degrees C of each detection, two decimals; None = unknown."""
    measured = result.temperatures
    rows = np.stack([measured.min_c, measured.mean_c, measured.max_c], axis=1).tolist()
    return [[round(x, 2) if math.isfinite(x) else None for x in row] for row in rows]
