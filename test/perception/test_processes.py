# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

from rgbt_perception.errors import ProcessError
from rgbt_perception.processes import ChildProcess

DEADLINE_S = 20.0


@pytest.fixture
def start(tmp_path, monkeypatch):
    """Start a child that runs the given program text as a module."""

    def make(text, **env):
        (tmp_path / 'child_program.py').write_text(text)
        return ChildProcess(
            'child',
            'child_program',
            arguments=['one', 'two'],
            log_dir=tmp_path,
            env={'PYTHONPATH': str(tmp_path), **env},
        )

    return make


def wait_until(condition):
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline
        os.sched_yield()


def log_holds(child, text):
    return lambda: text in child.log_path.read_text()


def test_arguments_environment_and_output_arrive(start):
    text = 'import os, sys; print(sys.argv[1:], os.environ["SEEN"])'
    with start(text, SEEN='yes') as child:
        wait_until(lambda: child.exit_status == 0)
    assert child.log_path.read_text() == "['one', 'two'] yes\n"


def test_child_is_interrupted_when_the_block_ends(start):
    # Started in the background of a script, this test and its child would ignore SIGINT.
    text = """
import signal, time
signal.signal(signal.SIGINT, signal.default_int_handler)
print('ready', flush=True)
try:
    time.sleep(1000)
except KeyboardInterrupt:
    print('interrupted')
"""
    with start(text) as child:
        wait_until(log_holds(child, 'ready'))
    assert child.exit_status == 0
    assert 'interrupted' in child.log_path.read_text()


def test_child_is_ended_when_the_block_raises(start):
    with pytest.raises(KeyboardInterrupt), start('import time; time.sleep(1000)') as child:
        raise KeyboardInterrupt
    assert child.exit_status is not None


def test_child_that_ignores_signals_is_killed(start, monkeypatch):
    monkeypatch.setattr('rgbt_perception.processes.INTERRUPT_WAIT_S', 0.05)
    monkeypatch.setattr('rgbt_perception.processes.TERMINATE_WAIT_S', 0.05)
    text = """
import signal, time
signal.signal(signal.SIGINT, signal.SIG_IGN)
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print('ready', flush=True)
time.sleep(1000)
"""
    with start(text) as child:
        wait_until(log_holds(child, 'ready'))
    assert child.exit_status == -9


def test_early_end_is_told_with_the_last_lines(start):
    with start('print("the reason"); raise SystemExit(3)') as child:
        wait_until(lambda: child.exit_status is not None)
        with pytest.raises(ProcessError) as caught:
            child.check_alive()
    assert 'child ended with status 3; expected it to run until it is stopped' in str(caught.value)
    assert '  the reason' in str(caught.value)
    assert str(child.log_path) in str(caught.value)


def test_running_child_passes_the_check(start):
    with start('import time; time.sleep(1000)') as child:
        child.check_alive()
        assert child.exit_status is None


def test_interrupt_of_the_parents_group_does_not_reach_the_child(start):
    with start('import time; time.sleep(1000)') as child:
        pid = child._process.pid
        group = subprocess.run(
            [sys.executable, '-c', f'import os; print(os.getpgid({pid}))'],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        assert int(group) == pid != os.getpgid(0)
