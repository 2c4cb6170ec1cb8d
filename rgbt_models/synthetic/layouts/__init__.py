# SPDX-License-Identifier: Apache-2.0
"""Places: streets, crossings, car parks, foot paths, yards."""

from rgbt_models.synthetic.layouts.choice import build_layout, sample_layout_kind
from rgbt_models.synthetic.layouts.layout import (
    Area,
    Lane,
    Layout,
    LayoutKind,
    Rates,
    Spot,
    Use,
)
from rgbt_models.synthetic.layouts.street import build_street, sample_street, Street

__all__ = [
    'Area',
    'Lane',
    'Layout',
    'LayoutKind',
    'Rates',
    'Spot',
    'Street',
    'Use',
    'build_layout',
    'build_street',
    'sample_layout_kind',
    'sample_street',
]
