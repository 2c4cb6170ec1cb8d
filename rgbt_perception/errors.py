# SPDX-License-Identifier: Apache-2.0
"""Errors of the runtime, continuing the tree of ``rgbt_models.errors``.

RGBTError
├── CardError, WeightsError, ExportError, DatasetError    see rgbt_models.errors
├── ConfigError (ValueError)              a setting is unknown, of the wrong type or out of range
├── ShapeError (ValueError)               an array has the wrong shape or type
├── FrameError (ValueError)               one image message cannot be used; the frame is dropped
├── BackendUnavailableError (ImportError) a backend or tool is not installed
├── EngineError (RuntimeError)            an engine cannot be opened or run
├── BagError (ValueError)                 a bag cannot be read, or lacks what is needed
└── ProcessError (RuntimeError)           a program that was started failed or does not answer
"""

from rgbt_models.errors import CardError, DatasetError, ExportError, RGBTError, WeightsError

__all__ = [
    'BackendUnavailableError',
    'BagError',
    'CardError',
    'ConfigError',
    'DatasetError',
    'EngineError',
    'ExportError',
    'FrameError',
    'ProcessError',
    'RGBTError',
    'ShapeError',
    'WeightsError',
]


class ConfigError(RGBTError, ValueError):
    """A setting is unknown, of the wrong type or out of range."""


class ShapeError(RGBTError, ValueError):
    """An array has the wrong shape or type."""

    def __init__(self, name: str, *, expected: str, actual: object) -> None:
        """Say which array is wrong, what it should be and what it is."""
        super().__init__(f'{name} is {actual}, expected {expected}')


class FrameError(RGBTError, ValueError):
    """One image message cannot be used; the frame is dropped and counted."""


class BackendUnavailableError(RGBTError, ImportError):
    """A backend or tool is not installed; the message names the command that installs it."""


class EngineError(RGBTError, RuntimeError):
    """An engine cannot be opened or run."""


class BagError(RGBTError, ValueError):
    """A bag cannot be read, or lacks what is needed."""


class ProcessError(RGBTError, RuntimeError):
    """A program that was started failed, or does not answer."""
