# SPDX-License-Identifier: Apache-2.0
"""What the training loop asks of a network: losses of a batch, its state, its weights."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from torch import nn, Tensor
from torch.distributed.device_mesh import DeviceMesh


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class LossTerms:
    """The scalar that is minimised, and its parts for the log."""

    total: Tensor
    parts: Mapping[str, Tensor]


class SampledBatch(Protocol):
    """What the loop asks of a batch: its images, and where the sampler stands after it."""

    @property
    def rgb(self) -> Tensor:
        """Images, (b, 3, h, w)."""
        ...

    @property
    def sampler_state(self) -> dict[str, Any]:
        """JSON values."""
        ...


Batch = TypeVar('Batch', bound=SampledBatch)


class Learner(ABC, Generic[Batch]):
    """A network with its losses.

    Attributes:
        model: The network that is trained; its parameters and buffers are in the checkpoint.
    """

    model: nn.Module

    @abstractmethod
    def losses(self, wrapped: nn.Module, batch: Batch, *, step: int, progress: float) -> LossTerms:
        """Run the network on a batch.

        Args:
            wrapped: ``model``, as it must be called so that gradients of all processes meet.
            batch: Pairs of this process.
            step: Optimiser steps done so far.
            progress: Part of the run done, 0..1.
        """

    @abstractmethod
    def save(self, path: Path, *, is_writer: bool) -> None:
        """Write the weights that the run is for; all processes call this, one writes."""

    def shard(self, mesh: DeviceMesh) -> None:
        """Follow the sharding of ``model`` over the processes of ``mesh``.

        Raises:
            DatasetError: If something that this learner does needs whole parameters.
        """

    def finish_backward(self, *, is_last: bool) -> None:
        """Follow the backward pass of a batch.

        Args:
            is_last: Whether it is the last of its step: gradients are clipped and used next.
        """

    def finish_step(self, losses: Mapping[str, float], *, step: int) -> None:
        """Follow an optimiser step; ``losses`` are means over all processes and batches."""

    @property
    def wants_losses(self) -> bool:
        """Whether ``finish_step`` reads the losses; bringing them together costs time."""
        return False

    @property
    def extra_modules(self) -> Mapping[str, nn.Module]:
        """Further modules of the checkpoint; what needs a gradient there is trained too."""
        return {}
