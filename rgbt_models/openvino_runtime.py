# SPDX-License-Identifier: Apache-2.0
"""OpenVINO without its usage reports, and without its hand on the signals of this process."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
import importlib
import sys
from types import ModuleType
from typing import Any

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


def open_core() -> Any:
    """Return a core whose CPU plugin is loaded, by a thread that has ended.

    The plugin gives the thread that loads it a stack for signal handlers, and frees that stack
    with the core (seen with 2026.4). Let go by another thread, the loading one would keep the
    address of the freed stack, and its next signal would end the process without a word.

    Raises:
        ImportError: If OpenVINO is not installed.
    """
    openvino = import_openvino()

    def load() -> Any:
        core = openvino.Core()
        core.get_property('CPU', 'FULL_DEVICE_NAME')
        return core

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(load).result()
