# SPDX-License-Identifier: Apache-2.0
"""A better engine that is built while another one serves."""

from __future__ import annotations

import logging
import threading

from engine_opener import BATCH, DEADLINE_S, engine_factory, Opener, run_until, wait_for, WARM_UP
from fakes import build_outputs, FailingEngine, FakeEngine
import pytest

from rgbt_perception.engine import EngineState
from rgbt_perception.errors import EngineError


@pytest.fixture
def make_engine():
    with engine_factory() as make:
        yield make


class Building:
    """Opens 'better' once ``is_built`` is set, everything else through an ``Opener``."""

    def __init__(self, *better: FakeEngine | Exception, **others: list[FakeEngine]) -> None:
        self.opener = Opener(better=better, **others)
        self.backends = tuple(others)
        self.is_built = threading.Event()

    def __call__(self, backend: str) -> FakeEngine:
        if backend == 'better':
            assert self.is_built.wait(DEADLINE_S)
        return self.opener(backend)


def test_the_present_engine_serves_until_the_better_one_is_warm(make_engine, caplog):
    present, better = FakeEngine(build_outputs((32, 48))), FakeEngine()
    building = Building(better, onnx=[present])
    engine = make_engine(building)
    engine.offer('better')
    for _ in range(2):
        engine.run(BATCH)
    assert engine.state == EngineState(building='better')
    assert (engine.backend, len(present.batches)) == ('onnx', 3)
    building.is_built.set()
    with caplog.at_level(logging.INFO, 'rgbt_perception'):
        run_until(engine, lambda: engine.backend == 'better')
    assert better.batches[0] is WARM_UP
    assert engine.state == EngineState()
    wait_for(lambda: present.is_closed)
    assert caplog.messages == ['the network now runs on better instead of onnx']


def test_the_better_engine_is_opened_before_any_pair_comes(make_engine):
    better = FakeEngine()
    building = Building(better, onnx=[FakeEngine()])
    building.is_built.set()
    make_engine(building).offer('better')
    wait_for(lambda: better.batches)


def test_a_better_engine_that_cannot_be_built_leaves_the_present_one_and_a_warning(
    make_engine, caplog
):
    building = Building(EngineError('no kernel fits'), onnx=[FakeEngine()])
    engine = make_engine(building)
    engine.offer('better')
    building.is_built.set()
    run_until(engine, lambda: not engine.state.building)
    engine.run(BATCH)
    missing = EngineState(
        fallback_from='better', fallback_reason='no kernel fits', last_problem='no kernel fits'
    )
    assert (engine.backend, engine.state) == ('onnx', missing)
    assert caplog.messages == [
        "backend 'better' cannot be opened: no kernel fits; the network stays on onnx"
    ]
    engine.restart()
    engine.run(BATCH)
    assert building.opener.opened == ['onnx', 'better']
    assert engine.state == missing


def test_what_could_not_be_built_is_still_missed_after_a_failure_that_was_healed(make_engine):
    building = Building(EngineError('no'), onnx=[FailingEngine(num_good=2), FakeEngine()])
    engine = make_engine(building)
    engine.offer('better')
    building.is_built.set()
    run_until(engine, lambda: engine.state.num_reopened == 1)
    assert (engine.backend, engine.state.fallback_from) == ('onnx', 'better')


def test_a_better_engine_that_fails_its_warm_up_is_not_taken(make_engine):
    bad = FailingEngine()
    building = Building(bad, onnx=[FakeEngine()])
    engine = make_engine(building)
    engine.offer('better')
    building.is_built.set()
    run_until(engine, lambda: not engine.state.building)
    assert (engine.backend, bad.is_closed) == ('onnx', True)


def test_when_the_better_engine_fails_later_the_former_is_fallen_back_to(make_engine):
    building = Building(FailingEngine(num_good=2), FailingEngine(), onnx=[FakeEngine()] * 2)
    engine = make_engine(building)
    engine.offer('better')
    building.is_built.set()
    run_until(engine, lambda: engine.state.fallback_from == 'better')
    engine.run(BATCH)
    assert engine.backend == 'onnx'


def test_a_failure_of_the_present_engine_is_healed_by_the_better_one(make_engine):
    building = Building(FakeEngine(), onnx=[FailingEngine(num_good=2), FailingEngine()])
    engine = make_engine(building)
    engine.offer('better')
    run_until(engine, lambda: engine.state.status == 'given_up')
    building.is_built.set()
    run_until(engine, lambda: engine.backend == 'better')
    assert (engine.state.status, engine.state.fallback_from) == ('running', '')


def test_an_engine_closed_while_it_builds_closes_what_was_built(make_engine):
    better = FakeEngine()
    building = Building(better, onnx=[FakeEngine()])
    engine = make_engine(building)
    engine.offer('better')
    engine.run(BATCH)
    engine.close()
    building.is_built.set()
    wait_for(lambda: better.is_closed)
