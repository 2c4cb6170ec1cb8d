# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import dataclasses
from pathlib import Path
import shutil
import sys

from made_models import small_model
import numpy as np
import pytest

from rgbt_models import export, export_variant
from rgbt_models.build import ARCHITECTURES
from rgbt_models.card import CARDS_DIR, load_card, save_card, verify_file
from rgbt_models.graph_variant import GraphVariant
from rgbt_perception.benchmark.cards import draw_feeds, NUM_FEEDS, opened_card
from rgbt_perception.benchmark.engines import SIDES
from rgbt_perception.benchmark.side import Side, Task
from rgbt_perception.benchmark.worker import open_side
from rgbt_perception.errors import ConfigError, ExportError


def test_a_random_card_is_a_whole_card_of_the_size_asked_for(monkeypatch):
    monkeypatch.setitem(ARCHITECTURES, 'made', lambda **_: small_model())
    # Tracing has tests of its own, and takes long.
    monkeypatch.setattr(export, 'export_graph', lambda _model, path: path.write_bytes(b'graph'))
    with opened_card('random:made', (64, 96)) as card:
        folder = card.folder
        assert card.input_hw == (64, 96)
        assert card.training_data.startswith('None: random weights')
        verify_file(card.graph_path, card.graph_sha256)
        verify_file(card.weights_path, card.weights_sha256)
    assert not folder.exists()


def test_a_card_of_the_user_is_taken_as_it_is():
    sides = [side for side in SIDES if side.precision != 'int8']  # of model.onnx and the weights
    with opened_card('tiny', sides=sides) as card:
        assert card.folder == CARDS_DIR / 'tiny'


def fail_for_openvino(card, request, folder, *, calibrate) -> GraphVariant:
    if request.target == 'openvino':
        raise ExportError('it needs NNCF')
    (folder / 'made.onnx').write_bytes(b'graph')
    assert len(calibrate()) == NUM_FEEDS
    return GraphVariant(
        file='made.onnx',
        sha256='0',
        precision=request.precision,
        target=request.target,
        opset=18,
        is_stacked=False,
    )


@pytest.fixture
def bare_card(tmp_path) -> str:
    """Folder of a card without variants."""
    folder = tmp_path / 'bare'
    shutil.copytree(CARDS_DIR / 'tiny', folder)
    save_card(dataclasses.replace(load_card(folder), variants=()))
    return str(folder)


ONNX_INT8 = Side(backend='onnx', precision='int8')


def add_int8_graph(folder: str, input_hw: tuple[int, int] | None) -> None:
    """Let a card name its graph in fp32 as that of ONNX Runtime in int8, for one size or any."""
    card = load_card(folder)
    variant = GraphVariant(
        file=card.graph_path.name,
        sha256=card.graph_sha256,
        precision=ONNX_INT8.precision,
        target=ONNX_INT8.backend,
        opset=18,
        is_stacked=False,
        input_hw=input_hw,
    )
    save_card(card.with_variant(variant))


def fail_always(*_args: object, **_values: object) -> GraphVariant:
    raise ExportError('nothing is to be made')


@pytest.mark.parametrize('size', [None, (64, 96)])
def test_the_graph_of_the_card_is_taken_where_it_takes_the_size(bare_card, size, monkeypatch):
    add_int8_graph(bare_card, size)
    monkeypatch.setattr(export_variant, 'export_variant', fail_always)
    with opened_card(bare_card, (64, 96), sides=[ONNX_INT8]) as card:
        assert card.folder == Path(bare_card)


def test_a_graph_that_does_not_take_the_size_is_made_anew_in_a_copy(bare_card, monkeypatch):
    add_int8_graph(bare_card, (32, 48))
    monkeypatch.setattr(export_variant, 'export_variant', fail_for_openvino)
    with opened_card(bare_card, (64, 96), sides=[ONNX_INT8]) as card:
        assert card.folder != Path(bare_card)
        assert [(item.file, item.input_hw) for item in card.variants] == [('made.onnx', None)]
        assert card.input_hw == load_card(bare_card).input_hw  # what it prefers, not what is asked


def test_an_engine_is_opened_for_the_size_that_is_measured(bare_card, tmp_path):
    add_int8_graph(bare_card, (32, 48))
    task = Task(
        card=bare_card, input_hw=(32, 48), device='cpu', num_threads=1, cache_dir=str(tmp_path)
    )
    order = {**dataclasses.asdict(task), **dataclasses.asdict(ONNX_INT8)}
    open_side({**order, 'input_hw': [32, 48]}).close()  # a list, as JSON gives it
    with pytest.raises(ConfigError, match=r'has no int8 graph .*one for onnx at 32x48 px'):
        open_side({**order, 'input_hw': [64, 96]})


INT8_SIDES = [Side(backend=name, precision='int8') for name in ('torch', 'openvino', 'onnx')]


def test_a_graph_that_cannot_be_made_leaves_out_its_engine_only(bare_card, monkeypatch):
    monkeypatch.setattr(export_variant, 'export_variant', fail_for_openvino)
    refused: dict[str, str] = {}
    with opened_card(bare_card, sides=INT8_SIDES, refused=refused) as card:
        assert card.find_graph('onnx', 'int8') is not None
        assert load_card(card.folder).variants == card.variants
    assert refused == {'openvino int8': 'it needs NNCF'}
    assert not load_card(bare_card).variants


def test_a_graph_that_cannot_be_made_is_an_error_where_nobody_takes_it(bare_card, monkeypatch):
    monkeypatch.setattr(export_variant, 'export_variant', fail_for_openvino)
    with (
        pytest.raises(ExportError, match='it needs NNCF'),
        opened_card(bare_card, sides=INT8_SIDES),
    ):
        pass


def test_without_torch_no_graph_and_no_random_card_can_be_made(bare_card, monkeypatch):
    monkeypatch.setitem(sys.modules, 'rgbt_models.export_variant', None)
    refused: dict[str, str] = {}
    with opened_card(bare_card, sides=INT8_SIDES, refused=refused):
        pass
    assert list(refused) == ['openvino int8', 'onnx int8']
    assert "run: pip install 'rgbt_perception[train]'" in refused['onnx int8']
    monkeypatch.setitem(sys.modules, 'torch', None)
    with (
        pytest.raises(ExportError, match=r"'random:small' cannot be made .*; run: pip install"),
        opened_card('random:small'),
    ):
        pass


def test_feeds_have_the_inputs_of_the_network():
    feeds = draw_feeds((32, 48))
    assert [value.shape for value in feeds[0].values()] == [(1, 3, 32, 48), (1, 3, 32, 48), (1, 2)]
    assert all(value.dtype == np.float32 for value in feeds[0].values())
    assert not np.array_equal(feeds[0]['rgb'], feeds[1]['rgb'])
