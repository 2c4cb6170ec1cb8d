# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
from source_tree import ROOT

from rgbt_models.synthetic import (
    build_rig,
    build_scenario,
    Condition,
    default_rig,
    Label,
    pair_shots,
    read_scenario,
    render_sequence,
    Rig,
    Scenario,
)
from rgbt_models.synthetic.faults import FaultKind
from rgbt_models.synthetic.place import measure_free_way, Way
from rgbt_models.synthetic.scenario_groups import EgoSettings
from rgbt_models.synthetic.sequence import exposures, sample_sequence
from rgbt_models.synthetic.sequence_sensors import build_thermal_sensor

SMALL = {'scale': 0.2}
OBJECTS = {Label.PERSON, Label.RIDER, Label.BICYCLE, Label.MOTORBIKE, Label.CAR, Label.TRUCK}


def shots_of(**values):
    return list(render_sequence(build_scenario({'rig': SMALL, **values})))


@pytest.fixture(scope='module')
def drive():
    scenario = read_scenario(ROOT / 'config/scenarios/dusk_to_night.yaml')
    rig = replace(scenario.rig, scale=0.25)
    short = replace(scenario, duration_s=10.0, seed=3, rig=rig, failures=())
    return list(render_sequence(short.with_rate(0.5)))


def test_the_drive_moves_forward_from_day_into_night(drive):
    rgb = [shot for shot in drive if shot.camera == 'rgb']
    assert [shot.time_s for shot in rgb] == [0.0, 2.0, 4.0, 6.0, 8.0]
    assert [shot.ego.position[0] for shot in rgb] == [0.0, 8.0, 16.0, 24.0, 32.0]
    lights = [float(shot.environment.lights) for shot in rgb]
    assert lights[0] == pytest.approx(0.0, abs=0.1)
    assert lights[-1] == pytest.approx(1.0, abs=0.1)
    assert all(np.diff(lights) >= 0.0)
    assert rgb[-1].environment.is_night
    # The exposure makes up for much of it, so before the sensor.
    assert np.median(rgb[-1].view.radiance) < 0.4 * np.median(rgb[0].view.radiance)


def test_objects_are_in_every_view_of_the_drive(drive):
    for shot in drive:
        assert (shot.view.label_map == Label.CAR).any()
        assert len(shot.view.objects.boxes_xyxy) > 2


def test_cameras_have_their_own_rates_and_phases():
    scenario = build_scenario(
        {'duration_s': 1.0, 'rig': {'rgb': {'rate_hz': 4.0}, 'thermal': {'rate_hz': 3.0}}}
    )
    thermal = [time_s for time_s, camera, _ in exposures(scenario) if camera == 'thermal']
    assert [time_s for time_s, camera, _ in exposures(scenario) if camera == 'rgb'] == [
        *(0.0, 0.25, 0.5),
        0.75,
    ]
    assert thermal == pytest.approx([0.0, 1 / 3, 2 / 3])
    assert [camera for _, camera, _ in exposures(scenario)][:3] == ['rgb', 'thermal', 'rgb']
    late = replace(scenario.rig.thermal, phase_s=0.4)
    late = replace(scenario, rig=replace(scenario.rig, thermal=late))
    assert [time_s for time_s, camera, _ in exposures(late) if camera == 'thermal'] == [
        pytest.approx(0.4),
        pytest.approx(0.4 + 1 / 3),
    ]


def test_stamps_are_late_by_the_offset_and_scatter_by_the_jitter():
    rig = {'scale': 0.06, 'thermal': {'offset_s': 0.05, 'jitter_s': 0.003, 'rate_hz': 20.0}}
    shots = shots_of(duration_s=1.0, rig=rig, ego={'path': 'still'})
    skews = [shot.stamp_s - shot.time_s for shot in shots if shot.camera == 'thermal']
    assert 0.047 <= min(skews) < 0.049
    assert 0.051 < max(skews) <= 0.053
    assert {shot.stamp_s - shot.time_s for shot in shots if shot.camera == 'rgb'} == {0.0}


def test_the_default_rig_is_that_of_the_sample_data():
    rig, like = build_rig(Scenario()), default_rig()
    expected = Rig(rgb=like.rgb, thermal=like.thermal.scaled(0.5))
    for mine, other in ((rig.rgb, expected.rgb), (rig.thermal, expected.thermal)):
        np.testing.assert_allclose(mine.intrinsics, other.intrinsics, atol=1e-9)
        np.testing.assert_allclose(mine.rotation, other.rotation, atol=1e-12)
        np.testing.assert_allclose(mine.position, other.position, atol=1e-12)
        assert (mine.height, mine.width) == (other.height, other.width)


