# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import replace
import sys

from made_scenes import AMBIENT_C, plain_environment, plane_and_wall, small_camera, WALL_X_M
import numpy as np
import pytest

from rgbt_models.synthetic import (
    Condition,
    contrast_of,
    default_rig,
    Extra,
    Label,
    random_rig,
    render_pair,
    render_view,
    render_views,
    RgbSensor,
    sample_scene,
    Sensors,
    ThermalSensor,
)
from rgbt_models.synthetic.raycast import RayCaster, SimulationDependencyError
from rgbt_models.synthetic.world import radiance_of, temperature_of, ViewError

HEIGHT_M, FOCAL_PX = 1.5, 50.0


def small_pair(seed, **options):
    return render_pair(seed, default_rig().scaled(0.25), **options)


def test_depth_of_the_road_follows_the_closed_form():
    view = render_view(plane_and_wall().at(), small_camera())
    rows = np.arange(25, 40)
    expected = FOCAL_PX * HEIGHT_M / (rows - 19.5)
    np.testing.assert_allclose(view.depth_m[25:, 50], expected, rtol=1e-4)
    assert (view.label_map[25:, 50] == Label.ROAD).all()


def test_labels_and_depth_are_those_of_the_middle_of_each_pixel_at_any_supersampling():
    snapshot, camera = plane_and_wall().at(), small_camera()
    plain = render_view(snapshot, camera, radiance=False, temperature=False)
    # Three rays per pixel and direction: the one in the middle is that of a single one.
    dense = render_view(snapshot, camera, radiance=False, temperature=False, supersampling=3.0)
    np.testing.assert_array_equal(dense.instance_map, plain.instance_map)
    np.testing.assert_array_equal(dense.label_map, plain.label_map)
    np.testing.assert_array_equal(dense.objects.boxes_xyxy, plain.objects.boxes_xyxy)
    np.testing.assert_allclose(dense.depth_m, plain.depth_m, rtol=1e-5)
    # With 1.5 no ray is in the middle; the nearest one is a sixth of a pixel away.
    view = render_view(snapshot, camera, radiance=False, temperature=False, supersampling=1.5)
    seen_row = 19.5 + FOCAL_PX * HEIGHT_M / view.depth_m[25:, 50]
    off_px = seen_row - np.arange(25, 40)
    np.testing.assert_allclose(np.abs(off_px), 1 / 6, atol=1e-3)


def test_depth_of_a_wall_across_the_view_is_constant():
    view = render_view(plane_and_wall().at(), small_camera())
    wall = view.instance_map == 0
    np.testing.assert_allclose(view.depth_m[wall], WALL_X_M, rtol=1e-4)
    assert np.isinf(view.depth_m[0, 59])
    assert view.label_map[0, 59] == Label.SKY


def test_wall_on_the_left_is_boxed_on_the_left():
    objects = render_view(plane_and_wall().at(), small_camera()).objects
    # y = 1 at x = 12 is 29.5 - 50 / 12 = 25.33: pixels 0..25. Top 3 m: 19.5 - 50 * 1.5 / 12 =
    # 13.25: from pixel 14. Foot: 25.75: to pixel 25.
    np.testing.assert_array_equal(objects.boxes_xyxy, [[0.0, 14.0, 26.0, 26.0]])
    np.testing.assert_array_equal(objects.class_ids, [Label.CAR - Label.PERSON])
    assert not objects.ignore[0]


def test_temperature_is_ambient_plus_what_the_material_adds():
    view = render_view(plane_and_wall().at(), small_camera(), radiance=False)
    temperature = temperature_of(view)
    assert temperature[20, 3] == pytest.approx(AMBIENT_C + 7.0, abs=1e-4)
    assert temperature[38, 50] == pytest.approx(AMBIENT_C + 2.0, abs=1e-4)
    # At the horizon the sky is a quarter of its depression colder than the air.
    assert temperature[19, 59] == pytest.approx(AMBIENT_C - 0.25 * 20.0, abs=0.5)


