# SPDX-License-Identifier: Apache-2.0
"""Tar shards in the WebDataset convention, for data that outgrows a disk or a file system.

A shard is a plain tar; the files of one pair follow each other and share the name up to the first
dot: ``000000012.json`` (name, boxes, and what else the manifest says), ``.rgb.jpg``,
``.thermal.png``, ``.label_map.png``, ``.mask.png``. They are written and read as a stream with the
standard library, so a shard may come from a pipe, and the ``webdataset`` package can read them,
too. ``shards.json`` names the shards, the number of pairs in each, the classes, and the size that
training brings all pairs to, at first that of most of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
import io
import json
import logging
from pathlib import Path
import tarfile
from typing import Any

from rgbt_models.data.folder import check_empty, image_file
from rgbt_models.data.manifest import box_from_json, box_to_json, Manifest, PairEntry
from rgbt_models.data.pairs import (
    check_sizes,
    decode_grey,
    decode_mask,
    decode_rgb,
    decode_thermal,
    LoadedPair,
    try_load_pair,
)
from rgbt_models.data.shard_index import INDEX_FILE, load_index, write_index
from rgbt_models.data.skipped import Skipped
from rgbt_models.errors import DatasetError

_IMAGES = ('rgb', 'thermal', 'label_map', 'mask')
_LOGGER = logging.getLogger(__name__)


def write_shards(manifest: Manifest, out: Path, *, pairs_per_shard: int, skipped: Skipped) -> int:
    """Write the pairs of a manifest to tar shards.

    Args:
        manifest: What to write.
        out: Folder to create.
        pairs_per_shard: Pairs in each shard but the last, > 0.
        skipped: Receives pairs that cannot be read.

    Returns:
        Pairs written.

    Raises:
        DatasetError: If ``out`` exists and is not empty, or no pair can be read.
    """
    check_empty(out)
    out.mkdir(parents=True, exist_ok=True)
    counts: dict[str, int] = {}
    sizes = Counter[tuple[int, int]]()
    total = 0
    archive: tarfile.TarFile | None = None
    for entry in manifest.entries:
        pair = try_load_pair(entry, skipped)
        if pair is None:
            continue
        if total % pairs_per_shard == 0:
            if archive is not None:
                archive.close()
            name = f'shard-{len(counts):06d}.tar'
            archive = tarfile.open(out / name, 'w', format=tarfile.USTAR_FORMAT)  # noqa: SIM115 closed at the next shard
            counts[name] = 0
            _LOGGER.info('writing %s', name)
        assert archive is not None
        _write_pair(archive, entry, pair, f'{total:09d}')
        counts[name] += 1
        sizes[pair.rgb.shape[0], pair.rgb.shape[1]] += 1
        total += 1
    if archive is None:
        raise DatasetError(
            f"none of the {len(manifest.entries)} pairs of '{manifest.name}' can be read, "
            f'expected at least one; restore the images'
        )
    archive.close()
    write_index(manifest, out, counts=counts, size_hw=sizes.most_common(1)[0][0])
    return total


def list_shards(folder: Path, *, rank: int = 0, world_size: int = 1) -> list[Path]:
    """Return the shards that one of several processes reads: every ``world_size``-th.

    Raises:
        DatasetError: If there are fewer shards than processes.
    """
    shards = sorted(folder.glob('shard-*.tar'))
    if len(shards) < world_size:
        raise DatasetError(
            f"'{folder}' holds {len(shards)} shards for {world_size} processes, expected at least "
            f'one each; write smaller shards'
        )
    return shards[rank::world_size]


def read_shards(paths: Sequence[Path], skipped: Skipped) -> Iterator[LoadedPair]:
    """Read pairs as a stream; corrupt pairs and the rest of a cut shard go to ``skipped``."""
    for path in paths:
        for key, files in iterate_files(path, skipped):
            pair = try_decode_files(files, f'{path.name}:{key}', skipped)
            if pair is not None:
                yield pair


def iterate_files(path: Path, skipped: Skipped) -> Iterator[tuple[str, dict[str, bytes]]]:
    """Read a shard as a stream without decoding.

    Args:
        path: Of the shard.
        skipped: Receives the shard, if it is cut or lacks pairs.

    Yields:
        The key of a pair, and its files by what they are.

    Raises:
        DatasetError: If the index beside the shard is malformed.
    """
    num_met = 0
    try:
        with tarfile.open(path, 'r|') as archive:
            for key, files in _groups(archive):
                num_met += 1
                yield key, files
    except (tarfile.TarError, OSError, EOFError) as error:
        skipped.add(path.name, f'cannot be read to its end ({error})')
    num_written = _num_written(path)
    if num_met < num_written:  # a tar cut between two files ends without an error
        skipped.add(path.name, f'holds {num_met} of the {num_written} pairs written')


def _num_written(path: Path) -> int:
    """Return how many pairs a shard had according to the index beside it, 0 without one."""
    if not path.with_name(INDEX_FILE).is_file():
        return 0
    return load_index(path.parent).counts.get(path.name, 0)


def try_decode_files(files: dict[str, bytes], name: str, skipped: Skipped) -> LoadedPair | None:
    """Decode the files of a pair; None, and its name in ``skipped``, when they are corrupt."""
    try:
        return _decode(files, name)
    except DatasetError as error:
        skipped.add(name, str(error))
        return None


def _write_pair(archive: tarfile.TarFile, entry: PairEntry, pair: LoadedPair, key: str) -> None:
    about: dict[str, Any] = {'name': entry.name, 'is_registered': entry.is_registered}
    if entry.boxes is not None:
        about['boxes'] = [box_to_json(box) for box in entry.boxes]
    if entry.is_night is not None:
        about['is_night'] = entry.is_night
    if entry.split:
        about['split'] = entry.split
    _add(archive, f'{key}.json', json.dumps(about).encode())
    for what in _IMAGES:
        if getattr(pair, what) is not None:
            data, suffix = image_file(entry, pair, what)
            _add(archive, f'{key}.{what}{suffix}', data)


def _add(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)  # time 0, no owner: the same pairs give the same bytes
    info.size = len(data)
    archive.addfile(info, io.BytesIO(data))


def _groups(archive: tarfile.TarFile) -> Iterator[tuple[str, dict[str, bytes]]]:
    """Yield the files of one pair after another: key, and bytes by what they are."""
    key, files = '', dict[str, bytes]()
    for member in archive:
        file = archive.extractfile(member) if member.isfile() else None
        if file is None:
            continue
        stem, _, rest = member.name.partition('.')
        if stem != key and files:
            yield key, files
            files = {}
        key = stem
        files[rest.partition('.')[0]] = file.read()
    if files:
        yield key, files


def _decode(files: dict[str, bytes], name: str) -> LoadedPair:
    missing = [what for what in ('json', 'rgb', 'thermal') if what not in files]
    if missing:
        raise DatasetError(
            f'{name} has no {missing[0]}, expected json, rgb and thermal; write the shard again'
        )
    try:
        about = json.loads(files['json'])
    except ValueError as error:
        raise DatasetError(
            f'{name} has no valid JSON ({error}), expected that of a pair; write the shard again'
        ) from error
    boxes = about.get('boxes') if isinstance(about, dict) else ''
    if not isinstance(boxes, list | None):
        raise DatasetError(
            f'{name} says {about!r}, expected an object whose boxes are a list; write the shard '
            f'again'
        )
    pair = LoadedPair(
        name=str(about.get('name', name)),
        rgb=decode_rgb(files['rgb'], name),
        thermal=decode_thermal(files['thermal'], name),
        boxes=None if boxes is None else tuple(box_from_json(box, name) for box in boxes),
        label_map=None,
        mask=None,
        is_night=about.get('is_night'),
        is_registered=bool(about.get('is_registered', True)),
    )
    if 'label_map' in files:
        pair = replace(pair, label_map=decode_grey(files['label_map'], name))
    if 'mask' in files:
        pair = replace(pair, mask=decode_mask(files['mask'], name))
    check_sizes(pair)
    return pair
