# SPDX-License-Identifier: Apache-2.0
"""OpenVINO and NNCF without their usage reports."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType

# Sends events over HTTPS at the mere import of its users, and keeps an identifier in ~/intel.
_REPORTS = 'openvino_telemetry'
# Importing OpenVINO imports this converter as well, which takes longer than all the rest of it.
_CONVERTER = 'openvino.tools.ovc'


def import_openvino(module: str = 'openvino') -> ModuleType:
    """Import OpenVINO, or a package on top of it as ``nncf``, with its reports off.

    Afterwards ``openvino.convert_model`` is not there, unless OpenVINO was imported before.

    Raises:
        ImportError: If it is not installed.
    """
    sys.modules.setdefault(_REPORTS, None)  # type: ignore[arg-type]  # None: cannot be imported
    if module in sys.modules:
        return importlib.import_module(module)
    hides_converter = _CONVERTER not in sys.modules
    if hides_converter:
        sys.modules[_CONVERTER] = None  # type: ignore[assignment]  # likewise
    try:
        return importlib.import_module(module)
    finally:
        if hides_converter:
            del sys.modules[_CONVERTER]
