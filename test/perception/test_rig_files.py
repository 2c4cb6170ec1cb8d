# SPDX-License-Identifier: Apache-2.0
"""The example files for cameras say what they are about, and the node understands them."""

from __future__ import annotations

import pytest
from source_tree import ROOT

from rgbt_perception.config import load_config, PerceptionConfig

RIG_FILES = {
    'thermal_tlinear': {
        'thermal': {'reading': 'tlinear_10mk', 'normaliser': 'window', 'hot_spot_c': 90.0}
    },
    'simulated': {
        'thermal': {'reading': 'tlinear_10mk'},
        'registration': {'method': 'extrinsics', 'surface': 'plane'},
    },
    'thermal_counts_14bit': {
        'thermal': {'reading': 'counts', 'signal_bits': 14, 'normaliser': 'percentile'},
    },
    'thermal_celsius_9hz': {
        'thermal': {'reading': 'celsius', 'window_low_c': -10.0, 'window_high_c': 50.0},
        'sync': {'policy': 'hold', 'max_hold_s': 0.3},
        'diagnostics': {'min_rgb_hz': 25.0, 'min_thermal_hz': 8.0},
    },
}


def path_of(name):
    return ROOT / 'config' / 'rigs' / f'{name}.param.yaml'


def test_these_are_the_rig_files():
    assert {path.name for path in path_of('x').parent.iterdir()} == {
        path_of(name).name for name in RIG_FILES
    }


@pytest.mark.parametrize('name', RIG_FILES)
def test_a_rig_file_loads_and_says_what_its_name_promises(name):
    config = load_config(path_of(name))
    for group, values in RIG_FILES[name].items():
        for setting, value in values.items():
            assert getattr(getattr(config, group), setting) == value
    assert config != PerceptionConfig()
