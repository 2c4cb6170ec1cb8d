# SPDX-License-Identifier: Apache-2.0
"""Published models through the pipeline of node, replay and evaluation."""

from __future__ import annotations

from dataclasses import replace
import json
import logging
from pathlib import Path
from typing import Any

from made_data import write_bag, write_dataset
from made_published import write_published
import numpy as np
import pytest

from rgbt_models.card import load_card
from rgbt_models.errors import CardError
from rgbt_models.published import detect_pair, load_detector, load_segmenter, segment_pair
from rgbt_perception.cli.main import main
from rgbt_perception.config import build_config, EngineConfig
from rgbt_perception.engine import open_engine, supervise
from rgbt_perception.engine.choice import choose_backends
from rgbt_perception.errors import BackendUnavailableError, EngineError
from rgbt_perception.overlay import color_label_map, draw_overlay, draw_side_by_side
from rgbt_perception.pipeline import open_pipeline, Pipeline
from rgbt_perception.types import Frame, Modality, Mode, Pair, UNLABELED

ROOT = Path(__file__).resolve().parents[2]
ONE_THREAD = {'engine.num_threads': 1}


def open_published(folder: Path, **settings: object) -> Pipeline:
    return open_pipeline(
        build_config({'model.card': str(folder), **ONE_THREAD, **settings}), supervised=False
    )


def byte_pair(height: int, width: int, stamp_ns: int = 1) -> Pair:
    """An 8-bit pair of equal size, as the release has it; noise with large patches."""
    rng = np.random.default_rng(stamp_ns)
    rgb = rng.integers(0, 256, (height, width, 3), np.uint8)
    thermal = rng.integers(0, 256, (height, width), np.uint8)
    return Pair(
        rgb=Frame(pixels=rgb, stamp_ns=stamp_ns, frame_id='rgb', modality=Modality.RGB),
        thermal=Frame(pixels=thermal, stamp_ns=stamp_ns, frame_id='t', modality=Modality.THERMAL),
    )


def read_results(folder: Path) -> list[dict[str, Any]]:
    text = (folder / 'out' / 'results.jsonl').read_text(encoding='utf-8')
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.parametrize('seed', [1, 2])
def test_detections_are_those_of_the_release_on_a_pair_that_needs_no_padding(
    tmp_path, monkeypatch, seed
):
    folder = write_published(tmp_path / 'flir', 'detection', monkeypatch)
    pipeline = open_published(folder, **{'output.score_threshold': 0.05})
    pair = byte_pair(96, 96, seed)
    found = pipeline.run(pair).detections
    card, model = load_detector(folder)
    expected = detect_pair(model, card, np.array(pair.rgb.pixels), np.array(pair.thermal.pixels))
    boxes = expected.boxes_xyxy.numpy()
    is_whole = ((boxes[:, 2:] - boxes[:, :2]) >= 1.0).all(axis=1)  # slivers are left out
    assert is_whole.sum() == len(found) > 3
    np.testing.assert_allclose(found.boxes_xyxy, boxes[is_whole], rtol=0, atol=1e-2)
    np.testing.assert_allclose(found.scores, expected.scores.numpy()[is_whole], rtol=0, atol=1e-4)
    assert found.class_ids.tolist() == expected.class_ids.numpy()[is_whole].tolist()


def test_a_lower_overlap_in_the_settings_suppresses_once_more(tmp_path, monkeypatch):
    folder = write_published(tmp_path / 'flir', 'detection', monkeypatch)
    pair = byte_pair(96, 96)
    settings = {'output.score_threshold': 0.05}
    every = open_published(folder, **settings).run(pair).detections
    fewer = open_published(folder, **settings, **{'output.nms_iou': 0.05}).run(pair).detections
    assert 0 < len(fewer) < len(every)


