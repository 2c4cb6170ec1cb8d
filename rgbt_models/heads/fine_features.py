# SPDX-License-Identifier: Apache-2.0
"""Features at stride 4 in which coarse matches are refined, one stack for both modalities.

Differs from LoFTR (https://arxiv.org/abs/2104.00680), whose fine features come from a
convolutional backbone: tokens of any encoder are unfolded to a quarter of their stride, and where
the encoder has a map at stride 4 (the convolutional stem), it is added. Source: ours.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn, Tensor

FINE_STRIDE = 4
FINE_CHANNELS = 32
CELLS_PER_TOKEN = 4  # along each side


class FineFeatures(nn.Module):
    """From the levels of one modality to features that are compared at stride 4."""

    def __init__(
        self, *, dim: int, local_channels: int | None, channels: int = FINE_CHANNELS
    ) -> None:
        """Build the stack.

        Args:
            dim: Width of the tokens, stride 16.
            local_channels: Channels of the encoder's map at stride 4, None = it has none.
            channels: Of the result.
        """
        super().__init__()
        self.unfold = nn.ConvTranspose2d(dim, channels, CELLS_PER_TOKEN, CELLS_PER_TOKEN)
        self.local: nn.Conv2d | None = None
        if local_channels is not None:
            self.local = nn.Conv2d(local_channels, channels, 1)
        self.smooth = nn.Sequential(
            nn.Conv2d(channels, channels, 3, 1, 1),
            nn.GELU(),
            nn.Conv2d(channels, channels, 3, 1, 1),
        )

    def forward(self, levels: Sequence[Tensor]) -> Tensor:
        """Map the levels of one modality to (b, c, 4 * h, 4 * w).

        Args:
            levels: Maps finest first; the last are tokens (b, d, h, w) at stride 16, and the first
                is at stride 4 where ``local_channels`` was given.
        """
        features = self.unfold(levels[-1])
        if self.local is not None:
            features = features + self.local(levels[0])
        smoothed: Tensor = features + self.smooth(features)
        return smoothed
