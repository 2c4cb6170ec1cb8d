# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import replace
import json

import cv2
from fakes import build_card, build_outputs, FakeEngine
from made_data import build_truth, MIDDLE_BOX, RGB_HW, write_bag, write_dataset
from made_results import build_result
from made_variants import with_variant
import numpy as np
import pytest

from rgbt_perception.config import build_config
from rgbt_perception.engine.precision import choose_graph, choose_precision
from rgbt_perception.errors import DatasetError
from rgbt_perception.evaluate import (
    as_published,
    build_variant,
    evaluate_pairs,
    Evaluation,
    PipelinePool,
    scaled_input_hw,
)
from rgbt_perception.sources import open_source
from rgbt_perception.truth import encode_label_map, TruthPair


def middle_person(batch):
    """Find the person of made_data in whatever input size: its box in network pixels."""
    height, width = batch.rgb.shape[2:]
    scale = min(height / RGB_HW[0], width / RGB_HW[1])
    pad_x, pad_y = (width - RGB_HW[1] * scale) / 2, (height - RGB_HW[0] * scale) / 2
    x_min, y_min, x_max, y_max = (value * scale for value in MIDDLE_BOX)
    box = (x_min + pad_x, y_min + pad_y, x_max + pad_x, y_max + pad_y)
    score = 0.9 if batch.available.sum() == 2 else 0.02
    boxes = [(0, score, box)] if batch.available[0, 0] else []
    return build_outputs((height, width), boxes=boxes, class_id=1)


@pytest.fixture
def pool(tmp_path):
    engine = FakeEngine(middle_person)
    return PipelinePool(card=build_card(tmp_path / 'card'), engine=engine, config=build_config({}))


def evaluate(tmp_path, pool, path, **settings):
    source = open_source(path, pool.config)
    evaluation = Evaluation(pool, source.segmentation_classes)
    return evaluate_pairs(source.pairs(), evaluation, out_dir=tmp_path / 'out', **settings)


@pytest.mark.parametrize(
    ('settings', 'scale', 'expected'),
    [
        ({}, None, ('model.fp32.onnx.onnx', (96, 128))),
        ({'model.input_height': 64}, None, ('model.onnx', (64, 128))),
        ({}, 0.5, ('model.onnx', (96, 128))),
    ],
)
def test_a_graph_of_one_size_is_taken_for_that_size_only(
    tmp_path, monkeypatch, settings, scale, expected
):
    card = with_variant(build_card(tmp_path, input_hw=(96, 128)), 'onnx', 'fp32')
    card = replace(card, variants=(replace(card.variants[0], input_hw=(96, 128)),))
    opened = []
    monkeypatch.setattr('rgbt_perception.evaluate.load_card', lambda _: card)
    monkeypatch.setattr('rgbt_perception.evaluate.open_engine', lambda *args: opened.append(args))
    PipelinePool.open(build_config(settings), scale=scale)
    ((fitting, engine),) = opened
    graph = choose_graph(fitting, 'onnx', choose_precision(fitting, engine, 'onnx'))
    assert (graph.path.name, fitting.input_hw) == expected


def test_metrics_of_a_bag_fused_and_with_each_camera_alone(tmp_path, pool):
    path = write_bag(tmp_path / 'bag', num_instants=4)
    metrics = evaluate(tmp_path, pool, path)
    assert metrics['pairs'] == 4
    assert metrics['model'] == 'fake'
    assert metrics['fused']['AP50'] == {'person': pytest.approx(1.0)}
    assert metrics['fused']['mAP'] == pytest.approx(1.0)
    assert metrics['rgb_only']['AP50']['person'] == pytest.approx(1.0)  # score .02 still counts
    assert metrics['thermal_only']['AP50']['person'] == 0.0
    # One row of 48 is sky, called road: road IoU 47/48, sky 0.
    assert metrics['fused']['IoU'] == {'sky': 0.0, 'road': pytest.approx(47 / 48, abs=1e-6)}
    assert metrics['fused']['mIoU'] == pytest.approx(47 / 96, abs=1e-6)
    assert metrics['modes'] == {'fused': 4}


def test_slices_tell_day_from_night(tmp_path, pool):
    metrics = evaluate(tmp_path, pool, write_bag(tmp_path / 'bag', num_instants=4))
    assert {name: item['pairs'] for name, item in metrics['slices'].items()} == {
        'day': 2,
        'night': 2,
    }
    assert metrics['slices']['night']['fused']['AP50']['person'] == pytest.approx(1.0)


