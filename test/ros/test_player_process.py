# SPDX-License-Identifier: Apache-2.0
"""How a process that plays something ends."""

from __future__ import annotations

import subprocess
import sys

import pytest
import rclpy
from rclpy.executors import ExternalShutdownException

from rgbt_perception.errors import BagError
from rgbt_perception.ros.player_process import run_player

DEADLINE_S = 60.0


class Player:
    """Raises an error instead of playing; tells whether it was released."""

    def __init__(self, error=None):
        self.error = error
        self.is_released = False

    def play(self):
        assert rclpy.ok()
        if self.error is not None:
            raise self.error

    def destroy_node(self):
        self.is_released = True


@pytest.mark.parametrize(
    ('error', 'status', 'sentence'),
    [
        (None, 0, ''),
        (KeyboardInterrupt(), 0, ''),
        (ExternalShutdownException(), 0, ''),
        (BagError('no bag'), 1, 'cannot play: no bag'),
        (
            ModuleNotFoundError('gone', name='embreex'),
            1,
            "package 'embreex' is not installed, expected it for stage; run: pip install ",
        ),
    ],
)
def test_the_status_says_whether_it_played(error, status, sentence, capfd):
    player = Player(error)
    assert run_player(lambda: player, name='stage', extra='sim', args=[]) == status
    assert player.is_released
    assert not rclpy.ok()
    log = capfd.readouterr().err
    assert sentence in log
    assert bool(log) == bool(sentence)


def test_a_signal_that_comes_while_publishing_is_no_failure(capfd):
    player = Player()

    def publish_too_late():
        rclpy.shutdown()  # what the handler of a signal does
        raise RuntimeError("Failed to publish: publisher's context is invalid")

    player.play = publish_too_late
    assert run_player(lambda: player, name='stage', extra='sim', args=[]) == 0
    assert player.is_released
    assert not capfd.readouterr().err


def test_a_failure_to_publish_without_a_signal_is_raised():
    player = Player(RuntimeError('Failed to publish: out of memory'))
    with pytest.raises(RuntimeError, match='out of memory'):
        run_player(lambda: player, name='stage', extra='sim', args=[])
    assert player.is_released


def test_what_is_no_known_mistake_is_raised_after_the_node_is_released():
    player = Player(ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        run_player(lambda: player, name='stage', extra='sim', args=[])
    assert player.is_released
    assert not rclpy.ok()


@pytest.mark.parametrize('node', ['bag_player_node', 'rig_simulator_node'])
def test_a_malformed_argument_ends_a_player_with_one_sentence(node):
    done = subprocess.run(
        [sys.executable, '-m', f'rgbt_perception.nodes.{node}', '--ros-args', '-p', 'broken'],
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert done.returncode == 1
    assert 'cannot play: ' in done.stderr
    assert 'broken' in done.stderr
    assert 'Traceback' not in done.stderr
