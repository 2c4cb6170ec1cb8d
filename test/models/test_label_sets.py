# SPDX-License-Identifier: Apache-2.0
import pytest

from rgbt_models.card import load_card
from rgbt_models.errors import DatasetError
from rgbt_models.label_sets import (
    DETECTION_CLASSES,
    FIRST_LABEL_SET,
    LabelSet,
    PACKAGE_LABEL_SET,
    parse_label_set,
    SEGMENTATION_CLASSES,
)
from rgbt_models.synthetic.materials import FIRST_OBJECT_LABEL, Label


def test_names_are_those_of_the_world_in_its_order():
    assert tuple(label.name.lower() for label in Label) == SEGMENTATION_CLASSES
    assert SEGMENTATION_CLASSES[FIRST_OBJECT_LABEL:] == DETECTION_CLASSES


def test_the_shipped_model_knows_the_classes_of_the_world():
    card = load_card('tiny')
    assert card.detection_classes == PACKAGE_LABEL_SET.detection_classes
    assert card.segmentation_classes == PACKAGE_LABEL_SET.segmentation_classes


def test_a_label_set_is_read_back():
    label_set = LabelSet(detection_classes=('bus', 'tram'), segmentation_classes=())
    assert parse_label_set(label_set.to_json()) == label_set


def test_what_was_written_before_label_sets_has_that_of_world_1():
    assert parse_label_set({'seed': 3}) == FIRST_LABEL_SET
    assert FIRST_LABEL_SET.detection_classes == ('person', 'car', 'bicycle')
    assert PACKAGE_LABEL_SET.segmentation_classes == SEGMENTATION_CLASSES


@pytest.mark.parametrize('names', ['bus', ['bus', 3], [['bus']]])
def test_what_is_no_list_of_names_is_said(names):
    with pytest.raises(DatasetError, match=r'detection_classes is .*; expected a list of class'):
        parse_label_set({'detection_classes': names})


@pytest.mark.parametrize('names', [('bus', 'bus'), ('',), tuple(map(str, range(256)))])
def test_names_that_cannot_be_ids_are_said(names):
    with pytest.raises(DatasetError, match=r'class names are .*; expected at most 255, each once'):
        LabelSet(detection_classes=(), segmentation_classes=names)
