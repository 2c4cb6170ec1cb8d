# SPDX-License-Identifier: Apache-2.0
"""Limits of a supervised engine: memory, numbers, time, opening and closing."""

from __future__ import annotations

import threading
import time

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
from fakes import (
    build_onnx_card,
    build_outputs,
    FailingEngine,
    FakeEngine,
    HangingEngine,
)
import numpy as np
import pytest

from rgbt_models.card import OUTPUT_NAMES
from rgbt_perception.config import build_config, EngineConfig
from rgbt_perception.engine import EngineState, supervise, SupervisedEngine
from rgbt_perception.engine.base import collect_outputs
from rgbt_perception.errors import (
    EngineError,
    EngineGivenUpError,
    EngineTimeoutError,
    WeightsError,
)
from rgbt_perception.pipeline import open_pipeline


@pytest.fixture
def make_engine():
    with engine_factory() as make:
        yield make


OUT_OF_MEMORY = [MemoryError(), RuntimeError('CUDA out of memory')]


@pytest.mark.parametrize('error', OUT_OF_MEMORY, ids=lambda item: type(item).__name__)
def test_out_of_memory_once_costs_its_pair_repeatedly_it_reopens(make_engine, error):
    once, good = FailingEngine(num_good=1, num_bad=1, error=error), FakeEngine()
    opener = Opener(onnx=[once, good])
    engine = make_engine(opener)
    with pytest.raises(
        EngineError, match=r'ran out of memory .*set a smaller model\.input_height'
    ):
        engine.run(BATCH)
    engine.run(BATCH)
    assert opener.opened == ['onnx']
    once.num_bad = None
    run_until(engine, lambda: engine.state.num_reopened == 1)
    assert (once.is_closed, engine.state.num_failures) == (True, 4)


def test_an_unexpected_exception_is_a_failure_like_any_other(make_engine):
    engine = make_engine(Opener(onnx=[FailingEngine(num_good=1, error=KeyError('output'))]))
    with pytest.raises(EngineError, match="unexpected KeyError: 'output'"):
        engine.run(BATCH)


def test_non_finite_logits_repeatedly_reopen_the_engine(make_engine):
    def give_nan(batch):
        values = {name: getattr(build_outputs((32, 48)), name) for name in OUTPUT_NAMES}
        if batch is BATCH:
            values['class_logits'][0, 0, 0] = np.nan
        return collect_outputs(values)

    opener = Opener(onnx=[FakeEngine(give_nan), FakeEngine(give_nan)], torch=[FakeEngine()])
    engine = make_engine(opener)
    run_until(engine, lambda: engine.state.fallback_from == 'onnx')
    assert "output 'class_logits' of the network has non-finite" in engine.state.last_problem
    assert opener.opened == ['onnx', 'onnx', 'torch']


def test_the_first_run_may_take_longer_than_the_limit(make_engine):
    slow = HangingEngine()
    threading.Timer(2 * LIMIT_S, slow.release).start()
    engine = make_engine(Opener(onnx=[slow]))
    engine.run(BATCH)
    assert engine.state == EngineState(status='running')


def test_a_slow_model_may_take_three_times_its_usual_time(make_engine):
    inner = FakeEngine(lambda batch: time.sleep(0.6 * LIMIT_S) or build_outputs((32, 48)))
    engine = make_engine(Opener(onnx=[inner]))
    inner.outputs = lambda batch: time.sleep(1.1 * LIMIT_S) or build_outputs((32, 48))
    engine.run(BATCH)
    assert engine.state.num_timeouts == 0


def test_an_engine_that_hangs_in_the_first_run_is_given_up_some_time(make_engine, monkeypatch):
    monkeypatch.setattr('rgbt_perception.engine.first_opening.OPEN_TIMEOUT_S', 0.1)
    with pytest.raises(EngineError, match=r"'onnx' is not open after 0 s.*check the device"):
        make_engine(Opener(onnx=[HangingEngine()]))


def test_what_takes_too_long_to_open_is_left_for_the_next_backend(make_engine, monkeypatch):
    opener = Opener(onnx=[HangingEngine(num_good=1), FakeEngine()], torch=[FakeEngine()])
    engine = make_engine(opener)
    opener.may_open.clear()
    with pytest.raises(EngineTimeoutError):
        engine.run(BATCH)
    monkeypatch.setattr('rgbt_perception.engine.supervised.OPEN_TIMEOUT_S', 0.0)
    with pytest.raises(EngineError, match="backend 'torch' is being opened after: backend 'onnx'"):
        engine.run(BATCH)
    opener.may_open.set()
    monkeypatch.undo()
    run_until(engine, lambda: engine.backend == 'torch')


def test_no_more_than_four_engines_hang_at_a_time(make_engine):
    now_s = [0.0]
    hanging = [HangingEngine(num_good=3) for _ in range(9)]
    opener = Opener(onnx=hanging)
    engine = make_engine(opener, now_s=lambda: now_s[0])

    def is_given_up():
        now_s[0] += 100.0
        return engine.state.status == 'given_up'

    run_until(engine, is_given_up)
    assert engine.state.num_timeouts == 4
    for item in hanging:
        item.release()
    run_until(engine, lambda: is_given_up() or engine.state.status == 'running')


