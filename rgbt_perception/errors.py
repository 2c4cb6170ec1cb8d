# SPDX-License-Identifier: Apache-2.0
"""Errors of the runtime, continuing the tree of ``rgbt_models.errors``.

RGBTError
├── CardError, WeightsError, ExportError, DatasetError    see rgbt_models.errors
├── ConfigError (ValueError)              a setting is unknown, of the wrong type or out of range
├── CalibrationError (ValueError)         images do not say how the cameras lie to each other
├── ShapeError (ValueError)               an array has the wrong shape or type
├── FrameError (ValueError)               one image message cannot be used; the frame is dropped
├── BackendUnavailableError (ImportError) a backend or tool is not installed
├── EngineError (RuntimeError)            an engine cannot be opened or run
│   ├── EngineTimeoutError                an inference did not come back in time
│   └── EngineGivenUpError                no engine is left to try
├── BagError (ValueError)                 a bag cannot be read, or lacks what is needed
├── SnapshotError (OSError)               a snapshot for a bug report cannot be written
└── ProcessError (RuntimeError)           a program that was started failed or does not answer
"""

from rgbt_models.errors import CardError, DatasetError, ExportError, RGBTError, WeightsError

__all__ = [
    'BackendUnavailableError',
    'BagError',
    'CalibrationError',
    'CardError',
    'ConfigError',
    'DatasetError',
    'EngineError',
    'EngineGivenUpError',
    'EngineTimeoutError',
    'ExportError',
    'FrameError',
    'ProcessError',
    'RGBTError',
    'ShapeError',
    'SnapshotError',
    'WeightsError',
]


class ConfigError(RGBTError, ValueError):
    """A setting is unknown, of the wrong type or out of range."""


class CalibrationError(RGBTError, ValueError):
    """Images do not say how the cameras lie to each other."""


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


class EngineTimeoutError(EngineError):
    """An inference did not come back in time; the engine was abandoned."""


class EngineGivenUpError(EngineError):
    """The engine failed for good: nothing is left to try, or the settings say to stop."""


class BagError(RGBTError, ValueError):
    """A bag cannot be read, or lacks what is needed."""


class SnapshotError(RGBTError, OSError):
    """A snapshot for a bug report cannot be written."""


class ProcessError(RGBTError, RuntimeError):
    """A program that was started failed, or does not answer."""
