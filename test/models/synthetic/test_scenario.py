# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
from source_tree import ROOT

from rgbt_models.errors import DatasetError
from rgbt_models.synthetic import build_scenario, read_scenario, Scenario

SHIPPED = sorted((ROOT / 'config' / 'scenarios').glob('*.yaml'))


def test_these_are_the_shipped_scenarios():
    names = {path.stem for path in SHIPPED}
    assert names == {
        *('car_park', 'city_mix', 'crossover', 'day_drive', 'dusk_to_night', 'fog'),
        'thermal_dropout',
    }


@pytest.mark.parametrize('path', SHIPPED, ids=lambda path: path.stem)
def test_a_shipped_scenario_is_read_and_says_what_it_is(path):
    scenario = read_scenario(path)
    assert scenario != Scenario()
    assert scenario.duration_s >= 10.0
    assert len(path.read_text('utf-8').split('\n# ')) >= 2


def test_what_a_file_does_not_say_keeps_its_default(tmp_path):
    path = tmp_path / 'mine.yaml'
    path.write_text(
        'seed: 5\nlayout: yard\nrig: {thermal: {rate_hz: 9.0}}\n'
        'failures: [{camera: rgb, kind: dark, from_share: 0.25, until_share: 0.5}]\n',
        encoding='utf-8',
    )
    scenario = read_scenario(path)
    assert (scenario.seed, scenario.layout, scenario.duration_s) == (5, 'yard', 24.0)
    # The thermal camera's own defaults, not those of the RGB camera.
    thermal = scenario.rig.thermal
    assert (thermal.rate_hz, thermal.width, thermal.height, thermal.hfov_deg) == (
        *(9.0, 320, 256),
        61.0,
    )
    assert scenario.rig.rgb.rate_hz == 5.0
    (failure,) = scenario.failures
    assert [failure.holds_at(share) for share in (0.2499, 0.25, 0.4999, 0.5)] == [
        *(False, True),
        *(True, False),
    ]


def test_light_may_be_given_instead_of_drawn():
    scenario = build_scenario(
        {
            'conditions': [
                {'share': 0.5, 'condition': 'fog', 'values': {'sun_strength': 1, 'rain': 0.25}},
                {'share': 0.75, 'condition': 'night', 'values': {'sky_light': [0.1, 0.2, 0.3]}},
            ]
        }
    )
    first, second = scenario.conditions
    assert first.values == (('sun_strength', 1.0), ('rain', 0.25))
    assert second.values == (('sky_light', (0.1, 0.2, 0.3)),)


@pytest.mark.parametrize(
    ('values', 'sentence'),
    [
        ({'durations_s': 3.0}, "unknown scenario setting 'durations_s'; .*'duration_s'"),
        ({'rig': {'rgb': {'witdh': 3}}}, "setting 'rig.rgb.witdh'; .*'rig.rgb.width'"),
        (
            {'failures': [{}, {'form_share': 0.1}]},
            r"'failures\[1\].form_share'; .*'failures\[1\].from_share'",
        ),
        (
            {'conditions': [{'values': {'sun_strenght': 1.0}}]},
            r"'conditions\[0\].values.sun_strenght'; .*'conditions\[0\].values.sun_strength'",
        ),
        ({'conditions': {'share': 0.0}}, "'conditions' is .*; expected a list"),
        ({'conditions': [{'values': [1]}]}, r"'conditions\[0\].values' is \[1\]; expected a map"),
        ({'conditions': [{'values': {'rain': 'much'}}]}, "is 'much'; expected a number;"),
        ({'conditions': [{'values': {'rain': [1, 2, 3]}}]}, 'expected a number;'),
        ({'conditions': [{'values': {'sky_light': 1.0}}]}, 'is 1.0; expected a list of three'),
        ({'conditions': [{'values': {'plumes': 1.0}}]}, 'expected nothing: it is drawn'),
        (
            {'conditions': [{'values': {'rain': -4}}]},
            r'rain is -4.0; expected a value in \[0, 1\]',
        ),
        (
            {'conditions': [{'values': {'ambient_c': 290}}]},
            'ambient_c is 290.0; .* degrees Celsius',
        ),
        (
            {'conditions': [{'values': {'sky_light': [0, 0, -1]}}]},
            r'is \[0.0, 0.0, -1.0\]; .*0 or',
        ),
        ({'conditions': [{'values': {'sun_direction': [0, 0, 0]}}]}, 'a direction, not zero'),
        ({'conditions': []}, r'conditions have the shares \[\]; expected at least one'),
        ({'conditions': [{'share': 0.5}, {'share': 0.2}]}, r'shares \[0.5, 0.2\]; .*in order'),
        ({'conditions': [{'condition': 'snow'}]}, "condition is 'snow'; expected one of '', day"),
        ({'layout': 'moor'}, "layout is 'moor'; expected one of '', street, crossing"),
        ({'ego': {'path': 'fly'}}, "path is 'fly'; expected one of forward, still, pan"),
        ({'failures': [{'camera': 'rgb', 'kind': 'ffc'}]}, "kind is 'ffc'; expected one of gap"),
        ({'failures': [{'from_share': 0.5, 'until_share': 0.5}]}, 'expected from < until'),
        ({'duration_s': 0.0}, 'duration_s is 0.0; expected a number above 0; correct the scenari'),
        ({'duration_s': float('inf')}, 'duration_s is inf; expected a number above 0'),
        ({'rig': {'rgb': {'rate_hz': 1e9}}}, 'rate_hz is 1000000000.0; expected a value above 0'),
        ({'rig': {'rgb': {'distortion': [0.1]}}}, r'distortion is \[0.1\]; expected 0 or 4 or 5'),
        ({'sensors': {'thermal_output': 'celsius'}}, "thermal_output is 'celsius'; expected one"),
        ({'sensors': {'thermal_netd_k': -0.1}}, 'thermal_netd_k is -0.1; expected 0 or more'),
        ([], 'expected a mapping'),
    ],
)
def test_what_cannot_be_used_is_refused_with_a_remedy(values, sentence):
    with pytest.raises(DatasetError, match=sentence):
        build_scenario(values)


def test_a_message_names_the_file(tmp_path):
    path = tmp_path / 'mine.yaml'
    path.write_text('layout: moor\n', encoding='utf-8')
    with pytest.raises(DatasetError, match=r"scenario '.*mine\.yaml': layout is 'moor'"):
        read_scenario(path)
    with pytest.raises(DatasetError, match=r'cannot read scenario file .*none\.yaml'):
        read_scenario(tmp_path / 'none.yaml')


def test_a_rate_is_that_of_both_cameras():
    rig = Scenario().with_rate(12.5).rig
    assert (rig.rgb.rate_hz, rig.thermal.rate_hz) == (12.5, 12.5)
