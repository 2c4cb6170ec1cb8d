# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import dataclasses
from pathlib import Path

from fakes import (
    build_card,
    build_onnx_card,
    build_outputs,
    build_pair,
    FakeEngine,
    rgb_frame,
    thermal_frame,
)
from made_outputs import draw_outputs
from made_outputs import INPUT_HW as OUTPUTS_HW
import numpy as np
import pytest

from rgbt_models.errors import CardError
from rgbt_models.label_sets import SEGMENTATION_CLASSES
from rgbt_perception.config import build_config
from rgbt_perception.errors import ConfigError, EngineError
from rgbt_perception.pipeline import open_pipeline, Pipeline
from rgbt_perception.types import DominanceState, Mode, NS_PER_S, Pair, Result, UNLABELED


def build_pipeline(folder: Path, engine: FakeEngine, **values: object) -> Pipeline:
    return Pipeline(card=build_card(folder), engine=engine, config=build_config(values))


def test_fused_pair_gives_every_output_in_reference_pixels(tmp_path: Path):
    # Network 64x80, RGB 48x64: scale 1.25, 2 px above and below.
    outputs = build_outputs((64, 80), boxes=[(2, 0.9, (10.0, 7.0, 40.0, 27.0))], class_id=6)
    pipeline = build_pipeline(tmp_path, FakeEngine(outputs))
    pair = build_pair()
    result = pipeline.run(pair)
    assert result.pair is pair
    assert (result.mode, result.mode_reason) == (Mode.FUSED, '')
    np.testing.assert_allclose(result.detections.boxes_xyxy, [[8, 4, 32, 20]], rtol=1e-6)
    assert result.detections.class_ids.tolist() == [2]
    assert result.label_map.shape == (48, 64)
    assert (result.label_map == 6).all()
    assert result.share_map.shape == (4, 5)
    assert result.dominance.mdi == pytest.approx(np.tanh(0.1), abs=1e-6)
    assert result.times.latency_ms > 0


def test_network_sees_only_what_the_mode_uses(tmp_path: Path):
    engine = FakeEngine()
    pipeline = build_pipeline(tmp_path, engine)
    pairs = [
        Pair(rgb=rgb_frame(), thermal=None),
        Pair(rgb=None, thermal=thermal_frame()),
        Pair(rgb=rgb_frame(value=0), thermal=thermal_frame()),
        Pair(rgb=rgb_frame(NS_PER_S), thermal=thermal_frame(NS_PER_S, value=0)),
    ]
    results = [pipeline.run(pair) for pair in pairs]
    assert [result.mode for result in results] == [
        Mode.RGB_ONLY,
        Mode.THERMAL_ONLY,
        Mode.THERMAL_ONLY,
        Mode.RGB_ONLY,
    ]
    available = [batch.available[0].tolist() for batch in engine.batches]
    assert available == [[1, 0], [0, 1], [0, 1], [1, 0]]
    assert [result.dominance.mdi for result in results] == [1, -1, -1, 1]
    assert results[1].label_map.shape == (40, 56)
    assert results[2].label_map.shape == (48, 64)


def test_pair_without_a_usable_camera_is_not_given_to_the_network(tmp_path: Path):
    engine = FakeEngine()
    pair = Pair(rgb=rgb_frame(value=0), thermal=None)
    result = build_pipeline(tmp_path, engine).run(pair)
    assert not engine.batches
    assert result.mode is Mode.NONE
    assert (
        result.mode_reason
        == 'rgb is dark (p99.5 = 0 of 255): uncover the lens or add light; no thermal frame'
    )
    assert len(result.detections) == 0
    assert result.label_map.shape == (48, 64)
    assert (result.label_map == UNLABELED).all()
    assert not result.dominance.valid
    assert result.times.infer_ms == 0


def test_warm_up_runs_the_network_once_at_the_input_size(tmp_path: Path):
    engine = FakeEngine()
    build_pipeline(tmp_path, engine, **{'model.input_height': 32}).warm_up()
    (batch,) = engine.batches
    assert batch.rgb.shape == batch.thermal.shape == (1, 3, 32, 80)
    assert batch.available.tolist() == [[1, 1]]


def test_warm_up_leaves_no_trace_in_the_results(tmp_path: Path):
    values = []
    for warms_up in (False, True):
        pipeline = build_pipeline(tmp_path, FakeEngine(build_outputs((64, 80), rgb_share=0.7)))
        if warms_up:
            pipeline.engine.outputs = build_outputs((64, 80), rgb_share=0.1)
            pipeline.warm_up()
            pipeline.engine.outputs = build_outputs((64, 80), rgb_share=0.7)
        values.append(pipeline.run(build_pair()).dominance.mdi)
    assert values[0] == values[1]


