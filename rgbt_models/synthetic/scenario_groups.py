# SPDX-License-Identifier: Apache-2.0
"""The groups of a scenario: light, failures, the rig's way, its cameras, their sensors, truth."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
import math

from rgbt_models.errors import DatasetError
from rgbt_models.synthetic.environment import Condition
from rgbt_models.synthetic.faults import CAMERAS, kinds_of
from rgbt_models.synthetic.lens import NUM_COEFFICIENTS
from rgbt_models.train.settings import ABOVE_0, check_numbers, FROM_0, PART, Rule

PATHS = ('forward', 'still', 'pan')
DRAWN = ''
QUALITIES = ('clean', 'drawn')
THERMAL_OUTPUTS = ('tlinear_10mk', 'tlinear_100mk', 'linear_14bit')
_FINITE: Rule = (math.isfinite, 'a finite number')
_CONDITIONS = tuple(str(item.value) for item in Condition)
# What numbers of an Environment must be; those that are not here may be anything.
_LIGHT_RULES: dict[str, Rule] = {
    'ambient_c': (lambda value: -60.0 <= value <= 60.0, 'a value in -60..60 degrees Celsius'),
    **dict.fromkeys(
        ('sky_light_slope', 'sky_zenith_loss', 'lights', 'ego_headlight', 'cloud_cover'), PART
    ),
    **dict.fromkeys(('wind', 'wetness', 'rain'), PART),
    **dict.fromkeys(('sun_strength', 'haze_per_m', 'thermal_haze_per_m', 'sky_cooling_k'), FROM_0),
    **dict.fromkeys(('solar_heating_k', 'thermal_contrast'), FROM_0),
    **dict.fromkeys(('sun_colour', 'sky_light', 'sky_radiance', 'sky_glow'), FROM_0),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class LightKey:
    """Light and weather at one time of the sequence; between two of them it changes smoothly.

    Attributes:
        share: When, as a share of the sequence, 0..1.
        condition: What is drawn: 'day', 'dusk', 'night', 'fog', ...; '' = drawn too.
        values: Fields of ``Environment`` that are given instead of drawn; a colour or a direction
            is a list of three numbers (a direction of any length but 0). Which of them hold for
            later keys, too: see ``sequence_light.sample_lights``.
    """

    share: float = 0.0
    condition: str = 'day'
    values: tuple[tuple[str, float | tuple[float, ...]], ...] = ()

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            DatasetError: If one cannot be used.
        """
        check_numbers(self, {'share': PART}, what='scenario')
        check_choice('condition', self.condition, (DRAWN, *_CONDITIONS))
        for name, value in self.values:
            numbers = value if isinstance(value, tuple) else (value,)
            is_usable, wanted = _LIGHT_RULES.get(name, _FINITE)
            is_nowhere = name == 'sun_direction' and not any(numbers)
            if is_nowhere or not all(map(is_usable, numbers)):
                wanted = 'a direction, not zero' if is_nowhere else wanted
                shown = list(value) if isinstance(value, tuple) else value
                raise DatasetError(
                    f'{name} is {shown}; expected {wanted}; correct the scenario file'
                )


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraFailure:
    """A camera that fails for a while.

    Attributes:
        camera: 'rgb' or 'thermal'.
        kind: See ``faults.FaultKind``.
        from_share: First moment, as a share of the sequence.
        until_share: First moment when it works again.
    """

    camera: str = 'thermal'
    kind: str = 'gap'
    from_share: float = 0.0
    until_share: float = 1.0

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            DatasetError: If one cannot be used.
        """
        check_choice('camera', self.camera, CAMERAS)
        check_choice('kind', self.kind, kinds_of(self.camera))
        check_numbers(self, {'from_share': PART, 'until_share': PART}, what='scenario')
        if not self.from_share < self.until_share:
            raise DatasetError(
                f'a failure lasts from_share {self.from_share} until_share {self.until_share}; '
                f'expected from < until; correct the scenario file'
            )

    def holds_at(self, share: float) -> bool:
        """Return whether the camera fails at a share of the sequence."""
        return self.from_share <= share < self.until_share


@dataclass(frozen=True, slots=True, kw_only=True)
class EgoSettings:
    """How the rig moves.

    Attributes:
        path: 'forward' drives along, and stops before what is fixed; 'still' stands; 'pan' stands
            and turns left and right.
        speed_m_s: Of 'forward'.
        height_m: Of the cameras above the ground.
        pitch_deg: Of the rig, positive looks up.
        pan_deg: Greatest angle of 'pan' to either side.
        pan_period_s: Of 'pan', there and back.
        sway: How much the rig moves on its springs; 1 = as a car, 0 = not at all.
    """

    path: str = 'forward'
    speed_m_s: float = 4.0
    height_m: float = 1.6
    pitch_deg: float = -0.86
    pan_deg: float = 30.0
    pan_period_s: float = 12.0
    sway: float = 1.0

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            DatasetError: If one cannot be used.
        """
        check_choice('path', self.path, PATHS)
        rules = {
            'speed_m_s': FROM_0,
            'height_m': ABOVE_0,
            'pitch_deg': _FINITE,
            'pan_deg': _FINITE,
            'pan_period_s': ABOVE_0,
            'sway': FROM_0,
        }
        check_numbers(self, rules, what='scenario')


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraSettings:
    """One camera: where it looks from and when. The defaults are those of the RGB camera.

    Attributes:
        width: Columns.
        height: Rows.
        hfov_deg: Horizontal field of view, if the principal point were in the middle.
        position_m: In the rig frame: x forward, y left, z up.
        angles_deg: Yaw (left), pitch (up) and roll on the rig.
        centre_shift_px: Principal point minus the middle of the image.
        distortion: Coefficients k1 k2 p1 p2 [k3 [k4 k5 k6]] of OpenCV; none = no distortion.
        rate_hz: Images per second, at most 1000.
        phase_s: Exposures happen this much after the start of each period.
        offset_s: Stamps are this much later than the exposure.
        jitter_s: Stamps scatter by this much to either side.
        transport_s: From the exposure to the arrival of the message.
    """

    width: int = 640
    height: int = 480
    hfov_deg: float = 56.0
    position_m: tuple[float, ...] = (0.0, 0.025, 0.0)
    angles_deg: tuple[float, ...] = (0.0, 0.0, 0.0)
    centre_shift_px: tuple[float, ...] = (3.2, -2.1)
    distortion: tuple[float, ...] = ()
    rate_hz: float = 5.0
    phase_s: float = 0.0
    offset_s: float = 0.0
    jitter_s: float = 0.0
    transport_s: float = 0.025

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            DatasetError: If one cannot be used.
        """
        rules: dict[str, Rule] = {
            'width': (lambda value: value >= 16, 'at least 16 px'),
            'height': (lambda value: value >= 16, 'at least 16 px'),
            'hfov_deg': (lambda value: 1.0 <= value <= 150.0, 'a value in 1..150 degrees'),
            'rate_hz': (lambda value: 0.0 < value <= 1000.0, 'a value above 0, at most 1000 Hz'),
            'phase_s': FROM_0,
            'offset_s': _FINITE,
            'jitter_s': FROM_0,
            'transport_s': FROM_0,
        }
        check_numbers(self, rules, what='scenario')
        for name, lengths in (
            ('position_m', (3,)),
            ('angles_deg', (3,)),
            ('centre_shift_px', (2,)),
            ('distortion', NUM_COEFFICIENTS),
        ):
            values = getattr(self, name)
            if len(values) not in lengths or not all(map(math.isfinite, values)):
                wanted = ' or '.join(str(length) for length in lengths)
                raise DatasetError(
                    f'{name} is {list(values)}; expected {wanted} finite numbers; correct the '
                    f'scenario file'
                )


@dataclass(frozen=True, slots=True, kw_only=True)
class ThermalCameraSettings(CameraSettings):
    """The same with the defaults of the thermal camera."""

    width: int = 320
    height: int = 256
    hfov_deg: float = 61.0
    position_m: tuple[float, ...] = (0.0, -0.025, -0.004)
    angles_deg: tuple[float, ...] = (0.4, -0.25, 0.3)
    centre_shift_px: tuple[float, ...] = (-1.2, 0.85)
    offset_s: float = 0.004
    jitter_s: float = 0.002
    transport_s: float = 0.012


@dataclass(frozen=True, slots=True, kw_only=True)
class RigSettings:
    """Both cameras.

    Attributes:
        scale: Size of both images, as a part of what is said below.
        rgb: The RGB camera.
        thermal: The thermal camera.
    """

    scale: float = 1.0
    rgb: CameraSettings = field(default_factory=CameraSettings)
    thermal: ThermalCameraSettings = field(default_factory=ThermalCameraSettings)

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            DatasetError: If one cannot be used.
        """
        check_numbers(self, {'scale': ABOVE_0}, what='scenario')


