# SPDX-License-Identifier: Apache-2.0
"""What every shared transformer encoder has in common: one set of weights sees both modalities.

Source: M-SpecGene (https://arxiv.org/abs/2507.16318), fully shared encoder, thermal replicated
to three channels, no modality embedding.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable

import torch
from torch import nn, Tensor
from torch.utils.checkpoint import checkpoint

from rgbt_models.errors import EncoderError


class SiameseViT(nn.Module):
    """Base of the transformer encoders: taps after chosen blocks, run over RGB and thermal.

    Attributes:
        dim: Width of the tokens.
        patch_size: Side of a patch, px.
        stride: Input pixels per token, and what the input sides are multiples of.
        taps: Blocks after which features are returned, ascending, counted from 0.
        channels: Channels of each tap: ``(dim, ...)``.
        use_stacked_batch: Run both modalities as one batch of 2b (faster on a GPU) or as two
            passes (half the peak memory); the values are the same.
        use_checkpointing: Recompute each block in the backward pass instead of keeping its
            activations; training only.
    """

    def __init__(self, *, dim: int, patch_size: int, stride: int, taps: tuple[int, ...]) -> None:
        """Keep the sizes; parameters are made by the subclass."""
        super().__init__()
        self.dim = dim
        self.patch_size = patch_size
        self.stride = stride
        self.taps = taps
        self.channels = (dim,) * len(taps)
        self.use_stacked_batch = True
        self.use_checkpointing = False

    def forward(self, rgb: Tensor, thermal: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Encode both modalities with the same weights.

        Args:
            rgb: (b, 3, h, w), standardised, h and w multiples of ``stride``.
            thermal: (b, 3, h, w), standardised, one channel replicated.

        Returns:
            (rgb, thermal) features per tap, each (b, d, h / stride, w / stride).

        Raises:
            EncoderError: If the sizes are no multiples of ``stride`` or differ.
        """
        if rgb.shape != thermal.shape:
            raise EncoderError(
                f'RGB has shape {tuple(rgb.shape)}, thermal {tuple(thermal.shape)}; expected '
                f'equal shapes; resize or register the images first'
            )
        if not self.use_stacked_batch:
            return list(zip(self.features(rgb), self.features(thermal), strict=True))
        stacked = self.features(torch.cat([rgb, thermal]))  # each (2 * b, d, h, w), RGB first
        return [(maps[: rgb.shape[0]], maps[rgb.shape[0] :]) for maps in stacked]

    @abstractmethod
    def features(self, image: Tensor) -> list[Tensor]:
        """Map one modality (b, 3, h, w) to features (b, d, h / stride, w / stride) per tap."""

    def check_image(self, image: Tensor) -> None:
        """Check the size of an image; does nothing while a graph is traced.

        Raises:
            EncoderError: If the image is not (b, 3, h, w) with multiples of ``stride``.
        """
        if torch.compiler.is_compiling():
            return
        if image.ndim != 4 or image.shape[1] != 3 or any(s % self.stride for s in image.shape[2:]):
            raise EncoderError(
                f'image has shape {tuple(image.shape)}; expected (b, 3, h, w) with h and w '
                f'multiples of {self.stride}; resize or pad it first'
            )

    def run_block(self, block: Callable[[Tensor], Tensor], tokens: Tensor) -> Tensor:
        """Run one block, recomputed in the backward pass where checkpointing is on."""
        if self.use_checkpointing and self.training and torch.is_grad_enabled():
            recomputed: Tensor = checkpoint(block, tokens, use_reentrant=False)
            return recomputed
        return block(tokens)


def check_taps(taps: tuple[int, ...] | None, depth: int) -> tuple[int, ...]:
    """Return the taps, the last block where None is given.

    Raises:
        EncoderError: If a tap is no block, or they do not ascend.
    """
    if taps is None:
        return (depth - 1,)
    if not taps or list(taps) != sorted(set(taps)) or taps[0] < 0 or taps[-1] >= depth:
        raise EncoderError(
            f'taps are {taps}; expected ascending block numbers from 0 to {depth - 1}; correct '
            f'the taps'
        )
    return taps
