# SPDX-License-Identifier: Apache-2.0
"""Class names a model is trained on; a pool, a run and a card each carry their own copy.

Needs neither torch nor numpy.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rgbt_models.errors import DatasetError

# A truck is a truck or a bus; a rider is a person on a bicycle or motorbike.
DETECTION_CLASSES = ('person', 'rider', 'bicycle', 'motorbike', 'car', 'truck', 'animal')
SEGMENTATION_CLASSES = (
    'sky',
    'road',
    'sidewalk',
    'building',
    'vegetation',
    'pole',
    *DETECTION_CLASSES,
)
# Of pools made of saliency masks.
MASK_CLASSES = ('background', 'salient')
UNLABELED = 255  # in label maps and masks


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelSet:
    """Names by class id; the default is what the rendered world is labeled with.

    Attributes:
        detection_classes: Of boxes; empty = there are no boxes.
        segmentation_classes: Of label maps, at most 255; empty = there are no label maps.
    """

    detection_classes: tuple[str, ...] = DETECTION_CLASSES
    segmentation_classes: tuple[str, ...] = SEGMENTATION_CLASSES

    def __post_init__(self) -> None:
        """Check the names.

        Raises:
            DatasetError: If a name is empty or comes twice, or ids do not fit into 8 bits.
        """
        for names in (self.detection_classes, self.segmentation_classes):
            if '' in names or len(set(names)) != len(names) or len(names) > 255:
                raise DatasetError(
                    f'class names are {names}; expected at most 255, each once and none empty; '
                    f'correct the data set'
                )

    def to_json(self) -> dict[str, list[str]]:
        """Return JSON values that ``parse_label_set`` reads."""
        return {
            'detection_classes': list(self.detection_classes),
            'segmentation_classes': list(self.segmentation_classes),
        }


PACKAGE_LABEL_SET = LabelSet()
# Of pools and runs that do not say their classes: they were labeled by world 1.
FIRST_LABEL_SET = LabelSet(
    detection_classes=('person', 'car', 'bicycle'),
    segmentation_classes=(
        *('sky', 'road', 'ground', 'building', 'vegetation'),
        *('person', 'car', 'bicycle'),
    ),
)


def parse_label_set(values: Mapping[str, Any]) -> LabelSet:
    """Read the label set that a pool or a run wrote about itself.

    Args:
        values: With the keys of ``LabelSet.to_json``; without both = ``FIRST_LABEL_SET``, for
            those that were written before label sets were.

    Raises:
        DatasetError: If they are no lists of names.
    """
    if 'detection_classes' not in values and 'segmentation_classes' not in values:
        return FIRST_LABEL_SET
    found = {name: values.get(name, []) for name in ('detection_classes', 'segmentation_classes')}
    for name, names in found.items():
        if not isinstance(names, list) or not all(isinstance(item, str) for item in names):
            raise DatasetError(
                f'{name} is {names!r}; expected a list of class names; write the file again'
            )
    return LabelSet(**{name: tuple(names) for name, names in found.items()})
