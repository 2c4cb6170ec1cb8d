# SPDX-License-Identifier: Apache-2.0
"""Whatever a runtime raises, as the failure of an engine."""

from __future__ import annotations

from rgbt_perception.errors import EngineError, RGBTError

# In lower case. 'memory' alone tells nothing: an illegal access to it is another failure.
_LACK_OF_MEMORY = (
    'out of memory',  # CUDA
    'outofmemory',  # TensorRT
    'bad_alloc',  # C++
    'bad allocation',
    'alloc_failed',  # cuBLAS and cuDNN
    'failed to allocate memory',  # ONNX Runtime
    "can't allocate memory",  # torch on the CPU
)


def lacks_memory(problem: BaseException | str) -> bool:
    """Whether a runtime raises or says this for lack of memory."""
    text = str(problem).lower()
    return isinstance(problem, MemoryError) or any(words in text for words in _LACK_OF_MEMORY)


def as_engine_error(error: Exception) -> EngineError:
    """Return an error as the failure of an engine, with a sentence for a lack of memory.

    An ``EngineError`` says itself what to do and is left as it is. Only where an engine made it of
    a lack of memory, which it need not tell from other failures, that is explained instead.
    """
    origin = _find_origin(error)
    if lacks_memory(origin) and not isinstance(origin, EngineError):
        what = str(origin) or type(origin).__name__
        return EngineError(
            f'the engine ran out of memory ({what}), expected room for one pair; free memory, '
            f'or set a smaller model.input_height and model.input_width'
        )
    if isinstance(error, EngineError):
        return error
    kind = '' if isinstance(error, RGBTError) else f'unexpected {type(error).__name__}: '
    return EngineError(f'{kind}{error}')


def _find_origin(error: BaseException) -> BaseException:
    """Return what the runtime raised, of which engines may have made errors of their own."""
    while isinstance(error, EngineError) and error.__cause__ not in (None, error):
        error = error.__cause__
    return error
