# SPDX-License-Identifier: Apache-2.0
"""A running node to which faults are sent, frame by frame, and what it says about them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
import re
import time
from typing import Any

from diagnostic_msgs.msg import DiagnosticStatus
from fakes import FakeEngine, rgb_frame, thermal_frame
import pytest
from ros_rig import image_of, Rig, stamp_of, values_of
from sensor_msgs.msg import CameraInfo

from faults.table import Expected, Fault, Observed
from rgbt_perception.config import PerceptionConfig
from rgbt_perception.engine.supervised import SupervisedEngine
from rgbt_perception.types import Batch, RawOutputs

LEVELS = {
    DiagnosticStatus.OK: 'OK',
    DiagnosticStatus.WARN: 'WARN',
    DiagnosticStatus.ERROR: 'ERROR',
}
STEP_NS = 33_000_000
ANSWER_TIMEOUT_S = 1.0
NO_ANSWER_S = 0.033
MOST_PAIRS_TO_RECOVER = 60
# Stamps run ahead of the clock when the machine is faster than 30 pairs per second.
SETTINGS = {'diagnostics.period_s': 0.1, 'diagnostics.max_stamp_lead_s': 30.0}
NOTHING = object()


class _Changeable(FakeEngine):
    """Engine that does what another one does, which may be replaced while it runs."""

    def __init__(self, behaviour: FakeEngine) -> None:
        super().__init__()
        self.behaviour = behaviour

    def run(self, batch: Batch) -> RawOutputs:
        self.batches.append(batch)
        return self.behaviour.run(batch)


class FaultRig(Rig):
    """``Rig`` with stamps of now, one pair after the other, and a memory of what was sent.

    Its engine is supervised, as that of a real node: backends 'first' and 'second'.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._spares: list[FakeEngine] = []
        super().__init__(*args, **kwargs, open_engine=self._open_supervised)
        self.sent: Counter[int] = Counter()
        self._info_publishers: dict[str, Any] = {}
        self._stamp_ns = time.time_ns()
        self._mark = 0

    def put_engine(self, engine: FakeEngine, *spares: FakeEngine) -> None:
        """Let the running engine behave like ``engine``, those opened later like the spares.

        When the spares are used up, good engines are opened.
        """
        self._spares = list(spares)
        assert isinstance(self.engine, _Changeable)
        self.engine.behaviour = engine

    def next_stamp_ns(self) -> int:
        """Return a stamp 33 ms after the last one, or now when that is later."""
        self._stamp_ns = max(self._stamp_ns + STEP_NS, time.time_ns())
        return self._stamp_ns

    def jump(self, seconds: float) -> None:
        """Let the stamps go on from somewhere else, on both cameras."""
        self._stamp_ns += int(seconds * 1e9)
        self.next_stamp_ns = self._next_without_clock  # type: ignore[method-assign]

    def step(
        self,
        rgb: Any = None,
        thermal: Any = None,
        *,
        stamp_ns: int | None = None,
        thermal_stamp_ns: int | None = None,
        has_answer: bool = True,
    ) -> int:
        """Send one image of each camera and wait for the result.

        Args:
            rgb: Message, or None for a good image, or ``NOTHING``.
            thermal: The same for thermal.
            stamp_ns: Stamp of both; None = the next one.
            thermal_stamp_ns: Stamp of thermal when it differs.
            has_answer: False when no result is to be waited for; the step then takes 33 ms.

        Returns:
            The RGB stamp.
        """
        stamp_ns = self.next_stamp_ns() if stamp_ns is None else stamp_ns
        other_ns = stamp_ns if thermal_stamp_ns is None else thermal_stamp_ns
        num_before = len(self.received['mdi'])
        for name, message, at_ns, make in (
            ('rgb', rgb, stamp_ns, rgb_frame),
            ('thermal', thermal, other_ns, thermal_frame),
        ):
            if message is NOTHING:
                continue
            image = image_of(make(at_ns)) if message is None else message
            image.header.stamp.sec, image.header.stamp.nanosec = divmod(at_ns, 1_000_000_000)
            self.send(name, image)
            self.sent[at_ns] += 1
        timeout_s = ANSWER_TIMEOUT_S if has_answer else NO_ANSWER_S
        self.spin_until(lambda: has_answer and len(self.received['mdi']) > num_before, timeout_s)
        return stamp_ns

    def steps(self, count: int, **what: Any) -> None:
        """Take several steps; messages may be functions that make a new one each time."""
        for _ in range(count):
            self.step(**{key: v() if callable(v) else v for key, v in what.items()})

    def send_camera_info(self, camera: str, **fields: Any) -> None:
        """Publish the camera_info of a camera until the node has it; good but for ``fields``."""
        topic = f'{camera}/camera_info'
        height, width = (48, 64) if camera == 'rgb' else (40, 56)
        intrinsics = [60.0, 0.0, (width - 1) / 2, 0.0, 60.0, (height - 1) / 2, 0.0, 0.0, 1.0]
        info = CameraInfo(
            height=height, width=width, distortion_model='plumb_bob', k=intrinsics, d=[0.0] * 5
        )
        for name, value in fields.items():
            setattr(info, name, value)
        if topic not in self._info_publishers:
            self._info_publishers[topic] = self.user.create_publisher(CameraInfo, topic, 10)
        publisher = self._info_publishers[topic]
        assert self.spin_until(publisher.get_subscription_count, 5.0)
        publisher.publish(info)
        self.steps(3)

    def spin_until(self, is_done: Callable[[], Any], timeout_s: float = ANSWER_TIMEOUT_S) -> bool:
        """Let callbacks run until something has happened or the time is over."""
        deadline = time.monotonic() + timeout_s
        while not is_done():
            if time.monotonic() > deadline:
                return False
            self._executor.spin_once(timeout_sec=0.01)
        return True

    def warm_up(self) -> None:
        """Bring the node to fused results."""
        self.recover()
        self._mark = len(self.received['diagnostics'])

    def observe(self, fault: Fault) -> Observed:
        """Wait until the expected status says the expected text; return what was said."""
        expected = fault.expected
        found: list[Observed] = []
        self.spin_until(lambda: found.extend(self._matching(expected)) or found, 5.0)
        if not found:
            pytest.fail(
                f"'{expected.status}' never said {expected.level} {expected.text!r}; it said: "
                + ' / '.join(dict.fromkeys(self.said(expected.status)))
            )
        return found[0]

    def recover(self) -> int:
        """Send good pairs until both cameras are used again; return how many it took."""
        for count in range(1, MOST_PAIRS_TO_RECOVER + 1):
            self.step()
            if self._is_fused():
                return count
        reason = self.mdi_values()['mode_reason']
        pytest.fail(f'not fused again after {MOST_PAIRS_TO_RECOVER} good pairs: {reason}')

    def last_mode(self) -> str:
        """Return the mode of the newest result."""
        return self.mdi_values()['mode'] if self.received['mdi'] else ''

    def assert_outputs_are_fresh(self) -> None:
        """Every output belongs to a frame that was sent, and none came out twice."""
        for topic in ('mdi', 'detections', 'segmentation/mask'):
            came = Counter(stamp_of(message) for message in self.received[topic])
            assert not came - self.sent, f'{topic}: outputs without a frame, or twice'

    def assert_is_alive(self) -> None:
        """The node is active."""
        assert self.node.get_logger() is not None
        label = self.node._state_machine.current_state[1]
        assert label == 'active', self.log_text()

    def _open_supervised(self, config: PerceptionConfig) -> SupervisedEngine:
        return SupervisedEngine(
            config.engine, backends=('first', 'second'), open_backend=self._open_backend
        )

    def _open_backend(self, name: str) -> FakeEngine:
        self.engine = _Changeable(self._spares.pop(0) if self._spares else FakeEngine())
        self.engine.backend = name
        return self.engine

    def _next_without_clock(self) -> int:
        self._stamp_ns += STEP_NS
        return self._stamp_ns

    def _is_fused(self) -> bool:
        return self.last_mode() == 'fused'

    def _statuses(self, name: str) -> list[Any]:
        messages = self.received['diagnostics'][self._mark :]
        wanted = f'perception: {name}'
        return [item for message in messages for item in message.status if item.name == wanted]

    def said(self, name: str) -> list[str]:
        """Return what a status has said so far, level and text."""
        return [f'{LEVELS[item.level]} {item.message}' for item in self._statuses(name)]

    def _matching(self, expected: Expected) -> list[Observed]:
        return [
            Observed(text=item.message, level=LEVELS[item.level], mode=self.last_mode())
            for item in self._statuses(expected.status)
            if LEVELS[item.level] == expected.level and re.search(expected.text, item.message)
        ]

    def counted(self, key: str) -> int:
        """Return a number of the newest synchronisation status."""
        statuses = self._statuses('synchronisation')
        return int(values_of(statuses[-1])[key]) if statuses else 0
