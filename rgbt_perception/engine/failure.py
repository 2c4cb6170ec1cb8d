# SPDX-License-Identifier: Apache-2.0
"""Whatever a runtime raises, as the failure of an engine."""

from __future__ import annotations

from rgbt_perception.errors import EngineError, RGBTError

_OUT_OF_MEMORY = ('out of memory', 'bad_alloc', 'bad allocation', 'failed to allocate memory')


def as_engine_error(error: Exception) -> EngineError:
    """Return an error as the failure of an engine, with a sentence for a lack of memory."""
    text = str(error).lower()
    if isinstance(error, MemoryError) or any(words in text for words in _OUT_OF_MEMORY):
        what = str(error) or type(error).__name__
        return EngineError(
            f'the engine ran out of memory ({what}), expected room for one pair; free memory, '
            f'or set a smaller model.input_height and model.input_width'
        )
    if isinstance(error, EngineError):
        return error
    kind = '' if isinstance(error, RGBTError) else f'unexpected {type(error).__name__}: '
    return EngineError(f'{kind}{error}')
