# SPDX-License-Identifier: Apache-2.0
"""Find how the thermal image lies on the RGB image, and write a calibration file.

board    from images of a board that both cameras see: camera models, pose, homography
scene    without a board, from 8 or more pairs of natural scenes: a homography; by edges, or with
         --matcher by the points that a trained matcher finds
target   draw a board, to print or to cut

Images come from a folder with rgb/ and thermal/ (same file names), from a data set folder with
annotations.json, or from a bag.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from rgbt_perception.cli.options import add_topic_options, count, positive_float, topics_from

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from rich.status import Status

    from rgbt_perception.calibration.board import BoardCalibration
    from rgbt_perception.calibration.image_pairs import ImagePair
    from rgbt_perception.calibration.matched import MatchedCalibration, PointMatcher
    from rgbt_perception.calibration.pattern import BoardPattern
    from rgbt_perception.calibration.scene import SceneCalibration
    from rgbt_perception.camera_model import CameraModel

SUMMARY = 'find how the two cameras lie to each other'
PATTERN_CHOICES = ('charuco', 'circles', 'asymmetric_circles', 'chessboard')
MODEL_CHOICES = ('translation', 'similarity', 'affine', 'homography')
DISTORTION_CHOICES = ('plumb_bob', 'equidistant', 'none')


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this subcommand."""
    kinds = parser.add_subparsers(dest='kind', required=True, metavar='KIND')
    board = kinds.add_parser('board', help='from images of a board')
    scene = kinds.add_parser('scene', help='from natural scenes')
    for kind in (board, scene):
        _add_source(kind)
    _add_pattern(board)
    _add_board(board)
    scene.add_argument(
        '--model',
        choices=MODEL_CHOICES,
        default='similarity',
        help='what is fitted; homography for cameras that look in visibly different directions '
        '(default: similarity)',
    )
    scene.add_argument(
        '--initial',
        type=Path,
        metavar='YAML',
        help='calibration file to start from (default: search shifts, scales and rolls; with '
        '--matcher, plain resizing)',
    )
    scene.add_argument(
        '--matcher',
        type=Path,
        metavar='RUN',
        help='use the points of a trained matcher instead of edges: folder of a finished rgbt '
        'train run with the task matching',
    )
    target = kinds.add_parser('target', help='draw a board')
    _add_pattern(target)
    target.add_argument(
        '--dpi', type=_positive_int, default=300, metavar='N', help='of a PNG (default: 300)'
    )
    target.add_argument(
        '--out', type=Path, required=True, metavar='FILE', help='a .png or .svg file'
    )


def run(args: argparse.Namespace) -> int:
    """Calibrate or draw; return the exit status."""
    commands = {'board': _run_board, 'scene': _run_scene, 'target': _run_target}
    commands[args.kind](args)
    return 0


