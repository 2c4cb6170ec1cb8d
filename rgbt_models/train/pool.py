# SPDX-License-Identifier: Apache-2.0
"""A pool of rendered pairs on disk, in shards that training reads while others are rendered.

A shard is a folder of plain ``.npy`` arrays, memory-mapped when read. It stores what the world
gives, not what a camera makes of it: the clean RGB image and the temperature on the RGB pixel
grid, so that sensor noise and tone curves are drawn afresh in every epoch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
import json
import logging
import multiprocessing
from pathlib import Path
import shutil
from types import MappingProxyType
from typing import Any, TYPE_CHECKING

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from rgbt_models.data.shard_index import is_sharded, load_index, training_labels
from rgbt_models.errors import DatasetError
from rgbt_models.label_sets import LabelSet, PACKAGE_LABEL_SET, parse_label_set
from rgbt_models.tlinear import COUNTS_PER_K, ZERO_C_IN_K

if TYPE_CHECKING:
    from rgbt_models.synthetic import Condition

SHARD_PAIRS = 64
POOL_FILE = 'pool.json'
ON_THE_FLY_KEY = 'on_the_fly'  # in POOL_FILE: pairs are rendered when they are drawn
WORKERS_KEY = 'workers'  # in POOL_FILE of such a folder
CONVERTED_KEY = 'converted_from'  # in POOL_FILE: the pool is a data set, nothing to render
_IMAGES = ('rgb', 'thermal', 'label_map')
_TABLES = ('objects', 'is_night')
_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Sample:
    """One rendered pair on the RGB pixel grid.

    Attributes:
        rgb: (h, w, 3) uint8, without sensor noise.
        thermal: (h, w) uint16, 0.01 K counts, without sensor noise.
        label_map: (h, w) uint8, 255 = unlabeled.
        boxes_xyxy: (n, 4) float32, px, edge units.
        class_ids: (n,) int64.
        ignore: (n,) bool, True = neither object nor background.
        is_night: Whether the scene is lit by lamps only.
    """

    rgb: NDArray[np.uint8]
    thermal: NDArray[np.uint16]
    label_map: NDArray[np.uint8]
    boxes_xyxy: NDArray[np.float32]
    class_ids: NDArray[np.int64]
    ignore: NDArray[np.bool_]
    is_night: bool


def render_pool(
    folder: Path, *, num_pairs: int, seed: int, scale: float, num_workers: int
) -> None:
    """Render the shards of a pool that are not there yet; a converted data set is left as it is.

    Args:
        folder: Receives one folder per shard.
        num_pairs: Pairs in all, rounded up to whole shards of 64.
        seed: Pair i of the pool is the scene of seed ``seed + i``.
        scale: Size of the images as a fraction of 640x480.
        num_workers: Processes; each uses one core.

    Raises:
        DatasetError: If the folder holds a pool of another seed, scale or world version.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if is_converted(folder):
        return
    _claim_folder(folder, {'seed': seed, 'scale': scale, ON_THE_FLY_KEY: False})
    firsts = [seed + start for start in range(0, num_pairs, SHARD_PAIRS)]
    waiting = [first for first in firsts if not _shard_path(folder, first).exists()]
    context = multiprocessing.get_context('spawn')
    with ProcessPoolExecutor(num_workers, mp_context=context) as executor:
        render = partial(_render_shard, folder=folder, scale=scale)
        for done, path in enumerate(executor.map(render, waiting), start=1):
            _LOGGER.info('rendered %s (%d of %d shards)', path.name, done, len(waiting))


