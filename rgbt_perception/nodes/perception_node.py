# SPDX-License-Identifier: Apache-2.0
"""The perception node: two cameras in; detections, mask and modality dominance out."""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
import sys
from typing import Any, TYPE_CHECKING

import cv2
from rcl_interfaces.msg import SetParametersResult
import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.lifecycle import LifecycleNode, TransitionCallbackReturn
from rclpy.logging import get_logger
from rclpy.signals import SignalHandlerOptions

from rgbt_perception.errors import (
    ConfigError,
    EngineError,
    EngineGivenUpError,
    RGBTError,
)
from rgbt_perception.memory import keep_freed_memory
from rgbt_perception.pipeline import open_pipeline
from rgbt_perception.ros.background_job import BackgroundJob
from rgbt_perception.ros.log_forwarding import logs_forwarded_to
from rgbt_perception.ros.loop import PerceptionLoop
from rgbt_perception.ros.node_process import (
    has_busy_threads,
    leave_at_once,
    note_signals,
    parse_rigs,
    rig_arguments,
    woken_by_signals,
)
from rgbt_perception.ros.params import (
    AUTOSTART,
    declare_parameters,
    given_at_start,
    refusal,
    watch_live_parameters,
)
from rgbt_perception.ros.qos import unused_overrides
from rgbt_perception.ros.services import Services

if TYPE_CHECKING:
    from collections.abc import Callable
    import threading

    from rclpy.context import Context
    from rclpy.lifecycle import LifecycleState
    from rclpy.parameter import Parameter

    from rgbt_perception.config import PerceptionConfig
    from rgbt_perception.pipeline import Pipeline

NODE_NAME = 'perception'
OPENING_POLL_S = 0.2  # longest time a signal goes unnoticed while the model is opened
EXIT_TIMEOUT_S = 1.0  # longest wait for a pair in work when the process ends
SUCCESS, FAILURE = TransitionCallbackReturn.SUCCESS, TransitionCallbackReturn.FAILURE


def _open_supervised(config: PerceptionConfig) -> Pipeline:
    return open_pipeline(config, supervised=True)