def test_labels_are_those_of_the_release_on_a_4_to_3_pair(tmp_path, monkeypatch):
    folder = write_published(tmp_path / 'mfnet', 'segmentation', monkeypatch)
    pipeline = open_published(folder)
    assert pipeline.input_hw == (64, 96)
    pair = byte_pair(64, 96)
    label_map = pipeline.run(pair).label_map
    card, model = load_segmenter(folder)
    logits = segment_pair(model, card, np.array(pair.rgb.pixels), np.array(pair.thermal.pixels))
    np.testing.assert_array_equal(label_map, logits.argmax(dim=0).numpy())
    assert len(np.unique(label_map)) > 1


def test_labels_of_an_enlarged_pair_differ_at_borders_only(tmp_path, monkeypatch):
    folder = write_published(tmp_path / 'mfnet', 'segmentation', monkeypatch)
    pair = byte_pair(32, 48)
    label_map = open_published(folder).run(pair).label_map
    card, model = load_segmenter(folder)
    logits = segment_pair(model, card, np.array(pair.rgb.pixels), np.array(pair.thermal.pixels))
    assert (label_map == logits.argmax(dim=0).numpy()).mean() > 0.97


@pytest.mark.parametrize('task', ['detection', 'segmentation', 'saliency'])
def test_a_result_says_what_the_model_does_not_give(tmp_path, monkeypatch, task):
    pipeline = open_published(write_published(tmp_path / 'made', task, monkeypatch))
    pipeline.warm_up()
    pair = byte_pair(50, 70)
    result = pipeline.run(pair)
    assert result.mode is Mode.FUSED
    assert not result.dominance.valid
    assert np.isnan([result.dominance.mdi, result.dominance.rgb_entropy]).all()
    assert result.dominance.method == 'none'
    is_detector = task == 'detection'
    assert (len(result.detections) > 0) == is_detector
    assert result.label_map.shape == (50, 70)
    assert (result.label_map == UNLABELED).all() == is_detector
    colors = color_label_map(result.label_map, pipeline.card)
    assert colors.any() != is_detector
    assert draw_overlay(result, pipeline.card).shape == (50, 70, 3)
    assert draw_side_by_side(result, pipeline.card).shape == (50, 140, 3)


@pytest.mark.parametrize('task', ['detection', 'segmentation'])
def test_one_camera_is_enough_for_a_result(tmp_path, monkeypatch, task):
    pipeline = open_published(write_published(tmp_path / 'made', task, monkeypatch))
    pair = byte_pair(64, 96)
    rgb_only = pipeline.run(Pair(rgb=pair.rgb, thermal=None))
    assert (rgb_only.mode, rgb_only.dominance.mdi) == (Mode.RGB_ONLY, 1.0)
    thermal_only = pipeline.run(Pair(rgb=None, thermal=pair.thermal))
    assert (thermal_only.mode, thermal_only.dominance.mdi) == (Mode.THERMAL_ONLY, -1.0)
    assert thermal_only.label_map.shape == (64, 96)


def test_torch_is_the_only_backend(tmp_path, monkeypatch, caplog):
    card = load_card(write_published(tmp_path / 'flir', 'detection', monkeypatch))
    (card.folder / 'model.onnx').write_bytes(b'of something else')
    assert choose_backends(card, EngineConfig()) == ('torch',)
    with caplog.at_level(logging.INFO, 'rgbt_perception'):
        engine = open_engine(card, EngineConfig(num_threads=1))
    assert (engine.backend, engine.precision) == ('torch', 'fp32')
    assert "model 'flir' version abcdef01 runs on cpu" in caplog.text
    assert "converted from 'made.pth'" in caplog.text
    said = "backend 'onnx' cannot run card 'flir'.*set engine.backend to 'torch' or 'auto'"
    for opener in (open_engine, supervise):
        with pytest.raises(BackendUnavailableError, match=said):
            opener(card, EngineConfig(backend='onnx'))


