# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import logging

from fakes import build_card, FakeEngine
from made_data import FIRST_NS, SKEW_NS, STEP_NS, write_bag, write_raw_bag
import numpy as np
import pytest

from rgbt_perception.bag import BagReader
from rgbt_perception.config import build_config, PerceptionConfig
from rgbt_perception.errors import BagError, EngineError
from rgbt_perception.frames import stamp_of
from rgbt_perception.pipeline import Pipeline
from rgbt_perception.replay import PairStream, replay, replay_to_folder
from rgbt_perception.types import DropReason, Modality, Mode


def build_pipeline(folder, engine=None, **settings):
    config = build_config(settings)
    return Pipeline(card=build_card(folder), engine=engine or FakeEngine(), config=config)


def pairs_of(path, config=None):
    with BagReader(path) as reader:
        stream = PairStream(reader, config or PerceptionConfig())
        return list(stream), stream


def test_every_pair_of_the_bag_comes_once_in_order(tmp_path):
    pairs, stream = pairs_of(write_bag(tmp_path / 'bag', num_instants=7))
    stamps = [pair.rgb.stamp_ns for _, pair in pairs]
    assert stamps == [FIRST_NS + index * STEP_NS for index in range(7)]
    assert {pair.skew_ns for _, pair in pairs} == {SKEW_NS}
    assert not stream.dropped()
    assert stream.received() == {Modality.RGB: 7, Modality.THERMAL: 7}


def test_frame_without_partner_goes_alone_after_its_wait_by_the_bags_clock(tmp_path):
    pairs, _ = pairs_of(write_bag(tmp_path / 'bag', num_instants=7, without_thermal=(3,)))
    alone = [(log_ns, pair) for log_ns, pair in pairs if pair.thermal is None]
    assert [pair.rgb.stamp_ns for _, pair in alone] == [FIRST_NS + 3 * STEP_NS]
    # Received 1 ns after its stamp; 150 ms is sync.max_wait_s.
    assert alone[0][0] == FIRST_NS + 3 * STEP_NS + 1 + 150_000_000
    assert len(pairs) == 7


def test_last_frame_is_not_lost_at_the_end_of_the_bag(tmp_path):
    pairs, _ = pairs_of(write_bag(tmp_path / 'bag', num_instants=3, without_thermal=(2,)))
    assert [pair.thermal is None for _, pair in pairs] == [False, False, True]


def test_unusable_images_count_as_dropped(tmp_path, caplog):
    path = write_raw_bag(tmp_path / 'raw', encodings=('mono16', 'yuv422', 'mono16'))
    with caplog.at_level(logging.ERROR):
        _, stream = pairs_of(path)
    assert stream.dropped() == {DropReason.BAD_FRAME: 1}
    assert stream.received() == {Modality.RGB: 3, Modality.THERMAL: 3}


def test_results_come_with_the_mode_of_each_pair(tmp_path):
    path = write_bag(tmp_path / 'bag', num_instants=5, without_thermal=(3,))
    with BagReader(path) as reader:
        results = [result for _, result in replay(reader, build_pipeline(tmp_path))]
    modes = [result.mode for result in results]
    assert modes == [Mode.FUSED, Mode.FUSED, Mode.FUSED, Mode.RGB_ONLY, Mode.FUSED]


def write_results(tmp_path, out, **settings):
    path = tmp_path / 'bag'
    if not path.exists():
        write_bag(path, num_instants=5, without_thermal=(3,))
    with BagReader(path) as reader:
        return replay_to_folder(reader, build_pipeline(tmp_path, **settings), out)


def test_folder_holds_lines_with_stamps_boxes_and_classes(tmp_path):
    summary = write_results(tmp_path, tmp_path / 'out')
    lines = [json.loads(x) for x in (tmp_path / 'out/results.jsonl').read_text().splitlines()]
    assert len(lines) == 5
    assert lines[0]['rgb_stamp_ns'] == FIRST_NS
    assert lines[0]['thermal_stamp_ns'] == FIRST_NS + SKEW_NS
    assert lines[0]['skew_ns'] == SKEW_NS
    assert lines[0]['class_names'] == ['person']
    assert lines[0]['scores'] == [pytest.approx(0.9, abs=1e-4)]
    # Network pixels (16, 8, 32, 40) of 64x80 from a 48x64 image: scale 1.25, 2 px above.
    assert lines[0]['boxes_xyxy'] == [pytest.approx([12.8, 4.8, 25.6, 30.4], abs=1e-3)]
    assert lines[3]['mode'] == 'rgb_only'
    assert lines[3]['thermal_stamp_ns'] is None
    assert lines[3]['skew_ns'] is None
    stored = json.loads((tmp_path / 'out/summary.json').read_text())
    assert stored['modes'] == {'fused': 4, 'rgb_only': 1} == summary.modes
    assert stored['received'] == {'rgb': 5, 'thermal': 4}
    assert stored['results'] == 5
    assert stored['detections'] == 5
    assert stored['backend'] == 'fake'
    assert set(stored['dropped_by_reason']) == {reason.value for reason in DropReason}


