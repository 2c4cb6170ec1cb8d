# SPDX-License-Identifier: Apache-2.0
"""Which faults the soak test injects, and when: the same for the same seed. No ROS.

    |<- faults ->|<- first window ->|<- faults ... ->| settle |<- last window ->|
    0        warm-up                                                          end

In the warm-up every kind of fault happens once, in quick succession, and then those that fill the
buffers happen again and again, so that what is allocated once, or up to a limit, is allocated
there: the heap keeps the size of its busiest moment. Runs of less than half an hour are too short
for that. The windows are free of faults: what is measured in the one is comparable with the other.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
import random

LONGEST_WARM_UP_S = 600.0
LONGEST_WINDOW_S = 60.0
LONGEST_SETTLE_S = 10.0
FIRST_FAULT_S = 2.0
FAULT_S = (2.0, 5.0)  # shortest and longest
RESTART_S = 5.0  # a process needs its time to start
QUICK_FAULT_S, QUICK_GAP_S = (2.0, 2.0), (2.5, 2.5)
GAP_S = (3.5, 5.0)  # between two faults, in which the node has to recover


class FaultKind(Enum):
    """What goes wrong."""

    DROPOUT = 'dropout'  # the camera sends nothing
    FROZEN = 'frozen'  # the same image again and again, as in a shutter calibration
    BLACK = 'black'  # no structure, lowest value
    SATURATED = 'saturated'  # no structure, highest value
    BAD_ENCODING = 'bad_encoding'
    TRUNCATED = 'truncated'  # half of the data
    WRONG_STEP = 'wrong_step'  # fewer bytes per row than the image has
    EMPTY = 'empty'  # 0x0
    ZERO_STAMP = 'zero_stamp'
    SAME_STAMP = 'same_stamp'  # the clock of the camera stands still
    FUTURE_STAMP = 'future_stamp'  # one hour ahead
    SMALL = 'small'  # another resolution, mid-stream
    JUMP_BACK = 'jump_back'  # both clocks, 60 s, as a looped bag
    JUMP_FORWARD = 'jump_forward'
    CLOCK_OFFSET = 'clock_offset'  # thermal runs 2 s ahead
    OUT_OF_ORDER = 'out_of_order'  # every other stamp is older than the one before
    SWAPPED = 'swapped'  # each camera on the topic of the other
    BURST = 'burst'  # 60 Hz
    RESTART = 'restart'  # the camera process is ended and started again
    PARAMETERS = 'parameters'  # settings change, right and wrong ones
    CYCLE = 'cycle'  # deactivated and activated again
    DISABLE = 'disable'  # ~/enable false, then true
    SNAPSHOT = 'snapshot'  # ~/snapshot


ONE_CAMERA = frozenset(
    {
        FaultKind.DROPOUT,
        FaultKind.FROZEN,
        FaultKind.BLACK,
        FaultKind.SATURATED,
        FaultKind.BAD_ENCODING,
        FaultKind.TRUNCATED,
        FaultKind.WRONG_STEP,
        FaultKind.EMPTY,
        FaultKind.ZERO_STAMP,
        FaultKind.SAME_STAMP,
        FaultKind.FUTURE_STAMP,
        FaultKind.SMALL,
    }
)
OF_THE_NODE = frozenset(
    {
        FaultKind.RESTART,
        FaultKind.PARAMETERS,
        FaultKind.CYCLE,
        FaultKind.DISABLE,
        FaultKind.SNAPSHOT,
    }
)
# Message pools and heaps reach their largest size with these.
FILLING = (FaultKind.BURST, FaultKind.SNAPSHOT, FaultKind.CYCLE)
CAMERAS = ('rgb', 'thermal')


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One fault.

    Attributes:
        kind: What goes wrong.
        cameras: Cameras it is about.
        begin_s: Begin, seconds after the start of the run.
        end_s: End; from then on everything is right again.
    """

    kind: FaultKind
    cameras: tuple[str, ...]
    begin_s: float
    end_s: float

    def is_active(self, time_s: float) -> bool:
        """Return whether the fault is on at a time."""
        return self.begin_s <= time_s < self.end_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A whole run; times in seconds after its start.

    Attributes:
        seed: What the faults were drawn with.
        duration_s: Length of the run.
        warm_up_s: Begin of the first window and of the measuring.
        window_s: Length of the first and of the last window.
        faults: In order of time, never two at once.
    """

    seed: int
    duration_s: float
    warm_up_s: float
    window_s: float
    faults: tuple[Fault, ...]

    @property
    def first_window(self) -> tuple[float, float]:
        """Begin and end of the first window without faults."""
        return self.warm_up_s, self.warm_up_s + self.window_s

    @property
    def last_window(self) -> tuple[float, float]:
        """Begin and end of the last window without faults."""
        return self.duration_s - self.window_s, self.duration_s

    def active(self, time_s: float, camera: str) -> list[Fault]:
        """Return the faults of one camera at a time."""
        return [
            fault for fault in self.faults if camera in fault.cameras and fault.is_active(time_s)
        ]


def build_plan(*, seed: int, duration_s: float) -> Plan:
    """Draw the faults of a run.

    Every kind happens once before one happens again, in an order drawn by the seed.

    Args:
        seed: The same seed and duration give the same plan.
        duration_s: Length of the run, seconds, > 0.
    """
    draw = random.Random(seed)  # noqa: S311  # repeatable, not secret
    warm_up_s = min(LONGEST_WARM_UP_S, duration_s / 3.0)
    window_s = min(LONGEST_WINDOW_S, duration_s / 6.0)
    settle_s = min(LONGEST_SETTLE_S, duration_s / 12.0)
    quick = _draw_faults(
        draw,
        FIRST_FAULT_S,
        warm_up_s - settle_s,
        fault_s=QUICK_FAULT_S,
        gap_s=QUICK_GAP_S,
        then=FILLING,
    )
    faults = _draw_faults(
        draw,
        warm_up_s + window_s,
        duration_s - window_s - settle_s,
        fault_s=FAULT_S,
        gap_s=GAP_S,
    )
    return Plan(
        seed=seed,
        duration_s=duration_s,
        warm_up_s=warm_up_s,
        window_s=window_s,
        faults=(*quick, *faults),
    )


def _draw_faults(
    draw: random.Random,
    begin_s: float,
    end_s: float,
    *,
    fault_s: tuple[float, float],
    gap_s: tuple[float, float],
    then: tuple[FaultKind, ...] = tuple(FaultKind),
) -> list[Fault]:
    """Fill a span of time with faults: every kind once, then again those of ``then``."""
    kinds = list(FaultKind)
    draw.shuffle(kinds)
    faults: list[Fault] = []
    time_s = begin_s
    while time_s + max(RESTART_S, fault_s[1]) < end_s:
        if not kinds:
            kinds = list(then)
            draw.shuffle(kinds)
        kind = kinds.pop()
        fault_end_s = time_s + (RESTART_S if kind is FaultKind.RESTART else draw.uniform(*fault_s))
        cameras = (draw.choice(CAMERAS),) if kind in ONE_CAMERA else CAMERAS
        faults.append(Fault(kind=kind, cameras=cameras, begin_s=time_s, end_s=fault_end_s))
        time_s = fault_end_s + draw.uniform(*gap_s)
    return faults
