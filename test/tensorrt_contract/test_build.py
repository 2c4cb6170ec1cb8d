# SPDX-License-Identifier: Apache-2.0
"""Building a plan: what each version is told, what is kept, and what is said when it fails."""

from __future__ import annotations

import dataclasses
import logging
import os
import stat
import subprocess
import sys
import threading

import pytest
from source_tree import ROOT

from rgbt_perception.engine import choice
from rgbt_perception.engine.cache import EngineCache
from rgbt_perception.engine.tensorrt import needs_build, TensorrtEngine
from rgbt_perception.engine.tensorrt_build import open_log
from rgbt_perception.errors import EngineError, WeightsError
from tensorrt_contract.bindings import environment, load_tensorrt, TENSORRT
from tensorrt_contract.machine import add_variant, Machine
from tensorrt_contract.tensorrt_stand_in import Layer, TensorrtWorld, TIMINGS

newest = pytest.mark.parametrize('version', ['11.4.0'])
BUILD = 'Builder.build_serialized_network'


def flags(machine: Machine) -> list[str]:
    return [flag.name for (flag,) in machine.tensorrt.arguments('IBuilderConfig.set_flag')]


def test_calls_of_a_build_and_a_load_come_in_this_order(machine: Machine):
    TensorrtEngine(machine.card, machine.config())
    assert machine.tensorrt.names() == [
        *['Builder', 'Builder.create_network', 'OnnxParser', 'OnnxParser.parse_from_file'],
        *['INetworkDefinition.get_input'] * 3,
        *['INetworkDefinition.get_output'] * 6,
        *['Builder.create_builder_config', 'IBuilderConfig.set_memory_pool_limit'],
        *['IBuilderConfig.clear_flag', 'Builder.create_optimization_profile'],
        *['IOptimizationProfile.set_shape'] * 3,
        *['IBuilderConfig.add_optimization_profile', 'IBuilderConfig.create_timing_cache'],
        *['IBuilderConfig.set_timing_cache', BUILD],
        *['IBuilderConfig.get_timing_cache', 'ITimingCache.serialize'],
        *['Runtime', 'Runtime.deserialize_cuda_engine', 'ICudaEngine.create_execution_context'],
        *['ICudaEngine.get_tensor_name'] * 9,
        *['ICudaEngine.get_tensor_mode'] * 9,
        *['IExecutionContext.set_input_shape'] * 3,
        *[
            'IExecutionContext.get_tensor_shape',
            'ICudaEngine.get_tensor_dtype',
            'IExecutionContext.set_tensor_address',
        ]
        * 9,
    ]


@pytest.mark.parametrize(
    ('version', 'bits'), [('8.6.1', 0b1), ('10.3.0', 0b10), ('10.16.1', 0b10), ('11.4.0', 0b1)]
)
def test_network_is_strongly_typed_where_that_is_known(machine: Machine, bits: int):
    TensorrtEngine(machine.card, machine.config())
    assert machine.tensorrt.arguments('Builder.create_network') == [(bits,)]


@pytest.mark.parametrize(
    ('version', 'precision', 'wanted'),
    [
        ('8.6.1', 'fp32', []),
        ('8.6.1', 'fp16', ['FP16', 'OBEY_PRECISION_CONSTRAINTS']),
        ('8.6.1', 'int8', ['INT8']),
        *((version, 'fp16', []) for version in TENSORRT if version != '8.6.1'),
        *((version, 'int8', []) for version in TENSORRT if version != '8.6.1'),
    ],
)
def test_only_version_8_is_told_a_precision(machine: Machine, precision: str, wanted: list[str]):
    card = add_variant(machine.card, precision)
    engine = TensorrtEngine(card, machine.config(precision=precision))
    assert flags(machine) == wanted
    assert engine.precision == precision


