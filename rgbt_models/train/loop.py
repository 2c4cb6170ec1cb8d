# SPDX-License-Identifier: Apache-2.0
"""The loop that training and pretraining share, on Lightning Fabric.

One process per CPU core or GPU, also under torchrun; gradients meet in DistributedDataParallel,
or parameters are sharded (FSDP).
The loop owns steps, rates, accumulation, clipping, logs and checkpoints; a ``Learner`` owns the
network and its losses. A run that was killed goes on from its newest checkpoint as if nothing had
happened: on the CPU to the same weights, bit by bit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
import json
import math
from pathlib import Path
import time
from typing import Any, Generic, TypeVar

from lightning_fabric import Fabric
from lightning_fabric.strategies.model_parallel import ModelParallelStrategy
from lightning_fabric.strategies.strategy import Strategy
import torch
from torch import nn, Tensor

from rgbt_models.errors import DatasetError
from rgbt_models.train.attention_kernel import attention_kernel
from rgbt_models.train.checkpoint import (
    load_checkpoint,
    newest_checkpoint,
    read_state,
    save_checkpoint,
    TrainingParts,
)
from rgbt_models.train.learner import Batch, Learner
from rgbt_models.train.precision import choose_precision
from rgbt_models.train.run_log import LOG_NAME, RunLog, StepReport
from rgbt_models.train.schedule import decay_factor, parameter_groups, rate_factor, set_rates
from rgbt_models.train.settings import RunSettings
from rgbt_models.train.sharding import MESH_AXIS, sharding_strategy

LOG_EVERY = 20
WEIGHTS_NAME = 'weights.safetensors'
RUN_NAME = 'run.json'
STRATEGIES = ('ddp', 'fsdp')

Settings = TypeVar('Settings', bound=RunSettings)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainRun:
    """What a finished run did."""

    steps: int
    samples: int
    seconds: float
    final_loss: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPlace:
    """Where a run is, on what it runs, and how it is watched.

    Attributes:
        folder: Receives weights, log, checkpoints and ``run.json``.
        accelerator: 'cpu' or 'cuda'.
        devices: Processes of a machine, one per core or GPU; more than one needs a command-line
            start.
        nodes: Machines; more than one needs torchrun on each.
        strategy: 'ddp' = every process holds the whole network, 'fsdp' = each a part of it.
        resume: Go on from the newest checkpoint of ``folder``, if it has one.
        on_step: Called after every step in the first process, None = nobody watches.
    """

    folder: Path
    accelerator: str = 'cpu'
    devices: int = 1
    nodes: int = 1
    strategy: str = 'ddp'
    resume: bool = False
    on_step: Callable[[StepReport], None] | None = None

    def __post_init__(self) -> None:
        """Check the strategy.

        Raises:
            DatasetError: If there is none of that name.
        """
        if self.strategy not in STRATEGIES:
            raise DatasetError(
                f"strategy is '{self.strategy}'; expected one of {', '.join(STRATEGIES)}; name "
                f'another'
            )


@dataclass(slots=True, kw_only=True)
class _Progress:
    """The counters of a run; ``sampler`` is where the sampler of this process stands."""

    step: int = 0
    samples: int = 0
    seconds: float = 0.0  # before this process
    total_loss: float | Tensor = math.nan
    sampler: dict[str, Any] | None = None


def settle_precision(config: Settings, place: RunPlace) -> Settings:
    """Return the settings with the precision of this machine in the place of 'auto'.

    So checkpoints and ``run.json`` have it, and a run does not go on in another one.
    """
    return replace(config, precision=choose_precision(config.precision, place.accelerator))


def launch(config: RunSettings, place: RunPlace) -> Fabric:
    """Start the processes of a run with settled settings; each seeds its generators."""
    num_processes = place.devices * place.nodes
    strategy: str | Strategy = 'ddp' if num_processes > 1 else 'auto'
    if place.strategy == 'fsdp':
        strategy = sharding_strategy(num_processes)
    fabric = Fabric(
        accelerator=place.accelerator,
        devices=place.devices,
        num_nodes=place.nodes,
        strategy=strategy,
        precision=config.precision,  # type: ignore[arg-type]  # a Literal there, text in YAML
    )
    fabric.launch()
    if place.accelerator == 'cpu':
        torch.set_num_threads(1)
    fabric.seed_everything(config.seed, verbose=False)
    return fabric


def check_place(place: RunPlace) -> None:
    """Refuse a folder that holds another run, and a finished one.

    Raises:
        DatasetError: If the folder holds one.
    """
    used = [name for name in (RUN_NAME, LOG_NAME) if (place.folder / name).exists()]
    if place.resume and RUN_NAME in used:
        raise DatasetError(
            f"'{place.folder}' holds a finished run ({RUN_NAME}); expected one that was "
            f'interrupted; leave --resume out and name another folder'
        )
    if place.resume:
        return
    checkpoint = newest_checkpoint(place.folder)  # of a run that was killed before its first log
    used += [] if checkpoint is None else [checkpoint.name]
    if used:
        raise DatasetError(
            f"'{place.folder}' holds {' and '.join(used)} of another run; expected an empty "
            f'folder, so that two runs never mix; name another one, or add --resume'
        )


class TrainingLoop(Generic[Batch]):
    """Runs a learner to its last step."""

    def __init__(
        self, fabric: Fabric, learner: Learner[Batch], config: RunSettings, place: RunPlace
    ) -> None:
        """Wrap the network for all processes, and restore the newest checkpoint.

        Raises:
            DatasetError: If the checkpoint is of other settings.
            WeightsError: If it does not fit the network.
        """
        self._fabric, self._learner, self._config, self._place = fabric, learner, config, place
        strategy = fabric.strategy
        self._wrapped: Any = None
        self._optimiser: Any = None
        if isinstance(strategy, ModelParallelStrategy):  # replaces what the optimiser is given
            learner.shard(strategy.device_mesh[MESH_AXIS])
            self._wrapped = fabric.setup_module(learner.model)
        groups = parameter_groups(
            learner.model, config.weight_decay, layer_decay=config.layer_decay
        )
        for module in learner.extra_modules.values():
            groups += parameter_groups(module, config.weight_decay)
        optimiser = torch.optim.AdamW(groups, lr=config.learning_rate, betas=config.betas)
        if self._wrapped is not None:
            self._optimiser = fabric.setup_optimizers(optimiser)
        else:
            self._wrapped, self._optimiser = fabric.setup(learner.model, optimiser)
        self._parts = TrainingParts(
            modules={'model': learner.model, **learner.extra_modules}, optimiser=optimiser
        )
        torch.manual_seed(config.seed * 1000 + fabric.global_rank)
        self._done = _Progress()
        checkpoint = newest_checkpoint(place.folder) if place.resume else None
        if checkpoint is not None:
            self._restore(checkpoint)

    @property
    def sampler_state(self) -> dict[str, Any] | None:
        """Where the sampler of this process must go on; None at the start of a run."""
        return self._done.sampler

    def run(self, batches: Iterator[Batch], describe: Callable[[], Mapping[str, Any]]) -> TrainRun:
        """Take every step, and write weights and ``run.json``.

        Args:
            batches: Endless, from ``sampler_state`` on.
            describe: Called at the end in every process for further JSON values of ``run.json``.
        """
        fabric, folder, first = self._fabric, self._place.folder, self._done.step
        log: RunLog | None = None
        if fabric.is_global_zero:
            folder.mkdir(parents=True, exist_ok=True)
            log = RunLog(folder, tensorboard=self._config.tensorboard, first_step=first)
        start = time.monotonic() - self._done.seconds
        started_samples = self._done.samples
        while (progress := self._progress(time.monotonic() - start)) < 1.0:
            with attention_kernel(fabric.device.type, self._config.precision):
                parts = self._step(batches, progress)
            if log is not None:
                seconds = time.monotonic() - start
                here = max(seconds - self._done.seconds, 1e-9)
                self._report(log, parts, progress, (self._done.samples - started_samples) / here)
            if self._done.step % self._config.checkpoint_every == 0:
                self._save(time.monotonic() - start)
        run = TrainRun(
            steps=self._done.step,
            samples=self._done.samples,
            seconds=round(time.monotonic() - start, 1),
            final_loss=float(self._done.total_loss),
        )
        self._learner.save(folder / WEIGHTS_NAME, is_writer=fabric.is_global_zero)
        description = describe()
        if log is not None:
            log.close()
            self._describe(run, description)
        fabric.barrier()
        return run

    def _step(self, batches: Iterator[Batch], progress: float) -> dict[str, Tensor]:
        """Take one optimiser step and return the mean of each loss."""
        config, done, optimiser = self._config, self._done, self._optimiser
        factor = rate_factor(
            done.step,
            progress,
            config.warmup_steps,
            schedule=config.schedule,
            final_rate=config.final_rate,
        )
        set_rates(
            optimiser,
            learning_rate=config.learning_rate * factor,
            decay=decay_factor(progress, config.weight_decay_growth),
        )
        optimiser.zero_grad(set_to_none=True)
        total = torch.zeros((), device=self._fabric.device)
        parts: dict[str, Tensor] = {}
        for index in range(config.accumulate):
            batch = next(batches)
            with self._apart(is_last=index == config.accumulate - 1):
                terms = self._learner.losses(
                    self._wrapped, batch, step=done.step, progress=progress
                )
                self._fabric.backward(terms.total / config.accumulate)
            total = total + terms.total.detach() / config.accumulate
            for name, value in terms.parts.items():
                share = value.detach() / config.accumulate
                parts[name] = parts[name] + share if name in parts else share
            self._learner.finish_backward(is_last=index == config.accumulate - 1)
            done.samples += len(batch.rgb) * self._fabric.world_size
            done.sampler = batch.sampler_state
        if config.clip_norm > 0:
            trained = (self._learner.model, *self._learner.extra_modules.values())
            parameters = [parameter for module in trained for parameter in module.parameters()]
            nn.utils.clip_grad_norm_(parameters, config.clip_norm)
        optimiser.step()
        self._learner.finish_step(self._everywhere(parts), step=done.step)
        done.step += 1
        done.total_loss = total
        return parts

    def _apart(self, *, is_last: bool) -> Any:
        """Keep gradients in this process until the last batch of a step."""
        if self._fabric.world_size == 1 or is_last:
            return nullcontext()
        return self._fabric.no_backward_sync(self._wrapped)

    def _everywhere(self, parts: Mapping[str, Tensor]) -> dict[str, float]:
        if not self._learner.wants_losses:
            return {}
        values = torch.stack([value.float() for value in parts.values()])
        values = torch.as_tensor(self._fabric.all_reduce(values, reduce_op='mean'))
        return dict(zip(parts, values.tolist(), strict=True))

    def _progress(self, seconds: float) -> float:
        progress = self._done.step / self._config.max_steps
        if self._config.max_hours > 0:
            progress = max(progress, seconds / (self._config.max_hours * 3600.0))
            progress = float(self._fabric.broadcast(progress))  # all stop at the same step
        return progress

    def _report(
        self, log: RunLog, parts: dict[str, Tensor], progress: float, samples_per_s: float
    ) -> None:
        is_logged = self._done.step % LOG_EVERY == 0
        if not is_logged and self._place.on_step is None:
            return
        report = StepReport(
            step=self._done.step,
            samples=self._done.samples,
            progress=progress,
            samples_per_s=samples_per_s,
            learning_rate=max(group['lr'] for group in self._optimiser.param_groups),
            losses={name: value.item() for name, value in parts.items()},
        )
        if is_logged:
            log.write(report)
        if self._place.on_step is not None:
            self._place.on_step(report)

    def _save(self, seconds: float) -> None:
        done = self._done
        shared = {
            'step': done.step,
            'samples': done.samples,
            'seconds': seconds,
            'total_loss': float(done.total_loss),
            'config': _as_json(self._config),
        }
        own = {'sampler': done.sampler}
        save_checkpoint(self._fabric, self._place.folder, self._parts, shared=shared, own=own)
        path = self._place.folder / WEIGHTS_NAME
        self._learner.save(path, is_writer=self._fabric.is_global_zero)

    def _restore(self, checkpoint: Path) -> None:
        state = read_state(checkpoint)
        wanted = _as_json(self._config)
        # What a checkpoint does not name is younger than it, and was as it is by default.
        had = {**_as_json(type(self._config)()), **state['config']}
        changed = [name for name in wanted if wanted[name] != had[name]]
        if changed:
            raise DatasetError(
                f"checkpoint '{checkpoint}' was written with another {', '.join(changed)}; "
                f'expected the settings of the run that goes on; restore them, or begin in '
                f'another folder'
            )
        own = load_checkpoint(self._fabric, checkpoint, self._parts)
        self._done = _Progress(
            step=state['step'],
            samples=state['samples'],
            seconds=state['seconds'],
            total_loss=state.get('total_loss', math.nan),  # reported if no step is left
            sampler=own['sampler'],
        )

    def _describe(self, run: TrainRun, description: Mapping[str, Any]) -> None:
        content = {
            **asdict(run),
            'processes': self._fabric.world_size,
            'strategy': self._place.strategy,
            'accelerator': self._fabric.device.type,
            **description,
            'config': _as_json(self._config),
        }
        path = self._place.folder / RUN_NAME
        path.write_text(json.dumps(content, indent=2) + '\n', encoding='utf-8')


def _as_json(config: RunSettings) -> dict[str, Any]:
    """Return the settings as JSON reads them back: lists for tuples."""
    values: dict[str, Any] = json.loads(json.dumps(asdict(config)))
    return values
