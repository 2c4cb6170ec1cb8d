# SPDX-License-Identifier: Apache-2.0
"""Entry point of the command line tool ``rgbt``."""

from __future__ import annotations

import argparse
from functools import partial
import importlib
import logging
import sys

from rgbt_perception.errors import RGBTError

DESCRIPTION = """\
RGB-thermal perception: detections, segmentation and modality dominance from an RGB and a thermal
camera. On a robot it runs as a ROS 2 node (perception_node); this tool is for everything else.
"""
# Modules of this package, each with SUMMARY, add_arguments(parser) and run(args) -> status.
COMMANDS = (
    'demo',
    'replay',
    'evaluate',
    'convert',
    'simulate',
    'calibrate',
    'pretrain',
    'train',
    'score',
    'export',
    'engine',
    'bench',
    'doctor',
    'mdi-study',
)
STATUS_ERROR = 2
STATUS_INTERRUPTED = 130


def main(argv: list[str] | None = None) -> int:
    """Run one subcommand.

    Args:
        argv: Arguments without the program name; None = those of the process.

    Returns:
        0 when it did what it should, 1 when it ran but missed its goal, 2 for a mistake in the
        input (one line says which), 130 when interrupted.
    """
    args = build_parser().parse_args(argv)
    logging.basicConfig(
        level=logging.DEBUG if args.debug else logging.WARNING,
        format='%(levelname)s: %(message)s',
    )
    try:
        status: int = args.run(args)
    except (RGBTError, OSError) as error:  # OSError: a full disk, a folder that is not ours
        if args.debug:
            raise
        sys.stderr.write(f'rgbt {args.command}: {error}\n')
        return STATUS_ERROR
    except ModuleNotFoundError as error:  # the library imports torch and its kin where it is used
        if args.debug:
            raise
        sys.stderr.write(
            f"rgbt {args.command}: package '{error.name}' is not installed, expected it for "
            f"this command; run: pip install 'rgbt_perception[train]'\n"
        )
        return STATUS_ERROR
    except KeyboardInterrupt:
        sys.stderr.write(f'rgbt {args.command}: interrupted\n')
        return STATUS_INTERRUPTED
    return status


def build_parser() -> argparse.ArgumentParser:
    """Build the parser with all subcommands."""
    # argparse leaves the indent of commands out of its sum: at 2, names of 9 letters would break.
    formatter = partial(argparse.HelpFormatter, indent_increment=1)
    parser = argparse.ArgumentParser(
        prog='rgbt', description=DESCRIPTION, formatter_class=formatter
    )
    subparsers = parser.add_subparsers(dest='command', required=True, metavar='COMMAND')
    for name in COMMANDS:
        command = importlib.import_module(f'{__package__}.{name.replace("-", "_")}')
        subparser = subparsers.add_parser(
            name,
            help=command.SUMMARY,
            description=command.__doc__,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        subparser.add_argument(
            '--debug', action='store_true', help='show the traceback of an error, and log more'
        )
        command.add_arguments(subparser)
        subparser.set_defaults(run=command.run)
    return parser


if __name__ == '__main__':
    sys.exit(main())
