# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import replace

from made_scenes import plain_environment, plane_and_wall, small_camera
import numpy as np
import pytest

from rgbt_models.synthetic import render_view
from rgbt_models.synthetic.environment import direction_to
from rgbt_models.synthetic.shading import shade_surface
from rgbt_models.synthetic.surface import fresnel, gather_surface
from rgbt_models.synthetic.world import radiance_of

SKY_LIGHT = np.array([0.5, 0.4, 0.3])
SKY = np.array([0.7, 0.8, 0.9])
WALL = (20, 3)


def shaded(scene):
    """The surface and the radiance of all rays of the small camera, (3, h, w)."""
    camera, snapshot = small_camera(), scene.at()
    rays = camera.rays().astype(np.float32)
    origin = snapshot.ego.position.astype(np.float32)
    surface = gather_surface(
        snapshot,
        snapshot.caster.cast(origin, rays),
        np.ascontiguousarray(rays.T),
        origin=origin,
        sees_light=True,
        sees_heat=False,
    )
    return surface, shade_surface(snapshot, surface, None)


def glossy(scene):
    table = scene.materials
    return replace(scene, materials=replace(table, is_glossy=np.array([0.0, 1.0], np.float32)))


def test_overcast_radiance_is_albedo_times_sky_light():
    light = radiance_of(render_view(plane_and_wall().at(), small_camera()))
    np.testing.assert_allclose(light[38, 50], 0.2 * SKY_LIGHT, rtol=1e-5)
    np.testing.assert_allclose(light[WALL], np.array([0.4, 0.5, 0.6]) * SKY_LIGHT, rtol=1e-5)


def test_sun_has_the_colour_of_its_height():
    colour = np.array([2.0, 1.0, 0.4], np.float32)
    environment = plain_environment(
        sun_direction=direction_to(0.0, 0.5), sun_strength=0.6, sun_colour=colour
    )
    light = radiance_of(render_view(plane_and_wall(environment).at(), small_camera()))
    expected = 0.2 * (SKY_LIGHT + 0.6 * colour * np.sin(0.5))
    np.testing.assert_allclose(light[38, 50], expected, rtol=1e-4)


def textured(**changes):
    scene = plane_and_wall()
    columns = {name: np.array(values, np.float32) for name, values in changes.items()}
    return replace(scene, materials=replace(scene.materials, **columns))


def grain_of(scene):
    surface, light = shaded(scene)
    plain = scene.materials.albedo.take(surface.material, axis=1) * SKY_LIGHT[:, None]
    ratio = (light / plain)[0]
    ratio /= 1.0 + scene.materials.texture_rgb.take(surface.material) * (
        0.6 * surface.fine + 0.5 * surface.coarse
    )
    return surface, ratio - 1.0


def test_near_ground_has_grain_with_half_of_its_strength_at_22_m():
    surface, grain = grain_of(textured(texture_rgb=[0.1, 0.0]))
    near = surface.is_hit & (surface.material == 0) & (surface.range_m < 5.0)
    far = surface.is_hit & (surface.material == 0) & (np.abs(surface.range_m - 22.0) < 6.0)
    expected = np.mean(0.15 / (1.0 + (surface.range_m[near] / 22.0) ** 2))
    assert grain[near].std() == pytest.approx(expected, rel=0.15)
    assert grain[far].std() == pytest.approx(0.5 * 0.15, rel=0.35)
    assert abs(grain[near].mean()) < 0.03


def test_gloss_has_no_grain():
    surface, grain = grain_of(textured(texture_rgb=[0.0, 0.3], is_glossy=[0.0, 1.0]))
    below = (surface.material == 1) & surface.is_hit & (surface.direction[2] < -0.01)
    np.testing.assert_allclose(grain[below], 0.0, atol=1e-5)


def test_dry_ground_mirrors_nothing():
    surface, _ = shaded(plane_and_wall())
    assert surface.mirror is None


def test_wet_ground_is_darker_and_mirrors_walls_and_sky():
    surface, light = shaded(plane_and_wall(plain_environment(wetness=0.8)))
    mirror = surface.mirror
    assert mirror is not None
    assert (mirror.direction[2] > 0.0).all()
    np.testing.assert_allclose(np.linalg.norm(mirror.direction, axis=0), 1.0, rtol=1e-5)
    ground = (0.2 * (1.0 - 0.5 * 0.8) * SKY_LIGHT)[:, None]
    wall = (np.array([0.4, 0.5, 0.6]) * SKY_LIGHT)[:, None]
    seen = np.where(mirror.is_hit, wall, SKY[:, None])
    expected = ground + mirror.share * (seen - ground)
    np.testing.assert_allclose(light[:, mirror.index], expected, rtol=1e-4)
    assert 50 < mirror.is_hit.sum() < len(mirror.is_hit)


def test_wet_ground_mirrors_most_at_grazing_angles_and_never_more_than_its_wetness():
    surface, _ = shaded(plane_and_wall(plain_environment(wetness=0.5)))
    share = np.zeros(len(surface.range_m))
    share[surface.mirror.index] = surface.mirror.share
    assert share.max() <= 0.5
    rows = share.reshape(40, 60)[:, 40:].mean(axis=1)
    assert rows[21] > rows[26] > rows[35]


def test_water_mirrors_two_hundredths_face_on_and_all_edge_on():
    found = fresnel(np.array([1.0, 0.5, 0.0], np.float32))
    np.testing.assert_allclose(found, [0.02, 0.02 + 0.98 / 32.0, 1.0], rtol=1e-5)


def test_gloss_adds_sky_only_where_the_mirrored_ray_rises():
    plain = radiance_of(render_view(plane_and_wall().at(), small_camera()))
    shiny = radiance_of(render_view(glossy(plane_and_wall()).at(), small_camera()))
    # The wall is upright: above the horizon the mirrored ray rises, below it sinks.
    assert (shiny[14, 3] > plain[14, 3]).all()
    np.testing.assert_allclose(shiny[23, 3], plain[23, 3], rtol=1e-6)


def test_sun_glints_in_paint_that_mirrors_it():
    camera = small_camera()
    ray = camera.rays()[14 * 60 + 3]
    mirrored = ray * np.array([-1.0, 1.0, 1.0])  # by a wall across x
    environment = plain_environment(sun_direction=mirrored.astype(np.float32), sun_strength=0.5)
    scene = plane_and_wall(environment)
    plain = radiance_of(render_view(scene.at(), camera))
    shiny = radiance_of(render_view(glossy(scene).at(), camera))
    assert shiny[14, 3][0] - plain[14, 3][0] > 0.9 * 6.0 * 0.5 * 2.0
    assert shiny[16, 25][0] - plain[16, 25][0] < 0.5


def test_radiance_is_float32_and_bounded():
    sun = direction_to(0.0, 0.6)
    environment = plain_environment(
        sun_direction=sun, sun_strength=1.2, wetness=1.0, haze_per_m=0.05, cloud_cover=0.5
    )
    _, light = shaded(glossy(plane_and_wall(environment)))
    assert light.dtype == np.float32
    assert light.min() >= 0.0
    assert light.max() <= 20.0
    assert light.shape == (3, 2400)
    assert np.isfinite(light).all()
