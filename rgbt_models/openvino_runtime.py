# SPDX-License-Identifier: Apache-2.0
"""OpenVINO without its usage reports."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType

# Sends events over HTTPS at the mere import of OpenVINO, and keeps an identifier in ~/intel.
_REPORTS = 'openvino_telemetry'
# Importing OpenVINO imports this converter as well, which takes longer than all the rest of it.
_CONVERTER = 'openvino.tools.ovc'


def import_openvino() -> ModuleType:
    """Import OpenVINO with its reports off.

    Afterwards ``openvino.convert_model`` is not there, unless OpenVINO was imported before.

    Raises:
        ImportError: If it is not installed.
    """
    sys.modules.setdefault(_REPORTS, None)  # type: ignore[arg-type]  # None: cannot be imported
    hides_converter = not {'openvino', _CONVERTER} & set(sys.modules)
    if hides_converter:
        sys.modules[_CONVERTER] = None  # type: ignore[assignment]  # likewise
    try:
        return importlib.import_module('openvino')
    finally:
        if hides_converter:
            del sys.modules[_CONVERTER]
