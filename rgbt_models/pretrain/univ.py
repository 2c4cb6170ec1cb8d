# SPDX-License-Identifier: Apache-2.0
"""UNIV's transfer to thermal as a pretraining task: student, teacher and their losses.

Paper: https://arxiv.org/abs/2509.15642. The teacher is the encoder as it was given; the student
starts from it and trains whole, or through a LoRA adapter only.

Differs: with ``adapt_rgb=False`` the adapter is off for RGB, whose path then stays the base to
the last bit; its loss is a constant that only shows how the labels fit, so it has no gradient.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn, Tensor

from rgbt_models.adapter_file import LoraSettings
from rgbt_models.adapters import Adapter, add_adapter
from rgbt_models.errors import AdapterError
from rgbt_models.pretrain.pccl import PcclConfig, univ_step
from rgbt_models.pretrain.task import PretrainBatch, PretrainTask
from rgbt_models.pretrain.teacher import (
    count_prefix_tokens,
    encode_timm_tokens,
    EncodeTokens,
    FrozenTeacher,
)


class UnivStudent(nn.Module):
    """The encoder that learns; both modalities pass as one batch if they see the same weights."""

    def __init__(
        self,
        encoder: nn.Module,
        *,
        adapter: Adapter | None = None,
        adapt_rgb: bool = True,
        encode: EncodeTokens = encode_timm_tokens,
    ) -> None:
        """Wrap an encoder.

        Args:
            encoder: A vision transformer, trained whole if it has no adapter.
            adapter: The adapter of this encoder.
            adapt_rgb: Whether the adapter is on for RGB too.
            encode: Maps (encoder, image) to all its tokens, (b, p + n, d).

        Raises:
            AdapterError: If RGB is not to be adapted but there is no adapter.
        """
        super().__init__()
        if adapter is None and not adapt_rgb:
            raise AdapterError(
                'adapt_rgb is False without an adapter; expected an adapter that can be off for '
                'RGB; give LoRA settings or set adapt_rgb to True'
            )
        self.encoder = encoder
        self.adapter = adapter
        self.adapt_rgb = adapt_rgb
        self._encode = encode
        self._num_prefix_tokens = count_prefix_tokens(encoder)

    def forward(self, rgb: Tensor, thermal: Tensor) -> tuple[Tensor, Tensor]:
        """Map two (b, 3, h, w) to the patch tokens of RGB and thermal, (b, n, d) each."""
        if self.adapter is None or self.adapt_rgb:
            rgb_tokens, thermal_tokens = self._patch_tokens(torch.cat([rgb, thermal])).chunk(2)
            return rgb_tokens, thermal_tokens
        with torch.no_grad(), self.adapter.off():
            rgb_tokens = self._patch_tokens(rgb)
        return rgb_tokens, self._patch_tokens(thermal)

    def _patch_tokens(self, image: Tensor) -> Tensor:
        return self._encode(self.encoder, image)[:, self._num_prefix_tokens :]


class UnivTask(PretrainTask):
    """PCCL on an encoder: two losses, ``pccl_thermal`` and ``pccl_rgb``."""

    def __init__(
        self,
        encoder: nn.Module,
        *,
        config: PcclConfig | None = None,
        lora: LoraSettings | None = None,
        adapt_rgb: bool = True,
        encode: EncodeTokens = encode_timm_tokens,
    ) -> None:
        """Copy the encoder as the teacher and train it, or an adapter added to it.

        Args:
            encoder: A pretrained vision transformer; becomes the student.
            config: Settings of the losses, UNIV's if not given.
            lora: Train an adapter of this shape instead of the whole encoder.
            adapt_rgb: Whether RGB passes through the adapter too, as in UNIV.
            encode: Maps (encoder, image) to all its tokens, (b, p + n, d).

        Raises:
            AdapterDependencyError: If peft is missing.
            AdapterError: If the adapter does not fit, or is missing for ``adapt_rgb=False``.
            PretrainError: If the encoder has no last attention to learn from.
        """
        super().__init__()
        self.config = config or PcclConfig()
        self.teacher = FrozenTeacher(encoder, encode=encode)
        self.adapter = add_adapter(encoder, lora) if lora is not None else None
        self.student = UnivStudent(
            encoder, adapter=self.adapter, adapt_rgb=adapt_rgb, encode=encode
        )

    def step(self, batch: PretrainBatch, step_index: int) -> dict[str, Tensor]:
        """Return the thermal and the RGB loss of a batch; ``step_index`` plays no part."""
        del step_index
        losses = univ_step(self.student, self.teacher, batch.rgb, batch.thermal, self.config)
        return {'pccl_thermal': losses.thermal, 'pccl_rgb': losses.rgb}

    def encoder_state(self) -> dict[str, Tensor]:
        """Return the student's tensors under the names of the plain encoder, adapter merged."""
        if self.adapter is None:
            return self.student.encoder.state_dict()
        return self.adapter.merged_state()

    def save_adapter(self, path: Path) -> None:
        """Write the adapter apart from the weights, for RGB that must stay as it is.

        Raises:
            AdapterError: If the whole encoder trains.
        """
        if self.adapter is None:
            raise AdapterError(
                'the whole encoder trains, there is no adapter to save; expected a task with '
                'LoRA settings; save the encoder state instead'
            )
        self.adapter.save(path)
