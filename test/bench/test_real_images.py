# SPDX-License-Identifier: Apache-2.0
"""Real data sets in miniature, painted here; an engine finds what it is told."""

from __future__ import annotations

import json

import cv2
from fakes import build_card, build_outputs, FakeEngine
import numpy as np
import pytest

from bench import real_images
from bench.real_images import main
from bench.real_sources import (
    draw_grid,
    hit_uav_truth,
    load_hit_uav,
    load_unlabeled,
    SHEET_WIDTH,
    write_sheets,
)
from rgbt_perception.errors import DatasetError
from rgbt_perception.evaluate import scaled_input_hw
from rgbt_perception.types import Modality

HEIGHT, WIDTH = 64, 80
PERSON = [20.0, 10.0, 16.0, 40.0]  # x, y, width, height
NAMES = {1: 'Person', 2: 'Car', 3: 'Bicycle', 4: 'OtherVehicle', 5: 'DontCare'}


def write_image(path, seed, *, is_grey):
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = (HEIGHT, WIDTH) if is_grey else (HEIGHT, WIDTH, 3)
    image = np.random.default_rng(seed).integers(40, 200, shape).astype(np.uint8)
    assert cv2.imwrite(str(path), image)


def write_kaist(folder, num_pairs=2):
    images, annotations = [], []
    for index in range(num_pairs):
        folders = {'file_name': 'rgb', 'thermal_file_name': 'thermal'}
        names = {key: f'{name}/set_{index}.png' for key, name in folders.items()}
        write_image(folder / names['file_name'], index, is_grey=False)
        write_image(folder / names['thermal_file_name'], index, is_grey=True)
        images.append({'id': index + 1, **names})
        row = {'id': index + 1, 'image_id': index + 1, 'category_id': 1, 'bbox': PERSON}
        annotations.append({**row, 'iscrowd': 0, 'ignore': 0})
    categories = [{'id': 1, 'name': 'person'}]
    document = {'images': images, 'annotations': annotations, 'categories': categories}
    (folder / 'annotations.json').write_text(json.dumps(document))
    return folder


def write_hit_uav(folder, category_ids=(1, 2, 5)):
    write_image(folder / 'thermal' / 'a.jpg', 5, is_grey=True)
    document = {
        'images': [{'id': 4, 'file_name': 'thermal/a.jpg'}],
        'annotations': [
            {'id': index, 'image_id': 4, 'category_id': category, 'bbox': PERSON, 'iscrowd': 0}
            for index, category in enumerate(category_ids)
        ],
        'categories': [{'id': index, 'name': name} for index, name in NAMES.items()],
    }
    (folder / 'annotations.json').write_text(json.dumps(document))
    return folder


def finds_a_rider(batch):
    """Find the person, as a rider, at any input size."""
    height, width = batch.rgb.shape[2:]
    x, y, w, h = np.array(PERSON) * width / WIDTH
    return build_outputs((height, width), boxes=((1, 0.9, (x, y, x + w, y + h)),))


@pytest.fixture
def engine(monkeypatch):
    engine = FakeEngine(finds_a_rider)
    monkeypatch.setattr(real_images, 'open_engine', lambda *_: engine)
    return engine


def test_a_rider_counts_as_a_person_at_every_size(engine, tmp_path, capsys):
    card, folder = build_card(tmp_path / 'card'), write_kaist(tmp_path / 'kaist')
    out = tmp_path / 'out'
    arguments = ['--card', str(card.folder), '--kaist', str(folder), '--out', str(out)]
    assert main([*arguments, '--scales', '1', '2']) == 0
    found = json.loads((out / 'real_images.json').read_text())
    for variant in ('fused', 'rgb_only', 'thermal_only'):
        assert found['kaist'][variant]['by_scale'] == [1.0, 1.0]
        assert found['kaist'][variant]['standard_deviation'] == 0.0
    assert [row['right'] for row in found['kaist_by_pair']] == [1, 1]
    sizes = {batch.rgb.shape[2:] for batch in engine.batches}
    assert sizes == {scaled_input_hw((HEIGHT, WIDTH), scale, 16) for scale in (1.0, 2.0)}
    text = capsys.readouterr().out
    assert 'kept: KAIST person AP50 fused, mean over 2 sizes (aim 0.55) 1, bound' in text
    assert not list(out.rglob('*.png'))


