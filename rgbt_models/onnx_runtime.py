# SPDX-License-Identifier: Apache-2.0
"""ONNX Runtime without its usage reports."""

from __future__ import annotations

import importlib
import os
from types import ModuleType

# Official builds for Linux (since 1.31) report to their vendor over HTTPS, and keep an identifier
# in the user's cache folder, unless this is set before they are loaded.
NO_REPORTS = 'ORT_DISABLE_TELEMETRY'


def import_onnxruntime(module: str = 'onnxruntime') -> ModuleType:
    """Import ONNX Runtime, or a module of it, with its reports off unless the user set otherwise.

    Raises:
        ImportError: If it is not installed.
    """
    os.environ.setdefault(NO_REPORTS, '1')
    return importlib.import_module(module)
