# SPDX-License-Identifier: Apache-2.0
"""Bringing thermal images onto the RGB pixel grid, and boxes and label maps either way."""

from __future__ import annotations

from dataclasses import dataclass
import math
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from rgbt_perception.calibration_file import Calibration, check_pose, load_calibration
from rgbt_perception.camera_model import CameraModel
from rgbt_perception.config import RegistrationConfig
from rgbt_perception.errors import ConfigError
from rgbt_perception.geometry import resize, scaled_homography
from rgbt_perception.pixel_mapping import (
    HomographyMapping,
    inside,
    map_outlines,
    pixel_grid,
    PixelMapping,
    ResizeMapping,
    Surface,
    SurfaceMapping,
)
from rgbt_perception.types import ByteArray, FloatArray, Modality, UNLABELED

Matrix = NDArray[np.float64]
SizeHW = tuple[int, int]

# Below this share of RGB pixels that thermal sees, something is wrong with the geometry.
MIN_COVERED_SHARE = 0.2
# Sides that differ by more than this share do not come from resizing.
MAX_RATIO_ERROR = 0.01
# Images of one view may be cropped a little, as 640x512 to 640x480; more is another view.
MAX_STRETCH = 0.1
_BORDER_PX = 1e-3  # between the last pixel and what OpenCV treats as beyond the border


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class _Tables:
    """Everything worked out for one pair of image sizes.

    Attributes:
        mapping: From pixels to pixels.
        to_thermal: (h, w, 2) float32, the thermal pixel of each RGB pixel; None = resize.
        covered_share: Share of RGB pixels that thermal sees.
        problem: What is wrong, '' when nothing is.
    """

    mapping: PixelMapping
    to_thermal: FloatArray | None
    covered_share: float
    problem: str


