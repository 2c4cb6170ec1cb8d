# SPDX-License-Identifier: Apache-2.0
"""Tiny data sets in the layouts that the authors publish: two or three pairs of noise each."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

HW = (24, 32)
BBGT = '% bbGt version=3\nperson 3 4 5 12 1 0 0 0 0 0 0\npeople 10 4 9 12 0 0 0 0 0 0 0\n'


def picture(seed: int, channels: int | None = None) -> np.ndarray:
    """Noise of shape HW, or HW and channels; different for every seed."""
    shape = HW if channels is None else (*HW, channels)
    return np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)


def grey3(seed: int) -> np.ndarray:
    """A thermal image as many data sets store it: grey, in three equal channels."""
    return np.repeat(picture(seed)[..., None], 3, axis=2)


def write(path: Path, image: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image)


def write_text(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding='utf-8')


def voc(*objects: str) -> str:
    items = ''.join(f'<object>{item}</object>' for item in objects)
    return f'<annotation><filename>x</filename>{items}</annotation>'


def voc_box(name: str, box: tuple[int, int, int, int], *, difficult: int = 0) -> str:
    keys = zip(('xmin', 'ymin', 'xmax', 'ymax'), box, strict=True)
    corners = ''.join(f'<{key}>{value}</{key}>' for key, value in keys)
    return f'<name>{name}</name><difficult>{difficult}</difficult><bndbox>{corners}</bndbox>'


def labels(num_classes: int) -> np.ndarray:
    return (np.arange(HW[0] * HW[1]).reshape(HW) % num_classes).astype(np.uint8)


def make_flir(root: Path) -> None:
    for number in (2, 8864):
        stem = f'FLIR_{number:05d}'
        write(root / 'JPEGImages' / f'{stem}_RGB.jpg', picture(number, 3))
        write(root / 'JPEGImages' / f'{stem}_PreviewData.jpeg', picture(number + 1))
        text = voc(voc_box('person', (3, 5, 7, 20)), voc_box('dog', (9, 5, 12, 9)))
        write_text(root / 'Annotations' / f'{stem}_PreviewData.xml', text)
    write_text(root / 'align_train.txt', 'FLIR_00002_PreviewData\nFLIR_00099_PreviewData\n')
    write_text(root / 'align_validation.txt', 'FLIR_08864_PreviewData\n')


def make_llvip(root: Path) -> None:
    for split, stem in (('train', '010001'), ('test', '190001'), ('test', '190002')):
        write(root / 'visible' / split / f'{stem}.jpg', picture(1, 3))
        write(root / 'infrared' / split / f'{stem}.jpg', grey3(2))
        text = voc(voc_box('person', (1, 1, 4, 9), difficult=1))
        write_text(root / 'Annotations' / f'{stem}.xml', text)
    write(root / 'visible' / 'test' / '190003.jpg', picture(1, 3))  # without thermal


def make_kaist(root: Path) -> None:
    for name in ('set00/V000/{}/I00001', 'set06/V002/{}/I00019', 'set09/V000/{}/I00019'):
        for camera in ('visible', 'lwir'):
            write(root / 'images' / f'{name.format(camera)}.jpg', grey3(1))
    write_text(root / 'annotations_paired/set00/V000/visible/I00001.txt', BBGT)
    write_text(root / 'annotations/set00/V000/I00001.txt', '% bbGt version=3\n')
    write_text(root / 'annotations/set06_V002_I00019.txt', BBGT)
    write_text(root / 'annotations/set09/V000/I00019.txt', '% bbGt version=3\n')
    write_text(root / 'imageSets/test-night-20.txt', 'set09/V000/I00019\n')


def make_m3fd(root: Path) -> None:
    for stem in ('00000', '00001'):
        write(root / 'Vis' / f'{stem}.png', picture(3, 3))
        write(root / 'Ir' / f'{stem}.png', picture(4))
        write_text(root / 'Annotation' / f'{stem}.xml', voc(voc_box('People', (2, 3, 6, 9))))
    write_text(root / 'meta/val.txt', '00001\n')


def make_mfnet(root: Path) -> None:
    for stem in ('00001D', '00002N'):
        write(root / 'images' / f'{stem}.png', picture(5, 4))
        write(root / 'labels' / f'{stem}.png', labels(9))
    write_text(root / 'train.txt', '00001D\n')
    write_text(root / 'test.txt', '00002N\n')
    write_text(root / 'test_night.txt', '00002N\n')


def _make_split_folders(names: tuple[str, str, str], num_classes: int) -> Callable[[Path], None]:
    def make(root: Path) -> None:
        for split, stem in (('train', '00001D'), ('test', '00002N')):
            write(root / split / names[0] / f'{stem}.png', picture(6, 3))
            write(root / split / names[1] / f'{stem}.png', picture(7))
            write(root / split / names[2] / f'{stem}.png', labels(num_classes))

    return make


def make_semanticrt(root: Path) -> None:
    for stem in ('a_01', 'b_02'):
        write(root / 'rgb' / f'{stem}.jpg', picture(8, 3))
        write(root / 'thermal' / f'{stem}.jpg', grey3(9))
        write(root / 'labels' / f'{stem}.png', labels(13))
    write_text(root / 'train.txt', 'a_01\n')
    write_text(root / 'test_mo.txt', 'b_02\n')


def make_mvseg(root: Path) -> None:
    folder = root / 'data' / 'INO_ClosePerson1'
    for frame in ('00236', '00237'):
        write(folder / 'visible' / f'{frame}v.png', picture(10, 3))
        write(folder / 'infrared' / f'{frame}i.jpg', picture(11))
    write(folder / 'label' / '00237l.png', labels(26))
    write_text(root / 'train.txt', 'INO_ClosePerson1\nmissing_video\n')


def make_vt(root: Path) -> None:
    for split in ('Train', 'Test'):
        write(root / split / 'RGB' / '1.jpg', picture(12, 3))
        write(root / split / 'T' / '1.jpg', picture(13, 3))  # in false colour
        write(root / split / 'GT' / '1.png', np.where(labels(2) > 0, 255, 0).astype(np.uint8))


def make_vt821(root: Path) -> None:
    make_vt(root)
    for part in ('RGB', 'T', 'GT'):
        (root / 'Test' / part).rename(root / part)
    for folder in ('Train/RGB', 'Train/T', 'Train/GT'):
        for path in (root / folder).iterdir():
            path.unlink()
        (root / folder).rmdir()
    (root / 'Train').rmdir()
    (root / 'Test').rmdir()


def make_metu(root: Path) -> None:
    for part, frames in (('cloudy', (6, 588)), ('sunny', (9452,))):
        for number in frames:
            name = f'images/IM_{number:05d}.jpg'
            write(root / part / 'scene_1' / 'visible' / name, picture(14, 3))
            write(root / part / 'scene_1' / 'thermal' / name, picture(15))
    write(root / 'cloudy/scene_1/visible/images/IM_00700.jpg', picture(14, 3))
    (root / 'index').mkdir()


def make_folders(root: Path) -> None:
    for name in ('set_a/000', 'set_b/000'):
        write(root / 'imagenet2' / f'{name}.jpg', picture(16, 3))
        write(root / 'imagenet' / f'{name}.png', picture(17))


MAKERS: dict[str, Callable[[Path], None]] = {
    'flir-aligned': make_flir,
    'llvip': make_llvip,
    'kaist': make_kaist,
    'm3fd': make_m3fd,
    'mfnet': make_mfnet,
    'pst900': _make_split_folders(('rgb', 'thermal', 'labels'), 5),
    'msrs': _make_split_folders(('vi', 'ir', 'Segmentation_labels'), 9),
    'fmb': _make_split_folders(('Visible', 'Infrared', 'Label'), 15),
    'semanticrt': make_semanticrt,
    'mvseg': make_mvseg,
    'vt821': make_vt821,
    'vt1000': make_vt821,
    'vt5000': make_vt,
    'metu-vistir': make_metu,
    'folders': make_folders,
}
