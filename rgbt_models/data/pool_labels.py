# SPDX-License-Identifier: Apache-2.0
"""From the labels of a manifest to the class ids of a training pool: its own classes, or ours."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rgbt_models.data.manifest import Manifest
from rgbt_models.errors import DatasetError
from rgbt_models.label_sets import (
    DETECTION_CLASSES,
    LabelSet,
    MASK_CLASSES,
    SEGMENTATION_CLASSES,
    UNLABELED,
)

# Names of data sets, in lower case, for ours.
DETECTION_ALIASES = {
    **{name: name for name in DETECTION_CLASSES},
    'people': 'person',  # M3FD; KAIST's groups of that name are ignored boxes
    'pedestrian': 'person',
    'bike': 'bicycle',
    'cyclist': 'rider',
    'motorcycle': 'motorbike',
    'motor': 'motorbike',
    'van': 'car',
    'bus': 'truck',
    'dog': 'animal',
    'deer': 'animal',
}
SEGMENTATION_ALIASES = {
    **{name: name for name in SEGMENTATION_CLASSES},
    'pedestrian': 'person',
    'bike': 'bicycle',
    'motorcycle': 'motorbike',
    'bus': 'truck',
    'ground': 'sidewalk',
    'terrain': 'sidewalk',
}


class LabelKinds(NamedTuple):
    """Whether any pair of a data set has boxes, a label map, a saliency mask."""

    boxes: bool = False
    label_maps: bool = False
    masks: bool = False


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class PoolLabels:
    """The classes of a pool, and how labels of a data set become their ids.

    Attributes:
        label_set: Of the pool.
        box_ids: Class id by class name of a box, as it is or in lower case; others are ignored.
        pixel_ids: (256,) uint8, id in the pool by id in a label map; 255 = unlabeled.
        has_masks: Whether saliency masks are the label maps.
    """

    label_set: LabelSet
    box_ids: Mapping[str, int]
    pixel_ids: NDArray[np.uint8]
    has_masks: bool = False

    def box_id(self, class_name: str) -> int | None:
        """Return the class id of a box, None = of no class of the pool."""
        exact = self.box_ids.get(class_name)
        return self.box_ids.get(class_name.lower()) if exact is None else exact


def keep_classes(manifest: Manifest) -> PoolLabels:
    """Keep the classes of a data set.

    Label maps keep their ids. Names of boxes that the data set does not list are listed in the
    order of the alphabet. A set of saliency masks gets the classes background and salient.

    Raises:
        DatasetError: If there are label maps but no names for their ids, or names repeat.
    """
    return keep_names(
        manifest.name,
        kinds=label_kinds(manifest),
        detection_classes=box_classes(manifest),
        segmentation_classes=manifest.segmentation_classes,
    )


def keep_names(
    name: str,
    *,
    kinds: LabelKinds,
    detection_classes: tuple[str, ...],
    segmentation_classes: tuple[str, ...],
) -> PoolLabels:
    """Keep the classes of a data set of which this is known.

    Args:
        name: Of the data set.
        kinds: What its pairs are labeled with.
        detection_classes: Of boxes.
        segmentation_classes: Of label maps, by id.

    Raises:
        DatasetError: If there are label maps but no names for their ids, or names repeat.
    """
    names = detection_classes if kinds.boxes else ()
    classes = segmentation_classes if kinds.label_maps else ()
    if kinds.label_maps and not classes:
        raise DatasetError(
            f"'{name}' has label maps and no segmentation_classes; expected their names "
            f'by id; add them to the manifest'
        )
    has_masks = kinds.masks and not kinds.label_maps
    if has_masks:
        classes = MASK_CLASSES
    pixel_ids = np.full(256, UNLABELED, np.uint8)
    pixel_ids[: len(classes)] = np.arange(len(classes))
    return PoolLabels(
        label_set=LabelSet(detection_classes=names, segmentation_classes=classes),
        box_ids={spelt: i for i, own in enumerate(names) for spelt in (own.lower(), own)},
        pixel_ids=pixel_ids,
        has_masks=has_masks,
    )


def map_classes(manifest: Manifest) -> PoolLabels:
    """Bring the classes of a data set to those of the package; others are unknown ground."""
    kinds = label_kinds(manifest)
    pixel_ids = np.full(256, UNLABELED, np.uint8)
    for index, name in enumerate(manifest.segmentation_classes):
        ours = SEGMENTATION_ALIASES.get(name.lower())
        if ours is not None:
            pixel_ids[index] = SEGMENTATION_CLASSES.index(ours)
    return PoolLabels(
        label_set=LabelSet(
            detection_classes=DETECTION_CLASSES if kinds.boxes else (),
            segmentation_classes=SEGMENTATION_CLASSES if kinds.label_maps else (),
        ),
        box_ids={name: DETECTION_CLASSES.index(ours) for name, ours in DETECTION_ALIASES.items()},
        pixel_ids=pixel_ids,
    )


def box_classes(manifest: Manifest) -> tuple[str, ...]:
    """Return the names of boxes: those listed, else those found in the order of the alphabet."""
    if manifest.detection_classes:
        return manifest.detection_classes
    return tuple(
        sorted({box.class_name for entry in manifest.entries for box in entry.boxes or ()})
    )


def label_kinds(manifest: Manifest) -> LabelKinds:
    """Return what any pair of a manifest is labeled with."""
    return LabelKinds(
        boxes=any(entry.boxes is not None for entry in manifest.entries),
        label_maps=any(entry.label_map_path is not None for entry in manifest.entries),
        masks=any(entry.mask_path is not None for entry in manifest.entries),
    )
