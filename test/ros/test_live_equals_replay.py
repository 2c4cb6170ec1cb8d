# SPDX-License-Identifier: Apache-2.0
"""The shipped model on the sample bag: what the node publishes is what ``rgbt replay`` writes."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from rgbt_perception.bag import BagReader
from rgbt_perception.bag_messages import Header
from rgbt_perception.bag_writer import BagWriter, RIG_FILE
from rgbt_perception.config import load_config
from rgbt_perception.demo import DemoConfig, DemoRun, SAMPLE_BAG
from rgbt_perception.pipeline import open_pipeline, Pipeline
from rgbt_perception.replay import replay, replay_to_folder, RESULTS_BAG, RESULTS_FILE
from rgbt_perception.ros.demo_session import run_demo
from rgbt_perception.share import find_share_file
from rgbt_perception.types import Mode, Result

DOMAIN_ID = int(os.environ['ROS_DOMAIN_ID'])  # as conftest.py has set it
# Twelve instants at 5 Hz; the thermal camera of the sample drive drops out after three seconds.
BEGIN_NS, END_NS = 1_100_000_000, 3_500_000_000
NUM_INSTANTS = 12
SETTINGS = 'engine: {backend: onnx, num_threads: 1}'


def cut_sample(path: Path) -> Path:
    """Write some instants of the sample bag as a bag of its own, images and stamps unchanged."""
    sample = find_share_file(SAMPLE_BAG)
    with BagReader(sample) as reader, BagWriter(path) as writer:
        images = list(reader.images())
        for image in images:
            if BEGIN_NS <= image.log_ns - images[0].log_ns < END_NS:
                message = image.message
                header = Header(stamp_ns=image.stamp_ns, frame_id=message.header.frame_id)
                data = bytes(message.data)
                writer.write_image(image.modality, data, message.format, header, image.log_ns)
    (path / RIG_FILE).write_text((sample / RIG_FILE).read_text())
    return path


@pytest.fixture(scope='module')
def bag(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return cut_sample(tmp_path_factory.mktemp('cut') / 'bag')


@pytest.fixture(scope='module')
def pipeline(bag: Path):
    """The pipeline with the settings of the node: those of the bag's cameras, and one thread."""
    path = bag / 'node.param.yaml'
    path.write_text(f'{(bag / RIG_FILE).read_text()}    {SETTINGS}\n')
    pipeline = open_pipeline(load_config(path))
    yield pipeline
    pipeline.close()


@pytest.fixture(scope='module')
def offline(bag: Path, pipeline: Pipeline) -> dict[int, Result]:
    with BagReader(bag) as reader:
        return {result.pair.reference.stamp_ns: result for _, result in replay(reader, pipeline)}


@pytest.fixture(scope='module')
def live(bag: Path, pipeline: Pipeline, tmp_path_factory: pytest.TempPathFactory) -> DemoRun:
    config = DemoConfig(
        bag=bag,
        out_dir=tmp_path_factory.mktemp('live'),
        rate_hz=2.0,  # a busy machine shall keep up
        params_file=bag / 'node.param.yaml',
        domain_id=DOMAIN_ID,
    )
    return run_demo(config, lambda progress: None)


def frame_stamps(result: Result) -> tuple[int | None, int | None]:
    rgb, thermal = result.pair.rgb, result.pair.thermal
    return None if rgb is None else rgb.stamp_ns, None if thermal is None else thermal.stamp_ns


def test_live_results_of_the_sample_bag_equal_those_of_the_replay(
    live: DemoRun, offline: dict[int, Result], pipeline: Pipeline
):
    names = pipeline.card.detection_classes
    compared = []
    for received in live.results:
        same = offline[received.stamp_ns]
        if received.frame_stamps != frame_stamps(same):
            continue  # a busy machine delivered one of the frames too late
        compared.append(same)
        boxes, scores = same.detections.boxes_xyxy, same.detections.scores
        np.testing.assert_allclose(received.boxes_xyxy, boxes, rtol=1e-6, atol=1e-4)
        np.testing.assert_allclose(received.scores, scores, rtol=1e-6)
        assert received.class_names == tuple(names[i] for i in same.detections.class_ids)
        assert (received.mode, received.values['model']) == (same.mode, 'tiny')
        rebuilt = received.to_result(same.pair, pipeline.card)
        np.testing.assert_array_equal(rebuilt.label_map, same.label_map)
    assert len(compared) >= 0.75 * NUM_INSTANTS
    assert {same.mode for same in compared} == {Mode.FUSED, Mode.RGB_ONLY}
    assert sum(len(same.detections) for same in compared) > 0


def test_replay_writes_the_results_it_yields(
    bag: Path, pipeline: Pipeline, offline: dict[int, Result], tmp_path: Path
):
    with BagReader(bag) as reader:
        summary = replay_to_folder(reader, pipeline, tmp_path)
    assert summary.results == len(offline) == NUM_INSTANTS
    assert (tmp_path / RESULTS_BAG).is_dir()
    for line in (tmp_path / RESULTS_FILE).read_text().splitlines():
        row = json.loads(line)
        detections = offline[row['rgb_stamp_ns']].detections
        # Written with three and five decimals.
        written = np.array(row['boxes_xyxy']).reshape(-1, 4)
        np.testing.assert_allclose(written, detections.boxes_xyxy, atol=6e-4)
        np.testing.assert_allclose(row['scores'], detections.scores, atol=6e-6)
