# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from rgbt_perception.engine.failure import as_engine_error, lacks_memory
from rgbt_perception.errors import ConfigError, EngineError

EXPLAINED = (
    'the engine ran out of memory (std::bad_alloc), expected room for one pair; free memory, or '
    'set a smaller model.input_height and model.input_width'
)


def chain(error: Exception, *sentences: str) -> Exception:
    """Return the last of the errors of an engine, each raised from the one before."""
    for sentence in sentences:
        cause, error = error, EngineError(sentence)
        error.__cause__ = cause
    return error


# What the libraries say.
@pytest.mark.parametrize(
    'problem',
    [
        'CUDA out of memory. Tried to allocate 2.00 GiB.',
        'CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`',
        "DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes.",
        'Failed to allocate memory for requested buffer of size 1024',
        'Error Code 2: OutOfMemory (no further information)',
        'std::bad_alloc',
        MemoryError(),
        RuntimeError('bad allocation'),
    ],
    ids=str,
)
def test_lack_of_memory_is_recognised(problem):
    assert lacks_memory(problem)


@pytest.mark.parametrize(
    'problem',
    [
        'CUDA error: an illegal memory access was encountered',
        'libgomp.so.1: cannot allocate memory in static TLS block',
        'could not create a memory object',
        KeyError('memory'),
    ],
    ids=str,
)
def test_memory_alone_is_no_lack_of_it(problem):
    assert not lacks_memory(problem)


@pytest.mark.parametrize(
    'sentences',
    [
        (),
        ('ONNX Runtime failed (std::bad_alloc); check model.input_height',),
        ('ONNX Runtime failed (std::bad_alloc)', 'cannot be opened; install its package again'),
        (EXPLAINED,),
    ],
)
def test_lack_of_memory_is_explained_once_whoever_wrapped_it(sentences):
    problem = as_engine_error(chain(RuntimeError('std::bad_alloc'), *sentences))
    assert str(problem) == EXPLAINED


def test_lack_of_memory_without_words_is_named_by_its_type():
    assert str(as_engine_error(MemoryError())).startswith(
        'the engine ran out of memory (MemoryError), expected room'
    )


def test_an_engine_error_says_itself_what_to_do():
    for error in (
        EngineError('TensorRT cannot prepare the network (out of memory), free GPU memory'),
        chain(RuntimeError('an illegal memory access'), 'torch failed; see what uses the device'),
    ):
        assert as_engine_error(error) is error


def test_an_engine_error_that_was_raised_from_itself_is_left_as_it_is():
    error = EngineError('the accelerator said no')
    error.__cause__ = error  # as `raise as_engine_error(error) from error` leaves it
    assert as_engine_error(error) is error


def test_another_error_is_named_by_its_type_unless_it_is_ours():
    assert str(as_engine_error(KeyError('output'))) == "unexpected KeyError: 'output'"
    assert str(as_engine_error(ConfigError('a setting is wrong'))) == 'a setting is wrong'
