# SPDX-License-Identifier: Apache-2.0
"""Statistics over all processes of a run; with one process, the values themselves."""

from __future__ import annotations

import torch
from torch import distributed, Tensor


def is_distributed() -> bool:
    """Return whether several processes train together."""
    return bool(
        distributed.is_available()
        and distributed.is_initialized()
        and distributed.get_world_size() > 1
    )


def process_rank() -> tuple[int, int]:
    """Return the number of this process and of all processes."""
    if not is_distributed():
        return 0, 1
    return int(distributed.get_rank()), int(distributed.get_world_size())


def sum_over_processes(values: Tensor) -> Tensor:
    """Return the sum of every process's values; the shapes must be equal."""
    if is_distributed():
        values = values.clone()
        distributed.all_reduce(values)
    return values


def mean_over_processes(values: Tensor) -> Tensor:
    """Return the mean of every process's values; the shapes must be equal."""
    return sum_over_processes(values) / process_rank()[1]


def max_over_processes(value: Tensor) -> Tensor:
    """Return the largest of every process's values; the shapes must be equal."""
    if is_distributed():
        value = value.clone()
        distributed.all_reduce(value, distributed.ReduceOp.MAX)
    return value


def gather_values(values: Tensor) -> Tensor:
    """Return the values of every process one after another; the shapes (n,) must be equal."""
    if not is_distributed():
        return values
    parts = [torch.empty_like(values) for _ in range(distributed.get_world_size())]
    distributed.all_gather(parts, values.contiguous())
    return torch.cat(parts)
