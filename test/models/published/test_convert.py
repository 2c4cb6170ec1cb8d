# SPDX-License-Identifier: Apache-2.0
"""From a released file, with every tensor of the release, to a card folder that loads."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
import re

import numpy as np
import pytest
from safetensors import safe_open
import torch

from rgbt_models.card import hash_file, load_card
from rgbt_models.errors import CardError, WeightsError
from rgbt_models.published import convert_checkpoint, load_detector, load_encoder, load_segmenter
from rgbt_models.published.convert import compare_keys
from rgbt_models.published.layouts import expected_shapes, Layout
from rgbt_models.published_card import load_published_card


def made_tensors(layout: Layout, num_classes: int = 0) -> dict[str, torch.Tensor]:
    """Every tensor of the release, the n-th filled with n; small in memory and in a file."""
    shapes = expected_shapes(layout, num_classes=num_classes)
    return {
        name: torch.full((1,), float(index % 2000), dtype=torch.float16).expand(shape)
        for index, (name, shape) in enumerate(shapes.items())
    }


def save_as_released(path: Path, layout: Layout, tensors: dict, classes: tuple = ()) -> Path:
    content: dict = tensors
    if layout is Layout.DETECTION_ENCODER:
        content = {'model': tensors}
    elif layout is not Layout.SEGMENTATION_ENCODER:
        meta = {'dataset_meta': {'classes': classes}} if classes else {}
        content = {'meta': meta, 'state_dict': tensors}
    torch.save(content, path)
    return path


@pytest.fixture(scope='module')
def detector_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp('detector')
    tensors = made_tensors(Layout.DETECTION, 3)
    classes = ('person', 'car', 'bicycle')
    file = save_as_released(folder / 'FLIR.pth', Layout.DETECTION, tensors, classes)
    convert_checkpoint(file, folder / 'flir')
    return folder


@pytest.mark.parametrize(
    'layout', [Layout.PRETRAINING, Layout.DETECTION_ENCODER, Layout.SEGMENTATION_ENCODER]
)
def test_an_encoder_file_becomes_a_folder_that_loads(tmp_path, layout):
    tensors = made_tensors(layout)
    file = save_as_released(tmp_path / 'encoder.pth', layout, tensors, ('cat', 'dog'))
    conversion = convert_checkpoint(file, tmp_path / 'encoder')
    assert conversion.report.lines() == [
        'missing (0): none',
        'unexpected (0): none',
        'mismatched (0): none',
    ]
    assert conversion.num_tensors == len(tensors)
    card, encoder = load_encoder(tmp_path / 'encoder')
    assert card == replace(conversion.card, folder=card.folder)
    assert (card.task, card.channel_order, card.classes) == ('encoder', 'rgb', ())
    released = {
        Layout.PRETRAINING: 'backbone.layers.5.ffn.layers.1.weight',
        Layout.DETECTION_ENCODER: 'blocks.5.mlp.fc2.weight',
        Layout.SEGMENTATION_ENCODER: 'layers.5.ffn.layers.1.weight',
    }[layout]
    weight = encoder.vit.blocks[5].mlp.fc2.weight
    assert weight.shape == (768, 3072)
    assert weight[3, 4] == weight[700, 2] == tensors[released][0, 0]


def test_the_decoder_of_pretraining_is_kept_in_the_file(tmp_path):
    layout = Layout.PRETRAINING
    tensors = made_tensors(layout)
    convert_checkpoint(save_as_released(tmp_path / 'x.pth', layout, tensors), tmp_path / 'out')
    with safe_open(tmp_path / 'out' / 'model.safetensors', framework='pt') as file:
        names = [name for name in file.keys() if name.startswith('decoder.')]  # noqa: SIM118
        token = file.get_tensor('decoder.mask_token2')
    assert len(names) == 140
    assert token[0, 0, 0] == tensors['neck.mask_token2'][0, 0, 0]


def test_a_finished_detector_loads_and_its_card_has_the_published_numbers(detector_folder):
    card, model = load_detector(detector_folder / 'flir')
    assert card.task == 'detection'
    assert card.classes == ('person', 'car', 'bicycle')
    assert card.input_hw == (960, 960)
    assert (card.channel_order, card.pad_level, card.norm_eps) == ('rgb', 114, 1e-5)
    for mean, std in ((card.rgb_mean, card.rgb_std), (card.thermal_mean, card.thermal_std)):
        np.testing.assert_allclose(np.multiply(mean, 255), [123.675, 116.28, 103.53])
        np.testing.assert_allclose(np.multiply(std, 255), [58.395, 57.12, 57.375])
    assert card.source_sha256 == hash_file(detector_folder / 'FLIR.pth')
    assert 'Not stated' in card.licence
    assert {block.norm1.eps for block in model.encoder.blocks} == {card.norm_eps}
    assert not model.training
    released = made_tensors(Layout.DETECTION, 3)['rpn_head.rpn_reg.weight'][0, 0, 0, 0]
    assert model.heads.rpn_head.rpn_reg.weight[7, 9, 0, 0] == released


def test_a_detector_is_not_read_as_a_segmenter(detector_folder):
    with pytest.raises(CardError, match="of task 'detection'; expected segmentation or saliency"):
        load_segmenter(detector_folder / 'flir')


def test_the_folder_is_a_model_card_for_the_node(detector_folder):
    card = load_card(detector_folder / 'flir')
    assert card.is_published
    assert (card.name, card.input_hw) == ('flir', (960, 960))
    assert card.detection_classes == ('person', 'car', 'bicycle')


def test_altered_weights_are_refused(detector_folder, tmp_path):
    (tmp_path / 'card.json').write_bytes((detector_folder / 'flir' / 'card.json').read_bytes())
    (tmp_path / 'model.safetensors').write_bytes(b'altered')
    with pytest.raises(WeightsError, match='was altered'):
        load_detector(tmp_path)


def test_all_tensors_that_do_not_fit_are_listed(tmp_path):
    layout = Layout.DETECTION_ENCODER
    tensors = made_tensors(layout)
    del tensors['blocks.4.norm2.bias'], tensors['cls_token']
    tensors['head.weight'] = torch.zeros(1)
    tensors['pos_embed'] = torch.zeros(1, 196, 768)
    file = save_as_released(tmp_path / 'x.pth', layout, tensors)
    with pytest.raises(WeightsError) as caught:
        convert_checkpoint(file, tmp_path / 'out')
    text = str(caught.value)
    assert 'missing (2): blocks.4.norm2.bias, cls_token\n' in text
    assert 'unexpected (1): head.weight\n' in text
    assert 'mismatched (1): pos_embed (1, 196, 768) for (1, 197, 768)\n' in text
    assert not (tmp_path / 'out').exists()


def test_index_buffers_may_be_there_or_not():
    shapes = expected_shapes(Layout.SEGMENTATION, num_classes=26)
    with_buffers = compare_keys(shapes, Layout.SEGMENTATION, num_classes=26)
    assert with_buffers.is_exact
    assert with_buffers.lines()[-1] == 'rebuilt instead of read: 12'
    without = {name: s for name, s in shapes.items() if not name.endswith('position_index')}
    report = compare_keys(without, Layout.SEGMENTATION, num_classes=26)
    assert report.is_exact
    assert report.rebuilt == ()


@pytest.mark.parametrize(
    ('noted', 'given', 'problem'),
    [
        ((), (), '3 classes and the names none'),
        (('a', 'b'), (), '3 classes and the names a, b'),
        (('a', 'b', 'c'), ('x', 'y'), '3 classes and the names x, y'),
        ((), ('a', 'b', 'b'), '3 classes and the names a, b, b'),
    ],
)
def test_class_names_that_do_not_fit_are_refused(tmp_path, noted, given, problem):
    layout = Layout.DETECTION
    file = save_as_released(tmp_path / 'x.pth', layout, made_tensors(layout, 3), noted)
    with pytest.raises(WeightsError, match=re.escape(problem)):
        convert_checkpoint(file, tmp_path / 'out', class_names=given)
    assert not (tmp_path / 'out').exists()


def test_class_names_for_an_encoder_are_refused(tmp_path):
    layout = Layout.DETECTION_ENCODER
    file = save_as_released(tmp_path / 'x.pth', layout, made_tensors(layout))
    with pytest.raises(WeightsError, match='0 classes and the names a'):
        convert_checkpoint(file, tmp_path / 'out', class_names=('a',))


@pytest.mark.parametrize(
    ('text', 'problem'),
    [
        ('{', 'cannot read card'),
        ('{"format": 1}', 'has format 1; expected'),
        ('{"format": "published-1", "colour": 3}', "unknown keys ['colour'] and lacks"),
    ],
)
def test_a_card_that_is_none_is_refused(tmp_path, text, problem):
    (tmp_path / 'card.json').write_text(text)
    with pytest.raises(CardError, match=re.escape(problem)):
        load_published_card(tmp_path)


@pytest.mark.parametrize(
    ('old', 'new', 'problem'),
    [
        ('"channel_order": "rgb"', '"channel_order": "gbr"', "channel_order 'gbr'; expected one"),
        ('"task": "detection"', '"task": "tracking"', "task 'tracking'; expected one of encoder"),
        ('"rgb_std": [', '"rgb_std": [1.0, ', 'expected three values each'),
        ('"rgb_std": [', '"rgb_std": 3, "x": [', "unknown keys ['x']"),
        ('"rgb_mean": [', '"rgb_mean": 3, "rgb_mean": null, "layout": [', 'malformed'),
    ],
)
def test_a_card_with_values_of_no_use_is_refused(detector_folder, tmp_path, old, new, problem):
    text = (detector_folder / 'flir' / 'card.json').read_text()
    assert old in text
    (tmp_path / 'card.json').write_text(text.replace(old, new))
    with pytest.raises(CardError, match=re.escape(problem)):
        load_published_card(tmp_path)


def test_a_card_that_names_another_network_is_refused(detector_folder, tmp_path):
    text = (detector_folder / 'flir' / 'card.json').read_text(encoding='utf-8')
    assert '"norm_eps": 1e-05' in text
    changed = text.replace('"norm_eps": 1e-05', '"norm_eps": 1e-06')
    (tmp_path / 'card.json').write_text(changed, encoding='utf-8')
    with pytest.raises(
        CardError, match='with norm_eps 1e-06; expected vitdet_mask_rcnn with 1e-05'
    ):
        load_detector(tmp_path)
