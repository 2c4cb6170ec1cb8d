# SPDX-License-Identifier: Apache-2.0
"""Calibration files: both cameras, their relative pose, and a homography, as YAML.

Points go from the thermal to the RGB optical frame by ``X_rgb = R @ X_thermal + t`` (metres).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
import difflib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
import yaml

from rgbt_perception.camera_model import CameraModel
from rgbt_perception.errors import ConfigError

Matrix = NDArray[np.float64]

FORMAT = 1
CAMERA_KEYS = ('size_hw', 'intrinsics', 'distortion_model', 'distortion')
KEYS = (
    'format',
    'method',
    'num_images',
    'reprojection_error_px',
    'rgb',
    'thermal',
    'rotation_thermal_to_rgb',
    'translation_thermal_to_rgb',
    'homography_thermal_to_rgb',
    'rgb_size_hw',
    'thermal_size_hw',
    'depth_m',
)
HEADER = """\
# Calibration of an RGB and a thermal camera: X_rgb = R X_thermal + t, metres, optical frames.
# Matrices are row-major; the centre of the top-left pixel is (0, 0).
"""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Calibration:
    """What is known of a pair of cameras: camera models with pose, a homography, or both.

    Attributes:
        method: How it was found, e.g. 'board' or 'scene'.
        num_images: Pairs of images it was found from.
        reprojection_error_px: RMS error, RGB px; None when the method has none.
        rgb: RGB camera, or None.
        thermal: Thermal camera, or None.
        rotation_thermal_to_rgb: (3, 3), X_rgb = R X_thermal + t; None without a pose.
        translation_thermal_to_rgb: (3,), m: the thermal camera in the RGB optical frame.
        homography_thermal_to_rgb: (3, 3), thermal px -> RGB px, centre units, or None.
        rgb_size_hw: Size of the RGB images of the homography, px; needed with a homography.
        thermal_size_hw: Size of the thermal images of the homography, px; needed with one.
        depth_m: Depth at which the homography holds, m; None when unknown.
    """

    method: str
    num_images: int
    reprojection_error_px: float | None = None
    rgb: CameraModel | None = None
    thermal: CameraModel | None = None
    rotation_thermal_to_rgb: Matrix | None = None
    translation_thermal_to_rgb: Matrix | None = None
    homography_thermal_to_rgb: Matrix | None = None
    rgb_size_hw: tuple[int, int] | None = None
    thermal_size_hw: tuple[int, int] | None = None
    depth_m: float | None = None

    def __post_init__(self) -> None:
        """Check that the parts are complete and mean something.

        Raises:
            ConfigError: If a part is missing or malformed.
        """
        if self.num_images < 0:
            raise ConfigError(f'num_images is {self.num_images}, expected 0 or more; correct it')
        for name in ('reprojection_error_px', 'depth_m'):
            value = getattr(self, name)
            if value is not None and not (np.isfinite(value) and value >= 0):
                raise ConfigError(
                    f'{name} is {value!r}, expected a finite number of 0 or more; correct it'
                )
        if self.homography_thermal_to_rgb is None and self.rotation_thermal_to_rgb is None:
            raise ConfigError(
                'a calibration has neither homography_thermal_to_rgb nor rotation_thermal_to_rgb, '
                'expected at least one; calibrate again'
            )
        self._check_pose()
        self._check_homography()

    def _check_pose(self) -> None:
        rotation, translation = self.rotation_thermal_to_rgb, self.translation_thermal_to_rgb
        if (rotation is None) != (translation is None):
            raise ConfigError(
                'a calibration has only one of rotation_thermal_to_rgb and '
                'translation_thermal_to_rgb, expected both or none; calibrate again'
            )
        if rotation is None or translation is None:
            return
        check_pose(rotation, translation)
        if self.rgb is None or self.thermal is None:
            missing = 'rgb' if self.rgb is None else 'thermal'
            raise ConfigError(
                f"a calibration has a pose but no camera '{missing}', expected both camera models "
                f'with a pose; calibrate again'
            )

    def _check_homography(self) -> None:
        homography = self.homography_thermal_to_rgb
        if homography is None:
            return
        for name in ('rgb_size_hw', 'thermal_size_hw'):
            size_hw = getattr(self, name)
            if size_hw is None or len(size_hw) != 2 or min(size_hw) < 1:
                raise ConfigError(
                    f'{name} is {size_hw}, expected height and width in px with a homography; '
                    f'add the size of the images it was found from'
                )
        shape, values = np.shape(homography), np.asarray(homography, np.float64)
        is_regular = shape == (3, 3) and np.isfinite(values).all()
        if not is_regular or abs(np.linalg.det(values)) < 1e-9:
            raise ConfigError(
                f'homography_thermal_to_rgb is {values.tolist()}, expected a regular 3x3 matrix; '
                f'calibrate again'
            )


def check_pose(rotation: NDArray[Any], translation: NDArray[Any]) -> None:
    """Check that a rotation and a translation are what they are called.

    Args:
        rotation: Should be a rotation, shape (3, 3), within 1e-3.
        translation: Should be finite, shape (3,).

    Raises:
        ConfigError: If they are not.
    """
    matrix, offset = np.asarray(rotation, np.float64), np.asarray(translation, np.float64)
    is_rotation = (
        matrix.shape == (3, 3)
        and np.allclose(matrix @ matrix.T, np.eye(3), atol=1e-3)
        and np.linalg.det(matrix) > 0
    )
    if not is_rotation:
        raise ConfigError(
            f'rotation_thermal_to_rgb is {matrix.tolist()}, expected an orthogonal 3x3 matrix '
            f'with determinant 1; calibrate again'
        )
    if offset.shape != (3,) or not np.isfinite(offset).all():
        raise ConfigError(
            f'translation_thermal_to_rgb is {offset.tolist()}, expected 3 finite numbers in '
            f'metres; calibrate again'
        )


def write_calibration(path: Path, calibration: Calibration) -> None:
    """Write a calibration; the same calibration gives the same bytes.

    Raises:
        ConfigError: If the file cannot be written.
    """
    document: dict[str, Any] = {'format': FORMAT}
    for key in KEYS[1:]:
        value = getattr(calibration, key)
        if value is not None:
            document[key] = _plain(value)
    text = yaml.safe_dump(document, sort_keys=False, default_flow_style=None, width=96)
    try:
        path.write_text(HEADER + text, encoding='utf-8')
    except OSError as error:
        raise ConfigError(
            f"cannot write calibration '{path}' ({error.strerror}); expected a path in a folder "
            f'that can be written; choose another'
        ) from error


def load_calibration(path: Path) -> Calibration:
    """Load a calibration file.

    Raises:
        ConfigError: If it is missing, malformed, of another format, or holds an unknown key.
    """
    try:
        document = yaml.safe_load(path.read_text(encoding='utf-8'))
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, 'strerror', None) or error
        raise ConfigError(
            f"cannot read calibration '{path}' ({reason}); expected a file written by rgbt "
            f'calibrate; check registration.calibration_file'
        ) from error
    except yaml.YAMLError as error:
        problem = ' '.join(str(error).split())
        raise ConfigError(
            f"calibration '{path}' is not valid YAML ({problem}); expected a file written by rgbt "
            f'calibrate; correct it'
        ) from error
    try:
        return _parse(document)
    except ConfigError as error:
        raise ConfigError(f"calibration '{path}': {error}") from error


def _parse(document: object) -> Calibration:
    if not isinstance(document, dict):
        raise ConfigError(
            f'the file holds a {type(document).__name__}, expected keys and values; run rgbt '
            f'calibrate'
        )
    if document.get('format') != FORMAT:
        raise ConfigError(
            f'format is {document.get("format")!r}, expected {FORMAT}; calibrate again with this '
            f'version'
        )
    _check_keys(document, KEYS)
    return Calibration(
        method=str(document.get('method', '')),
        num_images=int(_number(document.get('num_images', 0), 'num_images')),
        reprojection_error_px=_optional_number(document, 'reprojection_error_px'),
        rgb=_parse_camera(document, 'rgb'),
        thermal=_parse_camera(document, 'thermal'),
        rotation_thermal_to_rgb=_array(document, 'rotation_thermal_to_rgb', (3, 3)),
        translation_thermal_to_rgb=_array(document, 'translation_thermal_to_rgb', (3,)),
        homography_thermal_to_rgb=_array(document, 'homography_thermal_to_rgb', (3, 3)),
        rgb_size_hw=_size(document, 'rgb_size_hw'),
        thermal_size_hw=_size(document, 'thermal_size_hw'),
        depth_m=_optional_number(document, 'depth_m'),
    )


def _check_keys(values: Mapping[Any, Any], known: tuple[str, ...]) -> None:
    for key in values:
        if key not in known:
            near = difflib.get_close_matches(str(key), known, n=1)
            hint = f"did you mean '{near[0]}'?" if near else 'remove it'
            raise ConfigError(f"unknown key '{key}', expected one of {', '.join(known)}; {hint}")


def _parse_camera(document: Mapping[str, Any], name: str) -> CameraModel | None:
    values = document.get(name)
    if values is None:
        return None
    if not isinstance(values, dict):
        raise ConfigError(f'{name} is {values!r}, expected the keys {", ".join(CAMERA_KEYS)}')
    try:
        return _build_camera(values)
    except ConfigError as error:
        raise ConfigError(f'{name}: {error}') from error


def _build_camera(values: Mapping[str, Any]) -> CameraModel:
    _check_keys(values, CAMERA_KEYS)
    intrinsics, size_hw = _array(values, 'intrinsics', (3, 3)), _size(values, 'size_hw')
    if intrinsics is None or size_hw is None:
        missing = 'intrinsics' if intrinsics is None else 'size_hw'
        raise ConfigError(f'{missing} is missing, expected it for a camera; calibrate again')
    return CameraModel(
        intrinsics=intrinsics,
        distortion_model=str(values.get('distortion_model', 'none')),
        distortion=tuple(_numbers(values.get('distortion', []), 'distortion')),
        size_hw=size_hw,
    )


def _array(values: Mapping[str, Any], key: str, shape: tuple[int, ...]) -> Matrix | None:
    if values.get(key) is None:
        return None
    numbers, count = _numbers(values[key], key), int(np.prod(shape))
    if len(numbers) != count:
        raise ConfigError(f'{key} has {len(numbers)} numbers, expected {count}; write all of them')
    return np.array(numbers).reshape(shape)


def _size(values: Mapping[str, Any], key: str) -> tuple[int, int] | None:
    if values.get(key) is None:
        return None
    numbers = _numbers(values[key], key)
    if len(numbers) != 2 or any(number != int(number) for number in numbers):
        raise ConfigError(f'{key} is {values[key]!r}, expected [height, width] in px; correct it')
    return int(numbers[0]), int(numbers[1])


def _numbers(values: object, key: str) -> list[float]:
    if not isinstance(values, list):
        raise ConfigError(f'{key} is {values!r}, expected a list of numbers; correct it')
    return [_number(value, key) for value in values]


def _optional_number(values: Mapping[str, Any], key: str) -> float | None:
    return None if values.get(key) is None else _number(values[key], key)


def _number(value: object, key: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not np.isfinite(value):
        raise ConfigError(f'{key} holds {value!r}, expected a finite number; correct it')
    return float(value)


def _plain(value: Any) -> Any:
    """Turn arrays, sizes and cameras into what YAML knows."""
    if isinstance(value, CameraModel):
        return {key: _plain(getattr(value, key)) for key in CAMERA_KEYS}
    if isinstance(value, np.ndarray):
        return [float(number) for number in value.ravel()]
    if isinstance(value, tuple):
        return [number if isinstance(number, int) else float(number) for number in value]
    if isinstance(value, (float, np.floating)):
        return float(value)
    return value
