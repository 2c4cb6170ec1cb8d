# SPDX-License-Identifier: Apache-2.0
"""Errors of the model library.

RGBTError
├── CardError (ValueError)       a model card is missing, malformed or does not fit its files
├── WeightsError (ValueError)    weights do not fit the model, or their hash is not the card's
├── ExportError (RuntimeError)   an exported graph does not reproduce the torch module
├── DatasetError (ValueError)    a training or evaluation data set cannot be used
├── EncoderError (ValueError)    an encoder cannot be built, or an image does not fit it
├── MatchingError (ValueError)   matched points do not determine a registration
├── PretrainError (ValueError)   a pretraining method cannot use these settings or inputs
├── AdapterError (ValueError)    a LoRA adapter does not fit the encoder, or is in another state
└── AdapterDependencyError (ImportError)  peft, which adapters need, is not installed

``rgbt_perception.errors`` continues this tree for the runtime.
"""


class RGBTError(Exception):
    """Root of every error this project raises on purpose."""


class CardError(RGBTError, ValueError):
    """A model card is missing, malformed or does not fit its files."""


class WeightsError(RGBTError, ValueError):
    """Weights do not fit the model, or their hash is not the card's."""


class ExportError(RGBTError, RuntimeError):
    """An exported graph does not reproduce the torch module."""


class DatasetError(RGBTError, ValueError):
    """A training or evaluation data set cannot be used."""


class MatchingError(RGBTError, ValueError):
    """Matched points do not determine a registration."""


class PretrainError(RGBTError, ValueError):
    """A pretraining method cannot use the images or tokens it is given."""


class AdapterError(RGBTError, ValueError):
    """A LoRA adapter does not fit the encoder, or is in another state."""


class AdapterDependencyError(RGBTError, ImportError):
    """The package that adapters need is not installed."""


class EncoderError(RGBTError, ValueError):
    """An encoder cannot be built, or an image does not fit it."""
