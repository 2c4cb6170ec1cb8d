# SPDX-License-Identifier: Apache-2.0
"""What the readers of published layouts share: finding files, split lists, two label formats."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from xml.etree import ElementTree as ET

from rgbt_models.data.manifest import BoxLabel
from rgbt_models.data.skipped import Skipped
from rgbt_models.errors import DatasetError

IMAGE_SUFFIXES = ('.png', '.jpg', '.jpeg', '.bmp', '.tif', '.tiff')
BBGT_COLUMNS = 12  # name x y w h occlusion vx vy vw vh ignore angle


def find_folder(root: Path, *names: str) -> Path | None:
    """Return the first of some folders that exists, None without any; '' is the root itself."""
    for name in names:
        if (root / name).is_dir():
            return root / name
    return None


def need_folder(root: Path, *names: str) -> Path:
    """Return the first of some folders that exists.

    Raises:
        DatasetError: If there is none.
    """
    found = find_folder(root, *names)
    if found is None:
        raise DatasetError(
            f"'{root}' has no folder {' or '.join(repr(name) for name in names)}, expected the "
            f'layout as its authors publish it; check the path and the layout'
        )
    return found


def images_by_stem(folder: Path, *, is_deep: bool = False) -> dict[str, Path]:
    """Return the images of a folder by name without ending, sorted.

    Args:
        folder: Where to look.
        is_deep: Look in the folders below, too; names then hold them ('a/b/001').
    """
    paths = sorted(folder.rglob('*') if is_deep else folder.glob('*'))
    return {
        path.relative_to(folder).with_suffix('').as_posix(): path
        for path in paths
        if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file()
    }


def matched(
    first: Mapping[str, Path],
    second: Mapping[str, Path],
    what: str,
    skipped: Skipped,
    *,
    to_second: Callable[[str], str] | None = None,
) -> Iterator[tuple[str, Path, Path]]:
    """Yield (name, first, second) for all names of both; a name of one alone is skipped.

    Args:
        first: Files by name.
        second: Files by name.
        what: Names of the two in messages, 'RGB and thermal'.
        skipped: Receives names without a partner.
        to_second: Name in ``second`` for a name in ``first``; None = the same.
    """
    rename = to_second or (lambda name: name)
    left = set(second)
    for name, path in first.items():
        other = second.get(rename(name))
        if other is None:
            skipped.add(name, f'not among both {what} images')
            continue
        left.discard(rename(name))
        yield name, path, other
    for name in sorted(left):
        skipped.add(name, f'not among both {what} images')


def read_lines(path: Path) -> list[str]:
    """Return the lines of a text file that are not empty, stripped.

    Raises:
        DatasetError: If it cannot be read.
    """
    try:
        text = path.read_text(encoding='utf-8')
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(
            f"cannot read '{path}' ({error}); expected a list of names; restore it"
        ) from error
    return [line.strip() for line in text.splitlines() if line.strip()]


def need_split(split: str | None, known: Sequence[str], where: Path) -> None:
    """Check that a split exists.

    Raises:
        DatasetError: If it does not.
    """
    if split is not None and split not in known:
        raise DatasetError(
            f"'{where}' has no split '{split}', expected one of {', '.join(known) or 'none'}; "
            f'leave out --split to read all'
        )


def parse_voc(path: Path) -> tuple[BoxLabel, ...]:
    """Read the boxes of a Pascal VOC annotation.

    VOC counts pixels from 1 and includes both ends; so a box covers x from xmin - 1 to xmax in
    edge units. ``difficult`` becomes ``ignore``; KAIST's ``occlusion`` is kept where there is one.

    Raises:
        DatasetError: If the file is missing or malformed.
    """
    try:
        text = path.read_bytes()
        if b'<!DOCTYPE' in text or b'<!ENTITY' in text:
            raise DatasetError(
                f"'{path}' declares a document type, expected plain VOC XML; remove it"
            )
        root = ET.fromstring(text)  # noqa: S314 without entities, checked above
        return tuple(_voc_box(item) for item in root.iter('object'))
    except (OSError, ET.ParseError, ValueError) as error:
        if isinstance(error, DatasetError):
            raise
        raise DatasetError(
            f"cannot read '{path}' ({error}); expected a VOC annotation; restore it"
        ) from error


def parse_bbgt(path: Path, ignored_names: Sequence[str]) -> tuple[BoxLabel, ...]:
    """Read the boxes of a KAIST text annotation ('% bbGt version=3').

    A line is: name x y width height occlusion vx vy vw vh ignore angle. The
    origin is not stated, and taken as edge units from 0. Only the first six and ``ignore`` are
    used.

    Args:
        path: The file.
        ignored_names: Class names whose boxes are ignored.

    Raises:
        DatasetError: If the file is missing or malformed.
    """
    boxes = []
    for line in read_lines(path):
        if line.startswith('%'):
            continue
        parts = line.split()
        try:
            name = parts[0]
            x, y, width, height = (float(value) for value in parts[1:5])
            occlusion = int(float(parts[5])) if len(parts) > 5 else 0
            is_out = len(parts) >= BBGT_COLUMNS - 1 and float(parts[10]) != 0.0
        except (IndexError, ValueError) as error:
            raise DatasetError(
                f"'{path}' has the line '{line}', expected name x y width height occlusion ...; "
                f'restore it'
            ) from error
        boxes.append(
            BoxLabel(
                box_xyxy=(x, y, x + width, y + height),
                class_name=name,
                ignore=is_out or name.lower() in ignored_names,
                occlusion=occlusion,
            )
        )
    return tuple(boxes)


def _voc_box(item: ET.Element) -> BoxLabel:
    name, corners = item.findtext('name'), item.find('bndbox')
    if name is None or corners is None:
        raise ValueError('an object without name or bndbox')
    if corners.find('w') is not None:  # KAIST's XML gives x, y, w, h
        x, y, width, height = (float(corners.findtext(key, 'nan')) for key in 'xywh')
        box = (x, y, x + width, y + height)
    else:
        keys = ('xmin', 'ymin', 'xmax', 'ymax')
        x_min, y_min, x_max, y_max = (float(corners.findtext(key, 'nan')) for key in keys)
        box = (x_min - 1.0, y_min - 1.0, x_max, y_max)
    if not box[2] >= box[0] or not box[3] >= box[1]:  # NaN fails, too
        raise ValueError(f'a box {box} without area')
    occlusion = item.findtext('occlusion')
    return BoxLabel(
        box_xyxy=box,
        class_name=name.strip(),
        ignore=(item.findtext('difficult') or '0').strip() not in {'0', ''},
        occlusion=None if occlusion is None else int(occlusion),
    )
