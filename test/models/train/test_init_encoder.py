# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
from safetensors.torch import save_file
import torch
from torch import nn

from rgbt_models.errors import WeightsError
from rgbt_models.train.init_encoder import load_encoder


class Made(nn.Module):
    def __init__(self, rows: int = 10, dim: int = 4) -> None:
        super().__init__()
        self.pos_embed = nn.Parameter(torch.rand(1, rows, dim))
        self.proj = nn.Linear(dim, dim)


class Wrapped(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.vit = Made()


def write(path, state):
    save_file({name: value.clone().contiguous() for name, value in state.items()}, path)
    return path


@pytest.mark.parametrize('source', [Made(), Wrapped()])
def test_names_with_and_without_the_prefix_load(source, tmp_path):
    path = write(tmp_path / 'e.safetensors', source.state_dict())
    encoder = Wrapped()
    load_encoder(encoder, path)
    for name, value in encoder.state_dict().items():
        short = name.removeprefix('vit.')
        wanted = source.state_dict()
        assert torch.equal(value, wanted.get(name, wanted.get(short)))


def test_of_a_converted_checkpoint_the_encoder_is_taken(tmp_path):
    source, encoder = Made(), Wrapped()
    state = {f'encoder.{name}': value for name, value in source.state_dict().items()}
    path = write(tmp_path / 'model.safetensors', {**state, 'decoder.mask': torch.zeros(2)})
    load_encoder(encoder, path)
    for name, value in source.state_dict().items():
        assert torch.equal(encoder.state_dict()[f'vit.{name}'], value)


def test_positions_of_another_grid_are_resized_and_class_rows_kept(tmp_path):
    source, encoder = Made(rows=1 + 36), Made(rows=1 + 9)
    with torch.no_grad():
        source.pos_embed[:, 1:] = 3.0
    load_encoder(encoder, write(tmp_path / 'e.safetensors', source.state_dict()))
    assert torch.equal(encoder.pos_embed[:, 0], source.pos_embed[:, 0])
    torch.testing.assert_close(encoder.pos_embed[:, 1:], torch.full((1, 9, 4), 3.0))


def test_what_does_not_fit_is_listed(tmp_path):
    state = Made().state_dict()
    state['proj.bias'] = torch.zeros(7)
    state['head.weight'] = torch.zeros(1)
    del state['pos_embed']
    path = write(tmp_path / 'e.safetensors', state)
    with pytest.raises(WeightsError) as error:
        load_encoder(Made(), path)
    for part in (
        'missing: pos_embed; unexpected: head.weight; mismatched: proj.bias (7,) for (4,); use',
    ):
        assert part in str(error.value)


def test_a_file_that_is_none_is_said(tmp_path):
    with pytest.raises(WeightsError, match=r'cannot read encoder .*correct init_from'):
        load_encoder(Made(), tmp_path / 'none.safetensors')
