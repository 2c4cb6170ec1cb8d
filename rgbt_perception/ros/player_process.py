# SPDX-License-Identifier: Apache-2.0
"""A process with one node that plays something until its end or until interrupted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import rclpy
from rclpy.executors import ExternalShutdownException
from rclpy.logging import get_logger
from rclpy.signals import SignalHandlerOptions

from rgbt_perception.errors import ConfigError, RGBTError


class PlayerNode(Protocol):
    """A node that plays."""

    def play(self) -> None:
        """Play until the end, or return early when the context is shut down."""

    def destroy_node(self) -> None:
        """Release it, as every node of rclpy does."""


def run_player(
    create_node: Callable[[], PlayerNode], *, name: str, extra: str, args: list[str] | None = None
) -> int:
    """Create a node, let it play, and end with one sentence if it cannot.

    Args:
        create_node: Called once ROS is initialised.
        name: Of the node; begins what is logged.
        extra: Of this package: brings what a ``ModuleNotFoundError`` misses.
        args: Command line; None = that of the process.

    Returns:
        Exit status: 0 at the end or when interrupted, 1 when it could not play.
    """
    node: PlayerNode | None = None
    logger = get_logger(name)
    try:
        _initialise(args)
        node = create_node()
        node.play()
    except RGBTError as error:
        logger.fatal(f'cannot play: {error}')
        return 1
    except ModuleNotFoundError as error:
        logger.fatal(
            f"cannot play: package '{error.name}' is not installed, expected it for {name}; "
            f"run: pip install 'rgbt_perception[{extra}]'"
        )
        return 1
    except (KeyboardInterrupt, ExternalShutdownException):
        return 0  # this is how a player is stopped
    except RuntimeError:
        if rclpy.ok():
            raise
        return 0  # the signal came while an image was published
    finally:
        if node is not None:
            node.destroy_node()
        rclpy.try_shutdown()
    return 0


def _initialise(args: list[str] | None) -> None:
    try:
        rclpy.init(args=args, signal_handler_options=SignalHandlerOptions.ALL)
    except RuntimeError as error:  # a malformed argument or parameter file
        first_line = str(error).strip().splitlines()[0]
        raise ConfigError(f'{first_line}; expected ROS arguments; correct them') from error
