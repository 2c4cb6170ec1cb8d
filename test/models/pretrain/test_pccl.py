# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math

import pytest
import torch

from rgbt_models.errors import PretrainError
from rgbt_models.pretrain.pccl import (
    attention_labels,
    pccl_loss,
    PcclConfig,
    self_similarity_loss,
    similarity_logits,
    univ_step,
)
from rgbt_models.pretrain.teacher import TeacherView


def labels_of(rows, **options):
    attention = torch.tensor(rows)[None, None]
    return attention_labels(attention, **options)[0].int().tolist()


def labels_by_loops(attention, *, prefix, threshold, force_diagonal):
    b, heads, total, _ = attention.shape
    n = total - prefix
    out = torch.zeros(b, n, n, dtype=torch.bool)
    for image in range(b):
        for i in range(n):
            row = [
                sum(attention[image, head, prefix + i, prefix + j].item() for head in range(heads))
                for j in range(n)
            ]
            scale, running = sum(row), 0.0
            for j in sorted(range(n), key=lambda j: -row[j]):
                running += row[j] / scale
                if running > threshold:
                    break
                out[image, i, j] = True
            if force_diagonal:
                out[image, i, i] = True
    return out


def test_the_largest_weights_are_positive_up_to_the_threshold():
    rows = [
        [0.1, 0.3, 0.4, 0.2],
        [0.25, 0.35, 0.0, 0.4],
        [0.7, 0.1, 0.1, 0.1],
        [0.1, 0.2, 0.3, 0.4],
    ]
    assert labels_of(rows, force_diagonal=False) == [
        [0, 0, 1, 0],  # .4, then .7 is too much
        [0, 0, 0, 1],
        [0, 0, 0, 0],  # .7 alone is too much: no positive
        [0, 0, 0, 1],
    ]
    assert labels_of(rows) == [[1, 0, 1, 0], [0, 1, 0, 1], [0, 0, 1, 0], [0, 0, 0, 1]]


def test_a_sum_equal_to_the_threshold_is_kept():
    rows = [[0.1] * 10] * 10
    assert labels_of(rows, force_diagonal=False) == [[1] * 6 + [0] * 4] * 10
    rows = [[0.35, 0.25, 0.4]] * 3
    assert labels_of(rows, threshold=0.75, force_diagonal=False) == [[1, 0, 1]] * 3


def test_leading_tokens_are_dropped_and_rows_sum_to_one_again():
    rows = [[0.9, 0.05, 0.05], [0.8, 0.12, 0.08], [0.5, 0.2, 0.3]]
    # Without the class token the rows are (.6, .4) and (.4, .6).
    assert labels_of(rows, num_prefix_tokens=1, force_diagonal=False) == [[1, 0], [0, 1]]
    assert labels_of(rows, num_prefix_tokens=1, threshold=0.59, force_diagonal=False) == [
        [0, 0],
        [0, 0],
    ]


def test_heads_are_averaged_first():
    heads = torch.tensor([[[0.9, 0.1], [0.5, 0.5]], [[0.1, 0.9], [0.1, 0.9]]])[None]
    assert attention_labels(heads, force_diagonal=False)[0].int().tolist() == [[1, 0], [0, 0]]


@pytest.mark.parametrize('prefix', [0, 1, 5])
@pytest.mark.parametrize('force_diagonal', [True, False])
def test_labels_equal_slow_loops(prefix, force_diagonal):
    generator = torch.Generator().manual_seed(prefix)
    attention = torch.randn(2, 3, 9 + prefix, 9 + prefix, generator=generator).mul(2).softmax(-1)
    options = {'threshold': 0.6, 'force_diagonal': force_diagonal}
    expected = labels_by_loops(attention, prefix=prefix, **options)
    assert torch.equal(attention_labels(attention, num_prefix_tokens=prefix, **options), expected)
    assert expected.any()
    assert not expected.all()


def test_a_row_that_attends_to_leading_tokens_alone_has_its_diagonal():
    rows = [[1.0, 0.0, 0.0], [1.0, 0.0, 0.0], [1.0, 0.0, 0.0]]
    labels = labels_of(rows, num_prefix_tokens=1)
    assert labels[0][0] == labels[1][1] == 1


def test_similarity_is_cosine_over_temperature_with_rows_of_the_student():
    student = torch.tensor([[[3.0, 4.0], [0.0, 2.0]]])
    teacher = torch.tensor([[[5.0, 0.0], [0.0, -7.0]]])
    expected = torch.tensor([[[0.6, -0.8], [0.0, -1.0]]]) / 0.04
    torch.testing.assert_close(similarity_logits(student, teacher), expected)
    torch.testing.assert_close(
        similarity_logits(student, teacher, temperature=0.5), expected * 0.04 / 0.5
    )


def test_images_of_a_batch_do_not_mix():
    tokens = torch.randn(2, 4, 8, generator=torch.Generator().manual_seed(0))
    logits = similarity_logits(tokens, tokens.flip(0))
    torch.testing.assert_close(logits[:1], similarity_logits(tokens[:1], tokens[1:]))


@pytest.mark.parametrize('shape', [(2, 5, 8), (2, 4, 6), (1, 4, 8)])
def test_tokens_that_do_not_fit_are_said(shape):
    with pytest.raises(PretrainError, match=r'student tokens have shape \(2, 4, 8\), teacher tok'):
        similarity_logits(torch.zeros(2, 4, 8), torch.zeros(shape))


