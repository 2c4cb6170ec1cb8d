# SPDX-License-Identifier: Apache-2.0
"""What runs on CUDA, on the CPU: only what captures and replays is a stand-in."""

from __future__ import annotations

from contextlib import contextmanager, nullcontext
from functools import partial
import gc
import logging
import threading
import weakref

import numpy as np
import pytest
import torch

from rgbt_perception.engine.cuda_runtime import CAPTURE_LOCK
from rgbt_perception.engine.torch_runs import (
    capture_cuda_graph,
    CudaRunner,
    repeat,
    ShapeRun,
    ShapeRuns,
)

CPU = torch.device('cpu')


@pytest.fixture(autouse=True)
def new_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr('rgbt_perception.engine.torch_runs._HAS_FAILED', threading.Event())


class MemoryGraph:
    """Captures like CUDA: a replay works in the memory of the capture, when it is waited for.

    What is copied to the host after it is queued behind it.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.num_captures = self.num_replays = 0
        self._queue = []
        self._copy = torch.Tensor.copy_

        def copy(target, source, **options):
            return self._queue_copy(target, source, **options)

        monkeypatch.setattr(torch.Tensor, 'copy_', copy)

    def __call__(self, call):
        self.num_captures += 1
        outputs = {name: torch.full_like(value, torch.nan) for name, value in call().items()}

        def work():
            for name, value in call().items():
                self._copy(outputs[name], value)

        def replay():
            self.num_replays += 1
            self._queue.append(work)
            return outputs

        return replay

    def synchronise(self) -> None:
        while self._queue:
            self._queue.pop(0)()

    def _queue_copy(self, target, source, *, non_blocking=False):
        if non_blocking:
            self._queue.append(lambda: self._copy(target, source))
        else:
            self._copy(target, source)
        return target


@pytest.fixture
def graph(monkeypatch: pytest.MonkeyPatch) -> MemoryGraph:
    return MemoryGraph(monkeypatch)


def add(left, right):
    return {'sum': left + right, 'half': (left - right).to(torch.bfloat16)}


def arrays(value: float, shape: tuple[int, ...] = (1, 4)) -> list[np.ndarray]:
    return [np.full(shape, value, np.float32), np.full(shape, 1.0, np.float32)]


def nothing() -> None:
    pass


def test_a_run_gives_what_the_network_gives_for_every_new_input(graph):
    run = ShapeRun(add, arrays(0.0), device=CPU, capture=graph)
    for value in (3.0, -2.5):
        outputs = run(arrays(value), synchronise=graph.synchronise)
        np.testing.assert_array_equal(outputs['sum'], np.full((1, 4), value + 1.0))
        np.testing.assert_array_equal(outputs['half'], np.full((1, 4), value - 1.0))
        assert outputs['half'].dtype == np.float32


def test_outputs_belong_to_the_caller(graph):
    run = ShapeRun(add, arrays(0.0), device=CPU, capture=graph)
    first = run(arrays(3.0), synchronise=graph.synchronise)
    run(arrays(5.0), synchronise=graph.synchronise)
    np.testing.assert_array_equal(first['sum'], np.full((1, 4), 4.0))


def test_inputs_are_copied_so_the_caller_may_change_them_meanwhile(graph):
    given = arrays(3.0)
    run = ShapeRun(add, given, device=CPU, capture=graph)

    def overwrite() -> None:  # the work is queued, the caller goes on
        given[0][:] = 99.0
        graph.synchronise()

    np.testing.assert_array_equal(run(given, synchronise=overwrite)['sum'], np.full((1, 4), 4.0))


def test_host_memory_is_taken_only_by_runs_from_the_host(monkeypatch):
    run = ShapeRun(add, [torch.zeros(1, 4), torch.ones(1, 4)], device=CPU, capture=repeat)
    allocated = []
    zeros = torch.zeros
    monkeypatch.setattr(
        torch, 'zeros', lambda *args, **options: allocated.append(args) or zeros(*args, **options)
    )
    run.replay([torch.ones(1, 4), torch.ones(1, 4)])
    assert not allocated
    for _ in range(2):
        run(arrays(1.0), synchronise=nothing)
    assert len(allocated) == 4  # inputs and outputs, once


@pytest.mark.parametrize('capture', [repeat, partial])
def test_memory_is_released_with_the_run_not_with_the_garbage(capture):
    def network(left, right):
        return {'sum': left + right}

    gc.disable()
    try:
        runs = ShapeRuns(
            lambda first: ShapeRun(network, first, device=CPU, capture=capture), max_shapes=1
        )
        evicted = weakref.ref(runs.find(arrays(0.0, (1, 4))))
        runs.find(arrays(0.0, (1, 8)))(arrays(0.0, (1, 8)), synchronise=nothing)
        assert evicted() is None
        left = weakref.ref(runs.find(arrays(0.0, (1, 8))))
        del runs
        assert left() is None
    finally:
        gc.enable()


def test_a_shape_is_captured_once_and_the_one_unused_for_longest_leaves(graph):
    runs = ShapeRuns(lambda first: ShapeRun(add, first, device=CPU, capture=graph), max_shapes=2)
    runs.find(arrays(0.0, (1, 4)))
    wide = runs.find(arrays(0.0, (1, 8)))
    kept = runs.find(arrays(1.0, (1, 4)))
    assert graph.num_captures == 2
    runs.find(arrays(0.0, (1, 16)))  # (1, 8) leaves
    assert runs.find(arrays(0.0, (1, 4))) is kept
    assert graph.num_captures == 3
    assert runs.find(arrays(0.0, (1, 8))) is not wide
    assert graph.num_captures == 4


def test_a_failure_to_prepare_is_the_callers_and_leaves_nothing_behind():
    outcomes = [RuntimeError('CUDA out of memory'), None]

    def prepare(first):
        outcome = outcomes.pop(0)
        if outcome is not None:
            raise outcome
        return ShapeRun(add, first, device=CPU, capture=repeat)

    runs = ShapeRuns(prepare)
    with pytest.raises(RuntimeError, match='out of memory'):
        runs.find(arrays(0.0))
    np.testing.assert_array_equal(
        runs.find(arrays(2.0))(arrays(2.0), synchronise=nothing)['sum'], np.full((1, 4), 3.0)
    )


class FakeCuda:
    """The few names of ``torch.cuda`` that are used, which note what is done to them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, error: Exception | None = None) -> None:
        self.log: list[str] = []
        self.error = error
        for name, value in (
            ('CUDAGraph', lambda: self),
            ('current_stream', lambda: 'own stream'),
            ('graph', self.graph),
            ('Stream', lambda device: self),
            ('stream', self.stream),
        ):
            monkeypatch.setattr(torch.cuda, name, value)

    @contextmanager
    def graph(self, graph, *, stream, capture_error_mode):
        assert (graph, stream, capture_error_mode) == (self, 'own stream', 'thread_local')
        self.log.append('begin')
        assert CAPTURE_LOCK.locked()
        yield
        assert CAPTURE_LOCK.locked()
        if self.error is not None:
            raise self.error
        self.log.append('end')

    @contextmanager
    def stream(self, stream):
        assert stream is self
        self.log.append('enter')
        yield
        self.log.append('leave')

    def replay(self) -> None:
        self.log.append('replay')

    def synchronize(self) -> None:
        self.log.append('wait')


