# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from rgbt_models import errors


@pytest.mark.parametrize(
    ('name', 'builtin'),
    [
        ('CardError', ValueError),
        ('WeightsError', ValueError),
        ('ExportError', RuntimeError),
        ('DatasetError', ValueError),
        ('EncoderError', ValueError),
        ('MatchingError', ValueError),
        ('PretrainError', ValueError),
        ('AdapterError', ValueError),
        ('AdapterDependencyError', ImportError),
    ],
)
def test_every_error_is_ours_and_refines_a_builtin(name, builtin):
    kind = getattr(errors, name)
    assert issubclass(kind, errors.RGBTError)
    assert issubclass(kind, builtin)


def test_the_drawn_tree_names_every_error():
    named = {name for name in dir(errors) if name.endswith('Error')}
    assert named == {name for name in named if name in (errors.__doc__ or '')}
