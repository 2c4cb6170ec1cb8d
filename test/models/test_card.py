# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import asdict, FrozenInstanceError, replace
import errno
import hashlib
import json
from pathlib import Path
import subprocess
import sys

from made_models import make_card
import pytest

from rgbt_models.card import hash_file, list_cards, load_card, save_card, verify_file
from rgbt_models.errors import CardError, WeightsError
from rgbt_models.graph_variant import Graph, GraphVariant


def write_card(folder, **changes):
    """Write the made card with some JSON values replaced; ``...`` takes a key away."""
    values = json.loads(make_card().to_json())
    values.update(changes)
    values = {name: value for name, value in values.items() if value is not ...}
    (folder / 'card.json').write_text(json.dumps(values), encoding='utf-8')
    return folder


def test_a_card_comes_back_as_it_was_written(tmp_path):
    card = make_card()
    (tmp_path / 'card.json').write_text(card.to_json(), encoding='utf-8')
    assert load_card(tmp_path) == replace(card, folder=tmp_path.resolve())


def test_the_json_keeps_the_field_order_and_names_no_folder():
    text = make_card(folder=Path('secret')).to_json()
    assert list(json.loads(text))[:4] == ['format', 'name', 'version', 'architecture']
    assert 'secret' not in text
    assert 'grüne' in text
    assert text.endswith('}\n')


def graph_variant(**changes):
    values = {
        'file': 'model.int8.openvino.onnx',
        'sha256': 'a' * 64,
        'precision': 'int8',
        'target': 'openvino',
        'opset': 18,
        'is_stacked': False,
        'keep_tokens': 0.75,
        'gate': {'map50_drop': 0.002},
    }
    return GraphVariant(**{**values, **changes})


def test_a_card_with_variants_comes_back_as_it_was_written(tmp_path):
    card = make_card(variants=(graph_variant(), graph_variant(target='onnx', is_stacked=True)))
    (tmp_path / 'card.json').write_text(card.to_json(), encoding='utf-8')
    assert load_card(tmp_path) == replace(card, folder=tmp_path.resolve())


def test_a_card_without_variants_has_no_such_key():
    assert 'variants' not in json.loads(make_card().to_json())


def test_the_shipped_cards_are_written_as_they_are():
    for name in list_cards():
        card = load_card(name)
        assert card.to_json() == (card.folder / 'card.json').read_text(encoding='utf-8')


def test_a_variant_is_found_by_target_and_precision():
    own = graph_variant(target='onnx', precision='fp32', file='model.fp32.onnx.onnx')
    card = make_card(folder=Path('made'), variants=(graph_variant(), own))
    expected = Graph(path=Path('made/model.int8.openvino.onnx'), sha256='a' * 64, precision='int8')
    assert card.find_graph('openvino', 'int8') == expected
    assert card.find_graph('onnx', 'int8') is None  # never one of another target
    assert card.find_graph('onnx', 'fp32').path.name == 'model.fp32.onnx.onnx'
    plain = Graph(path=Path('made/model.onnx'), sha256='f' * 64, precision='fp32')
    assert card.find_graph('openvino', 'fp32') == plain
    assert make_card(graph_sha256='').find_graph('openvino', 'fp32') is None


@pytest.mark.parametrize(
    ('changes', 'said'),
    [
        ({'file': '../model.onnx'}, 'expected the name of an ONNX file in the card folder'),
        ({'file': 'model.plan'}, 'expected the name of an ONNX file in the card folder'),
        ({'precision': 'int4'}, "precision 'int4' and target 'openvino'; expected one of fp32"),
        ({'target': 'torch'}, "target 'torch'; expected .* one of onnx, openvino, tensorrt"),
        ({'keep_tokens': 0.0}, 'expected a share above 0, at most 1'),
        ({'keep_tokens': float('nan')}, 'expected a share above 0, at most 1'),
        ({'keep_tokens': 'all'}, 'malformed'),
        ({'input_hw': [0, 96]}, 'expected height and width above 0'),
        ({'input_hw': [96]}, 'expected height and width above 0'),
        ({'input_hw': 96}, 'malformed'),
        ({'gates': {}}, 'malformed'),
    ],
)
def test_a_variant_that_cannot_be_used_is_refused(tmp_path, changes, said):
    variants = [{**asdict(graph_variant()), **changes}]
    with pytest.raises(CardError, match=said) as error:
        load_card(write_card(tmp_path, variants=variants))
    assert str(tmp_path.resolve()) in str(error.value)


