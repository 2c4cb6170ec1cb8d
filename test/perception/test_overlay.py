# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from fakes import build_card, build_outputs, FakeEngine, rgb_frame, thermal_frame
import numpy as np
import pytest

from rgbt_models.card import ModelCard
from rgbt_perception import overlay
from rgbt_perception.config import build_config, RegistrationConfig
from rgbt_perception.overlay import (
    class_color,
    CLASS_COLORS,
    color_label_map,
    draw_overlay,
    draw_side_by_side,
    MIN_BAR_IMAGE_HEIGHT,
    RGB_COLOR,
    THERMAL_COLOR,
)
from rgbt_perception.pipeline import Pipeline
from rgbt_perception.registration import Registration
from rgbt_perception.types import Pair, Result, Temperatures

SIZE = (240, 320)


@pytest.fixture
def card(tmp_path: Path) -> ModelCard:
    return build_card(tmp_path, input_hw=SIZE)


def run(card: ModelCard, pair: Pair, **outputs: Any) -> Result:
    outputs.setdefault('boxes', [(0, 0.9, (100.0, 60.0, 160.0, 180.0))])
    engine = FakeEngine(build_outputs(SIZE, **outputs))
    return Pipeline(card=card, engine=engine, config=build_config({})).run(pair)


def good_pair() -> Pair:
    return Pair(rgb=rgb_frame(size_hw=SIZE), thermal=thermal_frame(size_hw=(120, 160)))


def test_overlay_has_the_size_of_the_reference_image(card: ModelCard):
    picture = draw_overlay(run(card, good_pair()), card)
    assert picture.shape == (*SIZE, 3)
    assert picture.dtype == np.uint8


def test_overlay_leaves_the_input_alone(card: ModelCard):
    pair = good_pair()
    before = pair.reference.pixels.copy()
    draw_overlay(run(card, pair), card)
    np.testing.assert_array_equal(pair.reference.pixels, before)


def test_read_only_frames_can_be_drawn(card: ModelCard):
    pair = good_pair()
    for frame in (pair.rgb, pair.thermal):
        assert frame is not None
        frame.pixels.flags.writeable = False
    draw_side_by_side(run(card, pair), card)


def test_box_is_drawn_in_the_colour_of_its_class_at_its_place(card: ModelCard):
    picture = draw_overlay(run(card, good_pair()), card)
    for y, x in ((120, 100), (120, 159), (179, 130)):  # left, right and lower edge
        np.testing.assert_allclose(picture[y, x].astype(int), CLASS_COLORS['person'], atol=40)
    assert np.abs(picture[120, 130].astype(int) - CLASS_COLORS['person']).max() > 40


def test_label_map_tints_the_image(card: ModelCard):
    plain = rgb_frame(size_hw=SIZE, value=100)
    plain.pixels[:, 160:] = 110
    pair = Pair(rgb=plain, thermal=thermal_frame(size_hw=SIZE))
    pictures = [
        draw_overlay(run(card, pair, boxes=[], class_id=class_id), card) for class_id in (4, 6)
    ]
    vegetation, person = (picture[50, 50].astype(int) for picture in pictures)
    assert vegetation[1] > vegetation[0]  # green
    assert person[0] > person[1] + 50  # red, and stronger: a thing


def test_class_ids_are_coloured_and_unlabeled_is_black(card: ModelCard):
    colors = color_label_map(np.array([[0, 6], [255, 200]], np.uint8), card)
    assert colors[0, 0].tolist() == list(CLASS_COLORS['sky'])
    assert colors[0, 1].tolist() == list(CLASS_COLORS['person'])
    assert not colors[1].any()


def test_unknown_classes_get_colours_of_their_own():
    colors = {class_color('tram', 3), class_color('horse', 4), class_color('boat', 5)}
    assert len(colors) == 3
    assert not colors & set(CLASS_COLORS.values())


def test_thermal_is_the_background_where_rgb_was_not_used(card: ModelCard):
    dark = rgb_frame(size_hw=SIZE, value=0)
    thermal = thermal_frame(size_hw=SIZE, value=29_000)
    thermal.pixels[:, 160:] = 30_000
    picture = draw_overlay(run(card, Pair(rgb=dark, thermal=thermal), boxes=[]), card)
    assert picture[100, 300].sum() > picture[100, 20].sum() + 100


