# SPDX-License-Identifier: Apache-2.0
"""Images that are what they should be by type, and useless by content."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

from faults.messages import celsius, changed, flat, rgb, RGB_HW, thermal, THERMAL_HW
from faults.table import live

if TYPE_CHECKING:
    from faults.rig import FaultRig

FAMILY = 'Content'
RAMP = np.linspace(0, 255, THERMAL_HW[1]).astype(np.uint8)


@live(
    FAMILY,
    'RGB is black (lens covered, night)',
    mode='thermal_only',
    status='rgb input',
    level='WARN',
    text='rgb is dark',
)
def rgb_black(rig: FaultRig) -> None:
    rig.steps(3, rgb=lambda: flat(2, is_rgb=True))


@live(
    FAMILY,
    'RGB is white (sun in the lens)',
    mode='thermal_only',
    status='rgb input',
    level='WARN',
    text='rgb (is saturated|has no contrast)',
)
def rgb_white(rig: FaultRig) -> None:
    rig.steps(3, rgb=lambda: flat(255, is_rgb=True))


@live(
    FAMILY,
    'RGB is mostly saturated',
    mode='thermal_only',
    status='rgb input',
    level='WARN',
    text='rgb is saturated',
)
def rgb_saturated(rig: FaultRig) -> None:
    pixels = np.full((*RGB_HW, 3), 255, np.uint8)
    pixels[:12] = np.random.default_rng(0).integers(0, 255, (12, RGB_HW[1], 3))
    rig.steps(3, rgb=lambda: rgb(pixels))


@live(
    FAMILY,
    'RGB is even grey (fog, defocus, mud)',
    mode='thermal_only',
    status='rgb input',
    level='WARN',
    text='rgb has no contrast',
)
def rgb_grey(rig: FaultRig) -> None:
    rig.steps(3, rgb=lambda: flat(128, is_rgb=True))


@live(
    FAMILY,
    'thermal gives one value everywhere',
    mode='rgb_only',
    status='thermal input',
    level='WARN',
    text='thermal has no contrast',
)
def thermal_flat(rig: FaultRig) -> None:
    rig.steps(3, thermal=lambda: flat(29_500, is_rgb=False))


@live(
    FAMILY,
    'thermal is saturated',
    mode='rgb_only',
    status='thermal input',
    level='WARN',
    text='thermal is saturated',
)
def thermal_saturated(rig: FaultRig) -> None:
    pixels = np.full(THERMAL_HW, 65_535, np.uint16)
    pixels[:6] = np.random.default_rng(0).integers(29_000, 30_000, (6, THERMAL_HW[1]))
    rig.steps(3, thermal=lambda: thermal(pixels))


@live(
    FAMILY,
    'a temperature image is all NaN',
    mode='rgb_only',
    status='thermal input',
    level='WARN',
    text='thermal has no finite pixel',
)
def thermal_all_nan(rig: FaultRig) -> None:
    rig.steps(3, thermal=lambda: thermal(np.full(THERMAL_HW, np.nan, np.float32)))


@live(
    FAMILY,
    'a temperature image has some NaN and infinite pixels',
    mode='fused',
    status='thermal input',
    level='OK',
    text='float32',
)
def thermal_some_nan(rig: FaultRig) -> None:
    def holes() -> object:
        pixels = celsius()
        pixels[3, 5:20], pixels[7, 7] = np.nan, np.inf
        return thermal(pixels)

    rig.steps(8, thermal=holes)
    assert np.isfinite(rig.engine.batches[-1].thermal).all()


@live(
    FAMILY,
    'half of the thermal rows are dead',
    mode='rgb_only',
    status='thermal input',
    level='WARN',
    text='thermal has dead rows|thermal .*rows',
)
def thermal_half_frame(rig: FaultRig) -> None:
    def half() -> object:
        pixels = np.random.default_rng(rig.next_stamp_ns()).integers(
            29_000, 30_000, THERMAL_HW, np.uint16
        )
        pixels[18:] = 0
        return thermal(pixels)

    rig.steps(4, thermal=half)


@live(
    FAMILY,
    'the topics are swapped',
    status='rgb input',
    level='ERROR',
    text='swapped',
)
def swapped_topics(rig: FaultRig) -> None:
    rig.steps(3, rgb=thermal, thermal=rgb)


@live(
    FAMILY,
    'the thermal stream is coloured with a palette',
    mode='rgb_only',
    status='thermal input',
    level='ERROR',
    text='palette',
)
def palette(rig: FaultRig) -> None:
    def colour() -> object:
        noise = np.random.default_rng(1).integers(-8, 8, THERMAL_HW)
        grey = np.clip(np.tile(RAMP, (THERMAL_HW[0], 1)) + noise, 0, 255).astype(np.uint8)
        return rgb(cv2.applyColorMap(grey, cv2.COLORMAP_INFERNO)[:, :, ::-1].copy())

    rig.steps(3, thermal=colour)
    rig.spin_until(lambda: False, 0.6)
    rig.steps(3, thermal=colour)


@live(
    FAMILY,
    'mono16 arrives with its bytes swapped',
    mode='rgb_only',
    status='thermal input',
    level='WARN',
    text='thermal.is_byte_swapped',
)
def byte_swapped(rig: FaultRig) -> None:
    def swapped() -> object:
        seed = rig.next_stamp_ns()
        rows = np.linspace(29_000, 29_900, THERMAL_HW[0])[:, None]
        noise = np.random.default_rng(seed).integers(0, 60, THERMAL_HW)
        return thermal((rows + noise).astype(np.uint16).byteswap())

    rig.steps(4, thermal=swapped)


@live(
    FAMILY,
    'mono16 in the other byte order, said so in the message',
    mode='fused',
    status='thermal input',
    level='OK',
    text='uint16',
)
def big_endian(rig: FaultRig) -> None:
    def other_order() -> object:
        pixels = np.random.default_rng(rig.next_stamp_ns()).integers(29_000, 30_000, THERMAL_HW)
        message = thermal(pixels.astype(np.uint16).byteswap())
        return changed(message, is_bigendian=1)

    rig.steps(3, thermal=other_order)


@live(
    FAMILY,
    'an object hotter than the limit',
    mode='fused',
    status='thermal input',
    level='WARN',
    text='hot spot: person at 120.0 C, limit thermal.hot_spot_c 80.0 C',
    thermal__reading='tlinear_10mk',
    thermal__hot_spot_c=80.0,
)
def hot_spot(rig: FaultRig) -> None:
    def hot() -> object:
        pixels = np.random.default_rng(rig.next_stamp_ns()).integers(29_000, 30_000, THERMAL_HW)
        pixels[12:24, 15:22] = round((120.0 + 273.15) * 100)
        return thermal(pixels.astype(np.uint16))

    rig.steps(3, thermal=hot)