@dataclass(frozen=True, slots=True, kw_only=True)
class SensorSettings:
    """What the electronics do.

    Attributes:
        rgb: 'clean', or 'drawn': white balance, vignetting, motion blur, noise, ... of a real
            camera, drawn. Rain falls on either.
        rgb_noise: Noise of the RGB camera, of full scale.
        rgb_gain_noise: Further noise for each unit of gain: at night the gain is high.
        night_gain: Greatest gain with all lights on; by day it is 100.
        exposure_s: How slowly the exposure follows the light.
        thermal: 'clean', or 'drawn': NETD, blur, columns, shading and dead pixels are drawn.
        thermal_output: 'tlinear_10mk' (16 bit), 'tlinear_100mk' (14 bit) or 'linear_14bit', whose
            counts have no known temperature.
        thermal_netd_k: Noise of each pixel of a clean camera.
        thermal_pattern_k: What its columns differ by, until the next flat-field correction.
        thermal_blur_px: Blur of its lens at 320 px width.
        ffc_period_s: Time between flat-field corrections of the thermal camera; 0 = none.
        supersampling: Rays per pixel and direction.
    """

    rgb: str = 'clean'
    rgb_noise: float = 0.001
    rgb_gain_noise: float = 0.0012
    night_gain: float = 4.0
    exposure_s: float = 0.6
    thermal: str = 'clean'
    thermal_output: str = 'tlinear_10mk'
    thermal_netd_k: float = 0.008
    thermal_pattern_k: float = 0.008
    thermal_blur_px: float = 0.9
    ffc_period_s: float = 0.0
    supersampling: float = 1.0

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            DatasetError: If one cannot be used.
        """
        check_choice('rgb', self.rgb, QUALITIES)
        check_choice('thermal', self.thermal, QUALITIES)
        check_choice('thermal_output', self.thermal_output, THERMAL_OUTPUTS)
        rules = {item.name: FROM_0 for item in fields(self) if item.type == 'float'}
        rules |= {'night_gain': ABOVE_0, 'exposure_s': ABOVE_0, 'supersampling': ABOVE_0}
        check_numbers(self, rules, what='scenario')


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteSettings:
    """What is written beside the images.

    Attributes:
        camera_info: The model of each camera; folders always say it.
        truth: Boxes, label maps and daylight; folders always hold it.
        depth: Depth of every RGB pixel.
        instances: Which object every RGB pixel belongs to.
        full: Both of these; in folders also temperatures, and of each object the whole box,
            occlusion, truncation and the contrast in each camera. One of the three means all of
            them for a folder.
    """

    camera_info: bool = False
    truth: bool = True
    depth: bool = False
    instances: bool = False
    full: bool = False

    @property
    def has_depth(self) -> bool:
        """True when depth is written."""
        return self.depth or self.full

    @property
    def has_instances(self) -> bool:
        """True when instances are written."""
        return self.instances or self.full

    @property
    def has_full_truth(self) -> bool:
        """True when a folder holds all there is to know."""
        return self.depth or self.instances or self.full


def check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    """Check that a word is one of some.

    Raises:
        DatasetError: If it is not.
    """
    if value not in choices:
        shown = ', '.join(choice or "''" for choice in choices)
        raise DatasetError(
            f"{name} is '{value}'; expected one of {shown}; correct the scenario file"
        )
