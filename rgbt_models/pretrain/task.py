# SPDX-License-Identifier: Apache-2.0
"""What the pretraining loop asks of a method: losses, its whole state, and the encoder.

A method is a module. Its parameters and buffers are all the state it has, so that one
safetensors file resumes it; whatever else it counts must follow from the number of the step or
live in a buffer. It draws random numbers from torch's global generators only, which the
checkpoint keeps too.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import nn, Tensor


class PretrainBatch:
    """Aligned, standardised pairs: rgb and thermal, each (b, 3, h, w) float32.

    Not a dataclass: Fabric rounds every tensor it finds in the arguments of a model to the type of
    mixed precision, and the pixels are a target too.
    """

    def __init__(self, *, rgb: Tensor, thermal: Tensor) -> None:
        """Take both images of each pair."""
        self.rgb, self.thermal = rgb, thermal


class PretrainTask(nn.Module, ABC):
    """One pretraining method: masked autoencoding, PCCL, or another.

    The loop calls the module itself (so that gradients of all processes meet), then
    ``finish_step`` once the optimiser has moved.
    """

    @abstractmethod
    def step(self, batch: PretrainBatch, step_index: int) -> dict[str, Tensor]:
        """Return the losses of a batch, scalars by name; their sum is minimised.

        Args:
            batch: The pairs of this process.
            step_index: Optimiser steps done so far, from 0.
        """

    @abstractmethod
    def encoder_state(self) -> dict[str, Tensor]:
        """Return the tensors that fine-tuning starts from, by the names of the encoder."""

    def finish_step(self, losses: dict[str, float], step_index: int) -> None:
        """Follow an optimiser step: move a teacher, a schedule, a balance.

        Args:
            losses: The losses of the step, averaged over processes (and accumulated batches).
            step_index: As given to ``step``.
        """

    def forward(self, batch: PretrainBatch, step_index: int) -> dict[str, Tensor]:
        """Call ``step``."""
        return self.step(batch, step_index)
