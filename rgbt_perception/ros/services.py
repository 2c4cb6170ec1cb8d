# SPDX-License-Identifier: Apache-2.0
"""The services of the node: ``~/enable`` and ``~/snapshot``."""

from __future__ import annotations

import threading
from typing import Any, TYPE_CHECKING

from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.task import Future
from std_srvs.srv import SetBool, Trigger

from rgbt_perception.errors import SnapshotError

if TYPE_CHECKING:
    from collections.abc import Callable

    from rclpy.lifecycle import LifecycleNode

    from rgbt_perception.ros.loop import PerceptionLoop

Answer = tuple[bool, str]  # success, and a sentence


class Services:
    """Exist from the first configure to the end of the node, and refuse what is not possible.

    They outlive cleanup because rclpy ends the process when a service disappears before its
    answer is sent (seen with rclpy 9.1.2).
    """

    def __init__(self, node: LifecycleNode, loop: Callable[[], PerceptionLoop | None]) -> None:
        """Offer the services.

        Args:
            node: Node that owns them.
            loop: Returns what runs in the node, None while it is not configured.
        """
        self._node, self._loop = node, loop
        node.create_service(SetBool, '~/enable', self._on_enable)
        # A group of its own: while one snapshot is written everything else goes on.
        group = MutuallyExclusiveCallbackGroup()
        node.create_service(Trigger, '~/snapshot', self._on_snapshot, callback_group=group)

    def _on_enable(self, request: Any, response: Any) -> Any:
        response.success, response.message = self._enable(is_enabled=bool(request.data))
        return response

    async def _on_snapshot(self, _request: Any, response: Any) -> Any:
        """Answer when the snapshot is written, by a thread of its own."""
        done: Future[Answer] = Future(executor=self._node.executor)
        # What awaits a future goes on with the executor's next event; a callback is one.
        done.add_done_callback(lambda _future: None)
        write = self._prepare_snapshot()

        def run() -> None:
            try:
                done.set_result(write())
            except Exception as error:  # noqa: BLE001 the caller must have an answer
                done.set_result((False, f'unexpected {type(error).__name__}: {error}'))

        threading.Thread(target=run, name='perception snapshot', daemon=True).start()
        answer = await done
        assert answer is not None
        response.success, response.message = answer
        return response

    def _active_loop(self) -> PerceptionLoop | None:
        loop = self._loop()
        return loop if loop is not None and loop.is_active else None

    def _refuse(self) -> Answer:
        name = self._node.get_fully_qualified_name()
        return False, (
            f'the node is not active; activate it first: ros2 lifecycle set {name} activate'
        )

    def _enable(self, *, is_enabled: bool) -> Answer:
        loop = self._active_loop()
        if loop is None:
            return self._refuse()
        loop.set_enabled(is_enabled)
        sentence = 'enabled: images are used' if is_enabled else 'disabled: images are dropped'
        self._node.get_logger().info(f'{sentence}, by ~/enable')
        return True, sentence

    def _prepare_snapshot(self) -> Callable[[], Answer]:
        """Return what writes a snapshot of the newest pair, or refuses to."""
        loop = self._active_loop()
        if loop is None:
            return self._refuse
        source = loop.snapshot_source()
        if source is None:
            return lambda: (False, 'no pair was processed yet; see /diagnostics for the reason')

        def write() -> Answer:
            try:
                return True, str(loop.write_snapshot(source))
            except SnapshotError as error:
                return False, str(error)

        return write
