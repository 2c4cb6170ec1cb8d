# SPDX-License-Identifier: Apache-2.0
"""Parameters split over the processes of a run (FSDP), and brought together for files.

Each transformer block is one unit that is gathered when it runs, all else is another. Uses torch's
``fully_shard`` through Lightning Fabric's ``ModelParallelStrategy``: Fabric's ``FSDPStrategy``
refuses CPUs, where the tests of this run.
"""

from __future__ import annotations

from typing import Any

from lightning_fabric.strategies.model_parallel import ModelParallelStrategy
import torch
from torch import nn, Tensor
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import distribute_tensor, DTensor

MESH_AXIS = 'data_parallel'  # of ModelParallelStrategy
_BLOCKS = ('blocks', 'layers')  # names of the lists of transformer blocks in encoders


def sharding_strategy(num_processes: int) -> ModelParallelStrategy:
    """Return the strategy that shards every module that Fabric sets up over all processes."""
    return ModelParallelStrategy(
        _shard_over, data_parallel_size=num_processes, tensor_parallel_size=1
    )


def shard(module: nn.Module, mesh: DeviceMesh) -> nn.Module:
    """Split the parameters of a module over processes, in place; optimisers are built after it.

    Args:
        module: Alike in all processes.
        mesh: One axis: the processes.
    """
    module.to(memory_format=torch.contiguous_format)  # channels last cannot be split
    for name, blocks in list(module.named_modules()):
        is_list = isinstance(blocks, (nn.ModuleList, nn.Sequential))
        if is_list and name.rpartition('.')[2] in _BLOCKS:
            for block in blocks.children():
                fully_shard(block, mesh=mesh)
    fully_shard(module, mesh=mesh)
    return module


def whole(tensor: Tensor) -> Tensor:
    """Return a tensor with the parts of all processes; all must call this, in the same order."""
    if isinstance(tensor, DTensor):
        gathered: Tensor = tensor.full_tensor()
        return gathered
    return tensor


def whole_state(module: nn.Module) -> dict[str, Tensor]:
    """Return the state of a module, no tensor split; all processes must call this."""
    return {name: whole(value.detach()) for name, value in module.state_dict().items()}


def own_part(tensor: Tensor) -> Tensor:
    """Return the part of this process, sharing memory; the tensor itself if it is not split."""
    if isinstance(tensor, DTensor):
        part: Tensor = tensor.to_local()
        return part
    return tensor


def split_like(value: Tensor, other: Tensor) -> Tensor:
    """Split a whole tensor as ``other`` is split; the tensor itself if that is not split.

    Args:
        value: Equal in all processes.
        other: Of the same shape, or not split.
    """
    if isinstance(other, DTensor) and value.shape == other.shape:
        value = value.to(other.device)
        return distribute_tensor(value, other.device_mesh, other.placements, src_data_rank=None)
    return value


def _shard_over(module: Any, mesh: DeviceMesh) -> Any:
    return shard(module, mesh[MESH_AXIS])
