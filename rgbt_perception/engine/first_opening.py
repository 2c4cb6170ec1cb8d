# SPDX-License-Identifier: Apache-2.0
"""The first opening, which is waited for: of several backends, the first that can be opened."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
import logging
from typing import NamedTuple

from rgbt_perception.engine.thread import EngineThread
from rgbt_perception.errors import BackendUnavailableError, EngineError

OPEN_TIMEOUT_S = 120.0
BUILD_TIMEOUT_S = 1800.0  # to open what must first be built, which takes minutes

_LOGGER = logging.getLogger(__name__)


class Lost(NamedTuple):
    """A backend that another one stands in for, and why; '' when none is."""

    backend: str = ''
    reason: str = ''


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class FirstEngine:
    """What was opened, and what was not.

    Attributes:
        thread: The engine, open.
        backends: Its backend, then those that were not tried.
        lost: First backend that could not be opened.
        hanging: Those that are still being opened; they close themselves.
    """

    thread: EngineThread
    backends: tuple[str, ...]
    lost: Lost
    hanging: list[EngineThread]


def open_first(
    backends: tuple[str, ...],
    start: Callable[[str], EngineThread],
    *,
    tries_all: bool,
    must_build: bool,
) -> FirstEngine:
    """Open the first backend that can be, and wait for it.

    Args:
        backends: What to try, in this order; at least one.
        start: Begins to open one.
        tries_all: Whether one that cannot be opened is left for the next; an altered file is not.
        must_build: Whether the first one must first be built.

    Raises:
        EngineError: If it takes too long.
        Exception: Why the last one that was tried could not be opened.
    """
    lost = Lost()
    hanging: list[EngineThread] = []
    for index, backend in enumerate(backends):
        is_built_now = must_build and index == 0
        thread = start(backend)
        thread.wait_until_opened(BUILD_TIMEOUT_S if is_built_now else OPEN_TIMEOUT_S)
        if thread.is_open:
            return FirstEngine(
                thread=thread, backends=backends[index:], lost=lost, hanging=hanging
            )
        problem = thread.problem
        thread.stop()
        if problem is None:
            hanging.append(thread)
            problem = _too_long_to_build(backend) if is_built_now else too_long_to_open(backend)
        is_refusal = isinstance(problem, (BackendUnavailableError, EngineError))
        if not tries_all or not is_refusal or index + 1 == len(backends):
            raise problem
        reason = str(problem)  # not the exception, which keeps what was half open
        _LOGGER.warning("backend '%s' cannot be opened: %s", backend, reason)
        lost = lost if lost.backend else Lost(backend, reason)
    raise AssertionError('no backend was given')


def too_long_to_open(backend: str) -> EngineError:
    """Return what to say of a backend that is not open after ``OPEN_TIMEOUT_S``."""
    return EngineError(
        f"backend '{backend}' is not open after {OPEN_TIMEOUT_S:.0f} s, expected it to be; check "
        f'the device and its driver'
    )


def _too_long_to_build(backend: str) -> EngineError:
    return EngineError(
        f"backend '{backend}' is not built after {BUILD_TIMEOUT_S / 60.0:.0f} min, expected it to "
        f'be; build it before the start, where nothing limits the time, with: rgbt engine build'
    )
