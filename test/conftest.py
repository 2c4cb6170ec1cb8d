# SPDX-License-Identifier: Apache-2.0
"""Keep ROS tests to themselves; count skipped tests and fail the run when one was not expected."""

from __future__ import annotations

from collections import Counter
import importlib.util
import os
from pathlib import Path
import shutil
import sys
import tempfile
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

# ROS tests talk to their own processes only: not to the default domain, not to the network.
os.environ.setdefault('ROS_DOMAIN_ID', str(1 + os.getpid() % 100))
os.environ.setdefault('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST')
os.environ.setdefault('ORT_DISABLE_TELEMETRY', '1')  # many tests import onnxruntime themselves
_CACHE = tempfile.TemporaryDirectory(prefix='rgbt_cache_')  # removed when this process ends
os.environ['XDG_CACHE_HOME'] = _CACHE.name  # built engines

SHARED_DATA = Path(__file__).resolve().parents[2] / 'shared' / 'data'

# Start of the reason -> whether it holds on this machine. A skip whose reason is not listed, or is
# listed but untrue here (the GPU is there, the package is installed), fails the run.
ALLOWED_SKIPS: dict[str, Callable[[], bool]] = {
    'needs ../shared/data': lambda: not SHARED_DATA.is_dir(),
    'needs a C compiler': lambda: not (shutil.which('gcc') and shutil.which('g++')),
    'needs a GPU': lambda: not Path('/dev/nvidia0').exists(),
    'needs a ROS distribution': lambda: importlib.util.find_spec('launch_ros') is None,
    'needs launch (not on PyPI)': lambda: importlib.util.find_spec('launch_ros') is None,
    'needs message_filters (not on PyPI)': lambda: (
        importlib.util.find_spec('message_filters') is None
    ),
    # Fetched by `make test`; there is one for every version we check with Python 3.11 only.
    'needs the bindings': lambda: (
        sys.version_info[:2] != (3, 11) or not Path(sys.prefix, 'tensorrt_bindings').is_dir()
    ),
    'needs nncf': lambda: importlib.util.find_spec('nncf') is None,
    'needs tensorrt': lambda: importlib.util.find_spec('tensorrt') is None,
    'needs the rights of the superuser': lambda: os.geteuid() != 0,
}

_skips: Counter[str] = Counter()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        '--write-faults',
        action='store_true',
        help='write what the fault tests observe to docs/faults.md',
    )


def _skip_reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    text = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    return text.removeprefix('Skipped: ')


def unexpected_skips(reasons: Counter[str]) -> Counter[str]:
    """Keep the skips that no entry of ``ALLOWED_SKIPS`` explains."""
    return Counter(
        {
            reason: count
            for reason, count in reasons.items()
            if not any(
                reason.startswith(start) and holds() for start, holds in ALLOWED_SKIPS.items()
            )
        }
    )


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.skipped and not hasattr(report, 'wasxfail'):
        _skips[_skip_reason(report)] += 1


def pytest_collectreport(report: pytest.CollectReport) -> None:
    if report.skipped:
        _skips[_skip_reason(report)] += 1


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    if unexpected_skips(_skips) and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    terminalreporter.section('skipped tests')
    for reason, count in sorted(_skips.items()):
        terminalreporter.write_line(f'{count:4d}  {reason}')
    unexpected = unexpected_skips(_skips)
    total, bad = sum(_skips.values()), sum(unexpected.values())
    terminalreporter.write_line(f'{total} skipped, {bad} of them unexpected')
    for reason, count in sorted(unexpected.items()):
        terminalreporter.write_line(
            f'UNEXPECTED: {count} skipped with {reason!r}, which is not a reason allowed in '
            f'test/conftest.py or does not hold on this machine; make the test run here',
            red=True,
        )
