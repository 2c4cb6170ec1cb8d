# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import replace
import math

from made_scenes import plain_environment, small_camera
import numpy as np
import pytest

from rgbt_models.synthetic import (
    default_rig,
    EgoPose,
    Extra,
    Label,
    render_pair,
    render_view,
)
from rgbt_models.synthetic.builder import SceneBuilder
from rgbt_models.synthetic.layouts import Layout, LayoutKind
from rgbt_models.synthetic.materials import Material
from rgbt_models.synthetic.meshes import box
from rgbt_models.synthetic.scene import Appearance, finish_scene

# Camera at the origin, looking along x, 60 x 40 px, focal length 50 px, middle (29.5, 19.5).


def boards(*sides, yaw_rad=0.0):
    """Thin boards across the view: (x, y from, y to, z from, z to), each a car."""
    builder = SceneBuilder()
    for x, y_from, y_to, z_from, z_to in sides:
        instance = builder.new_instance(Label.CAR)
        material = Material(label=Label.CAR, albedo=(0.3, 0.3, 0.3), instance=instance)
        size = (0.001, y_to - y_from, z_to - z_from)
        centre = (x + 0.0005, 0.5 * (y_from + y_to), 0.5 * (z_from + z_to))
        builder.fixed.add(box(size, centre), builder.material(material))
    return finish_scene(
        builder,
        layout=Layout(kind=LayoutKind.STREET),
        appearance=Appearance(
            fine_texture=0, coarse_texture=1, cloud_texture=2, texels_per_m=10.0,
            albedo_contrast=1.0, thermal_contrast=1.0, lit_window_from=0.5, window_radiance=1.0,
        ),
        environment=plain_environment(),
        ego=EgoPose(position=np.array([0.0, 0.0, 0.0]), yaw_rad=yaw_rad),
    )  # fmt: skip


def look(scene, camera=None):
    used = small_camera() if camera is None else camera
    return render_view(scene.at(), used, temperature=False, amodal=True)


def test_hidden_half_counts_as_occlusion_and_belongs_to_the_amodal_box():
    # The far board spans y = -2..2, the near one covers its left half (y > 0).
    view = look(boards((10.0, -2.0, 2.0, -1.0, 1.0), (5.0, 0.0, 2.0, -1.0, 1.0)))
    far, near = (view.objects.instance_ids.tolist().index(i) for i in (0, 1))
    # x = 29.5 - 50 y / 10 + .5: 20 .. 40; y = 20 -+ 5.
    np.testing.assert_allclose(view.amodal.boxes_xyxy[far], [20.0, 15.0, 40.0, 25.0], atol=0.01)
    np.testing.assert_array_equal(view.objects.boxes_xyxy[far], [30.0, 15.0, 40.0, 25.0])
    assert view.amodal.occlusion[far] == pytest.approx(0.5)
    assert view.amodal.unoccluded_area_px[far] == 200.0
    assert view.amodal.occlusion[near] == 0.0
    np.testing.assert_array_equal(view.amodal.truncation, [0.0, 0.0])


def test_part_beyond_the_edge_counts_as_truncation():
    # y = -2..8 at x = 10 is from 40 to -10: 40 of 50 columns are inside.
    view = look(boards((10.0, -2.0, 8.0, -1.0, 1.0)))
    np.testing.assert_allclose(view.amodal.boxes_xyxy[0], [-10.0, 15.0, 40.0, 25.0], atol=0.01)
    assert view.amodal.truncation[0] == pytest.approx(0.2, abs=0.02)
    assert view.amodal.occlusion[0] == 0.0
    assert view.amodal.unoccluded_area_px[0] == 400.0


def test_bottom_is_cut_off_apart_from_the_sides():
    # z = -6..-1: from 25 to 50 of 40 rows.
    view = look(boards((10.0, -1.0, 1.0, -6.0, -1.0)))
    np.testing.assert_allclose(view.amodal.boxes_xyxy[0], [25.0, 25.0, 35.0, 50.0], atol=0.01)
    assert view.amodal.truncation[0] == pytest.approx(0.4, abs=0.02)


def test_turned_rig_sees_the_board_elsewhere():
    # Turned 0.2 rad to the left: a board at bearing 0.2 is in the middle.
    y = 10.0 * math.tan(0.2)
    view = look(boards((10.0, y - 0.5, y + 0.5, -0.5, 0.5), yaw_rad=0.2))
    box_xyxy = view.amodal.boxes_xyxy[0]
    assert 0.5 * (box_xyxy[0] + box_xyxy[2]) == pytest.approx(30.0, abs=0.1)


def test_lens_moves_the_amodal_box():
    camera = replace(small_camera(), distortion=(-0.2, 0.0, 0.0, 0.0))
    view = look(boards((10.0, 3.0, 5.0, -1.0, 1.0)), camera)
    # The box also contains the whole pixels that see the board: up to half a pixel more.
    corners = np.array([[10.0, y, z] for y in (3.0, 5.0) for z in (-1.0, 1.0)])
    pixels = camera.project(corners) + 0.5
    np.testing.assert_allclose(
        view.amodal.boxes_xyxy[0], [*pixels.min(axis=0), *pixels.max(axis=0)], atol=0.5
    )
    assert view.amodal.occlusion[0] == 0.0


def test_object_around_the_camera_does_not_break_anything():
    view = look(boards((3.0, -50.0, 50.0, -1.0, 1.0)))
    assert np.isfinite(view.amodal.boxes_xyxy).all()
    assert 0.0 < view.amodal.truncation[0] < 1.0


def test_view_without_objects_has_empty_truth():
    view = look(boards((-5.0, -1.0, 1.0, -1.0, 1.0)))
    assert view.amodal.boxes_xyxy.shape == (0, 4)
    assert view.amodal.occlusion.shape == (0,)


def test_whole_is_never_less_than_what_is_visible():
    for seed in range(4):
        pair = render_pair(
            seed, default_rig().scaled(0.25), supersampling=1.5, extras=Extra.AMODAL
        )
        for view in (pair.rgb_view, pair.thermal_view):
            whole, seen = view.amodal, view.objects
            assert (whole.boxes_xyxy[:, :2] <= seen.boxes_xyxy[:, :2]).all()
            assert (whole.boxes_xyxy[:, 2:] >= seen.boxes_xyxy[:, 2:]).all()
            assert ((whole.occlusion >= 0.0) & (whole.occlusion < 1.0)).all()
            assert ((whole.truncation >= 0.0) & (whole.truncation <= 1.0)).all()
            assert (whole.unoccluded_area_px >= seen.visible_area_px).all()