def test_error_of_the_engine_leaves_the_next_pair_unharmed(tmp_path: Path):
    engine = FakeEngine(error=EngineError('broken'))
    pipeline = build_pipeline(tmp_path, engine)
    with pytest.raises(EngineError, match='broken'):
        pipeline.run(build_pair())
    engine.error = None
    assert len(pipeline.run(build_pair()).detections) == 1


def test_threshold_changes_between_two_pairs(tmp_path: Path):
    pipeline = build_pipeline(tmp_path, FakeEngine(build_outputs((64, 80))))
    assert len(pipeline.run(build_pair()).detections) == 1
    pipeline.reconfigure(build_config({'output.score_threshold': 0.95}))
    assert len(pipeline.run(build_pair()).detections) == 0


def test_dominance_filter_changes_between_two_pairs(tmp_path: Path):
    pipeline = build_pipeline(tmp_path, FakeEngine(build_outputs((64, 80), rgb_share=0.55)))
    assert pipeline.run(build_pair()).dominance.state is DominanceState.RGB
    pipeline.reconfigure(build_config({'dominance.threshold': 0.99}))
    assert pipeline.run(build_pair()).dominance.state is DominanceState.BALANCED


def test_dominance_by_contrast_measures_what_was_found(tmp_path: Path):
    """Doubtful detections are measured, too, and are not published."""
    box = (20.0, 17.0, 40.0, 47.0)  # network px: rows 12 to 36, columns 16 to 32 of RGB
    person = SEGMENTATION_CLASSES.index('person')
    engine = FakeEngine(build_outputs((64, 80), boxes=[(0, 0.25, box)], class_id=person))
    pipeline = build_pipeline(tmp_path, engine, **{'dominance.method': 'contrast'})
    rgb, thermal = rgb_frame(), thermal_frame()
    rgb.pixels[12:36, 16:32] = 255  # thermal does not show it
    result = pipeline.run(Pair(rgb=rgb, thermal=thermal))
    assert len(result.detections) == 0
    assert result.mode is Mode.FUSED
    assert result.dominance.method == 'contrast'
    assert result.dominance.mdi > 0.8
    engine.outputs = build_outputs((64, 80), boxes=[])
    assert pipeline.run(Pair(rgb=rgb, thermal=thermal)).dominance.method == 'linear_share'


@pytest.mark.parametrize('threshold', [0.1, 0.3])
def test_the_method_of_the_dominance_changes_live_and_no_detection(
    tmp_path: Path, threshold: float
):
    scores = (0.9, 0.25, 0.15)
    tops = (5.0, 25.0, 45.0)
    boxes = [
        (0, score, (10.0, top, 30.0, top + 12.0)) for score, top in zip(scores, tops, strict=True)
    ]
    person = SEGMENTATION_CLASSES.index('person')
    engine = FakeEngine(build_outputs((64, 80), boxes=boxes, class_id=person))
    output = {'output.score_threshold': threshold, 'output.max_detections': 2}
    pipeline = build_pipeline(tmp_path, engine, **output)
    pair = build_pair()
    by_shares = pipeline.run(pair)
    pipeline.reconfigure(build_config({**output, 'dominance.method': 'contrast'}))
    by_contrast = pipeline.run(pair)
    methods = [result.dominance.method for result in (by_shares, by_contrast)]
    assert methods == ['linear_share', 'contrast']
    np.testing.assert_array_equal(by_contrast.detections.scores, by_shares.detections.scores)
    assert len(by_shares.detections) == {0.1: 2, 0.3: 1}[threshold]
    alone = pipeline.run(Pair(rgb=pair.rgb, thermal=None))
    assert (alone.dominance.mdi, alone.dominance.method) == (1.0, 'single')


@pytest.mark.parametrize(('score', 'count'), [(0.01, 300), (0.3, 100), (0.5, 1)])
@pytest.mark.parametrize('method', ['linear_share', 'contrast'])
def test_what_is_published_has_no_say_in_the_label_map(
    tmp_path: Path, method: str, score: float, count: int
):
    engine = FakeEngine(draw_outputs(0, num_labels=len(SEGMENTATION_CLASSES)))
    height, width = OUTPUTS_HW
    pair = Pair(rgb=rgb_frame(size_hw=OUTPUTS_HW), thermal=thermal_frame(size_hw=OUTPUTS_HW))

    def run(**output: object) -> Result:
        sizes = {'model.input_height': height, 'model.input_width': width}
        return build_pipeline(tmp_path, engine, **sizes, **output).run(pair)

    votes = {'output.box_votes': 3.0}
    published = {'output.score_threshold': score, 'output.max_detections': count}
    result = run(**votes, **published, **{'dominance.method': method})
    assert 0 < len(result.detections) <= count
    assert result.detections.scores.min() >= np.float32(score)
    np.testing.assert_array_equal(result.label_map, run(**votes).label_map)
    assert (result.label_map != run(**published).label_map).any()


