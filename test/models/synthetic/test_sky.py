# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from made_scenes import plain_environment, plane_and_wall
import numpy as np
import pytest

from rgbt_models.synthetic.environment import direction_to
from rgbt_models.synthetic.sky import cloud_cover, sky_radiance
from rgbt_models.synthetic.textures import sample_texture


def sky(direction, **changes):
    snapshot = plane_and_wall(plain_environment(**changes)).at()
    return sky_radiance(snapshot, np.array(direction, np.float32).reshape(3, -1))[:, 0]


def test_plain_sky_is_the_horizons_and_fades_to_the_zenith():
    np.testing.assert_allclose(sky([1, 0, 0]), [0.7, 0.8, 0.9], rtol=1e-6)
    zenith = sky([0, 0, 1], sky_zenith_loss=0.4)
    np.testing.assert_allclose(zenith, 0.6 * np.array([0.7, 0.8, 0.9]), rtol=1e-6)


def test_low_sun_reddens_its_own_side_of_the_horizon():
    glow = np.array([1.0, 0.5, 0.2], np.float32)
    sun = direction_to(0.0, 0.0)
    below = sky([1, 0, 0], sky_glow=glow, sun_direction=sun)
    np.testing.assert_allclose(below, np.array([0.7, 0.8, 0.9]) + glow, rtol=1e-5)
    behind = sky([-1, 0, 0], sky_glow=glow, sun_direction=sun)
    np.testing.assert_allclose(behind, [0.7, 0.8, 0.9], atol=0.01)


def test_sun_itself_is_the_brightest_spot():
    sun = direction_to(0.4, 0.5)
    assert sky(sun, sun_direction=sun, sun_strength=0.5)[0] > 15.0
    assert sky([-1, 0, 0], sun_direction=sun, sun_strength=0.5)[0] == pytest.approx(0.7, abs=1e-3)


@pytest.mark.parametrize('cover', [0.2, 0.5, 0.8])
def test_clouds_cover_about_their_share_of_the_sky(cover):
    u, v = np.meshgrid(*[np.arange(1024, dtype=np.float32) / 4.0 + 0.1] * 2)
    noise = sample_texture(2, u, v, 1.0)
    assert cloud_cover(cover, noise).mean() == pytest.approx(cover, abs=0.1)
    assert cloud_cover(0.0, np.array([1.0], np.float32))[0] == 0.0


def test_softer_edges_of_clouds_change_more_slowly_about_the_same_middle():
    noise = np.array([-0.1, 0.0, 0.1], np.float32)
    np.testing.assert_allclose(cloud_cover(0.5, noise), [0.25, 0.5, 0.75], atol=1e-6)
    np.testing.assert_allclose(cloud_cover(0.5, noise, edge=0.8), [0.42, 0.5, 0.58], atol=1e-6)


def test_sunlit_clouds_are_brighter_than_a_blue_sky():
    direction = np.array([[0.8, 0.0, 0.6]] * 1, np.float32).T
    common = {'sun_strength': 1.0, 'sun_direction': direction_to(3.0, 0.8)}
    clear = sky(direction, **common)
    cloudy = sky(direction, cloud_cover=1.0, **common)
    assert (cloudy > clear - 0.12).all()
    assert cloudy[0] > clear[0] + 0.05
