# SPDX-License-Identifier: Apache-2.0
"""Show how the visible patches move from objects to background over the masking schedule.

    python -m bench.masking_schedule [--epochs N] [--pool DIR] [--figure FILE] [--maps FILE]
        [--out DIR]

Pairs of textured objects on flat ground go through the patch embedding and the masker of the
pretraining, 100 epochs of four batches. Without --pool they are painted here; with it they are
the pairs of a rendered pool, what its boxes are drawn around being the objects. --maps draws a
few pairs with their structural sparsity: RGB, thermal, CMSS.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
import sys

import cv2
import numpy as np
from numpy.typing import NDArray
import torch
from torch import Tensor

from bench.report import (
    add_common_arguments,
    Bound,
    conditions,
    describe_bounds,
    number,
    print_bounds,
    write_results,
)
from rgbt_models.pretrain.cmss import compute_cmss, draw_cmss_map
from rgbt_models.pretrain.masking import GmmCmssMasker, MaskingConfig
from rgbt_models.pretrain.patches import TimmTokenEncoder

IMAGE_SIZE, PATCH = 224, 16
GRID = IMAGE_SIZE // PATCH
TEXEL = 4
BATCH, STEPS_PER_EPOCH = 16, 4
POOL_PAIRS = 64
NUM_MAPS, MAP_STRIDE = 6, 2
MIN_START, MAX_END = 0.5, 0.05
SEED = 3
LICENCE = '<!-- SPDX-License-Identifier: Apache-2.0 -->'


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class PatchPairs:
    """Pairs (b, 3, h, w) standardised, and which patches show an object, bool (b, n)."""

    rgb: Tensor
    thermal: Tensor
    is_object: Tensor


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Course:
    """What was visible at the end of every epoch; lists of one length.

    Attributes:
        rgb_share: Objects among the visible patches of RGB, 0..1.
        thermal_share: The same of thermal.
        sampling_means: Active means of the schedule.
        base_share: Objects among all patches.
    """

    rgb_share: list[float]
    thermal_share: list[float]
    sampling_means: list[tuple[float, ...]]
    base_share: float


def paint_pairs(num_pairs: int, *, seed: int) -> PatchPairs:
    """Paint textured rectangles on flat ground, the same places in both modalities.

    The ground of an image is one grey level per modality with faint noise; the texture of its
    objects is made of squares of 4 pixels, with noise of its own in each modality.
    """
    rng = np.random.default_rng(seed)
    is_object = np.zeros((num_pairs, GRID, GRID), bool)
    for index in range(num_pairs):
        for _ in range(3):
            height, width = rng.integers(2, 6, 2)
            top, left = rng.integers(0, GRID - height), rng.integers(0, GRID - width)
            is_object[index, top : top + height, left : left + width] = True
    rgb, thermal = (_paint_modality(is_object, rng) for _ in range(2))
    return PatchPairs(rgb=rgb, thermal=thermal, is_object=torch.from_numpy(is_object).flatten(1))


def _paint_modality(is_object: NDArray[np.bool_], rng: np.random.Generator) -> Tensor:
    b = len(is_object)
    ground = rng.normal(0.0, 0.1, (b, 1, 1, 1))
    noise = rng.normal(0.0, 0.05, (b, 3, IMAGE_SIZE, IMAGE_SIZE))
    squares = rng.normal(size=(b, 3, IMAGE_SIZE // TEXEL, IMAGE_SIZE // TEXEL))
    texture = rng.uniform(0.5, 1.5, (b, 1, 1, 1)) * squares.repeat(TEXEL, 2).repeat(TEXEL, 3)
    inside = is_object.repeat(PATCH, 1).repeat(PATCH, 2)[:, None]
    return torch.from_numpy((ground + noise + inside * texture).astype(np.float32))


def load_street(pool: Path, *, num_pairs: int) -> PatchPairs:
    """Cut pairs of a rendered pool to squares; a patch is an object if half of it is one."""
    from rgbt_models.train.batches import collate
    from rgbt_models.train.config import TrainConfig
    from rgbt_models.train.pool import read_label_set, SamplePool

    samples = SamplePool(pool)
    chosen = [samples[index] for index in range(min(num_pairs, len(samples)))]
    batch = collate(chosen, TrainConfig())
    h, w = batch.rgb.shape[2:]
    if min(h, w) < IMAGE_SIZE:
        raise SystemExit(
            f"pairs of '{pool}' are {w}x{h} px; expected at least {IMAGE_SIZE} px a side; "
            f'render a pool of a larger pool_scale'
        )
    top, left = max(0, h - IMAGE_SIZE), (w - IMAGE_SIZE) // 2
    window = (slice(top, top + IMAGE_SIZE), slice(left, left + IMAGE_SIZE))
    labels = batch.label_maps[(slice(None), *window)].numpy()
    names = read_label_set(pool)
    objects = [names.segmentation_classes.index(name) for name in names.detection_classes]
    inside = np.isin(labels, objects).reshape(len(labels), GRID, PATCH, GRID, PATCH)
    return PatchPairs(
        rgb=batch.rgb[(..., *window)],
        thermal=batch.thermal[(..., *window)],
        is_object=torch.from_numpy(inside.mean(axis=(2, 4)) >= 0.5).flatten(1),
    )


@torch.no_grad()
def follow_schedule(
    pairs: PatchPairs, *, num_epochs: int, variant: str = 'corrected', normaliser: str = 'q99'
) -> Course:
    """Run the masker over the pairs, with equal losses, and record what is visible."""
    torch.manual_seed(SEED)
    encoder = TimmTokenEncoder('vit_tiny_patch16_224', image_size=IMAGE_SIZE)
    tokens = encoder.embed(pairs.rgb), encoder.embed(pairs.thermal)
    config = MaskingConfig(
        num_epochs=num_epochs,
        steps_per_epoch=STEPS_PER_EPOCH,
        variant=variant,
        normaliser=normaliser,
        seed=SEED,
    )
    masker = GmmCmssMasker(config, num_patches=GRID * GRID)
    rng = np.random.default_rng(SEED)
    shares: tuple[list[float], list[float]] = ([], [])
    means: list[tuple[float, ...]] = []
    for epoch in range(num_epochs + 1):
        means.append(masker.schedule_state.sampling_means)
        found = np.zeros(2)
        for step in range(STEPS_PER_EPOCH):
            rows = torch.from_numpy(
                rng.choice(len(pairs.rgb), min(BATCH, len(pairs.rgb)), replace=False)
            )
            visible = masker.draw(tokens[0][rows], tokens[1][rows])
            masker.finish_step(1.0, 1.0, epoch * STEPS_PER_EPOCH + step)
            truth = pairs.is_object[rows]
            found += [
                truth.gather(1, chosen).float().mean().item()
                for chosen in (visible.rgb, visible.thermal)
            ]
        for share, value in zip(shares, found / STEPS_PER_EPOCH, strict=True):
            share.append(float(value))
    return Course(
        rgb_share=shares[0],
        thermal_share=shares[1],
        sampling_means=means,
        base_share=pairs.is_object.float().mean().item(),
    )


def draw_figure(course: Course, path: Path) -> None:
    """Draw the course as SVG or PNG, by the ending of the file."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    # The same file from the same course, with text as text.
    mpl.rcParams.update({'svg.hashsalt': 'masking', 'svg.fonttype': 'none'})
    figure = Figure(figsize=(6.4, 3.6), layout='constrained')
    axes = figure.add_subplot(xlabel='epoch', ylabel='object share of visible patches')
    epochs: NDArray[np.int64] = np.arange(len(course.rgb_share))
    axes.plot(epochs, course.thermal_share, label='thermal (draws first)')
    axes.plot(epochs, course.rgb_share, label='RGB')
    axes.axhline(course.base_share, color='grey', linestyle=':', label='all patches')
    axes.set_ylim(0.0, 1.0)
    twin = axes.twinx()
    twin.set_ylabel('sampling means (CMSS)')
    for index in range(max(len(means) for means in course.sampling_means)):
        line = [means[index] if index < len(means) else np.nan for means in course.sampling_means]
        twin.plot(epochs, line, color='black', linewidth=0.7, alpha=0.6)
    twin.set_ylim(0.0, 1.0)
    axes.legend(loc='upper right', frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={'Date': None} if path.suffix == '.svg' else None)
    if path.suffix == '.svg':
        head, line, rest = path.read_text(encoding='utf-8').partition('\n')
        path.write_text(f'{head}{line}{LICENCE}{line}{rest}', encoding='utf-8')