def test_classes_the_model_lacks_and_classes_without_truth_are_named(tmp_path, pool):
    metrics = evaluate(tmp_path, pool, write_dataset(tmp_path / 'pairs'))
    assert metrics['classes_left_out'] == ['cyclist']
    assert metrics['classes_without_truth']['detection'] == [
        *('rider', 'bicycle', 'motorbike', 'car', 'truck', 'animal')  # the car is ignored
    ]
    assert metrics['classes_without_truth']['segmentation'][:2] == ['sky', 'sidewalk']


def test_file_holds_the_metrics_and_their_conditions(tmp_path, pool):
    metrics = evaluate(tmp_path, pool, write_dataset(tmp_path / 'pairs'))
    stored = json.loads((tmp_path / 'out/metrics.json').read_text())
    assert stored == metrics
    assert stored['conditions']['score_threshold'] == 0.01
    assert stored['conditions']['max_detections'] == 300
    assert stored['conditions']['input_hw'] == [[64, 80]]
    assert stored['conditions']['backend'] == 'fake'


def test_two_evaluations_write_the_same_bytes(tmp_path, pool):
    path = write_dataset(tmp_path / 'pairs')
    evaluate(tmp_path, pool, path)
    first = (tmp_path / 'out/metrics.json').read_bytes()
    evaluate(tmp_path, pool, path)
    assert (tmp_path / 'out/metrics.json').read_bytes() == first


def test_scale_sets_the_network_input_from_the_source_size(tmp_path):
    engine = FakeEngine(middle_person)
    card = build_card(tmp_path / 'card')
    pool = PipelinePool(card=card, engine=engine, config=build_config({}), scale=1.3)
    metrics = evaluate(tmp_path, pool, write_dataset(tmp_path / 'pairs'))
    # 48x64 times 1.3 is 62.4x83.2: nearest multiples of 16.
    assert engine.batches[0].rgb.shape == (1, 3, 64, 80)
    assert metrics['conditions']['scale'] == 1.3
    assert metrics['fused']['AP50']['person'] == pytest.approx(1.0)


@pytest.mark.parametrize(
    ('source_hw', 'scale', 'expected'),
    [
        ((480, 640), 1.0, (480, 640)),
        ((512, 640), 0.625, (320, 400)),
        ((480, 640), 0.01, (16, 16)),
        ((100, 200), 0.5, (48, 96)),
    ],
)
def test_scaled_input_is_a_multiple_of_sixteen(source_hw, scale, expected):
    assert scaled_input_hw(source_hw, scale, 16) == expected


def test_variants_take_one_camera_away(tmp_path):
    source = open_source(write_dataset(tmp_path), build_config({}))
    pair = next(iter(source.pairs())).pair
    assert build_variant(pair, 'fused') is pair
    rgb_only = build_variant(pair, 'rgb_only')
    assert rgb_only.rgb is pair.rgb
    assert rgb_only.thermal is None
    thermal_only = build_variant(pair, 'thermal_only')
    assert thermal_only.thermal is pair.thermal
    assert thermal_only.reference.size_hw == pair.rgb.size_hw
    assert not thermal_only.rgb.pixels.any()


def test_thermal_only_results_are_on_the_rgb_grid(tmp_path, pool):
    source = open_source(write_dataset(tmp_path / 'pairs'), pool.config)
    pair = build_variant(next(iter(source.pairs())).pair, 'thermal_only')
    result = pool.pipeline_for(RGB_HW).run(pair)
    assert result.mode.value == 'thermal_only'
    assert result.label_map.shape == RGB_HW


def test_label_map_of_another_size_is_refused(tmp_path, pool):
    item = next(iter(open_source(write_dataset(tmp_path / 'pairs'), pool.config).pairs()))
    small = replace(build_truth(), label_map_png=encode_label_map(np.zeros((3, 5), np.uint8)))
    with pytest.raises(DatasetError, match=r'has size \(3, 5\), expected that of the RGB image'):
        Evaluation(pool).add(TruthPair(name='a', pair=item.pair, truth=small))


def test_overlays_show_what_the_node_would_publish():
    result = build_result()  # scores .75 and .5
    output = build_config({'output.score_threshold': 0.5}).output
    assert as_published(result, output).detections.scores.tolist() == [0.75, 0.5]
    output = build_config({'output.score_threshold': 0.51}).output
    assert as_published(result, output).detections.class_ids.tolist() == [0]
    output = build_config({'output.max_detections': 1}).output
    assert as_published(result, output).detections.boxes_xyxy.tolist() == [[1, 0, 4, 2]]


def test_overlays_are_drawn_for_the_first_pairs(tmp_path, pool):
    evaluate(tmp_path, pool, write_dataset(tmp_path / 'pairs'), num_overlays=2)
    names = sorted(path.name for path in (tmp_path / 'out/overlays').iterdir())
    assert names == ['0000_0_rgb.png', '0001_1_rgb.png']
    assert cv2.imread(str(tmp_path / 'out/overlays' / names[0])) is not None
