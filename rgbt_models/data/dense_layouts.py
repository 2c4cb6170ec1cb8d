# SPDX-License-Identifier: Apache-2.0
"""Readers of data sets labeled by pixel, of data for matching, and of unlabeled folders.

Segmentation: MFNet, PST900, MSRS, FMB, SemanticRT, MVSeg. Saliency: VT821, VT1000, VT5000.
Matching: METU-VisTIR. Pretraining: any two folders whose files have the same names, as those of
RGBT550K.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from rgbt_models.data.layout_files import (
    find_folder,
    images_by_stem,
    matched,
    need_folder,
    need_split,
    read_lines,
)
from rgbt_models.data.manifest import PairEntry
from rgbt_models.data.skipped import Skipped
from rgbt_models.errors import DatasetError

MFNET_CLASSES = (
    'background',
    'car',
    'person',
    'bike',
    'curve',
    'car_stop',
    'guardrail',
    'color_cone',
    'bump',
)
PST900_CLASSES = ('background', 'fire_extinguisher', 'backpack', 'hand_drill', 'survivor')
FMB_CLASSES = (
    'background',
    *('road', 'sidewalk', 'building', 'lamp', 'sign', 'vegetation', 'sky', 'person', 'car'),
    *('truck', 'bus', 'motorcycle', 'bicycle', 'pole'),
)
SEMANTICRT_CLASSES = (
    'background',
    *('car_stop', 'bike', 'bicyclist', 'motorcycle', 'motorcyclist', 'car', 'tricycle'),
    *('traffic_light', 'box', 'pole', 'curve', 'person'),
)
MVSEG_CLASSES = (
    'background',
    *('car', 'bus', 'motorcycle', 'bicycle', 'pedestrian', 'motorcyclist', 'bicyclist', 'cart'),
    *('bench', 'umbrella', 'box', 'pole', 'street_lamp', 'traffic_light', 'traffic_sign'),
    *('car_stop', 'color_cone', 'sky', 'road', 'sidewalk', 'curb', 'vegetation', 'terrain'),
    *('building', 'ground'),
)

THERMAL_CHANNEL = 3  # of MFNet's files of four channels
_RGB_FOLDERS = ('rgb', 'RGB', 'visible', 'Visible', 'vis', 'vi', 'Vis', 'imagenet2')
_THERMAL_FOLDERS = (
    'thermal',
    'Thermal',
    'ir',
    'IR',
    'Ir',
    'infrared',
    'Infrared',
    'lwir',
    'T',
    'imagenet',
)


def read_mfnet(folder: Path, split: str | None, skipped: Skipped) -> list[PairEntry]:
    """Read MFNet (Ha et al., IROS 2017): images (RGB + thermal in one PNG), labels, *.txt.

    Names end in D or N for day and night. Files with a horizontal flip ('_flip') are left to the
    augmentation: the lists name them only where they were made.
    """
    images = images_by_stem(need_folder(folder, 'images'))
    labels = images_by_stem(need_folder(folder, 'labels'))
    entries = []
    for name, stems in _lists(folder, split).items():
        for stem in stems:
            if stem not in images or stem not in labels:
                skipped.add(stem, 'not among both images and labels')
                continue
            entries.append(
                PairEntry(
                    name=stem,
                    rgb_path=images[stem],
                    thermal_path=images[stem],
                    thermal_channel=THERMAL_CHANNEL,
                    label_map_path=labels[stem],
                    is_night=_is_night(stem),
                    split=name,
                )
            )
    return _once(entries)


def read_pst900(folder: Path, split: str | None, skipped: Skipped) -> list[PairEntry]:
    """Read PST900 (Shivakumar et al., ICRA 2020): {train,test}/{rgb,thermal,labels}.

    ``thermal`` (8 bit) is read; ``thermal_raw`` holds the 16-bit counts of the same frames.
    """
    return _by_split(folder, split, ('rgb', 'thermal', 'labels'), skipped)


def read_msrs(folder: Path, split: str | None, skipped: Skipped) -> list[PairEntry]:
    """Read MSRS (Tang et al., 2022): {train,test}/{vi,ir,Segmentation_labels}; D and N names."""
    return _by_split(folder, split, ('vi', 'ir', 'Segmentation_labels'), skipped, has_time=True)


def read_fmb(folder: Path, split: str | None, skipped: Skipped) -> list[PairEntry]:
    """Read FMB (Liu et al., ICCV 2023): {train,test}/{Visible,Infrared,Label}."""
    return _by_split(folder, split, ('Visible', 'Infrared', 'Label'), skipped)


def read_semanticrt(folder: Path, split: str | None, skipped: Skipped) -> list[PairEntry]:
    """Read SemanticRT (Ji et al., ACM MM 2023): rgb, thermal, labels, and a list per split."""
    rgb, thermal, labels = (
        images_by_stem(need_folder(folder, name)) for name in ('rgb', 'thermal', 'labels')
    )
    entries = []
    for name, stems in _lists(folder, split).items():
        for stem in stems:
            if stem not in rgb or stem not in thermal or stem not in labels:
                skipped.add(stem, 'not among rgb, thermal and labels')
                continue
            entries.append(
                PairEntry(
                    name=stem,
                    rgb_path=rgb[stem],
                    thermal_path=thermal[stem],
                    label_map_path=labels[stem],
                    split=name,
                )
            )
    return _once(entries)


def read_mvseg(folder: Path, split: str | None, skipped: Skipped) -> list[PairEntry]:
    """Read MVSeg (Ji et al., CVPR 2023): data/VIDEO/{visible,infrared,label}, lists of videos.

    A label 00237l.png belongs to 00237v.* and 00237i.*; frames between labels are not read.
    """
    entries = []
    for name, videos in _lists(folder, split).items():
        for video in videos:
            root = find_folder(folder, f'data/{video}')
            if root is None:
                skipped.add(video, 'a video of the list that has no folder')
                continue
            rgb = images_by_stem(need_folder(root, 'visible'))
            thermal = images_by_stem(need_folder(root, 'infrared'))
            for stem, label in images_by_stem(need_folder(root, 'label')).items():
                frame = stem.removesuffix('l')
                if f'{frame}v' not in rgb or f'{frame}i' not in thermal:
                    skipped.add(f'{video}/{frame}', 'not among both RGB and thermal images')
                    continue
                entries.append(
                    PairEntry(
                        name=f'{video}/{frame}',
                        rgb_path=rgb[f'{frame}v'],
                        thermal_path=thermal[f'{frame}i'],
                        label_map_path=label,
                        split=name,
                    )
                )
    return _once(entries)


def read_vt(folder: Path, split: str | None, skipped: Skipped) -> list[PairEntry]:
    """Read VT821, VT1000 or VT5000: [Train|Test/]{RGB,T,GT}; saliency masks."""
    parts = {
        name.lower(): root for name in ('Train', 'Test') if (root := find_folder(folder, name))
    }
    need_split(split, tuple(parts), folder)
    chosen = {key: root for key, root in (parts or {'': folder}).items() if split in {None, key}}
    entries = []
    for name, root in chosen.items():
        masks = images_by_stem(need_folder(root, 'GT'))
        rgb, thermal = (images_by_stem(need_folder(root, part)) for part in ('RGB', 'T'))
        for stem, first, second in matched(rgb, thermal, 'RGB and thermal', skipped):
            if stem not in masks:
                skipped.add(stem, 'there is no mask of this pair in GT')
                continue
            entries.append(
                PairEntry(
                    name=f'{name}/{stem}' if name else stem,
                    rgb_path=first,
                    thermal_path=second,
                    mask_path=masks[stem],
                    split=name,
                )
            )
    return entries


def read_metu_vistir(folder: Path, split: str | None, skipped: Skipped) -> list[PairEntry]:
    """Read METU-VisTIR (Tuzcuoglu et al., 2024): {cloudy,sunny}/scene_N/{thermal,visible}/images.

    Pairs are the frames of the same number in both cameras: they see the same scene but are NOT
    registered. The poses and test pairs in index/*.npz are pickled objects and are not read.
    """
    parts = [
        path.name for path in sorted(folder.iterdir()) if path.is_dir() and path.name != 'index'
    ]
    need_split(split, parts, folder)
    entries = []
    for part in parts if split is None else [split]:
        for scene in sorted((folder / part).glob('scene_*')):
            rgb = images_by_stem(need_folder(scene, 'visible/images'))
            thermal = images_by_stem(need_folder(scene, 'thermal/images'))
            entries += [
                PairEntry(
                    name=f'{part}/{scene.name}/{stem}',
                    rgb_path=rgb[stem],
                    thermal_path=thermal[stem],
                    is_registered=False,
                    split=part,
                )
                for stem in sorted(rgb.keys() & thermal.keys())
            ]
            for stem in sorted(rgb.keys() ^ thermal.keys()):
                skipped.add(f'{part}/{scene.name}/{stem}', 'seen by one camera only')
    return entries


def read_folders(folder: Path, split: str | None, skipped: Skipped) -> list[PairEntry]:
    """Read two folders of images of the same names, at any depth, without labels.

    This is how RGBT550K-style pretraining data lies: one folder for RGB (rgb, visible, vi, ...; in
    M-SpecGene's release imagenet2), one for thermal (ir, thermal, lwir, ...; there imagenet).
    """
    root = folder if split is None else need_folder(folder, split)
    rgb = images_by_stem(need_folder(root, *_RGB_FOLDERS), is_deep=True)
    thermal = images_by_stem(need_folder(root, *_THERMAL_FOLDERS), is_deep=True)
    return [
        PairEntry(name=name, rgb_path=first, thermal_path=second, split=split or '')
        for name, first, second in matched(rgb, thermal, 'RGB and thermal', skipped)
    ]


def _by_split(
    folder: Path,
    split: str | None,
    names: tuple[str, str, str],
    skipped: Skipped,
    *,
    has_time: bool = False,
) -> list[PairEntry]:
    """Read SPLIT/RGB, SPLIT/THERMAL and SPLIT/LABELS, files of the same names."""
    parts = [path.name for path in sorted(folder.iterdir()) if (path / names[0]).is_dir()]
    if not parts:
        raise DatasetError(
            f"'{folder}' has no folder with '{names[0]}' in it, expected for instance "
            f'train/{names[0]}; check the path and the layout'
        )
    need_split(split, parts, folder)
    entries = []
    for part in parts if split is None else [split]:
        rgb, thermal, labels = (
            images_by_stem(need_folder(folder, f'{part}/{name}')) for name in names
        )
        for stem, first, second in matched(rgb, thermal, 'RGB and thermal', skipped):
            if stem not in labels:
                skipped.add(stem, f'there is no label map of this pair in {names[2]}')
                continue
            entries.append(
                PairEntry(
                    name=f'{part}/{stem}',
                    rgb_path=first,
                    thermal_path=second,
                    label_map_path=labels[stem],
                    is_night=_is_night(stem) if has_time else None,
                    split=part,
                )
            )
    return entries


def _lists(folder: Path, split: str | None) -> Mapping[str, list[str]]:
    """Return the names of each split; without a split, train, val and test."""
    lists = {path.stem: path for path in sorted(folder.glob('*.txt'))}
    need_split(split, tuple(lists), folder)
    chosen: list[str] = [name for name in ('train', 'val', 'test') if name in lists]
    if split is not None:
        chosen = [split]
    if not chosen:
        raise DatasetError(
            f"'{folder}' has no train.txt, val.txt or test.txt, expected lists of names; restore "
            f'them from the archive'
        )
    return {
        name: [line.split()[0].removesuffix('.png') for line in read_lines(lists[name])]
        for name in chosen
    }


def _is_night(stem: str) -> bool | None:
    return {'D': False, 'N': True}.get(stem.removesuffix('_flip')[-1:])


def _once(entries: list[PairEntry]) -> list[PairEntry]:
    """Keep the first entry of each name: test_day.txt and test.txt name the same pairs."""
    return list({entry.name: entry for entry in reversed(entries)}.values())[::-1]
