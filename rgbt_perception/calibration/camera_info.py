# SPDX-License-Identifier: Apache-2.0
"""Camera models from the YAML files that camera drivers and ROS calibrators write."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import yaml

from rgbt_perception.camera_model import camera_model_from_info, CameraModel
from rgbt_perception.errors import CalibrationError, ConfigError


def load_camera_info(path: Path, *, name: str) -> CameraModel:
    """Load a camera model from a camera_info YAML (``camera_calibration_parsers``).

    Args:
        path: File with ``image_width``, ``image_height``, ``camera_matrix``,
            ``distortion_model`` and ``distortion_coefficients``.
        name: Whose it is, for error messages: 'rgb' or 'thermal'.

    Raises:
        CalibrationError: If it is missing or malformed.
    """
    try:
        document = yaml.safe_load(path.read_text(encoding='utf-8'))
        message = SimpleNamespace(
            height=int(document['image_height']),
            width=int(document['image_width']),
            k=[float(value) for value in _data(document, 'camera_matrix', 9)],
            d=[float(value) for value in _data(document, 'distortion_coefficients', None)],
            distortion_model=str(document['distortion_model']),
            binning_x=0,
            binning_y=0,
            roi=SimpleNamespace(x_offset=0, y_offset=0, height=0, width=0, do_rectify=False),
        )
        return camera_model_from_info(message, name=name)
    except ConfigError as error:
        raise CalibrationError(f"camera_info '{path}': {error}") from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        problem = ' '.join(str(getattr(error, 'strerror', None) or error).split())
        raise CalibrationError(
            f"cannot read camera_info '{path}' ({problem}); expected the YAML file of a camera "
            f'driver; check the path'
        ) from error
    except (KeyError, TypeError, ValueError) as error:
        raise CalibrationError(
            f"camera_info '{path}' is not complete ({type(error).__name__}: {error}); expected "
            f'image_width, image_height, camera_matrix, distortion_model and '
            f'distortion_coefficients; calibrate the camera again'
        ) from error


def _data(document: Any, key: str, count: int | None) -> list[Any]:
    data = document[key]['data']
    if not isinstance(data, list) or (count is not None and len(data) != count):
        raise ValueError(f'{key}.data is {data!r}, expected {count or "a list of"} numbers')
    return data