def test_lens_and_timing_of_a_rig_come_from_the_scenario():
    rgb = {'distortion': [-0.2, 0.05, 0.0, 0.0], 'rate_hz': 7.0, 'offset_s': 0.1}
    rig = build_rig(build_scenario({'rig': {'rgb': rgb}}))
    assert rig.rgb.distortion == (-0.2, 0.05, 0.0, 0.0)
    assert rig.thermal.distortion == ()
    assert (rig.rgb_timing.rate_hz, rig.rgb_timing.offset_s) == (7.0, 0.1)


def test_failures_happen_when_they_are_said_to():
    shots = shots_of(
        duration_s=2.0,
        failures=[
            {'camera': 'thermal', 'kind': 'gap', 'from_share': 0.2, 'until_share': 0.4},
            {'camera': 'thermal', 'kind': 'frozen', 'from_share': 0.6, 'until_share': 0.8},
            {'camera': 'rgb', 'kind': 'covered', 'from_share': 0.5, 'until_share': 0.6},
        ],
    )
    thermal = [shot for shot in shots if shot.camera == 'thermal']
    rgb = [shot for shot in shots if shot.camera == 'rgb']
    assert [shot.image is None for shot in thermal] == [index in (2, 3) for index in range(10)]
    repeated = [
        after.image is not None
        and before.image is not None
        and np.array_equal(before.image, after.image)
        for before, after in pairwise(thermal)
    ]
    assert repeated == [index in (5, 6) for index in range(9)]
    assert [shot.fault for shot in rgb] == [
        FaultKind.COVERED if index == 5 else None for index in range(10)
    ]
    assert rgb[5].image.mean() < 4.0
    assert rgb[5].view.objects.boxes_xyxy.shape[1] == 4  # the truth stays what there was to see


@pytest.mark.parametrize('kind', ['frozen', 'ffc'])
def test_a_camera_that_freezes_at_once_repeats_its_first_image(kind):
    shots = shots_of(
        duration_s=1.0, rig={'scale': 0.06}, failures=[{'camera': 'thermal', 'kind': kind}]
    )
    images = [shot.image for shot in shots if shot.camera == 'thermal']
    assert len(images) == 5
    for image in images:
        np.testing.assert_array_equal(image, images[0])


def test_a_late_image_is_the_last_one_that_a_frozen_camera_repeats():
    late = {'camera': 'rgb', 'kind': 'late', 'from_share': 0.3, 'until_share': 0.7}
    frozen = {'camera': 'rgb', 'kind': 'frozen', 'from_share': 0.7}
    shots = shots_of(duration_s=1.0, rig={'scale': 0.06}, failures=[late, frozen])
    images = [shot.image for shot in shots if shot.camera == 'rgb']
    np.testing.assert_array_equal(images[4], images[3])
    assert (images[3] != images[1]).any()


def test_a_flat_field_correction_freezes_thermal_and_changes_its_pattern():
    sensors = {'ffc_period_s': 1.0, 'thermal_netd_k': 0.0, 'thermal_pattern_k': 1.0}
    shots = shots_of(
        duration_s=2.0,
        sensors={**sensors, 'thermal_blur_px': 0.0},
        ego={'path': 'still', 'sway': 0.0},
    )
    thermal = [shot for shot in shots if shot.camera == 'thermal']
    assert [shot.fault for shot in thermal] == [
        FaultKind.FFC if index in (5, 6, 7) else None for index in range(10)
    ]
    for index in (5, 6, 7):
        np.testing.assert_array_equal(thermal[index].image, thermal[4].image)
    # Columns are what differs from what there is to see.
    patterns = [
        np.median(shot.image / 100.0 - 273.15 - shot.view.temperature_c, axis=0)
        for shot in (thermal[3], thermal[4], thermal[8])
    ]
    np.testing.assert_allclose(patterns[0], patterns[1], atol=0.02)
    assert np.abs(patterns[1] - patterns[2]).max() > 0.5


def test_counts_follow_the_output_of_the_thermal_camera():
    def middle(output):
        sensors = {'thermal_output': output, 'thermal_netd_k': 0.0, 'thermal_pattern_k': 0.0}
        shots = shots_of(duration_s=0.2, sensors={**sensors, 'thermal_blur_px': 0.0})
        (shot,) = (item for item in shots if item.camera == 'thermal')
        return float(shot.image[20, 30]), float(shot.view.temperature_c[20, 30])

    for output, gain, offset in (
        ('tlinear_10mk', 100.0, 27_315.0),
        ('tlinear_100mk', 10.0, 2731.5),
        ('linear_14bit', 38.0, 3200.0),
    ):
        counts, temperature_c = middle(output)
        assert counts == pytest.approx(gain * temperature_c + offset, abs=0.51)


