# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Iterable
import json
from typing import Any

from fakes import build_card, build_outputs, FakeEngine
from made_data import build_truth, rgb_pixels, thermal_pixels, write_bag, write_dataset
import numpy as np
import pytest

from rgbt_perception.cli.main import main
from rgbt_perception.config import build_config
from rgbt_perception.errors import DatasetError
from rgbt_perception.evaluate import evaluate_pairs, Evaluation, PipelinePool
from rgbt_perception.failures import FailureRuns, FAILURES, STEP_NS
from rgbt_perception.truth import TruthPair
from rgbt_perception.types import Frame, Modality, NS_PER_S, Pair

NUM_PAIRS = 10


def person_by_mode(batch: Any) -> Any:
    """Find the person only with RGB: AP tells which cameras the network was given."""
    boxes = [(0, 0.9, (20.0, 14.0, 60.0, 44.0))] if batch.available[0, 0] else []
    return build_outputs(batch.rgb.shape[2:], boxes=boxes, class_id=1)


def build_items(step_ns: int) -> Iterable[TruthPair]:
    for index in range(NUM_PAIRS):
        stamp_ns = (index + 1) * step_ns
        images = {Modality.RGB: rgb_pixels(index), Modality.THERMAL: thermal_pixels(index)}
        rgb, thermal = (
            Frame(pixels=pixels, stamp_ns=stamp_ns, frame_id='camera', modality=modality)
            for modality, pixels in images.items()
        )
        truth = build_truth(has_label_map=False)
        yield TruthPair(name=f'{index}', pair=Pair(rgb=rgb, thermal=thermal), truth=truth)


@pytest.fixture
def engine():
    return FakeEngine(person_by_mode)


def evaluate(tmp_path, engine, *, step_ns=NS_PER_S, failure_step_ns=STEP_NS):
    card = build_card(tmp_path / 'card')
    pool = PipelinePool(card=card, engine=engine, config=build_config({}))
    failures = FailureRuns(card, num_pairs=NUM_PAIRS, step_ns=failure_step_ns)
    evaluation = Evaluation(pool, failures=failures)
    return evaluate_pairs(build_items(step_ns), evaluation, out_dir=tmp_path / 'out')


def test_failing_camera_is_found_out_without_being_told(tmp_path, engine):
    failures = evaluate(tmp_path, engine)['failures']
    assert failures['first_failing_pair'] == 5
    assert failures['pairs'] == 5
    assert failures['rgb_black']['modes'] == {'thermal_only': 5}
    assert failures['thermal_missing']['modes'] == {'rgb_only': 5}
    # At 10 Hz an image that repeats for 0.25 s has come three times more: two of them were used.
    assert failures['thermal_frozen']['modes'] == {'fused': 2, 'rgb_only': 3}
    noticed_after = {name: failures[name]['unnoticed_pairs'] for name in FAILURES}
    assert noticed_after == {'rgb_black': 0, 'thermal_frozen': 2, 'thermal_missing': 0}


def test_rows_compare_with_the_same_pairs_of_the_mode_that_was_trained(tmp_path, engine):
    failures = evaluate(tmp_path, engine)['failures']
    for name, failure in FAILURES.items():
        row = failures[name]
        assert row['compared_with'] == failure.compared_with
        assert row['AP50'] == failures[failure.compared_with]['AP50']
    assert failures['rgb_black']['AP50']['person'] == 0.0
    assert failures['fused']['AP50']['person'] > 0.0
    assert failures['thermal_missing']['AP50']['person'] > 0.0


def test_only_the_second_half_is_scored(tmp_path):
    half = NUM_PAIRS // 2
    num_runs = {'fused': 0}

    def only_in_the_first_half(batch):
        # Six runs a pair: three variants, three failures.
        num_runs['fused'] += 1
        is_first_half = num_runs['fused'] <= 6 * half
        boxes = [(0, 0.9, (20.0, 14.0, 60.0, 44.0))] if is_first_half else []
        return build_outputs(batch.rgb.shape[2:], boxes=boxes, class_id=1)

    metrics = evaluate(tmp_path, FakeEngine(only_in_the_first_half))
    assert metrics['fused']['AP50']['person'] > 0.0
    assert metrics['failures']['fused']['AP50']['person'] == 0.0


def test_other_metrics_stay_as_they_are_without_failures(tmp_path, engine):
    metrics = evaluate(tmp_path, engine)
    pool = PipelinePool(card=build_card(tmp_path / 'card'), engine=engine, config=build_config({}))
    plain = evaluate_pairs(build_items(NS_PER_S), Evaluation(pool), out_dir=tmp_path / 'plain')
    assert 'failures' not in plain
    metrics.pop('failures')
    assert metrics == plain


def test_stamps_of_the_source_are_used_where_there_are_some(tmp_path, engine):
    # At 1 Hz the first repeated image is already 1 s old.
    failures = evaluate(tmp_path, engine, failure_step_ns=None)['failures']
    assert failures['thermal_frozen']['modes'] == {'rgb_only': 5}


def test_frozen_thermal_repeats_the_last_good_image_under_new_stamps():
    items = [item.pair for item in build_items(NS_PER_S)]
    failed = FAILURES['thermal_frozen'].fail(items[7], items[4])
    assert failed.thermal.pixels is items[4].thermal.pixels
    assert failed.thermal.stamp_ns == items[7].thermal.stamp_ns
    assert failed.rgb is items[7].rgb
    assert not FAILURES['rgb_black'].fail(items[7], items[4]).rgb.pixels.any()
    assert FAILURES['thermal_missing'].fail(items[7], items[4]).thermal is None


@pytest.mark.parametrize('num_pairs', [0, 1])
def test_too_few_pairs_are_refused(tmp_path, num_pairs):
    with pytest.raises(DatasetError, match=f'has {num_pairs} pairs, expected at least 2 to let'):
        FailureRuns(build_card(tmp_path), num_pairs=num_pairs)


def test_option_adds_a_table_and_writes_the_same_bytes_twice(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv('COLUMNS', '200')  # of the terminal, so that no heading is broken
    monkeypatch.setattr(
        PipelinePool,
        'open',
        classmethod(
            lambda cls, config, **settings: cls(
                card=build_card(tmp_path / 'card'),
                engine=FakeEngine(person_by_mode),
                config=config,
                **settings,
            )
        ),
    )
    sources = {
        'folder': write_dataset(tmp_path / 'pairs', num_pairs=6),
        'bag': write_bag(tmp_path / 'bag', num_instants=6),
    }
    for name, source in sources.items():
        stored = []
        for run in ('a', 'b'):
            out = tmp_path / name / run
            assert main(['evaluate', str(source), '--out', str(out), '--failures']) == 0
            stored.append((out / 'metrics.json').read_bytes())
        assert stored[0] == stored[1]
        failures = json.loads(stored[0])['failures']
        assert failures['first_failing_pair'] == failures['pairs'] == 3
        assert failures['thermal_missing']['mIoU'] is not None
        shown = ' '.join(capsys.readouterr().out.split())
        assert 'cameras failing half-way: the last 3 pairs' in shown
        assert 'thermal stops ┃ thermal only ┃ RGB turns black' in shown  # beside what they become


def test_thermal_frames_of_the_failures_keep_their_type(tmp_path, engine):
    evaluate(tmp_path, engine)
    assert all(np.isfinite(batch.thermal).all() for batch in engine.batches)
