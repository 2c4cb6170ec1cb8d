# SPDX-License-Identifier: Apache-2.0
"""What lies between the camera and the world: haze, fog with its halos, smoke.

Haze is everywhere and of one density. Smoke comes in soft ellipsoids whose density falls off
as a Gaussian, so that the optical depth along a ray has a closed form. Smoke hides visible light;
long-wave radiation passes, unless the smoke itself is hot.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
import math
from typing import TYPE_CHECKING

import numpy as np

from rgbt_models.synthetic.textures import sample_texture

if TYPE_CHECKING:
    from rgbt_models.synthetic.arrays import FloatArray
    from rgbt_models.synthetic.surface import Surface

_LAYER_M = 60.0  # thickness of fog overhead
_LEAST_ELEVATION = 0.04  # sine: below it the sky is not further away
_CLEAR_PER_M = 0.008  # up to this haze the sky above is as clear as without
_SCATTERED = 0.3  # share of a lamp's light that haze sends to the camera, per unit of depth
_SMALLEST_DEPTH = 1e-3


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Plume:
    """A soft cloud of smoke. Density falls to 1/e at ``radii_m`` from the centre."""

    centre: FloatArray  # (3,), m, world frame
    radii_m: FloatArray  # (3,)
    extinction_per_m: float  # of visible light, in the middle
    albedo: float  # 0.05 = black smoke, 0.9 = white
    thermal_per_m: float = 0.0  # of long-wave radiation, in the middle
    heat_k: float = 0.0  # smoke minus air

    def faded(self, share: float) -> Plume:
        """Return the plume with its density multiplied."""
        return replace(
            self,
            extinction_per_m=self.extinction_per_m * share,
            thermal_per_m=self.thermal_per_m * share,
        )


def sample_plumes(rng: np.random.Generator, *, reach_m: float = 45.0) -> tuple[Plume, ...]:
    """Draw three to six plumes ahead of the origin; one time in three with a fire below.

    Args:
        rng: Source of randomness.
        reach_m: Greatest distance along x.
    """
    albedo = rng.uniform(0.04, 0.25) if rng.random() < 0.4 else rng.uniform(0.45, 0.9)
    plumes = []
    for index in range(int(rng.integers(3, 7))):
        # The first one is hardly ever out of sight.
        spread = 0.12 if index == 0 else 0.3
        x = rng.uniform(7.0, reach_m if index else 0.45 * reach_m)
        radii = np.array([rng.uniform(1.0, 3.5), rng.uniform(1.0, 4.5), rng.uniform(0.8, 3.5)])
        depth = rng.uniform(1.3, 5.0)  # through the middle
        plumes.append(
            Plume(
                centre=np.array([x, spread * x * rng.normal(), radii[2] * 0.7], np.float32),
                radii_m=radii.astype(np.float32),
                extinction_per_m=depth / float(math.sqrt(math.pi) * radii[:2].mean()),
                albedo=albedo,
            )
        )
    if rng.random() < 0.33:
        middle = plumes[0].centre
        plumes.append(
            Plume(
                centre=np.array([middle[0], middle[1], 0.5], np.float32),
                radii_m=rng.uniform(0.3, 1.0, 3).astype(np.float32),
                extinction_per_m=0.3,
                albedo=albedo,
                thermal_per_m=rng.uniform(0.3, 1.5),
                heat_k=rng.uniform(30.0, 150.0),
            )
        )
    return tuple(plumes)


def mix_plumes(
    first: tuple[Plume, ...], second: tuple[Plume, ...], fraction: float
) -> tuple[Plume, ...]:
    """Fade from one set of plumes to another; plumes in both (the same objects) stay."""
    leaving = tuple(plume.faded(1.0 - fraction) for plume in first if plume not in second)
    coming = tuple(plume.faded(fraction) for plume in second if plume not in first)
    return tuple(plume for plume in first if plume in second) + leaving + coming


def unit_depth(plume: Plume, surface: Surface) -> FloatArray:
    """Integrate a plume's density, 1 in its middle, along every ray.

    With q = (ray - centre) / radii, exp(-q.q) is a Gaussian along the ray; its integral is an
    error function, here by an approximation good to 4e-4.

    Returns:
        Metres, shape (n,), float32.
    """
    inverse = (1.0 / plume.radii_m).astype(np.float32)
    start = (surface.origin - plume.centre).astype(np.float32) * inverse
    along = surface.direction * inverse[:, None]
    squared = np.einsum('in,in->n', along, along)
    root = np.sqrt(squared)
    nearest = (start @ along) / root
    distance = np.float32(start @ start) - nearest * nearest
    end = np.where(surface.is_hit, root * surface.range_m, np.float32(1e3)) + nearest
    depth = _erf(end) - _erf(nearest)
    depth *= np.exp(-np.maximum(distance, np.float32(0.0)))
    depth *= np.float32(0.5 * math.sqrt(math.pi)) / root
    return np.asarray(depth)


def _erf(x: FloatArray) -> FloatArray:
    cube = x * x * x
    return np.asarray(np.tanh(np.float32(1.1283792) * x + np.float32(0.1009109) * cube))


def smoke_depth(plume: Plume, surface: Surface, texture: int) -> FloatArray:
    """Return the visible optical depth of a plume with its swirls, shape (n,)."""
    depth = unit_depth(plume, surface) * np.float32(plume.extinction_per_m)
    if float(depth.max(initial=0.0)) > _SMALLEST_DEPTH:
        # The swirls stick to the plume: they are looked up where a ray passes it.
        away = np.float32(np.linalg.norm(plume.centre - surface.origin))
        u = surface.direction[1] * away + plume.centre[0]
        v = surface.direction[2] * away
        swirl = sample_texture(texture, u, v, 11.0)
        depth *= np.clip(1.0 + np.float32(0.6) * swirl, 0.1, 3.0)
    return np.asarray(depth)


def add_smoke(
    radiance: FloatArray,
    plumes: tuple[Plume, ...],
    surface: Surface,
    *,
    light: FloatArray,
    texture: int,
) -> None:
    """Veil radiance (3, n) in place, the farthest plume first.

    Args:
        radiance: What would be seen without smoke.
        plumes: All plumes.
        surface: What the rays hit.
        light: Irradiance of the smoke: (3, 1) or (3, n).
        texture: Which texture makes the swirls.
    """
    for plume in _far_first(plumes, surface):
        clear = np.exp(-smoke_depth(plume, surface, texture))
        radiance *= clear
        radiance += (light * np.float32(plume.albedo)) * (1.0 - clear)


def add_hot_smoke(
    temperature: FloatArray, plumes: tuple[Plume, ...], surface: Surface, ambient_c: float
) -> None:
    """Add the heat of plumes to apparent temperatures (n,) in place."""
    for plume in _far_first(plumes, surface):
        if plume.thermal_per_m > 0.0:
            clear = np.exp(np.float32(-plume.thermal_per_m) * unit_depth(plume, surface))
            temperature *= clear
            temperature += np.float32(ambient_c + plume.heat_k) * (1.0 - clear)


def _far_first(plumes: tuple[Plume, ...], surface: Surface) -> list[Plume]:
    return sorted(plumes, key=lambda plume: -float(np.linalg.norm(plume.centre - surface.origin)))


def haze_transmission(surface: Surface, per_m: float) -> FloatArray:
    """Return the share of visible light that passes haze, shape (n,).

    exp(-per_m * range) for surfaces; the sky stands behind a layer 60 m thick of which only
    what exceeds ordinary haze counts.
    """
    depth = surface.range_m * np.float32(per_m)
    dense = max(per_m - _CLEAR_PER_M, 0.0) * _LAYER_M
    sine = np.maximum(surface.direction[2], np.float32(_LEAST_ELEVATION))
    depth = np.where(surface.is_hit, depth, np.float32(dense) / sine)
    return np.asarray(np.exp(-depth))


def halo(surface: Surface, lamp: FloatArray, per_m: float) -> FloatArray:
    """Return the light of a lamp of intensity 1 that haze scatters into every ray, shape (n,).

    The integral of 1 / distance squared along a ray that passes the lamp at distance d is
    (atan(end / d) - atan(start / d)) / d.
    """
    offset = (lamp - surface.origin).astype(np.float32)
    along = offset @ surface.direction
    distance = np.sqrt(np.maximum(np.float32(offset @ offset) - along * along, 0.0025))
    length = np.where(surface.is_hit, surface.range_m, np.float32(300.0))
    light = np.arctan((length - along) / distance)
    light += np.arctan(along / distance)
    light /= distance
    away = np.float32(np.linalg.norm(offset))
    light *= np.float32(_SCATTERED * per_m) * np.exp(np.float32(-per_m) * away)
    return np.asarray(light)
