# SPDX-License-Identifier: Apache-2.0
"""Training samples rendered when they are drawn: every pair is new, and nothing is on disk.

Pair i of a stream is the scene of seed ``seed + i``, so a stream is determined by its settings
alone: not by how many processes render, nor by where a run was interrupted. Processes that train
together take the scenes in turn. Rendering needs neither torch nor a GPU.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
import multiprocessing
from pathlib import Path
from typing import Any

import cv2
from numpy.random import Generator

from rgbt_models.errors import DatasetError
from rgbt_models.train.pool import (
    ON_THE_FLY_KEY,
    read_about,
    render_sample,
    Sample,
    WORKERS_KEY,
)

AHEAD_PER_WORKER = 4  # pairs; one takes long, another short


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamSettings:
    """What is rendered, and by how many.

    Attributes:
        seed: Of the first scene.
        scale: Size of the images as a fraction of 640x480.
        num_workers: Processes that render, one core each; 0 = the process that draws.
    """

    seed: int
    scale: float
    num_workers: int = 0

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            DatasetError: If one cannot be used.
        """
        if self.seed < 0 or self.num_workers < 0 or not 0.0 < self.scale <= 4.0:
            raise DatasetError(
                f'a stream of pairs has seed {self.seed}, scale {self.scale} and '
                f'{self.num_workers} workers; expected a seed from 0, a scale above 0 and at '
                f'most 4, and 0 workers or more; correct the training file'
            )


class SyntheticStream:
    """Endless rendered samples of one process.

    Attributes:
        settings: What is rendered.
    """

    def __init__(
        self,
        settings: StreamSettings,
        *,
        rank: int = 0,
        num_processes: int = 1,
        state: dict[str, Any] | None = None,
    ) -> None:
        """Begin, or go on where a stream stood.

        Args:
            settings: What is rendered.
            rank: Number of this process.
            num_processes: Processes that take the scenes in turn.
            state: What ``state()`` returned, None = from the start.
        """
        self.settings = settings
        self._rank, self._num_processes = rank, num_processes
        self._drawn = 0 if state is None else int(state['stream_drawn'])
        self._asked = self._drawn  # scenes given to the workers
        self._executor: ProcessPoolExecutor | None = None
        self._waiting: deque[Future[Sample]] = deque()

    def __len__(self) -> int:
        """Return the number of scenes that all processes have drawn."""
        return self._drawn * self._num_processes

    def __iter__(self) -> Iterator[Sample]:
        """Yield samples for ever."""
        while True:
            yield self._next()

    def draw(self, rng: Generator) -> Sample:
        """Return the next sample; ``rng`` is not used, for the scenes are new anyway."""
        del rng
        return self._next()

    def refresh(self) -> None:
        """Do nothing: there is no folder that grows."""

    def state(self) -> dict[str, Any]:
        """Return where the stream stands, and the seeds it has used, JSON values."""
        first = self.settings.seed
        return {'stream_drawn': self._drawn, 'scenes': [[first, first + len(self)]]}

    def close(self) -> None:
        """Stop the workers; the stream may be drawn from again, which starts them anew."""
        self._waiting.clear()
        self._asked = self._drawn
        if self._executor is not None:
            self._executor.shutdown(wait=True, cancel_futures=True)
            self._executor = None

    def _next(self) -> Sample:
        if self.settings.num_workers == 0:
            sample = render_sample(self._seed_of(self._drawn), scale=self.settings.scale)
        else:
            self._ask()
            sample = self._waiting.popleft().result()
        self._drawn += 1
        return sample

    def _seed_of(self, index: int) -> int:
        return self.settings.seed + index * self._num_processes + self._rank

    def _ask(self) -> None:
        """Keep the workers busy."""
        if self._executor is None:
            self._executor = ProcessPoolExecutor(
                self.settings.num_workers,
                mp_context=multiprocessing.get_context('spawn'),
                initializer=_use_one_thread,
            )
        while len(self._waiting) < AHEAD_PER_WORKER * self.settings.num_workers:
            seed = self._seed_of(self._asked)
            future = self._executor.submit(render_sample, seed, scale=self.settings.scale)
            self._waiting.append(future)
            self._asked += 1


def is_stream(folder: Path) -> bool:
    """Whether the pairs of a folder are rendered when they are drawn."""
    return read_about(folder).get(ON_THE_FLY_KEY) is True


def open_stream(
    folder: Path, *, rank: int, num_processes: int, state: dict[str, Any] | None
) -> SyntheticStream:
    """Open the stream that ``claim_stream`` described in a folder.

    Raises:
        DatasetError: If it was described for another version of the world, or the description
            lacks something.
    """
    from rgbt_models.synthetic import WORLD_VERSION

    about = read_about(folder)
    if about.get('world_version') != WORLD_VERSION:
        raise DatasetError(
            f"'{folder}' is a stream of world {about.get('world_version')}; expected this one, "
            f'{WORLD_VERSION}; use another folder'
        )
    try:
        seed, scale = int(about['seed']), float(about['scale'])
        num_workers = int(about[WORKERS_KEY])
    except (KeyError, TypeError, ValueError) as error:
        raise DatasetError(
            f"the description in '{folder}' cannot be used ({error!r}); expected seed, scale and "
            f'{WORKERS_KEY}; use another folder'
        ) from error
    settings = StreamSettings(seed=seed, scale=scale, num_workers=num_workers)
    return SyntheticStream(settings, rank=rank, num_processes=num_processes, state=state)


def _use_one_thread() -> None:
    cv2.setNumThreads(1)
