# SPDX-License-Identifier: Apache-2.0
"""Artificial light: street lamps, the rig's own head lamps, those of other vehicles.

Without shadows: a lamp's shadow is cheap to leave out and costs a ray per lamp to draw.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from rgbt_models.synthetic.weather import halo

if TYPE_CHECKING:
    from rgbt_models.synthetic.arrays import FloatArray
    from rgbt_models.synthetic.scene import Snapshot
    from rgbt_models.synthetic.surface import Surface

HEADLIGHT_COLOUR: FloatArray = np.array([60.0, 57.0, 51.0], np.float32)
_LAMP_GAIN = 0.25
_MOST_BEAMS = 8  # the nearest ones; those further away light nothing that can be seen
_BEAM_NARROWNESS = 14.0  # exponent per (1 - cosine to the axis)
_STRAY = 0.03  # share of a beam that leaves it in all forward directions
_HALO_FROM_PER_M = 0.003
_SMOKE_M = 12.0
_BEAM_HALO = 0.15  # a beam is narrower than the halo of a lamp of its strength
_OWN_VEIL = 0.12  # light of the own lamps that haze sends straight back, per unit of haze


def add_lamp_light(
    snapshot: Snapshot, surface: Surface, rig_direction: FloatArray | None, light: FloatArray
) -> None:
    """Add the irradiance of all lamps.

    Args:
        snapshot: The scene at an instant.
        surface: What the rays hit.
        rig_direction: The rays in the rig frame (3, n), for the rig's head lamps; None = off.
        light: Irradiance (3, n), changed in place.
    """
    if rig_direction is not None:
        light += HEADLIGHT_COLOUR[:, None] * _own_beam(snapshot, surface, rig_direction)
    positions, intensities = _lit_lamps(snapshot)
    for position, intensity in zip(positions, intensities, strict=True):
        light += intensity[:, None] * _point_light(surface, position)
    for position, direction, colour in zip(*_lit_beams(snapshot), strict=True):
        light += colour[:, None] * _cone_light(surface, position, direction)


def add_halos(
    snapshot: Snapshot, surface: Surface, rig_direction: FloatArray | None, radiance: FloatArray
) -> None:
    """Add the light that haze and fog scatter around lamps to radiance (3, n) in place."""
    haze = snapshot.environment.haze_per_m
    if haze < _HALO_FROM_PER_M:
        return
    positions, intensities = _lit_lamps(snapshot)
    for position, intensity in zip(positions, intensities, strict=True):
        radiance += intensity[:, None] * halo(surface, position, haze)
    for position, direction, colour in zip(*_lit_beams(snapshot), strict=True):
        towards = surface.origin - position
        cosine = float(direction @ towards) / max(float(np.linalg.norm(towards)), 1e-3)
        gain = _STRAY + np.exp(_BEAM_NARROWNESS * (cosine - 1.0))
        radiance += (colour * np.float32(_BEAM_HALO * gain))[:, None] * halo(
            surface, position, haze
        )
    if rig_direction is not None:
        strength = np.float32(_OWN_VEIL * haze) * _beam_shape(snapshot, rig_direction, 20.0)
        near = surface.range_m / (np.float32(4.0) + surface.range_m)
        strength *= np.where(surface.is_hit, near, np.float32(1.0))
        radiance += HEADLIGHT_COLOUR[:, None] * strength


def smoke_light(snapshot: Snapshot, rig_direction: FloatArray) -> FloatArray:
    """Return the rig's own light on smoke at an ordinary distance, shape (3, n)."""
    beam = _beam_shape(snapshot, rig_direction)
    return np.asarray(HEADLIGHT_COLOUR[:, None] * (beam / np.float32(8.0 + _SMOKE_M**2)))


def _lit_lamps(snapshot: Snapshot) -> tuple[FloatArray, FloatArray]:
    lamps = snapshot.scene.lamps
    intensities = lamps.lit_intensities(snapshot.environment.lights) * np.float32(_LAMP_GAIN)
    is_lit = intensities.any(axis=1)
    return lamps.positions[is_lit], intensities[is_lit]


def _lit_beams(snapshot: Snapshot) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return world positions, directions and colours (n, 3) of the nearest lit beams."""
    beams = snapshot.scene.beams
    colours = beams.lit_colours(snapshot.environment.lights)
    positions, directions = beams.placed(snapshot.frames)
    lit = np.flatnonzero(colours.any(axis=1))
    away = np.linalg.norm(positions[lit] - snapshot.ego.position, axis=1)
    nearest = lit[np.argsort(away, kind='stable')[:_MOST_BEAMS]]
    return positions[nearest], directions[nearest], colours[nearest]


def _beam_shape(
    snapshot: Snapshot, rig_direction: FloatArray, sharpness: float = 60.0
) -> FloatArray:
    """Low beam of the rig: a soft upper edge just above the horizon, fading to the sides."""
    forward = np.maximum(rig_direction[0], np.float32(1e-3))
    up, across = rig_direction[2] / forward, rig_direction[1] / forward
    beam = 0.9 / (1.0 + np.exp(np.clip((up - 0.02) * sharpness, -30.0, 30.0))) + 0.1
    beam *= np.exp(-np.square(across * np.float32(1.0 / 0.35)))
    environment = snapshot.environment
    beam *= np.float32(environment.ego_headlight * environment.lights)
    return np.asarray(beam)


def _own_beam(snapshot: Snapshot, surface: Surface, rig_direction: FloatArray) -> FloatArray:
    beam = _beam_shape(snapshot, rig_direction)
    beam *= surface.cos_view
    beam /= 8.0 + np.square(surface.range_m)
    return np.asarray(beam)


def _point_light(surface: Surface, lamp: FloatArray) -> FloatArray:
    x = lamp[0] - surface.position[0]
    y = lamp[1] - surface.position[1]
    z = lamp[2] - surface.position[2]
    squared = x * x + y * y + z * z
    squared += np.float32(0.3)
    cosine = surface.normal[0] * x + surface.normal[1] * y + surface.normal[2] * z
    np.maximum(cosine, 0.0, out=cosine)
    cosine /= squared * np.sqrt(squared)
    return np.asarray(cosine)


def _cone_light(surface: Surface, lamp: FloatArray, axis: FloatArray) -> FloatArray:
    """Light of a head lamp: a cone around its axis, cut off just above it."""
    x = lamp[0] - surface.position[0]
    y = lamp[1] - surface.position[1]
    z = lamp[2] - surface.position[2]
    squared = x * x + y * y + z * z
    inverse = 1.0 / np.sqrt(squared + np.float32(1e-4))
    cosine = surface.normal[0] * x + surface.normal[1] * y + surface.normal[2] * z
    np.maximum(cosine, 0.0, out=cosine)
    cosine *= inverse
    along = -(axis[0] * x + axis[1] * y + axis[2] * z) * inverse
    above = -z * inverse - (axis[2] + np.float32(0.02))
    beam = np.exp(np.float32(_BEAM_NARROWNESS) * (along - 1.0))
    beam /= 1.0 + np.exp(np.clip(above * np.float32(60.0), -30.0, 30.0))
    beam += np.float32(_STRAY) * (along > 0.0)
    beam *= cosine
    beam /= squared + np.float32(2.0)
    return np.asarray(beam)
