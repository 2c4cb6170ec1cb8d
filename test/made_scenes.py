# SPDX-License-Identifier: Apache-2.0
"""Scenes whose pictures can be computed by hand."""

from __future__ import annotations

import math

import numpy as np

from rgbt_models.synthetic import Camera, EgoPose, Environment, Scene
from rgbt_models.synthetic.builder import SceneBuilder
from rgbt_models.synthetic.layouts import Layout, LayoutKind
from rgbt_models.synthetic.materials import Label, Material
from rgbt_models.synthetic.meshes import box
from rgbt_models.synthetic.rig import build_camera
from rgbt_models.synthetic.scene import Appearance, finish_scene

AMBIENT_C = 11.0
WALL_X_M = 12.0


def small_camera() -> Camera:
    """40 rows, 60 columns, focal length 50 px."""
    return build_camera(height=40, width=60, hfov_rad=2 * math.atan(30 / 50))


def plain_environment(**changes: object) -> Environment:
    """Overcast day without any effect of air, sky or angle on temperature."""
    values: dict[str, object] = {
        'sun_direction': np.array([0.0, 0.0, 1.0], np.float32),
        'sun_strength': 0.0,
        'sky_light': np.array([0.5, 0.4, 0.3], np.float32),
        'sky_light_slope': 0.0,
        'sky_radiance': np.array([0.7, 0.8, 0.9], np.float32),
        'sky_zenith_loss': 0.0,
        'cloud_contrast': 0.0,
        'haze_per_m': 0.0,
        'lights': 0.0,
        'ego_headlight': 0.0,
        'ambient_c': AMBIENT_C,
        'solar_heating_k': 0.0,
        'ground_offset_k': 2.0,
        'sky_depression_k': 20.0,
        'cloud_k': 0.0,
        'sky_reflection_k': 0.0,
        'grazing_k': 0.0,
        'thermal_haze_per_m': 0.0,
    }
    return Environment(**{**values, **changes})


def plane_and_wall(environment: Environment | None = None) -> Scene:
    """An endless road at z = 0 and, left of y = 1, a 3 m high wall at x = 12 that is a car.

    The rig stands at the origin, 1.5 m high, level. Surfaces have no texture.
    """
    builder = SceneBuilder()
    plain = {'texture_rgb': 0.0, 'texture_k': 0.0}
    road = builder.material(
        Material(label=Label.ROAD, albedo=(0.2, 0.2, 0.2), ground_share=1.0, solar=0.5, **plain)
    )
    instance = builder.new_instance(Label.CAR)
    wall = builder.material(
        Material(label=Label.CAR, albedo=(0.4, 0.5, 0.6), instance=instance, offset_k=7.0, **plain)
    )
    builder.fixed.add(box((400.0, 400.0, 1.0), (0.0, 0.0, -0.5)), road)
    builder.fixed.add(box((1.0, 40.0, 3.0), (WALL_X_M + 0.5, 21.0, 1.5)), wall)
    return finish_scene(
        builder,
        layout=Layout(kind=LayoutKind.STREET),
        appearance=Appearance(
            fine_texture=0, coarse_texture=1, cloud_texture=2, texels_per_m=10.0,
            albedo_contrast=1.0, thermal_contrast=1.0, lit_window_from=0.5, window_radiance=1.0,
        ),
        environment=plain_environment() if environment is None else environment,
        ego=EgoPose(position=np.array([0.0, 0.0, 1.5])),
    )  # fmt: skip