@pytest.mark.parametrize('found', ['x', 5, None, ['file', 'sha256']])
def test_a_variant_that_is_no_object_is_refused(tmp_path, found):
    with pytest.raises(CardError, match=r'malformed \(graph variant .* is not an object\)'):
        load_card(write_card(tmp_path, variants=[found]))


def test_a_variant_takes_the_place_of_its_like_and_the_order_is_fixed():
    card = make_card(variants=(graph_variant(), graph_variant(target='onnx')))
    card = card.with_variant(graph_variant(target='onnx', precision='fp16'))
    card = card.with_variant(graph_variant(opset=17))
    found = [(item.target, item.precision, item.opset) for item in card.variants]
    assert found == [('onnx', 'fp16', 18), ('onnx', 'int8', 18), ('openvino', 'int8', 17)]


def test_two_variants_for_the_same_target_and_precision_are_refused():
    with pytest.raises(CardError, match='expected at most one for each target and precision'):
        make_card(variants=(graph_variant(), graph_variant(file='other.onnx')))


def test_a_card_that_cannot_be_written_leaves_no_draft(tmp_path, monkeypatch):
    folder = write_card(tmp_path)
    before = (folder / 'card.json').read_bytes()

    def fill_disk(_path, _target):
        raise OSError(errno.ENOSPC, 'no space left')

    monkeypatch.setattr(Path, 'replace', fill_disk)
    with pytest.raises(OSError, match='no space left'):
        save_card(replace(load_card(folder), version='8'))
    assert [path.name for path in folder.iterdir()] == ['card.json']
    assert (folder / 'card.json').read_bytes() == before


def test_a_card_cannot_be_changed():
    with pytest.raises(FrozenInstanceError):
        make_card().name = 'other'


def test_paths_of_the_files_are_beside_the_card(tmp_path):
    card = load_card(write_card(tmp_path))
    assert card.weights_path == tmp_path.resolve() / 'model.safetensors'
    assert card.graph_path == tmp_path.resolve() / 'model.onnx'


def test_a_folder_given_as_text_needs_a_separator(tmp_path, monkeypatch):
    (tmp_path / 'made').mkdir()
    write_card(tmp_path / 'made')
    monkeypatch.chdir(tmp_path)
    assert load_card('./made').name == 'made'
    with pytest.raises(CardError, match='no model card'):
        load_card('made')


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(
        CardError, match=r"no model card at '.*huge/card.json'; expected one of "
    ) as e:
        load_card('huge')
    assert all(name in str(e.value) for name in list_cards())


@pytest.mark.parametrize('content', [b'{"format": 1,', b'\xff\xfe', b''])
def test_text_that_is_not_json_is_said(tmp_path, content):
    (tmp_path / 'card.json').write_bytes(content)
    with pytest.raises(CardError, match='is not valid JSON'):
        load_card(tmp_path)


@pytest.mark.parametrize('found', [2, None, '1', ...])
def test_another_format_is_refused(tmp_path, found):
    with pytest.raises(CardError, match='this version reads 1; export the model again'):
        load_card(write_card(tmp_path, format=found))


def test_json_that_is_no_object_is_refused(tmp_path):
    (tmp_path / 'card.json').write_text('[1, 2]')
    with pytest.raises(CardError, match='has format None'):
        load_card(tmp_path)


def test_unknown_and_missing_keys_are_named(tmp_path):
    folder = write_card(tmp_path, licens='x', licence=..., rgb_std=...)
    expected = r"unknown keys \['licens'\] and lacks \['licence', 'rgb_std'\]"
    with pytest.raises(CardError, match=expected):
        load_card(folder)