def test_sun_warms_and_lights_the_road_but_not_in_the_shadow():
    # From behind the wall, 45 degrees high: the shadow reaches 3 m towards the camera.
    sun = np.array([1.0, 0.0, 1.0], np.float32) / np.float32(2**0.5)
    environment = plain_environment(sun_direction=sun, sun_strength=1.0, solar_heating_k=10.0)
    view = render_view(plane_and_wall(environment).at(), small_camera())
    light, temperature = radiance_of(view), temperature_of(view)
    row, dark, bright = 27, 5, 50  # x = 10 m
    cosine = 2**-0.5
    np.testing.assert_allclose(light[row, dark], 0.2 * np.array([0.5, 0.4, 0.3]), rtol=1e-4)
    expected = 0.2 * (np.array([0.5, 0.4, 0.3]) + cosine * np.array([2.0, 1.94, 1.8]))
    np.testing.assert_allclose(light[row, bright], expected, rtol=1e-4)
    assert temperature[row, dark] == pytest.approx(13.0 + 0.5 * 10.0 * 0.4, abs=1e-3)
    warm = 0.5 * 10.0 * (0.6 * cosine + 0.4)
    assert temperature[row, bright] == pytest.approx(13.0 + warm, abs=1e-3)


def test_quantities_not_asked_for_are_absent():
    snapshot = plane_and_wall().at()
    with pytest.raises(ViewError, match='no radiance; expected a visible image'):
        radiance_of(render_view(snapshot, small_camera(), radiance=False))
    with pytest.raises(ViewError, match='no temperature_c; expected a thermal image'):
        temperature_of(render_view(snapshot, small_camera(), temperature=False))


def test_supersampling_keeps_size_types_and_truth():
    snapshot = plane_and_wall().at()
    view = render_view(snapshot, small_camera(), supersampling=2.0)
    plain = render_view(snapshot, small_camera())
    assert view.radiance.shape == (40, 60, 3)
    assert view.instance_map.dtype == np.int32
    assert view.label_map.dtype == np.uint8
    assert np.abs(view.objects.boxes_xyxy - plain.objects.boxes_xyxy).max() <= 1.0


def test_same_seed_gives_the_same_pair():
    one, two = small_pair(7), small_pair(7)
    np.testing.assert_array_equal(one.rgb, two.rgb)
    np.testing.assert_array_equal(one.thermal_raw, two.thermal_raw)
    np.testing.assert_array_equal(one.rgb_view.label_map, two.rgb_view.label_map)
    np.testing.assert_array_equal(
        one.thermal_view.objects.boxes_xyxy, two.thermal_view.objects.boxes_xyxy
    )


def test_other_seed_gives_another_pair():
    one, two = small_pair(7), small_pair(8)
    assert (one.rgb != two.rgb).mean() > 0.5
    assert (one.thermal_raw != two.thermal_raw).mean() > 0.5


def test_pair_has_the_sizes_and_types_of_its_cameras():
    pair = small_pair(3)
    assert (pair.rgb.shape, pair.rgb.dtype) == ((120, 160, 3), np.uint8)
    assert (pair.thermal_raw.shape, pair.thermal_raw.dtype) == ((128, 160), np.uint16)
    assert pair.rgb_view.temperature_c is None
    assert pair.thermal_view.radiance is None
    assert pair.rgb_view.amodal is None
    assert pair.contrast is None
    everything = small_pair(3, extras=Extra.ALL_QUANTITIES)
    assert everything.rgb_view.temperature_c.shape == (120, 160)
    assert everything.thermal_view.radiance.shape == (128, 160, 3)


def test_views_are_float32():
    pair = small_pair(3)
    assert pair.rgb_view.radiance.dtype == np.float32
    assert pair.rgb_view.depth_m.dtype == np.float32
    assert pair.thermal_view.temperature_c.dtype == np.float32


