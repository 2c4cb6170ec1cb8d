# SPDX-License-Identifier: Apache-2.0
"""The names that users may rely on change only on purpose."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest
from source_tree import PACKAGES

SURFACE = Path(__file__).with_name('public_surface.txt')
MAX_NAMES = 25


def recorded() -> list[str]:
    lines = SURFACE.read_text(encoding='utf-8').splitlines()
    return [line for line in lines if line and not line.startswith('#')]


@pytest.mark.parametrize('package', PACKAGES)
def test_public_names_are_the_recorded_ones(package):
    names = {f'{package}.{name}' for name in importlib.import_module(package).__all__}
    expected = {name for name in recorded() if name.startswith(f'{package}.')}
    assert names == expected, f'if this is intended, change {SURFACE.name} and the changelog'


@pytest.mark.parametrize('package', PACKAGES)
def test_public_names_exist_and_are_at_most_25(package):
    module = importlib.import_module(package)
    assert len(module.__all__) <= MAX_NAMES
    assert all(hasattr(module, name) for name in module.__all__)


def test_recorded_names_are_in_alphabetic_order():
    assert recorded() == sorted(recorded())