def test_retries_do_not_add_to_the_engines_that_hang(make_engine, monkeypatch):
    now_s = [0.0]
    hanging = [HangingEngine(num_good=1), *[HangingEngine() for _ in range(9)]]
    opener = Opener(onnx=hanging)
    engine = make_engine(opener, now_s=lambda: now_s[0])
    monkeypatch.setattr('rgbt_perception.engine.supervised.OPEN_TIMEOUT_S', 0.02)
    for _ in range(12):
        now_s[0] += 100.0  # a retry is due
        run_until(engine, lambda: engine.state.status == 'given_up')
        NEVER.wait(0.03)  # an opening that has begun takes too long
        with pytest.raises(EngineGivenUpError):
            engine.run(BATCH)
    assert len(opener.opened) == 4
    engine.restart()
    assert (len(opener.opened), engine.state.status) == (4, 'given_up')
    for item in hanging:
        item.release()
    monkeypatch.undo()

    def is_running():
        now_s[0] += 100.0
        return engine.state.status == 'running'

    run_until(engine, is_running)


@pytest.mark.parametrize('on_error', ['deactivate', 'raise'])
def test_without_fallback_a_restart_that_fails_takes_no_other_backend(make_engine, on_error):
    opener = Opener(
        onnx=[FailingEngine(num_good=1), EngineError('device lost')], torch=[FakeEngine()]
    )
    engine = make_engine(opener, EngineConfig(on_error=on_error, max_failures=1))
    with pytest.raises(EngineGivenUpError):
        engine.run(BATCH)
    engine.restart()
    run_until(engine, lambda: engine.state.status == 'given_up')
    with pytest.raises(EngineGivenUpError, match='device lost'):
        engine.run(BATCH)
    assert opener.opened == ['onnx', 'onnx']


def test_an_engine_closed_while_it_hangs_is_not_opened_again(make_engine, monkeypatch):
    monkeypatch.setattr('rgbt_perception.engine.supervised.CLOSE_TIMEOUT_S', 0.01)
    hanging = HangingEngine(num_good=1)
    opener = Opener(onnx=[hanging, FakeEngine()])
    engine = make_engine(opener)
    errors = []

    def run():
        try:
            engine.run(BATCH)
        except EngineError as error:
            errors.append(error)

    worker = threading.Thread(target=run)
    worker.start()
    assert hanging.is_hanging.wait(DEADLINE_S)
    engine.close()
    worker.join(DEADLINE_S)
    hanging.release()
    assert [type(error) for error in errors] == [EngineTimeoutError]
    assert opener.opened == ['onnx']


def test_what_is_opened_just_when_another_thread_closes_is_closed_as_well(
    make_engine, monkeypatch
):
    late = FakeEngine()
    engine = make_engine(Opener(onnx=[FailingEngine(num_good=1), late]))
    start = engine._start

    def start_too_late(backend):
        engine.close()
        return start(backend)

    monkeypatch.setattr(engine, '_start', start_too_late)
    for _ in range(3):
        with pytest.raises(EngineError, match='said no'):
            engine.run(BATCH)
    wait_for(lambda: late.is_closed)
    with pytest.raises(EngineError, match='the engine was closed'):
        engine.run(BATCH)


def test_an_engine_that_does_not_open_at_first_is_the_callers_failure(make_engine):
    opener = Opener(onnx=[WeightsError('model.onnx is altered')], torch=[FakeEngine()])
    with pytest.raises(WeightsError, match=r'model\.onnx is altered'):
        make_engine(opener)
    assert opener.opened == ['onnx']


def test_close_releases_the_engine_and_later_runs_say_so(make_engine):
    inner = FakeEngine()
    engine = make_engine(Opener(onnx=[inner]))
    engine.close()
    assert inner.is_closed
    engine.close()
    with pytest.raises(EngineError, match='the engine was closed'):
        engine.run(BATCH)


def test_close_does_not_wait_for_an_engine_that_hangs(make_engine, monkeypatch, caplog):
    monkeypatch.setattr('rgbt_perception.engine.supervised.CLOSE_TIMEOUT_S', 0.05)
    hanging = HangingEngine(num_good=1)
    engine = make_engine(Opener(onnx=[hanging]), EngineConfig(timeout_s=DEADLINE_S))
    worker = threading.Thread(target=engine.run, args=(BATCH,))
    worker.start()
    assert hanging.is_hanging.wait(DEADLINE_S)
    engine.close()
    assert 'still busy' in caplog.text
    assert not hanging.is_closed
    hanging.release()
    worker.join(DEADLINE_S)
    wait_for(lambda: hanging.is_closed)


def test_a_real_graph_runs_supervised_with_the_same_outputs(tmp_path):
    card = build_onnx_card(tmp_path / 'card')
    config = build_config({'model.card': str(tmp_path / 'card'), 'engine.num_threads': 1})
    pipeline = open_pipeline(config, supervised=True)
    assert isinstance(pipeline.engine, SupervisedEngine)
    pipeline.warm_up()
    plain = open_pipeline(config)
    for name in OUTPUT_NAMES:
        found, wanted = (getattr(item.engine.run(BATCH), name) for item in (pipeline, plain))
        np.testing.assert_array_equal(found, wanted)
    assert pipeline.engine.state == EngineState(status='running')
    pipeline.close()
    plain.close()
    card.graph_path.write_bytes(b'x')
    with pytest.raises(WeightsError, match='has SHA-256'):
        supervise(card, config.engine)


def test_watching_an_engine_costs_less_than_half_a_millisecond(make_engine):
    inner = FakeEngine(build_outputs((32, 48)))
    engine = make_engine(Opener(onnx=[inner]))
    costs_s = []
    for _ in range(500):
        started = time.perf_counter()
        engine.run(BATCH)
        costs_s.append(time.perf_counter() - started)
    assert np.median(costs_s) < 0.5e-3  # measured: 0.02 ms