def test_condition_can_be_asked_for_and_does_not_move_anything():
    pairs = {condition: small_pair(11, condition=condition) for condition in Condition}
    assert all(pair.condition is condition for condition, pair in pairs.items())
    assert pairs[Condition.NIGHT].is_night
    assert not pairs[Condition.DAY].is_night
    is_object = pairs[Condition.DAY].rgb_view.instance_map >= 0
    for pair in pairs.values():
        # People are dressed for the temperature: outlines differ a little.
        assert np.mean((pair.rgb_view.instance_map >= 0) != is_object) < 0.01


def test_drawn_condition_is_written_down():
    pair = small_pair(11)
    again = small_pair(11, condition=pair.condition)
    np.testing.assert_array_equal(pair.rgb_view.depth_m, again.rgb_view.depth_m)
    assert isinstance(pair.condition, Condition)


def test_sensors_change_the_images_and_nothing_else():
    sensors = Sensors(
        rgb=RgbSensor(white_balance=(0.5, 1.0, 1.0)),
        thermal=ThermalSensor(bits=14, counts_per_k=40.0, zero_c_counts=3000.0),
        rgb_noise=0.02,
    )
    clean, other = small_pair(5), small_pair(5, sensors=sensors)
    np.testing.assert_array_equal(clean.rgb_view.radiance, other.rgb_view.radiance)
    assert other.rgb[..., 0].mean() < 0.9 * clean.rgb[..., 0].mean()
    assert (other.rgb_sensor, other.thermal_sensor) == (sensors.rgb, sensors.thermal)
    temperature = (other.thermal_raw.astype(np.float64) - 3000.0) / 40.0
    assert np.abs(temperature - (clean.thermal_raw / 100.0 - 273.15)).mean() < 0.1
    assert other.exposure.noise == 0.02


def test_sensors_are_drawn_from_the_seed():
    one, two, other = (small_pair(seed, sensors=None) for seed in (7, 7, 8))
    np.testing.assert_array_equal(one.rgb, two.rgb)
    np.testing.assert_array_equal(one.thermal_raw, two.thermal_raw)
    assert one.rgb_sensor == two.rgb_sensor
    assert one.thermal_sensor != other.thermal_sensor


def test_rain_falls_through_a_clean_camera_too():
    pairs = [small_pair(seed, condition=Condition.RAIN) for seed in range(6)]
    assert all(pair.rgb_sensor.rain == pair.environment.rain for pair in pairs)
    assert max(pair.rgb_sensor.rain for pair in pairs) > 0.2
    assert small_pair(1, condition=Condition.DAY).rgb_sensor == RgbSensor()


def test_views_through_a_lens_have_the_truth_of_the_lens():
    camera = replace(small_camera(), distortion=(-0.2, 0.02, 0.0, 0.0))
    view = render_view(plane_and_wall().at(), camera)
    # The wall's upper edge at its right end, y = 1, z = 3.
    corner = camera.project(np.array([[WALL_X_M, 1.0, 3.0 - HEIGHT_M]]))[0]
    right, top = view.objects.boxes_xyxy[0, 2], view.objects.boxes_xyxy[0, 1]
    assert right == np.floor(corner[0] + 0.5) + 1 or right == np.ceil(corner[0])
    assert abs(top - (corner[1] + 0.5)) <= 1.0
    wall = view.instance_map == 0
    np.testing.assert_allclose(view.depth_m[wall], WALL_X_M, rtol=1e-4)


def test_contrast_follows_the_light():
    """By night thermal sees more than RGB, at the hours of crossover less than at others."""
    noisy = Sensors(rgb_noise=0.01)

    def mean_advantage(condition):
        pairs = [
            small_pair(seed, condition=condition, sensors=noisy, extras=Extra.CONTRAST)
            for seed in range(6)
        ]
        return np.mean([pair.contrast.contrast_advantage for pair in pairs])

    night, crossover = mean_advantage(Condition.NIGHT), mean_advantage(Condition.CROSSOVER)
    assert night < -0.1
    assert crossover > night + 0.1