def test_results_bag_carries_what_the_node_publishes(tmp_path):
    write_results(tmp_path, tmp_path / 'out')
    with BagReader(tmp_path / 'out/results') as reader:
        topics = ('/perception/detections', '/perception/segmentation/mask', '/perception/mdi')
        messages = {topic: [] for topic in topics}
        for topic, _, message in reader.messages(*topics):
            messages[topic].append(message)
    for found in messages.values():
        assert [stamp_of(x.header) for x in found] == [FIRST_NS + i * STEP_NS for i in range(5)]
        assert {x.header.frame_id for x in found} == {'rgb_optical_frame'}
    detection = messages[topics[0]][0].detections[0]
    assert detection.results[0].hypothesis.class_id == 'person'
    assert detection.bbox.center.position.x == pytest.approx(19.2)
    assert detection.bbox.size_y == pytest.approx(25.6)
    mask = messages[topics[1]][0]
    assert (mask.height, mask.width) == (48, 64)
    assert np.unique(mask.data).tolist() == [1]
    values = [{x.key: x.value for x in m.status[0].values} for m in messages[topics[2]]]
    assert [item['mode'] for item in values] == ['fused'] * 3 + ['rgb_only', 'fused']
    assert [m.status[0].level for m in messages[topics[2]]] == [0, 0, 0, 1, 0]


def test_class_ids_may_be_indices(tmp_path):
    write_results(tmp_path, tmp_path / 'out', **{'output.class_id_format': 'index'})
    with BagReader(tmp_path / 'out/results') as reader:
        _, _, message = next(iter(reader.messages('/perception/detections')))
    assert message.detections[0].results[0].hypothesis.class_id == '0'


def test_two_replays_write_the_same_bytes(tmp_path):
    for name in ('a', 'b'):
        write_results(tmp_path, tmp_path / name)
    for file in ('results.jsonl', 'summary.json'):
        assert (tmp_path / 'a' / file).read_bytes() == (tmp_path / 'b' / file).read_bytes()


def test_folder_with_results_is_refused(tmp_path):
    write_results(tmp_path, tmp_path / 'out')
    with pytest.raises(BagError, match=r"out/results' exists already"):
        write_results(tmp_path, tmp_path / 'out')


def test_failing_network_ends_the_replay_with_its_own_error(tmp_path):
    engine = FakeEngine(error=EngineError('the network gave NaN'))
    bag = write_bag(tmp_path / 'bag')
    with BagReader(bag) as reader, pytest.raises(EngineError, match='gave NaN'):
        replay_to_folder(reader, build_pipeline(tmp_path, engine), tmp_path / 'out')


def test_temperatures_of_each_detection_are_in_the_lines_and_in_the_bag(tmp_path):
    settings = {'thermal.reading': 'tlinear_10mk', 'thermal.hot_spot_c': 1.0}
    write_results(tmp_path, tmp_path / 'out', **settings)
    lines = [json.loads(x) for x in (tmp_path / 'out/results.jsonl').read_text().splitlines()]
    ((low, mean, high),) = lines[0]['temperatures_c']
    assert low < mean < high
    assert round(mean, 2) == mean
    assert lines[3]['temperatures_c'] == [[None, None, None]]  # RGB alone
    with BagReader(tmp_path / 'out/results') as reader:
        found = [message for _, _, message in reader.messages('/perception/temperatures')]
    assert [stamp_of(x.header) for x in found] == [FIRST_NS + i * STEP_NS for i in range(5)]
    assert [x.status[0].level for x in found] == [int(high > 1.0)] * 3 + [0, int(high > 1.0)]
    values = {x.key: x.value for x in found[0].status[0].values}
    assert float(values['max_c']) == pytest.approx(high)
    assert (values['class'], values['index']) == ('person', '0')
