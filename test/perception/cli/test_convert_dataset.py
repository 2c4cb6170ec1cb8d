# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json

from made_layouts import MAKERS
import numpy as np
import pytest

from rgbt_models.data import load_manifest
from rgbt_perception.cli.main import main
from rgbt_perception.datasets import load_dataset


def convert(layout, tmp_path, out, *options):
    MAKERS[layout](tmp_path / 'source')
    return main(
        ['convert', 'dataset', layout, str(tmp_path / 'source'), '--out', str(out), *options]
    )


@pytest.mark.parametrize('layout', ['kaist', 'mfnet', 'llvip', 'vt5000'])
def test_the_folder_written_is_one_that_evaluation_reads(tmp_path, layout, capsys):
    assert convert(layout, tmp_path, tmp_path / 'out') == 0
    dataset = load_dataset(tmp_path / 'out')
    pairs = list(dataset.pairs())
    assert f'{len(pairs)} pairs written' in capsys.readouterr().out
    assert pairs[0].pair.thermal.pixels.shape == (24, 32)


def test_boxes_and_label_maps_arrive_in_evaluation(tmp_path):
    convert('kaist', tmp_path, tmp_path / 'out')
    truth = next(load_dataset(tmp_path / 'out').pairs()).truth
    np.testing.assert_array_equal(truth.boxes_xyxy, [[3, 4, 8, 16], [10, 4, 19, 16]])
    assert truth.ignore.tolist() == [False, True]
    assert truth.class_names == ('person', 'people')


def test_label_maps_arrive_in_evaluation(tmp_path):
    convert('fmb', tmp_path, tmp_path / 'out')
    dataset = load_dataset(tmp_path / 'out')
    assert dataset.segmentation_classes[:2] == ('background', 'road')
    assert next(dataset.pairs()).truth.label_map().max() == 14


def test_a_name_ending_in_jsonl_makes_a_manifest(tmp_path):
    assert convert('vt821', tmp_path, tmp_path / 'set.jsonl') == 0
    manifest = load_manifest(tmp_path / 'set.jsonl')
    assert manifest.entries[0].mask_path is not None


def test_shards_are_written_and_what_is_left_out_is_named(tmp_path, capsys):
    assert convert('llvip', tmp_path, tmp_path / 'out', '--shards', '2') == 0
    index = json.loads((tmp_path / 'out/shards.json').read_text())
    assert sum(index['shards'].values()) == 3
    text = capsys.readouterr().out
    assert '1 left out:' in text
    assert '190003' in (tmp_path / 'out/skipped.jsonl').read_text()


def test_a_wrong_split_is_one_line_and_status_2(tmp_path, capsys):
    assert convert('llvip', tmp_path, tmp_path / 'out', '--split', 'val') == 2
    assert "has no split 'val'" in capsys.readouterr().err


def test_a_pool_for_training_is_written(tmp_path):
    assert convert('m3fd', tmp_path, tmp_path / 'pool', '--pool', '24x32') == 0
    assert (tmp_path / 'pool/shard_000000000/rgb.npy').is_file()


@pytest.mark.parametrize('size', ['24', '24x', '0x32', '-1x4'])
def test_a_pool_size_that_is_none_is_refused(tmp_path, capsys, size):
    with pytest.raises(SystemExit):
        convert('m3fd', tmp_path, tmp_path / 'pool', f'--pool={size}')
    assert 'is not HEIGHTxWIDTH' in capsys.readouterr().err


@pytest.mark.parametrize(
    ('options', 'classes'),
    [((), ['people']), (('--map-classes',), ['person', 'car', 'bicycle'])],
)
def test_a_pool_keeps_the_classes_of_the_set_unless_they_are_mapped(tmp_path, options, classes):
    convert('m3fd', tmp_path, tmp_path / 'pool', '--pool', '24x32', *options)
    found = json.loads((tmp_path / 'pool/pool.json').read_text())['detection_classes']
    assert set(classes) <= {name.lower() for name in found}
    assert ('person' in found) == ('--map-classes' in options)


@pytest.mark.parametrize(
    ('out', 'options', 'asked'),
    [
        ('out.json', ('--shards', '2'), 'a manifest (the name in --out) and --shards'),
        ('out.jsonl', ('--pool', '24x32'), 'a manifest (the name in --out) and --pool'),
        ('out', ('--shards', '2', '--pool', '24x32'), '--shards and --pool'),
    ],
)
def test_two_forms_at_once_are_refused(tmp_path, capsys, out, options, asked):
    assert convert('m3fd', tmp_path, tmp_path / out, *options) == 2
    assert f'{asked} are asked for; expected one form' in capsys.readouterr().err
    assert not (tmp_path / out).exists()


def test_mapping_without_a_pool_is_refused(tmp_path, capsys):
    assert convert('m3fd', tmp_path, tmp_path / 'out', '--map-classes') == 2
    assert '--map-classes is given without --pool' in capsys.readouterr().err