def test_dominance_is_filtered_until_reset(tmp_path: Path):
    engine = FakeEngine(build_outputs((64, 80), rgb_share=0.6))
    pipeline = build_pipeline(tmp_path, engine, **{'dominance.time_constant_s': 60.0})
    high = pipeline.run(build_pair(NS_PER_S)).dominance.mdi
    engine.outputs = build_outputs((64, 80), rgb_share=0.4)
    assert pipeline.run(build_pair(2 * NS_PER_S)).dominance.mdi == pytest.approx(high, abs=0.05)
    pipeline.reset()
    assert pipeline.run(build_pair(3 * NS_PER_S)).dominance.mdi < -0.7


def test_configured_input_size_replaces_the_card_s(tmp_path: Path):
    engine = FakeEngine()
    values = {'model.input_height': 96, 'model.input_width': 112}
    build_pipeline(tmp_path, engine, **values).run(build_pair())
    assert engine.batches[0].rgb.shape == (1, 3, 96, 112)


def test_input_size_off_the_grid_is_refused(tmp_path: Path):
    with pytest.raises(
        ConfigError,
        match=r"are 64 and 100, expected multiples of 16 for card 'fake'; use 0 for .* 64 and 80",
    ):
        build_pipeline(tmp_path, FakeEngine(), **{'model.input_width': 100})


def test_closing_closes_the_engine(tmp_path: Path):
    engine = FakeEngine()
    build_pipeline(tmp_path, engine).close()
    assert engine.is_closed


def test_open_pipeline_runs_a_real_graph(tmp_path: Path):
    build_onnx_card(tmp_path / 'card')
    config = build_config({'model.card': str(tmp_path / 'card'), 'engine.num_threads': 1})
    pipeline = open_pipeline(config)
    result = pipeline.run(build_pair())
    # The graph's box covers the middle half of the network input: (20, 16)..(60, 48).
    np.testing.assert_allclose(result.detections.boxes_xyxy, [[16, 11.2, 48, 36.8]], rtol=1e-5)
    assert (result.label_map == 1).all()
    pipeline.close()


def test_same_pair_gives_the_same_numbers(tmp_path: Path):
    build_onnx_card(tmp_path / 'card')
    config = build_config({'model.card': str(tmp_path / 'card'), 'engine.num_threads': 1})
    pairs = [build_pair(k * NS_PER_S) for k in range(3)]
    runs = []
    for _ in range(2):
        pipeline = open_pipeline(config)
        runs.append([pipeline.run(pair) for pair in pairs])
    for first, second in zip(*runs, strict=True):
        for name in ('boxes_xyxy', 'scores', 'class_ids'):
            np.testing.assert_array_equal(
                getattr(first.detections, name), getattr(second.detections, name)
            )
        np.testing.assert_array_equal(first.label_map, second.label_map)
        assert dataclasses.asdict(first.dominance) == dataclasses.asdict(second.dominance)


def test_unknown_card_is_named(tmp_path: Path):
    with pytest.raises(CardError, match='no model card at'):
        open_pipeline(build_config({'model.card': str(tmp_path / 'nothing')}))


def test_thermal_is_registered_onto_the_rgb_grid_also_when_rgb_is_blind(tmp_path: Path):
    thermal = thermal_frame(size_hw=(20, 40), value=29_000)
    thermal.pixels[:, 20:] = 30_000
    engine = FakeEngine()
    pair = Pair(rgb=rgb_frame(size_hw=(64, 80), value=0), thermal=thermal)
    build_pipeline(tmp_path, engine).run(pair)
    batch = engine.batches[0]
    assert batch.source_hw == (64, 80)
    assert batch.letterbox.pad_y == 0
    assert batch.thermal[0, 0, :, 10].max() < batch.thermal[0, 0, :, 70].min()


def test_thermal_alone_is_its_own_reference_grid(tmp_path: Path):
    moved = {
        'registration.method': 'homography',
        'registration.homography_thermal_to_rgb': (1.0, 0.0, 30.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0),
    }
    thermal = thermal_frame(size_hw=(64, 80), value=29_000)
    thermal.pixels[:, 40:] = 30_000
    engine = FakeEngine()
    build_pipeline(tmp_path, engine, **moved).run(Pair(rgb=None, thermal=thermal))
    batch = engine.batches[0]
    assert batch.source_hw == (64, 80)
    assert batch.thermal[0, 0, 0, 39] < batch.thermal[0, 0, 0, 40]


