# SPDX-License-Identifier: Apache-2.0
"""What modules without ROS have to say, in the log of a node."""

from __future__ import annotations

from contextlib import contextmanager
import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rclpy.impl.rcutils_logger import RcutilsLogger

PACKAGES = ('rgbt_perception', 'rgbt_models')


@contextmanager
def logs_forwarded_to(logger: RcutilsLogger) -> Iterator[None]:
    """Log what this project says in Python's logging, from INFO on, while the block lasts.

    Args:
        logger: Logger of a node.
    """
    handler = _Forwarder(logger)
    sources = [logging.getLogger(name) for name in PACKAGES]
    levels = [source.level for source in sources]
    for source in sources:
        source.addHandler(handler)
        source.setLevel(logging.INFO)
    try:
        yield
    finally:
        for source, level in zip(sources, levels, strict=True):
            source.removeHandler(handler)
            source.setLevel(level)


class _Forwarder(logging.Handler):
    def __init__(self, logger: RcutilsLogger) -> None:
        super().__init__()
        self._log = logger

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        # Of a line of code rclpy wants always the same severity.
        if record.levelno >= logging.ERROR:
            self._log.error(text)
        elif record.levelno >= logging.WARNING:
            self._log.warning(text)
        else:
            self._log.info(text)
