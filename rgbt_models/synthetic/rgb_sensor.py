# SPDX-License-Identifier: Apache-2.0
"""The RGB camera's electronics and front glass: radiance to an 8-bit image.

In the order of the light: rain, motion, drops, glare, lens blur and vignetting in the optics;
gain, colour and noise in the sensor; gamma and JPEG behind it. ``RgbSensor()`` is a clean camera
that does none of them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
import math
from typing import TYPE_CHECKING

import cv2
import numpy as np

from rgbt_models.errors import RGBTError
from rgbt_models.synthetic.optics import add_drops, add_glare, add_streaks, blur_motion, vignette
from rgbt_models.synthetic.ranges import check_ranges, NOT_NEGATIVE, SHARE

if TYPE_CHECKING:
    from rgbt_models.synthetic.arrays import ByteArray, FloatArray

GAMMA = 1.0 / 2.2
_GLOW_SIGMA_SHARE = 0.0125  # of the image's width: 4 px of 320
_SMALLEST_RADIANCE = 1e-4
_LUMA: FloatArray = np.array([0.299, 0.587, 0.114], np.float32)
_SHARES: FloatArray = (np.arange(65536) / 65535.0).astype(np.float32)
_GAMMA_TABLE: ByteArray = np.rint(255.0 * (np.arange(65536) / 65535.0) ** GAMMA).astype(np.uint8)
_LIGHT_TABLE: FloatArray = ((np.arange(256) / 255.0) ** (1.0 / GAMMA)).astype(np.float32)
_NIGHT_GAINS = (0.8, 14.0)


_BOUNDS = {
    'saturation': NOT_NEGATIVE, 'blur_px': NOT_NEGATIVE, 'vignetting': SHARE,
    'motion_blur_px': NOT_NEGATIVE, 'read_noise': NOT_NEGATIVE, 'shot_noise': NOT_NEGATIVE,
    'glare': SHARE, 'rain': SHARE, 'tone': (0.1, 10.0), 'jpeg_quality': (0, 100),
}  # fmt: skip


class RgbSensorError(RGBTError, ValueError):
    """An RGB camera cannot exist as described."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exposure:
    """How an RGB camera turns radiance into pixel values."""

    gain: float  # pixel value before gamma = gain * radiance
    glow: float  # share of what exceeds radiance 1 that spreads around it
    noise: float = 0.0  # standard deviation of the electronics' noise, of full scale


@dataclass(frozen=True, slots=True, kw_only=True)
class RgbSensor:
    """Everything but the exposure; the defaults are a clean camera."""

    white_balance: tuple[float, float, float] = (1.0, 1.0, 1.0)  # gains of the channels
    saturation: float = 1.0  # 0 = grey
    blur_px: float = 0.0  # standard deviation of the lens blur
    vignetting: float = 0.0  # share of the light that the corners lack
    motion_blur_px: float = 0.0  # length
    motion_blur_rad: float = 0.0  # direction from the x axis towards the y axis
    read_noise: float = 0.0  # standard deviation in units of radiance: grows with the gain
    shot_noise: float = 0.0  # the same at radiance 1; grows with the root of the radiance
    glare: float = 0.0  # share of what exceeds radiance 1 that the glass spreads widely
    rain: float = 0.0  # 0..1: streaks in the air and drops on the glass
    tone: float = 1.0  # exponent besides the gamma: above 1 is darker, with more contrast
    jpeg_quality: int = 0  # 1..100; 0 = not compressed

    def __post_init__(self) -> None:
        check_ranges(self, _BOUNDS, what='RGB sensor', error=RgbSensorError)
        if not all(0.0 < gain < math.inf for gain in self.white_balance):
            raise RgbSensorError(
                f'RGB sensor has white_balance {self.white_balance}, expected positive numbers; '
                f'pass the gains of red, green and blue, about 1'
            )

    def noise_at(self, value: FloatArray, exposure: Exposure) -> FloatArray:
        """Return the standard deviation of the noise, of full scale before gamma.

        Args:
            value: Pixel values before gamma, 0..1, any shape.
            exposure: Its gain amplifies the noise too.
        """
        gain = exposure.gain
        flat = exposure.noise**2 + (self.read_noise * gain) ** 2
        variance = np.asarray(value * np.float32(self.shot_noise**2 * gain), np.float32)
        variance += np.float32(flat)
        return np.sqrt(variance, out=variance)


