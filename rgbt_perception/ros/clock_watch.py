# SPDX-License-Identifier: Apache-2.0
"""Notices when simulated time jumps back, as when a bag starts again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rclpy.clock import JumpThreshold
from rclpy.duration import Duration

if TYPE_CHECKING:
    from collections.abc import Callable

    from rclpy.clock import JumpHandle, TimeJump
    from rclpy.node import Node

NS_PER_S = 1_000_000_000
MIN_JUMP_NS = 100_000_000  # publishers of /clock may be out of step by some milliseconds


class ClockWatch:
    """Calls back when the clock of a node jumps back, from construction to ``close``."""

    def __init__(self, node: Node, on_jump_back: Callable[[float], None]) -> None:
        """Begin to watch.

        Args:
            node: Node whose clock is watched.
            on_jump_back: Called with the length of the jump, seconds, on the executor's thread.
        """
        self._on_jump_back = on_jump_back
        threshold = JumpThreshold(
            min_forward=None,
            min_backward=Duration(nanoseconds=-MIN_JUMP_NS),
            on_clock_change=False,
        )
        self._handle: JumpHandle | None = node.get_clock().create_jump_callback(
            threshold, post_callback=self._note
        )

    def close(self) -> None:
        """Stop watching."""
        if self._handle is not None:
            self._handle.unregister()
            self._handle = None

    def _note(self, jump: TimeJump) -> None:
        if self._handle is not None:
            self._on_jump_back(-jump.delta.nanoseconds / NS_PER_S)