@pytest.mark.parametrize(
    ('changes', 'said'),
    [
        ({'input_hw': 384}, r"\['input_hw'\] are not lists"),
        ({'input_hw': ['384', '512']}, 'malformed'),
        ({'input_hw': [96, 160, 3]}, 'expected two positive multiples of 16'),
        ({'input_hw': [96, 168]}, 'expected two positive multiples of 16'),
        ({'input_hw': [0, 160]}, 'expected two positive multiples of 16'),
        ({'input_hw': [-16, 160]}, 'expected two positive multiples of 16'),
        ({'size_multiple': 0}, 'size_multiple 0; expected a positive number'),
        ({'rgb_mean': [0.1, 0.2]}, 'expected three values for RGB'),
        ({'rgb_std': [0.1, 0.2, 0.0]}, 'standard deviations above 0'),
        ({'rgb_std': [0.1, 0.2, float('nan')]}, 'standard deviations above 0'),
        ({'thermal_std': -0.2}, 'standard deviations above 0'),
        ({'thermal_std': '0.2'}, 'malformed'),
        ({'detection_classes': 'person'}, r"\['detection_classes'\] are not lists"),
        (
            {'detection_classes': [], 'segmentation_classes': []},
            'one or more names in one of them',
        ),
        ({'segmentation_classes': ['sky', 'sky']}, 'each once'),
        ({'mdi_calibration': {'bias': 0.0}}, 'malformed'),
        ({'mdi_calibration': [1.0]}, 'malformed'),
        ({'thermal_normaliser': {'low_percentile': 1.0}}, 'thermal_normaliser lacks .*high_perc'),
        ({'thermal_normaliser': None}, 'malformed'),
    ],
)
def test_a_value_that_no_stage_can_use_is_refused(tmp_path, changes, said):
    with pytest.raises(CardError, match=said) as error:
        load_card(write_card(tmp_path, **changes))
    assert str(tmp_path.resolve()) in str(error.value)


def test_an_unknown_normaliser_setting_is_refused(tmp_path):
    values = json.loads(make_card().to_json())['thermal_normaliser']
    with pytest.raises(CardError, match='gamma'):
        load_card(write_card(tmp_path, thermal_normaliser={**values, 'gamma': 2.0}))


def test_the_hash_is_sha256_in_hex(tmp_path):
    content = bytes(range(256)) * 5000  # more than one block of a mebibyte
    (tmp_path / 'file').write_bytes(content)
    assert hash_file(tmp_path / 'file') == hashlib.sha256(content).hexdigest()
    (tmp_path / 'empty').write_bytes(b'')
    # the published SHA-256 of nothing
    assert hash_file(tmp_path / 'empty').startswith('e3b0c44298fc1c14')


def test_a_file_with_its_hash_passes_and_an_altered_one_does_not(tmp_path):
    path = tmp_path / 'model.onnx'
    path.write_bytes(b'graph')
    expected = hash_file(path)
    verify_file(path, expected)
    path.write_bytes(b'grapf')
    said = f'SHA-256 {hash_file(path)[:12]}..., the card expects {expected[:12]}'
    with pytest.raises(WeightsError, match='altered or belongs to another card') as error:
        verify_file(path, expected)
    assert said in str(error.value)


def test_a_missing_model_file_is_said(tmp_path):
    with pytest.raises(WeightsError, match=r"model.onnx' is missing; expected it beside its card"):
        verify_file(tmp_path / 'model.onnx', '0' * 64)


def test_the_shipped_cards_are_whole():
    assert 'tiny' in list_cards()
    for name in list_cards():
        card = load_card(name)
        assert card.name == name
        verify_file(card.weights_path, card.weights_sha256)
        verify_file(card.graph_path, card.graph_sha256)
        assert len(card.mdi_calibration.weights) == 3
        assert card.synthetic_only == ('ynthetic data only' in card.training_data)


def test_cards_and_normalisers_need_no_torch():
    code = (
        'import sys, rgbt_models, rgbt_models.card, rgbt_models.normalise, rgbt_models.errors; '
        "sys.exit(any(name in sys.modules for name in ('torch', 'onnxruntime', 'cv2', 'timm')))"
    )
    root = Path(__file__).resolve().parents[2]
    assert subprocess.run([sys.executable, '-c', code], cwd=root, check=False).returncode == 0


def test_a_variant_of_one_size_comes_back_and_serves_only_that_size(tmp_path):
    merged = graph_variant(target='onnx', precision='fp32', file='merged.onnx', input_hw=(96, 160))
    card = make_card(variants=(graph_variant(), merged))
    (tmp_path / 'card.json').write_text(card.to_json(), encoding='utf-8')
    loaded = load_card(tmp_path)
    assert loaded.variants == card.variants
    assert loaded.find_graph('onnx', 'fp32').path.name == 'merged.onnx'
    other = replace(loaded, input_hw=(96, 192))
    assert other.find_graph('onnx', 'fp32').path.name == 'model.onnx'
    assert other.find_graph('openvino', 'int8').path.name == 'model.int8.openvino.onnx'


def test_a_variant_of_any_size_is_written_as_older_versions_read_it():
    (values,) = json.loads(make_card(variants=(graph_variant(),)).to_json())['variants']
    assert 'input_hw' not in values
    assert list(values)[:2] == ['file', 'sha256']