class Registration:
    """Maps between thermal and RGB pixels by the rule of the settings.

    'identity' means that both cameras see the same view and differ in resolution only,
    'homography' maps by a matrix, 'extrinsics' along the rays of both cameras to a surface. Beyond
    the thermal image its border is repeated, as in training. What extrinsics needs may come later
    (``set_camera``, ``set_pose``); until then images are only resized and ``problem`` says so.

    Tables are worked out once for a pair of image sizes and kept. Setting and using may happen in
    different threads; using is for one thread.
    """

    def __init__(self, config: RegistrationConfig) -> None:
        """Take over the settings and read the calibration file when there is one.

        Raises:
            ConfigError: If the file cannot be used, or lacks what the method needs.
        """
        self._config = config
        self._calibration = _load(config)
        self._cameras: dict[Modality, CameraModel] = {}
        self._pose: tuple[Matrix, Matrix] | None = None
        if config.method == 'extrinsics' and config.source == 'parameters':
            self._pose = (
                np.reshape(np.asarray(config.rotation_thermal_to_rgb, np.float64), (3, 3)),
                np.asarray(config.translation_thermal_to_rgb, np.float64),
            )
        self._version = 0  # of what was set; tables of an older one are worked out again
        self._tables: tuple[tuple[int, SizeHW, SizeHW], _Tables] | None = None
        self._label_table: tuple[tuple[int, SizeHW, SizeHW], NDArray[np.int16]] | None = None
        if self._calibration is not None and config.method == 'extrinsics':
            self._take_calibration(self._calibration)

    @property
    def needs_cameras(self) -> bool:
        """Whether camera models must come through ``set_camera``."""
        return self._config.method == 'extrinsics' and self._config.source != 'file'

    @property
    def needs_pose(self) -> bool:
        """Whether the pose must come through ``set_pose``."""
        return self._config.method == 'extrinsics' and self._config.source == 'tf'

    @property
    def problem(self) -> str:
        """What keeps thermal from lying where it should, '' when nothing is known to."""
        missing = self._missing()
        if missing:
            return f'{missing}; thermal is only resized until it is there'
        return '' if self._tables is None else self._tables[1].problem

    @property
    def covered_share(self) -> float:
        """Share of RGB pixels that thermal sees, 0..1; NaN before the first pair."""
        return math.nan if self._tables is None else self._tables[1].covered_share

    @property
    def geometry(self) -> tuple[int, SizeHW, SizeHW] | None:
        """What thermal was last registered by: another value after any change; None = not yet."""
        return None if self._tables is None else self._tables[0]

    def set_camera(self, modality: Modality, model: CameraModel) -> None:
        """Take over a camera model, as of a camera_info; one from the calibration file stays."""
        if not self.needs_cameras or model.is_same(self._cameras.get(modality)):
            return
        self._cameras = {**self._cameras, modality: model}
        self._version += 1

    def set_pose(self, rotation: NDArray[Any], translation: NDArray[Any]) -> None:
        """Take over a pose, as of tf: X_rgb = rotation @ X_thermal + translation.

        Args:
            rotation: Shape (3, 3).
            translation: Shape (3,), m.

        Raises:
            ConfigError: If it is no rotation, or not finite.
        """
        check_pose(rotation, translation)
        pose = np.asarray(rotation, np.float64), np.asarray(translation, np.float64)
        is_same = self._pose is not None and all(map(np.array_equal, pose, self._pose))
        if not self.needs_pose or is_same:
            return
        self._pose = pose
        self._version += 1

    def check_complete(self) -> None:
        """Refuse to go on when thermal would only be resized though the settings say otherwise.

        Raises:
            ConfigError: If a camera model or the pose is missing.
        """
        missing = self._missing()
        if missing:
            raise ConfigError(
                f'{missing}; expected it before the first pair; take cameras and pose from a file '
                f'with registration.source file'
            )

    def register(self, thermal: NDArray[Any], rgb_hw: SizeHW) -> NDArray[Any]:
        """Resample a thermal image on the RGB grid.

        Args:
            thermal: Image, shape (h, w), uint8, uint16 or float32, finite (interpolation would
                spread NaN: normalise first).
            rgb_hw: Height and width of the RGB image, px.

        Returns:
            Image, shape ``rgb_hw``, same dtype; the input itself when there is nothing to do.
        """
        tables = self._tables_for(rgb_hw, (thermal.shape[0], thermal.shape[1]))
        if tables.to_thermal is None:
            return resize(thermal, rgb_hw)
        # One interleaved float table: faster here than fixed-point ones (bench/registration.py).
        border = cv2.BORDER_REPLICATE
        mapped = cv2.remap(thermal, tables.to_thermal, None, cv2.INTER_LINEAR, borderMode=border)
        return np.asarray(mapped)

    def boxes_to_thermal(
        self, boxes_xyxy: NDArray[Any], rgb_hw: SizeHW, thermal_hw: SizeHW
    ) -> FloatArray:
        """Map boxes from RGB to thermal pixels and enclose what each becomes.

        Args:
            boxes_xyxy: Boxes, shape (n, 4), RGB px, edge units.
            rgb_hw: Height and width of the RGB image, px.
            thermal_hw: Height and width of the thermal image, px.

        Returns:
            Boxes, shape (n, 4), float32, thermal px, edge units; not clipped; NaN where nothing
            of the outline is in front of the thermal camera.
        """
        mapping = self._tables_for(rgb_hw, thermal_hw).mapping
        return map_outlines(mapping.to_thermal, boxes_xyxy)

    def boxes_to_rgb(
        self, boxes_xyxy: NDArray[Any], rgb_hw: SizeHW, thermal_hw: SizeHW
    ) -> FloatArray:
        """Map boxes from thermal to RGB pixels; see ``boxes_to_thermal``."""
        mapping = self._tables_for(rgb_hw, thermal_hw).mapping
        return map_outlines(mapping.to_rgb, boxes_xyxy)

    def label_map_to_thermal(self, label_map: ByteArray, thermal_hw: SizeHW) -> ByteArray:
        """Bring a label map of the RGB grid onto the thermal grid, nearest pixel.

        Args:
            label_map: Shape (h, w), uint8.
            thermal_hw: Height and width of the thermal image, px.

        Returns:
            Label map, shape ``thermal_hw``, uint8; 255 where the RGB camera does not see.
        """
        rgb_hw = (label_map.shape[0], label_map.shape[1])
        key = (self._version, rgb_hw, thermal_hw)
        if self._label_table is None or self._label_table[0] != key:
            xy = self._tables_for(rgb_hw, thermal_hw).mapping.to_rgb(pixel_grid(thermal_hw))
            seen = inside(xy, rgb_hw)[:, None]
            last = np.array([rgb_hw[1] - 1, rgb_hw[0] - 1])
            nearest = np.clip(np.floor(np.where(seen, xy, 0.0) + 0.5), 0, last)
            table = np.where(seen, nearest, -1).astype(np.int16).reshape(*thermal_hw, 2)
            self._label_table = (key, table)
        mapped = cv2.remap(
            label_map,
            self._label_table[1],
            None,
            cv2.INTER_NEAREST,
            borderMode=cv2.BORDER_CONSTANT,
            borderValue=UNLABELED,
        )
        return np.asarray(mapped, np.uint8)

    def _take_calibration(self, calibration: Calibration) -> None:
        rotation = calibration.rotation_thermal_to_rgb
        translation = calibration.translation_thermal_to_rgb
        if rotation is None or translation is None:
            raise ConfigError(
                f"calibration '{self._config.calibration_file}' holds no pose of the cameras, "
                f'expected one with registration.method extrinsics; use method homography, or '
                f'rgbt calibrate board'
            )
        assert calibration.rgb is not None
        assert calibration.thermal is not None
        self._pose = (rotation, translation)
        self._cameras = {Modality.RGB: calibration.rgb, Modality.THERMAL: calibration.thermal}

    def _missing(self) -> str:
        if self._config.method != 'extrinsics':
            return ''
        missing = [
            f'the {modality.value} camera_info (check that {modality.value}/camera_info is '
            f'published, or use source file)'
            for modality in Modality
            if modality not in self._cameras
        ]
        if self._pose is None:
            missing.append('the transform between the optical frames (check /tf_static)')
        return f'registration by extrinsics lacks {" and ".join(missing)}' if missing else ''

    def _tables_for(self, rgb_hw: SizeHW, thermal_hw: SizeHW) -> _Tables:
        key = (self._version, rgb_hw, thermal_hw)
        if self._tables is None or self._tables[0] != key:
            mapping, problem = self._mapping_for(rgb_hw, thermal_hw)
            self._tables = (key, _build_tables(mapping, problem, rgb_hw, thermal_hw))
        return self._tables[1]

    def _mapping_for(self, rgb_hw: SizeHW, thermal_hw: SizeHW) -> tuple[PixelMapping, str]:
        cameras, pose = self._cameras, self._pose
        if self._config.method == 'homography':
            return self._homography_mapping(rgb_hw, thermal_hw)
        if self._config.method == 'identity' or pose is None or len(cameras) < len(Modality):
            mapping = ResizeMapping(rgb_hw=rgb_hw, thermal_hw=thermal_hw)
            return mapping, _stretch_problem(rgb_hw, thermal_hw)
        sizes = {Modality.RGB: rgb_hw, Modality.THERMAL: thermal_hw}
        is_file = self._config.source == 'file'
        origin = 'the calibration' if is_file else 'its camera_info'
        problems = [
            _size_problem(modality, sizes[modality], model.size_hw, origin, is_strict=not is_file)
            for modality, model in cameras.items()
        ]
        surface_mapping = SurfaceMapping(
            rgb=cameras[Modality.RGB].scaled_to(rgb_hw),
            thermal=cameras[Modality.THERMAL].scaled_to(thermal_hw),
            rotation=pose[0],
            translation=pose[1],
            surface=Surface.of(self._config),
        )
        return surface_mapping, '; '.join(filter(None, problems))

    def _homography_mapping(self, rgb_hw: SizeHW, thermal_hw: SizeHW) -> tuple[PixelMapping, str]:
        matrix = np.reshape(np.asarray(self._config.homography_thermal_to_rgb, float), (3, 3))
        problems = []
        if self._calibration is not None:
            found = self._calibration
            assert found.homography_thermal_to_rgb is not None
            assert found.rgb_size_hw is not None
            assert found.thermal_size_hw is not None
            matrix = scaled_homography(
                found.homography_thermal_to_rgb,
                source_scale_xy=_scale_xy(found.thermal_size_hw, thermal_hw),
                destination_scale_xy=_scale_xy(found.rgb_size_hw, rgb_hw),
            )
            expected = {Modality.RGB: found.rgb_size_hw, Modality.THERMAL: found.thermal_size_hw}
            actual = {Modality.RGB: rgb_hw, Modality.THERMAL: thermal_hw}
            problems = [
                _size_problem(modality, actual[modality], size_hw, 'the calibration')
                for modality, size_hw in expected.items()
            ]
        mapping = HomographyMapping(matrix, thermal_hw)
        if mapping.is_mirrored:
            problems.append(
                'homography_thermal_to_rgb mirrors the thermal image: calibrate again, or flip '
                'the image in the driver'
            )
        return mapping, '; '.join(filter(None, problems))


