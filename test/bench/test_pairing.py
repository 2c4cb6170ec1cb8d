# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json

import pytest

from bench import pairing
from rgbt_perception.types import Modality


def test_arrivals_are_in_order_and_thermal_is_stamped_ahead_by_the_offset():
    arrivals = pairing.build_arrivals(pairing.STREAMS[3])
    times = [arrival.received_ns for arrival in arrivals]
    assert times == sorted(times)
    first = {arrival.frame.modality: arrival.frame.stamp_ns for arrival in arrivals[1::-1]}
    assert first == {Modality.RGB: 10_000_000_000, Modality.THERMAL: 12_005_000_000}


def test_default_policy_pairs_every_thermal_frame_of_matching_streams():
    for stream in pairing.STREAMS:
        arrivals = pairing.build_arrivals(stream)
        _, num_pairs = pairing.run_ours('nearest', 10, arrivals)
        num_thermal = sum(item.frame.modality is Modality.THERMAL for item in arrivals)
        assert num_pairs == (num_thermal if stream.is_matching else 0)


def test_results_file_holds_every_side_of_every_stream(
    tmp_path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(pairing, 'NUM_MESSAGES', 400)
    pairing.main(['--rounds', '1', '--out', str(tmp_path)])
    stored = json.loads((tmp_path / 'pairing.json').read_text(encoding='utf-8'))
    assert len(stored['results']) == len(pairing.STREAMS) * len(pairing.QUEUE_SIZES)
    for item in stored['results']:
        assert {'nearest', 'exact', 'latest', 'hold'} <= set(item['us_per_message'])
    assert stored['bounds'][0]['at_most'] == 30.0
    assert 'nearest, slowest stream' in capsys.readouterr().out
