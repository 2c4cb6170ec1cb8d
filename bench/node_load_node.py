# SPDX-License-Identifier: Apache-2.0
"""The perception node with a clock on its stages, for ``bench.node_load``.

    python -m bench.node_load_node --report stages.json --ros-args ...

On SIGUSR1 it writes the processor time so far, seconds: of the process, of every stage (that of
the thread it runs in) and of every group of threads.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
import functools
from pathlib import Path
import signal
import sys
import threading
from time import process_time, thread_time
from typing import Any

from bench.node_streams import ENGINE, write_report
from rgbt_perception import pipeline
from rgbt_perception.dominance_filter import DominanceFilter
from rgbt_perception.engine import stages, thread
from rgbt_perception.errors import ProcessError
from rgbt_perception.health import HealthMonitor
from rgbt_perception.nodes import perception_node
from rgbt_perception.ros.cameras import Cameras
from rgbt_perception.ros.outputs import Outputs
from rgbt_perception.types import NS_PER_S

EXECUTOR, OTHERS, MIDDLEWARE, ENDED = 'executor', 'other threads', 'middleware', 'ended threads'
PYTHON_THREADS = {'perception worker': 'perception worker', 'engine': ENGINE}  # name to group
MIDDLEWARE_MARK = 'dds.'  # how Fast DDS begins the names of its threads
TASKS = Path('/proc/self/task')

# Where each stage is found: an object and the name of the function in it.
STAGES: dict[str, tuple[Any, str]] = {  # in the order of a pair's way
    'receive': (Cameras, '_receive'),
    'assess': (HealthMonitor, 'assess'),
    'normalise thermal': (pipeline.Pipeline, '_normalise_thermal'),
    'register': (pipeline.Pipeline, '_on_reference'),
    'build batch': (stages, 'build_batch'),
    ENGINE: (thread, '_answer'),  # without what a runtime does on further threads
    'decode boxes': (stages, 'decode_detections'),
    'label map': (stages, 'decode_label_map'),
    'misregistration': (pipeline.Pipeline, '_measure_misregistration'),
    'dominance': (DominanceFilter, 'update'),
    'publish': (Outputs, 'publish'),
}


class StageClock:
    """Adds up processor time by stage.

    Attributes:
        total_s: Processor time so far, by stage.
    """

    def __init__(self) -> None:
        """Start at nothing."""
        self.total_s: defaultdict[str, float] = defaultdict(float)

    def watch(self, stage: str, owner: Any, name: str) -> None:
        """Put the clock around a function of a class or module."""
        function: Callable[..., Any] = getattr(owner, name)

        @functools.wraps(function)
        def timed(*args: Any, **kwargs: Any) -> Any:
            began_s = thread_time()
            try:
                return function(*args, **kwargs)
            finally:
                self.total_s[stage] += thread_time() - began_s

        setattr(owner, name, timed)

    def write(self, report: Path) -> None:
        """Write the times so far."""
        values = {
            'process_s': process_time(),
            'stages_s': dict(self.total_s),
            'threads_s': read_thread_times(),
        }
        write_report(report, values)


def name_threads() -> None:
    """Give every thread of Python its name in /proc, as Python 3.14 does.

    Threads that a runtime starts take over the name of the thread that starts them.
    """
    run: Callable[..., None] = threading.Thread.run

    @functools.wraps(run)
    def named(self: threading.Thread) -> None:
        (TASKS / str(threading.get_native_id()) / 'comm').write_text(self.name, encoding='utf-8')
        run(self)

    threading.Thread.run = named  # type: ignore[method-assign]


def read_thread_times() -> dict[str, float]:
    """Return the processor time so far by group of threads, seconds; their sum is the process's.

    Groups: the executor (main thread), the worker, the engine (its thread and those that it
    started), the middleware, all others (OpenCV's pool, jobs), and what threads took that ended.
    """
    python_names = {item.native_id: item.name for item in threading.enumerate()}
    main_id = threading.main_thread().native_id
    groups = (EXECUTOR, *PYTHON_THREADS.values(), OTHERS, MIDDLEWARE)
    times_s = dict.fromkeys(groups, 0.0)
    for task in TASKS.iterdir():
        try:
            comm = (task / 'comm').read_text(encoding='utf-8').strip()
            spent_ns = read_spent_ns(task)
        except (FileNotFoundError, ProcessLookupError):  # it ended meanwhile
            continue
        task_id = int(task.name)
        group = EXECUTOR if task_id == main_id else group_thread(comm, python_names.get(task_id))
        times_s[group] += spent_ns / NS_PER_S
    return {**times_s, ENDED: process_time() - sum(times_s.values())}


def read_spent_ns(task: Path) -> int:
    """Return the processor time so far of a thread, by its folder in /proc."""
    return int((task / 'schedstat').read_text(encoding='utf-8').split()[0])


def check_thread_times() -> None:
    """Check that the kernel tells the processor times of threads.

    Raises:
        ProcessError: If it does not: all of it would seem to be of threads that ended.
    """
    task = TASKS / str(threading.get_native_id())
    try:
        has_times = read_spent_ns(task) > 0
    except FileNotFoundError:
        has_times = False
    if not has_times:
        raise ProcessError(
            f"'{task}/schedstat' is missing or says 0, expected the processor time of a thread; "
            f'run this on a kernel that was built with CONFIG_SCHEDSTATS'
        )


def group_thread(comm: str, python_name: str | None) -> str:
    """Return the group of a thread.

    Args:
        comm: Its name in /proc.
        python_name: Its name in Python, None = it is not one of Python's.
    """
    if python_name is not None:
        return PYTHON_THREADS.get(python_name, OTHERS)
    if comm.startswith(MIDDLEWARE_MARK):
        return MIDDLEWARE
    return ENGINE if comm == ENGINE else OTHERS


def main() -> int:
    """Run the node until it is interrupted."""
    check_thread_times()
    report = Path(sys.argv[sys.argv.index('--report') + 1])
    clock = StageClock()
    name_threads()
    for stage, (owner, name) in STAGES.items():
        clock.watch(stage, owner, name)
    signal.signal(signal.SIGUSR1, lambda *_: clock.write(report))
    return perception_node.main([sys.argv[0], *sys.argv[3:]])


if __name__ == '__main__':
    try:
        sys.exit(main())
    except ProcessError as error:
        sys.exit(f'error: {error}')
