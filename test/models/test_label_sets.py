# SPDX-License-Identifier: Apache-2.0
from rgbt_models.card import load_card
from rgbt_models.label_sets import DETECTION_CLASSES, SEGMENTATION_CLASSES
from rgbt_models.synthetic.materials import FIRST_OBJECT_LABEL, Label


def test_names_are_those_of_the_world_in_its_order():
    assert tuple(label.name.lower() for label in Label) == SEGMENTATION_CLASSES
    assert SEGMENTATION_CLASSES[FIRST_OBJECT_LABEL:] == DETECTION_CLASSES


def test_the_shipped_model_knows_these_classes():
    card = load_card('tiny')
    assert card.detection_classes == DETECTION_CLASSES
    assert card.segmentation_classes == SEGMENTATION_CLASSES
