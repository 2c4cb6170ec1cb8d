# SPDX-License-Identifier: Apache-2.0
"""Readers of detection data sets: FLIR-aligned, LLVIP, KAIST, M3FD.

Each takes the folder, a split or None, and where to put what is left out, and returns entries. A
missing annotation leaves a pair out where the data set labels every image.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
import re

from rgbt_models.data.layout_files import (
    find_folder,
    images_by_stem,
    matched,
    need_folder,
    need_split,
    parse_bbgt,
    parse_voc,
    read_lines,
)
from rgbt_models.data.manifest import BoxLabel, PairEntry
from rgbt_models.data.skipped import Skipped
from rgbt_models.errors import DatasetError
from rgbt_models.metrics.miss_rate import IGNORED_NAMES

FLIR_CLASSES = ('person', 'car', 'bicycle')
LLVIP_CLASSES = ('person',)
KAIST_CLASSES = ('person',)
M3FD_CLASSES = ('People', 'Car', 'Bus', 'Lamp', 'Motorcycle', 'Truck')

_FLIR_SPLITS = {'train': 'align_train.txt', 'validation': 'align_validation.txt'}
_THERMAL_SUFFIX = '_PreviewData'
_KAIST_NIGHT_SETS = (3, 4, 5, 9, 10, 11)
_KAIST_FIRST_TEST_SET = 6
# Best labels first: those of each camera (Zhang et al.), the sanitised, the original.
_KAIST_LABELS = (
    'annotations_paired',
    'annotations_sanitized',
    'annotations',
    'annotations-xml-new',
)
_FRAME = re.compile(r'set(\d\d)[/_]V(\d\d\d)[/_](?:visible[/_]|lwir[/_])?I(\d{5})')


def read_flir_aligned(folder: Path, split: str | None, skipped: Skipped) -> list[PairEntry]:
    """Read FLIR-aligned (Zhang et al., ICIP 2020): JPEGImages, Annotations, align_*.txt.

    Labels are drawn on the thermal image. Boxes of other classes ('dog') are kept by name.
    """
    root = find_folder(folder, 'align') or folder
    images, labels = need_folder(root, 'JPEGImages'), need_folder(root, 'Annotations')
    lists = {
        name: path
        for name, file in _FLIR_SPLITS.items()
        for path in (root / file, root / 'ImageSets' / 'Main' / file)
        if path.is_file()
    }
    need_split(split, tuple(lists), root)
    by_stem = images_by_stem(images)
    entries = []
    for name, path in lists.items():
        if split not in {None, name}:
            continue
        for line in read_lines(path):
            stem = line.removesuffix(_THERMAL_SUFFIX)
            thermal, rgb = by_stem.get(stem + _THERMAL_SUFFIX), by_stem.get(f'{stem}_RGB')
            if thermal is None or rgb is None:
                skipped.add(stem, 'not among both RGB and thermal images')
                continue
            label = labels / f'{stem}{_THERMAL_SUFFIX}.xml'
            entry = _labeled(stem, rgb, thermal, partial(parse_voc, label), skipped)
            entries += [] if entry is None else [_with(entry, split=name)]
    return entries


def read_llvip(folder: Path, split: str | None, skipped: Skipped) -> list[PairEntry]:
    """Read LLVIP (Jia et al., 2021): visible/{train,test}, infrared/..., Annotations/*.xml."""
    labels = need_folder(folder, 'Annotations')
    names = [path.name for path in sorted(need_folder(folder, 'visible').iterdir())]
    need_split(split, names, folder)
    entries = []
    for name in names if split is None else [split]:
        rgb = images_by_stem(need_folder(folder, f'visible/{name}'))
        thermal = images_by_stem(need_folder(folder, f'infrared/{name}'))
        for stem, first, second in matched(rgb, thermal, 'RGB and thermal', skipped):
            label = labels / f'{stem}.xml'
            entry = _labeled(stem, first, second, partial(parse_voc, label), skipped)
            # All of LLVIP is taken in dim light; its authors do not divide day from night.
            entries += [] if entry is None else [_with(entry, split=name)]
    return entries


def read_m3fd(folder: Path, split: str | None, skipped: Skipped) -> list[PairEntry]:
    """Read M3FD (Liu et al., CVPR 2022): Vis, Ir, Annotation; meta/*.txt where there are lists.

    There is no official split, and random ones share sequences between training and test.
    """
    labels = need_folder(folder, 'Annotation', 'Annotations')
    lists = {path.stem: path for path in sorted(folder.glob('meta/*.txt'))}
    need_split(split, tuple(lists), folder)
    wanted = None if split is None else {Path(line).stem for line in read_lines(lists[split])}
    rgb = images_by_stem(need_folder(folder, 'Vis', 'vis'))
    thermal = images_by_stem(need_folder(folder, 'Ir', 'ir'))
    entries = []
    for stem, first, second in matched(rgb, thermal, 'RGB and thermal', skipped):
        if wanted is not None and stem not in wanted:
            continue
        label = labels / f'{stem}.xml'
        entry = _labeled(stem, first, second, partial(parse_voc, label), skipped)
        entries += [] if entry is None else [_with(entry, split=split or '')]
    return entries


def read_kaist(folder: Path, split: str | None, skipped: Skipped) -> list[PairEntry]:
    """Read KAIST (Hwang et al., CVPR 2015): [images/]setXX/VXXX/{visible,lwir}/IXXXXX.

    Splits: 'train' (sets 00-05), 'test' (06-11), or a list in imageSets/. Labels are looked for in
    annotations_paired (those of the RGB camera), annotations_sanitized, annotations (text) and
    annotations-xml-new, first found wins; a frame without a label file is left out, because a part
    of the frames was never labeled. An annotation folder may also hold flat files named
    setXX_VXXX_IXXXXX, as the improved test annotations are published.
    """
    images = find_folder(folder, 'images') or folder
    lists = {path.stem: path for path in sorted(folder.glob('imageSets/*.txt'))}
    need_split(split, ('train', 'test', *lists), folder)
    label_folders = [root for name in _KAIST_LABELS if (root := find_folder(folder, name))]
    if not label_folders:
        raise DatasetError(
            f"'{folder}' has none of {', '.join(_KAIST_LABELS)}, expected a folder of labels; "
            f'unpack one beside the images'
        )
    entries = []
    for set_number, video, frame in _kaist_frames(images, lists, split, skipped):
        name = f'set{set_number:02d}/V{video:03d}/I{frame:05d}'
        part = f'set{set_number:02d}/V{video:03d}'
        rgb = _first(images / part / 'visible', f'I{frame:05d}')
        thermal = _first(images / part / 'lwir', f'I{frame:05d}')
        label = _kaist_label(label_folders, part, f'I{frame:05d}')
        if rgb is None or thermal is None or label is None:
            what = 'annotation' if rgb and thermal else 'partner'
            skipped.add(name, f'there is no {what} of this frame')
            continue
        entry = _labeled(name, rgb, thermal, partial(_kaist_boxes, label), skipped)
        own_split = 'test' if set_number >= _KAIST_FIRST_TEST_SET else 'train'
        is_night = set_number in _KAIST_NIGHT_SETS
        entries += [] if entry is None else [_with(entry, split=own_split, is_night=is_night)]
    return entries


def _kaist_frames(
    images: Path, lists: dict[str, Path], split: str | None, skipped: Skipped
) -> Iterator[tuple[int, int, int]]:
    """Yield (set, video, frame) of a split, in order."""
    if split in lists and split is not None:
        for line in read_lines(lists[split]):
            found = _FRAME.search(line)
            if found is None:
                skipped.add(line, 'a line of the list that names no frame')
                continue
            yield int(found[1]), int(found[2]), int(found[3])
        return
    for path in sorted(images.glob('set*/V*/visible/I*')):
        found = _FRAME.search(path.relative_to(images).as_posix())
        if found is None:
            continue
        is_test = int(found[1]) >= _KAIST_FIRST_TEST_SET
        if split is None or is_test is (split == 'test'):
            yield int(found[1]), int(found[2]), int(found[3])


