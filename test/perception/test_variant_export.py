# SPDX-License-Identifier: Apache-2.0
"""The card that a further graph is recorded in."""

from __future__ import annotations

from dataclasses import replace
import os
import sys

from fakes import build_onnx_card
from made_exports import build_full_card, pairs_of, WHALES, write_pairs, write_variant
import pytest

from rgbt_models import card_folder
from rgbt_models.card import load_card, save_card, verify_file
from rgbt_models.graph_variant import VariantRequest
from rgbt_perception.errors import CardError, DatasetError, EngineError
from rgbt_perception.export_pairs import GATE_SEED
from rgbt_perception.variant_export import export_to_card


@pytest.fixture
def card(tmp_path):
    return build_full_card(tmp_path / 'card')


@pytest.fixture
def made_export(monkeypatch):
    """Return a dictionary of the road's logit, with which graphs are made instead of traced."""
    settings = {'road_bias': 5.0, 'num_calls': 0}

    def export_variant(card, request, folder, *, calibrate):
        settings['num_calls'] += 1
        assert request.precision == 'fp32' or len(calibrate()) == 3
        variant = write_variant(
            card,
            folder,
            precision=request.precision,
            target=request.target,
            road_bias=settings['road_bias'],
        )
        return replace(variant, keep_tokens=request.keep_tokens)

    monkeypatch.setattr('rgbt_models.export_variant.export_variant', export_variant)
    return settings


INT8 = VariantRequest(precision='int8', target='onnx')
FP16 = VariantRequest(precision='fp16', target='onnx')


@pytest.mark.usefixtures('made_export')
def test_graphs_gather_in_a_copy_of_the_card(card, tmp_path):
    pairs, home = pairs_of(write_pairs(tmp_path / 'data')), tmp_path / 'out'
    before = (card.folder / 'card.json').read_bytes()
    for request in (INT8, FP16):
        export_to_card(card, request, out_dir=home, pairs=pairs, is_forced=False)
    copy = load_card(home)
    assert [item.precision for item in copy.variants] == ['fp16', 'int8']
    for item in copy.variants:
        verify_file(home / item.file, item.sha256)
    verify_file(copy.graph_path, copy.graph_sha256)
    verify_file(copy.weights_path, copy.weights_sha256)
    gate = copy.variants[1].gate
    assert (gate['passed'], gate['forced'], gate['onnx_parity']) == (True, False, 1e-6)
    assert gate['calibrated_on'] == "up to 3 pairs of 'data'"
    assert gate['measured_on'] == "up to 20 pairs of 'data' after the first 3"
    assert sorted(path.name for path in home.iterdir()) == [
        'card.json',
        'model.fp16.onnx.onnx',
        'model.int8.onnx.onnx',
        'model.onnx',
        'model.safetensors',
    ]
    assert (card.folder / 'card.json').read_bytes() == before


def test_a_graph_that_loses_too_much_is_written_only_by_force(card, tmp_path, made_export):
    made_export['road_bias'] = -5.0
    pairs = pairs_of(write_pairs(tmp_path / 'data'))
    refused = export_to_card(card, INT8, out_dir=None, pairs=pairs, is_forced=False)
    assert refused.path is None
    assert refused.variant.gate['forced'] is False
    assert load_card(card.folder).variants == ()
    assert not (card.folder / 'model.int8.onnx.onnx').exists()
    forced = export_to_card(card, INT8, out_dir=None, pairs=pairs, is_forced=True)
    assert forced.path == card.folder / 'model.int8.onnx.onnx'
    gate = load_card(card.folder).variants[0].gate
    assert (gate['passed'], gate['forced']) == (False, True)


@pytest.mark.usefixtures('made_export')
def test_an_fp32_graph_has_its_parity_as_gate(card):
    nothing = pairs_of(None)  # would be rendered
    request = VariantRequest(precision='fp32', target='onnx')
    exported = export_to_card(card, request, out_dir=None, pairs=nothing, is_forced=False)
    assert exported.gate is None
    assert load_card(card.folder).variants[0].gate == {'onnx_parity': 1e-6, 'forced': False}


