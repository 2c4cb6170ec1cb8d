# SPDX-License-Identifier: Apache-2.0
"""A column is evaluated with an engine that finds what it is told; nothing is rendered here."""

from __future__ import annotations

import math

from fakes import build_card, build_outputs, FakeEngine
from made_data import write_dataset
import numpy as np
import pytest

from bench import conditions
from bench.conditions import (
    build_tables,
    COARSE_CLASSES,
    evaluate_column,
    list_bounds,
    main,
    shifted,
)
from rgbt_models.label_sets import FIRST_LABEL_SET, SEGMENTATION_CLASSES
from rgbt_perception.config import PerceptionConfig, RegistrationConfig

INFO = {
    'segmentation_classes': ['sky', 'road'],
    'homography_thermal_to_rgb': [1.2, 0.0, 0.1, 0.0, 1.3, 0.1, 0.0, 0.0, 1.0],
}


def values(person, car, iou):
    return {'AP50': {'person': person, 'car': car}, 'mIoU': iou, 'IoU': {'sky': iou}, 'mAP': 0.1}


def column(fused, rgb, thermal, beside):
    names = ('fused', 'rgb_only', 'thermal_only', 'misregistered')
    rows = (fused, rgb, thermal, beside)
    variants = {name: values(*row) for name, row in zip(names, rows, strict=True)}
    coarse = {'mIoU': fused[2] + 0.1, 'IoU': {'ground': 0.25}}
    return {'pairs': 4, **variants, 'coarse': coarse}


GOOD = column((0.8, 0.6, 0.7), (0.5, 0.6, 0.6), (0.7, 0.5, 0.5), (0.6, 0.5, 0.6))
# RGB alone is better in mIoU, thermal alone in mean AP50.
BAD = column((0.6, 0.4, 0.5), (0.3, 0.4, 0.6), (0.6, 0.5, 0.4), (0.5, 0.4, 0.5))


def test_thermal_is_moved_by_rgb_pixels():
    before = RegistrationConfig(
        method='homography',
        homography_thermal_to_rgb=(2.0, 0.0, 5.0, 0.0, 3.0, 7.0, 0.0, 0.0, 1.0),
    )
    after = np.reshape(shifted(before, (8.0, -4.0)).homography_thermal_to_rgb, (3, 3))
    np.testing.assert_allclose(after @ [10.0, 20.0, 1.0], [33.0, 63.0, 1.0])
    assert shifted(RegistrationConfig(), (8.0, 0.0)).method == 'homography'


def test_fused_must_be_as_good_as_the_better_camera_in_every_column():
    bounds = {bound.name: bound for bound in list_bounds({'day': GOOD, 'fog': BAD}, 'cpu')}
    assert bounds['day: mean AP50 fused less the better camera'].value == pytest.approx(0.1)
    assert bounds['day: mIoU fused less the better camera'].value == pytest.approx(0.1)
    assert bounds['fog: mean AP50 fused less the better camera'].value == pytest.approx(-0.05)
    assert not bounds['fog: mean AP50 fused less the better camera'].is_kept
    assert not bounds['fog: mIoU fused less the better camera'].is_kept
    assert len(bounds) == 4  # nothing is promised without the mixed column


@pytest.mark.parametrize(
    ('budget', 'kept'), [('cpu', [True] * 4), ('gpu', [True, False, True, True])]
)
def test_what_is_promised_depends_on_the_budget(budget, kept):
    bounds = list_bounds({'mixed': GOOD}, budget)[:4]
    assert [bound.name for bound in bounds] == [
        'AP50 person',
        'AP50 car',
        'mIoU',
        'mIoU over eight classes',
    ]
    assert [bound.value for bound in bounds[2:]] == pytest.approx([0.7, 0.8])
    assert [bound.is_kept for bound in bounds] == kept


def test_a_class_that_is_not_there_breaks_its_bound():
    metrics = {**GOOD, 'fused': {**GOOD['fused'], 'AP50': {'car': 0.9}}}
    person = list_bounds({'mixed': metrics}, 'cpu')[0]
    assert math.isnan(person.value)
    assert not person.is_kept


def test_the_tables_say_all_four_ways_and_all_columns():
    text = build_tables({'mixed': GOOD, 'fog': BAD})
    assert '|  | mixed (4) | fog (4) |' in text
    assert '| fused | 0.700 | 0.500 |' in text
    assert '| thermal alone | 0.600 | 0.550 |' in text
    assert '| fused, thermal 8 px beside | 0.550 | 0.450 |' in text
    assert '| person | 0.800 | 0.600 |' in text
    assert '| ground | 0.250 | 0.250 |\n| mIoU | 0.800 | 0.600 |' in text
    assert '| RGB alone | 0.500 | 0.600 |' in text


def test_the_coarse_classes_are_those_of_the_first_world_and_have_every_class_but_animals_once():
    assert tuple(COARSE_CLASSES) == FIRST_LABEL_SET.segmentation_classes
    parts = [name for names in COARSE_CLASSES.values() for name in names]
    assert sorted([*parts, 'animal']) == sorted(SEGMENTATION_CLASSES)


@pytest.fixture
def folder(tmp_path):
    return write_dataset(tmp_path / 'pairs', num_pairs=2, info=INFO)


def test_a_column_is_evaluated_in_four_ways(folder, tmp_path):
    card = build_card(tmp_path / 'card')
    engine = FakeEngine(build_outputs(card.input_hw))
    metrics = evaluate_column(card, engine, PerceptionConfig(), folder, None)
    assert metrics['pairs'] == 2
    assert len(engine.batches) == 8
    assert metrics['coarse'] == {'mIoU': 1.0, 'mAcc': 1.0, 'IoU': {'road': 1.0}}
    assert {'fused', 'rgb_only', 'thermal_only', 'misregistered'} <= set(metrics)
    # Fused and misregistered differ in thermal alone, and by its shift.
    fused, *_, beside = engine.batches[:4]
    np.testing.assert_array_equal(fused.rgb, beside.rgb)
    assert not np.array_equal(fused.thermal, beside.thermal)


def test_results_are_printed_and_written(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(conditions, 'render_columns', lambda *_, **__: {'mixed': folder})
    card = build_card(tmp_path / 'card')
    monkeypatch.setattr(conditions, 'open_engine', lambda *_: FakeEngine())
    page = tmp_path / 'page.md'
    page.write_text('<!-- begin conditions -->\n<!-- end conditions -->\n')
    monkeypatch.setattr(conditions, 'DEFAULT_MODEL_PAGE', page)
    out = tmp_path / 'out'
    arguments = ['--card', str(card.folder), '--columns', 'mixed', '--out', str(out)]
    assert main([*arguments, '--write-page']) == 1  # an engine that finds nothing keeps nothing
    assert (out / 'conditions.json').is_file()
    assert 'BROKEN: AP50 person' in capsys.readouterr().out
    assert 'Card fake 1, input 64x80; world' in page.read_text()
    assert '| RGB alone |' in page.read_text()