@pytest.mark.parametrize('version', ['8.6.1'])
def test_version_8_keeps_fp32_where_the_graph_does(machine: Machine):
    types, kinds = machine.tensorrt.enum('DataType'), machine.tensorrt.enum('LayerType')
    machine.tensorrt.layers = [
        Layer(kinds.SOFTMAX, types.FLOAT),
        Layer(kinds.MATRIX_MULTIPLY, types.HALF),
        Layer(kinds.CAST, types.FLOAT),
        Layer(kinds.SHAPE, types.INT32),
        Layer(kinds.NORMALIZATION, types.FLOAT, num_outputs=2),
    ]
    TensorrtEngine(add_variant(machine.card, 'fp16'), machine.config(precision='fp16'))
    found = [layer.precision for layer in machine.tensorrt.layers]
    assert found == [types.FLOAT, None, None, None, types.FLOAT]
    stored = [layer.stored for layer in machine.tensorrt.layers]
    assert stored == [{0: types.FLOAT}, {}, {}, {}, {0: types.FLOAT, 1: types.FLOAT}]


def test_profile_takes_one_pair_of_the_size_of_the_card(machine: Machine):
    TensorrtEngine(machine.card, machine.config())
    image, available = (1, 3, 64, 80), (1, 2)
    assert machine.tensorrt.arguments('IOptimizationProfile.set_shape') == [
        ('rgb', image, image, image),
        ('thermal', image, image, image),
        ('available', available, available, available),
    ]


def test_version_compatible_plan_is_another_plan(machine: Machine):
    TensorrtEngine(machine.card, machine.config())
    assert machine.tensorrt.arguments('Runtime.engine_host_code_allowed') == []
    assert needs_build(machine.card, machine.config(version_compatible=True))
    TensorrtEngine(machine.card, machine.config(version_compatible=True))
    assert flags(machine) == ['VERSION_COMPATIBLE']
    assert machine.tensorrt.arguments('Runtime.engine_host_code_allowed') == [(True,)]


@pytest.mark.parametrize('version', ['10.3.0'])
def test_version_compatible_plan_is_found_by_a_later_version_of_the_same_major_one(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
):
    settings = machine.config(version_compatible=True)
    TensorrtEngine(machine.card, settings).close()
    TensorrtEngine(machine.card, machine.config()).close()
    for version, is_found in (('10.16.1', True), ('11.4.0', False)):
        later = TensorrtWorld(load_tensorrt(version), machine.cuda)
        monkeypatch.setitem(sys.modules, 'tensorrt', later.module())
        assert needs_build(machine.card, settings) != is_found
        assert needs_build(machine.card, machine.config())
        TensorrtEngine(machine.card, settings).close()
        assert later.names().count(BUILD) == (not is_found)
        assert later.arguments('Runtime.engine_host_code_allowed') == [(True,)]


@pytest.mark.parametrize('version', ['8.6.1'])
def test_version_8_refuses_an_operator_set_that_it_would_misread(machine: Machine):
    card = dataclasses.replace(machine.card, variants=())
    with pytest.raises(
        EngineError,
        match=r'model\.onnx. is of operator set 18, TensorRT 8\.6\.1.* reads none above 17; run: '
        r'rgbt export --target tensorrt --opset 17 --precision fp32 fake',
    ):
        TensorrtEngine(card, machine.config())
    assert machine.tensorrt.calls == []
    with pytest.raises(EngineError, match='is of operator set 18'):
        needs_build(card, machine.config())
    assert not choice.needs_build(card, machine.config(), 'tensorrt')


@pytest.mark.parametrize('version', ['10.3.0'])
def test_later_versions_read_operator_set_18(machine: Machine):
    TensorrtEngine(dataclasses.replace(machine.card, variants=()), machine.config()).close()


def test_plan_is_built_once_and_then_found(machine: Machine):
    assert needs_build(machine.card, machine.config())
    assert machine.tensorrt.calls == []  # nothing is started to find out
    TensorrtEngine(machine.card, machine.config()).close()
    assert not needs_build(machine.card, machine.config())
    TensorrtEngine(machine.card, machine.config()).close()
    assert machine.tensorrt.names().count(BUILD) == 1


def test_record_of_a_plan_says_what_it_depends_on(machine: Machine):
    TensorrtEngine(machine.card, machine.config())
    (entry,) = EngineCache(machine.cache_dir).entries()
    assert entry.record is not None
    key = entry.record.key
    version = machine.tensorrt.surface.values['__version__']
    assert (key.backend, key.backend_version) == ('tensorrt', version)
    assert key.device == 'Orin, compute 8.7, CUDA 12.6'
    assert (key.graph_sha256, key.shapes) == (machine.card.graph_sha256, '1x64x80')


