# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import replace

from fakes import build_card, build_outputs, build_pair, FakeEngine
import numpy as np
import pytest

from bench.merged_classes import merge_card, MergedEngine
from rgbt_perception.config import PerceptionConfig
from rgbt_perception.errors import ConfigError
from rgbt_perception.pipeline import Pipeline

PEOPLE = {'person': ('person', 'rider'), 'wheels': ('car', 'truck')}
# One thing found as person (class 0) and as rider (class 1), and a truck (class 5).
FOUND = (
    (0, 0.6, (16.0, 8.0, 32.0, 40.0)),
    (1, 0.8, (16.0, 8.0, 32.0, 41.0)),
    (5, 0.7, (48.0, 8.0, 64.0, 40.0)),
)


def test_one_thing_found_as_two_merged_classes_is_one_detection(tmp_path):
    card = build_card(tmp_path)
    engine = MergedEngine(FakeEngine(build_outputs((64, 80), boxes=FOUND)), card, PEOPLE)
    merged = merge_card(card, PEOPLE)
    pipeline = Pipeline(card=merged, engine=engine, config=PerceptionConfig())
    found = pipeline.run(build_pair()).detections
    assert merged.detection_classes == ('person', 'wheels')
    assert found.class_ids.tolist() == [0, 1]
    np.testing.assert_allclose(found.scores, [0.8, 0.7], atol=1e-6)


def test_a_model_without_one_part_keeps_the_other(tmp_path):
    card = replace(build_card(tmp_path), detection_classes=('car', 'person'))
    outputs = build_outputs((64, 80), boxes=((1, 0.9, (0.0, 0.0, 16.0, 16.0)),))
    outputs = replace(outputs, class_logits=outputs.class_logits[..., :2])
    engine = MergedEngine(FakeEngine(outputs), card, {'person': ('person', 'rider')})
    assert merge_card(card, {**PEOPLE, 'rider': ('rider',)}).detection_classes == (
        'person',
        'wheels',
    )
    logits = engine.run(None).class_logits  # type: ignore[arg-type]
    assert logits.shape == (1, 2, 1)
    assert logits[0, 0, 0] == pytest.approx(np.log(9.0), abs=1e-5)


def test_a_model_without_any_of_the_classes_is_refused(tmp_path):
    card = replace(build_card(tmp_path), detection_classes=('animal',))
    with pytest.raises(ConfigError, match=r"'fake' detects animal; expected one of person, rider"):
        merge_card(card, PEOPLE)


def test_the_engine_stays_the_callers(tmp_path):
    fake = FakeEngine()
    engine = MergedEngine(fake, build_card(tmp_path), PEOPLE)
    engine.close()
    assert not fake.is_closed
    assert (engine.backend, engine.device, engine.precision) == ('fake', 'cpu', 'fp32')
