# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import replace
import json

from fakes import build_card
from made_data import MIDDLE_BOX, write_dataset
from made_results import build_result
import numpy as np
import pytest
from rich.console import Console

from rgbt_models.metrics import MISS_RATE_SETTINGS
from rgbt_perception.cli.evaluate import show_miss_rates
from rgbt_perception.datasets import load_dataset
from rgbt_perception.errors import DatasetError, ShapeError
from rgbt_perception.scores import Scores
from rgbt_perception.truth import Truth
from rgbt_perception.types import Detections


@pytest.fixture
def folder(tmp_path):
    """A folder of pairs whose boxes say their occlusion."""
    write_dataset(tmp_path / 'pairs')
    return tmp_path / 'pairs'


def change(folder, level):
    path = folder / 'annotations.json'
    document = json.loads(path.read_text())
    for annotation in document['annotations'][:1]:
        annotation['occlusion'] = level
    path.write_text(json.dumps(document))
    return folder


def test_occlusions_are_read_where_any_box_says_them(folder):
    assert next(load_dataset(folder).pairs()).truth.occlusions is None
    truths = [item.truth for item in load_dataset(change(folder, 2)).pairs()]
    assert truths[0].occlusions[0] == 2
    # An image without such a box counts too: its false positives do.
    assert all(truth.occlusions is not None for truth in truths)


def test_an_occlusion_that_is_none_is_refused(folder):
    with pytest.raises(DatasetError, match=r'expected 0 .none., 1 .partial. or 2'):
        list(load_dataset(change(folder, 3)).pairs())


def test_occlusions_must_fit_the_boxes():
    with pytest.raises(ShapeError, match='occlusions'):
        Truth(
            boxes_xyxy=np.zeros((1, 4), np.float32),
            class_names=('person',),
            ignore=np.zeros(1, np.bool_),
            occlusions=np.zeros(2, np.int64),
        )


def scored(folder, card, *, finds):
    scores = Scores(card)
    for item in load_dataset(folder).pairs():
        n = 1 if finds else 0
        found = Detections(
            boxes_xyxy=np.array([MIDDLE_BOX] * n, np.float32).reshape(-1, 4),
            scores=np.full(n, 0.9, np.float32),
            class_ids=np.full(n, card.detection_classes.index('person'), np.int64),
        )
        scores.add(item, None, replace(build_result(item.pair), detections=found))
    return scores.metrics()


def test_evaluation_gives_the_miss_rate_of_every_setting(tmp_path, folder):
    card = build_card(tmp_path / 'card')
    change(folder, 0)
    rates = scored(folder, card, finds=True)['MR-2']
    assert set(rates) == {setting.name for setting in MISS_RATE_SETTINGS}
    assert rates['scale-far'] == 0.0  # the persons of the made images are 24 px high
    assert rates['reasonable-all'] is None
    assert scored(folder, card, finds=False)['MR-2']['scale-far'] == 1.0


def test_without_occlusions_there_is_no_miss_rate(tmp_path, folder):
    assert 'MR-2' not in scored(folder, build_card(tmp_path / 'card'), finds=True)


def test_the_table_names_the_setting_and_each_camera_alone():
    console = Console(record=True, width=100)
    rates = {'MR-2': {'reasonable-all': 0.25, 'scale-near': None}}
    metrics = {'fused': rates, 'rgb_only': rates, 'thermal_only': rates}
    show_miss_rates(metrics, console)
    text = console.export_text()
    assert 'reasonable-all' in text
    assert text.count('0.250') == 3
    assert all(name in text for name in metrics)
    show_miss_rates({'fused': {}}, console)