@torch.no_grad()
def draw_maps(pairs: PatchPairs, path: Path) -> None:
    """Write pairs and their CMSS side by side: a row each of RGB, thermal and CMSS."""
    torch.manual_seed(SEED)
    encoder = TimmTokenEncoder('vit_tiny_patch16_224', image_size=IMAGE_SIZE)
    columns = []
    for index in range(min(NUM_MAPS, len(pairs.rgb))):
        rgb, thermal = pairs.rgb[index : index + 1], pairs.thermal[index : index + 1]
        values = compute_cmss(encoder.embed(rgb), encoder.embed(thermal))[0]
        picture = draw_cmss_map(values, grid_hw=(GRID, GRID), patch_size=PATCH)
        columns.append(np.concatenate([_stretch(rgb[0]), _stretch(thermal[0]), picture]))
    sheet = np.concatenate(columns, axis=1)[::MAP_STRIDE, ::MAP_STRIDE, ::-1]
    path.parent.mkdir(parents=True, exist_ok=True)
    if not cv2.imwrite(str(path), sheet):
        raise OSError(f"cannot write '{path}'; expected a folder that can be written and .png")


def _stretch(image: Tensor) -> NDArray[np.uint8]:
    """Bring a standardised image (3, h, w) to 0..255, (h, w, 3)."""
    low, high = np.percentile(image.numpy(), (1.0, 99.0))
    scaled = (image.permute(1, 2, 0).numpy() - low) / max(high - low, 1e-6)
    return np.asarray(np.clip(np.rint(scaled * 255.0), 0, 255), np.uint8)