def _load(config: RegistrationConfig) -> Calibration | None:
    if config.method == 'identity' or config.source == 'parameters':
        return None
    if config.source == 'tf':
        if config.method == 'homography':
            raise ConfigError(
                "registration.source is 'tf' with method 'homography', expected parameters or "
                'file: tf knows poses only; use method extrinsics'
            )
        return None
    calibration = load_calibration(Path(config.calibration_file).expanduser())
    if config.method == 'homography' and calibration.homography_thermal_to_rgb is None:
        raise ConfigError(
            f"calibration '{config.calibration_file}' holds no homography, expected one with "
            f'registration.method homography; use method extrinsics, or calibrate again'
        )
    return calibration


def _build_tables(
    mapping: PixelMapping, problem: str, rgb_hw: SizeHW, thermal_hw: SizeHW
) -> _Tables:
    if isinstance(mapping, ResizeMapping):
        return _Tables(mapping=mapping, to_thermal=None, covered_share=1.0, problem=problem)
    xy = mapping.to_thermal(pixel_grid(rgb_hw))
    covered_share = float(np.mean(inside(xy, thermal_hw)))
    if covered_share < MIN_COVERED_SHARE:
        sees = (
            f'thermal covers {covered_share:.0%} of the RGB image, expected at least '
            f'{MIN_COVERED_SHARE:.0%}: calibrate again, or correct the registration settings'
        )
        problem = '; '.join(filter(None, (problem, sees)))
    middle = np.array([thermal_hw[1] - 1, thermal_hw[0] - 1]) / 2
    known = np.where(np.isfinite(xy).all(axis=1, keepdims=True), xy, middle)
    # Points beyond the border show the border; to look there is faster than to look beyond it.
    last = np.array([thermal_hw[1], thermal_hw[0]]) - 1.0 - _BORDER_PX
    table = np.clip(known, 0.0, np.maximum(last, 0.0)).astype(np.float32).reshape(*rgb_hw, 2)
    return _Tables(mapping=mapping, to_thermal=table, covered_share=covered_share, problem=problem)


