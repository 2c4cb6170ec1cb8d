# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from rgbt_models.build import create_model
from rgbt_models.encoder import SiameseEncoder
from rgbt_models.errors import EncoderError
from rgbt_models.token_merging import set_keep_tokens, TokenMerging
from rgbt_models.vit import ViTEncoder


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def merge(tokens: torch.Tensor, keep: float, *, times: int = 1, num_prefix: int = 0):
    """Merge up to three times, the blocks between leaving the tokens as they are."""
    merging = TokenMerging(keep_tokens=keep, depth=4, num_prefix_tokens=num_prefix)
    for index in range(times):
        tokens = merging.merge_after(index, tokens)
    return tokens, merging.unmerge(tokens)


def merge_slowly(tokens: torch.Tensor, num_merged: int) -> tuple[torch.Tensor, torch.Tensor]:
    """One merge of (n, d), token by token: the merged in any order, the unmerged in order."""
    even, odd = range(0, len(tokens), 2), range(1, len(tokens), 2)
    groups = {index: [index] for index in range(len(tokens))}
    best = []
    for i in even:
        alike = [functional.cosine_similarity(tokens[i], tokens[j], dim=0).item() for j in odd]
        best.append((max(alike), i, odd[alike.index(max(alike))]))
    for _, i, j in sorted(best, reverse=True)[:num_merged]:
        groups[j] += groups.pop(i)
    unmerged = torch.empty_like(tokens)
    for members in groups.values():
        unmerged[members] = tokens[members].mean(dim=0)
    return torch.stack([tokens[members].mean(dim=0) for members in groups.values()]), unmerged


@pytest.mark.parametrize('num_tokens', [12, 13, 40])
@pytest.mark.parametrize('keep', [0.5, 0.75])
def test_the_most_similar_of_even_to_odd_tokens_become_their_mean(num_tokens: int, keep: float):
    tokens = noise(2, num_tokens, 5)
    merged, unmerged = merge(tokens, keep)
    num_merged = int(num_tokens * (1 - keep))
    for item in range(2):
        slow_merged, slow_unmerged = merge_slowly(tokens[item], num_merged)
        assert merged[item].shape == slow_merged.shape == (num_tokens - num_merged, 5)
        torch.testing.assert_close(unmerged[item], slow_unmerged)
        torch.testing.assert_close(merged[item].sum(0), slow_merged.sum(0))


def test_a_token_is_worth_the_patches_it_stands_for():
    # All point the same way, so three merges leave one token: the mean of all patches.
    tokens = torch.tensor([[[1.0], [3.0], [5.0], [7.0], [10.0], [10.0], [10.0], [10.0]]])
    _, unmerged = merge(tokens, 0.5, times=3)
    torch.testing.assert_close(unmerged, torch.full((1, 8, 1), tokens.mean().item()))


@pytest.mark.parametrize('times', [1, 2, 3])
def test_sums_over_the_patches_are_kept(times: int):
    tokens = noise(2, 30, 6)
    merged, unmerged = merge(tokens, 0.75, times=times)
    assert merged.shape[1] < 30 - 5 * times
    torch.testing.assert_close(unmerged.sum(1), tokens.sum(1), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize('num_tokens', [*range(5, 24), 432])
@pytest.mark.parametrize('keep', [0.5, 0.501, 0.6, 0.75, 0.999])
def test_every_number_of_tokens_from_five_can_be_merged(num_tokens: int, keep: float):
    merged, unmerged = merge(noise(1, num_tokens, 4), keep, times=3)
    assert unmerged.shape == (1, num_tokens, 4)
    assert merged.shape[1] == num_tokens - int(num_tokens * round(1000 - 1000 * keep**3) / 1000)
    # Every merged token stands for a patch, none is lost.
    assert len(unmerged[0].unique(dim=0)) == merged.shape[1]


def test_prefix_tokens_stay_apart():
    tokens = noise(1, 3 + 16, 4)
    merged, unmerged = merge(tokens, 0.5, num_prefix=3)
    assert merged.shape == (1, 3 + 8, 4)
    torch.testing.assert_close(unmerged[:, :3], tokens[:, :3], rtol=0, atol=0)
    torch.testing.assert_close(unmerged[:, 3:], merge(tokens[:, 3:], 0.5)[1], rtol=0, atol=0)


@pytest.mark.parametrize(('depth', 'after'), [(12, [2, 5, 8]), (6, [0, 2, 3]), (4, [0, 1, 2])])
def test_tokens_are_merged_after_each_quarter_of_the_blocks(depth: int, after: list[int]):
    merging = TokenMerging(keep_tokens=0.5, depth=depth)
    tokens = noise(1, 64, 4)
    lengths = []
    for index in range(depth):
        tokens = merging.merge_after(index, tokens)
        lengths.append(tokens.shape[1])
    changes = [i for i, n in enumerate(lengths) if n != (lengths[i - 1] if i else 64)]
    assert changes == after


def test_keeping_all_tokens_changes_nothing():
    tokens = noise(1, 16, 4)
    merged, unmerged = merge(tokens, 1.0, times=3)
    assert merged is tokens
    assert unmerged is tokens


@pytest.mark.parametrize('kind', ['tiny', 'vit'])
def test_maps_keep_their_shape_and_a_batch_its_order(kind: str):
    torch.manual_seed(0)
    encoder = (
        SiameseEncoder(dim=32, depth=4, num_heads=2)
        if kind == 'tiny'
        else ViTEncoder('vit_tiny_patch16_224', taps=(1, 11))
    ).eval()
    images = noise(2, 3, 48, 80), noise(2, 3, 48, 80, seed=1)
    with torch.inference_mode():
        whole = encoder(*images)
        set_keep_tokens(encoder, 0.75)
        merged = encoder(*images)
        second = encoder(*(image[1:] for image in images))
    for before, after, alone in zip(whole, merged, second, strict=True):
        for index in range(2):
            assert after[index].shape == before[index].shape
            torch.testing.assert_close(after[index][1:], alone[index], rtol=1e-4, atol=1e-4)
    assert not torch.equal(merged[-1][0], whole[-1][0])
    # The first tap of the ViT, and the stem's maps, come before any merge.
    torch.testing.assert_close(merged[0][0], whole[0][0], rtol=0, atol=0)


def test_create_model_takes_the_share():
    model = create_model(
        'tiny', num_detection_classes=1, num_segmentation_classes=1, keep_tokens=0.75
    )
    assert model.encoder.keep_tokens == 0.75


@pytest.mark.parametrize('keep', [0.49, 1.01, float('nan')])
def test_a_share_that_no_matching_reaches_is_refused(keep: float):
    with pytest.raises(EncoderError, match=r'expected 0\.5 to 1, for a merge joins every second'):
        create_model('tiny', num_detection_classes=1, num_segmentation_classes=1, keep_tokens=keep)


def test_an_encoder_that_rotates_by_position_is_refused():
    encoder = ViTEncoder('vit_small_patch16_dinov3')
    with pytest.raises(EncoderError, match='expected 1 for an encoder that rotates by position'):
        set_keep_tokens(encoder, 0.75)
    set_keep_tokens(encoder, 1.0)
