# SPDX-License-Identifier: Apache-2.0
"""``rgbt convert checkpoint`` as a user sees it."""

from __future__ import annotations

import json

import pytest

pytest.importorskip('torch', reason='needs torch')

import torch

from rgbt_models.published.layouts import expected_shapes, Layout
from rgbt_perception.cli.main import main


def released_detector() -> dict[str, torch.Tensor]:
    shapes = expected_shapes(Layout.DETECTION, num_classes=1)
    one = torch.ones(1, dtype=torch.float16)
    return {name: one.expand(shape) for name, shape in shapes.items()}


def test_a_published_checkpoint_becomes_a_card_and_the_three_lists_are_printed(tmp_path, capsys):
    file = tmp_path / 'LLVIP_iter_105625.pth'
    torch.save({'state_dict': released_detector()}, file)
    arguments = ['convert', 'checkpoint', str(file), '--out', str(tmp_path / 'llvip')]
    assert main([*arguments, '--classes', 'person']) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == 'LLVIP_iter_105625.pth: detection (vitdet_mask_rcnn)'
    assert lines[1:4] == ['missing (0): none', 'unexpected (0): none', 'mismatched (0): none']
    assert lines[4] == 'classes: person'
    assert lines[-1] == f'245 tensors written to {tmp_path / "llvip"}'
    card = json.loads((tmp_path / 'llvip' / 'card.json').read_text())
    assert card['name'] == 'llvip'
    assert card['classes'] == ['person']


def test_a_checkpoint_that_does_not_fit_exits_2_and_lists_why(tmp_path, capsys):
    tensors = released_detector()
    del tensors['rpn_head.rpn_cls.bias']
    torch.save({'state_dict': tensors}, tmp_path / 'x.pth')
    assert main(['convert', 'checkpoint', str(tmp_path / 'x.pth'), '--out', str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert 'is not a finished detection model as released' in error
    assert 'missing (1): rpn_head.rpn_cls.bias' in error
