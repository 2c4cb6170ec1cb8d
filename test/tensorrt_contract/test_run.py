# SPDX-License-Identifier: Apache-2.0
"""The runner: what goes in and comes out, CUDA graphs, failures, and that all is released."""

from __future__ import annotations

import dataclasses
import logging
import sys
from typing import Any

import numpy as np
import pytest

from rgbt_models.card import OUTPUT_NAMES
from rgbt_perception.config import EngineConfig
from rgbt_perception.engine.choice import needs_build
from rgbt_perception.engine.onnx import OnnxEngine
from rgbt_perception.engine.tensorrt import TensorrtEngine
from rgbt_perception.engine.thread import EngineThread
from rgbt_perception.errors import BackendUnavailableError, ConfigError, EngineError
from rgbt_perception.geometry import letterbox_transform
from rgbt_perception.types import Batch
from tensorrt_contract.cuda_stand_in import (
    CAPTURE_INVALID,
    LAUNCH_FAILURE,
    NO_DRIVER,
    OUT_OF_MEMORY,
)
from tensorrt_contract.machine import Machine

DEADLINE_S = 60.0
# One version is enough where nothing differs between them.
newest = pytest.mark.parametrize('version', ['11.4.0'])


def build_batch(seed: int = 0, input_hw: tuple[int, int] = (64, 80)) -> Batch:
    rng = np.random.default_rng(seed)
    return Batch(
        rgb=rng.normal(size=(1, 3, *input_hw)).astype(np.float32),
        thermal=rng.normal(size=(1, 3, *input_hw)).astype(np.float32),
        available=np.array([[1, 1]], np.float32),
        letterbox=letterbox_transform(input_hw, input_hw),
        source_hw=input_hw,
    )


def assert_right(machine: Machine, engine: TensorrtEngine, batch: Batch, **bounds: float) -> None:
    """The stand-in computes the graph, so what ONNX Runtime gives is what must come out."""
    wanted = OnnxEngine(machine.card, EngineConfig(num_threads=1)).run(batch)
    outputs = engine.run(batch)
    for name in OUTPUT_NAMES:
        value = getattr(outputs, name)
        assert value.dtype == np.float32
        np.testing.assert_allclose(value, getattr(wanted, name), **{'rtol': 1e-6, **bounds})


def assert_released(machine: Machine) -> None:
    assert not machine.cuda.memory
    assert not machine.cuda.streams
    assert not machine.cuda.graphs


@pytest.mark.parametrize('cuda_graph', [True, False])
def test_engine_gives_what_the_graph_gives(machine: Machine, cuda_graph: bool):
    engine = TensorrtEngine(machine.card, machine.config(cuda_graph=cuda_graph))
    for seed in range(3):  # the first run is not from a CUDA graph
        assert_right(machine, engine, build_batch(seed))
    assert (engine.backend, engine.device, engine.precision) == ('tensorrt', 'cuda:0', 'fp32')
    engine.close()
    assert_released(machine)


@newest
def test_cuda_graph_is_recorded_after_one_run_and_then_launched(machine: Machine):
    engine = TensorrtEngine(machine.card, machine.config())
    machine.cuda.calls.clear()
    engine.run(build_batch())
    copies, wait = ['cudaMemcpyAsync'], ['cudaStreamSynchronize']
    enqueue = [*copies * 3, *copies * 6]
    assert machine.cuda.names() == [
        *['cudaSetDevice', 'cudaStreamCreateWithFlags', *enqueue, *wait],
        *['cudaStreamBeginCapture', *enqueue, 'cudaStreamEndCapture'],
        *['cudaGraphInstantiateWithFlags', 'cudaGraphDestroy'],
    ]
    machine.cuda.calls.clear()
    machine.tensorrt.calls.clear()
    engine.run(build_batch())
    assert machine.cuda.names() == ['cudaSetDevice', 'cudaGraphLaunch', *wait]
    assert machine.tensorrt.names() == []