def test_the_network_is_warmed_up_captured_once_and_then_replayed(monkeypatch):
    cuda = FakeCuda(monkeypatch)

    def call():
        cuda.log.append('call')
        return {'sum': torch.zeros(1)}

    replay = capture_cuda_graph(call)
    assert replay() is replay()  # always the memory of the capture
    assert cuda.log == [*['call'] * 3, 'begin', 'call', 'end', 'replay', 'replay']


def test_a_network_that_cannot_be_captured_runs_without(monkeypatch, caplog):
    error = RuntimeError('operation not permitted when stream is capturing\ntrace')
    FakeCuda(monkeypatch, error=error)
    with caplog.at_level(logging.WARNING):
        replay = capture_cuda_graph(lambda: add(torch.ones(1), torch.ones(1)))
    assert replay()['sum'].tolist() == [2.0]
    (message,) = caplog.messages
    assert message == (
        'the network cannot be captured as a CUDA graph (operation not permitted when stream is '
        'capturing), it runs without; expected a network of fixed shapes; set engine.cuda_graph '
        'to false to leave this out'
    )


@pytest.mark.parametrize(
    'error', [RuntimeError('not permitted'), torch.cuda.OutOfMemoryError('CUDA out of memory')]
)
def test_after_a_capture_that_failed_nothing_more_is_captured(monkeypatch, error):
    cuda = FakeCuda(monkeypatch, error=error)
    is_memory = isinstance(error, torch.cuda.OutOfMemoryError)
    with pytest.raises(type(error)) if is_memory else nullcontext():
        capture_cuda_graph(lambda: add(torch.ones(1), torch.ones(1)))
    assert not CAPTURE_LOCK.locked()
    cuda.log.clear()
    run = capture_cuda_graph(lambda: add(torch.ones(1), torch.ones(1)))
    assert run()['sum'].tolist() == [2.0]
    assert not cuda.log


def test_everything_runs_on_the_stream_of_the_runner_which_is_waited_for(monkeypatch):
    cuda = FakeCuda(monkeypatch)
    found = []

    def find_network(first):
        found.append([array.shape for array in first])
        return add

    runner = CudaRunner(find_network, 'cpu', use_graph=False)
    for value in (1.0, 2.0):
        np.testing.assert_array_equal(runner(arrays(value))['sum'], np.full((1, 4), value + 1.0))
    assert cuda.log == ['enter', 'wait', 'leave'] * 2
    assert found == [[(1, 4), (1, 4)]]


def test_a_job_runs_the_same_capture_on_tensors_of_the_device(monkeypatch):
    cuda = FakeCuda(monkeypatch)
    found = []

    def find_network(first):
        found.append(first)
        return add

    runner = CudaRunner(find_network, 'cpu', use_graph=False)
    runner(arrays(1.0))
    given = torch.full((1, 4), 5.0)
    total = runner.call(lambda network: network(given, torch.ones(1, 4))['sum'].tolist())
    assert total == [[6.0] * 4]
    assert len(found) == 1
    assert given.tolist() == [[5.0] * 4]
    assert cuda.log == ['enter', 'wait', 'leave', 'enter', 'leave']
