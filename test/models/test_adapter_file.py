# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json

from made_vits import small_images, SMALL_LORA, small_vit, trained_adapter
import pytest
from safetensors import safe_open
from safetensors.torch import load_file, save_file
import torch
from torch import nn

from rgbt_models.adapter_file import hash_tensors, LoraSettings
from rgbt_models.adapters import add_adapter, load_adapter
from rgbt_models.errors import AdapterError, WeightsError

TWO_BLOCKS = tuple(
    f'blocks.{block}.{name}'
    for block in (0, 1)
    for name in ('attn.qkv', 'attn.proj', 'mlp.fc1', 'mlp.fc2')
)


def assert_same(found: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor]) -> None:
    assert list(found) == list(wanted)
    for name, value in wanted.items():
        assert torch.equal(found[name], value), name


def test_a_saved_adapter_comes_back_exactly(tmp_path):
    path, image = tmp_path / 'thermal.safetensors', small_images()
    source = small_vit()
    adapter = trained_adapter(source)
    adapter.save(path)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    target = small_vit()
    loaded = load_adapter(target, path)
    assert loaded.settings == SMALL_LORA
    assert_same(loaded.state(), adapter.state())
    assert torch.equal(target.forward_features(image), source.forward_features(image))


def test_the_file_holds_a_and_b_by_layer_and_says_what_they_are(tmp_path):
    adapter = trained_adapter(small_vit())
    adapter.save(tmp_path / 'a')
    assert set(load_file(tmp_path / 'a')) == {
        f'{name}.{part}' for name in TWO_BLOCKS for part in ('lora_a', 'lora_b')
    }
    with safe_open(tmp_path / 'a', framework='pt') as file:
        metadata = file.metadata()
    assert metadata['format'] == '1'
    assert metadata['base_sha256'] == hash_tensors(small_vit().state_dict())
    assert json.loads(metadata['settings']) == {
        'rank': 2,
        'alpha': 6,
        'dropout': 0.0,
        'layers': ['qkv', 'proj', 'fc1', 'fc2'],
    }


def test_an_adapter_saved_while_merged_still_names_its_base(tmp_path):
    adapter = trained_adapter(small_vit())
    adapter.merge()
    adapter.save(tmp_path / 'a')
    load_adapter(small_vit(), tmp_path / 'a')


def test_an_adapter_of_another_base_is_refused_unless_told(tmp_path):
    trained_adapter(small_vit(seed=1)).save(tmp_path / 'a')
    encoder = small_vit(seed=2)
    with pytest.raises(WeightsError, match='trained on other base weights than this encoder has'):
        load_adapter(encoder, tmp_path / 'a')
    assert type(encoder.blocks[0].attn.qkv) is nn.Linear  # it was taken back
    load_adapter(encoder, tmp_path / 'a', check_base=False)


def test_names_and_shapes_that_do_not_fit_are_three_lists(tmp_path):
    adapter = trained_adapter(small_vit())
    adapter.save(tmp_path / 'a')
    with safe_open(tmp_path / 'a', framework='pt') as file:
        metadata = file.metadata()
    tensors = load_file(tmp_path / 'a')
    tensors['extra'] = tensors.pop('blocks.0.mlp.fc1.lora_a')
    tensors['blocks.1.attn.proj.lora_b'] = torch.zeros(5, 2)
    save_file(tensors, tmp_path / 'b', metadata)
    before = {name: value.clone() for name, value in adapter.state().items()}
    with pytest.raises(WeightsError) as error:
        adapter.load(tmp_path / 'b')
    assert (
        'missing: blocks.0.mlp.fc1.lora_a; unexpected: extra; mismatched: '
        'blocks.1.attn.proj.lora_b (5, 2) for (32, 2); use the encoder it was trained with'
    ) in str(error.value)
    assert_same(adapter.state(), before)


def test_other_settings_are_refused(tmp_path):
    trained_adapter(small_vit()).save(tmp_path / 'a')
    adapter = add_adapter(small_vit(), LoraSettings(rank=2, alpha=8))
    with pytest.raises(AdapterError, match='add the adapter with the settings of the file'):
        adapter.load(tmp_path / 'a')


@pytest.mark.parametrize('content', [None, b'', b'no safetensors'])
def test_an_unreadable_file_is_said(tmp_path, content):
    if content is not None:
        (tmp_path / 'a').write_bytes(content)
    with pytest.raises(WeightsError, match=r"cannot read adapter '.*a' \(.+\); expected a safete"):
        load_adapter(small_vit(), tmp_path / 'a')


@pytest.mark.parametrize(
    'metadata',
    [None, {'format': '1'}, {'format': '1', 'settings': '{"rank": 1}'}, {'settings': 'no JSON'}],
)
def test_a_file_that_is_no_adapter_is_said(tmp_path, metadata):
    save_file({'x': torch.zeros(1)}, tmp_path / 'a', metadata)
    with pytest.raises(WeightsError, match=r"a' is no adapter \(.+\); expected a file written by"):
        load_adapter(small_vit(), tmp_path / 'a')


def test_an_adapter_of_a_later_format_is_said(tmp_path):
    settings = '{"rank": 1, "layers": ["qkv"]}'
    metadata = {'format': '2', 'settings': settings, 'base_sha256': ''}
    save_file({'x': torch.zeros(1)}, tmp_path / 'a', metadata)
    with pytest.raises(WeightsError, match='has format 2, this version reads 1; save the adapter'):
        load_adapter(small_vit(), tmp_path / 'a')


def test_the_hash_sees_names_types_shapes_and_values():
    tensors = {'a': torch.zeros(2, 3), 'b': torch.ones(1)}
    assert hash_tensors(tensors) == hash_tensors(dict(reversed(tensors.items())))
    variants = [
        {'a': torch.zeros(3, 2), 'b': torch.ones(1)},
        {'a': torch.zeros(2, 3), 'c': torch.ones(1)},
        {'a': torch.zeros(2, 3, dtype=torch.int32), 'b': torch.ones(1)},
        {'a': torch.zeros(2, 3), 'b': torch.full((1,), 2.0)},
    ]
    assert len({hash_tensors(item) for item in [tensors, *variants]}) == 5
