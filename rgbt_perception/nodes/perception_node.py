# SPDX-License-Identifier: Apache-2.0
"""The perception node: two cameras in; detections, mask and modality dominance out."""

from __future__ import annotations

import signal
import sys
import threading
from typing import Any, TYPE_CHECKING

import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.lifecycle import LifecycleNode, TransitionCallbackReturn
from rclpy.logging import get_logger
from rclpy.signals import SignalHandlerOptions

from rgbt_perception.errors import ConfigError, RGBTError
from rgbt_perception.pipeline import open_pipeline
from rgbt_perception.ros.loop import PerceptionLoop
from rgbt_perception.ros.params import AUTOSTART, declare_parameters, watch_live_parameters

if TYPE_CHECKING:
    from collections.abc import Callable

    from rclpy.context import Context
    from rclpy.lifecycle import LifecycleState
    from rclpy.parameter import Parameter

    from rgbt_perception.config import PerceptionConfig
    from rgbt_perception.pipeline import Pipeline

NODE_NAME = 'perception'
WAKE_PERIOD_S = 0.2  # longest time a signal goes unnoticed
SUCCESS, FAILURE = TransitionCallbackReturn.SUCCESS, TransitionCallbackReturn.FAILURE


class PerceptionNode(LifecycleNode):
    """Lifecycle node; every transition that fails says why in one sentence."""

    def __init__(
        self,
        *,
        open_with: Callable[[PerceptionConfig], Pipeline] = open_pipeline,
        context: Context | None = None,
        namespace: str | None = None,
        cli_args: list[str] | None = None,
        parameter_overrides: list[Parameter[Any]] | None = None,
    ) -> None:
        """Declare the parameters; nothing else happens before configure.

        Args:
            open_with: Opens the pipeline in configure.
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
        self._open_with = open_with
        self._loop: PerceptionLoop | None = None
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

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Open the pipeline, run it once and create the publishers."""
        if not self._attempt('configure', self._configure):
            return FAILURE
        return super().on_configure(state)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Subscribe and start working."""
        if super().on_activate(state) != SUCCESS:  # publishers first: label sets go out at once
            return FAILURE
        if self._loop is None or not self._attempt('activate', self._loop.activate):
            if self._loop is not None:  # it may have got half-way
                self._attempt('stop', self._loop.deactivate)
            super().on_deactivate(state)
            return FAILURE
        return SUCCESS

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Unsubscribe and finish what is ready."""
        if self._loop is not None and not self._attempt('deactivate', self._loop.deactivate):
            return FAILURE
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Release the pipeline and the publishers."""
        if not self._attempt('clean up', self.close):
            return FAILURE
        return super().on_cleanup(state)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Release everything, from any state."""
        self._attempt('shut down', self.close)
        return super().on_shutdown(state)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Release everything, so that the node can be configured again."""
        self._attempt('recover', self.close)
        return super().on_error(state)

    def _configure(self) -> None:
        pipeline = self._open_with(self._config)
        try:
            pipeline.warm_up()  # also finds an input size that the graph refuses
            self._loop = PerceptionLoop(self, pipeline, self._config)
        except Exception:
            pipeline.close()
            raise
        card, engine = pipeline.card, pipeline.engine
        self.get_logger().info(
            f"model '{card.name}' version {card.version} on {engine.backend}, {engine.device}, "
            f'{engine.precision}, input {pipeline.input_hw[1]}x{pipeline.input_hw[0]} px'
        )
        if card.synthetic_only:
            self.get_logger().warning(
                f"model '{card.name}' was trained on synthetic data only: measure it on your own "
                f'images before you rely on it'
            )

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


def main(args: list[str] | None = None) -> int:
    """Run the node until SIGINT or SIGTERM.

    Args:
        args: Command line; None = that of the process.

    Returns:
        Exit status: 1 when the node could not start, the reason having been logged.
    """
    stop = _note_signals()
    try:
        rclpy.init(args=args, signal_handler_options=SignalHandlerOptions.NO)
    except RuntimeError as error:  # a malformed argument or parameter file
        first_line = str(error).strip().splitlines()[0]
        get_logger(NODE_NAME).fatal(f'cannot start: {first_line}')
        return 1
    try:
        return _run(stop)
    finally:
        rclpy.try_shutdown()


def _run(stop: threading.Event) -> int:
    try:
        node = PerceptionNode()
    except ConfigError as error:
        get_logger(NODE_NAME).fatal(f'cannot start: {error}')
        return 1
    try:
        if node.has_autostart and not node.start():
            return 1
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        while not stop.is_set():
            executor.spin_once(timeout_sec=WAKE_PERIOD_S)
    finally:
        node.trigger_shutdown()
        node.destroy_node()
    return 0


def _note_signals() -> threading.Event:
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


if __name__ == '__main__':
    sys.exit(main())