def main(argv: list[str] | None = None) -> int:
    """Follow the schedule, print its course and write it."""
    parser = argparse.ArgumentParser(
        prog='python -m bench.masking_schedule', description=(__doc__ or '').partition('\n')[0]
    )
    parser.add_argument(
        '--epochs', type=number(int, at_least=2), default=100, help='length of the schedule'
    )
    parser.add_argument('--pool', type=Path, help='folder of a rendered pool instead of painting')
    parser.add_argument('--figure', type=Path, help='SVG or PNG file to draw')
    parser.add_argument('--maps', type=Path, help='PNG file of pairs with their CMSS')
    add_common_arguments(parser)
    args = parser.parse_args(argv)
    pairs = (
        paint_pairs(POOL_PAIRS, seed=SEED)
        if args.pool is None
        else load_street(args.pool, num_pairs=POOL_PAIRS)
    )
    course = follow_schedule(pairs, num_epochs=args.epochs)
    if args.figure is not None:
        draw_figure(course, args.figure)
    if args.maps is not None:
        draw_maps(pairs, args.maps)
    for epoch in sorted({round(args.epochs * part / 20) for part in range(21)}):
        means = ', '.join(f'{mean:.3f}' for mean in course.sampling_means[epoch])
        print(
            f'epoch {epoch:4d}  thermal {course.thermal_share[epoch]:.3f}  '
            f'RGB {course.rgb_share[epoch]:.3f}  means {means}'
        )
    start, end = course.thermal_share[0], course.thermal_share[-1]
    bounds = [Bound(name='object share at the end', value=end, at_most=start)]
    if args.pool is None:
        bounds = [
            Bound(name='object share at the start', value=start, at_least=MIN_START),
            Bound(name='object share at the end', value=end, at_most=MAX_END),
        ]
    results = {
        'conditions': conditions(epochs=args.epochs, pairs=len(pairs.rgb), batch=BATCH),
        'thermal_share': [round(value, 4) for value in course.thermal_share],
        'rgb_share': [round(value, 4) for value in course.rgb_share],
        'sampling_means': course.sampling_means,
        'base_share': round(course.base_share, 4),
    }
    path = write_results('masking_schedule', {**results, **describe_bounds(bounds)}, args.out)
    return print_bounds(bounds, path)


if __name__ == '__main__':
    sys.exit(main())
