# SPDX-License-Identifier: Apache-2.0
"""A converted checkpoint as the runtime sees it: a card like any other."""

from __future__ import annotations

from dataclasses import replace
import subprocess
import sys

from made_published import published_card, segmentation_card
import numpy as np
import pytest

from rgbt_models.build import load_model
from rgbt_models.card import load_card
from rgbt_models.errors import CardError
from rgbt_models.normalise import ThermalNormaliser
from rgbt_models.publish import record_metrics
from rgbt_models.published_card import view_as_model_card


def write_json(folder, card):
    (folder / 'card.json').write_text(card.to_json(), encoding='utf-8')
    return folder


def test_a_detector_has_boxes_and_no_labels_and_only_its_padding_is_subtracted(tmp_path):
    card = load_card(write_json(tmp_path, published_card()))
    assert card.is_published
    assert (card.architecture, card.input_hw) == ('vitdet_mask_rcnn', (96, 96))
    assert (card.detection_classes, card.segmentation_classes) == (('person', 'car'), ())
    assert card.rgb_mean == (114 / 255, 114 / 255, 114 / 255)
    assert (card.thermal_mean, card.rgb_std, card.thermal_std) == (114 / 255, (1.0,) * 3, 1.0)
    assert card.version == 'abcdef01'
    assert 'made.pth' in card.training_data
    assert card.licence == 'Not stated.'
    assert not card.synthetic_only
    assert card.folder == tmp_path.resolve()


@pytest.mark.parametrize(
    ('task', 'classes'),
    [('segmentation', ('road', 'car', 'hat')), ('saliency', ('background', 'saliency'))],
)
def test_segmentation_and_saliency_have_labels_no_boxes_and_a_4_to_3_input(task, classes):
    card = segmentation_card(task=task, classes=classes, input_hw=(768, 768))
    view = view_as_model_card(card)
    assert view.input_hw == (768, 1024)
    assert (view.detection_classes, view.segmentation_classes) == ((), classes)
    assert (view.rgb_mean, view.thermal_mean) == ((0.0, 0.0, 0.0), 0.0)


def test_shares_are_not_given_so_the_index_is_not_a_number():
    assert np.isnan(view_as_model_card(published_card()).mdi_calibration(()))


def test_an_encoder_is_refused_with_what_to_do(tmp_path):
    card = published_card(task='encoder', architecture='vit_base_patch16_224', classes=())
    with pytest.raises(CardError, match=r'is of a pretrained encoder.*convert a finished model'):
        load_card(write_json(tmp_path, card))


def test_an_architecture_that_does_not_run_is_refused():
    with pytest.raises(CardError, match="has architecture 'swin'; expected one of vitdet_mask_"):
        view_as_model_card(published_card(architecture='swin'))


def test_8_bit_thermal_images_are_only_scaled_as_released_others_are_stretched():
    normalise = view_as_model_card(published_card()).thermal_normaliser
    grey = np.array([[51, 102], [76, 60]], np.uint8)
    np.testing.assert_allclose(normalise(grey), [[0.2, 0.4], [76 / 255, 60 / 255]], rtol=1e-6)
    counts = np.random.default_rng(0).integers(29_000, 31_000, (30, 40)).astype(np.uint16)
    expected = ThermalNormaliser(min_value=0.0, max_value=1.0)(counts)
    np.testing.assert_array_equal(normalise(counts), expected)
    assert (expected.min(), expected.max()) == (0.0, 1.0)


def test_the_view_is_never_written_over_the_published_card(tmp_path):
    write_json(tmp_path, published_card())
    before = (tmp_path / 'card.json').read_bytes()
    with pytest.raises(CardError, match='is of a published model; expected a card of format 1'):
        record_metrics(tmp_path, 'flir', {'mAP': 0.5})
    assert (tmp_path / 'card.json').read_bytes() == before


def test_what_needs_a_fusion_with_shares_refuses_it():
    with pytest.raises(CardError, match='which has no fusion with shares; expected a card that'):
        load_model(view_as_model_card(published_card()))


def test_a_format_1_card_of_a_published_architecture_is_no_published_card():
    view = view_as_model_card(published_card())
    assert not replace(view, architecture='tiny').is_published


def test_the_card_is_read_where_torch_is_not_installed(tmp_path):
    write_json(tmp_path, published_card())
    absent = ['torch', 'torchvision', 'timm', 'safetensors']
    code = (
        f'import sys; sys.modules.update(dict.fromkeys({absent!r}))\n'
        f'from pathlib import Path\n'
        f'from rgbt_models.card import load_card\n'
        f'assert load_card(Path({str(tmp_path)!r})).detection_classes == ("person", "car")\n'
    )
    subprocess.run([sys.executable, '-c', code], check=True)