def test_the_loss_is_binary_cross_entropy_over_all_entries():
    logits = torch.tensor([[[2.0, -1.0], [0.5, 0.0]]])
    labels = torch.tensor([[[True, False], [False, True]]])
    terms = [
        math.log(1 + math.exp(-2.0)),
        math.log(1 + math.exp(-1.0)),
        math.log(1 + math.exp(0.5)),
        math.log(2.0),
    ]
    assert pccl_loss(logits, labels).item() == pytest.approx(sum(terms) / 4)


def test_symmetrising_over_the_transpose_is_the_same_number():
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(3, 7, 7, generator=generator) * 10
    labels = torch.rand(3, 7, 7, generator=generator) < 0.3
    symmetric = pccl_loss(logits, labels) + pccl_loss(logits.mT, labels.mT)
    torch.testing.assert_close(pccl_loss(logits, labels), symmetric / 2)


def test_self_similarity_compares_cosines_among_patches_of_any_width():
    student = torch.tensor([[[1.0, 0.0], [3.0, 4.0]]])
    teacher = torch.tensor([[[0.0, 0.0, 2.0], [1.0, 0.0, 0.0]]])
    # Off the diagonal .6 against 0, on it 1 against 1.
    assert self_similarity_loss(student, teacher).item() == pytest.approx(2 * 0.36 / 4)
    assert self_similarity_loss(student, 5 * student).item() == pytest.approx(0.0, abs=1e-12)


def made_pair(num_prefix_tokens=1):
    generator = torch.Generator().manual_seed(4)
    tokens = [torch.randn(2, 6, 8, generator=generator) for _ in range(3)]
    n = 6 + num_prefix_tokens
    view = TeacherView(
        patch_tokens=tokens[0],
        attention=torch.randn(2, 2, n, n, generator=generator).mul(2).softmax(-1),
        num_prefix_tokens=num_prefix_tokens,
    )
    return view, tokens[1], tokens[2]


def step(config, view, rgb_tokens, thermal_tokens):
    rgb, thermal = torch.zeros(2, 3, 4, 4), torch.ones(2, 3, 4, 4)

    def student(first, second):
        assert first is rgb
        assert second is thermal
        return rgb_tokens, thermal_tokens

    return univ_step(student, lambda image: view, rgb, thermal, config)


def test_a_step_is_both_terms_with_their_weights():
    view, rgb_tokens, thermal_tokens = made_pair()
    config = PcclConfig(thermal_weight=2.0, rgb_weight=0.5)
    losses = step(config, view, rgb_tokens, thermal_tokens)
    labels = attention_labels(view.attention, num_prefix_tokens=1)
    thermal = 2.0 * pccl_loss(similarity_logits(thermal_tokens, view.patch_tokens), labels)
    rgb = 0.5 * pccl_loss(similarity_logits(rgb_tokens, view.patch_tokens), labels)
    torch.testing.assert_close(losses.thermal, thermal)
    torch.testing.assert_close(losses.rgb, rgb)
    torch.testing.assert_close(losses.total, thermal + rgb)


def test_every_setting_reaches_the_step():
    view, rgb_tokens, thermal_tokens = made_pair()
    totals = [
        step(config, view, rgb_tokens, thermal_tokens).total.item()
        for config in (
            PcclConfig(),
            PcclConfig(temperature=0.1),
            PcclConfig(attention_threshold=0.9),
            PcclConfig(force_diagonal=False),
            PcclConfig(thermal_weight=3.0),
            PcclConfig(rgb_weight=0.0),
            PcclConfig(rgb_term='self_similarity'),
        )
    ]
    assert len({round(total, 4) for total in totals}) == len(totals)


def test_the_alternative_rgb_term_is_the_self_similarity():
    view, rgb_tokens, thermal_tokens = made_pair()
    losses = step(PcclConfig(rgb_term='self_similarity'), view, rgb_tokens, thermal_tokens)
    torch.testing.assert_close(losses.rgb, self_similarity_loss(rgb_tokens, view.patch_tokens))


def test_the_losses_are_computed_in_32_bits_under_autocast():
    view, rgb_tokens, thermal_tokens = made_pair()
    expected = step(PcclConfig(), view, rgb_tokens, thermal_tokens)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        losses = step(PcclConfig(), view, rgb_tokens, thermal_tokens)
    assert losses.total.dtype == torch.float32
    assert torch.equal(losses.total, expected.total)


def test_the_defaults_are_those_of_univ():
    config = PcclConfig()
    assert (config.temperature, config.attention_threshold) == (0.04, 0.6)
    assert (config.thermal_weight, config.rgb_weight, config.rgb_term) == (1.0, 1.0, 'pccl')


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'temperature': 0.0}, 'temperature 0.0'),
        ({'attention_threshold': 0.0}, 'threshold 0.0'),
        ({'attention_threshold': 1.1}, 'threshold 1.1'),
        ({'thermal_weight': 0.0}, 'thermal_weight 0.0'),
        ({'rgb_weight': -1.0}, 'rgb_weight -1.0'),
        ({'rgb_term': 'mse'}, "rgb_term 'mse'; expected one of pccl, self_similarity"),
    ],
)
def test_settings_out_of_range_are_refused(changes, message):
    with pytest.raises(PretrainError, match=message):
        PcclConfig(**changes)
