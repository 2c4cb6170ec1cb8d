# SPDX-License-Identifier: Apache-2.0
"""One engine on a thread of its own."""

from __future__ import annotations

from engine_opener import BATCH, DEADLINE_S
from fakes import FailingEngine, FakeEngine
import pytest

from rgbt_perception.engine.thread import EngineThread
from rgbt_perception.errors import EngineError, EngineTimeoutError


def test_a_run_after_stop_is_a_timeout():
    # As when one thread closes the engine just before another one runs it.
    inner = FakeEngine()
    thread = EngineThread(lambda: inner, warm_up=None)
    assert thread.wait_until_opened(DEADLINE_S)
    assert thread.stop(DEADLINE_S)
    with pytest.raises(EngineTimeoutError, match=r'on fake, cpu has not come back after 0\.01 s'):
        thread.run(lambda engine: engine.run(BATCH), 0.01)
    assert (inner.batches, inner.is_closed) == ([], True)


def test_whatever_the_warm_up_raises_is_a_failure_of_the_engine():
    inner = FailingEngine(error=RuntimeError('CUDA out of memory'))
    thread = EngineThread(lambda: inner, warm_up=BATCH)
    assert thread.wait_until_opened(DEADLINE_S)
    assert (thread.is_open, inner.is_closed) == (False, True)
    assert isinstance(thread.problem, EngineError)
    assert 'ran out of memory (CUDA out of memory)' in str(thread.problem)