CLEAN_RGB = RgbSensor()


def sample_rgb_sensor(
    rng: np.random.Generator, *, lights: float = 0.0, rain: float = 0.0
) -> RgbSensor:
    """Draw a camera: from good to poor, shaken more in bad light.

    Args:
        rng: Source of the draws, whose number does not depend on light and rain.
        lights: ``Environment.lights``: glare and shake grow with it.
        rain: ``Environment.rain``.
    """
    is_shaken = rng.random() < 0.2 + 0.3 * lights
    blur_px = rng.uniform(1.0, 3.0 + 4.0 * lights)
    poorness = rng.uniform(0.0, 1.0) ** 2  # poor ones are rarer
    warmth = rng.normal(0.0, 0.06)
    is_dirty = rng.random() < 0.2  # glass that makes blobs of lamps
    glare = rng.uniform(0.06, 0.25) if is_dirty else rng.uniform(0.0, 0.06)
    return RgbSensor(
        white_balance=(math.exp(warmth), math.exp(rng.normal(0.0, 0.02)), math.exp(-warmth)),
        saturation=rng.uniform(0.5, 1.25),
        vignetting=rng.uniform(0.0, 0.5) if rng.random() < 0.6 else 0.0,
        motion_blur_px=blur_px if is_shaken else 0.0,
        motion_blur_rad=rng.normal(0.0, 0.3),
        read_noise=0.0004 + 0.0036 * poorness,
        shot_noise=0.002 + 0.018 * poorness,
        glare=glare * lights,
        rain=rain,
        jpeg_quality=int(rng.integers(45, 96)) if rng.random() < 0.6 else 0,
        blur_px=rng.uniform(0.3, 1.0) if rng.random() < 0.5 else 0.0,
    )


def measure_exposure(
    radiance: FloatArray, *, percentile: float, level: float, max_gain: float, glow: float
) -> Exposure:
    """Choose the gain that brings a percentile of the radiance to a level.

    Args:
        radiance: Linear RGB, shape (h, w, 3).
        percentile: Which brightness counts, 0..100.
        level: Pixel value before gamma that it gets, 0..1.
        max_gain: What the camera can do; dark scenes stay dark beyond it.
        glow: See ``Exposure``.
    """
    sparse = radiance[::4, ::4]
    bright = float(np.percentile(sparse, percentile))
    gain = min(level / (bright + _SMALLEST_RADIANCE), max_gain)
    return Exposure(gain=gain, glow=glow)


def sample_night_gain(rng: np.random.Generator) -> float:
    """Draw the largest gain that a camera uses at night: 0.8..14."""
    low, high = _NIGHT_GAINS
    return math.exp(rng.uniform(math.log(low), math.log(high)))


def sample_exposure(
    radiance: FloatArray, rng: np.random.Generator, *, lights: float = 0.0
) -> Exposure:
    """Draw how a camera exposes: well by day, up to a gain of 0.8..14 with the lights on."""
    night_gain = sample_night_gain(rng)
    max_gain = math.exp((1.0 - lights) * math.log(100.0) + lights * math.log(night_gain))
    return measure_exposure(
        radiance,
        percentile=rng.uniform(55.0, 85.0),
        level=rng.uniform(0.15, 0.5),
        max_gain=max_gain,
        glow=rng.uniform(0.0, 0.5) * lights,
    )


def expose_rgb(
    radiance: FloatArray,
    rng: np.random.Generator,
    *,
    exposure: Exposure | None = None,
    lights: float = 0.0,
    noise: float = 0.0,
    sensor: RgbSensor | None = None,
) -> ByteArray:
    """Turn radiance into an image.

    Args:
        radiance: Linear RGB, shape (h, w, 3), float32.
        rng: Draws gain and glow if no exposure is given, rain, and the noise.
        exposure: Gain, glow and noise; None draws gain and glow.
        lights: ``Environment.lights``, for drawing.
        noise: Standard deviation of the noise if no exposure is given, of full scale.
        sensor: The camera; a clean one if None.

    Returns:
        Shape (h, w, 3), uint8, RGB order, gamma 2.2.
    """
    if exposure is None:
        used = replace(sample_exposure(radiance, rng, lights=lights), noise=noise)
    else:
        used = exposure
    camera = CLEAN_RGB if sensor is None else sensor
    value = _collect(radiance, rng, used, camera)
    value = _balance(value, camera)
    is_noisy = camera.read_noise > 0.0 or camera.shot_noise > 0.0
    if is_noisy:
        noise_image = rng.standard_normal(value.shape, dtype=np.float32)
        noise_image *= camera.noise_at(np.clip(value, 0.0, 1.0), used)
        value += noise_image
    elif used.noise > 0.0:
        value += np.float32(used.noise) * rng.standard_normal(value.shape, dtype=np.float32)
    np.clip(value, 0.0, 1.0, out=value)
    table = _GAMMA_TABLE if camera.tone == 1.0 else _tone_table(camera.tone)
    value *= np.float32(len(table) - 1)
    image = table.take(value.astype(np.uint16))
    return compress(image, camera.jpeg_quality) if camera.jpeg_quality else np.asarray(image)


