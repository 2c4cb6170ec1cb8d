# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
import torch

from rgbt_models.errors import PretrainError
from rgbt_models.pretrain.masking import (
    build_masker,
    GmmCmssMasker,
    MaskingConfig,
    RandomMasker,
)
from rgbt_models.pretrain.masking_schedule import ScheduleState

N, D = 196, 24


def draw_tokens(seed: int, *, b: int = 4, n: int = N) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    contrast = 1.0 + torch.rand(b, n, 1, generator=generator)
    return (
        contrast * torch.randn(b, n, D, generator=generator),
        contrast * torch.randn(b, n, D, generator=generator),
    )


def test_published_counts():
    config = MaskingConfig()
    assert config.num_visible(N) == 19
    assert config.max_keep_bias(N) == 9
    assert MaskingConfig(mask_ratio=0.9, max_mask_ratio=0.95).max_keep_bias(20) == 1


@pytest.mark.parametrize('method', ['gmm_cmss', 'random'])
def test_visible_patches_are_valid_and_unequal_within_a_row(method):
    masker = build_masker(MaskingConfig(method=method), num_patches=N)
    visible = masker.draw(*draw_tokens(0))
    for indices in (visible.rgb, visible.thermal):
        assert indices.shape == (4, 19)
        assert indices.dtype == torch.int64
        assert ((indices >= 0) & (indices < N)).all()
        assert all(len(set(row)) == 19 for row in indices.tolist())


@pytest.mark.parametrize('mask_ratio', [0.5, 0.75, 0.9])
@pytest.mark.parametrize('gap', [0.0, 0.4, -0.4])
def test_the_visible_sets_are_disjoint_at_every_stage(mask_ratio, gap):
    config = MaskingConfig(mask_ratio=mask_ratio, num_epochs=8, steps_per_epoch=1)
    masker = GmmCmssMasker(config, num_patches=N)
    for step in range(12):
        visible = masker.draw(*draw_tokens(step, b=2))
        for rgb, thermal in zip(visible.rgb.tolist(), visible.thermal.tolist(), strict=True):
            assert not set(rgb) & set(thermal)
        masker.finish_step(1.0 + gap, 1.0, step)
    assert masker.schedule_state.epoch == 12


def test_the_modality_that_is_reconstructed_worse_sees_more_and_never_all():
    masker = GmmCmssMasker(MaskingConfig(steps_per_epoch=1), num_patches=N)
    for step in range(60):
        masker.finish_step(1.5, 1.0, step)  # RGB is worse
    assert masker.num_visible() == (19 + 9, 19 - 9)
    assert masker.schedule_state.mean_bias == 0.1
    for step in range(120):
        masker.finish_step(1.0, 1.5, step)
    assert masker.num_visible() == (19 - 9, 19 + 9)
    visible = masker.draw(*draw_tokens(1))
    assert (visible.rgb.shape[1], visible.thermal.shape[1]) == (10, 28)


def test_the_mean_bias_gives_rgb_the_richer_patches():
    rgb, thermal = draw_tokens(5, b=64)
    shares = []
    for bias in (0.1, -0.1):
        masker = GmmCmssMasker(MaskingConfig(), num_patches=N)
        masker.schedule_state = ScheduleState(sampling_means=(0.3,), mean_bias=bias)
        visible = masker.draw(rgb, thermal)
        contrast = rgb.std(-1)
        shares.append(contrast.gather(1, visible.rgb).mean())
    assert shares[0] > shares[1]


def test_the_first_epoch_shows_rich_patches_and_the_last_flat_ones():
    config = MaskingConfig(num_epochs=10, steps_per_epoch=5)
    masker = GmmCmssMasker(config, num_patches=N)
    contrasts = []
    for step in range(55):
        rgb, thermal = draw_tokens(step, b=8)
        visible = masker.draw(rgb, thermal)
        contrasts.append((rgb.std(-1).gather(1, visible.rgb).mean() / rgb.std(-1).mean()).item())
        masker.finish_step(1.0, 1.0, step)
    assert sum(contrasts[:5]) / 5 > 1.15
    assert sum(contrasts[-5:]) / 5 < 0.85


@pytest.mark.parametrize('method', ['gmm_cmss', 'random'])
def test_resumed_draws_equal_uninterrupted_ones(method):
    config = MaskingConfig(method=method, steps_per_epoch=3, num_epochs=4, seed=9)
    masker = build_masker(config, num_patches=N)
    resumed = build_masker(config, num_patches=N)
    for step in range(20):
        if step == 7:  # in the middle of an epoch
            resumed.load_state_dict(masker.state_dict())
        tokens = draw_tokens(step)
        visible = masker.draw(*tokens)
        masker.finish_step(1.2, 1.0 + 0.01 * step, step)
        if step >= 7:
            again = resumed.draw(*tokens)
            resumed.finish_step(1.2, 1.0 + 0.01 * step, step)
            assert torch.equal(visible.rgb, again.rgb)
            assert torch.equal(visible.thermal, again.thermal)
    for name, tensor in masker.state_dict().items():
        torch.testing.assert_close(
            tensor, resumed.state_dict()[name], rtol=0, atol=0, equal_nan=True
        )


def test_draws_follow_the_seed_and_leave_the_global_generator_alone():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    tokens = draw_tokens(2)
    a, b, c = (
        RandomMasker(MaskingConfig(seed=seed), num_patches=N).draw(*tokens) for seed in (1, 1, 2)
    )
    assert torch.equal(a.rgb, b.rgb)
    assert not torch.equal(a.rgb, c.rgb)
    assert not torch.equal(a.rgb, a.thermal)
    assert torch.equal(torch.get_rng_state(), before)


def test_evaluation_repeats_itself_and_learns_nothing():
    masker = GmmCmssMasker(MaskingConfig(), num_patches=N).eval()
    before = {name: tensor.clone() for name, tensor in masker.state_dict().items()}
    tokens = draw_tokens(3)
    first, second = masker.draw(*tokens), masker.draw(*tokens)
    assert torch.equal(first.rgb, second.rgb)
    for name, tensor in masker.state_dict().items():
        torch.testing.assert_close(tensor, before[name], rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'method': 'block'}, "method is 'block'; expected one of gmm_cmss, random"),
        ({'variant': 'x'}, "variant is 'x'; expected one of released, corrected"),
        ({'normaliser': 'x'}, "normaliser is 'x'; expected one of max, q99"),
        ({'mask_ratio': 0.4}, 'two disjoint visible sets must fit'),
        ({'mask_ratio': 0.9, 'max_mask_ratio': 0.8}, 'mask_ratio <= max_mask_ratio'),
        ({'steps_per_epoch': 0}, 'steps_per_epoch is 0; expected 1 or more'),
    ],
)
def test_settings_that_cannot_be_are_refused(changes, message):
    with pytest.raises(PretrainError, match=message):
        MaskingConfig(**changes)


def test_other_inputs_are_refused():
    with pytest.raises(PretrainError, match='leaves no patch of 4 visible'):
        RandomMasker(MaskingConfig(), num_patches=4)
    masker = GmmCmssMasker(MaskingConfig(), num_patches=N)
    with pytest.raises(PretrainError, match='100 patches in the batch; expected 196'):
        masker.draw(*draw_tokens(0, n=100))
    with pytest.raises(PretrainError, match='masking state has 1 values; expected 10'):
        masker.set_extra_state(torch.zeros(1))
