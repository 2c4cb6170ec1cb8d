# SPDX-License-Identifier: Apache-2.0
"""What our code calls is there, by name and by arguments, in NVIDIA's real bindings."""

from __future__ import annotations

from pathlib import Path

import pytest
from source_tree import ROOT

from tensorrt_contract.bindings import CUDA, load_cuda, load_tensorrt, Surface, TENSORRT
from tensorrt_contract.source_uses import find_uses, Use

ENGINE = ROOT / 'rgbt_perception' / 'engine'
TENSORRT_FILES = sorted(ENGINE.glob('tensorrt*.py'))
CUDA_FILE = ENGINE / 'cuda_runtime.py'
# Called by code that asks first whether the version has strongly typed networks.
WITHOUT_STRONG_TYPES = {'_allow_precisions', '_explicit_batch', '_pin_float32'}
STRONG_TYPES = ('NetworkDefinitionCreationFlag', 'STRONGLY_TYPED')


def read(*paths: Path) -> str:
    return '\n'.join(path.read_text(encoding='utf-8') for path in paths)


def uses_in(paths: list[Path], surface: Surface) -> list[Use]:
    return [use for path in paths for use in find_uses(read(path), surface)]


def is_meant_for(use: Use, surface: Surface) -> bool:
    has_strong_types = surface.find(*STRONG_TYPES) is not None
    if use.function in WITHOUT_STRONG_TYPES:
        return not has_strong_types
    return has_strong_types or (use.owner, use.name) != STRONG_TYPES


@pytest.mark.parametrize('version', TENSORRT)
def test_tensorrt_has_what_is_used(version: str):
    surface = load_tensorrt(version)
    uses = [use for use in uses_in(TENSORRT_FILES, surface) if is_meant_for(use, surface)]
    assert not [problem for use in uses if (problem := use.find_problem(surface))]


@pytest.mark.parametrize('version', CUDA)
def test_cuda_has_what_is_used(version: str):
    surface = load_cuda(version)
    uses = uses_in([CUDA_FILE], surface)
    assert not [problem for use in uses if (problem := use.find_problem(surface))]


def test_uses_are_found():
    # Some of each kind: enumeration, constructor, method of a parameter, of a result, of an
    # attribute, of the result of a function of ours, a property that is set.
    found = {(use.owner, use.name) for use in uses_in(TENSORRT_FILES, load_tensorrt('8.6.1'))}
    assert found >= {
        ('BuilderFlag', 'VERSION_COMPATIBLE'),
        ('ILogger.Severity', 'INTERNAL_ERROR'),
        ('', 'OnnxParser'),
        ('OnnxParser', 'parse_from_file'),
        ('ParserError', 'desc'),
        ('IBuilderConfig', 'set_timing_cache'),
        ('ITimingCache', 'serialize'),
        ('Builder', 'build_serialized_network'),
        ('ILayer', 'precision'),
        ('Runtime', 'deserialize_cuda_engine'),
        ('Runtime', 'engine_host_code_allowed'),
        ('ICudaEngine', 'create_execution_context'),
        ('IExecutionContext', 'execute_async_v3'),
    }
    found = {use.name for use in uses_in([CUDA_FILE], load_cuda('13.5.0'))}
    assert found >= {'cudaMalloc', 'cudaMemcpyDeviceToHost', 'cudaGraphInstantiateWithFlags'}


@pytest.mark.parametrize(
    ('right', 'wrong', 'problem'),
    [
        ('execute_async_v3(', 'execute_async_v4(', 'IExecutionContext.execute_async_v4 is not in'),
        ('ignore_mismatch=False', 'ignore=False', 'set_timing_cache is called with'),
        ('get_input(index)', 'get_input(index, 0)', 'INetworkDefinition.get_input is called with'),
        ('.BuilderFlag.TF32', '.BuilderFlag.TF33', 'BuilderFlag.TF33 is not in'),
        ('.num_io_tensors', '.num_bindings_', 'ICudaEngine.num_bindings_ is not in'),
        ('parser.num_errors', 'parser.clear_errors', 'is a method, and is not called'),
        ('self._runtime.engine_host_code_allowed', 'self._runtime.logger', 'cannot be set'),
    ],
)
def test_wrong_use_is_reported(right: str, wrong: str, problem: str):
    source = read(*TENSORRT_FILES).replace('from __future__ import annotations\n', '')
    assert right in source
    surface = load_tensorrt('10.3.0')
    uses = find_uses(source.replace(right, wrong), surface)
    found = [use.find_problem(surface) for use in uses if is_meant_for(use, surface)]
    assert any(problem in text for text in found)


def test_versions_differ_where_the_code_expects_it():
    first, *later = (load_tensorrt(version) for version in TENSORRT)
    assert first.find(*STRONG_TYPES) is None
    assert all(surface.find(*STRONG_TYPES) for surface in later)
    flags = [surface.enums['NetworkDefinitionCreationFlag'] for surface in later]
    assert [item['STRONGLY_TYPED'] for item in flags] == [1, 1, 0]
    assert not {'FP16', 'INT8', 'OBEY_PRECISION_CONSTRAINTS'} & set(later[-1].enums['BuilderFlag'])
