# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest

from rgbt_models.synthetic import default_rig, Label, render_drive, sample_drive

RIG = default_rig().scaled(0.25)


@pytest.fixture(scope='module')
def instants():
    return list(render_drive(3, duration_s=10.0, rate_hz=0.5, rig=RIG))


def test_drive_has_its_instants_and_moves_forward(instants):
    assert [instant.time_s for instant in instants] == [0.0, 2.0, 4.0, 6.0, 8.0]
    assert [instant.ego.position[0] for instant in instants] == [0.0, 8.0, 16.0, 24.0, 32.0]


def test_day_fades_into_night_and_the_lights_come_on(instants):
    lights = [instant.pair.environment.lights for instant in instants]
    assert lights[0] == 0.0
    assert lights[-1] == 1.0
    assert all(np.diff(lights) >= 0.0)
    assert not instants[0].pair.is_night
    assert instants[-1].pair.is_night
    assert instants[-1].pair.rgb.mean() < 0.6 * instants[0].pair.rgb.mean()


def test_objects_are_in_every_view(instants):
    for instant in instants:
        for view in (instant.pair.rgb_view, instant.pair.thermal_view):
            assert (view.label_map == Label.CAR).any()
            assert len(view.objects.boxes_xyxy) > 2


def test_same_seed_gives_the_same_drive(instants):
    again = render_drive(3, duration_s=10.0, rate_hz=0.5, rig=RIG)
    for one, two in zip(instants[:2], again, strict=False):
        np.testing.assert_array_equal(one.pair.rgb, two.pair.rgb)
        np.testing.assert_array_equal(one.pair.thermal_raw, two.pair.thermal_raw)


def test_street_stays_where_it_is_while_the_rig_moves():
    drive = sample_drive(3, duration_s=10.0)
    count = len(drive.scene.fixed_triangles)
    early, late = drive.snapshot_at(0.0), drive.snapshot_at(5.0)
    np.testing.assert_array_equal(early.normals[:count], late.normals[:count])
    assert late.ego.position[0] - early.ego.position[0] == pytest.approx(20.0)