@newest
def test_input_of_another_size_is_recorded_anew(machine: Machine):
    engine = TensorrtEngine(machine.card, machine.config())
    for seed, size in enumerate([(64, 80), (64, 80), (32, 48), (32, 48)]):
        logits = engine.run(build_batch(seed, size)).segmentation_logits
        assert logits.shape[2:] == (size[0] // 4, size[1] // 4)
    assert machine.cuda.names().count('cudaStreamBeginCapture') == 2
    assert machine.tensorrt.names().count('Builder.build_serialized_network') == 2
    assert len(machine.cuda.graphs) == 1
    assert len(machine.cuda.memory) == 2 * 9  # three inputs and six outputs, here and there
    assert_right(machine, engine, build_batch(9, (32, 48)))
    engine.close()
    assert_released(machine)


@newest
def test_engine_is_opened_run_and_closed_on_a_thread_of_its_own(machine: Machine):
    # As a supervised one is, also while another engine serves.
    thread = EngineThread(
        lambda: TensorrtEngine(machine.card, machine.config()), warm_up=build_batch()
    )
    assert thread.wait_until_opened(DEADLINE_S), thread.problem
    outputs = thread.run(lambda engine: engine.run(build_batch(1)), DEADLINE_S)
    assert outputs.share_map.shape == (1, 1, 4, 5)
    assert 'cudaGraphLaunch' in machine.cuda.names()
    assert thread.stop(DEADLINE_S)
    assert_released(machine)


@newest
def test_outputs_are_not_overwritten_by_the_next_run(machine: Machine):
    engine = TensorrtEngine(machine.card, machine.config())
    first = engine.run(build_batch(0)).share_map
    kept = first.copy()
    engine.run(build_batch(1))
    engine.close()
    np.testing.assert_array_equal(first, kept)


@newest
@pytest.mark.parametrize(
    'failing', ['record', 'cudaStreamEndCapture', 'cudaGraphInstantiateWithFlags']
)
def test_network_that_cannot_be_recorded_runs_without(
    machine: Machine, failing: str, caplog: pytest.LogCaptureFixture
):
    if failing == 'record':
        machine.tensorrt.fails_to = failing
    else:
        machine.cuda.failures[failing] = CAPTURE_INVALID
    engine = TensorrtEngine(machine.card, machine.config())
    with caplog.at_level(logging.INFO, 'rgbt_perception.engine.tensorrt_network'):
        engine.run(build_batch(0))
        assert_right(machine, engine, build_batch(1))
    told = [text for text in caplog.messages if text.startswith('the network runs without a')]
    assert len(told) == 1
    engine.close()
    assert_released(machine)


def test_half_precision_inputs_and_outputs_are_converted(machine: Machine):
    machine.tensorrt.half_tensors = frozenset({'rgb', 'share_map', 'boxes_xyxy'})
    engine = TensorrtEngine(machine.card, machine.config())
    assert_right(machine, engine, build_batch(), rtol=2e-3, atol=2e-3)


@newest
@pytest.mark.parametrize('name', ['available', 'entropies'])
def test_tensor_of_another_type_is_named(machine: Machine, name: str):
    machine.tensorrt.odd_tensors = {name: 'INT8'}
    with pytest.raises(EngineError, match=f"tensor '{name}' of the TensorRT plan is .*INT8"):
        TensorrtEngine(machine.card, machine.config())
    assert_released(machine)


@newest
@pytest.mark.parametrize(
    ('step', 'what'),
    [
        ('take_shape', r"input 'rgb' of \(1, 3, 64, 80\)"),
        ('know_shape', r"tensor 'class_logits' of \(1, -1\)"),
        ('take_address', r"memory for tensor 'rgb'"),
    ],
)
def test_plan_that_does_not_fit_its_sizes_is_refused(machine: Machine, step: str, what: str):
    machine.tensorrt.fails_to = step
    with pytest.raises(EngineError, match=f'TensorRT refuses {what}.*run: rgbt engine clear'):
        TensorrtEngine(machine.card, machine.config())
    assert_released(machine)


@newest
def test_plan_of_another_network_is_refused(machine: Machine):
    TensorrtEngine(machine.card, machine.config()).close()
    machine.tensorrt.input_names = ('image', 'thermal', 'available')
    with pytest.raises(EngineError, match=r"has inputs \['image', 'thermal', 'available'\] and"):
        TensorrtEngine(machine.card, machine.config())
    assert_released(machine)


@newest
def test_input_of_another_shape_is_refused(machine: Machine):
    engine = TensorrtEngine(machine.card, machine.config())
    batch = dataclasses.replace(build_batch(), available=np.ones((1, 3), np.float32))
    with pytest.raises(EngineError, match=r"input 'available' is \(1, 3\), the network takes"):
        engine.run(batch)


def test_failed_execution_is_an_error_and_the_next_may_succeed(machine: Machine):
    engine = TensorrtEngine(machine.card, machine.config())
    machine.tensorrt.fails_to = 'execute'
    with pytest.raises(EngineError, match=r'TensorRT failed to run the network \(the launch fai'):
        engine.run(build_batch())
    machine.tensorrt.fails_to = ''
    assert_right(machine, engine, build_batch())


@newest
def test_close_waits_for_what_is_on_the_stream(machine: Machine):
    engine = TensorrtEngine(machine.card, machine.config())
    machine.tensorrt.fails_to = 'execute'
    with pytest.raises(EngineError):
        engine.run(build_batch())  # its inputs are on their way
    engine.close()
    assert_released(machine)


@newest
@pytest.mark.parametrize(
    ('function', 'doing'),
    [
        ('cudaMemcpyAsync', 'copy 61440 bytes'),
        ('cudaStreamSynchronize', 'finish its work'),
    ],
)
def test_error_of_cuda_in_a_run_is_named(machine: Machine, function: str, doing: str):
    engine = TensorrtEngine(machine.card, machine.config())
    machine.cuda.failures[function] = LAUNCH_FAILURE
    with pytest.raises(
        EngineError, match=rf"'cuda:0' could not {doing} \(unspecified launch failure\)"
    ):
        engine.run(build_batch())


@newest
@pytest.mark.parametrize(
    ('function', 'memory'), [('cudaMalloc', 'memory'), ('cudaMallocHost', 'page-locked memory')]
)
def test_lack_of_memory_is_named_and_nothing_is_kept(machine: Machine, function: str, memory: str):
    machine.cuda.failures[function] = OUT_OF_MEMORY
    with pytest.raises(EngineError, match=rf'provide \d+ bytes of {memory} \(out of memory\)'):
        TensorrtEngine(machine.card, machine.config())
    assert_released(machine)


def test_context_without_memory_is_an_error_and_nothing_is_kept(machine: Machine):
    machine.tensorrt.fails_to = 'prepare'
    with pytest.raises(EngineError, match=r'cannot prepare the network \(CUDA: out of memory\)'):
        TensorrtEngine(machine.card, machine.config())
    assert_released(machine)


def test_nothing_of_tensorrt_is_started_without_a_driver(machine: Machine):
    machine.cuda.failures['cudaGetDeviceCount'] = NO_DRIVER
    with pytest.raises(EngineError, match=r"'cuda:0' is not there \(CUDA driver version is ins"):
        TensorrtEngine(machine.card, machine.config())
    assert machine.tensorrt.calls == []
    assert not needs_build(machine.card, machine.config(), 'tensorrt')


@newest
def test_driver_that_old_bindings_miss_is_named(machine: Machine, monkeypatch: pytest.MonkeyPatch):
    def raise_error() -> Any:
        raise RuntimeError('Failed to dlopen libcuda.so.1')

    monkeypatch.setattr(machine.cuda, '_get_device_count', raise_error)
    with pytest.raises(EngineError, match=r'is not there \(Failed to dlopen libcuda.so.1\)'):
        TensorrtEngine(machine.card, machine.config())


@newest
def test_device_that_is_not_there_is_named(machine: Machine):
    with pytest.raises(EngineError, match=r"'cuda:1' is not there \(CUDA sees 1 devices\)"):
        TensorrtEngine(machine.card, machine.config(device='cuda:1'))


@newest
def test_cpu_is_refused(machine: Machine):
    with pytest.raises(ConfigError, match=r"is 'cpu', backend 'tensorrt' runs on a GPU only"):
        TensorrtEngine(machine.card, machine.config(device='cpu'))


@newest
@pytest.mark.parametrize(
    ('modules', 'package'),
    [(['tensorrt'], 'tensorrt'), (['cuda.bindings.runtime', 'cuda.cudart'], 'cuda-python')],
)
def test_missing_package_names_the_command(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, modules: list[str], package: str
):
    for module in modules:
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(
        BackendUnavailableError,
        match=rf"needs the package {package}, which.*pip install 'rgbt_perception\[tensorrt\]'",
    ):
        TensorrtEngine(machine.card, machine.config())


@newest
def test_broken_installation_is_named(machine: Machine, monkeypatch: pytest.MonkeyPatch):
    class Broken:
        def find_spec(self, name: str, *_: Any) -> None:
            if name == 'tensorrt':
                raise OSError('libnvinfer.so.11: cannot open shared object file')

    monkeypatch.delitem(sys.modules, 'tensorrt')
    monkeypatch.setattr(sys, 'meta_path', [Broken(), *sys.meta_path])
    with pytest.raises(
        BackendUnavailableError, match=r'cannot be imported \(libnvinfer\.so\.11: '
    ):
        TensorrtEngine(machine.card, machine.config())
    assert not needs_build(machine.card, machine.config(), 'tensorrt')
