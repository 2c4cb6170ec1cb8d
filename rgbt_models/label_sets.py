# SPDX-License-Identifier: Apache-2.0
"""Class names the models of this package are trained on; a card carries its own copy."""

DETECTION_CLASSES = ('person', 'car', 'bicycle')
SEGMENTATION_CLASSES = (
    'sky',
    'road',
    'ground',
    'building',
    'vegetation',
    *DETECTION_CLASSES,
)
