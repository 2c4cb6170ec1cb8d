# SPDX-License-Identifier: Apache-2.0
"""What the log says about an engine that hangs and comes back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rgbt_perception.engine import SupervisedEngine
from rgbt_perception.errors import EngineTimeoutError

if TYPE_CHECKING:
    from rclpy.impl.rcutils_logger import RcutilsLogger

    from rgbt_perception.engine import Engine

# A worker that ends finishes two inferences, the one that runs and the one that waits, and
# publishes; a model slower than engine.timeout_s says is given this much in any case.
DRAIN_MARGIN_S = 5.0
MIN_DRAIN_S = 30.0


def drain_timeout_s(timeout_s: float) -> float:
    """Return how long a worker may take to finish, given ``engine.timeout_s``."""
    return max(MIN_DRAIN_S, 2.0 * timeout_s + DRAIN_MARGIN_S)


class EngineWatch:
    """Follows the engine of one activation; called on the worker's thread."""

    def __init__(self, engine: Engine, logger: RcutilsLogger) -> None:
        """Begin; an engine that was given up, or fell back while it ran, is opened anew.

        Args:
            engine: What runs.
            logger: Logger of the node.
        """
        if isinstance(engine, SupervisedEngine):
            engine.restart()
        self._engine, self._log = engine, logger
        self._num_reopened = engine.state.num_reopened

    def note_error(self, error: Exception) -> None:
        """Log a hang: it is rare, and must not be lost among throttled lines."""
        if isinstance(error, EngineTimeoutError):
            text = f'the engine hangs and is given up: {error}'
            self._log.error(text)

    def note_result(self) -> None:
        """Say, once, that a result came from an engine that was opened anew."""
        state = self._engine.state
        if state.num_reopened == self._num_reopened:
            return
        self._num_reopened = state.num_reopened
        instead = f' instead of {state.fallback_from}' if state.fallback_from else ''
        text = (
            f'the network runs again, on {self._engine.backend}, {self._engine.device}{instead}; '
            f'it had failed: {state.last_problem}'
        )
        self._log.warning(text)
