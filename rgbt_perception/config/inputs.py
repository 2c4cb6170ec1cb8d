# SPDX-License-Identifier: Apache-2.0
"""Settings of what comes in: topics, pairing, thermal values, registration."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rgbt_perception.config.settings import Group, setting
from rgbt_perception.errors import ConfigError

IDENTITY_3X3 = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)
ABSOLUTE_ZERO_C = -273.15


@dataclass(frozen=True, slots=True, kw_only=True)
class InputConfig(Group):
    """How images arrive."""

    rgb_transport: str = setting(
        'raw', 'Topic type of the RGB camera.', choices=('raw', 'compressed')
    )
    thermal_transport: str = setting(
        'raw', 'Topic type of the thermal camera.', choices=('raw', 'compressed')
    )
    max_pixels: int = setting(
        33_554_432, 'Largest accepted image, height times width.', ge=1, le=1_000_000_000
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncConfig(Group):
    """Pairing of RGB and thermal frames."""

    policy: str = setting(
        'nearest',
        'Pairing rule: nearest stamps; exact stamps; latest: each reference frame with the newest '
        'other one; hold: the same, held up to max_hold_s; the last two need message_filters.',
        choices=('nearest', 'exact', 'latest', 'hold', 'approximate_time', 'exact_time'),
    )
    reference: str = setting(
        'rgb',
        'Camera whose frames trigger results with policy latest or hold.',
        choices=('rgb', 'thermal'),
    )
    max_skew_s: float = setting(
        0.02,
        'Largest accepted |thermal - rgb| stamp difference, s, inclusive.',
        ge=0.0,
        le=1.0,
        live=True,
    )
    max_hold_s: float = setting(
        0.3, 'Longest time a frame is used again with policy hold, s.', ge=0.0, le=60.0, live=True
    )
    offset_s: float = setting(
        0.0, 'Subtracted from thermal stamps before pairing, s.', ge=-3600.0, le=3600.0, live=True
    )
    offset_estimate: str = setting(
        'report',
        'Constant clock offset between the cameras: not estimated, reported, or also applied.',
        choices=('off', 'report', 'apply'),
        live=True,
    )
    unmatched: str = setting(
        'alone',
        'A reference frame without partner while both cameras deliver: processed alone, or '
        'dropped.',
        choices=('alone', 'drop'),
        live=True,
    )
    queue_size: int = setting(10, 'Frames kept per camera while waiting.', ge=1, le=1000)
    max_wait_s: float = setting(
        0.15,
        'Longest wait for a partner before a frame goes on alone, s.',
        ge=0.0,
        le=10.0,
        live=True,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ThermalConfig(Group):
    """What thermal pixel values mean, and how they are brought to the network's range."""

    reading: str = setting(
        'auto',
        'What a value is; auto: 32FC1 is a temperature (Celsius, or kelvin when its median is '
        'above 150), integers are counts without a temperature.',
        choices=(
            'auto',
            'counts',
            'tlinear_10mk',
            'tlinear_100mk',
            'linear',
            'celsius',
            'kelvin',
        ),
    )
    linear_gain: float = setting(
        0.01, 'Reading linear: degrees Celsius per count.', ge=-1000.0, le=1000.0
    )
    linear_offset_c: float = setting(
        ABSOLUTE_ZERO_C, 'Reading linear: degrees Celsius at count 0.', ge=-1e6, le=1e6
    )
    signal_bits: int = setting(
        16, 'Bits of a 16-bit thermal value in use, 14 for many cores.', ge=8, le=16
    )
    is_byte_swapped: bool = setting(
        False, 'The driver sends 16-bit values in the other byte order than it says.'
    )
    normaliser: str = setting(
        'card',
        'How values become network input: by the rule of the card on every frame; a fixed '
        'temperature window; or percentiles that follow the scene slowly.',
        choices=('card', 'window', 'percentile'),
        live=True,
    )
    window_low_c: float = setting(
        0.0, 'Normaliser window: temperature shown as 0.', ge=ABSOLUTE_ZERO_C, le=3000.0, live=True
    )
    window_high_c: float = setting(
        45.0,
        'Normaliser window: temperature shown as 1.',
        ge=ABSOLUTE_ZERO_C,
        le=3000.0,
        live=True,
    )
    time_constant_s: float = setting(
        5.0,
        'Normaliser percentile: how slowly the range follows the scene, s; 0 = every frame alone.',
        ge=0.0,
        le=3600.0,
        live=True,
    )
    clahe_clip: float = setting(
        0.0, 'Local contrast (CLAHE) clip limit after normalising; 0 = off.', ge=0.0, le=40.0
    )
    hot_spot_c: float = setting(
        0.0,
        'A detection with a pixel hotter than this is a hot spot, degrees Celsius; 0 = never.',
        ge=0.0,
        le=3000.0,
        live=True,
    )

    def __post_init__(self) -> None:
        """Check that the window is not empty, and that the reading can give temperatures.

        Raises:
            ConfigError: If a value is out of bounds, or two do not go together.
        """
        super(ThermalConfig, self).__post_init__()
        if not self.window_low_c < self.window_high_c:
            raise ConfigError(
                f'window_low_c is {self.window_low_c} and window_high_c {self.window_high_c}, '
                f'expected low < high; correct one'
            )
        if self.linear_gain == 0.0:
            raise ConfigError('linear_gain is 0, expected degrees Celsius per count; correct it')
        if self.reading == 'tlinear_10mk' and self.signal_bits < 15:
            raise ConfigError(
                f"signal_bits is {self.signal_bits} with reading 'tlinear_10mk', expected 15 or "
                f'16: {self.signal_bits} bits of 0.01 K end below -100 C; correct one'
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistrationConfig(Group):
    """How thermal pixels are brought onto the RGB image."""

    method: str = setting(
        'identity',
        'identity: same view, only resized. homography: by homography_thermal_to_rgb. extrinsics: '
        'by both camera models, their relative pose and a surface.',
        choices=('identity', 'homography', 'extrinsics'),
    )
    source: str = setting(
        'parameters',
        'Where the homography or the pose comes from: these parameters (camera models then from '
        'camera_info), calibration_file, or tf2 (pose only).',
        choices=('parameters', 'file', 'tf'),
    )
    calibration_file: str = setting(
        '', 'Calibration written by rgbt calibrate, used with source file.'
    )
    homography_thermal_to_rgb: tuple[float, ...] = setting(
        IDENTITY_3X3,
        'Row-major 3x3 from thermal to RGB pixels, centre of the first pixel = (0, 0).',
    )
    rotation_thermal_to_rgb: tuple[float, ...] = setting(
        IDENTITY_3X3,
        'Row-major 3x3 rotation of points from the thermal to the RGB optical frame.',
    )
    translation_thermal_to_rgb: tuple[float, ...] = setting(
        (0.0, 0.0, 0.0), 'Thermal camera in the RGB optical frame, m.'
    )
    surface: str = setting(
        'plane',
        'What the scene is taken for with extrinsics: a plane at depth_m, or the ground.',
        choices=('plane', 'ground'),
    )
    depth_m: float = setting(
        10.0, 'Depth of the plane; with ground the largest depth, m.', ge=0.1, le=10_000.0
    )
    camera_height_m: float = setting(
        1.5, 'Height of the RGB camera above the ground, m.', ge=0.01, le=1000.0
    )
    camera_pitch_deg: float = setting(
        0.0, 'How far the RGB camera looks down, degrees.', ge=-89.0, le=89.0
    )
    max_parallax_px: float = setting(
        8.0, 'Misregistration above this is warned of, RGB pixels.', ge=0.1, le=1000.0, live=True
    )
    score_every: int = setting(
        10, 'Misregistration is measured on every so-manieth pair; 0 = never.', ge=0, le=10_000
    )

    def __post_init__(self) -> None:
        """Check that homography and rotation are what they are called.

        Raises:
            ConfigError: If they are not, or the file of source file is not named.
        """
        super(RegistrationConfig, self).__post_init__()
        homography = np.reshape(np.asarray(self.homography_thermal_to_rgb, np.float64), (3, 3))
        if abs(np.linalg.det(homography)) < 1e-9:
            raise ConfigError(
                f'homography_thermal_to_rgb {homography.tolist()} cannot be inverted; expected a '
                f'regular 3x3 matrix; calibrate again'
            )
        rotation = np.reshape(np.asarray(self.rotation_thermal_to_rgb, np.float64), (3, 3))
        is_orthogonal = np.allclose(rotation @ rotation.T, np.eye(3), atol=1e-3)
        if not is_orthogonal or np.linalg.det(rotation) < 0:
            raise ConfigError(
                f'rotation_thermal_to_rgb {rotation.tolist()} is not a rotation; expected an '
                f'orthogonal 3x3 matrix with determinant 1; calibrate again'
            )
        if self.source == 'file' and not self.calibration_file:
            raise ConfigError(
                "calibration_file is '', expected a file with source 'file'; run rgbt calibrate"
            )
        if self.source != 'parameters' and self.method == 'identity':
            raise ConfigError(
                f"source is '{self.source}' with method 'identity', which takes nothing from it; "
                f"expected method homography or extrinsics, or source 'parameters'; correct one"
            )