def test_thermal_settings_change_between_two_pairs(tmp_path: Path):
    engine = FakeEngine()
    pipeline = build_pipeline(tmp_path, engine, **{'thermal.reading': 'tlinear_10mk'})
    window = {
        'thermal.reading': 'tlinear_10mk',
        'thermal.normaliser': 'window',
        'thermal.window_low_c': 10.0,
        'thermal.window_high_c': 40.0,
    }
    thermal = thermal_frame(size_hw=(64, 80))  # counts of 29,000 to 30,000: 16.85 to 26.85 C
    result = pipeline.run(Pair(rgb=None, thermal=thermal))
    pipeline.reconfigure(build_config(window))
    pipeline.run(Pair(rgb=None, thermal=thermal))
    card_image, window_image = (batch.thermal[0, 0] * 0.25 + 0.4 for batch in engine.batches)
    assert card_image.max() == pytest.approx(1.0, abs=0.02)
    assert window_image.max() == pytest.approx(16.85 / 30.0, abs=0.01)
    assert window_image.min() == pytest.approx(6.85 / 30.0, abs=0.01)
    assert 16.85 <= result.temperatures.min_c[0] < result.temperatures.max_c[0] <= 26.85


def test_swapped_bytes_are_put_right_for_network_and_result(tmp_path: Path):
    good = thermal_frame(size_hw=(64, 80))
    good.pixels[:] += np.arange(80, dtype=np.uint16) * 20
    wrong = dataclasses.replace(good, pixels=good.pixels.byteswap())
    batches = []
    for thermal, is_byte_swapped in ((good, False), (wrong, True)):
        engine = FakeEngine()
        settings = {'thermal.is_byte_swapped': is_byte_swapped}
        pair = Pair(rgb=rgb_frame(), thermal=thermal)
        result = build_pipeline(tmp_path, engine, **settings).run(pair)
        assert result.mode is Mode.FUSED
        np.testing.assert_array_equal(result.pair.thermal.pixels, good.pixels)
        batches.append(engine.batches[0])
    np.testing.assert_array_equal(batches[0].thermal, batches[1].thermal)


def test_swapped_bytes_that_were_not_announced_name_the_setting(tmp_path: Path):
    thermal = thermal_frame(size_hw=(64, 80))
    thermal.pixels[:] += np.arange(80, dtype=np.uint16) * 20
    pair = Pair(
        rgb=rgb_frame(), thermal=dataclasses.replace(thermal, pixels=thermal.pixels.byteswap())
    )
    result = build_pipeline(tmp_path, FakeEngine()).run(pair)
    assert result.mode is Mode.RGB_ONLY
    assert 'set thermal.is_byte_swapped to true' in result.mode_reason


def test_reset_forgets_which_camera_was_blind(tmp_path: Path):
    pipeline = build_pipeline(tmp_path, FakeEngine())
    assert pipeline.run(Pair(rgb=rgb_frame(value=0), thermal=thermal_frame())).mode is (
        Mode.THERMAL_ONLY
    )
    assert pipeline.run(build_pair(1000)).mode is Mode.THERMAL_ONLY  # not yet
    pipeline.reset()
    assert pipeline.run(build_pair(1000)).mode is Mode.FUSED


def test_reset_forgets_the_range_of_the_thermal_normaliser(tmp_path: Path):
    engine = FakeEngine()
    pipeline = build_pipeline(tmp_path, engine, **{'thermal.normaliser': 'percentile'})
    cold, warm = (build_pair(stamp_ns) for stamp_ns in (NS_PER_S, 2 * NS_PER_S))
    warm.thermal.pixels[:] += 200
    pipeline.run(warm)
    pipeline.reset()
    pipeline.run(cold)
    pipeline.run(warm)
    pipeline.reset()
    pipeline.run(warm)
    before, _, followed, after = (batch.thermal for batch in engine.batches)
    assert not np.array_equal(followed, before)
    np.testing.assert_array_equal(after, before)


def test_limits_of_a_blind_camera_change_between_two_pairs(tmp_path: Path):
    pipeline = build_pipeline(tmp_path, FakeEngine())
    assert pipeline.run(build_pair()).mode is Mode.FUSED
    pipeline.reconfigure(build_config({'fallback.dark_level': 255}))
    assert pipeline.run(build_pair()).mode is Mode.THERMAL_ONLY


def test_thermal_alone_is_measured_on_its_own_grid(tmp_path: Path):
    values = {
        'thermal.reading': 'tlinear_10mk',
        'registration.method': 'homography',
        'registration.homography_thermal_to_rgb': (1.0, 0.0, 30.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0),
    }
    outputs = build_outputs((64, 80), boxes=[(0, 0.9, (50.0, 10.0, 60.0, 20.0))])
    thermal = thermal_frame(size_hw=(64, 80), value=29_315)
    thermal.pixels[:, :45] = 28_315
    result = build_pipeline(tmp_path, FakeEngine(outputs), **values).run(
        Pair(rgb=None, thermal=thermal)
    )
    assert result.temperatures.mean_c.tolist() == pytest.approx([20.0], abs=0.01)
