# SPDX-License-Identifier: Apache-2.0
"""The same as ``bench.parity``, against files of M-SpecGene's repository.

Four files run unchanged: the sampler, the positions, the detection encoder and its pyramid. What
they import of OpenMMLab is replaced by the few lines of it that they use. The sampler imports a
plotting library that it does not use; an empty module stands in for it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
import importlib.util
from pathlib import Path
import sys
from types import ModuleType
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch import nn, Tensor

from bench.parity import randomise, relative_difference
from rgbt_models.pretrain.cmss import compute_cmss, normalise_cmss
from rgbt_models.pretrain.gmm_masking import OnlineGaussianMixture
from rgbt_models.pretrain.masking_schedule import MaskingSchedule, ScheduleState
from rgbt_models.pretrain.patches import sincos_grid
from rgbt_models.pretrain.sampling import match_nearest
from rgbt_models.published.simple_pyramid import SimplePyramid
from rgbt_models.vit import vitdet_base

SAMPLER = 'GMM_CMSS_SAMPLE.py'
POSITIONS = 'mmpretrain/models/utils/position_encoding.py'
ENCODER = 'projects/ViTDet/vitdet/vit.py'
PYRAMID = 'projects/ViTDet/vitdet/simple_fpn.py'
BATCH, NUM_PATCHES, WIDTH = 16, 196, 768
NUM_EPOCHS, STEPS = 100, 20
LOSS_GAP = 0.01
MIXTURE = (0.62, 0.11, 0.33)  # means, not sorted
Comparisons = Iterator[tuple[str, float]]


def compare_release(folder: Path) -> Comparisons:
    """Compare sampler, schedule, positions, detection encoder and pyramid with the release.

    Args:
        folder: A checkout of the repository.

    Raises:
        FileNotFoundError: If a file is not in it.
    """
    with _openmmlab():
        sampler = _load(folder, SAMPLER)
        positions = _load(folder, POSITIONS)
        encoder, pyramid = _load(folder, ENCODER), _load(folder, PYRAMID)
        yield from _compare_sampler(sampler)
        yield from _compare_schedule(sampler)
        grid = positions.build_2d_sincos_position_embedding(14, WIDTH)
        yield 'sin-cos positions, release', relative_difference(sincos_grid(14, 14, WIDTH), grid)
        yield from _compare_detection(encoder, pyramid)


def _compare_sampler(module: ModuleType) -> Comparisons:
    """Compare structural sparsity, the mixture over 20 batches, and the match."""
    np.random.seed(0)  # noqa: NPY002 the release draws the start of its mixture from here
    public = module.GMM_CMSS_SAMPLE()
    mixture = OnlineGaussianMixture()
    mixture.means.copy_(torch.from_numpy(public.GMM_means))
    generator = torch.Generator().manual_seed(0)
    cmss = state = 0.0
    for _ in range(STEPS):
        contrast = 0.3 + torch.rand(BATCH, NUM_PATCHES, 1, generator=generator)
        shape = (BATCH, NUM_PATCHES, WIDTH)
        thermal, rgb = (contrast * torch.randn(shape, generator=generator) for _ in range(2))
        expected = public.MSDI_Similarity(thermal.flatten(0, 1), rgb.flatten(0, 1))
        values = normalise_cmss(compute_cmss(rgb, thermal, variant='released'), rule='max')
        cmss = max(cmss, relative_difference(values.flatten(), expected))
        public.e_step(expected.double().numpy())
        public.m_step(expected.double().numpy())
        mixture.update(expected)
        for own, theirs in (
            (mixture.means, public.GMM_means),
            (mixture.variances, public.GMM_covariances),
            (mixture.weights, public.GMM_weights),
        ):
            state = max(state, relative_difference(own, torch.from_numpy(theirs)))
    yield 'CMSS as released, release', cmss
    yield f'mixture over {STEPS} batches, release', state
    grid = expected.reshape(BATCH, NUM_PATCHES)
    targets = torch.randn(BATCH, NUM_PATCHES, generator=generator) * 0.2 + 0.3
    keep, left = 19, grid.clone()
    order, other = public.cal_ids_shuffle(targets, grid.clone(), grid.clone(), rgb, keep)
    second = public.cal_ids_shuffle(targets, other, other, rgb, keep, first_modality=False)
    for name, ids in (('first', order), ('second', second)):
        is_equal = torch.equal(match_nearest(left, targets[:, :keep]), ids[:, :keep])
        yield f'visible patches of the {name} modality, release', 0.0 if is_equal else 1.0


def _compare_schedule(module: ModuleType) -> Comparisons:
    """Compare sampling means and biases over the 100 published epochs, mixture held still."""
    public = module.GMM_CMSS_SAMPLE()
    public.e_step = public.m_step = lambda _: None
    public.GMM_means = np.array(MIXTURE)
    public.count_flag = 0  # an epoch per call
    schedule, state = MaskingSchedule(num_epochs=NUM_EPOCHS), ScheduleState()
    tokens = torch.randn(2, 1, NUM_PATCHES, 8, generator=torch.Generator().manual_seed(1))
    means = sums = biases = 0.0
    for _ in range(NUM_EPOCHS):
        losses = torch.tensor(0.5), torch.tensor(0.5 + LOSS_GAP)
        public.sample(*tokens, *losses, 0.9)
        state = schedule.advance(state, MIXTURE, LOSS_GAP)
        own = torch.tensor(state.sampling_means)
        expected = torch.tensor(np.array(public.sample_range), dtype=torch.float32)
        sums = max(sums, relative_difference(own.sum(), expected.sum()))
        if expected.max() <= max(MIXTURE):  # the release goes one step too far, and stays there
            means = max(means, relative_difference(own, expected))
        found = torch.tensor([state.keep_bias, state.mean_bias])
        expected = torch.tensor([float(public.maskratio_bias), float(public.sample_gmm_bias)])
        if (expected < torch.tensor([schedule.max_keep_bias, schedule.max_mean_bias])).all():
            biases = max(biases, relative_difference(found, expected))
    yield 'sampling means while none has passed the mixture, release', means
    yield f'their sum over {NUM_EPOCHS} epochs, release', sums
    yield 'biases within their bounds, release', biases


def _compare_detection(encoder: ModuleType, pyramid: ModuleType) -> Comparisons:
    ours = randomise(vitdet_base(), seed=3)
    norm = {'type': 'LN', 'eps': 1e-5}
    settings = {'img_size': 960, 'window_size': 14, 'norm_cfg': norm, 'use_rel_pos': True}
    public = encoder.ViT(**settings).eval()
    public.load_state_dict(ours.state_dict(), strict=True)
    generator = torch.Generator().manual_seed(4)
    image = torch.randn(1, 3, 480, 640, generator=generator)
    yield 'ViTDet encoder, release', relative_difference(ours.features(image)[0], public(image))
    width = 2 * WIDTH
    neck = randomise(SimplePyramid(), seed=5)
    channels = [width // 4, width // 2, width, width]
    public_neck = pyramid.SimpleFPN(
        width, channels, 256, num_outs=5, norm_cfg={'type': 'LN2d', 'eps': 1e-5}
    ).eval()
    public_neck.load_state_dict(neck.state_dict(), strict=True)
    features = torch.randn(1, width, 11, 14, generator=generator)
    levels = zip(neck(features), public_neck(features), strict=True)
    for index, (found, expected) in enumerate(levels):
        yield f'simple pyramid, level {index}, release', relative_difference(found, expected)


def _load(folder: Path, tail: str) -> Any:
    """Run one file of the checkout as a module."""
    found = sorted(path for path in folder.rglob(Path(tail).name) if 'build' not in path.parts)
    if not found:
        raise FileNotFoundError(
            f"no {tail} below '{folder}'; expected a checkout of M-SpecGene's repository; give "
            f'its folder'
        )
    path = next((path for path in found if path.as_posix().endswith(tail)), found[0])
    spec = importlib.util.spec_from_file_location(f'release.part.{path.stem}', path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class _Registry:
    def __init__(self) -> None:
        self.classes: dict[str, Any] = {}

    def register_module(self) -> Any:
        def keep(made: Any) -> Any:
            self.classes[made.__name__] = made
            return made

        return keep


_MODELS = _Registry()


class _ConvModule(nn.Module):
    def __init__(self, inputs: int, outputs: int, size: int, **settings: Any) -> None:
        super().__init__()
        padding = settings.get('padding', 0)
        self.conv = nn.Conv2d(inputs, outputs, size, padding=padding, bias=False)
        self.norm_layer = _build_norm(settings['norm_cfg'], outputs)[1]

    def forward(self, features: Tensor) -> Tensor:
        normed: Tensor = self.norm_layer(self.conv(features))
        return normed


class _BaseModule(nn.Module):
    def __init__(self, **_: Any) -> None:
        super().__init__()


def _build_norm(settings: dict[str, Any], channels: int) -> tuple[str, nn.Module]:
    if settings['type'] == 'LN':
        return 'ln', nn.LayerNorm(channels, eps=settings['eps'])
    return 'ln', _MODELS.classes[settings['type']](channels, eps=settings['eps'])


@contextmanager
def _openmmlab() -> Iterator[None]:
    """Make importable, within the context, what the release imports and is not installed."""
    contents: dict[str, dict[str, Any]] = {
        'matplotlib': {},
        'matplotlib.pyplot': {},
        'mmcv': {},
        'mmcv.cnn': {
            'build_activation_layer': lambda _: nn.GELU(),
            'build_norm_layer': _build_norm,
            'ConvModule': _ConvModule,
        },
        'mmcv.cnn.bricks': {'DropPath': nn.Identity},
        'mmdet': {},
        'mmdet.registry': {'MODELS': _MODELS},
        'mmdet.utils': {'MultiConfig': Any, 'OptConfigType': Any},
        'mmengine': {},
        'mmengine.logging': {'MMLogger': None},
        'mmengine.model': {'BaseModule': _BaseModule},
        'mmengine.runner': {},
        'mmengine.runner.checkpoint': {'CheckpointLoader': None},
        'mmengine.utils': {'digit_version': lambda text: tuple(text.split('.')[:2])},
        'release': {'__path__': []},
        'release.utils': {'to_2tuple': lambda value: (value, value)},
        'release.part': {'__path__': []},
    }
    modules = {}
    for name, values in contents.items():
        modules[name] = ModuleType(name)
        vars(modules[name]).update(values)
    with mock.patch.dict(sys.modules, modules):
        yield