def _add_source(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('source', type=Path, help='folder of pairs, data set folder, or bag')
    parser.add_argument(
        '--out', type=Path, required=True, metavar='YAML', help='calibration file to write'
    )
    parser.add_argument(
        '--picture',
        type=Path,
        metavar='PNG',
        help='also draw the thermal edges over RGB, before and after',
    )
    parser.add_argument(
        '--max-pairs',
        type=_positive_int,
        default=60,
        metavar='N',
        help='most pairs to use, evenly spread (default: 60)',
    )
    add_topic_options(parser)


def _add_pattern(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group('board')
    group.add_argument('--pattern', choices=PATTERN_CHOICES, required=True)
    group.add_argument(
        '--rows',
        type=_positive_int,
        required=True,
        metavar='N',
        help='charuco: squares; chessboard: inner corners; circles: circles, from top to bottom',
    )
    group.add_argument(
        '--columns',
        type=_positive_int,
        required=True,
        metavar='N',
        help='the same from left to right; asymmetric_circles: circles per row',
    )
    group.add_argument(
        '--square-m',
        type=positive_float,
        required=True,
        metavar='M',
        help='side of a square, distance between circles, or (asymmetric) between rows, metres',
    )
    group.add_argument(
        '--marker-m',
        type=positive_float,
        default=0.0,
        metavar='M',
        help='charuco: side of a marker, metres (default: three quarters of a square)',
    )
    group.add_argument(
        '--dictionary',
        default='5X5_250',
        metavar='NAME',
        help='charuco: ArUco dictionary (default: 5X5_250)',
    )


def _add_board(parser: argparse.ArgumentParser) -> None:
    for name in ('rgb', 'thermal'):
        parser.add_argument(
            f'--{name}-info',
            type=Path,
            metavar='YAML',
            help=f'camera_info of the {name} camera (default: estimated from the board)',
        )
    parser.add_argument(
        '--distortion',
        choices=DISTORTION_CHOICES,
        default='plumb_bob',
        help='lens model of estimated cameras (default: plumb_bob)',
    )
    parser.add_argument(
        '--depth-m',
        type=positive_float,
        metavar='M',
        help='depth at which the homography shall hold (default: that of the boards)',
    )


def _run_board(args: argparse.Namespace) -> None:
    from rgbt_perception.calibration.board import calibrate_board
    from rgbt_perception.calibration.picture import draw_board_alignment, write_picture
    from rgbt_perception.calibration.report import parameter_lines, summarise_board
    from rgbt_perception.calibration.scene import resizing_homography
    from rgbt_perception.calibration_file import write_calibration

    _check_out(args)
    pattern = _pattern_from(args)
    cameras = {'rgb': _load_camera(args, 'rgb'), 'thermal': _load_camera(args, 'thermal')}
    pairs = _load(args)
    with _working('looking for the board'):
        calibration = calibrate_board(
            pairs, pattern, distortion=args.distortion, depth_m=args.depth_m, **cameras
        )
    write_calibration(args.out, calibration.to_calibration())
    if args.picture:
        before = resizing_homography(pairs[0].thermal_hw, pairs[0].rgb_hw)
        write_picture(args.picture, draw_board_alignment(pairs, calibration, pattern, before))
    _print_errors(calibration)
    _print_result(
        args,
        summarise_board(calibration),
        parameter_lines(args.out, method='extrinsics', depth_m=calibration.depth_m),
    )


def _run_scene(args: argparse.Namespace) -> None:
    from rgbt_perception.calibration.picture import draw_alignment, write_picture
    from rgbt_perception.calibration.report import parameter_lines
    from rgbt_perception.calibration.scene import load_initial
    from rgbt_perception.calibration_file import write_calibration

    _check_out(args)
    matcher = None
    if args.matcher:
        from rgbt_models.matcher import load_matcher

        matcher = load_matcher(args.matcher)
    pairs = _load(args)
    initial = None
    if args.initial:
        initial = load_initial(
            args.initial, rgb_hw=pairs[0].rgb_hw, thermal_hw=pairs[0].thermal_hw
        )
    calibration, lines = _align(args, pairs, initial, matcher)
    write_calibration(args.out, calibration.to_calibration())
    if args.picture:
        picture = draw_alignment(pairs, calibration.start, calibration.homography)
        write_picture(args.picture, picture)
    _print_result(args, lines, parameter_lines(args.out, method='homography'))


def _align(
    args: argparse.Namespace,
    pairs: list[ImagePair],
    initial: NDArray[np.float64] | None,
    matcher: PointMatcher | None,
) -> tuple[SceneCalibration | MatchedCalibration, list[str]]:
    """Return the calibration by edges or by matched points, and what it found in words."""
    if matcher is None:
        from rgbt_perception.calibration.report import summarise_scene
        from rgbt_perception.calibration.scene import calibrate_scene

        with _working('aligning edges'):
            by_edges = calibrate_scene(pairs, model=args.model, initial=initial)
        return by_edges, summarise_scene(by_edges)
    from rgbt_perception.calibration.matched import calibrate_matched
    from rgbt_perception.calibration.report import summarise_matched

    with _working('matching points'):
        by_points = calibrate_matched(pairs, matcher, model=args.model, initial=initial)
    return by_points, summarise_matched(by_points)


def _run_target(args: argparse.Namespace) -> None:
    from rgbt_perception.calibration.target import write_target

    width_m, height_m = write_target(args.out, _pattern_from(args), dpi=args.dpi)
    print(
        f'board of {1e3 * width_m:.1f} x {1e3 * height_m:.1f} mm with its margin written to '
        f'{args.out}; print it at 100 % and measure it'
    )


def _pattern_from(args: argparse.Namespace) -> BoardPattern:
    from rgbt_perception.calibration.pattern import BoardPattern

    return BoardPattern(
        kind=args.pattern,
        rows=args.rows,
        columns=args.columns,
        square_m=args.square_m,
        marker_m=args.marker_m,
        dictionary=args.dictionary,
    )


def _load(args: argparse.Namespace) -> list[ImagePair]:
    from rgbt_perception.calibration.image_pairs import load_image_pairs

    with _working('reading images'):
        return load_image_pairs(args.source, max_pairs=args.max_pairs, topics=topics_from(args))


def _load_camera(args: argparse.Namespace, name: str) -> CameraModel | None:
    from rgbt_perception.calibration.camera_info import load_camera_info

    path: Path | None = getattr(args, f'{name}_info')
    return None if path is None else load_camera_info(path, name=name)


def _check_out(args: argparse.Namespace) -> None:
    """Find out before the work, not after it, that the result cannot be written.

    Raises:
        ConfigError: If the folder does not exist or the picture has another ending.
    """
    from rgbt_perception.errors import ConfigError

    for path in filter(None, (args.out, args.picture)):
        if not path.parent.is_dir():
            raise ConfigError(
                f"folder '{path.parent}' does not exist, expected it for '{path.name}'; create it"
            )
    if args.picture and args.picture.suffix.lower() not in ('.png', '.jpg', '.jpeg'):
        raise ConfigError(f"picture is '{args.picture}', expected a .png or .jpg file; rename it")


def _working(text: str) -> Status:
    from rich.console import Console

    return Console(stderr=True).status(text)


def _print_errors(calibration: BoardCalibration) -> None:
    from rich.console import Console
    from rich.table import Table

    from rgbt_perception.calibration.report import error_rows

    table = Table(title='reprojection error')
    for name in ('pair', 'points', 'error (px)'):
        table.add_column(name, justify='left' if name == 'pair' else 'right')
    for name, points, error_px in error_rows(calibration):
        table.add_row(name, str(points), f'{error_px:.2f}')
    Console().print(table)


def _print_result(args: argparse.Namespace, lines: list[str], parameters: str) -> None:
    for line in lines:
        print(line)
    written = f'{args.out}, {args.picture}' if args.picture else f'{args.out}'
    print(f'written: {written}\n\nsettings for the node:\n\n{parameters}')


def _positive_int(text: str) -> int:
    value = count(text)
    if value == 0:
        raise argparse.ArgumentTypeError('0 is not above 0')
    return value
