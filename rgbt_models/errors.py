# SPDX-License-Identifier: Apache-2.0
"""Errors of the model library.

RGBTError
├── CardError (ValueError)       a model card is missing, malformed or does not fit its files
├── WeightsError (ValueError)    weights do not fit the model, or their hash is not the card's
├── ExportError (RuntimeError)   an exported graph does not reproduce the torch module
└── DatasetError (ValueError)    a training or evaluation data set cannot be used

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
