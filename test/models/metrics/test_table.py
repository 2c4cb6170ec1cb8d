# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from rgbt_models.errors import DatasetError
from rgbt_models.metrics import build_table

RESULTS = {
    'fused': {'mAP': 0.5, 'MR-2 reasonable-all': None},
    'rgb_only': {'mAP': 0.25},
    'thermal_only': {'mAP': 0.3004},
}


def test_table_has_each_camera_alone_beside_fused():
    assert build_table(RESULTS, title='tiny, made set').splitlines() == [
        '**tiny, made set**',
        '',
        '| | mAP | MR-2 reasonable-all |',
        '|---|---:|---:|',
        '| rgb_only | 0.250 |  |',
        '| thermal_only | 0.300 |  |',
        '| fused | 0.500 |  |',
    ]


def test_table_without_a_single_camera_is_refused():
    with pytest.raises(DatasetError, match='measure thermal_only too'):
        build_table({'fused': {}, 'rgb_only': {}}, title='x')
