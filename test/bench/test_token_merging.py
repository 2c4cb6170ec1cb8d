# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json

import torch
from torch import nn, Tensor

from bench import token_merging
from bench.page import read_section
from bench.summary import RESULTS_DIR
from bench.token_merging import (
    build_tables,
    describe_times,
    KEEP_TOKENS,
    PAGE,
    SECTION,
    time_shares,
)


class Network(nn.Module):
    """Notes the share of tokens of each run."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Identity()
        self.keep, self.runs = 1.0, []

    def forward(self, rgb: Tensor, thermal: Tensor, available: Tensor) -> Tensor:
        self.runs.append(self.keep)
        return rgb + thermal + available.sum()


def test_every_share_is_warm_before_it_is_timed(monkeypatch):
    network = Network()
    monkeypatch.setattr(
        token_merging, 'set_keep_tokens', lambda _encoder, keep: setattr(network, 'keep', keep)
    )
    runs_at: list[int] = []

    def now_s() -> float:
        runs_at.append(len(network.runs))
        return float(len(network.runs))

    found = time_shares(network, (4, 6), rounds=2, now_s=now_s)
    assert network.runs == list(KEEP_TOKENS) * 3
    assert runs_at[0] == len(KEEP_TOKENS)
    assert found == {keep: [1000.0, 1000.0] for keep in KEEP_TOKENS}
    assert not torch.is_inference_mode_enabled()


def test_ratios_stand_with_their_range():
    times = describe_times(
        {1.0: [10.0, 20.0, 10.0], 0.75: [9.0, 16.0, 10.0], 0.5: [5.0, 5.0, 6.0]}
    )
    metrics = {'AP50': {'person': 0.5}, 'IoU': {'road': 0.5}, 'mAP': 0.25, 'mIoU': 0.5}
    scores = dict.fromkeys(times, metrics)
    table = build_tables(scores, {'tiny': times})
    assert '| 0.900 (0.800 to 1.000) |' in table
    assert '| 0.500 (0.250 to 0.600) |' in table


def test_the_page_is_what_the_committed_results_say():
    results = json.loads((RESULTS_DIR / 'token_merging.json').read_text('utf-8'))
    assert read_section(PAGE, SECTION) == build_tables(results['metrics'], results['times'])
