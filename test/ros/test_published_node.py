# SPDX-License-Identifier: Apache-2.0
"""Published models in the node: what they do not give is empty, and nothing crashes."""

from __future__ import annotations

from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from made_published import write_published
import numpy as np
import pytest
from ros_rig import reliable_latched, Rig
from sensor_msgs.msg import Image
from vision_msgs.msg import Detection2DArray, LabelInfo, VisionInfo

from rgbt_models.card import load_card
from rgbt_perception.engine import supervise

TOPICS = {
    'detections': Detection2DArray,
    'thermal/detections': Detection2DArray,
    'segmentation/mask': Image,
    'segmentation/color_mask': Image,
    'overlay': Image,
    'mdi': DiagnosticArray,
    'mdi/map': Image,
    'temperatures': DiagnosticArray,
}


@pytest.fixture
def make_rig(ros_context, tmp_path, capfd, monkeypatch):
    rigs = []

    def make(task: str) -> Rig:
        """Start a node on a small published model."""
        card = load_card(write_published(tmp_path / 'made', task, monkeypatch))
        rig = Rig(
            ros_context,
            card,
            capfd,
            values={'engine.num_threads': 1, 'engine.timeout_s': 20.0},
            open_engine=lambda config: supervise(card, config.engine),
            topics=TOPICS,
        )
        rigs.append(rig)
        rig.start()
        for topic, kind in (
            ('label_info', LabelInfo),
            ('detections/label_info', LabelInfo),
            ('vision_info', VisionInfo),
        ):
            rig.listen(topic, kind, reliable_latched())
        return rig

    yield make
    for rig in rigs:
        rig.close()


def names_of(message: LabelInfo) -> list[str]:
    return [item.class_name for item in message.class_map]


def pixels_of(message: Image) -> np.ndarray[Any, Any]:
    dtype = np.float32 if message.encoding == '32FC1' else np.uint8
    return np.frombuffer(message.data, dtype)


def wait_for_labels(rig: Rig) -> dict[str, list[str]]:
    topics = ('label_info', 'detections/label_info')
    rig.wait_until(lambda: all(rig.received[topic] for topic in topics), 'label sets arrive')
    return {topic: names_of(rig.received[topic][-1]) for topic in topics}


@pytest.mark.parametrize('task', ['detection', 'segmentation'])
def test_a_published_model_runs_and_leaves_empty_what_it_does_not_give(make_rig, task):
    rig = make_rig(task)
    is_detector = task == 'detection'
    results = rig.run_pair(size_hw=(72, 96))
    assert bool(results['detections'].detections) == is_detector
    assert (pixels_of(results['segmentation/mask']) == 255).all() == is_detector
    assert pixels_of(results['segmentation/color_mask']).any() != is_detector
    assert (results['overlay'].height, results['overlay'].width) == (72, 96)
    assert np.isnan(pixels_of(results['mdi/map'])).all()
    values = rig.mdi_values()
    assert (values['mode'], values['valid'], values['mdi']) == ('fused', 'false', 'nan')
    assert (values['method'], values['backend'], values['model']) == ('none', 'torch', 'made')
    labels = wait_for_labels(rig)
    assert labels['detections/label_info'] == (['person', 'car'] if is_detector else [])
    assert labels['label_info'] == ([] if is_detector else ['background', 'road', 'hat'])
    rig.wait_until(lambda: rig.received['vision_info'], 'the model is named')
    assert rig.received['vision_info'][-1].method.startswith('made version abcdef01 (vit')
    rig.wait_until(lambda: rig.status('engine').get('backend') == 'torch', 'the engine reports')