def light_of(image: ByteArray) -> FloatArray:
    """Return the light that a clean camera of gain 1 turns into an image: 0..1, linear."""
    return np.asarray(cv2.LUT(image, _LIGHT_TABLE), np.float32)


def _tone_table(tone: float) -> ByteArray:
    curve = np.power(_SHARES, np.float32(GAMMA * tone))
    return np.asarray(np.rint(np.float32(255.0) * curve).astype(np.uint8))


def grey_noise(exposure: Exposure, sensor: RgbSensor) -> FloatArray:
    """Return the standard deviation of the noise at every grey level of the image, shape (256,).

    In grey levels, with the rounding to whole levels.
    """
    exponent = GAMMA * sensor.tone
    value = (np.arange(256, dtype=np.float32) / np.float32(255.0)) ** np.float32(1.0 / exponent)
    sigma = sensor.noise_at(value, exposure)
    above = np.clip(value + sigma, 0.0, 1.0) ** exponent
    below = np.clip(value - sigma, 0.0, 1.0) ** exponent
    return np.asarray(np.hypot(127.5 * (above - below), 12.0**-0.5), np.float32)


def _collect(
    radiance: FloatArray, rng: np.random.Generator, exposure: Exposure, camera: RgbSensor
) -> FloatArray:
    """Return what falls on the sensor times the gain; never the array that came in."""
    light = radiance
    if camera.rain > 0.0:
        light = add_streaks(light, rng, rain=camera.rain)
    if camera.motion_blur_px > 0.0:
        light = blur_motion(light, camera.motion_blur_px, camera.motion_blur_rad)
    if camera.rain > 0.0:
        light = add_drops(light, rng, rain=camera.rain)
    if camera.glare > 0.0:
        light = add_glare(light, camera.glare)
    if exposure.glow > 0.0:
        excess = np.maximum(radiance - np.float32(1.0), np.float32(0.0))
        if excess.any():
            sigma = max(_GLOW_SIGMA_SHARE * radiance.shape[1], 0.5)
            light = light + np.float32(exposure.glow) * _blur(excess, sigma)
    if camera.blur_px > 0.0:
        light = np.asarray(cv2.GaussianBlur(light, (0, 0), camera.blur_px), np.float32)
    value = light * np.float32(exposure.gain)
    if camera.vignetting > 0.0:
        value *= vignette(value.shape[0], value.shape[1], camera.vignetting)[..., None]
    return np.asarray(value)


def _balance(value: FloatArray, camera: RgbSensor) -> FloatArray:
    if camera.white_balance == (1.0, 1.0, 1.0) and camera.saturation == 1.0:
        return value
    colours = camera.saturation * np.eye(3) + (1.0 - camera.saturation) * _LUMA
    return np.asarray(cv2.transform(value, colours * camera.white_balance), np.float32)


def compress(image: ByteArray, quality: int) -> ByteArray:
    """Return an RGB image after JPEG, quality 1..100."""
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    _, data = cv2.imencode('.jpg', bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.asarray(cv2.cvtColor(cv2.imdecode(data, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB))


def _blur(image: FloatArray, sigma: float) -> FloatArray:
    """Blur widely at a quarter of the resolution, which cannot be told apart."""
    height, width = image.shape[:2]
    if min(height, width) < 16:
        return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma), np.float32)
    small = cv2.resize(image, (width // 4, height // 4), interpolation=cv2.INTER_AREA)
    small = cv2.GaussianBlur(small, (0, 0), sigma / 4.0)
    return np.asarray(cv2.resize(small, (width, height)), np.float32)
