# SPDX-License-Identifier: Apache-2.0
"""What is read of real folders and drawn on sheets; nothing is rendered here."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from bench import realism
from bench.world_sheet import (
    BACKGROUND,
    CELL_HW,
    choose_files,
    draw_sheet,
    fit_cell,
    load_real_pairs,
    parse_source,
    RealSource,
    ShownPair,
    TITLE_PX,
    write_sheet,
)


def write_real(folder: Path, name: str, *, rgb: int, thermal: int) -> None:
    for modality, value, shape in (('rgb', rgb, (40, 50, 3)), ('thermal', thermal, (40, 50))):
        (folder / modality).mkdir(parents=True, exist_ok=True)
        image = np.full(shape, value, np.uint8)
        image[::2] //= 2
        assert cv2.imwrite(str(folder / modality / name), image)


def test_a_source_is_a_folder_and_a_prefix():
    assert parse_source('a/b:day') == RealSource(folder=Path('a/b'), prefix='day')
    assert parse_source('a/b') == RealSource(folder=Path('a/b'))


def test_images_are_found_in_folders_of_their_modality_and_by_prefix(tmp_path):
    write_real(tmp_path / 'one', 'day_1.png', rgb=9, thermal=8)
    write_real(tmp_path / 'two' / 'deep', 'day_2.png', rgb=9, thermal=8)
    write_real(tmp_path / 'two', 'night.png', rgb=9, thermal=8)
    (tmp_path / 'one' / 'rgb' / 'day_notes.txt').write_text('none')
    found = RealSource(folder=tmp_path, prefix='day').files('rgb')
    assert [path.name for path in found] == ['day_1.png', 'day_2.png']
    assert len(RealSource(folder=tmp_path).files('thermal')) == 3


def test_files_are_spread_evenly():
    files = [Path(str(i)) for i in range(10)]
    assert choose_files(files, 4) == [Path(name) for name in '0257']
    assert choose_files(files, 20) == files
    assert choose_files([], 3) == []


def test_pairs_have_one_stem_and_rgb_order(tmp_path):
    write_real(tmp_path, 'both.png', rgb=0, thermal=80)
    blue = np.zeros((4, 6, 3), np.uint8)
    blue[..., 0] = 255
    assert cv2.imwrite(str(tmp_path / 'rgb' / 'both.png'), blue)
    assert cv2.imwrite(str(tmp_path / 'rgb' / 'alone.png'), blue)
    (pair,) = load_real_pairs(RealSource(folder=tmp_path), 5)
    assert pair.is_real
    assert pair.rgb[0, 0].tolist() == [0, 0, 255]
    assert pair.thermal[1, 0] == 80


def test_a_sheet_has_rgb_over_thermal_in_rows():
    def shown(level):
        return ShownPair(
            title='',
            rgb=np.full((48, 64, 3), (level, 0, 0), np.uint8),
            thermal=np.full((48, 64), level, np.uint8),
        )

    sheet = draw_sheet([shown(50), shown(100), shown(150)], columns=2)
    height, width = CELL_HW
    assert sheet[TITLE_PX + 5, 5].tolist() == [50, 0, 0]
    assert sheet[TITLE_PX + 5, width + 9].tolist() == [100, 0, 0]
    assert sheet[TITLE_PX + height + 9, width + 9].tolist() == [100] * 3
    half = sheet.shape[0] // 2
    assert sheet[half + TITLE_PX + 5, 5].tolist() == [150, 0, 0]
    assert sheet[half + TITLE_PX + 5, width + 9].tolist() == [BACKGROUND] * 3  # no fourth


def test_wide_images_are_cut_at_the_sides_only():
    image = np.zeros((96, 400), np.uint8)
    image[:, 200:] = 255
    cell = fit_cell(image)
    assert cell.shape == (*CELL_HW, 3)
    assert cell[0, CELL_HW[1] // 2 - 4].tolist() == [0] * 3
    assert cell[-1, CELL_HW[1] // 2 + 4].tolist() == [255] * 3


def test_a_sheet_is_a_png(tmp_path):
    with pytest.raises(SystemExit, match=r"written to '.*\.jpg'; expected a PNG; name it .png"):
        write_sheet(tmp_path / 'a.jpg', np.zeros((4, 4, 3), np.uint8))


@pytest.fixture
def painted_world(monkeypatch):
    def show(seed, condition=None):
        image = np.full((40, 50, 3), 100 + seed, np.uint8)
        image[::2] //= 2
        return ShownPair(title='', rgb=image, thermal=np.ascontiguousarray(image[..., 0]))

    monkeypatch.setattr(realism, 'render_shown', show)


def compare(tmp_path, levels):
    for index, level in enumerate(levels):
        write_real(tmp_path / f'secret_{index}', 'a.png', rgb=level, thermal=level)
    arguments = ['--out', str(tmp_path / 'out'), '--pairs', '3', '--seed', '0', '--real']
    return realism.main(arguments + [str(tmp_path / f'secret_{i}') for i in range(len(levels))])


def test_what_lies_between_the_sources_is_kept_and_of_them_only_the_ranges_stay(
    painted_world, tmp_path, capsys
):
    # Levels 100..102: of 80 and 120 every statistic is on either side, but for the shares.
    compare(tmp_path, (80, 120))
    text = (tmp_path / 'out' / 'realism.json').read_text()
    found = json.loads(text)
    by_name = {bound['name']: bound for bound in found['bounds']}
    for name in ('mean', 'std', 'gradient mean', 'p99'):
        assert by_name[f'rgb {name}']['is_kept'], name
        assert by_name[f'thermal {name}']['is_kept'], name
    low, high = found['rgb']['range']['mean']
    assert (low, high) == (pytest.approx(60 - 0.1 * 30), pytest.approx(90 + 0.1 * 30))
    assert 'secret' not in text
    assert 'rgb mean' in capsys.readouterr().out


def test_what_lies_outside_is_broken(painted_world, tmp_path):
    assert compare(tmp_path, (180, 220)) == 1
    found = json.loads((tmp_path / 'out' / 'realism.json').read_text())
    kept = {bound['name']: bound['is_kept'] for bound in found['bounds']}
    assert not kept['rgb mean']
    assert not kept['thermal p99']


def test_one_source_makes_no_range(painted_world, tmp_path):
    with pytest.raises(SystemExit, match=r'1 of 1 real sources have rgb images; expected 2 or'):
        compare(tmp_path, (100,))


@pytest.mark.parametrize('arguments', [[], ['--real', 'a', '--sheet', 'b.png']])
def test_one_thing_at_a_time_is_done(arguments, capsys):
    with pytest.raises(SystemExit):
        realism.main(arguments)
    assert 'expected either --real, to compare, or --sheet, to draw' in capsys.readouterr().err
