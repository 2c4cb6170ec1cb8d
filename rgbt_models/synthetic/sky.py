# SPDX-License-Identifier: Apache-2.0
"""What rays see that hit nothing, and what paint, glass and water mirror of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from rgbt_models.synthetic.textures import Grain, sample_texture

if TYPE_CHECKING:
    from rgbt_models.synthetic.arrays import FloatArray
    from rgbt_models.synthetic.scene import Snapshot

_LAYER_BEND = 0.22  # keeps the layer from running to infinity at the horizon
_TEXELS_PER_LAYER = 45.0  # per unit of distance / height of the layer
_CLOUD_EDGE = 2.5
_CLOUD_LIGHT = 0.6  # radiance of a cloud in full sun
_GLOW_SHARPNESS = 3.0
_AUREOLE = 0.25
_AUREOLE_SHARPNESS = 40.0
_LEAST_SUN = 0.02


def sky_noise(snapshot: Snapshot, direction: FloatArray, *, is_smooth: bool = False) -> FloatArray:
    """Return cloud texture for directions (3, n), shape (n,).

    The texture lies on a layer overhead, so clouds become flat and dense at the horizon. A smooth
    one has the same clouds without their fine structure.
    """
    away = 1.0 / (np.maximum(direction[2], np.float32(0.0)) + np.float32(_LAYER_BEND))
    u, v = direction[0] * away, direction[1] * away
    texture = snapshot.scene.appearance.cloud_texture
    grain = Grain.SMOOTH if is_smooth else Grain.FRACTAL
    return sample_texture(texture, u, v, _TEXELS_PER_LAYER, grain=grain)


def cloud_cover(cover: float, noise: FloatArray, *, edge: float = _CLOUD_EDGE) -> FloatArray:
    """Return how far clouds hide the sky, 0..1, soft at their edges.

    Args:
        cover: Share of the sky, 0..1.
        noise: From ``sky_noise``, zero mean and unit variance.
        edge: How sharp clouds are, per standard deviation of the noise.
    """
    # The texture is nearly normal: mean + spread * (2 share - 1) sits near the right quantile.
    threshold = np.float32(1.4 * (1.0 - 2.0 * cover))
    return np.asarray(np.clip(0.5 + np.float32(edge) * (noise - threshold), 0.0, 1.0))


def sky_radiance(snapshot: Snapshot, direction: FloatArray) -> FloatArray:
    """Compute the radiance of the sky.

    It darkens towards the zenith, glows above a low sun, and carries clouds.

    Args:
        snapshot: The scene at an instant.
        direction: Unit, shape (3, n), world frame.

    Returns:
        Linear RGB, shape (3, n), float32.
    """
    environment = snapshot.environment
    zenith = np.clip(direction[2], 0.0, 1.0)
    noise = sky_noise(snapshot, direction)
    level = 1.0 - np.float32(environment.sky_zenith_loss) * zenith
    level += np.float32(environment.cloud_contrast) * noise
    np.maximum(level, 0.0, out=level)
    radiance = environment.sky_radiance[:, None] * level
    to_sun = environment.sun_direction @ direction - 1.0
    if environment.sky_glow.any():
        glow = np.exp(np.float32(_GLOW_SHARPNESS) * to_sun - np.float32(5.0) * zenith)
        radiance += environment.sky_glow[:, None] * glow
    sun = environment.sun_colour * np.float32(environment.sun_strength)
    if environment.cloud_cover > 0.0:
        hidden = cloud_cover(environment.cloud_cover, noise)
        cloud = np.float32(0.85) * environment.sky_radiance + np.float32(0.5 * _CLOUD_LIGHT) * sun
        # Thick parts are grey below.
        thick = 1.0 - np.float32(0.12) * np.maximum(noise, 0.0)
        radiance += hidden * (cloud[:, None] * np.maximum(thick, 0.4) - radiance)
    if environment.sun_strength > _LEAST_SUN:
        aureole = np.exp(np.float32(_AUREOLE_SHARPNESS) * to_sun) * np.float32(_AUREOLE)
        aureole += np.where(to_sun > -3e-4, np.float32(20.0), np.float32(0.0))
        radiance += sun[:, None] * aureole
    return np.asarray(radiance, np.float32)
