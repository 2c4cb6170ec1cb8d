# SPDX-License-Identifier: Apache-2.0
"""An engine that hangs, fails or cannot be opened any more, and what follows."""

from __future__ import annotations

import logging
from time import monotonic

from engine_opener import (
    BATCH,
    DEADLINE_S,
    engine_factory,
    LIMIT_S,
    NEVER,
    Opener,
    run_until,
    wait_for,
)
from fakes import build_outputs, FailingEngine, FakeEngine, HangingEngine
import pytest

from rgbt_perception.config import EngineConfig
from rgbt_perception.engine import EngineState
from rgbt_perception.errors import (
    BackendUnavailableError,
    EngineError,
    EngineGivenUpError,
    EngineTimeoutError,
)


@pytest.fixture
def make_engine():
    with engine_factory() as make:
        yield make


def test_outputs_and_names_are_those_of_the_engine_inside(make_engine):
    inner = FakeEngine()
    engine = make_engine(Opener(onnx=[inner]))
    inner.outputs = wanted = build_outputs((32, 48), rgb_share=0.25)
    assert engine.run(BATCH) is wanted
    assert inner.batches[-1] is BATCH
    assert (engine.backend, engine.device, engine.precision) == ('onnx', 'cpu', 'fp32')
    assert engine.state == EngineState(status='running')


def test_one_failure_costs_its_pair_and_nothing_else(make_engine):
    inner = FailingEngine(num_good=2, num_bad=1)
    opener = Opener(onnx=[inner])
    engine = make_engine(opener)
    engine.run(BATCH)
    with pytest.raises(EngineError, match='the accelerator said no'):
        engine.run(BATCH)
    engine.run(BATCH)
    assert opener.opened == ['onnx']
    assert engine.state == EngineState(
        status='running', num_failures=1, last_problem='the accelerator said no'
    )


def test_failures_that_are_not_in_a_row_never_reopen(make_engine):
    inner = FakeEngine()
    opener = Opener(onnx=[inner])
    engine = make_engine(opener)
    for _ in range(5):
        for error in (EngineError('no'), EngineError('no'), None):
            inner.error = error
            try:
                engine.run(BATCH)
            except EngineError:
                assert error is not None
    assert engine.state.num_failures == 10
    assert opener.opened == ['onnx']


def test_repeated_failures_close_the_engine_and_open_the_same_backend_anew(make_engine, caplog):
    caplog.set_level(logging.INFO, 'rgbt_perception')
    bad, good = FailingEngine(num_good=1), FakeEngine()
    opener = Opener(onnx=[bad, good], torch=[])
    engine = make_engine(opener)
    for _ in range(3):
        with pytest.raises(EngineError, match='the accelerator said no'):
            engine.run(BATCH)
    assert bad.is_closed  # before the next one is opened: both may not fit into memory
    run_until(engine, lambda: engine.state.status == 'running')
    assert opener.opened == ['onnx', 'onnx']
    assert engine.state == EngineState(
        status='running',
        num_failures=3,
        num_reopened=1,
        last_problem='the accelerator said no',
    )
    assert not caplog.messages  # ``EngineWatch`` says it, once a result has come


def test_a_hang_is_given_up_at_the_time_limit_and_the_backend_opened_anew(make_engine):
    hanging, good = HangingEngine(num_good=1), FakeEngine()
    engine = make_engine(Opener(onnx=[hanging, good]))
    started = monotonic()
    with pytest.raises(
        EngineTimeoutError, match=r'onnx, cpu has not come back after 0\.25 s.*engine\.timeout_s'
    ):
        engine.run(BATCH)
    assert LIMIT_S <= monotonic() - started < 1.0
    assert engine.state.num_timeouts == engine.state.num_failures == 1
    run_until(engine, lambda: engine.state.status == 'running')
    assert engine.state.num_reopened == 1
    assert good.batches[0].rgb.max() == 0.0  # the warm-up, before any pair
    assert not hanging.is_closed
    hanging.release()  # it comes back long after: nobody wants its outputs, and it is closed
    assert hanging.came_back.wait(DEADLINE_S)
    wait_for(lambda: hanging.is_closed)
    good.outputs = wanted = build_outputs((32, 48), rgb_share=0.75)
    assert engine.run(BATCH) is wanted


def test_while_an_engine_is_opened_run_raises_at_once(make_engine):
    opener = Opener(onnx=[HangingEngine(num_good=1), FakeEngine()])
    engine = make_engine(opener)
    opener.may_open.clear()
    with pytest.raises(EngineTimeoutError):
        engine.run(BATCH)
    started = monotonic()
    for _ in range(100):
        with pytest.raises(EngineError, match=r"'onnx' is being opened after: .* not come back"):
            engine.run(BATCH)
    assert monotonic() - started < 0.5
    assert engine.state.status == 'reopening'
    opener.may_open.set()
    run_until(engine, lambda: engine.state.status == 'running')