@pytest.mark.usefixtures('made_export')
def test_an_fp32_graph_is_run_once_on_its_runtime(card, monkeypatch):
    opened = []

    def open_engine(of_card, config):
        opened.append((config.backend, of_card.find_graph('openvino', 'fp32').path.name))
        raise EngineError('OpenVINO refuses it')

    monkeypatch.setattr('rgbt_perception.export_gate.open_engine', open_engine)
    request = VariantRequest(precision='fp32', target='openvino')
    with pytest.raises(EngineError, match='OpenVINO refuses it'):
        export_to_card(card, request, out_dir=None, pairs=pairs_of(None), is_forced=True)
    assert opened == [('openvino', 'model.fp32.openvino.onnx')]
    assert load_card(card.folder).variants == ()


@pytest.mark.parametrize(
    ('training', 'num_pairs', 'said'),
    [
        ({'scenes_read': [[0, 10], [4_000_019, 4_000_020]]}, 20, 'trained on the .* 4000019 to'),
        ({'scenes_read': [[0, 10], [4_000_020, 4_000_099]]}, 19, '19 pairs .*; expected 20 or'),
    ],
)
def test_a_gate_that_can_tell_nothing_is_refused_before_any_work(
    training, num_pairs, said, card, made_export
):
    card = replace(card, training=training)
    pairs = pairs_of(None, count=num_pairs)
    pairs = replace(pairs, gate=replace(pairs.gate, seed=GATE_SEED))
    with pytest.raises(DatasetError, match=said):
        export_to_card(card, INT8, out_dir=None, pairs=pairs, is_forced=False)
    assert made_export['num_calls'] == 0


def test_the_baseline_is_judged_before_a_graph_is_made(card, tmp_path, made_export):
    pairs = pairs_of(write_pairs(tmp_path / 'data', categories=WHALES))
    with pytest.raises(DatasetError, match='no ground truth for the mAP50'):
        export_to_card(card, INT8, out_dir=None, pairs=pairs, is_forced=True)
    assert made_export['num_calls'] == 0


def test_a_missing_package_is_said_before_any_work(card, made_export, monkeypatch):
    monkeypatch.setitem(sys.modules, 'pycocotools', None)  # as if not installed
    with pytest.raises(ModuleNotFoundError, match='pycocotools'):
        export_to_card(card, INT8, out_dir=None, pairs=pairs_of(None), is_forced=False)
    assert made_export['num_calls'] == 0


def test_a_damaged_graph_is_repaired_by_exporting_again(card, tmp_path, made_export):
    pairs = pairs_of(write_pairs(tmp_path / 'data'))
    first = export_to_card(card, INT8, out_dir=None, pairs=pairs, is_forced=False)
    first.path.write_bytes(b'damaged')
    card = load_card(card.folder)
    export_to_card(card, INT8, out_dir=None, pairs=pairs, is_forced=False)
    verify_file(first.path, load_card(card.folder).variants[0].sha256)


@pytest.mark.usefixtures('made_export')
def test_the_graph_whose_place_a_new_one_takes_goes_after_the_card_is_written(
    card, tmp_path, monkeypatch
):
    old = replace(
        write_variant(card, card.folder, precision='int8', target='onnx', road_bias=4.0),
        file='model.old.onnx',
    )
    (card.folder / 'model.int8.onnx.onnx').rename(card.folder / old.file)
    card = card.with_variant(old)
    save_card(card)

    pairs = pairs_of(write_pairs(tmp_path / 'data'))
    with monkeypatch.context() as patch:
        patch.setattr('rgbt_models.card_folder.save_card', interrupt)
        with pytest.raises(KeyboardInterrupt):
            export_to_card(card, INT8, out_dir=None, pairs=pairs, is_forced=False)
    (kept,) = load_card(card.folder).variants
    verify_file(card.folder / kept.file, kept.sha256)
    export_to_card(card, INT8, out_dir=None, pairs=pairs, is_forced=False)
    (new,) = load_card(card.folder).variants
    verify_file(card.folder / new.file, new.sha256)
    assert not (card.folder / old.file).exists()


