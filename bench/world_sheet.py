# SPDX-License-Identifier: Apache-2.0
"""Pairs as the simulated cameras deliver them, real ones from folders, and sheets of both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from rgbt_models.synthetic import random_rig, render_pair
from rgbt_models.synthetic.environment import Condition
from rgbt_models.synthetic.gain_control import tone_map

CELL_HW = (192, 256)
GAP_PX, TITLE_PX = 4, 18
BACKGROUND, INK, REAL_INK = 24, (235, 235, 235), (255, 190, 90)
SUFFIXES = {'.png', '.jpg', '.jpeg', '.bmp', '.tif', '.tiff'}

Image = NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class ShownPair:
    """An RGB (h, w, 3) and a thermal (h, w) image, uint8; either may be missing."""

    title: str
    rgb: Image | None
    thermal: Image | None
    is_real: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RealSource:
    """Images below a folder, in sub-folders named ``rgb`` and ``thermal``.

    Attributes:
        folder: Looked through with all that is below it.
        prefix: With which the names of the images begin, '' = any.
    """

    folder: Path
    prefix: str = ''

    def files(self, modality: str) -> list[Path]:
        """Return the images of a modality, 'rgb' or 'thermal', in the order of their paths."""
        return sorted(
            path
            for path in self.folder.rglob(f'{self.prefix}*')
            if path.parent.name == modality and path.suffix.lower() in SUFFIXES
        )


def parse_source(text: str) -> RealSource:
    """Parse FOLDER or FOLDER:PREFIX."""
    folder, _, prefix = text.partition(':')
    return RealSource(folder=Path(folder), prefix=prefix)


def render_shown(seed: int, condition: Condition | None = None) -> ShownPair:
    """Render a pair with random cameras, their electronics and gain control included."""
    rng = np.random.default_rng((seed, 1))
    pair = render_pair(seed, random_rig(rng), condition=condition, sensors=None)
    title = '' if pair.condition is None else pair.condition.value
    return ShownPair(title=title, rgb=pair.rgb, thermal=tone_map(pair.thermal_raw, rng))


def choose_files(files: Sequence[Path], count: int) -> list[Path]:
    """Return ``count`` files spread evenly, or all where there are fewer."""
    count = min(count, len(files))
    return [files[index * len(files) // count] for index in range(count)]


def load_image(path: Path, *, is_grey: bool) -> Image:
    """Read an image as grey or RGB, 8 bit.

    Raises:
        SystemExit: If it cannot be read.
    """
    image = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE if is_grey else cv2.IMREAD_COLOR)
    if image is None:
        raise SystemExit(f"cannot read '{path}'; expected an 8-bit image; restore or remove it")
    return np.asarray(image if is_grey else image[..., ::-1], np.uint8)


def load_real_pairs(source: RealSource, count: int) -> list[ShownPair]:
    """Read pairs whose files have the same stem, spread evenly over a source."""
    thermal_by_stem = {path.stem: path for path in source.files('thermal')}
    both = [path for path in source.files('rgb') if path.stem in thermal_by_stem]
    return [
        ShownPair(
            title='real',
            rgb=load_image(path, is_grey=False),
            thermal=load_image(thermal_by_stem[path.stem], is_grey=True),
            is_real=True,
        )
        for path in choose_files(both, count)
    ]


def shuffle_in(
    pairs: Sequence[ShownPair], real: Sequence[ShownPair], rng: Generator
) -> list[ShownPair]:
    """Return both in random order."""
    mixed = [*pairs, *real]
    return [mixed[index] for index in rng.permutation(len(mixed))] if real else mixed


def draw_sheet(pairs: Sequence[ShownPair], *, columns: int) -> Image:
    """Draw pairs in rows, RGB over thermal, real ones with a title of another colour."""
    height, width = CELL_HW
    cell_height = TITLE_PX + 2 * height + GAP_PX
    rows = -(-len(pairs) // columns)
    sheet = np.full(
        (rows * (cell_height + GAP_PX), columns * (width + GAP_PX), 3), BACKGROUND, np.uint8
    )
    for index, pair in enumerate(pairs):
        row, column = divmod(index, columns)
        top, left = row * (cell_height + GAP_PX), column * (width + GAP_PX)
        ink = REAL_INK if pair.is_real else INK
        place = (left + 2, top + TITLE_PX - 5)
        cv2.putText(sheet, pair.title, place, cv2.FONT_HERSHEY_SIMPLEX, 0.42, ink, 1, cv2.LINE_AA)
        for shown, image in enumerate((pair.rgb, pair.thermal)):
            if image is not None:
                start = top + TITLE_PX + shown * (height + GAP_PX)
                sheet[start : start + height, left : left + width] = fit_cell(image)
    return sheet


def fit_cell(image: Image) -> Image:
    """Scale an image so that it covers a cell, and cut what is over at the sides."""
    height, width = CELL_HW
    scale = max(height / image.shape[0], width / image.shape[1])
    size = (max(width, round(image.shape[1] * scale)), max(height, round(image.shape[0] * scale)))
    scaled = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    top, left = (size[1] - height) // 2, (size[0] - width) // 2
    cell = scaled[top : top + height, left : left + width]
    return np.asarray(cell if cell.ndim == 3 else cell[..., None].repeat(3, axis=2), np.uint8)


def write_sheet(path: Path, sheet: Image) -> None:
    """Write a sheet as PNG.

    Raises:
        SystemExit: If it cannot be written.
    """
    if path.suffix.lower() != '.png':
        raise SystemExit(f"the sheet is to be written to '{path}'; expected a PNG; name it .png")
    path.parent.mkdir(parents=True, exist_ok=True)
    if not cv2.imwrite(str(path), sheet[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 9]):
        raise SystemExit(f"cannot write '{path}'; expected a folder to write to; choose another")
