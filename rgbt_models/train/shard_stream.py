# SPDX-License-Identifier: Apache-2.0
"""Training samples from tar shards, for data that outgrows a disk.

In each epoch the shards are read in another order, every process those that are its turn, and
their pairs pass through a buffer that gives them in random order; it is emptied before the next
epoch, so that each pair comes once in each. The buffer holds files, decoded when they are drawn.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.random import Generator

from rgbt_models.data.pool_writer import to_sample
from rgbt_models.data.shard_index import load_index, training_labels
from rgbt_models.data.shards import iterate_files, try_decode_files
from rgbt_models.data.skipped import Skipped
from rgbt_models.errors import DatasetError
from rgbt_models.train.pool import Sample

BUFFER_PAIRS = 512


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class _Stored:
    """A pair as it lies in a shard: which shard, its place there, its key and its files."""

    shard: int
    position: int
    key: str
    files: dict[str, bytes]


class ShardStream:
    """Endless samples of one process from the tar shards of a folder.

    Attributes:
        skipped: Pairs and ends of shards that were left out.
    """

    def __init__(
        self,
        folder: Path,
        *,
        seed: int,
        rank: int = 0,
        num_processes: int = 1,
        state: dict[str, Any] | None = None,
    ) -> None:
        """Open the stream, or go on where one stood, which reads parts of shards again.

        Args:
            folder: Of the shards and their index.
            seed: Of the orders of shards, the same in all processes.
            rank: Number of this process.
            num_processes: Processes that share the shards.
            state: What ``state()`` returned in the same process, None = from the start.

        Raises:
            DatasetError: If the index cannot be used, shards are lost or changed, or there are
                fewer than processes.
        """
        index = load_index(folder)
        self._labels, self._size_hw = training_labels(index, folder)
        self._folder, self._seed = folder, seed
        self._rank, self._num_processes = rank, num_processes
        self._names: tuple[str, ...] = tuple(state['shards'] if state else sorted(index.counts))
        self._num_pairs = sum(index.counts.get(name, 0) for name in self._names)
        self._check_shards()
        self.skipped = Skipped()
        self._epoch, self._turn, self._position = 0, 0, 0
        self._buffer: list[_Stored] = []
        self._is_barren = True  # the epoch has given no sample yet
        self._barren_shards: set[int] = set()  # of the epochs since the last sample
        if state is not None:
            self._restore(state)
        self._stream = self._read_epoch()

    def __len__(self) -> int:
        """Return the number of pairs that all processes share, corrupt ones included."""
        return self._num_pairs

    def draw(self, rng: Generator) -> Sample:
        """Return the next usable sample; corrupt ones go to ``skipped``.

        Raises:
            DatasetError: If no pair of any shard can be used.
        """
        while True:
            self._fill()
            chosen = int(rng.integers(len(self._buffer)))
            self._buffer[chosen], self._buffer[-1] = self._buffer[-1], self._buffer[chosen]
            sample = self._try_sample(self._buffer.pop())
            if sample is not None:
                self._is_barren = False
                return sample

    def refresh(self) -> None:
        """Do nothing: the shards are those of the start."""

    def state(self) -> dict[str, Any]:
        """Return where the stream stands, JSON values."""
        return {
            'shards': list(self._names),
            'epoch': self._epoch,
            'turn': self._turn,
            'position': self._position,
            'buffer': [[stored.shard, stored.position] for stored in self._buffer],
            'skipped': dict(self.skipped.reasons),
        }

    def _check_shards(self) -> None:
        lost = [name for name in self._names if not (self._folder / name).is_file()]
        if lost:
            raise DatasetError(
                f"'{self._folder}' lacks {len(lost)} shards, the first '{lost[0]}'; expected all "
                f'that its index or the interrupted run names; restore them'
            )
        if len(self._names) < self._num_processes:
            raise DatasetError(
                f"'{self._folder}' holds {len(self._names)} shards for {self._num_processes} "
                f'processes, expected at least one each; write smaller shards'
            )

    def _order(self) -> Sequence[int]:
        """Return the shards of this process in this epoch."""
        rng = np.random.default_rng((self._seed, self._epoch))
        order: list[int] = rng.permutation(len(self._names)).tolist()
        return order[self._rank :: self._num_processes]

    def _read_epoch(self) -> Iterator[_Stored]:
        """Yield what is left of the epoch."""
        order = self._order()
        while self._turn < len(order):
            for stored in islice(self._read(order[self._turn]), self._position, None):
                self._position += 1
                yield stored
            self._turn, self._position = self._turn + 1, 0

    def _read(self, shard: int) -> Iterator[_Stored]:
        path = self._folder / self._names[shard]
        for position, (key, files) in enumerate(iterate_files(path, self.skipped)):
            yield _Stored(shard=shard, position=position, key=key, files=files)

    def _fill(self) -> None:
        while True:
            self._buffer.extend(islice(self._stream, BUFFER_PAIRS - len(self._buffer)))
            if self._buffer:
                return
            self._begin_epoch()

    def _begin_epoch(self) -> None:
        if self._is_barren:
            self._barren_shards.update(self._order())
        else:
            self._barren_shards.clear()
        if len(self._barren_shards) == len(self._names):
            raise DatasetError(
                f"no pair in the shards of '{self._folder}' can be used, expected at least one "
                f'that is registered and can be read; the first reason: '
                f'{next(iter(self.skipped.reasons.values()), "no pair")}'
            )
        self._epoch, self._turn, self._position = self._epoch + 1, 0, 0
        self._is_barren = True
        self._stream = self._read_epoch()

    def _try_sample(self, stored: _Stored) -> Sample | None:
        name = f'{self._names[stored.shard]}:{stored.key}'
        pair = try_decode_files(stored.files, name, self.skipped)
        if pair is None:
            return None
        if not pair.is_registered:
            self.skipped.add(name, 'RGB and thermal are not registered')
            return None
        return to_sample(pair, self._labels, size_hw=self._size_hw)

    def _restore(self, state: dict[str, Any]) -> None:
        self._epoch, self._turn = int(state['epoch']), int(state['turn'])
        self._position = int(state['position'])
        self._is_barren = False  # a state is taken after a draw
        self.skipped.reasons.update(state['skipped'])
        places = [(int(shard), int(position)) for shard, position in state['buffer']]
        last: dict[int, int] = {}
        for shard, position in places:
            last[shard] = max(position, last.get(shard, 0))
        wanted, found = set(places), dict[tuple[int, int], _Stored]()
        for shard, end in last.items():
            for stored in islice(self._read(shard), end + 1):
                if (shard, stored.position) in wanted:
                    found[shard, stored.position] = stored
        gone = [place for place in places if place not in found]
        if gone:
            raise DatasetError(
                f"shard '{self._names[gone[0][0]]}' has no pair {gone[0][1]} any more, expected "
                f'the shards that the interrupted run has read; restore them'
            )
        self._buffer = [found[place] for place in places]
