# SPDX-License-Identifier: Apache-2.0
"""What the log says about the cameras in use."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from rgbt_perception.types import Mode

if TYPE_CHECKING:
    from rclpy.impl.rcutils_logger import RcutilsLogger

    from rgbt_perception.types import Result

# A fast camera beside a slow one gives single results between the fused ones, by design: their
# mode changes many times a second.
MAX_LINES, SPAN_S = 4, 10.0


class ModeLog:
    """Logs changes of the mode, four lines in ten seconds at most; called on one thread.

    The last line is never wrong for long: a change that was left out is logged later, if it
    lasts.
    """

    def __init__(self, logger: RcutilsLogger) -> None:
        """Begin; the first mode is a change.

        Args:
            logger: Logger of the node.
        """
        self._log = logger
        self._said: Mode | None = None
        self._times_s: deque[float] = deque(maxlen=MAX_LINES)

    def note(self, result: Result, now_s: float) -> None:
        """Take in a result.

        Args:
            result: The result.
            now_s: Time, seconds, any origin.
        """
        times_s = self._times_s
        is_full = len(times_s) == MAX_LINES and now_s - times_s[0] < SPAN_S
        if result.mode is self._said or is_full:
            return
        self._said = result.mode
        times_s.append(now_s)
        if result.mode is Mode.FUSED:
            self._log.info('mode fused: both cameras are used')
        else:
            self._log.warning(f'mode {result.mode.value}: {result.mode_reason}')
