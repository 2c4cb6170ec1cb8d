# SPDX-License-Identifier: Apache-2.0
"""A camera driver is killed and started again while the node runs; all are real processes."""

from __future__ import annotations

import os
from pathlib import Path
import signal
import subprocess
import sys
import time

import pytest
from ros_rig import stamp_of, values_of

TEST_DIR = Path(__file__).resolve().parents[1]
SCRIPT = Path(__file__).with_name('camera_process.py')
PERIOD_MS = 50
MAX_WAIT_S, MISSING_AFTER_S = 0.15, 0.5
DEADLINE_S = MAX_WAIT_S + MISSING_AFTER_S
SCHEDULING_S = 0.5  # of a busy machine


@pytest.fixture
def start_camera():
    cameras = []
    paths = [str(TEST_DIR), str(TEST_DIR.parent), os.environ.get('PYTHONPATH', '')]

    def start(name):
        camera = subprocess.Popen(
            [sys.executable, str(SCRIPT), name, str(PERIOD_MS)],
            env={**os.environ, 'PYTHONPATH': os.pathsep.join(paths)},
        )
        cameras.append(camera)
        return camera

    yield start
    for camera in cameras:
        camera.kill()
        camera.wait()


def since(rig, index):
    return [values_of(item.status[0]) for item in rig.received['mdi'][index:]]


def modes_since(rig, index):
    return [item['mode'] for item in since(rig, index)]


@pytest.mark.parametrize(('name', 'alone'), [('thermal', 'rgb_only'), ('rgb', 'thermal_only')])
def test_a_killed_camera_costs_one_deadline_and_its_return_three_pairs(
    make_rig, start_camera, name, alone
):
    rig = make_rig({'sync.max_wait_s': MAX_WAIT_S, 'fallback.missing_after_s': MISSING_AFTER_S})
    assert rig.node.start()
    other = 'rgb' if name == 'thermal' else 'thermal'
    camera, _ = start_camera(name), start_camera(other)
    rig.wait_until(lambda: modes_since(rig, -5) == ['fused'] * 5, 'both cameras are used')

    camera.send_signal(signal.SIGKILL)
    camera.wait()
    killed_s, num_before = time.monotonic(), len(rig.received['mdi'])
    rig.wait_until(lambda: alone in modes_since(rig, num_before), 'the other one goes on alone')
    assert time.monotonic() - killed_s < DEADLINE_S + SCHEDULING_S
    num_alone = len(rig.received['mdi'])
    rig.wait_until(lambda: len(rig.received['mdi']) > num_alone + 5, 'it keeps going')
    assert set(modes_since(rig, num_alone)) == {alone}

    num_frames = int(rig.status(f'{name} input')['frames'])
    start_camera(name)
    rig.wait_until(
        lambda: rig.status(f'{name} input')['frames'] != str(num_frames), 'its frames are back'
    )
    rig.wait_until(lambda: modes_since(rig, -5) == ['fused'] * 5, 'both are used again')
    pairs = [item for item in since(rig, num_alone) if item['rgb_stamp'] and item['thermal_stamp']]
    # A busy machine may lose single frames on the way; of complete pairs three may settle.
    assert {item['mode'] for item in pairs[3:]} == {'fused'}
    stamps = [stamp_of(item) for item in rig.received['mdi']]
    assert stamps == sorted(stamps)