def claim_stream(folder: Path, *, seed: int, scale: float, num_workers: int) -> None:
    """Make a folder one whose pairs are rendered when they are drawn: it holds no pair.

    Args:
        folder: Receives the description.
        seed: Of the first scene; the scenes of a run are consecutive.
        scale: Size of the images as a fraction of 640x480.
        num_workers: Processes that render for each process that trains; may change between runs.

    Raises:
        DatasetError: If the folder holds a pool, or a stream of another seed, scale or world.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if is_converted(folder):
        raise DatasetError(
            f"'{folder}' holds a data set; expected an empty folder, for pairs that are rendered "
            f'on the fly; leave --on-the-fly out or give another folder'
        )
    settings = {'seed': seed, 'scale': scale, ON_THE_FLY_KEY: True}
    _claim_folder(folder, settings, extra={WORKERS_KEY: num_workers})


class SamplePool:
    """Random access to the finished shards of a folder."""

    def __init__(self, folder: Path, *, shards: Sequence[str] = ()) -> None:
        """Open the pool.

        Args:
            folder: Of the shards.
            shards: Names of those to read, in this order, as a run did that goes on; others
                follow with ``refresh``. Empty = all that are there.

        Raises:
            DatasetError: If the folder holds no finished shard, or lacks one that is named, or is
                one of tar shards.
        """
        if is_sharded(folder):
            raise DatasetError(
                f"'{folder}' holds tar shards, which training reads as a stream; expected a pool, "
                f'whose pairs can be picked; convert the data set with --pool HxW'
            )
        self._folder = folder
        self._shards: dict[str, dict[str, NDArray[np.generic]]] = {}
        self._index: list[tuple[str, int]] = []
        lost = [name for name in shards if not (folder / name).is_dir()]
        if lost:
            raise DatasetError(
                f"pool '{folder}' lacks {len(lost)} shards, the first '{lost[0]}'; expected those "
                f'this run has read before; give the same pool'
            )
        for name in shards:
            self._open(folder / name)
        if not shards:
            self.refresh()
        if not self._index:
            raise DatasetError(
                f"no rendered shard in '{folder}'; expected folders shard_*; render the pool first"
            )

    def __len__(self) -> int:
        """Return the number of pairs."""
        return len(self._index)

    def refresh(self) -> None:
        """Take in shards finished since the last call."""
        for path in sorted(self._folder.glob('shard_*')):
            if path.name not in self._shards:
                self._open(path)

    def draw(self, rng: Generator) -> Sample:
        """Read a pair drawn from all, with replacement."""
        return self[int(rng.integers(len(self)))]

    def state(self) -> dict[str, Any]:
        """Return the names of the shards in the order of their pairs, JSON values."""
        return {'shards': list(self._shards)}

    def _open(self, path: Path) -> None:
        self._shards[path.name] = {name: np.load(path / f'{name}.npy') for name in _TABLES}
        count = len(self._shards[path.name]['is_night'])
        self._index += [(path.name, position) for position in range(count)]

    def __getitem__(self, index: int) -> Sample:
        """Read one pair."""
        name, position = self._index[index]
        shard = self._shards[name]
        # Mapped for this pair only: a mapping kept open is a file descriptor kept open, and a pool
        # of some hundred shards would meet the usual limit of 1024.
        images = {
            image: np.array(np.load(self._folder / name / f'{image}.npy', mmap_mode='r')[position])
            for image in _IMAGES
        }
        objects = np.asarray(shard['objects'], np.float32)
        objects = objects[objects[:, 0] == position]
        return Sample(
            rgb=images['rgb'],
            thermal=images['thermal'],
            label_map=images['label_map'],
            boxes_xyxy=objects[:, 3:7],
            class_ids=objects[:, 1].astype(np.int64),
            ignore=objects[:, 2] > 0,
            is_night=bool(shard['is_night'][position]),
        )


def render_sample(seed: int, *, scale: float, condition: Condition | None = None) -> Sample:
    """Render one scene with a random rig, thermal brought onto the RGB grid.

    Each thermal pixel goes where the RGB camera sees a far point, lens distortion included, as on
    a calibrated robot; the parallax of near objects stays in the sample.

    Args:
        seed: Of the scene and of the rig.
        scale: Size of the images as a fraction of 640x480.
        condition: Light and weather; None draws them.
    """
    from rgbt_models.synthetic import random_rig, render_pair
    from rgbt_models.synthetic.world import temperature_of

    rig = random_rig(np.random.default_rng((seed, 1))).scaled(scale)
    pair = render_pair(seed, rig, condition=condition)
    temperature_c = rig.warp_thermal_to_rgb(temperature_of(pair.thermal_view))
    counts = np.clip((temperature_c + ZERO_C_IN_K) * COUNTS_PER_K, 0, 65535)
    return Sample(
        rgb=pair.rgb,
        thermal=np.rint(counts).astype(np.uint16),
        label_map=pair.rgb_view.label_map,
        boxes_xyxy=pair.rgb_view.objects.boxes_xyxy,
        class_ids=pair.rgb_view.objects.class_ids,
        ignore=pair.rgb_view.objects.ignore,
        is_night=pair.is_night,
    )


def is_converted(folder: Path) -> bool:
    """Whether the pool or the tar shards of a folder were made from a data set, not rendered."""
    return is_sharded(folder) or CONVERTED_KEY in read_about(folder)


def read_label_set(folder: Path) -> LabelSet:
    """Return the classes that the labels of a pool name.

    A rendered pool that does not say them is of world 1; a folder that says nothing at all has
    those of the package.

    Raises:
        DatasetError: If the pool says something that is no label set.
    """
    if is_sharded(folder):
        return training_labels(load_index(folder), folder)[0].label_set
    about = read_about(folder)
    return parse_label_set(about) if about else PACKAGE_LABEL_SET


def read_origin(folder: Path) -> str:
    """Return the name of the data set that a pool was made from, '' = it was rendered."""
    if is_sharded(folder):
        return load_index(folder).name
    return str(read_about(folder).get(CONVERTED_KEY, ''))


def save_shard(samples: Sequence[Sample], target: Path) -> None:
    """Write samples of one size as one shard; it appears whole or not at all."""
    rows = [
        [position, sample.class_ids[k], sample.ignore[k], *sample.boxes_xyxy[k]]
        for position, sample in enumerate(samples)
        for k in range(len(sample.class_ids))
    ]
    partial_folder = target.with_name(target.name.replace('shard_', 'partial_'))
    shutil.rmtree(partial_folder, ignore_errors=True)
    partial_folder.mkdir()
    np.save(partial_folder / 'rgb.npy', np.stack([s.rgb for s in samples]))
    np.save(partial_folder / 'thermal.npy', np.stack([s.thermal for s in samples]))
    np.save(partial_folder / 'label_map.npy', np.stack([s.label_map for s in samples]))
    np.save(partial_folder / 'objects.npy', np.array(rows, np.float32).reshape(-1, 7))
    np.save(partial_folder / 'is_night.npy', np.array([s.is_night for s in samples]))
    partial_folder.rename(target)  # atomic: a reader sees whole shards only


def read_about(folder: Path) -> dict[str, Any]:
    """Return what a pool says about itself, empty when it says nothing.

    Raises:
        DatasetError: If it cannot be read.
    """
    path = folder / POOL_FILE
    if not path.is_file():
        return {}
    try:
        about = json.loads(path.read_text(encoding='utf-8'))
    except (OSError, ValueError) as error:
        raise DatasetError(
            f"cannot read '{path}' ({error}); expected the JSON that says what the pool is made "
            f'of; write the pool again'
        ) from error
    return about if isinstance(about, dict) else {}


def _claim_folder(
    folder: Path, settings: dict[str, Any], extra: Mapping[str, Any] = MappingProxyType({})
) -> None:
    """Write down what the pool is made of, or check that it is the same as before.

    Args:
        folder: Of the pool.
        settings: What its pairs depend on.
        extra: What they do not depend on; replaces what was written before.
    """
    from rgbt_models.synthetic import WORLD_VERSION

    wanted = {**settings, 'world_version': WORLD_VERSION}
    found = read_about(folder)
    before = {name: found.get(name) for name in wanted}
    if found and before != wanted:
        raise DatasetError(
            f"pool '{folder}' was rendered with {before}, expected {wanted}; use another folder"
        )
    about = {**wanted, **PACKAGE_LABEL_SET.to_json(), **extra}
    if found != about:
        (folder / POOL_FILE).write_text(json.dumps(about) + '\n', encoding='utf-8')


def _shard_path(folder: Path, first_seed: int) -> Path:
    return folder / f'shard_{first_seed:09d}'


def _render_shard(first_seed: int, *, folder: Path, scale: float) -> Path:
    cv2.setNumThreads(1)
    samples = [render_sample(first_seed + i, scale=scale) for i in range(SHARD_PAIRS)]
    target = _shard_path(folder, first_seed)
    save_shard(samples, target)
    return target