def test_without_torch_the_command_is_named(tmp_path, monkeypatch):
    card = load_card(write_published(tmp_path / 'flir', 'detection', monkeypatch))
    monkeypatch.setattr('importlib.util.find_spec', lambda name: None)
    said = r"torch: package torch is not installed; .* run: pip install 'rgbt_perception\[torch\]'"
    with pytest.raises(BackendUnavailableError, match=said):
        open_engine(card, EngineConfig())


def test_an_input_smaller_than_a_window_names_the_settings(tmp_path, monkeypatch):
    folder = write_published(tmp_path / 'mfnet', 'segmentation', monkeypatch)
    pipeline = open_published(folder, **{'model.input_height': 32, 'model.input_width': 96})
    with pytest.raises(EngineError, match=r'window of 64 px.*check model\.input_height'):
        pipeline.warm_up()


def test_an_encoder_does_not_start(tmp_path, monkeypatch):
    folder = write_published(tmp_path / 'encoder', 'detection', monkeypatch)
    values = json.loads((folder / 'card.json').read_text())
    values.update(task='encoder', classes=[])
    (folder / 'card.json').write_text(json.dumps(values))
    with pytest.raises(CardError, match='is of a pretrained encoder'):
        open_published(folder)


@pytest.mark.parametrize('task', ['detection', 'segmentation', 'saliency'])
def test_a_bag_is_replayed(tmp_path, monkeypatch, capsys, task):
    folder = write_published(tmp_path / 'made', task, monkeypatch)
    bag = write_bag(tmp_path / 'bag', num_instants=5, without_thermal=(3,))
    arguments = ['replay', str(bag), '--out', str(tmp_path / 'out'), '--model', str(folder)]
    assert main(arguments) == 0
    assert capsys.readouterr().out.startswith('5 results (4 fused, 1 rgb_only), ')
    lines = read_results(tmp_path)
    assert [line['mdi'] for line in lines].count(None) == 4
    assert any(line['boxes_xyxy'] for line in lines) == (task == 'detection')
    summary = json.loads((tmp_path / 'out/summary.json').read_text())
    assert (summary['backend'], summary['model']) == ('torch', 'made')


def test_the_sample_drive_is_replayed(tmp_path, monkeypatch, capsys):
    folder = write_published(tmp_path / 'mfnet', 'segmentation', monkeypatch)
    bag = ROOT / 'bags' / 'sample_drive'
    arguments = ['replay', str(bag), '--out', str(tmp_path / 'out'), '--model', str(folder)]
    assert main(arguments) == 0
    text = capsys.readouterr().out
    assert text.startswith('120 results (')
    assert ', 0 detections, ' in text
    fused = [line for line in read_results(tmp_path) if line['mode'] == 'fused']
    assert len(fused) > 60
    assert {line['dominance_method'] for line in fused} == {'none'}


@pytest.mark.parametrize('task', ['detection', 'segmentation'])
def test_pairs_are_evaluated(tmp_path, monkeypatch, capsys, task):
    folder = write_published(tmp_path / 'made', task, monkeypatch)
    pairs = write_dataset(tmp_path / 'pairs')
    arguments = ['evaluate', str(pairs), '--out', str(tmp_path / 'out'), '--model', str(folder)]
    is_detector = task == 'detection'
    assert main([*arguments, *(['--overlays', '1'] if is_detector else ['--failures'])]) == 0
    metrics = json.loads((tmp_path / 'out/metrics.json').read_text())
    assert (metrics['fused']['mAP'] is not None) == is_detector
    assert (metrics['fused']['mIoU'] is not None) == (not is_detector)
    assert bool(metrics['fused']['AP50']) == is_detector
    assert 'made, 3 pairs' in capsys.readouterr().out


def test_a_view_with_a_changed_folder_is_told_by_its_hash(tmp_path, monkeypatch):
    card = load_card(write_published(tmp_path / 'flir', 'detection', monkeypatch))
    with pytest.raises(CardError, match='cannot read card'):
        open_engine(replace(card, folder=tmp_path), EngineConfig(backend='torch', num_threads=1))
