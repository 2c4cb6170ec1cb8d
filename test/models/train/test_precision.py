# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
import torch

from rgbt_models.train.precision import choose_precision


@pytest.fixture(params=['x86', 'ARM'])
def write_features(request, tmp_path, monkeypatch):
    """Return a function that makes this a CPU with the given instruction sets."""
    key = {'x86': 'flags', 'ARM': 'Features'}[request.param]
    path = tmp_path / 'cpuinfo'
    monkeypatch.setattr('rgbt_models.cpu._CPUINFO', path)
    return lambda features: path.write_text(f'{key}\t: {features}\n', encoding='utf-8')


@pytest.mark.parametrize(
    ('features', 'precision'),
    [
        ('avx2 avx512f', '32-true'),
        ('avx2 avx512f avx512_bf16', 'bf16-mixed'),
        ('avx2 amx_bf16', 'bf16-mixed'),
        ('asimd', '32-true'),
        ('asimd bf16', 'bf16-mixed'),
    ],
)
def test_a_cpu_trains_in_bfloat16_where_it_computes_with_it(write_features, features, precision):
    write_features(features)
    assert choose_precision('auto', 'cpu') == precision


@pytest.mark.parametrize(('has_bf16', 'precision'), [(True, 'bf16-mixed'), (False, '32-true')])
def test_so_does_a_gpu_where_nothing_is_imitated(monkeypatch, has_bf16, precision):
    def is_supported(*, including_emulation):
        return has_bf16 or including_emulation

    monkeypatch.setattr(torch.cuda, 'is_bf16_supported', is_supported)
    assert choose_precision('auto', 'cuda') == precision


def test_what_is_named_is_taken_everywhere(write_features):
    write_features('avx2')
    assert choose_precision('bf16-mixed', 'cpu') == 'bf16-mixed'
    write_features('avx2 avx512_bf16')
    assert choose_precision('32-true', 'cpu') == '32-true'