def test_side_by_side_is_twice_as_wide_with_registered_thermal_on_the_right(card: ModelCard):
    thermal = thermal_frame(size_hw=SIZE, value=29_000)
    thermal.pixels[:, :100] = 30_000
    pair = Pair(rgb=rgb_frame(size_hw=SIZE), thermal=thermal)
    move = RegistrationConfig(
        method='homography', homography_thermal_to_rgb=(1, 0, 50, 0, 1, 0, 0, 0, 1)
    )
    picture = draw_side_by_side(run(card, pair, boxes=[]), card, Registration(move))
    assert picture.shape == (SIZE[0], 2 * SIZE[1], 3)
    right = picture[100, SIZE[1] :].astype(int).sum(1)
    assert right[140] > 600  # hot up to 100 + 50
    assert right[160] < 100


@pytest.mark.parametrize('missing', ['rgb', 'thermal'])
def test_missing_camera_is_an_empty_panel(card: ModelCard, missing: str):
    pair = good_pair()
    size_hw = SIZE if missing == 'thermal' else (120, 160)
    alone = Pair(**{'rgb': pair.rgb, 'thermal': pair.thermal, missing: None})
    picture = draw_side_by_side(run(card, alone), card)
    assert picture.shape == (size_hw[0], 2 * size_hw[1], 3)
    half = slice(0, size_hw[1]) if missing == 'rgb' else slice(size_hw[1], None)
    panel = picture[size_hw[0] // 5 : size_hw[0] // 3, half]
    assert panel.std(axis=(0, 1)).max() < 1


@pytest.mark.parametrize(('rgb_share', 'side'), [(0.4, -1), (0.6, 1)])
def test_dominance_scale_points_to_the_camera_relied_on(
    card: ModelCard, rgb_share: float, side: int
):
    picture = draw_overlay(run(card, good_pair(), rgb_share=rgb_share), card)
    y, middle = SIZE[0] - 10, SIZE[1] // 2
    color = RGB_COLOR if side > 0 else THERMAL_COLOR
    np.testing.assert_allclose(picture[y, middle + side * 8], color, atol=10)
    assert np.abs(picture[y, middle - side * 8].astype(int) - color).max() > 60


def test_small_images_have_no_status_bar(card: ModelCard):
    small = (MIN_BAR_IMAGE_HEIGHT - 1, 200)
    pair = Pair(rgb=rgb_frame(size_hw=small), thermal=None)
    picture = draw_overlay(run(card, pair, boxes=[]), card)
    assert picture[-5:].mean() > 60


def test_result_without_a_camera_can_be_drawn(card: ModelCard):
    pair = Pair(rgb=rgb_frame(size_hw=SIZE, value=0), thermal=None)
    result = run(card, pair)
    assert draw_overlay(result, card).shape == (*SIZE, 3)
    assert draw_side_by_side(result, card).shape == (SIZE[0], 2 * SIZE[1], 3)


def test_one_pixel_image_can_be_drawn(card: ModelCard):
    pair = Pair(rgb=rgb_frame(size_hw=(1, 1)), thermal=None)
    assert draw_side_by_side(run(card, pair), card).shape == (1, 2, 3)


def test_the_highest_temperature_stands_beside_the_class_when_it_is_known(
    card: ModelCard, monkeypatch: pytest.MonkeyPatch
):
    written: list[str] = []
    write = overlay._write
    monkeypatch.setattr(
        overlay,
        '_write',
        lambda picture, text, *args: (written.append(text), write(picture, text, *args)),
    )
    result = run(card, good_pair())
    for max_c in (36.6, np.nan):
        values = np.full(1, max_c, np.float32)
        temperatures = Temperatures(min_c=values, mean_c=values, max_c=values)
        draw_overlay(replace(result, temperatures=temperatures), card)
    assert [text for text in written if text.startswith('person')] == [
        'person 37 C 0.90',
        'person 0.90',
    ]
