# SPDX-License-Identifier: Apache-2.0
"""The first opening of an engine: what is left for the next backend, and what is waited for."""

from __future__ import annotations

import gc
import threading
import weakref

from engine_opener import BATCH, engine_factory, Opener, QUICK, run_until, WARM_UP
from fakes import FailingEngine, FakeEngine, HangingEngine
import pytest

from rgbt_perception.config import EngineConfig
from rgbt_perception.engine import EngineState
from rgbt_perception.errors import EngineError, WeightsError

LIMITS = 'rgbt_perception.engine.first_opening'


@pytest.fixture
def make_engine():
    with engine_factory() as make:
        yield make


def test_auto_leaves_what_does_not_open_for_the_next_backend(make_engine, caplog):
    opener = Opener(openvino=[EngineError('no such instruction')], onnx=[FakeEngine()])
    engine = make_engine(opener)
    assert engine.backend == 'onnx'
    assert engine.state == EngineState(
        fallback_from='openvino',
        fallback_reason='no such instruction',
        last_problem='no such instruction',
    )
    assert caplog.messages == ["backend 'openvino' cannot be opened: no such instruction"]


def test_of_several_that_do_not_open_the_best_is_named_with_its_own_reason(make_engine):
    engine = make_engine(
        Opener(
            tensorrt=[EngineError('no driver')], openvino=[EngineError('no')], onnx=[FakeEngine()]
        )
    )
    state = engine.state
    assert (engine.backend, state.fallback_from) == ('onnx', 'tensorrt')
    assert state.fallback_reason == 'no driver'


def test_what_failed_to_open_is_not_kept(make_engine):
    bad = FailingEngine()
    watched = weakref.ref(bad)
    engine = make_engine(Opener(tensorrt=[bad], torch=[FakeEngine()]))
    del bad
    gc.collect()
    assert (engine.backend, watched()) == ('torch', None)


def test_a_later_failure_does_not_become_the_reason_of_the_fallback(make_engine):
    opener = Opener(
        openvino=[EngineError('no such instruction')], onnx=[FailingEngine(num_good=1)]
    )
    engine = make_engine(opener)
    with pytest.raises(EngineError):
        engine.run(BATCH)
    state = engine.state
    assert state.last_problem != 'no such instruction'
    assert (state.fallback_from, state.fallback_reason) == ('openvino', 'no such instruction')


@pytest.mark.parametrize(
    'error', [EngineError('no kernel'), KeyError('no kernel'), MemoryError('no kernel')]
)
def test_auto_leaves_what_opens_but_fails_its_first_run_for_the_next_backend(make_engine, error):
    bad, good = FailingEngine(error=error), FakeEngine()
    engine = make_engine(Opener(tensorrt=[bad], torch=[good]))
    assert (engine.backend, bad.is_closed) == ('torch', True)
    assert bad.batches == good.batches == [WARM_UP]
    assert engine.state.fallback_from == 'tensorrt'
    assert 'no kernel' in engine.state.last_problem


def test_auto_leaves_what_hangs_in_its_first_run_for_the_next_backend(make_engine, monkeypatch):
    monkeypatch.setattr(f'{LIMITS}.OPEN_TIMEOUT_S', 1.0)
    hanging = HangingEngine()
    engine = make_engine(Opener(openvino=[hanging], onnx=[FakeEngine()]))
    hanging.release()
    assert (engine.backend, engine.state.fallback_from) == ('onnx', 'openvino')


def test_a_named_backend_that_does_not_open_is_an_error(make_engine):
    opener = Opener(openvino=[EngineError('no such instruction')], onnx=[FakeEngine()])
    with pytest.raises(EngineError, match='no such instruction'):
        make_engine(opener, EngineConfig(backend='openvino'))
    assert opener.opened == ['openvino']


def test_an_altered_file_is_not_left_for_the_next_backend(make_engine):
    opener = Opener(openvino=[WeightsError('altered')], onnx=[FakeEngine()])
    with pytest.raises(WeightsError, match='altered'):
        make_engine(opener)
    assert opener.opened == ['openvino']


@pytest.mark.parametrize('on_error', ['fallback', 'deactivate', 'raise'])
def test_restart_keeps_what_runs_since_the_first_opening(make_engine, on_error):
    first = FakeEngine()
    opener = Opener(openvino=[EngineError('no such instruction')], onnx=[first])
    engine = make_engine(opener, EngineConfig(on_error=on_error))
    engine.restart()  # as every activation does
    engine.run(BATCH)
    assert (opener.opened, first.is_closed) == (['openvino', 'onnx'], False)
    assert (engine.state.status, engine.state.fallback_from) == ('running', 'openvino')


def test_a_restart_after_a_failure_does_not_try_what_never_opened(make_engine):
    opener = Opener(
        openvino=[EngineError('no such instruction')],
        onnx=[FailingEngine(num_good=1), FailingEngine(), FakeEngine()],
        torch=[FakeEngine()],
    )
    engine = make_engine(opener, QUICK)
    run_until(engine, lambda: engine.backend == 'torch')
    assert engine.state.fallback_from == 'onnx'
    engine.restart()
    run_until(engine, lambda: engine.backend == 'onnx')
    assert opener.opened == ['openvino', 'onnx', 'onnx', 'torch', 'onnx']
    assert engine.state.fallback_from == 'openvino'


def test_what_must_be_built_may_take_longer_to_open(make_engine, monkeypatch):
    monkeypatch.setattr(f'{LIMITS}.OPEN_TIMEOUT_S', 0.01)
    opener = Opener(tensorrt=[FakeEngine()], torch=[FakeEngine()])
    opener.may_open.clear()
    threading.Timer(0.1, opener.may_open.set).start()
    assert make_engine(opener, must_build=True).backend == 'tensorrt'


def test_a_build_that_takes_too_long_names_the_command(make_engine, monkeypatch):
    monkeypatch.setattr(f'{LIMITS}.BUILD_TIMEOUT_S', 0.01)
    opener = Opener(tensorrt=[FakeEngine()])
    opener.may_open.clear()
    with pytest.raises(EngineError, match=r"'tensorrt' is not built after 0 min.*rgbt engine b"):
        make_engine(opener, must_build=True)
    opener.may_open.set()
