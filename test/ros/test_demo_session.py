# SPDX-License-Identifier: Apache-2.0
"""The whole demonstration: node and player as processes, a listener, and the files it writes."""

from __future__ import annotations

import json
import os
from pathlib import Path
import signal
import subprocess
import sys
import time

import cv2
from fakes import build_onnx_card
from made_data import write_bag
import numpy as np
import pytest

from rgbt_models.card import load_card
from rgbt_perception.bag import BagReader
from rgbt_perception.config import load_config
from rgbt_perception.demo import DemoConfig
from rgbt_perception.engine.choice import choose_backends
from rgbt_perception.errors import ProcessError
from rgbt_perception.pipeline import open_pipeline
from rgbt_perception.replay import replay
from rgbt_perception.ros.demo_session import run_demo
from rgbt_perception.types import Pair

DOMAIN_ID = int(os.environ['ROS_DOMAIN_ID'])  # as conftest.py has set it
DEADLINE_S = 120.0
COMMAND = [sys.executable, '-m', 'rgbt_perception.cli.main', 'demo', '--domain-id', str(DOMAIN_ID)]
KEYS = {
    'pairs_sent',
    'results_received',
    'dropped_by_reason',
    'latency_ms',
    'detections',
    'modes',
    'mean_mdi_day',
    'mean_mdi_night',
    'backend',
    'precision',
    'model',
    'single_frames_sent',
}


@pytest.fixture(autouse=True)
def keep_environment(monkeypatch):
    for name in (
        'ROS_DOMAIN_ID',
        'ROS_AUTOMATIC_DISCOVERY_RANGE',
        'FASTDDS_DEFAULT_PROFILES_FILE',
    ):
        monkeypatch.setenv(name, os.environ[name])


@pytest.fixture
def params(tmp_path):
    card = build_onnx_card(tmp_path / 'card')
    path = tmp_path / 'node.param.yaml'
    path.write_text(
        f'perception:\n  ros__parameters:\n    model:\n      card: {card.folder}\n'
        f'    engine:\n      num_threads: 1\n'
    )
    return path


def best_backend(params: Path) -> str:
    config = load_config(params)
    return choose_backends(load_card(config.model.card), config.engine)[0]


def test_command_shows_the_gap_writes_the_files_and_succeeds(tmp_path, params):
    bag = write_bag(tmp_path / 'bag', num_instants=44, without_thermal=range(12, 20))
    out = tmp_path / 'out'
    done = subprocess.run(
        [*COMMAND, '--bag', str(bag), '--out', str(out), '--params-file', str(params)],
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    summary = json.loads((out / 'summary.json').read_text())
    assert set(summary) >= KEYS
    assert summary['pairs_sent'] == 36
    assert summary['single_frames_sent'] == 8
    assert summary['results_received'] >= 36
    assert summary['pair_results_received'] >= 0.95 * 36
    assert summary['modes']['rgb_only'] >= 6
    assert summary['modes']['fused'] >= 34
    assert summary['backend'] == best_backend(params)
    assert summary['precision'] == 'fp32'
    assert summary['model'] == 'fake'
    assert 0.0 < summary['latency_ms']['p50'] <= summary['latency_ms']['p99']
    assert cv2.imread(str(out / 'timeline.png')) is not None
    video = cv2.VideoCapture(str(out / 'overlay.mp4'))
    assert video.get(cv2.CAP_PROP_FRAME_COUNT) == summary['results_received']
    video.release()
    assert 'thermal' in done.stderr  # the progress line
    assert 'modes: ' in done.stdout


def test_live_results_equal_those_of_the_replay(tmp_path, params):
    bag = write_bag(tmp_path / 'bag', num_instants=12, without_thermal=(7,))
    config = DemoConfig(
        bag=bag,
        out_dir=tmp_path / 'out',
        rate_hz=5.0,
        params_file=params,
        domain_id=DOMAIN_ID,
    )
    run = run_demo(config, lambda progress: None)
    pipeline = open_pipeline(load_config(params))
    card = pipeline.card
    with BagReader(bag) as reader:
        offline = {
            result.pair.reference.stamp_ns: result for _, result in replay(reader, pipeline)
        }
    pipeline.close()
    compared = 0
    for live in run.results:
        same = offline[live.stamp_ns]
        if live.frame_stamps != frame_stamps(same.pair):
            continue  # a busy machine delivered one of the frames too late
        compared += 1
        boxes, scores = same.detections.boxes_xyxy, same.detections.scores
        np.testing.assert_allclose(live.boxes_xyxy, boxes, rtol=1e-6, atol=1e-4)
        np.testing.assert_allclose(live.scores, scores, rtol=1e-6)
        assert live.mode is same.mode
        assert live.class_names == ('person',) * len(scores)
        assert np.array_equal(live.to_result(same.pair, card).label_map, same.label_map)
    assert compared >= 8
    assert run.engine['backend'] == best_backend(params)


def test_node_that_cannot_start_ends_the_demo_with_its_reason(tmp_path):
    bag = write_bag(tmp_path / 'bag')
    params = tmp_path / 'bad.param.yaml'
    params.write_text('perception:\n  ros__parameters:\n    model:\n      card: /no/such/card\n')
    config = DemoConfig(
        bag=bag, out_dir=tmp_path / 'out', rate_hz=5.0, params_file=params, domain_id=DOMAIN_ID
    )
    with pytest.raises(ProcessError, match=r"no model card at '/no/such/card/card.json'"):
        run_demo(config, lambda progress: None)


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_no_program_outlives_an_interrupted_demo(tmp_path, params, number):
    bag = write_bag(tmp_path / 'bag', num_instants=200)
    out = tmp_path / 'out'
    process = subprocess.Popen(
        # A test in the background of a script ignores SIGINT, and so would its children.
        [
            'env',
            '--default-signal=INT',
            *COMMAND,
            '--bag',
            str(bag),
            '--out',
            str(out),
            '--params-file',
            str(params),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        deadline = time.monotonic() + DEADLINE_S
        while len(children_of(process.pid)) < 2:
            assert time.monotonic() < deadline
            assert process.poll() is None
            os.sched_yield()
        children = children_of(process.pid)
        process.send_signal(number)
        _, log = process.communicate(timeout=DEADLINE_S)
    finally:
        process.kill()
    assert process.returncode == 130, log
    assert 'rgbt demo: interrupted' in log
    assert not [pid for pid in children if Path(f'/proc/{pid}').exists()]


def frame_stamps(pair: Pair) -> tuple[int | None, int | None]:
    """Return the stamps of both frames, None for a missing one."""
    rgb_ns = None if pair.rgb is None else pair.rgb.stamp_ns
    return rgb_ns, None if pair.thermal is None else pair.thermal.stamp_ns


def children_of(pid: int) -> list[int]:
    """Return the ids of the processes that a process started."""
    path = Path(f'/proc/{pid}/task/{pid}/children')
    return [int(child) for child in path.read_text().split()] if path.exists() else []