def _scale_xy(old_hw: SizeHW, new_hw: SizeHW) -> tuple[float, float]:
    return new_hw[1] / old_hw[1], new_hw[0] / old_hw[0]


def _stretch_problem(rgb_hw: SizeHW, thermal_hw: SizeHW) -> str:
    """Say that resizing alone cannot bring these sizes together, '' when it can."""
    scale_x, scale_y = _scale_xy(thermal_hw, rgb_hw)
    stretch = max(scale_x / scale_y, scale_y / scale_x) - 1.0
    if stretch <= MAX_STRETCH:
        return ''
    return (
        f'thermal is stretched by {stretch:.0%} onto RGB: images of {thermal_hw[0]}x'
        f'{thermal_hw[1]} and {rgb_hw[0]}x{rgb_hw[1]} (h x w) do not show the same view; run '
        f'rgbt calibrate and set registration.method'
    )


def _size_problem(
    modality: Modality,
    actual_hw: SizeHW,
    model_hw: SizeHW,
    origin: str,
    *,
    is_strict: bool = False,
) -> str:
    """Say that images are not of the size they were calibrated for, '' when that is no problem.

    Resized images are in order, unless ``is_strict``: a camera_info names the size of its images.
    """
    scale_x, scale_y = _scale_xy(model_hw, actual_hw)
    is_stretched = abs(scale_x / scale_y - 1.0) > MAX_RATIO_ERROR
    if actual_hw == model_hw or not (is_stretched or is_strict):
        return ''
    return (
        f'{modality.value} images are {actual_hw[0]}x{actual_hw[1]} (h x w) but {origin} is for '
        f'{model_hw[0]}x{model_hw[1]}, which was scaled to fit: correct what the camera publishes'
        f'{", or calibrate at this size" if is_stretched else ""}'
    )
