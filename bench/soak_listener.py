# SPDX-License-Identifier: Apache-2.0
"""The soak test's own node: it hears the results, and does what an operator would do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from itertools import cycle
import time
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
from rcl_interfaces.srv import SetParameters
from rclpy.node import Node
from sensor_msgs.msg import Image
from std_srvs.srv import SetBool, Trigger

from bench.soak_figures import is_counted_right, ResultSample, seconds_since
from rgbt_perception.frames import stamp_of
from rgbt_perception.ros.messages import import_vision_msgs
from rgbt_perception.ros.qos import result_qos

TARGET = 'perception'
MAX_OPEN_CALLS = 8
# Every second one is refused: too large, of another type, or not a setting.
PARAMETER_SETS = (
    ('output.score_threshold', 0.35),
    ('output.score_threshold', 5.0),
    ('sync.max_skew_s', 0.03),
    ('sync.max_skew', 0.02),
    ('fallback.missing_after_s', 0.6),
    ('fallback.missing_after_s', True),
)
RIGHT_AGAIN = (
    ('output.score_threshold', 0.3),
    ('sync.max_skew_s', 0.02),
    ('fallback.missing_after_s', 0.5),
)


class SoakListener(Node):
    """Listens and operates; calls are not waited for.

    Attributes:
        results: Results heard so far.
        answers: Answers of services, by text.
        num_miscounts: Diagnostics messages whose counts do not add up.
        last_miscount: The counts of the last one.
        num_masks: Masks heard.
        num_detections: Detection messages heard.
        status_texts: How often each warning and error was on /diagnostics.
        origin_ns: Start of the run on the monotonic clock; set before the run.
    """

    def __init__(self) -> None:
        """Subscribe to results and diagnostics."""
        super().__init__('soak_listener')
        self.origin_ns = 0
        self.results: list[ResultSample] = []
        self.answers: Counter[str] = Counter()
        self.num_miscounts = 0
        self.last_miscount: dict[str, str] = {}
        self.num_masks = self.num_detections = 0
        self.status_texts: Counter[str] = Counter()
        self._num_open = 0
        self._settings = cycle(PARAMETER_SETS)
        msgs = import_vision_msgs()
        for kind, topic, callback in (
            (DiagnosticArray, f'{TARGET}/mdi', self._on_mdi),
            (msgs.Detection2DArray, f'{TARGET}/detections', self._on_detections),
            (Image, f'{TARGET}/segmentation/mask', self._on_mask),
            (DiagnosticArray, '/diagnostics', self._on_diagnostics),
        ):
            self.create_subscription(kind, topic, callback, result_qos())
        self._set: Any = self.create_client(SetParameters, f'{TARGET}/set_parameters')
        self._change: Any = self.create_client(ChangeState, f'{TARGET}/change_state')
        self._enable: Any = self.create_client(SetBool, f'{TARGET}/enable')
        self._snapshot: Any = self.create_client(Trigger, f'{TARGET}/snapshot')

    @property
    def is_node_there(self) -> bool:
        """True when the node is active: its results have a publisher."""
        return self.count_publishers(f'{TARGET}/mdi') > 0

    def set_something(self) -> None:
        """Set the next of some settings, every second of which must be refused."""
        if self._num_open < MAX_OPEN_CALLS:
            self._set_parameters([next(self._settings)])

    def set_right_again(self) -> None:
        """Set the settings back to their defaults."""
        self._set_parameters(list(RIGHT_AGAIN))

    def deactivate(self) -> None:
        """Ask for the transition."""
        self._transition(Transition.TRANSITION_DEACTIVATE)

    def activate(self) -> None:
        """Ask for the transition."""
        self._transition(Transition.TRANSITION_ACTIVATE)

    def enable(self, *, is_on: bool) -> None:
        """Call ``~/enable``."""
        self._call(self._enable, SetBool.Request(data=is_on), lambda answer: str(answer.success))

    def snapshot(self) -> None:
        """Call ``~/snapshot``."""
        self._call(self._snapshot, Trigger.Request(), lambda answer: str(answer.success))

    def _set_parameters(self, settings: list[tuple[str, Any]]) -> None:
        parameters = [Parameter(name=name, value=_value(value)) for name, value in settings]
        self._call(
            self._set,
            SetParameters.Request(parameters=parameters),
            lambda answer: ' '.join(str(item.successful) for item in answer.results),
        )

    def _transition(self, number: int) -> None:
        request = ChangeState.Request(transition=Transition(id=number))
        self._call(self._change, request, lambda answer: str(answer.success))

    def _call(self, client: Any, request: Any, describe: Callable[[Any], str]) -> None:
        name = client.srv_name.rpartition('/')[2]
        if not client.service_is_ready():
            self.answers[f'{name}: no service'] += 1
            return
        self._num_open += 1

        def note(future: Any) -> None:
            self._num_open -= 1
            error = future.exception()
            text = repr(error) if error else describe(future.result())
            self.answers[f'{name}: {text}'] += 1

        client.call_async(request).add_done_callback(note)

    def _on_mdi(self, message: DiagnosticArray) -> None:
        values = {item.key: item.value for item in message.status[0].values}
        self.results.append(
            ResultSample(
                time_s=seconds_since(self.origin_ns, time.monotonic_ns()),
                latency_ms=(time.time_ns() - stamp_of(message.header)) / 1e6,
                mode=values['mode'],
            )
        )

    def _on_detections(self, _message: Any) -> None:
        self.num_detections += 1

    def _on_mask(self, _message: Image) -> None:
        self.num_masks += 1

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        values: dict[str, str] = {}
        for status in message.status:
            if status.level != b'\x00':
                self.status_texts[f'{status.name}: {status.message}'[:160]] += 1
            if status.name.endswith((': synchronisation', ': inference')):
                values |= {item.key: item.value for item in status.values}
        if not is_counted_right(values):
            self.num_miscounts += 1
            self.last_miscount = values


def _value(value: Any) -> ParameterValue:
    if isinstance(value, bool):
        return ParameterValue(type=ParameterType.PARAMETER_BOOL, bool_value=value)
    return ParameterValue(type=ParameterType.PARAMETER_DOUBLE, double_value=value)
