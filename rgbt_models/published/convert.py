# SPDX-License-Identifier: Apache-2.0
"""Turn a released checkpoint into a card folder: safetensors and card, strict, offline."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from rgbt_models.card import CARD_FILE, hash_file, WEIGHTS_FILE
from rgbt_models.errors import WeightsError
from rgbt_models.published.checkpoint_file import read_checkpoint
from rgbt_models.published.layouts import (
    detect_layout,
    DROPPED_SUFFIX,
    expected_shapes,
    Layout,
    read_num_classes,
    rename,
)
from rgbt_models.published_card import IMAGENET_MEAN, IMAGENET_STD, PublishedCard
from rgbt_models.weights import save_tensors

SALIENCY_CLASSES = ('background', 'saliency')
LICENCE = (
    'Not stated by the authors for the weights (their code is MIT). Ask them before you publish '
    'or sell what you make of it.'
)


@dataclass(frozen=True, slots=True, kw_only=True)
class InputRule:
    """How the models of one layout want their images (see ``PublishedCard``)."""

    architecture: str
    input_hw: tuple[int, int]
    channel_order: str
    pad_level: int
    norm_eps: float


_ENCODER_RULE = InputRule(
    architecture='vit_base_patch16_224',
    input_hw=(224, 224),
    channel_order='rgb',
    pad_level=0,
    norm_eps=1e-6,
)
RULES = {
    Layout.PRETRAINING: _ENCODER_RULE,
    Layout.DETECTION_ENCODER: _ENCODER_RULE,
    Layout.SEGMENTATION_ENCODER: _ENCODER_RULE,
    Layout.DETECTION: InputRule(
        architecture='vitdet_mask_rcnn',
        input_hw=(960, 960),
        channel_order='rgb',
        pad_level=114,
        norm_eps=1e-5,
    ),
    Layout.SEGMENTATION: InputRule(
        architecture='vit_upernet',
        input_hw=(768, 768),
        channel_order='bgr',
        pad_level=0,
        norm_eps=1e-6,
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyReport:
    """How the tensors of a checkpoint compare with those of the release.

    Attributes:
        missing: Names the release has and the file lacks.
        unexpected: Names the file has and the release lacks.
        mismatched: Names in both with different shapes, shapes included.
        rebuilt: Names read by nobody, for they follow from the sizes.
    """

    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    mismatched: tuple[str, ...]
    rebuilt: tuple[str, ...]

    @property
    def is_exact(self) -> bool:
        """Whether every tensor fits."""
        return not (self.missing or self.unexpected or self.mismatched)

    def lines(self) -> list[str]:
        """Return the three lists as text, one line each, and what was left out if anything."""
        lists = (('missing', self.missing), ('unexpected', self.unexpected))
        lines = [
            f'{title} ({len(names)}): {", ".join(names) or "none"}'
            for title, names in (*lists, ('mismatched', self.mismatched))
        ]
        if self.rebuilt:
            lines.append(f'rebuilt instead of read: {len(self.rebuilt)}')
        return lines


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversion:
    """A converted checkpoint.

    Attributes:
        card: What was written.
        report: The comparison; exact, or there would be no card.
        num_tensors: Tensors written.
    """

    card: PublishedCard
    report: KeyReport
    num_tensors: int


def compare_keys(
    found: Mapping[str, tuple[int, ...]], layout: Layout, *, num_classes: int
) -> KeyReport:
    """Compare names and shapes of a checkpoint with those of the release.

    Buffers that follow from the sizes may be there or not.
    """
    wanted = expected_shapes(layout, num_classes=num_classes)
    missing = sorted(name for name in set(wanted) - set(found) if not _is_rebuilt(name))
    both = sorted(set(wanted) & set(found))
    return KeyReport(
        missing=tuple(missing),
        unexpected=tuple(sorted(set(found) - set(wanted))),
        mismatched=tuple(
            f'{name} {found[name]} for {wanted[name]}'
            for name in both
            if found[name] != wanted[name]
        ),
        rebuilt=tuple(name for name in both if _is_rebuilt(name)),
    )


def convert_checkpoint(
    path: Path, card_dir: Path, *, class_names: tuple[str, ...] = ()
) -> Conversion:
    """Write the card folder of a released checkpoint.

    Args:
        path: The file as the authors publish it.
        card_dir: Receives ``model.safetensors`` and ``card.json``.
        class_names: Names of the classes, for a finished model whose file does not hold them.

    Raises:
        WeightsError: If the file cannot be read, is none of the released kinds, has tensors
            missing, unexpected or of another shape (the message lists all of them), or its class
            names are neither in it nor given.
    """
    checkpoint = read_checkpoint(path)
    shapes = {name: tuple(tensor.shape) for name, tensor in checkpoint.tensors.items()}
    layout = detect_layout(shapes)
    num_classes = read_num_classes(layout, shapes)
    report = compare_keys(shapes, layout, num_classes=num_classes)
    if not report.is_exact:
        lists = '\n  '.join(report.lines()[:3])
        raise WeightsError(
            f"checkpoint '{path}' is not a {layout.value} as released:\n  {lists}\n"
            f'expected every list empty; use the file of the release that this layout is of'
        )
    names = _choose_classes(class_names, checkpoint.class_names, num_classes, path)
    tensors = _rename_all(checkpoint.tensors, layout)
    card_dir.mkdir(parents=True, exist_ok=True)
    save_tensors(tensors, card_dir / WEIGHTS_FILE)
    card = _describe(path, card_dir, layout, names)
    (card_dir / CARD_FILE).write_text(card.to_json(), encoding='utf-8')
    return Conversion(card=card, report=report, num_tensors=len(tensors))


def _is_rebuilt(name: str) -> bool:
    return name.endswith(DROPPED_SUFFIX)


def _rename_all(tensors: Mapping[str, Tensor], layout: Layout) -> dict[str, Tensor]:
    renamed = {rename(layout, name): tensor for name, tensor in tensors.items()}
    # Cloned, for tensors of one file may share memory, which safetensors refuses to write.
    return {name: tensor.clone() for name, tensor in renamed.items() if name}


def _choose_classes(
    given: tuple[str, ...], noted: tuple[str, ...], num_classes: int, path: Path
) -> tuple[str, ...]:
    """Return the class names of a finished model; those given go before those noted in it."""
    if num_classes == 0 and not given:
        return ()  # an encoder; what its trainer noted are the names of no output
    names = given or noted
    if len(names) == num_classes == len(set(names)):
        return names
    raise WeightsError(
        f"checkpoint '{path}' has {num_classes} classes and the names "
        f'{", ".join(names) or "none"}; expected one name per class, each once; give them in the '
        f'order of their ids with --classes'
    )


def _choose_task(layout: Layout, names: tuple[str, ...]) -> str:
    if layout is Layout.DETECTION:
        return 'detection'
    if layout is not Layout.SEGMENTATION:
        return 'encoder'
    is_saliency = tuple(name.lower() for name in names) == SALIENCY_CLASSES
    return 'saliency' if is_saliency else 'segmentation'


def _describe(path: Path, card_dir: Path, layout: Layout, names: tuple[str, ...]) -> PublishedCard:
    rule = RULES[layout]
    return PublishedCard(
        name=card_dir.resolve().name,
        task=_choose_task(layout, names),
        layout=layout.name.lower(),
        architecture=rule.architecture,
        input_hw=rule.input_hw,
        channel_order=rule.channel_order,
        rgb_mean=IMAGENET_MEAN,
        rgb_std=IMAGENET_STD,
        thermal_mean=IMAGENET_MEAN,
        thermal_std=IMAGENET_STD,
        pad_level=rule.pad_level,
        norm_eps=rule.norm_eps,
        classes=names,
        weights_sha256=hash_file(card_dir / WEIGHTS_FILE),
        source_file=path.name,
        source_sha256=hash_file(path),
        licence=LICENCE,
        folder=card_dir,
    )
