# SPDX-License-Identifier: Apache-2.0
"""Token merging: similar tokens go through the later blocks as one.

After Token Merging (Bolya et al., ICLR 2023, https://arxiv.org/abs/2210.09461): bipartite soft
matching, average weighted by size, no training. Differs: similarity of the tokens themselves, not
of the attention's keys, so that any block can be used as it is; a share of the tokens instead of a
number, so that it holds for every input size; three merges instead of one per block; and every
patch gets the token that stands for it back at the end, so that maps keep their shape.

Only top-k, gather, comparison and matrix product are used, with sizes computed from the shape: a
graph traced at one size holds for all, and a sum of tokens is the same in every run.
"""

from __future__ import annotations

import torch
from torch import nn, Tensor
from torch.nn import functional

from rgbt_models.errors import EncoderError

# A matching joins every second token at most.
MIN_KEEP_TOKENS = 0.5
_NUM_STAGES = 4  # of equally many blocks; tokens are merged between two of them
_PER_MILLE = 1000


class TokenMerging:
    """Merges the tokens of one pass through the blocks, and undoes it.

    merging = TokenMerging(keep_tokens=0.75, depth=len(blocks))
    for index, block in enumerate(blocks):
        tokens = merging.merge_after(index, block(tokens))
    tokens = merging.unmerge(tokens)
    """

    def __init__(self, *, keep_tokens: float, depth: int, num_prefix_tokens: int = 0) -> None:
        """Begin a pass.

        Args:
            keep_tokens: Share of the patch tokens that each merge leaves, 0.5 to 1; 1 = none is
                merged. Fewer than five tokens cannot be merged three times.
            depth: Number of blocks; tokens are merged after one, two and three quarters of them.
            num_prefix_tokens: Class and register tokens before the patches, which stay apart.
        """
        self._keep_tokens = keep_tokens
        self._stage = 0
        self._after = {depth * stage // _NUM_STAGES - 1 for stage in range(1, _NUM_STAGES)}
        self._num_prefix = num_prefix_tokens
        self._sizes: Tensor | None = None  # (b, m, 1), patches that each token stands for
        self._rows: Tensor | None = None  # (b, n), which of the m tokens stands for each patch

    def merge_after(self, index: int, tokens: Tensor) -> Tensor:
        """Merge the tokens that block ``index`` gave, where it ends a quarter of the blocks.

        Args:
            index: Number of the block, from 0.
            tokens: (b, p + m, d), prefix tokens first.

        Returns:
            Tokens (b, p + k, d), k <= m; those given where nothing is merged.
        """
        if self._keep_tokens == 1.0 or index not in self._after:
            return tokens
        prefix, patches = tokens[:, : self._num_prefix], tokens[:, self._num_prefix :]
        sizes = torch.ones_like(patches[..., :1]) if self._sizes is None else self._sizes
        num_patches = patches.shape[1] if self._rows is None else self._rows.shape[1]
        self._stage += 1
        lost_per_mille = _PER_MILLE - round(self._keep_tokens**self._stage * _PER_MILLE)
        num_left = num_patches - num_patches * lost_per_mille // _PER_MILLE
        matching = _Matching(patches, patches.shape[1] - num_left)
        self._sizes = matching.add(sizes)
        self._rows = matching.rows if self._rows is None else matching.rows.gather(1, self._rows)
        return torch.cat([prefix, matching.add(patches * sizes) / self._sizes], dim=1)

    def unmerge(self, tokens: Tensor) -> Tensor:
        """Give every patch the token that stands for it: (b, p + m, d) to (b, p + n, d)."""
        if self._rows is None:
            return tokens
        prefix, patches = tokens[:, : self._num_prefix], tokens[:, self._num_prefix :]
        return torch.cat([prefix, _take(patches, self._rows)], dim=1)


class _Matching:
    """Which tokens of (b, m, d) become one: the most similar of even to odd positions.

    Attributes:
        rows: (b, m) int64, row of each old token among the new ones: even ones that stay, then
            the odd ones.
    """

    def __init__(self, tokens: Tensor, num_merged: int) -> None:
        even, odd = tokens[:, ::2], tokens[:, 1::2]
        directions = functional.normalize(even, dim=2), functional.normalize(odd, dim=2)
        similarity = directions[0] @ directions[1].transpose(1, 2)
        best_similarity, best_odd = similarity.max(dim=2)  # both (b, even)
        order = best_similarity.argsort(dim=1)
        num_staying = even.shape[1] - num_merged
        # Chosen by index, for a slice of a size that is not known makes the exporter give up.
        self._staying = order[:, torch.arange(num_staying, device=tokens.device)]
        self._merged = order[:, num_staying + torch.arange(num_merged, device=tokens.device)]
        odd_rows = torch.arange(odd.shape[1], device=tokens.device)
        target = best_odd.gather(1, self._merged)
        # A product with zeros and ones adds in one order; scattering on a GPU does not.
        self._onto_odd = (target[:, None, :] == odd_rows[:, None]).to(tokens.dtype)
        rank = order.argsort(dim=1)
        even_rows = torch.where(rank < num_staying, rank, num_staying + best_odd)
        rows = torch.cat([even_rows, (num_staying + odd_rows).expand(tokens.shape[0], -1)], dim=1)
        position = torch.arange(tokens.shape[1], device=tokens.device)
        self.rows = rows[:, position // 2 + position % 2 * even.shape[1]]

    def add(self, values: Tensor) -> Tensor:
        """Add up the values (b, m, c) of the tokens that become one: (b, m - merged, c)."""
        even, odd = values[:, ::2], values[:, 1::2]
        merged = odd + self._onto_odd @ _take(even, self._merged)
        return torch.cat([_take(even, self._staying), merged], dim=1)


def set_keep_tokens(encoder: nn.Module, keep_tokens: float) -> None:
    """Make an encoder merge its tokens from now on; its weights stay as they are.

    Args:
        encoder: One with an attribute ``keep_tokens``.
        keep_tokens: Share of the tokens that each of the three merges leaves; 1 = none is merged.

    Raises:
        EncoderError: If the share is out of range, or the encoder rotates queries by position,
            which merged tokens do not have.
    """
    if not MIN_KEEP_TOKENS <= keep_tokens <= 1.0:
        raise EncoderError(
            f'keep_tokens is {keep_tokens:g}, expected {MIN_KEEP_TOKENS:g} to 1, for a merge '
            f'joins every second token at most; correct it'
        )
    if keep_tokens < 1.0 and getattr(encoder, 'has_rotary_positions', False):
        raise EncoderError(
            f'keep_tokens is {keep_tokens:g}, expected 1 for an encoder that rotates by position: '
            f'merged tokens have none; leave it at 1 or choose another encoder'
        )
    encoder.keep_tokens = keep_tokens  # type: ignore[assignment] # a number, no module


def _take(values: Tensor, rows: Tensor) -> Tensor:
    """Take rows (b, k) of values (b, m, c): (b, k, c)."""
    return values.gather(1, rows[..., None].expand(-1, -1, values.shape[2]))