def test_aerial_frames_and_overlays_are_made_where_asked_for(engine, tmp_path, capsys):
    card, kaist = build_card(tmp_path / 'card'), write_kaist(tmp_path / 'kaist')
    uav, out = write_hit_uav(tmp_path / 'uav'), tmp_path / 'out'
    page = tmp_path / 'page.md'
    page.write_text('<!-- begin real_images -->\n<!-- end real_images -->\n')
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(real_images, 'DEFAULT_MODEL_PAGE', page)
        arguments = ['--card', str(card.folder), '--kaist', str(kaist), '--out', str(out)]
        asked = ['--hit-uav', str(uav), '--pairs', str(kaist), '--overlays', '--write-page']
        main([*arguments, *asked, '--scales', '1'])
    found = json.loads((out / 'real_images.json').read_text())
    assert found['hit_uav']['person']['mean'] == 1.0
    assert found['hit_uav']['car']['mean'] == 0.0
    assert 'bicycle' not in found['hit_uav']  # none to find
    names = {path.name for path in (out / 'overlays').iterdir()}
    assert {'set_0.png', 'set_1.png', 'a.png', 'sheet_set_00.png', 'sheet_a_00.png'} <= names
    assert '| fused | 1.000 | 1.000 | 0.000 |' in page.read_text()
    assert '| person | 1.000 | 1.000 | 0.000 |' in page.read_text()


def test_unlabeled_pairs_need_overlays(capsys):
    with pytest.raises(SystemExit):
        main(['--kaist', 'a', '--pairs', 'b'])
    assert 'only overlays can be made; add --overlays' in capsys.readouterr().err


def test_what_hit_uav_does_not_care_about_is_ignored_for_every_class():
    rows = [{'category_id': index, 'bbox': [2, 3, 10, 20]} for index in (1, 4, 5)]
    truth = hit_uav_truth(rows, NAMES)
    assert truth.class_names == ('person', 'truck', 'person', 'car', 'bicycle')
    assert truth.ignore.tolist() == [False, False, True, True, True]
    assert truth.boxes_xyxy[0].tolist() == [2, 3, 12, 23]


def test_another_data_set_is_refused():
    with pytest.raises(DatasetError, match=r"the class 'Boat', expected one of Person.*DontCare"):
        hit_uav_truth([{'category_id': 1, 'bbox': [0, 0, 1, 1]}], {1: 'Boat'})


def test_frames_of_hit_uav_are_thermal_alone(tmp_path):
    (item,) = load_hit_uav(write_hit_uav(tmp_path))
    assert item.pair.rgb is None
    assert item.pair.thermal.modality is Modality.THERMAL
    assert item.pair.thermal.pixels.shape == (HEIGHT, WIDTH)
    assert item.truth.class_names[:2] == ('person', 'car')


@pytest.mark.parametrize('text', ['', '[]', '{"images": 3, "annotations": [], "categories": []}'])
def test_annotations_that_are_none_are_refused(tmp_path, text):
    (tmp_path / 'annotations.json').write_text(text)
    with pytest.raises(DatasetError, match=r'expected COCO annotations'):
        list(load_hit_uav(tmp_path))


def test_a_folder_without_pairs_is_refused(tmp_path):
    with pytest.raises(DatasetError, match=r'has no pair; expected files of the same name'):
        list(load_unlabeled(tmp_path))


def test_sheets_keep_sources_apart_and_order(tmp_path):
    pictures = []
    for index, name in enumerate(['one_1', 'two_1', 'one_2', 'one_3']):
        path = tmp_path / f'{name}.png'
        cv2.imwrite(str(path), np.full((10, 20, 3), 60 * index, np.uint8))
        pictures.append((name, path))
    sheets = write_sheets(tmp_path, pictures)
    assert [sheet.name for sheet in sheets] == ['sheet_one_00.png', 'sheet_two_00.png']
    grid = draw_grid([path for name, path in pictures if name.startswith('one')])
    height = SHEET_WIDTH // 2
    assert grid.shape == (2 * height, 2 * SHEET_WIDTH, 3)
    middles = [
        grid[height // 2 + row * height, SHEET_WIDTH // 2 + column * SHEET_WIDTH, 0]
        for row, column in ((0, 0), (0, 1), (1, 0), (1, 1))
    ]
    assert middles == [0, 120, 180, 0]
