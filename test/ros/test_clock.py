# SPDX-License-Identifier: Apache-2.0
"""Simulated time that stands still or jumps back, as with a bag that is paused or starts again."""

from __future__ import annotations

import time

from builtin_interfaces.msg import Time
from fakes import rgb_frame, thermal_frame
import pytest
from ros_rig import image_of
from rosgraph_msgs.msg import Clock

NS_PER_S = 1_000_000_000
DEADLINE_S = 0.15 + 0.5  # sync.max_wait_s + fallback.missing_after_s


@pytest.fixture
def sim_rig(make_rig):
    rig = make_rig({'use_sim_time': True})
    rig.clock = rig.user.create_publisher(Clock, '/clock', 10)
    rig.start()
    rig.wait_until(rig.clock.get_subscription_count, 'the node follows /clock')
    return rig


def set_clock(rig, stamp_ns):
    rig.clock.publish(Clock(clock=Time(sec=stamp_ns // NS_PER_S, nanosec=stamp_ns % NS_PER_S)))
    rig.wait_until(
        lambda: rig.node.get_clock().now().nanoseconds == stamp_ns, 'the node has the new time'
    )


def test_a_clock_that_jumps_back_starts_pairing_over(sim_rig):
    rig = sim_rig
    first = rig.send_pair()
    set_clock(rig, first)
    rig.result_of(first)
    set_clock(rig, first + 60 * NS_PER_S)
    left_over = rig.next_stamp_ns()
    rig.send('rgb', image_of(rgb_frame(left_over)))  # its partner never comes
    rig.wait_until(
        lambda: rig.status('synchronisation').get('rgb_frames') == '2', 'the frame is there'
    )
    set_clock(rig, first - 30 * NS_PER_S)
    sentence = 'the clock jumped back by 90.000 s: pairing starts over'
    rig.wait_until(lambda: sentence in rig.log_text(), 'the jump is logged')
    rig._stamp_ns = first - 30 * NS_PER_S
    sent_s = time.monotonic()
    rig.run_pair()
    assert time.monotonic() - sent_s < DEADLINE_S + 1.0  # with a busy machine's share
    rig.run_pair()
    assert rig.mdi_values()['mode'] == 'fused'


def test_results_go_on_while_the_clock_stands_still(sim_rig):
    rig = sim_rig
    set_clock(rig, 1000 * NS_PER_S)
    for _ in range(3):
        rig.run_pair()
    # Waiting is real time: a frame alone still goes out, although /clock does not move.
    stamp_ns = rig.next_stamp_ns()
    rig.send('rgb', image_of(rgb_frame(stamp_ns)))
    rig.result_of(stamp_ns)
    assert rig.mdi_values()['mode'] == 'rgb_only'
    num_reports = len(rig.received['diagnostics'])
    rig.wait_until(lambda: len(rig.received['diagnostics']) > num_reports + 1, 'diagnostics go on')
    assert rig.received['diagnostics'][-1].header.stamp.sec == 1000


def test_a_small_step_of_the_clock_is_no_jump(sim_rig):
    rig = sim_rig
    set_clock(rig, 1000 * NS_PER_S)
    set_clock(rig, 1000 * NS_PER_S - 50_000_000)
    stamp_ns = rig.next_stamp_ns()
    rig.send('thermal', image_of(thermal_frame(stamp_ns)))
    rig.send('rgb', image_of(rgb_frame(stamp_ns)))
    rig.result_of(stamp_ns)
    assert 'jumped back' not in rig.log_text()


def test_a_deactivated_node_does_not_watch_the_clock(sim_rig):
    rig = sim_rig
    set_clock(rig, 1000 * NS_PER_S)
    rig.node.trigger_deactivate()
    set_clock(rig, 10 * NS_PER_S)
    rig.node.trigger_activate()
    rig.wait_until(rig._is_connected, 'the node is connected')
    rig.run_pair()
    assert 'jumped back' not in rig.log_text()
