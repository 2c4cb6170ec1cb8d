# SPDX-License-Identifier: Apache-2.0
"""Bring a published RGB-thermal data set into this project's form.

LAYOUT is how the data set lies on disk after its authors' archives are unpacked: flir-aligned,
llvip, kaist, m3fd, mfnet, pst900, msrs, fmb, semanticrt, mvseg, vt821, vt1000, vt5000,
metu-vistir, or folders for two folders of unlabeled images (docs/datasets.md draws each).
What is written depends on the name given with --out:
  OUT.json, OUT.jsonl  a manifest that points at the images where they are
  OUT/ with --shards   tar shards (WebDataset), for data that outgrows a disk; rgbt train reads
                       them, too
  OUT/ with --pool     a pool that rgbt train reads, in one image size; it keeps the classes of the
                       data set, or has this project's with --map-classes
  OUT/                 a folder with annotations.json and copies of the images, which rgbt evaluate
                       and rgbt convert pairs read
Pairs that cannot be read are left out, counted and named in OUT/skipped.jsonl.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from rgbt_perception.cli.options import count

if TYPE_CHECKING:
    from rgbt_models.data.manifest import Manifest
    from rgbt_models.data.skipped import Skipped

NAMES_SHOWN = 5


def add_parser(forms: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add this form to those of ``rgbt convert``."""
    parser = forms.add_parser(
        'dataset',
        help='a published data set to a folder of pairs, a manifest or tar shards',
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('layout', metavar='LAYOUT', help='for instance kaist, see above')
    parser.add_argument('folder', type=Path, help='folder of the data set')
    parser.add_argument(
        '--out', type=Path, required=True, help='folder, .json or .jsonl to create'
    )
    parser.add_argument(
        '--split', metavar='NAME', help='train, test, ... (default: all there are)'
    )
    parser.add_argument(
        '--shards',
        type=count,
        default=0,
        metavar='N',
        help='write tar shards of N pairs each instead of a folder of files',
    )
    parser.add_argument(
        '--pool',
        type=_size_hw,
        metavar='HxW',
        help='write a pool for rgbt train, images of this height and width, for instance 480x640',
    )
    parser.add_argument(
        '--map-classes',
        action='store_true',
        help="bring the labels of a pool to this project's classes; others become unknown",
    )
    parser.set_defaults(convert=run)


def run(args: argparse.Namespace) -> int:
    """Convert; return the exit status."""
    from rgbt_models.data.layouts import read_layout
    from rgbt_models.data.skipped import Skipped

    skipped = Skipped()
    manifest = read_layout(args.layout, args.folder, split=args.split, skipped=skipped)
    num_pairs = _write(manifest, args, skipped)
    print(f'{num_pairs} pairs written to {args.out}')
    if len(skipped):
        print(f'{len(skipped)} left out:')
        for name, reason in list(skipped.reasons.items())[:NAMES_SHOWN]:
            print(f'  {name}: {reason}')
        if len(skipped) > NAMES_SHOWN:
            print(f'  and {len(skipped) - NAMES_SHOWN} more')
        print(f'all of them: {skipped.write(args.out)}')
    return 0


def _write(manifest: Manifest, args: argparse.Namespace, skipped: Skipped) -> int:
    from rgbt_models.data.folder import write_folder
    from rgbt_models.data.manifest import is_manifest_name, save_manifest
    from rgbt_models.data.shards import write_shards
    from rgbt_models.errors import DatasetError

    if args.map_classes and not args.pool:
        raise DatasetError(
            '--map-classes is given without --pool; expected a pool, the other forms keep the '
            'names of the data set; add --pool HxW, or leave it out'
        )
    forms = {
        'a manifest (the name in --out)': is_manifest_name(args.out),
        '--shards': args.shards > 0,
        '--pool': args.pool is not None,
    }
    asked = [name for name, is_asked in forms.items() if is_asked]
    if len(asked) > 1:
        raise DatasetError(
            f'{" and ".join(asked)} are asked for; expected one form of output; run the command '
            f'once for each'
        )
    if is_manifest_name(args.out):
        save_manifest(manifest, args.out)
        return len(manifest.entries)
    if args.pool:
        from rgbt_models.data.pool_writer import write_pool

        return write_pool(
            manifest, args.out, size_hw=args.pool, skipped=skipped, is_mapped=args.map_classes
        )
    if args.shards:
        return write_shards(manifest, args.out, pairs_per_shard=args.shards, skipped=skipped)
    return write_folder(manifest, args.out, skipped=skipped)


def _size_hw(text: str) -> tuple[int, int]:
    """Parse HEIGHTxWIDTH, for argparse."""
    height, _, width = text.partition('x')
    if not (height.isdecimal() and width.isdecimal() and int(height) and int(width)):
        raise argparse.ArgumentTypeError(f"'{text}' is not HEIGHTxWIDTH in pixels, as 480x640")
    return int(height), int(width)
