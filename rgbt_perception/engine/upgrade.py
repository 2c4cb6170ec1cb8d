# SPDX-License-Identifier: Apache-2.0
"""A better engine that is opened, or first built, while another one serves."""

from __future__ import annotations

from collections.abc import Callable

from rgbt_perception.engine.base import Engine
from rgbt_perception.engine.thread import EngineThread
from rgbt_perception.types import Batch


class Upgrade:
    """Opens a backend on a thread of its own, however long that takes.

    Attributes:
        backend: What is to be opened.
    """

    def __init__(
        self, backend: str, open_backend: Callable[[str], Engine], warm_up: Batch | None
    ) -> None:
        """Begin to open; see ``EngineThread``."""
        self.backend = backend
        self._thread = EngineThread(lambda: open_backend(backend), warm_up=warm_up)

    def take(self) -> EngineThread | None:
        """Return the engine once it is open and warm, None until then.

        Raises:
            Exception: Why it could not be opened.
        """
        if self._thread.problem is not None:
            raise self._thread.problem
        return self._thread if self._thread.is_open else None

    def stop(self) -> None:
        """Let the engine be closed as soon as it is open; an opening cannot be interrupted."""
        self._thread.stop()