@pytest.mark.usefixtures('made_export')
def test_an_interrupted_export_can_be_repeated_into_the_new_folder(card, tmp_path, monkeypatch):
    request, home = VariantRequest(precision='fp32', target='onnx'), tmp_path / 'out'
    with monkeypatch.context() as patch:
        patch.setattr('rgbt_models.card_folder.shutil.copyfile', copy_weights_only)
        with pytest.raises(KeyboardInterrupt):
            export_to_card(card, request, out_dir=home, pairs=pairs_of(None), is_forced=False)
    export_to_card(card, request, out_dir=home, pairs=pairs_of(None), is_forced=False)
    copy = load_card(home)
    verify_file(copy.weights_path, copy.weights_sha256)
    verify_file(home / copy.variants[0].file, copy.variants[0].sha256)


@pytest.mark.usefixtures('made_export')
def test_a_graph_whose_place_is_taken_is_not_copied(card, tmp_path):
    old = write_variant(card, card.folder, precision='fp32', target='onnx', road_bias=4.0)
    kept = write_variant(card, card.folder, precision='int8', target='onnx', road_bias=4.0)
    (card.folder / old.file).rename(card.folder / 'model.old.onnx')
    card = replace(card, variants=(replace(old, file='model.old.onnx'), kept))
    request, home = VariantRequest(precision='fp32', target='onnx'), tmp_path / 'out'
    export_to_card(card, request, out_dir=home, pairs=pairs_of(None), is_forced=False)
    assert [item.file for item in load_card(home).variants] == [old.file, kept.file]
    verify_file(home / kept.file, kept.sha256)
    assert not (home / 'model.old.onnx').exists()


def interrupt(*_args):
    raise KeyboardInterrupt


def copy_weights_only(source, path):
    if source.name != 'model.safetensors':
        raise KeyboardInterrupt
    path.write_bytes(source.read_bytes())
    return path


def test_the_card_of_the_package_is_not_written_to():
    card = load_card('tiny')
    for out_dir in (None, card.folder):
        with pytest.raises(CardError, match='part of the installed package'):
            export_to_card(card, FP16, out_dir=out_dir, pairs=pairs_of(None), is_forced=False)


@pytest.mark.parametrize('is_named', [False, True])
def test_a_shipped_card_is_not_written_to(is_named, card, tmp_path, monkeypatch):
    (tmp_path / 'installed').symlink_to(card.folder.parent)  # as an installation by links
    monkeypatch.setattr(card_folder, 'CARDS_DIR', tmp_path / 'installed')
    out_dir = tmp_path / 'installed' / 'new' if is_named else None
    with pytest.raises(CardError, match=r'part of the installed package .* add --out DIR'):
        export_to_card(card, FP16, out_dir=out_dir, pairs=pairs_of(None), is_forced=False)


def test_a_folder_with_other_files_is_not_written_to(card, tmp_path):
    (tmp_path / 'home').mkdir()
    (tmp_path / 'home' / 'model.onnx').write_bytes(b'of somebody')
    with pytest.raises(CardError, match=r'holds files, but no card\.json; expected a card folder'):
        export_to_card(
            card, FP16, out_dir=tmp_path / 'home', pairs=pairs_of(None), is_forced=False
        )


def test_a_folder_that_is_not_ours_is_not_written_to(card, monkeypatch):
    monkeypatch.setattr('os.access', lambda path, mode: (path, mode) != (card.folder, os.W_OK))
    with pytest.raises(CardError, match='add --out DIR'):
        export_to_card(card, FP16, out_dir=None, pairs=pairs_of(None), is_forced=False)


def test_the_folder_of_another_model_is_not_written_to(card, tmp_path):
    other = build_onnx_card(tmp_path / 'other')
    with pytest.raises(CardError, match=r"holds the card of another model, 'fake' version 1"):
        export_to_card(card, FP16, out_dir=other.folder, pairs=pairs_of(None), is_forced=False)
