# SPDX-License-Identifier: Apache-2.0
"""The published layouts this package reads, by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rgbt_models.data import dense_layouts, detection_layouts
from rgbt_models.data.manifest import Manifest, PairEntry
from rgbt_models.data.skipped import Skipped
from rgbt_models.errors import DatasetError

Reader = Callable[[Path, 'str | None', Skipped], 'list[PairEntry]']


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """How a data set lies on disk.

    Attributes:
        read: Returns its pairs.
        detection_classes: Class names of its boxes.
        segmentation_classes: Class names of its label maps by id.
        note: What a reader of results must know.
    """

    read: Reader
    detection_classes: tuple[str, ...] = ()
    segmentation_classes: tuple[str, ...] = ()
    note: str = ''


LAYOUTS = {
    'flir-aligned': Layout(
        read=detection_layouts.read_flir_aligned,
        detection_classes=detection_layouts.FLIR_CLASSES,
        note='labels drawn on the thermal image; 4129 / 1013 pairs, not FLIR ADAS v1 or v2',
    ),
    'llvip': Layout(
        read=detection_layouts.read_llvip,
        detection_classes=detection_layouts.LLVIP_CLASSES,
        note='labels were revised in 2022: older numbers do not compare; non-commercial',
    ),
    'kaist': Layout(
        read=detection_layouts.read_kaist,
        detection_classes=detection_layouts.KAIST_CLASSES,
        note='name the annotations and the miss rate setting; CC BY-NC-SA 4.0',
    ),
    'm3fd': Layout(
        read=detection_layouts.read_m3fd,
        detection_classes=detection_layouts.M3FD_CLASSES,
        note='no official split; random ones share sequences: name the list',
    ),
    'mfnet': Layout(
        read=dense_layouts.read_mfnet,
        segmentation_classes=dense_layouts.MFNET_CLASSES,
        note='9 classes with background; some pairs are misaligned',
    ),
    'pst900': Layout(
        read=dense_layouts.read_pst900,
        segmentation_classes=dense_layouts.PST900_CLASSES,
        note='5 classes with background',
    ),
    'msrs': Layout(
        read=dense_layouts.read_msrs,
        segmentation_classes=dense_layouts.MFNET_CLASSES,
        note='9 classes with background; MFNet without its misaligned pairs',
    ),
    'fmb': Layout(
        read=dense_layouts.read_fmb,
        segmentation_classes=dense_layouts.FMB_CLASSES,
        note='15 classes with background; other papers leave it out and report 14',
    ),
    'semanticrt': Layout(
        read=dense_layouts.read_semanticrt,
        segmentation_classes=dense_layouts.SEMANTICRT_CLASSES,
        note='13 classes with background; non-commercial',
    ),
    'mvseg': Layout(
        read=dense_layouts.read_mvseg,
        segmentation_classes=dense_layouts.MVSEG_CLASSES,
        note='26 classes with background; labeled frames only',
    ),
    **{
        name: Layout(read=dense_layouts.read_vt, note='saliency masks')
        for name in ('vt821', 'vt1000', 'vt5000')
    },
    'metu-vistir': Layout(
        read=dense_layouts.read_metu_vistir,
        note='same scene, not registered; poses are not read; CC BY-NC-SA 4.0',
    ),
    'folders': Layout(
        read=dense_layouts.read_folders, note='unlabeled pairs for pretraining (RGBT550K style)'
    ),
}


def read_layout(
    name: str, folder: Path, *, split: str | None = None, skipped: Skipped | None = None
) -> Manifest:
    """List the pairs of a published data set; images are not opened.

    Args:
        name: One of ``LAYOUTS``.
        folder: Where it was unpacked.
        split: 'train', 'test', ... as the layout names them; None = all.
        skipped: Receives what is left out; None = a new one, of which only the log remains.

    Raises:
        DatasetError: If the layout is unknown, the folder is not of that layout, the split does
            not exist, or no pair remains.
    """
    layout = LAYOUTS.get(name)
    if layout is None:
        raise DatasetError(
            f"unknown layout '{name}', expected one of {', '.join(LAYOUTS)}; correct it"
        )
    if not folder.is_dir():
        raise DatasetError(
            f"there is no folder '{folder}'; expected the data set '{name}'; check the path"
        )
    left_out = Skipped() if skipped is None else skipped
    entries = layout.read(folder, split, left_out)
    if not entries:
        raise DatasetError(
            f"'{folder}' holds 0 usable pairs of layout '{name}' ({len(left_out)} left out), "
            f'expected at least one; check the layout and the split'
        )
    return Manifest(
        name=name,
        entries=tuple(entries),
        detection_classes=layout.detection_classes,
        segmentation_classes=layout.segmentation_classes,
        note=layout.note,
    )
