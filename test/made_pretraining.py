# SPDX-License-Identifier: Apache-2.0
"""A small autoencoder and made batches; run as a program, one process of a distributed run."""

from __future__ import annotations

from pathlib import Path
import sys

from safetensors.torch import save
import torch
from torch import distributed
from torch.nn.parallel import DistributedDataParallel

from rgbt_models.pretrain.mae import build_autoencoder, MaeConfig, PairAutoencoder
from rgbt_models.pretrain.masking import MaskingConfig
from rgbt_models.pretrain.task import PretrainBatch

SIZE = 64  # 16 patches
DISTRIBUTED_BATCH, DISTRIBUTED_STEPS = 4, 4


def small_autoencoder(*, method: str = 'gmm_cmss', seed: int = 0) -> PairAutoencoder:
    torch.manual_seed(seed)
    masking = MaskingConfig(
        method=method, mask_ratio=0.75, max_mask_ratio=0.85, steps_per_epoch=3, num_epochs=4
    )
    return build_autoencoder(
        MaeConfig(
            encoder='vit_tiny_patch16_224',
            image_size=SIZE,
            decoder_dim=32,
            decoder_depth=1,
            decoder_heads=2,
            masking=masking,
        )
    )


def made_batch(seed: int, *, b: int = 3) -> PretrainBatch:
    generator = torch.Generator().manual_seed(seed)
    return PretrainBatch(
        rgb=torch.randn(b, 3, SIZE, SIZE, generator=generator).cumsum(-1) / 4,
        thermal=torch.randn(b, 3, SIZE, SIZE, generator=generator).cumsum(-2) / 4,
    )


def train_steps(model, optimiser, first, last):
    history = []
    for step in range(first, last):
        losses = model(made_batch(step), step)
        optimiser.zero_grad()
        torch.stack(list(losses.values())).sum().backward()
        optimiser.step()
        values = {name: loss.item() for name, loss in losses.items()}
        model.finish_step(values, step)
        history.append(values)
    return history


def run_share(model: PairAutoencoder, *, rank: int, world_size: int) -> dict[str, torch.Tensor]:
    """Train this process's rows of every batch; return state, last gradients and losses."""
    is_alone = world_size == 1
    wrapped = model if is_alone else DistributedDataParallel(model)
    optimiser = torch.optim.SGD(model.parameters(), 0.05)
    rows = slice(
        rank * DISTRIBUTED_BATCH // world_size, (rank + 1) * DISTRIBUTED_BATCH // world_size
    )
    sums = torch.zeros(2)
    for step in range(DISTRIBUTED_STEPS):
        whole = made_batch(step, b=DISTRIBUTED_BATCH)
        losses = wrapped(PretrainBatch(rgb=whole.rgb[rows], thermal=whole.thermal[rows]), step)
        optimiser.zero_grad()
        stacked = torch.stack([losses['rgb'], losses['thermal']])
        stacked.sum().backward()
        means = stacked.detach().clone()
        if not is_alone:
            distributed.all_reduce(means)
            means /= world_size
        model.finish_step({'rgb': means[0].item(), 'thermal': means[1].item()}, step)
        sums += means
        if step + 1 < DISTRIBUTED_STEPS:
            optimiser.step()
    gradients = {
        f'gradient.{name}': parameter.grad
        for name, parameter in model.named_parameters()
        if parameter.grad is not None
    }
    return {**gradients, **model.masker.state_dict(), 'losses': sums}


def run_methods(*, rank: int, world_size: int) -> dict[str, torch.Tensor]:
    """Return what ``run_share`` gives for both ways of masking, names prefixed by the way."""
    return {
        f'{method}.{name}': tensor
        for method in ('gmm_cmss', 'random')
        for name, tensor in run_share(
            small_autoencoder(method=method), rank=rank, world_size=world_size
        ).items()
    }


def main(argv: list[str]) -> None:
    """Join the other process through a file and write what ``run_methods`` returns."""
    rank, world_size, meeting, out = int(argv[0]), int(argv[1]), argv[2], argv[3]
    torch.set_num_threads(1)
    distributed.init_process_group(
        'gloo', init_method=f'file://{meeting}', rank=rank, world_size=world_size
    )
    found = run_methods(rank=rank, world_size=world_size)
    Path(out).write_bytes(save({name: t.contiguous() for name, t in found.items()}))
    distributed.destroy_process_group()


if __name__ == '__main__':
    main(sys.argv[1:])
