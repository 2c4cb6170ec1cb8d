# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from made_models import small_model
import pytest
from safetensors.torch import save_file
import torch
from torch import nn

from rgbt_models.card import hash_file
from rgbt_models.errors import WeightsError
from rgbt_models.weights import load_weights, save_weights


def two_layers():
    return nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))


def test_weights_and_buffers_come_back_exactly(tmp_path):
    source, target = small_model(seed=1), small_model(seed=2)
    source.neck.fusions[0].norm.num_batches_tracked.fill_(77)
    save_weights(source, tmp_path / 'w.safetensors')
    load_weights(target, tmp_path / 'w.safetensors')
    for name, value in source.state_dict().items():
        assert torch.equal(target.state_dict()[name], value), name


def test_weights_in_another_memory_order_are_saved_by_value(tmp_path):
    source = small_model(seed=1).to(memory_format=torch.channels_last)
    target = small_model(seed=2)
    save_weights(source, tmp_path / 'w.safetensors')
    load_weights(target, tmp_path / 'w.safetensors')
    name = 'encoder.rgb_stem.stride_4.0.0.weight'
    assert torch.equal(target.state_dict()[name], source.state_dict()[name])


def test_equal_weights_make_equal_files(tmp_path):
    save_weights(small_model(seed=1), tmp_path / 'a')
    save_weights(small_model(seed=1), tmp_path / 'b')
    assert hash_file(tmp_path / 'a') == hash_file(tmp_path / 'b')


def test_saving_replaces_the_file_and_leaves_nothing_else(tmp_path):
    path = tmp_path / 'w.safetensors'
    save_weights(small_model(seed=1), path)
    save_weights(small_model(seed=2), path)
    assert [file.name for file in tmp_path.iterdir()] == ['w.safetensors']
    model = small_model(seed=1)
    load_weights(model, path)
    assert torch.equal(model.encoder.norm.weight, small_model(seed=2).encoder.norm.weight)


def test_the_file_is_as_readable_as_any_other(tmp_path):
    (tmp_path / 'plain').write_bytes(b'')
    save_weights(two_layers(), tmp_path / 'w.safetensors')
    modes = [(tmp_path / name).stat().st_mode for name in ('plain', 'w.safetensors')]
    assert modes[0] == modes[1]


@pytest.mark.parametrize('content', [None, b'', b'not safetensors at all'])
def test_an_unreadable_file_is_said(tmp_path, content):
    path = tmp_path / 'w.safetensors'
    if content is not None:
        path.write_bytes(content)
    expected = r"cannot read weights '.*w.safetensors' \(.+\); expected a safetensors file"
    with pytest.raises(WeightsError, match=expected):
        load_weights(two_layers(), path)


def test_a_truncated_file_is_said(tmp_path):
    path = tmp_path / 'w.safetensors'
    save_weights(two_layers(), path)
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(WeightsError, match='cannot read weights'):
        load_weights(two_layers(), path)


def test_a_folder_is_no_weights_file(tmp_path):
    with pytest.raises(WeightsError, match='cannot read weights'):
        load_weights(two_layers(), tmp_path)


def test_missing_unexpected_and_mismatched_names_are_three_lists(tmp_path):
    state = {name: value.contiguous() for name, value in two_layers().state_dict().items()}
    state['extra'] = state.pop('0.bias')
    state['0.weight'] = torch.zeros(2, 4)
    save_file(state, tmp_path / 'w')
    model = two_layers()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(WeightsError) as error:
        load_weights(model, tmp_path / 'w')
    assert (
        'do not fit the model; missing: 0.bias; unexpected: extra; mismatched: '
        '0.weight (2, 4) for (2, 3); use the weights of this architecture'
    ) in str(error.value)
    assert all(torch.equal(model.state_dict()[name], value) for name, value in before.items())


def test_long_lists_are_shortened(tmp_path):
    save_file({}, tmp_path / 'w')
    count = len(two_layers().state_dict())
    with pytest.raises(
        WeightsError, match=f'0.bias, 0.weight, 1.bias and {count - 3} more; unexp'
    ):
        load_weights(two_layers(), tmp_path / 'w')


def test_an_altered_file_is_refused_by_its_hash(tmp_path):
    path = tmp_path / 'w.safetensors'
    save_weights(two_layers(), path)
    expected = hash_file(path)
    load_weights(two_layers(), path, expected_sha256=expected)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1  # one bit of the last weight: the file stays readable
    path.write_bytes(content)
    load_weights(two_layers(), path)
    with pytest.raises(WeightsError, match='SHA-256'):
        load_weights(two_layers(), path, expected_sha256=expected)


def test_a_missing_file_with_a_hash_names_the_card(tmp_path):
    with pytest.raises(WeightsError, match='is missing; expected it beside its card'):
        load_weights(two_layers(), tmp_path / 'none', expected_sha256='0' * 64)
