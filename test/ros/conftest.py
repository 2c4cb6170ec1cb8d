# SPDX-License-Identifier: Apache-2.0
"""A private ROS domain on this machine for the tests of this folder: real rclpy, real Fast DDS."""

from __future__ import annotations

import gc
import os
from pathlib import Path
from typing import Any, TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ros_rig import Rig

FAST = {'diagnostics.period_s': 0.1}

# Of this process alone, so that two test runs on one machine do not hear each other. Domains above
# 101 use ports that the system may have given to others.
DOMAIN_ID = 20 + os.getpid() % 80
PROFILE = Path(__file__).resolve().parents[2] / 'config' / 'fastdds_shm.xml'
os.environ['ROS_DOMAIN_ID'] = str(DOMAIN_ID)
os.environ['ROS_AUTOMATIC_DISCOVERY_RANGE'] = 'LOCALHOST'
for variable in ('FASTDDS_DEFAULT_PROFILES_FILE', 'FASTRTPS_DEFAULT_PROFILES_FILE'):  # new, old
    os.environ[variable] = str(PROFILE)


@pytest.fixture
def ros_context() -> Iterator[object]:
    """An initialised ROS context of its own."""
    import rclpy
    from rclpy.context import Context

    context = Context()
    rclpy.init(args=[], context=context, domain_id=DOMAIN_ID)
    yield context
    rclpy.try_shutdown(context=context)
    context.destroy()
    gc.collect()  # what is left of a node is still seen by the next one


@pytest.fixture
def make_rig(
    ros_context: object, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> Iterator[Callable[..., Rig]]:
    """Make a node under test with a user beside it; closed at the end of the test."""
    from fakes import build_card
    from ros_rig import Rig

    rigs: list[Rig] = []

    def make(values: dict[str, Any] | None = None, **how: Any) -> Rig:
        rig = Rig(
            ros_context, build_card(tmp_path), capfd, values={**FAST, **(values or {})}, **how
        )
        rigs.append(rig)
        return rig

    yield make
    for rig in rigs:
        rig.close()


@pytest.fixture
def rig(make_rig: Callable[..., Rig]) -> Rig:
    """Return an active node under test."""
    rig = make_rig()
    rig.start()
    return rig
