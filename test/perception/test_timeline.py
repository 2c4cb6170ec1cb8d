# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import cv2
import pytest

from rgbt_perception.errors import BackendUnavailableError
from rgbt_perception.received import ReceivedResult
from rgbt_perception.timeline import spans, write_timeline

STEP_NS = 200_000_000


def build_result(index, mode='fused', valid='true'):
    values = {'mode': mode, 'mdi': f'{0.1 * index:.4f}', 'valid': valid, 'latency_ms': '10.0'}
    return ReceivedResult(
        stamp_ns=10**18 + index * STEP_NS, received_ns=1, class_names=('person',), values=values
    )


def test_spans_join_equal_values_and_end_where_the_next_begins():
    points = [(0.0, 'a'), (1.0, 'a'), (2.0, 'b'), (3.0, 'a')]
    assert list(spans(points, 4.0)) == [(0.0, 2.0, 'a'), (2.0, 3.0, 'b'), (3.0, 4.0, 'a')]
    assert list(spans([], 4.0)) == []


@pytest.mark.parametrize('num_results', [1, 2, 9])
def test_timeline_is_a_picture(tmp_path, num_results):
    results = [build_result(index) for index in range(num_results)]
    results[-1].values['mode'] = 'rgb_only'
    results[0].values['valid'] = 'false'
    write_timeline(
        tmp_path / 'timeline.png', results, {results[0].stamp_ns: 12.0}, {}, title='a run'
    )
    picture = cv2.imread(str(tmp_path / 'timeline.png'))
    assert picture.shape[1] > 1000
    assert picture.std() > 5.0


def test_missing_matplotlib_names_the_command_that_installs_it(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__('sys').modules, 'matplotlib.figure', None)
    with pytest.raises(BackendUnavailableError, match=r"'rgbt_perception\[plot\]'"):
        write_timeline(tmp_path / 'timeline.png', [build_result(0)], {}, {}, title='')
