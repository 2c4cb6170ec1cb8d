# SPDX-License-Identifier: Apache-2.0
"""The running part of the perception node, from configure to cleanup.

Three parties: subscription callbacks decode and hand frames to the pairer, the worker thread runs
the pipeline and publishes, timers ask the pairer for frames whose wait is over and report.
Receiving never waits for inference: of the locks that callbacks take, none is held while a pair is
in work.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
import threading
import time
from typing import TYPE_CHECKING

from rclpy.clock import Clock, ClockType  # type: ignore[attr-defined]  # there since Humble

from rgbt_perception.errors import EngineError, EngineGivenUpError, RGBTError
from rgbt_perception.ros.cameras import Cameras, Consumers, image_topic
from rgbt_perception.ros.clock_watch import ClockWatch
from rgbt_perception.ros.engine_watch import drain_timeout_s, EngineWatch
from rgbt_perception.ros.guarded_pairer import GuardedPairer
from rgbt_perception.ros.mode_log import ModeLog
from rgbt_perception.ros.outputs import Outputs
from rgbt_perception.ros.pose_lookup import PoseLookup
from rgbt_perception.ros.reporter import Reporter
from rgbt_perception.ros.snapshot import SnapshotSource, write_snapshot
from rgbt_perception.ros.worker import prefers_fused, Worker
from rgbt_perception.types import Modality, NS_PER_S

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from rclpy.guard_condition import GuardCondition
    from rclpy.lifecycle import LifecycleNode
    from rclpy.timer import Timer

    from rgbt_perception.camera_model import CameraModel
    from rgbt_perception.config import PerceptionConfig
    from rgbt_perception.pipeline import Pipeline
    from rgbt_perception.types import Frame, Pair

POLL_PERIOD_S = 0.01
LOOK_PERIOD_NS = NS_PER_S // 10  # frames that come faster are not each worth looking
POSE_PERIOD_S = 0.5
LOG_PERIOD_S = 5.0


@dataclass(frozen=True, slots=True, eq=False)
class _Job:
    """A pair for the worker; of an epoch that is over it is not worth running."""

    pair: Pair
    epoch: int


class PerceptionLoop:
    """Receives, pairs, runs and publishes while active.

    Attributes:
        drain_timeout_s: Longest wait for a pair in work when the loop stops.
        on_given_up: Called on the executor's thread when the engine failed for good and
            ``engine.on_error`` asks for more than waiting.
    """

    def __init__(self, node: LifecycleNode, pipeline: Pipeline, config: PerceptionConfig) -> None:
        """Create the outputs; nothing is received before ``activate``.

        Args:
            node: Node that owns topics and timers.
            pipeline: What turns a pair into a result; closed by ``close``.
            config: Settings in force.

        Raises:
            BackendUnavailableError: If vision_msgs is not installed, or what a setting needs.
        """
        self.drain_timeout_s = drain_timeout_s(config.engine.timeout_s)
        self.on_given_up: Callable[[str], None] = lambda _reason: None
        self._node, self._pipeline, self._config = node, pipeline, config
        self._applied = config
        self._pairer = GuardedPairer(config)
        self._worker: Worker[_Job] | None = None
        self._cameras: Cameras | None = None
        self._clock_watch: ClockWatch | None = None
        self._engine_watch: EngineWatch | None = None
        self._poses: PoseLookup | None = None
        self._timers: list[Timer] = []
        self._poll_timer: Timer | None = None  # runs only while frames wait
        self._wake: GuardCondition | None = None  # for what must not wait for a timer
        self._looked_ns = 0  # for subscribers
        self._report_timer: Timer | None = None
        # Changes of the pipeline; the worker makes them before its next pair.
        self._changes: deque[Callable[[], None]] = deque()
        self._turn = threading.Lock()  # whose turn it is with the pipeline: worker or snapshot
        self._epoch = 0
        self._mode_log = ModeLog(node.get_logger())
        self._given_up = ''
        self._newest: dict[Modality, str] = {}  # frame ids, for tf
        self._last: SnapshotSource | None = None
        if pipeline.registration.needs_pose:
            PoseLookup.check_installed()
        self._outputs = Outputs(node, pipeline)  # first: it may find that vision_msgs is missing
        self._reporter = Reporter(node, pipeline, config)

    @property
    def is_active(self) -> bool:
        """True between ``activate`` and ``deactivate``."""
        return self._worker is not None

    def activate(self) -> None:
        """Publish the label sets, start the worker and subscribe to the cameras."""
        config, registration = self._config, self._pipeline.registration
        self._reset_pipeline()
        self._pairer = GuardedPairer(config)
        topics = {
            item: self._node.resolve_topic_name(image_topic(config.input, item))
            for item in Modality
        }
        self._reporter.restart(topics, config)
        self._mode_log, self._given_up, self._last = ModeLog(self._node.get_logger()), '', None
        self._outputs.publish_labels(config.output)
        self._engine_watch = EngineWatch(self._pipeline.engine, self._node.get_logger())
        self._wake = self._node.create_guard_condition(self._poll)
        self._worker = Worker(self._work, name='perception worker', keeps=_keeps)
        consumers = Consumers(
            frame=self._take_frame,
            camera=self._take_camera,
            urgent=self._wake.trigger,
            has_use_for_cameras=registration.needs_cameras,
        )
        self._cameras = Cameras(self._node, config.input, self._reporter.diagnostics, consumers)
        self._clock_watch = ClockWatch(self._node, self._note_clock_jump)
        self._poll_timer = self._add_timer(POLL_PERIOD_S, self._poll)
        self._looked_ns = 0
        self._report_timer = self._add_timer(config.diagnostics.period_s, self._report)
        if registration.needs_pose:
            self._poses = PoseLookup(self._node)
            self._add_timer(POSE_PERIOD_S, self._look_up_pose)

    def deactivate(self) -> None:
        """Unsubscribe, finish the pairs that are ready, stop the worker.

        Raises:
            EngineError: If the worker is still busy after ``drain_timeout_s``.
        """
        for timer in self._timers:
            self._node.destroy_timer(timer)
        for part in (self._cameras, self._clock_watch, self._poses):
            if part is not None:
                part.close()
        self._timers, self._poll_timer, self._report_timer = [], None, None
        self._cameras, self._clock_watch, self._poses = None, None, None
        worker, self._worker = self._worker, None
        has_ended = worker is None or worker.stop(self.drain_timeout_s)
        wake, self._wake = self._wake, None
        if wake is not None:
            self._node.destroy_guard_condition(wake)
        if not has_ended:
            self._epoch += 1  # should it come back later, its result is not wanted any more
            raise EngineError(
                f'the engine is still busy after {self.drain_timeout_s:.0f} s, expected it to '
                f'finish its pair; restart the node'
            )

    def close(self) -> None:
        """Release publishers and the pipeline, also when the worker does not end.

        Raises:
            EngineError: If the worker is still busy after ``drain_timeout_s``.
        """
        try:
            self.deactivate()
        finally:
            self._outputs.close()
            self._reporter.close()
            self._pipeline.close()

    def reconfigure(self, config: PerceptionConfig) -> None:
        """Take over new live settings; the worker applies its part before its next pair."""
        self._config = self._reporter.diagnostics.config = config
        self._pairer.reconfigure(config)

    def set_enabled(self, is_enabled: bool) -> None:
        """Let images in, or drop them before they are decoded; either way start afresh.

        Must be active. A result whose publication has begun still goes out.
        """
        cameras = self._cameras
        if cameras is not None and cameras.is_enabled is not is_enabled:
            cameras.is_enabled = is_enabled
            self._start_over()
            self._reporter.diagnostics.start_over(time.monotonic_ns())
            self._report()

    def give_way(self) -> None:
        """Let a busy worker get on before a request is handled; see ``Worker.give_way``."""
        if self._worker is not None:
            self._worker.give_way()

    def snapshot_source(self) -> SnapshotSource | None:
        """Return what there is to write about the newest pair, None before the first."""
        last = self._last
        if last is None:
            return None
        infos = self._cameras.infos if self._cameras is not None else {}
        return last.with_context(statuses=self._reporter.last_statuses, infos=dict(infos))

    def write_snapshot(self, source: SnapshotSource) -> Path:
        """Write what ``snapshot_source`` gave; from any thread.

        Raises:
            SnapshotError: If it cannot be written.
        """
        return write_snapshot(source, self._pipeline, self._turn)

    def _add_timer(self, period_s: float, callback: Callable[[], None]) -> Timer:
        # Steady: waiting goes on when /clock stands still.
        clock = Clock(clock_type=ClockType.STEADY_TIME)
        timer = self._node.create_timer(period_s, callback, clock=clock)
        self._timers.append(timer)
        return timer

    def _reset_pipeline(self) -> None:
        """Forget what was learnt; at once unless a worker that did not end is still busy."""
        if not self._turn.acquire(blocking=False):
            self._changes.append(self._pipeline.reset)
            return
        try:
            self._pipeline.reset()
        finally:
            self._turn.release()

    def _take_frame(self, frame: Frame, now_ns: int) -> None:
        if now_ns - self._looked_ns >= LOOK_PERIOD_NS:
            self._looked_ns = now_ns
            self._outputs.look_for_subscribers()
        self._newest[frame.modality] = frame.frame_id
        self._hand_over(self._pairer.push(frame, now_ns))
        self._poll_while_frames_wait()

    def _take_camera(self, modality: Modality, camera: CameraModel) -> None:
        self._changes.append(lambda: self._pipeline.set_camera(modality, camera))

    def _look_up_pose(self) -> None:
        poses, rgb, thermal = (
            self._poses,
            self._newest.get(Modality.RGB),
            self._newest.get(Modality.THERMAL),
        )
        if poses is None or rgb is None or thermal is None:
            return
        pose = poses.look_up(rgb_frame_id=rgb, thermal_frame_id=thermal)
        if pose is not None:
            self._changes.append(lambda: self._pipeline.set_pose(*pose))

    def _note_clock_jump(self, seconds: float) -> None:
        self._node.get_logger().warning(
            f'the clock jumped back by {seconds:.3f} s: pairing starts over'
        )
        self._start_over()

    def _start_over(self) -> None:
        """Forget what belongs to the time before, in the queues and in the pipeline."""
        self._epoch += 1
        for _ in self._pairer.empty():
            self._reporter.diagnostics.note_superseded()
        self._changes.append(self._pipeline.reset)

    def _poll_while_frames_wait(self) -> None:
        # Each time the executor wakes up costs a millisecond, whatever it then does: polling all
        # the time took a tenth of a core and more (``python -m bench.node_load``).
        timer, should_run = self._poll_timer, self._pairer.has_deadline
        if timer is None or should_run is not timer.is_canceled():
            return  # as it should be already
        if should_run:
            timer.reset()
        else:
            timer.cancel()

    def _poll(self) -> None:
        self.give_way()
        now_ns = time.monotonic_ns()
        self._hand_over(self._pairer.poll(now_ns))
        self._poll_while_frames_wait()
        if self._reporter.diagnostics.take_urgent(now_ns):
            self._report()
            if self._report_timer is not None:  # the next regular one: a whole period later
                self._report_timer.reset()
        reason, self._given_up = self._given_up, ''
        if reason and self._config.engine.on_error != 'fallback':
            self.on_given_up(reason)

    def _hand_over(self, pairs: list[Pair]) -> None:
        for pair in pairs:
            if self._worker is not None and self._worker.put(_Job(pair, self._epoch)) is not None:
                self._reporter.diagnostics.note_superseded()

    def _work(self, job: _Job) -> None:
        """Handle one pair on the worker thread; what is urgent is reported at once."""
        self._process(job)
        wake = self._wake
        if wake is not None and (self._given_up or self._reporter.diagnostics.is_urgent):
            wake.trigger()

    def _process(self, job: _Job) -> None:
        """Run and publish one pair; the node outlives whatever happens."""
        config, pair = self._config, job.pair
        try:
            with self._turn:
                self._apply_changes(config)
                result = self._pipeline.run(pair) if job.epoch == self._epoch else None
                if result is None or job.epoch != self._epoch:
                    self._reporter.diagnostics.note_superseded()
                    return
                self._last = SnapshotSource(pair=pair, result=result, config=config)
                self._outputs.publish(result, config.output)
        except Exception as error:  # noqa: BLE001 one bad pair must not end the worker
            self._report_failure(job, error)
            return
        self._reporter.diagnostics.note_result(result, time.monotonic_ns())
        if self._engine_watch is not None:
            self._engine_watch.note_result()
        self._mode_log.note(result, time.monotonic())

    def _apply_changes(self, config: PerceptionConfig) -> None:
        if config is not self._applied:
            self._pipeline.reconfigure(config)
            self._applied = config
        while self._changes:
            self._changes.popleft()()

    def _report_failure(self, job: _Job, error: Exception) -> None:
        if not self._node.context.ok():  # shutting down: publishers are gone
            return
        kind = '' if isinstance(error, RGBTError) else f'unexpected {type(error).__name__}: '
        problem = f'{kind}{error}'
        self._last = SnapshotSource(pair=job.pair, config=self._config, problem=problem)
        if self._engine_watch is not None:
            self._engine_watch.note_error(error)
        if isinstance(error, EngineGivenUpError) and job.epoch == self._epoch:
            self._given_up = problem
        self._reporter.diagnostics.note_failed(problem)
        stamp_s = job.pair.reference.stamp_ns / 1e9
        self._node.get_logger().error(
            f'no result for the pair at {stamp_s:.3f} s: {problem}',
            throttle_duration_sec=LOG_PERIOD_S,
        )

    def _report(self) -> None:
        is_enabled = self._cameras is None or self._cameras.is_enabled
        self._reporter.publish(self._pairer, is_enabled=is_enabled)


def _keeps(waiting: _Job, new: _Job) -> bool:
    """Return whether the pair that waits for the worker stays instead of a newer one."""
    return waiting.epoch == new.epoch and prefers_fused(waiting.pair, new.pair)