def _kaist_label(folders: list[Path], part: str, frame: str) -> Path | None:
    flat = f'{part.replace("/", "_")}_{frame}'
    for folder in folders:
        for name in (f'{part}/visible/{frame}', f'{part}/{frame}', flat):
            for suffix in ('.txt', '.xml'):
                path = folder / f'{name}{suffix}'
                if path.is_file():
                    return path
    return None


def _kaist_boxes(path: Path) -> tuple[BoxLabel, ...]:
    if path.suffix == '.txt':
        return parse_bbgt(path, IGNORED_NAMES)
    return tuple(
        BoxLabel(
            box_xyxy=box.box_xyxy,
            class_name=box.class_name,
            ignore=box.ignore or box.class_name.lower() in IGNORED_NAMES,
            occlusion=box.occlusion,
        )
        for box in parse_voc(path)
    )


def _first(folder: Path, stem: str) -> Path | None:
    for suffix in ('.jpg', '.png'):
        if (folder / f'{stem}{suffix}').is_file():
            return folder / f'{stem}{suffix}'
    return None


def _labeled(
    name: str,
    rgb: Path,
    thermal: Path,
    parse: Callable[[], tuple[BoxLabel, ...]],
    skipped: Skipped,
) -> PairEntry | None:
    """Return an entry with its boxes, None (and skipped) when they cannot be read."""
    try:
        boxes = parse()
    except DatasetError as error:
        skipped.add(name, str(error))
        return None
    return PairEntry(name=name, rgb_path=rgb, thermal_path=thermal, boxes=boxes)


def _with(entry: PairEntry, *, split: str, is_night: bool | None = None) -> PairEntry:
    return PairEntry(
        name=entry.name,
        rgb_path=entry.rgb_path,
        thermal_path=entry.thermal_path,
        boxes=entry.boxes,
        split=split,
        is_night=is_night,
    )
