# SPDX-License-Identifier: Apache-2.0
"""The shipped card runs, on both backends, with the same numbers."""

from __future__ import annotations

from fakes import build_pair
import numpy as np
import pytest

from rgbt_models.card import load_card, OUTPUT_NAMES
from rgbt_models.label_sets import DETECTION_CLASSES, SEGMENTATION_CLASSES
from rgbt_perception.config import build_config
from rgbt_perception.geometry import resize
from rgbt_perception.pipeline import open_pipeline, Pipeline
from rgbt_perception.preprocess import build_batch
from rgbt_perception.types import Mode


def open_tiny(backend: str) -> Pipeline:
    size = {'model.input_height': 96, 'model.input_width': 128}
    return open_pipeline(
        build_config({'engine.backend': backend, 'engine.num_threads': 1, **size})
    )


@pytest.mark.parametrize('mode', [Mode.FUSED, Mode.RGB_ONLY, Mode.THERMAL_ONLY])
def test_both_backends_give_the_same_outputs(mode: Mode):
    outputs = []
    for backend in ('onnx', 'torch'):
        pipeline = open_tiny(backend)
        pair = build_pair()
        thermal = resize(pipeline.scaler(pair.thermal), pair.rgb.size_hw)
        batch = build_batch(pair, mode, thermal, pipeline.card, pipeline.input_hw)
        outputs.append(pipeline.engine.run(batch))
        assert (pipeline.engine.backend, pipeline.engine.precision) == (backend, 'fp32')
    for name in OUTPUT_NAMES:
        first, second = (getattr(raw, name) for raw in outputs)
        assert first.shape == second.shape
        scale = np.abs(second).max()
        np.testing.assert_allclose(first / scale, second / scale, atol=1e-4, err_msg=name)


def test_result_has_the_classes_of_the_card():
    pipeline = open_tiny('onnx')
    result = pipeline.run(build_pair())
    assert result.label_map.shape == (48, 64)
    assert result.label_map.max() < len(pipeline.card.segmentation_classes)
    assert result.dominance.valid
    assert 0.0 <= result.dominance.rgb_entropy <= 1.0


def test_card_says_that_no_real_image_was_used():
    card = load_card('tiny')
    assert card.synthetic_only
    assert 'synthetic' in card.training_data.lower()
    assert card.training['mdi_calibration_target'] == 'contrast advantage'
    assert card.detection_classes == DETECTION_CLASSES
    assert card.segmentation_classes == SEGMENTATION_CLASSES


def test_shipped_files_are_small_enough():
    card = load_card('tiny')
    num_bytes = sum(path.stat().st_size for path in (card.graph_path, card.weights_path))
    assert num_bytes <= 40e6