def test_light_is_that_of_the_keys_and_smooth_between_them():
    sequence = sample_sequence(
        build_scenario(
            {
                'duration_s': 10.0,
                'conditions': [
                    {'share': 0.2, 'condition': 'day', 'values': {'haze_per_m': 0.0}},
                    {'share': 0.6, 'condition': 'day', 'values': {'haze_per_m': 0.1}},
                ],
            }
        )
    )
    haze = [float(sequence.environment_at(t).haze_per_m) for t in (0.0, 2.0, 3.0, 4.0, 6.0, 9.9)]
    # Smoothstep: at a quarter of the way 3/16 - 2/64 = 0.15625.
    assert haze == pytest.approx([0.0, 0.0, 0.015625, 0.05, 0.1, 0.1])


def test_the_condition_is_said_where_there_is_one():
    keys = [(0.2, 'day'), (0.4, 'fog'), (0.6, 'fog'), (0.8, '')]
    conditions = [{'share': share, 'condition': name} for share, name in keys]
    sequence = sample_sequence(build_scenario({'duration_s': 10.0, 'conditions': conditions}))
    found = [sequence.condition_at(t) for t in (0.0, 1.9, 3.0, 4.0, 5.9, 7.0, 9.0)]
    day, fog = Condition.DAY, Condition.FOG
    assert found == [day, day, None, fog, fog, None, None]


def test_what_is_in_a_place_is_made_for_the_air_of_the_sequence():
    def scene_in(ambient_c):
        light = {'condition': 'day', 'values': {'ambient_c': ambient_c}}
        scenario = build_scenario({'layout': 'yard', 'conditions': [light]})
        return sample_sequence(scenario).snapshot_at(0.0).scene

    cold, warm = scene_in(-5.0), scene_in(30.0)
    assert (cold.environment.ambient_c, warm.environment.ambient_c) == (-5.0, 30.0)
    people = cold.materials.label == Label.PERSON
    # In the cold people show less skin and wear thicker clothes.
    shares = [scene.materials.body_share[people] for scene in (cold, warm)]
    assert shares[0].mean() < shares[1].mean()


def test_a_drawn_camera_is_one_camera_that_glares_when_lamps_are_lit():
    keys = [{'share': 0.1, 'condition': 'day'}, {'share': 0.9, 'condition': 'night'}]
    shots = shots_of(
        duration_s=0.8,
        conditions=keys,
        sensors={'rgb': 'drawn'},
        rig={'scale': 0.06},
        ego={'path': 'still'},
    )
    sensors = [shot.sensor for shot in shots if shot.camera == 'rgb']
    assert (
        len({(sensor.vignetting, sensor.white_balance, sensor.read_noise) for sensor in sensors})
        == 1
    )
    glares = [sensor.glare for sensor in sensors]
    assert glares == sorted(glares)
    assert glares[0] < 0.1 * glares[-1]


def test_a_kerb_is_driven_over_and_a_bench_is_not():
    def free_way(top_m):
        corners = np.array(
            [[9.0, -3.0, 0.0], [9.0, 3.0, 0.0], [9.0, 3.0, top_m], [9.0, -3.0, top_m]]
        )
        wall = corners[[[0, 1, 2], [0, 2, 3]]].astype(np.float32)
        return measure_free_way(SimpleNamespace(fixed_triangles=wall), height_m=1.6)

    assert free_way(0.2) == float('inf')
    assert free_way(0.45) == pytest.approx(9.0)
    assert free_way(2.5) == pytest.approx(9.0)


def test_the_place_changes_with_every_clip():
    scenario = build_scenario(
        {'duration_s': 0.8, 'clip_s': 0.4, 'layout': '', 'rig': SMALL, 'ego': {'speed_m_s': 1.0}}
    )
    rgb = [shot for shot in render_sequence(scenario) if shot.camera == 'rgb']
    changed = [
        np.mean(before.view.label_map != after.view.label_map) for before, after in pairwise(rgb)
    ]
    assert changed[1] > 3.0 * max(changed[0], changed[2])


@pytest.mark.parametrize('layout', ['crossing', 'car_park', 'path', 'yard'])
def test_the_rig_moves_through_any_layout_without_touching_anything(layout):
    for seed in range(3):
        sequence = sample_sequence(
            build_scenario(
                {
                    'seed': seed,
                    'duration_s': 8.0,
                    'layout': layout,
                    'rig': {'scale': 0.1},
                    'ego': {'speed_m_s': 1.5},
                    'conditions': [{'condition': 'day'}],
                }
            )
        )
        for time_s in (0.0, 4.0, 7.9):
            snapshot = sequence.snapshot_at(time_s)
            origin = snapshot.ego.position.astype(np.float32)
            angles = np.linspace(0.0, 2.0 * np.pi, 36, endpoint=False)
            around = np.stack([np.cos(angles), np.sin(angles), 0.0 * angles], axis=1)
            _, range_m = snapshot.caster.cast(origin, around.astype(np.float32))
            assert range_m.min() > 0.4, (seed, time_s)


