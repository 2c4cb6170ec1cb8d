# SPDX-License-Identifier: Apache-2.0
"""One row per fault; the tests run the rows, ``docs/faults.md`` shows them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
import re
from typing import Any

INTRODUCTION = """\
<!-- SPDX-License-Identifier: Apache-2.0 -->
# What happens when things fail

Every row is a test (`test/ros/test_faults.py`). Where a mode or a status is expected, the fault
was sent to a running node over the real middleware, and more is required than the table says: the
node stays active, no output belongs to an old frame, none comes twice. The other rows give the
fault to one stage and require one sentence that names cause and remedy.

Faults of built engines (other GPU, other version, damaged cache) are in `engine_cache.md`, not in
this list; `test_engine_cache_faults.py` is their test. Faults that need processes or time of their
own have tests of their own: signals while loading and inferring (`test_exit.py`), a camera process
that is killed and restarted (`test_camera_restart.py`), hanging and failing engines
(`test_engine_faults.py`), 60 Hz into a slow engine (`test_overload.py`), floods of parameters
(`test_live_parameters.py`), 200 lifecycle cycles (`test_cycles.py`), a missing transform
(`test_geometry_inputs.py`), two nodes of one name (`test_rigs.py`), a paused or jumping `/clock`
(`test_clock.py`); hours at rate with random faults: `python -m bench.soak`.

Written by the tests: `python -m pytest test/ros/test_faults.py --write-faults`. A run without that
option fails when an observation differs from this page; `#` stands for a number that varies.
"""
# What differs from run to run and from machine to machine.
_VARYING = (
    (re.compile(r"'?/[^' ]*/pytest-of-[^/ ]+/[^' ;,)]*'?"), "'#'"),
    (re.compile(r'[+-]?\d+\.\d+'), '#'),
    (re.compile(r'\b\d+ (frames|pairs|messages|failed|late|no_partner|[a-z]+_stamp)'), r'# \1'),
    (re.compile(r'p95 \d+ ms'), 'p95 # ms'),
    (re.compile(r'\|'), '/'),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What must be seen.

    Attributes:
        text: Regular expression that the sentence must contain.
        mode: Mode of the last result while the fault lasts, '' when none must come or it is open.
        status: Name of the diagnostic status that must say it, '' when an error says it.
        level: 'OK', 'WARN' or 'ERROR', with a status.
    """

    text: str
    mode: str = ''
    status: str = ''
    level: str = ''


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """What was seen, in the order of ``Expected``."""

    text: str
    mode: str = ''
    level: str = ''


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Fault:
    """One row.

    Attributes:
        family: Part of the matrix.
        name: What goes wrong, for a reader.
        expected: What must be seen.
        run: Does it; a live row gets a rig, any other row a temporary folder.
        settings: Parameters of the node of a live row.
        is_live: True when a running node meets the fault.
        recovers: True when good frames must bring the fused mode back.
    """

    family: str
    name: str
    expected: Expected
    run: Callable[[Any], Any]
    settings: dict[str, Any] = field(default_factory=dict)
    is_live: bool
    recovers: bool = True

    @property
    def key(self) -> str:
        """Return the name of the test."""
        return f'{self.family}: {self.name}'


FAULTS: list[Fault] = []


def live(
    family: str,
    name: str,
    *,
    text: str,
    mode: str = '',
    status: str,
    level: str,
    recovers: bool = True,
    **settings: Any,
) -> Callable[[Callable[[Any], None]], Callable[[Any], None]]:
    """Register a function that does something to a running node; see ``Fault``."""
    expected = Expected(text=text, mode=mode, status=status, level=level)
    dotted = {key.replace('__', '.'): value for key, value in settings.items()}

    def register(run: Callable[[Any], None]) -> Callable[[Any], None]:
        FAULTS.append(
            Fault(
                family=family,
                name=name,
                expected=expected,
                run=run,
                settings=dotted,
                is_live=True,
                recovers=recovers,
            )
        )
        return run

    return register


def sentence(
    family: str, name: str, *, text: str
) -> Callable[[Callable[[Any], str]], Callable[[Any], str]]:
    """Register a function that gives a fault to one stage and returns the sentence it says."""

    def register(run: Callable[[Any], str]) -> Callable[[Any], str]:
        expected = Expected(text=text)
        FAULTS.append(Fault(family=family, name=name, expected=expected, run=run, is_live=False))
        return run

    return register


def row_text(fault: Fault, observed: Observed) -> str:
    """Return the table row of one fault."""
    expected = fault.expected
    if fault.is_live:
        promise = [f'mode {expected.mode}'] if expected.mode else []
        promise.append(f'{expected.status}: {expected.level}')
        promise += ['both cameras again'] if fault.recovers else []
        seen = [f'mode {observed.mode}'] if observed.mode else []
        seen.append(f'{observed.level}: {_steady(observed.text)}')
        return f'| {fault.name} | {", ".join(promise)} | {", ".join(seen)} |'
    return f'| {fault.name} | an error that says so | {_steady(observed.text)} |'


def page_text(rows: dict[str, str]) -> str:
    """Return the page, given the row of every fault by its key."""
    lines = [INTRODUCTION]
    for family in dict.fromkeys(fault.family for fault in FAULTS):
        faults = [fault for fault in FAULTS if fault.family == family]
        lines += [f'## {family} ({len(faults)})', '', '| fault | expected | observed |']
        lines += ['|---|---|---|', *(rows[fault.key] for fault in faults), '']
    lines.append(f'{len(FAULTS)} faults in all.')
    return '\n'.join(lines) + '\n'


def _steady(text: str) -> str:
    for pattern, replacement in _VARYING:
        text = pattern.sub(replacement, text)
    return text