@newest
def test_timings_of_a_build_are_used_by_the_next(machine: Machine):
    for size in ((64, 80), (32, 48)):
        TensorrtEngine(dataclasses.replace(machine.card, input_hw=size), machine.config())
    assert machine.tensorrt.arguments('IBuilderConfig.create_timing_cache') == [(b'',), (TIMINGS,)]


@newest
def test_timings_of_another_gpu_are_not_used(machine: Machine, caplog: pytest.LogCaptureFixture):
    machine.tensorrt.fails_to = 'load_timings'
    with caplog.at_level(logging.INFO, 'rgbt_perception.engine.tensorrt_build'):
        for size in ((64, 80), (32, 48)):
            TensorrtEngine(dataclasses.replace(machine.card, input_hw=size), machine.config())
    saved = [item for (item,) in machine.tensorrt.arguments('IBuilderConfig.create_timing_cache')]
    assert saved == [b'', TIMINGS, b'']
    assert sum('are not of this machine' in message for message in caplog.messages) == 1


@newest
def test_timings_are_private_whatever_the_umask_is(machine: Machine):
    umask = os.umask(0o002)  # that of many users
    try:
        TensorrtEngine(machine.card, machine.config())
    finally:
        os.umask(umask)
    (timings,) = machine.cache_dir.glob('*.timings')
    assert stat.S_IMODE(timings.stat().st_mode) == 0o600


@newest
def test_timings_that_others_may_have_written_are_not_used(machine: Machine):
    TensorrtEngine(machine.card, machine.config())
    (timings,) = machine.cache_dir.glob('*.timings')
    timings.chmod(0o666)
    TensorrtEngine(dataclasses.replace(machine.card, input_hw=(32, 48)), machine.config())
    assert machine.tensorrt.arguments('IBuilderConfig.create_timing_cache') == [(b'',), (b'',)]


def test_graph_that_is_not_understood_names_the_errors_and_the_command(machine: Machine):
    machine.tensorrt.parser_errors = [f'no importer for operator {index}' for index in range(5)]
    with pytest.raises(
        EngineError,
        match=r'does not understand .*\(5 errors: no importer for operator 0; .* 1; .* 2\), .*'
        r'run: rgbt export --target tensorrt',
    ):
        TensorrtEngine(machine.card, machine.config())
    assert machine.cuda.memory == {}


@newest
def test_graph_with_other_inputs_is_refused_before_the_build(machine: Machine):
    machine.tensorrt.input_names = ('image', 'thermal', 'available')
    with pytest.raises(EngineError, match=r"has inputs \['image', 'thermal', 'available'\] and"):
        TensorrtEngine(machine.card, machine.config())
    assert BUILD not in machine.tensorrt.names()


@newest
def test_timings_that_cannot_be_kept_do_not_spoil_the_plan(
    machine: Machine, caplog: pytest.LogCaptureFixture
):
    version = machine.tensorrt.surface.values['__version__']
    (machine.cache_dir / f'tensorrt-{version}.timings').mkdir(parents=True, mode=0o700)
    machine.cache_dir.chmod(0o700)
    with caplog.at_level(logging.INFO, 'rgbt_perception.engine.tensorrt_build'):
        TensorrtEngine(machine.card, machine.config()).close()
    assert sum('cannot be kept' in message for message in caplog.messages) == 1
    assert not needs_build(machine.card, machine.config())
    assert not list(machine.cache_dir.glob('*.timings.*'))


@newest
@pytest.mark.parametrize(
    ('step', 'text'),
    [
        ('start', r'TensorRT cannot start \(it gives no reason\), expected it to use this GPU'),
        ('build', r'cannot build .*model\.onnx.* \(could not find any implementation for node\)'),
        ('take_profile', r'model\.onnx. cannot take inputs of .*, expected free height and width'),
        ('deserialise', r'cannot load the plan of .* \(the plan was made by another version\)'),
    ],
)
def test_failure_of_tensorrt_is_named(machine: Machine, step: str, text: str):
    machine.tensorrt.fails_to = step
    with pytest.raises(EngineError, match=text):
        TensorrtEngine(machine.card, machine.config())
    assert not machine.cuda.streams