def test_the_rig_brakes_evenly_before_the_end_of_its_way():
    way = Way(settings=EgoSettings(speed_m_s=3.0), clear_m=9.0)
    # 3 m of braking at 1.5 m/s2 take 2 s, after 2 s of steady driving.
    assert [way.travelled_at(t) for t in (0.0, 1.0, 2.0, 3.0, 4.0, 9.0)] == pytest.approx(
        [0.0, 3.0, 6.0, 8.25, 9.0, 9.0]
    )
    assert Way(settings=EgoSettings(path='still'), clear_m=9.0).travelled_at(5.0) == 0.0


def test_pan_turns_left_and_right_on_the_spot():
    way = Way(settings=EgoSettings(path='pan', sway=0.0, pan_deg=40.0), clear_m=0.0)
    yaws = np.degrees([way.pose_at(t).yaw_rad for t in (0.0, 3.0, 6.0, 9.0)])
    np.testing.assert_allclose(yaws, [0.0, 40.0, 0.0, -40.0], atol=1e-6)


def test_pairs_are_of_the_images_exposed_nearest_to_each_other():
    rig = {'scale': 0.06, 'rgb': {'rate_hz': 10.0}, 'thermal': {'rate_hz': 4.0}}
    gap = {'camera': 'thermal', 'kind': 'gap', 'from_share': 0.45, 'until_share': 0.55}
    scenario = build_scenario({'duration_s': 1.0, 'rig': rig, 'failures': [gap]})
    shots = list(render_sequence(scenario))
    views = {id(shot.view): shot.time_s for shot in shots}
    pairs = pair_shots(shots, build_rig(scenario), max_apart_s=0.13)
    times = [(views[id(pair.rgb_view)], views[id(pair.thermal_view)]) for pair in pairs]
    # The thermal image of 0.5 was not sent: 0.4, 0.5 and 0.6 have none within 0.13 s.
    expected = [(0.0, 0.0), (0.1, 0.0), (0.2, 0.25), (0.3, 0.25), (0.7, 0.75), (0.8, 0.75)]
    np.testing.assert_allclose(times, expected)


def test_images_of_two_places_make_no_pair():
    rig = {'scale': 0.06, 'rgb': {'rate_hz': 10.0}, 'thermal': {'rate_hz': 4.0}}
    scenario = build_scenario({'duration_s': 1.0, 'clip_s': 0.45, 'layout': 'path', 'rig': rig})
    pairs = pair_shots(render_sequence(scenario), build_rig(scenario), max_apart_s=0.16)
    times = [(pair.time_s, pair.time_s + pair.skew_s) for pair in pairs]
    # That of 0.4 is nearer to 0.5, where the rig is elsewhere; 0.9 has no thermal image.
    np.testing.assert_allclose(
        times,
        [
            *((0.0, 0.0), (0.1, 0.0), (0.2, 0.25), (0.3, 0.25), (0.4, 0.25)),
            *((0.5, 0.5), (0.6, 0.5), (0.7, 0.75), (0.8, 0.75)),
        ],
        atol=1e-9,
    )


def test_pairs_do_not_wait_for_a_camera_that_stays_away():
    gap = {'camera': 'thermal', 'kind': 'gap', 'from_share': 0.05}
    rig = {'scale': 0.06, 'rgb': {'rate_hz': 10.0}, 'thermal': {'rate_hz': 10.0}}
    scenario = build_scenario({'duration_s': 1.0, 'rig': rig, 'failures': [gap]})
    seen = []
    shots = (seen.append(shot.time_s) or shot for shot in render_sequence(scenario))
    pairs = pair_shots(shots, build_rig(scenario), max_apart_s=0.13)
    found = [(pair.time_s, round(pair.skew_s, 6), max(seen)) for pair in pairs]
    # The one of 0.1 s is given up waiting for when that of 0.3 s is there.
    assert found == [(0.0, 0.0, 0.0), (0.1, -0.1, pytest.approx(0.3))]


def test_same_scenario_gives_the_same_bytes_and_another_seed_others():
    def everything(seed):
        shots = shots_of(seed=seed, duration_s=0.4, sensors={'rgb': 'drawn', 'thermal': 'drawn'})
        return b''.join(shot.image.tobytes() for shot in shots)

    assert everything(4) == everything(4) != everything(5)


def test_drawn_sensors_are_worse_than_clean_ones():
    assert build_thermal_sensor(build_scenario({'sensors': {'thermal': 'drawn'}})).netd_k >= 0.02
    assert build_thermal_sensor(Scenario()).netd_k == 0.008