class PerceptionNode(LifecycleNode):
    """Lifecycle node; every transition that fails says why in one sentence."""

    def __init__(
        self,
        *,
        open_with: Callable[[PerceptionConfig], Pipeline] = _open_supervised,
        is_stopping: Callable[[], bool] = lambda: False,
        context: Context | None = None,
        namespace: str | None = None,
        cli_args: list[str] | None = None,
        parameter_overrides: list[Parameter[Any]] | None = None,
    ) -> None:
        """Declare the parameters; nothing else happens before configure.

        Args:
            open_with: Opens the pipeline in configure, on a thread of its own.
            is_stopping: True when the process is to end: configure then gives up.
            context: ROS context, None = the default one.
            namespace: ROS namespace of the node.
            cli_args: Further ROS arguments of this node.
            parameter_overrides: Parameter values of this node.

        Raises:
            ConfigError: If a parameter is unknown, of the wrong type or out of bounds.
        """
        super().__init__(
            NODE_NAME,
            context=context,
            namespace=namespace,
            cli_args=cli_args,
            parameter_overrides=parameter_overrides,
        )
        self._open_with, self._is_stopping = open_with, is_stopping
        self._loop: PerceptionLoop | None = None
        self._offered: Services | None = None
        self._is_shut_down = False
        try:
            self._config = declare_parameters(self)
        except ConfigError:
            self.destroy_node()
            raise
        watch_live_parameters(self, self._take_live_settings)

    @property
    def has_autostart(self) -> bool:
        """True when the node shall configure and activate itself."""
        return bool(self.get_parameter(AUTOSTART).value)

    def start(self) -> bool:
        """Configure and activate.

        Returns:
            False if a transition failed; the reason was logged.
        """
        return self.trigger_configure() == SUCCESS and self.trigger_activate() == SUCCESS

    def close(self) -> None:
        """Stop and release everything, in whatever state the node is."""
        loop, self._loop = self._loop, None
        if loop is not None:
            loop.close()

    def end(self) -> None:
        """Shut down, unless somebody has done so by a transition already, and leave the graph."""
        if not self._is_shut_down:
            self.trigger_shutdown()
        self.destroy_node()

    def set_parameters(self, parameter_list: list[Parameter[Any]]) -> list[SetParametersResult]:
        """Set parameters one by one; what cannot be set is refused with a remedy."""
        return [self.set_parameters_atomically([item]) for item in parameter_list]

    def set_parameters_atomically(
        self, parameter_list: list[Parameter[Any]]
    ) -> SetParametersResult:
        """Set parameters together or not at all; rclpy's own reasons name no remedy."""
        if self._loop is not None:
            self._loop.give_way()  # they may come in thousands
        reason = refusal(self, parameter_list)
        if reason:
            return SetParametersResult(successful=False, reason=reason)
        return super().set_parameters_atomically(parameter_list)

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Open the pipeline, run it once, create the publishers and offer the services."""
        if not self._attempt('configure', self._configure):
            return FAILURE
        return super().on_configure(state)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Subscribe and start working."""
        if super().on_activate(state) != SUCCESS:  # publishers first: label sets go out at once
            return FAILURE
        if not self._attempt('activate', self._activate):
            if self._loop is not None:  # it may have got half-way
                self._attempt('stop', self._loop.deactivate)
            super().on_deactivate(state)
            return FAILURE
        for sentence in unused_overrides(self, given_at_start(self)):
            self.get_logger().warning(sentence)
        return SUCCESS

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Unsubscribe and finish what is ready."""
        if self._loop is not None and not self._attempt('deactivate', self._loop.deactivate):
            return FAILURE
        self._forget_destroyed()
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Release the pipeline and the publishers."""
        if not self._attempt('clean up', self.close):
            return FAILURE
        self._forget_destroyed()
        return super().on_cleanup(state)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Release everything, from any state; a pair in work is not waited for for long."""
        self._is_shut_down = True
        if self._loop is not None:
            self._loop.drain_timeout_s = EXIT_TIMEOUT_S
        self._attempt('shut down', self.close)
        return super().on_shutdown(state)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Release everything, so that the node can be configured again."""
        self._attempt('recover', self.close)
        return super().on_error(state)

    def _configure(self) -> None:
        pipeline = self._open_pipeline()
        try:
            self._loop = PerceptionLoop(self, pipeline, self._config)
        except Exception:
            pipeline.close()
            raise
        self._loop.on_given_up = self._give_up
        if self._offered is None:
            self._offered = Services(self, lambda: self._loop)
        card, engine = pipeline.card, pipeline.engine
        self.get_logger().info(
            f'ready on {engine.backend}, {engine.device}, {engine.precision}, input '
            f'{pipeline.input_hw[1]}x{pipeline.input_hw[0]} px'
        )
        if card.synthetic_only:
            self.get_logger().warning(
                f"model '{card.name}' was trained on synthetic data only: measure it on your own "
                f'images before you rely on it'
            )

    def _activate(self) -> None:
        if self._loop is None:
            raise EngineError(
                'the model was released already, expected an open one; clean up, then configure '
                'the node'
            )
        self._loop.activate()

    def _open_pipeline(self) -> Pipeline:
        """Open the pipeline and run it once; a signal need not wait for the end of it."""
        self.get_logger().info(f"opening model '{self._config.model.card}'")
        job = BackgroundJob(partial(_open_and_warm_up, self._open_with, self._config))
        while not job.is_done(OPENING_POLL_S):
            if self._is_stopping():
                raise EngineError('asked to stop while the model was being opened')
        return job.result()

    def _forget_destroyed(self) -> None:
        """Drop what rclpy keeps of destroyed topics and timers.

        A callback group only ever adds weak references (seen with rclpy 9.1.2; 8 kB per configure
        and cleanup). Remove when it discards the dead ones itself.
        """
        group = self.default_callback_group
        group.entities = {entity for entity in group.entities if entity() is not None}

    def _attempt(self, what: str, action: Callable[[], None]) -> bool:
        """Run a step of a transition; rclpy itself would swallow its exception without a word."""
        try:
            action()
        except RGBTError as error:
            self.get_logger().error(f'cannot {what}: {error}')
            return False
        except Exception as error:  # noqa: BLE001 a transition reports, whatever went wrong
            self.get_logger().error(f'cannot {what}: unexpected {type(error).__name__}: {error}')
            return False
        return True

    def _take_live_settings(self, config: PerceptionConfig) -> None:
        self._config = config
        if self._loop is not None:
            self._loop.reconfigure(config)

    def _give_up(self, reason: str) -> None:
        """Do what ``engine.on_error`` asks for; called by a timer, so spin is the caller."""
        if self._config.engine.on_error == 'raise':
            raise EngineGivenUpError(reason)
        self.get_logger().error(
            f'deactivating: {reason}; correct the cause, then activate the node again'
        )
        self.trigger_deactivate()


