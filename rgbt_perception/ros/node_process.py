# SPDX-License-Identifier: Apache-2.0
"""A process with one or several nodes: signals, rigs, and an end that never hangs."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
import os
import signal
import sys
import threading
from typing import NoReturn

from rclpy.exceptions import InvalidNamespaceException
from rclpy.utilities import remove_ros_args
from rclpy.validate_namespace import validate_namespace

from rgbt_perception.errors import ConfigError

OWN_THREADS = ('perception ', 'engine')  # how the names of our threads begin
NAMESPACE_RULES = ('__ns', '__namespace')


def parse_rigs(args: list[str]) -> list[str]:
    """Return the rigs asked for by ``--rig NAME``, in order; [] = one node without a rig.

    Args:
        args: Command line with the program's name first; ROS arguments are passed over.

    Raises:
        ConfigError: For an argument nobody knows, or a rig given twice.
    """
    parser = argparse.ArgumentParser(
        prog='perception_node',
        description='RGB-thermal perception. ROS arguments follow --ros-args.',
    )
    parser.add_argument(
        '--rig',
        action='append',
        default=[],
        metavar='NAME',
        help='Run one node for a pair of cameras in the namespace NAME; may be given several '
        'times, all nodes then share the process.',
    )
    known, unknown = parser.parse_known_args(remove_ros_args(args)[1:])
    if unknown:
        raise ConfigError(
            f"unknown argument '{unknown[0]}', expected --rig NAME or --ros-args; correct it"
        )
    rigs: list[str] = [name.strip('/') for name in known.rig]
    for name in rigs:
        if not name or rigs.count(name) > 1:
            raise ConfigError(f"rig '{name}' is given twice or empty, expected a name of its own")
        try:
            validate_namespace(f'/{name}')
        except InvalidNamespaceException:
            raise ConfigError(
                f"rig '{name}' is no name for a namespace, expected letters, digits and '_', not "
                f'beginning with a digit; correct it'
            ) from None
    return rigs


def rig_arguments(rig: str, args: list[str]) -> list[str]:
    """Return ROS arguments that put a node into the namespace of its rig.

    A namespace given for the whole process, ``-r __ns:=/robot``, stays in front: /robot/front.

    Args:
        rig: Name of the rig.
        args: Command line of the process.
    """
    base = ''
    for argument in args:
        rule, separator, value = argument.partition(':=')
        if separator and rule.rpartition(':')[2] in NAMESPACE_RULES:
            base = value.rstrip('/')
    return ['--ros-args', '-r', f'__ns:={base}/{rig}']


def note_signals() -> threading.Event:
    """Let SIGINT and SIGTERM set an event; a second one ends the process as usual.

    The handlers of rclpy shut the context down from another thread: node creation and spin then
    fail with a traceback, or sleep on (seen with rclpy 9.1.2), depending on where they are.
    """
    stop = threading.Event()

    def note(number: int, _frame: object) -> None:
        stop.set()
        signal.signal(number, signal.SIG_DFL)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, note)
    return stop


@contextmanager
def woken_by_signals(wake: Callable[[], None]) -> Iterator[None]:
    """Call ``wake`` after every signal, from a thread of its own; for the main thread.

    Python calls handlers in the main thread, and not while that waits in native code: the
    executor's wait would sleep through a signal.
    """
    reading, writing = os.pipe()
    os.set_blocking(writing, False)  # as set_wakeup_fd asks for
    thread = threading.Thread(target=_relay, args=(reading, wake), name='signals', daemon=True)
    before = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    thread.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        os.close(writing)
        thread.join()
        os.close(reading)


def _relay(reading: int, wake: Callable[[], None]) -> None:
    while os.read(reading, 64):  # b'' = closed
        wake()


def has_busy_threads() -> bool:
    """Return whether a thread of ours is still in native code that nobody can interrupt."""
    return any(
        thread.name.startswith(OWN_THREADS) and thread.daemon and thread.is_alive()
        for thread in threading.enumerate()
    )


def leave_at_once(status: int) -> NoReturn:
    """End the process without waiting for busy threads.

    Python would end them by unwinding their stack when they come back, through C++ that cannot be
    unwound: the process would abort instead of leaving with its status.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