@pytest.mark.parametrize(
    'reason',
    ['the plan was made by another version', 'Cuda Runtime (an illegal memory access)'],
)
def test_intact_plan_that_is_refused_is_built_again(
    machine: Machine, caplog: pytest.LogCaptureFixture, reason: str
):
    TensorrtEngine(machine.card, machine.config()).close()
    machine.tensorrt.num_refused = 1
    machine.tensorrt.refusals = (reason,)
    TensorrtEngine(machine.card, machine.config()).close()
    assert machine.tensorrt.names().count(BUILD) == 2
    assert f'TensorRT refuses its plan ({reason}), it is built again' in caplog.messages


@newest
def test_intact_plan_is_kept_when_memory_is_lacking(machine: Machine):
    TensorrtEngine(machine.card, machine.config()).close()
    machine.tensorrt.num_refused = 1
    machine.tensorrt.refusals = ('[alloc] Error Code 1: Cuda Runtime (out of memory)', 'failed')
    with pytest.raises(
        EngineError, match=r'cannot load the plan of .* \(failed\).*free GPU memory'
    ):
        TensorrtEngine(machine.card, machine.config())
    assert not needs_build(machine.card, machine.config())
    TensorrtEngine(machine.card, machine.config()).close()
    assert machine.tensorrt.names().count(BUILD) == 1


@newest
def test_one_log_serves_the_process_and_blames_no_earlier_step(machine: Machine):
    machine.tensorrt.fails_to = 'build'
    with pytest.raises(EngineError, match='could not find any implementation'):
        TensorrtEngine(machine.card, machine.config())
    machine.tensorrt.fails_to = 'take_shape'  # says nothing
    with pytest.raises(EngineError, match=r'TensorRT refuses .* \(it gives no reason\)'):
        TensorrtEngine(machine.card, machine.config())
    assert len(machine.tensorrt.logs) == 5  # two builders, two parsers, one runtime
    assert len(set(map(id, machine.tensorrt.logs))) == 1


@newest
def test_errors_on_another_thread_are_not_blamed_on_a_step(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    TensorrtEngine(machine.card, machine.config()).close()
    say = machine.tensorrt.say
    log = open_log(sys.modules['tensorrt'])

    def build_elsewhere() -> None:
        log.clear()
        say('out of memory')

    def say_while_another_thread_builds(text: str) -> None:
        say(text)
        other = threading.Thread(target=build_elsewhere)
        other.start()
        other.join()

    monkeypatch.setattr(machine.tensorrt, 'say', say_while_another_thread_builds)
    machine.tensorrt.num_refused = 1
    TensorrtEngine(machine.card, machine.config()).close()
    refused = 'TensorRT refuses its plan (the plan was made by another version), it is built again'
    assert refused in caplog.messages
    assert machine.tensorrt.names().count(BUILD) == 2


@newest
def test_altered_graph_is_not_built(machine: Machine):
    machine.card.graph_path.write_bytes(b'altered')
    with pytest.raises(WeightsError, match=r'model\.onnx. has SHA-256'):
        TensorrtEngine(machine.card, machine.config())


@pytest.mark.parametrize('version', TENSORRT)
def test_log_works_with_the_real_bindings(version: str):
    # The only part of the code that can be executed with them: nothing else needs no GPU.
    code = (
        'import tensorrt_bindings as trt\n'
        'from rgbt_perception.engine.tensorrt_build import create_or_fail, open_log\n'
        'from rgbt_perception.errors import EngineError\n'
        'log = open_log(trt)\n'
        'assert open_log(trt) is log\n'
        'severity = trt.ILogger.Severity\n'
        "for name in ('ERROR', 'WARNING', 'INFO', 'VERBOSE'):\n"
        "    log.log(getattr(severity, name), f'one {name}')\n"
        "assert log.describe_problem() == 'one ERROR'\n"
        'assert not log.lacks_memory()\n'
        "log.log(severity.ERROR, 'Error Code 2: OutOfMemory')\n"
        'assert log.lacks_memory()\n'
        'log.clear()\n'
        'assert not log.lacks_memory()\n'
        'try:\n'
        '    create_or_fail(trt.Builder, log)\n'
        'except EngineError as error:\n'
        '    print(error)\n'
    )
    result = subprocess.run(
        [sys.executable, '-c', code],
        cwd=ROOT,
        env=environment(TENSORRT[version], ROOT),
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout.startswith('TensorRT cannot start (')
