# SPDX-License-Identifier: Apache-2.0
"""Which place it is, and building it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rgbt_models.synthetic.layouts.car_park import build_car_park
from rgbt_models.synthetic.layouts.crossing import build_crossing
from rgbt_models.synthetic.layouts.layout import Layout, LayoutKind
from rgbt_models.synthetic.layouts.path import build_path
from rgbt_models.synthetic.layouts.street import build_street, sample_street
from rgbt_models.synthetic.layouts.yard import build_yard

if TYPE_CHECKING:
    import numpy as np

    from rgbt_models.synthetic.builder import SceneBuilder

_SHARES = {
    LayoutKind.STREET: 0.45,
    LayoutKind.CROSSING: 0.2,
    LayoutKind.CAR_PARK: 0.13,
    LayoutKind.PATH: 0.12,
    LayoutKind.YARD: 0.1,
}


def sample_layout_kind(rng: np.random.Generator) -> LayoutKind:
    """Draw a kind of place; nearly half are streets."""
    kinds = list(_SHARES)
    return kinds[int(rng.choice(len(kinds), p=list(_SHARES.values())))]


def build_layout(rng: np.random.Generator, builder: SceneBuilder, kind: LayoutKind) -> Layout:
    """Draw and add a place of a kind."""
    if kind is LayoutKind.STREET:
        return build_street(rng, builder, sample_street(rng))
    build = {
        LayoutKind.CROSSING: build_crossing,
        LayoutKind.CAR_PARK: build_car_park,
        LayoutKind.PATH: build_path,
        LayoutKind.YARD: build_yard,
    }[kind]
    return build(rng, builder)