def test_contrast_follows_the_objects_of_the_rgb_view():
    pair = small_pair(2, extras=Extra.CONTRAST)
    count = len(pair.rgb_view.objects.boxes_xyxy)
    assert count > 0
    assert pair.contrast.contrast_rgb.shape == (count,)
    assert pair.contrast.contrast_thermal.shape == (count,)
    unseen = ~np.isin(pair.rgb_view.objects.instance_ids, pair.thermal_view.objects.instance_ids)
    assert (pair.contrast.contrast_thermal[unseen] == 0.0).all()


def test_contrast_without_an_exposure_is_refused():
    pair = replace(small_pair(2), exposure=None)
    with pytest.raises(ViewError, match='has no exposure; expected the one of its RGB image'):
        contrast_of(pair)


def test_random_rigs_render_with_and_without_lens():
    for seed in range(8):
        rig = random_rig(np.random.default_rng(seed)).scaled(0.125)
        rgb_view, thermal_view = render_views(plane_and_wall().at(), rig)
        assert rgb_view.label_map.shape == (rig.rgb.height, rig.rgb.width)
        assert thermal_view.label_map.shape == (rig.thermal.height, rig.thermal.width)


def test_boxes_enclose_their_visible_pixels_tightly():
    checked = 0
    for seed in range(4):
        view = small_pair(seed).rgb_view
        objects = view.objects
        for box, instance, area in zip(
            objects.boxes_xyxy, objects.instance_ids, objects.visible_area_px, strict=True
        ):
            rows, columns = np.nonzero(view.instance_map == instance)
            expected = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
            np.testing.assert_array_equal(box, expected)
            assert area == len(rows)
            checked += 1
    assert checked > 5


def test_labels_and_instances_agree():
    scene = sample_scene(5)
    view = render_view(scene.at(), default_rig().rgb.scaled(0.25))
    is_object = view.instance_map >= 0
    class_ids = scene.instance_class_ids[view.instance_map[is_object]]
    np.testing.assert_array_equal(view.label_map[is_object], class_ids + int(Label.PERSON))
    assert (view.label_map[~is_object] < Label.PERSON).all()
    assert (np.isinf(view.depth_m) == (view.label_map == Label.SKY)).all()


def test_people_are_warmer_than_their_surroundings_at_night_in_median():
    differences = []
    for seed in range(12):
        view = small_pair(seed, condition=Condition.NIGHT).thermal_view
        is_person = view.label_map == Label.PERSON
        is_street = (view.label_map > Label.SKY) & (view.label_map < Label.PERSON)
        if is_person.sum() > 30:
            temperature = view.temperature_c
            differences.append(
                np.median(temperature[is_person]) - np.median(temperature[is_street])
            )
    assert len(differences) >= 5
    assert np.median(differences) > 2.0


def test_both_cameras_see_an_object_where_the_homography_says():
    rig = default_rig().scaled(0.5)
    pair = render_pair(2, rig)
    rgb, thermal = pair.rgb_view.objects, pair.thermal_view.objects
    height, width = pair.rgb.shape[:2]
    shared = 0
    for index, instance in enumerate(thermal.instance_ids):
        there = np.flatnonzero(rgb.instance_ids == instance)
        edges = thermal.boxes_xyxy[index].reshape(2, 2) - 0.5
        mapped = np.c_[edges, np.ones(2)] @ rig.homography_thermal_to_rgb().T
        box = (mapped[:, :2] / mapped[:, 2:] + 0.5).ravel()
        is_inside = (box[:2] > 4).all() and box[2] < width - 4 and box[3] < height - 4
        is_far = (
            np.median(pair.thermal_view.depth_m[pair.thermal_view.instance_map == instance]) > 10.0
        )
        if len(there) and is_inside and is_far and thermal.visible_area_px[index] > 100:
            assert np.abs(rgb.boxes_xyxy[there[0]] - box).max() < 5.0
            shared += 1
    assert shared >= 1


def test_missing_embreex_is_named_with_the_remedy(monkeypatch):
    monkeypatch.setitem(sys.modules, 'embreex.mesh_construction', None)
    with pytest.raises(
        SimulationDependencyError, match=r'embreex is not installed; .*pip install'
    ):
        RayCaster(np.zeros((1, 3, 3), np.float32))