@pytest.mark.parametrize(
    'second',
    [
        FailingEngine(),  # fails in its warm-up
        FailingEngine(num_good=1),  # fails on the first pair
        HangingEngine(num_good=1),
        EngineError('the file is gone'),
    ],
    ids=['warm-up', 'first pair', 'hang', 'opening'],
)
def test_a_reopened_engine_that_fails_again_gives_way_to_the_next_backend(make_engine, second):
    opener = Opener(onnx=[HangingEngine(num_good=1), second], torch=[FakeEngine()])
    engine = make_engine(opener)
    run_until(engine, lambda: engine.state.fallback_from)
    assert opener.opened == ['onnx', 'onnx', 'torch']
    assert (engine.backend, engine.state.fallback_from) == ('torch', 'onnx')
    assert engine.state.status == 'running'
    engine.run(BATCH)
    assert opener.opened == ['onnx', 'onnx', 'torch']  # and there it stays


def test_a_reopened_engine_that_works_is_not_on_trial_any_more(make_engine):
    engines = [HangingEngine(num_good=1), FailingEngine(num_good=2), FakeEngine()]
    opener = Opener(onnx=engines, torch=[])
    engine = make_engine(opener)
    run_until(engine, lambda: engine.state.num_reopened == 2)
    assert opener.opened == ['onnx', 'onnx', 'onnx']
    assert engine.state.num_failures == 1 + 3


def test_when_no_backend_is_left_every_pair_is_told_so_and_retries_slow_down(make_engine):
    now_s = [100.0]
    gone = [BackendUnavailableError('onnxruntime cannot be imported')] * 9
    opener = Opener(onnx=[HangingEngine(num_good=1), *gone])
    engine = make_engine(opener, now_s=lambda: now_s[0])
    run_until(engine, lambda: engine.state.status == 'given_up')
    with pytest.raises(
        EngineGivenUpError,
        match=r'failed for good \(tried: onnx\): onnxruntime cannot be imported; expected one',
    ):
        engine.run(BATCH)
    assert len(opener.opened) == 2
    for wait_s, num_opened in ((4.9, 2), (0.2, 3), (9.9, 3), (0.2, 4), (19.9, 4), (0.2, 5)):
        now_s[0] += wait_s
        for _ in range(20):
            with pytest.raises(EngineGivenUpError):
                engine.run(BATCH)
            NEVER.wait(0.002)  # an opening that has begun comes to its end
        assert len(opener.opened) == num_opened
    for num_opened in (6, 7, 8):  # 40 s, then once a minute
        now_s[0] += 60.1
        for _ in range(20):
            assert _raises_given_up(engine)
            NEVER.wait(0.002)
        assert len(opener.opened) == num_opened


def _raises_given_up(engine):
    with pytest.raises(EngineGivenUpError):
        engine.run(BATCH)
    return True


def test_a_retry_that_works_ends_the_outage(make_engine):
    now_s = [0.0]
    opener = Opener(onnx=[HangingEngine(num_good=1), EngineError('busy'), FakeEngine()])
    engine = make_engine(opener, now_s=lambda: now_s[0])
    run_until(engine, lambda: engine.state.status == 'given_up')
    now_s[0] = 5.1
    run_until(engine, lambda: engine.state.status == 'running')
    assert engine.run(BATCH) is not None


@pytest.mark.parametrize('on_error', ['deactivate', 'raise'])
@pytest.mark.parametrize('make', [HangingEngine, FailingEngine])
def test_without_fallback_the_engine_is_given_up_and_not_reopened(make_engine, on_error, make):
    opener = Opener(onnx=[make(num_good=1)], torch=[FakeEngine()])
    config = EngineConfig(timeout_s=LIMIT_S, on_error=on_error, max_failures=2)
    engine = make_engine(opener, config)
    if make is FailingEngine:
        with pytest.raises(EngineError, match='said no'):
            engine.run(BATCH)
    for _ in range(3):
        with pytest.raises(EngineGivenUpError, match='has failed for good'):
            engine.run(BATCH)
    assert opener.opened == ['onnx']
    assert engine.state.status == 'given_up'


def test_restart_opens_the_backend_of_the_settings_again(make_engine):
    opener = Opener(onnx=[FailingEngine(num_good=1), FakeEngine()], torch=[FakeEngine()])
    engine = make_engine(opener, EngineConfig(on_error='deactivate', max_failures=1))
    with pytest.raises(EngineGivenUpError):
        engine.run(BATCH)
    engine.restart()
    assert engine.state.status == 'reopening'
    run_until(engine, lambda: engine.state.status == 'running')
    engine.restart()  # nothing to forget
    assert opener.opened == ['onnx', 'onnx']
