# SPDX-License-Identifier: Apache-2.0
"""Masked autoencoding of RGB-thermal pairs: one shared encoder, a dual decoder.

Source: M-SpecGene (https://arxiv.org/abs/2507.16318). The encoder sees the visible patches of RGB
and of thermal one after the other with the same weights; no embedding says which is which. The
loss is the squared error of pixels normalised per patch, averaged over the masked patches of each
modality, and summed over both without weights. Order here is RGB, thermal; the release's slot 1 is
thermal.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from rgbt_models.errors import PretrainError
from rgbt_models.pretrain.mae_decoder import DecoderSizes, DualDecoder
from rgbt_models.pretrain.masking import build_masker, Masker, MaskingConfig, VisiblePatches
from rgbt_models.pretrain.patches import (
    cut_patches,
    gather_tokens,
    join_patches,
    select_masked,
    TimmTokenEncoder,
    TokenEncoder,
)
from rgbt_models.pretrain.task import PretrainBatch, PretrainTask

PIXEL_EPSILON = 1e-6
CHANNELS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class MaeConfig:
    """Sizes of the autoencoder; the defaults are M-SpecGene's.

    Attributes:
        encoder: Name of a timm ViT.
        image_size: Pixels per side of the square input.
        decoder_dim: Width of the decoder.
        decoder_depth: Self-attention blocks per modality after the cross-attention.
        decoder_heads: Heads of every attention of the decoder.
        masking: How patches are hidden.
    """

    encoder: str = 'vit_base_patch16_224'
    image_size: int = 224
    decoder_dim: int = 512
    decoder_depth: int = 4
    decoder_heads: int = 16
    masking: MaskingConfig = field(default_factory=MaskingConfig)

    def __post_init__(self) -> None:
        """Check the sizes.

        Raises:
            PretrainError: If the width of the decoder does not divide into heads and positions.
        """
        if self.decoder_heads < 1 or self.decoder_dim % self.decoder_heads or self.decoder_dim % 4:
            raise PretrainError(
                f'decoder_dim is {self.decoder_dim} with {self.decoder_heads} heads; expected a '
                f'multiple of the heads and of 4; correct one of them'
            )


class PairAutoencoder(PretrainTask):
    """The whole method as a pretraining task; losses ``rgb`` and ``thermal``."""

    encoder: Any  # a module that is a TokenEncoder

    def __init__(self, *, encoder: TokenEncoder, decoder: DualDecoder, masker: Masker) -> None:
        """Put the parts together; the encoder is a module."""
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder
        self.masker = masker

    def step(self, batch: PretrainBatch, step_index: int) -> dict[str, Tensor]:  # noqa: ARG002 the masker counts its own draws
        """Return the reconstruction losses of a batch, scalars, RGB and thermal."""
        size, n = self.encoder.patch_size, self.masker.num_patches
        (rgb, thermal), visible = self.predict(batch.rgb, batch.thermal)
        losses = {}
        for name, predicted, image, seen in (
            ('rgb', rgb, batch.rgb, visible.rgb),
            ('thermal', thermal, batch.thermal, visible.thermal),
        ):
            target = normalise_patches(cut_patches(image.float(), size))
            losses[name] = masked_error(predicted.float(), target, select_masked(seen, n))
        return losses

    def predict(
        self, rgb: Tensor, thermal: Tensor
    ) -> tuple[tuple[Tensor, Tensor], VisiblePatches]:
        """Mask a batch and predict all its patches.

        Args:
            rgb: Shape (b, 3, h, w), standardised.
            thermal: Shape (b, 3, h, w), standardised, aligned, one channel replicated.

        Returns:
            Predicted normalised patches of RGB and thermal, each (b, n, patch_size² * 3), and
            what was visible.
        """
        rgb_tokens, thermal_tokens = self.encoder.embed(rgb), self.encoder.embed(thermal)
        visible = self.masker.draw(rgb_tokens, thermal_tokens)
        encoded_rgb = self.encoder.encode_tokens(gather_tokens(rgb_tokens, visible.rgb))
        encoded_thermal = self.encoder.encode_tokens(
            gather_tokens(thermal_tokens, visible.thermal)
        )
        predicted = self.decoder(encoded_rgb, encoded_thermal, visible.rgb, visible.thermal)
        return predicted, visible

    def finish_step(self, losses: dict[str, float], step_index: int) -> None:
        """Let the masking follow the losses and the steps."""
        self.masker.finish_step(losses['rgb'], losses['thermal'], step_index)

    def encoder_state(self) -> dict[str, Tensor]:
        """Return the weights of the encoder; those of a timm encoder by timm's names."""
        inner = self.encoder.model if isinstance(self.encoder, TimmTokenEncoder) else self.encoder
        return {name: t.detach() for name, t in inner.state_dict().items()}


def build_autoencoder(config: MaeConfig) -> PairAutoencoder:
    """Build encoder, decoder and masker with random weights (torch's global generator)."""
    encoder = TimmTokenEncoder(config.encoder, image_size=config.image_size)
    grid = config.image_size // encoder.patch_size
    sizes = DecoderSizes(
        encoder_dim=encoder.dim,
        dim=config.decoder_dim,
        depth=config.decoder_depth,
        num_heads=config.decoder_heads,
        grid_hw=(grid, grid),
        num_prefix_tokens=encoder.num_prefix_tokens,
        patch_values=encoder.patch_size**2 * CHANNELS,
    )
    masker = build_masker(config.masking, num_patches=grid * grid)
    return PairAutoencoder(encoder=encoder, decoder=DualDecoder(sizes), masker=masker)


def normalise_patches(patches: Tensor) -> Tensor:
    """Bring every patch (b, n, values) to mean 0 and variance 1 (unbiased, epsilon 1e-6)."""
    variance, mean = torch.var_mean(patches, dim=-1, keepdim=True)
    return (patches - mean) / (variance + PIXEL_EPSILON).sqrt()


def masked_error(predicted: Tensor, target: Tensor, masked: Tensor) -> Tensor:
    """Return the mean squared error over masked patches, a scalar.

    Args:
        predicted: Shape (b, n, values).
        target: Same shape.
        masked: Shape (b, n), bool, True = masked, counts.
    """
    error = (predicted - target).square().mean(dim=-1)
    return (error * masked).sum() / masked.sum().clamp(min=1)


def draw_reconstruction(
    image: Tensor, predicted: Tensor, visible: Tensor, *, patch_size: int
) -> Tensor:
    """Return images with the masked patches as predicted, on the scale of the input.

    Predictions are of normalised pixels; they are given the mean and spread of the true patch.

    Args:
        image: Shape (b, 3, h, w).
        predicted: Shape (b, n, patch_size² * 3).
        visible: Shape (b, v), patch indices that keep the true pixels.
        patch_size: Pixels per patch side.
    """
    patches = cut_patches(image.float(), patch_size)
    variance, mean = torch.var_mean(patches, dim=-1, keepdim=True)
    rebuilt = predicted.float() * (variance + PIXEL_EPSILON).sqrt() + mean
    masked = select_masked(visible, patches.shape[1])[..., None]
    grid_hw = (image.shape[2] // patch_size, image.shape[3] // patch_size)
    whole = torch.where(masked, rebuilt, patches)
    return join_patches(whole, grid_hw=grid_hw, patch_size=patch_size)
