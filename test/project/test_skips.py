# SPDX-License-Identifier: Apache-2.0
"""A test that is skipped without a reason that holds here fails the run."""

from __future__ import annotations

import os
from pathlib import Path
import subprocess
import sys

import pytest

CONFTEST = Path(__file__).parents[1] / 'conftest.py'


def run_pytest(folder: Path, reason: str, *, allowed: str) -> subprocess.CompletedProcess[str]:
    """Run one skipped test in a run of its own, with our conftest.py and one allowed reason."""
    text = CONFTEST.read_text(encoding='utf-8')
    (folder / 'conftest.py').write_text(f'{text}\nALLOWED_SKIPS = {allowed}\n', encoding='utf-8')
    (folder / 'test_one.py').write_text(
        f'import pytest\n\n\ndef test_one():\n    pytest.skip({reason!r})\n', encoding='utf-8'
    )
    (folder / 'pytest.ini').write_text('[pytest]\n', encoding='utf-8')
    return subprocess.run(
        [sys.executable, '-m', 'pytest', '-p', 'no:cacheprovider', str(folder)],
        cwd=folder,
        env={name: value for name, value in os.environ.items() if name != 'PYTEST_ADDOPTS'},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ('reason', 'allowed', 'status', 'line'),
    [
        ('needs a moon', "{'needs a moon': lambda: True}", 0, '1 skipped, 0 of them unexpected'),
        (
            'needs a moon: none up',
            "{'needs a moon': lambda: True}",
            0,
            '1 skipped, 0 of them unexpected',
        ),
        ('needs a moon', "{'needs a moon': lambda: False}", 1, 'UNEXPECTED: 1 skipped'),
        ('flaky', "{'needs a moon': lambda: True}", 1, "UNEXPECTED: 1 skipped with 'flaky'"),
    ],
    ids=['allowed and true', 'longer reason', 'allowed but untrue', 'not allowed'],
)
def test_skip_fails_the_run_unless_its_reason_holds(tmp_path, reason, allowed, status, line):
    result = run_pytest(tmp_path, reason, allowed=allowed)
    assert result.returncode == status, result.stdout + result.stderr
    assert line in result.stdout
