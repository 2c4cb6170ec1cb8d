# SPDX-License-Identifier: Apache-2.0
"""Prepared engines under supervision, for tests of what happens when they fail."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
import threading
from time import monotonic
from typing import Any

import numpy as np

from rgbt_perception.config import EngineConfig
from rgbt_perception.engine import SupervisedEngine
from rgbt_perception.errors import EngineError
from rgbt_perception.geometry import letterbox_transform
from rgbt_perception.types import Batch

DEADLINE_S = 10.0
LIMIT_S = 0.25
QUICK = EngineConfig(timeout_s=LIMIT_S)
NEVER = threading.Event()


def build_batch(value: float = 1.0) -> Batch:
    """Build a small batch of one value."""
    image = np.full((1, 3, 32, 48), value, np.float32)
    return Batch(
        rgb=image,
        thermal=image,
        available=np.ones((1, 2), np.float32),
        letterbox=letterbox_transform((32, 48), (32, 48)),
        source_hw=(32, 48),
    )


BATCH = build_batch()
WARM_UP = build_batch(0.0)


class Opener:
    """Hands out prepared engines, per backend and in order; an exception is raised instead.

    Attributes:
        backends: Names of the backends, in order.
        opened: Backends that were asked for, in order.
        may_open: Cleared, every opening waits.
    """

    def __init__(self, **engines: Any) -> None:
        self._engines = {backend: list(items) for backend, items in engines.items()}
        self.backends = tuple(engines)
        self.opened: list[str] = []
        self.may_open = threading.Event()
        self.may_open.set()

    def __call__(self, backend: str) -> Any:
        self.opened.append(backend)
        assert self.may_open.wait(DEADLINE_S)
        engine = self._engines[backend].pop(0)
        if isinstance(engine, Exception):
            raise engine
        engine.backend = backend
        return engine


@contextmanager
def engine_factory() -> Iterator[Callable[..., SupervisedEngine]]:
    """Give a function that builds supervised engines, and close them at the end."""
    engines: list[SupervisedEngine] = []

    def make(
        opener: Opener,
        config: EngineConfig = QUICK,
        *,
        now_s: Callable[[], float] = monotonic,
        must_build: bool = False,
    ) -> SupervisedEngine:
        engine = SupervisedEngine(
            config,
            backends=opener.backends,
            open_backend=opener,
            warm_up=WARM_UP,
            must_build=must_build,
            now_s=now_s,
        )
        engines.append(engine)
        return engine

    yield make
    for engine in engines:
        engine.close()


def run_until(engine: SupervisedEngine, is_done: Callable[[], Any]) -> None:
    """Run pairs as a camera would deliver them, until something has happened."""
    deadline = monotonic() + DEADLINE_S
    while not is_done():
        assert monotonic() < deadline, engine.state
        try:
            engine.run(BATCH)
        except EngineError:
            NEVER.wait(0.001)


def wait_for(is_done: Callable[[], Any]) -> None:
    """Wait until something has happened on another thread."""
    deadline = monotonic() + DEADLINE_S
    while not is_done():
        assert monotonic() < deadline
        NEVER.wait(0.001)
