# SPDX-License-Identifier: Apache-2.0
"""The sensors of a sequence: what they remember from image to image."""

from __future__ import annotations

from dataclasses import replace
import math
from typing import Any, Protocol, TYPE_CHECKING

import numpy as np

from rgbt_models.synthetic.rgb_sensor import (
    expose_rgb,
    Exposure,
    measure_exposure,
    RgbSensor,
    sample_rgb_sensor,
)
from rgbt_models.synthetic.thermal_sensor import (
    count_thermal,
    draw_pattern,
    FixedPattern,
    sample_thermal_sensor,
    ThermalSensor,
    tlinear_sensor,
)
from rgbt_models.synthetic.world import in_weather, radiance_of, temperature_of

if TYPE_CHECKING:
    from rgbt_models.synthetic.arrays import ByteArray, CountArray, FloatArray
    from rgbt_models.synthetic.environment import Environment
    from rgbt_models.synthetic.scenario import Scenario
    from rgbt_models.synthetic.scenario_groups import SensorSettings
    from rgbt_models.synthetic.world import CameraView

_BLUR_WIDTH_PX = 320  # of the image that thermal_blur_px is said for
_DAY_GAIN = 100.0
_GLOW = 0.25  # with all lights on
_FFC_S = 0.6
_LINEAR_14_BIT = (38.0, 3200.0)  # counts per kelvin, counts at 0 C
_RGB, _THERMAL, _PATTERN = 21, 22, 23  # streams of random numbers


class SequenceSensor(Protocol):
    """A sensor that is asked for one image after another.

    Attributes:
        sensor: As it took the last image.
        exposure: Of the last image; None of a thermal one.
    """

    sensor: RgbSensor | ThermalSensor
    exposure: Exposure | None

    def take(
        self,
        view: CameraView,
        environment: Environment,
        rng: np.random.Generator,
        *,
        clip: int,
    ) -> ByteArray | CountArray:
        """Return the image of a view."""

    def is_correcting_at(self, time_s: float) -> bool:
        """Tell whether the shutter is closed for a flat-field correction."""

    def recalibrate(self) -> None:
        """Forget the pattern: a flat-field correction makes another one."""


def open_sensors(scenario: Scenario) -> dict[str, SequenceSensor]:
    """Return the sensors of a scenario by camera, before their first image."""
    return {'rgb': _SequenceRgb(scenario), 'thermal': _SequenceThermal(scenario)}


def build_thermal_sensor(scenario: Scenario) -> ThermalSensor:
    """Return the thermal sensor of a scenario."""
    settings = scenario.sensors
    if settings.thermal == 'drawn':
        sensor = sample_thermal_sensor(np.random.default_rng([scenario.seed, _THERMAL]))
    else:
        sensor = ThermalSensor(
            netd_k=settings.thermal_netd_k,
            blur_px=settings.thermal_blur_px,
            column_k=settings.thermal_pattern_k,
        )
    width = round(scenario.rig.thermal.width * scenario.rig.scale)
    return replace(
        sensor,
        **_output(settings),
        blur_px=sensor.blur_px * width / _BLUR_WIDTH_PX,
        ffc_period_s=settings.ffc_period_s,
        ffc_s=_FFC_S,
    )


def _output(settings: SensorSettings) -> dict[str, Any]:
    if settings.thermal_output == 'linear_14bit':
        counts_per_k, zero_c_counts = _LINEAR_14_BIT
        return {'bits': 14, 'counts_per_k': counts_per_k, 'zero_c_counts': zero_c_counts}
    is_fine = settings.thermal_output == 'tlinear_10mk'
    like = tlinear_sensor(step_k=0.01 if is_fine else 0.1, bits=16 if is_fine else 14)
    return {
        'bits': like.bits,
        'counts_per_k': like.counts_per_k,
        'zero_c_counts': like.zero_c_counts,
    }


class _SequenceRgb:
    """Exposes images; the gain follows the light as that of a camera does."""

    def __init__(self, scenario: Scenario) -> None:
        self.sensor: RgbSensor | ThermalSensor = RgbSensor()
        self.exposure: Exposure | None = None
        self._settings, self._seed = scenario.sensors, scenario.seed
        self._keep = math.exp(-1.0 / (scenario.rig.rgb.rate_hz * scenario.sensors.exposure_s))
        self._gain, self._clip = 0.0, -1

    def take(
        self, view: CameraView, environment: Environment, rng: np.random.Generator, *, clip: int
    ) -> ByteArray:
        """Return the image of a view, shape (h, w, 3) uint8."""
        settings, radiance = self._settings, radiance_of(view)
        wanted = self._meter(radiance, float(environment.lights))
        if clip == self._clip:
            gain = wanted.gain ** (1.0 - self._keep) * self._gain**self._keep
        else:
            gain = wanted.gain
        self._gain, self._clip = gain, clip
        noise = settings.rgb_noise + settings.rgb_gain_noise * gain
        exposure = replace(wanted, gain=gain, noise=noise)
        sensor = self._in_weather(environment)
        self.exposure, self.sensor = exposure, sensor
        return expose_rgb(radiance, rng, exposure=exposure, sensor=sensor)

    def is_correcting_at(self, time_s: float) -> bool:
        """Return False: there is no shutter."""
        del time_s
        return False

    def recalibrate(self) -> None:
        """Do nothing: there is no shutter."""

    def _in_weather(self, environment: Environment) -> RgbSensor:
        if self._settings.rgb == 'clean':
            return in_weather(environment)
        # The same draws for every image: one camera, which shakes and glares with the light.
        return sample_rgb_sensor(
            np.random.default_rng([self._seed, _RGB]),
            lights=float(environment.lights),
            rain=float(environment.rain),
        )

    def _meter(self, radiance: FloatArray, lights: float) -> Exposure:
        night = math.log(self._settings.night_gain)
        return measure_exposure(
            radiance,
            percentile=70.0,
            level=0.3,
            max_gain=math.exp((1.0 - lights) * math.log(_DAY_GAIN) + lights * night),
            glow=_GLOW * lights,
        )


class _SequenceThermal:
    """Counts temperatures; the pattern stays until the next flat-field correction."""

    def __init__(self, scenario: Scenario) -> None:
        self._camera, self._seed = build_thermal_sensor(scenario), scenario.seed
        self.sensor: RgbSensor | ThermalSensor = self._camera
        self.exposure: Exposure | None = None
        self._pattern: FixedPattern | None = None
        self._num_patterns = 0

    def take(
        self, view: CameraView, environment: Environment, rng: np.random.Generator, *, clip: int
    ) -> CountArray:
        """Return the counts of a view, shape (h, w) uint16."""
        del environment, clip
        temperature_c = temperature_of(view)
        if self._pattern is None:
            height, width = temperature_c.shape
            pattern_rng = np.random.default_rng([self._seed, _PATTERN, self._num_patterns])
            self._pattern = draw_pattern(self._camera, (height, width), pattern_rng)
            self._num_patterns += 1
        return count_thermal(temperature_c, rng, sensor=self._camera, pattern=self._pattern)

    def is_correcting_at(self, time_s: float) -> bool:
        """Tell whether the shutter is closed."""
        return self._camera.is_frozen_at(time_s)

    def recalibrate(self) -> None:
        """Forget the pattern."""
        self._pattern = None