def _open_and_warm_up(
    open_with: Callable[[PerceptionConfig], Pipeline], config: PerceptionConfig
) -> Pipeline:
    pipeline = open_with(config)
    try:
        pipeline.warm_up()  # also finds other classes than the card names
    except Exception:
        pipeline.close()
        raise
    return pipeline


def main(args: list[str] | None = None, **how: Any) -> int:
    """Run one node, or one per ``--rig``, until SIGINT or SIGTERM.

    Args:
        args: Command line with the program's name first; None = that of the process.
        how: Further arguments of each node.

    Returns:
        Exit status: 1 when a node could not start or its engine failed for good, the reason
        having been logged.
    """
    keep_freed_memory()
    # The work on images is done by the worker's thread: other programs want the other cores.
    cv2.setNumThreads(1)
    stop = note_signals()
    command = sys.argv if args is None else args
    try:
        rigs = parse_rigs(command)
        rclpy.init(args=command, signal_handler_options=SignalHandlerOptions.NO)
    except (ConfigError, RuntimeError) as error:  # a malformed argument or parameter file
        first_line = str(error).strip().splitlines()[0]
        get_logger(NODE_NAME).fatal(f'cannot start: {first_line}')
        return 1
    hows = [{**how, 'cli_args': rig_arguments(rig, command)} for rig in rigs] or [how]
    try:
        with ExitStack() as until_end:
            status = _run(stop, hows, until_end)
    finally:
        rclpy.try_shutdown()
    if has_busy_threads():
        leave_at_once(status)
    return status


def _run(stop: threading.Event, hows: list[dict[str, Any]], until_end: ExitStack) -> int:
    nodes: list[PerceptionNode] = []
    try:
        for how in hows:
            nodes.append(PerceptionNode(is_stopping=stop.is_set, **how))  # noqa: PERF401 one may fail
        # The lines do not say of which rig they are.
        logger = nodes[0].get_logger() if len(nodes) == 1 else get_logger(NODE_NAME)
        until_end.enter_context(logs_forwarded_to(logger))
        for node in nodes:
            if node.has_autostart and not node.start():
                return 0 if stop.is_set() else 1
        _spin(stop, nodes)
    except ConfigError as error:
        get_logger(NODE_NAME).fatal(f'cannot start: {error}')
        return 1
    except EngineGivenUpError as error:
        get_logger(NODE_NAME).fatal(f"leaving, as engine.on_error 'raise' asks for: {error}")
        return 1
    finally:
        for node in nodes:
            node.end()
    return 0


def _spin(stop: threading.Event, nodes: list[PerceptionNode]) -> None:
    executor = SingleThreadedExecutor()
    for node in nodes:
        executor.add_node(node)
    # The executor's own ``wake`` ends no wait: there must be something to call.
    awake = nodes[0].create_guard_condition(lambda: None)
    with woken_by_signals(awake.trigger):
        while not stop.is_set():
            executor.spin_once()


if __name__ == '__main__':
    sys.exit(main())
