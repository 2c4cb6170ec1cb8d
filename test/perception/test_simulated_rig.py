# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from rgbt_models.synthetic import build_scenario
from rgbt_perception.errors import ConfigError
from rgbt_perception.simulated_rig import ClipPlayer, fault_names, render_clip
from rgbt_perception.types import Modality

SCENARIO = build_scenario(
    {
        'duration_s': 1.0,
        'layout': 'path',
        'rig': {
            'scale': 0.1,
            'rgb': {'transport_s': 0.0},
            'thermal': {'transport_s': 0.05, 'jitter_s': 0.0},
        },
    }
)
START_NS = 1_000_000_000_000


@pytest.fixture(scope='module')
def clip():
    *steps, last = render_clip(SCENARIO)
    assert steps == [None] * 10
    return last


def play(clip, until_s, *, step_s=0.01, faults=(), **how):
    """Return (modality, when it came, stamp since the start, pixels) of everything sent."""
    player = ClipPlayer(clip=clip, start_ns=START_NS, **how)
    faults, sent = sorted(faults), []
    for index in range(round(until_s / step_s) + 1):
        now_s = index * step_s
        while faults and faults[0][0] <= now_s + 1e-9:
            _, modality, kind = faults.pop(0)
            player.set_fault(modality, kind)
        for image in player.take(now_s + 1e-9):
            frame = image.frame
            stamp_s = (frame.stamp_ns - START_NS) / 1e9
            sent.append((frame.modality, round(now_s, 3), stamp_s, frame.pixels))
    return sent


def of(sent, modality):
    return [item[1:] for item in sent if item[0] is modality]


def test_images_come_at_their_rate_after_their_transport(clip):
    sent = play(clip, 0.99)
    assert [when for when, _, _ in of(sent, Modality.RGB)] == [0.0, 0.2, 0.4, 0.6, 0.8]
    thermal = of(sent, Modality.THERMAL)
    assert [when for when, _, _ in thermal] == [0.05, 0.25, 0.45, 0.65, 0.85]
    assert [stamp for _, stamp, _ in thermal] == pytest.approx([0.004, 0.204, 0.404, 0.604, 0.804])


def test_it_begins_again_and_the_stamps_go_on(clip):
    rgb = of(play(clip, 2.5), Modality.RGB)
    assert [stamp for _, stamp, _ in rgb] == pytest.approx(np.arange(13) * 0.2)
    assert rgb[5][2] is rgb[0][2]
    player = ClipPlayer(clip=clip, start_ns=0, has_loop=False)
    assert sum(len(player.take(now_s)) for now_s in (0.3, 0.6, 0.849)) == 9
    assert not player.is_over
    assert len(player.take(0.851)) == 1
    assert player.is_over
    assert player.next_s() == float('inf')


def test_the_rate_scale_makes_it_faster_but_skews_stay(clip):
    thermal = of(play(clip, 0.49, rate_scale=2.0), Modality.THERMAL)
    assert [stamp for _, stamp, _ in thermal] == pytest.approx([0.004, 0.104, 0.204, 0.304, 0.404])


@pytest.mark.parametrize(
    ('kind', 'check'),
    [
        ('frozen', lambda bad, good: np.array_equal(bad, good[1])),
        ('dark', lambda bad, good: bad.mean() < 0.2 * good[2].mean()),
        ('saturated', lambda bad, good: bad.mean() > 230),
        ('covered', lambda bad, good: bad.mean() < 4),
        ('noise', lambda bad, good: bad.std() > good[2].std()),
    ],
)
def test_a_fault_holds_until_it_is_mended(clip, kind, check):
    rgb = Modality.RGB
    sent = play(clip, 0.99, faults=[(0.3, rgb, kind), (0.5, rgb, 'none')])
    images = [pixels for _, _, pixels in of(sent, rgb)]
    good = [image.pixels for image in clip.images if image.modality is rgb]
    assert [pixels is like for pixels, like in zip(images, good, strict=True)] == [
        *(True, True),
        *(False, True, True),
    ]
    assert check(images[2], good)


def test_a_camera_that_freezes_at_once_repeats_its_first_image(clip):
    rgb = Modality.RGB
    images = [pixels for _, _, pixels in of(play(clip, 0.99, faults=[(0.0, rgb, 'frozen')]), rgb)]
    assert len(images) == 5
    assert all(pixels is images[0] for pixels in images)


def test_a_late_image_is_the_last_one_that_a_frozen_camera_repeats(clip):
    rgb = Modality.RGB
    sent = of(play(clip, 1.5, faults=[(0.3, rgb, 'late'), (0.7, rgb, 'frozen')]), rgb)
    by_stamp = {round(stamp, 1): pixels for _, stamp, pixels in sent}
    good = [image.pixels for image in clip.images if image.modality is rgb]
    assert by_stamp[0.6] is good[3]
    assert by_stamp[0.8] is good[3]


def test_a_gap_sends_nothing_and_a_late_camera_sends_later(clip):
    faults = [(0.3, Modality.RGB, 'gap'), (0.5, Modality.RGB, 'late'), (0.7, Modality.RGB, 'none')]
    rgb = of(play(clip, 1.19, faults=faults), Modality.RGB)
    assert [(when, round(stamp, 3)) for when, stamp, _ in rgb] == [
        *((0.0, 0.0), (0.2, 0.2), (0.8, 0.8)),
        *((1.0, 1.0), (1.1, 0.6)),
    ]


def test_who_comes_much_too_late_gets_the_newest_only(clip):
    player = ClipPlayer(clip=clip, start_ns=0)
    assert len(player.take(0.0)) == 1
    assert player.next_s() == 0.05  # the thermal image of the same moment arrives
    images = player.take(0.95)
    assert player.num_skipped == 4  # exposed at 0.2 and 0.4
    assert [image.frame.stamp_ns // 1_000_000 for image in images] == [4, 600, 604, 800, 804]


def test_failures_of_the_scenario_are_played(tmp_path):
    failure = build_scenario({'failures': [{'camera': 'rgb', 'kind': 'gap', 'from_share': 0.5}]})
    *_, clip = render_clip(replace(SCENARIO, failures=failure.failures))
    assert [stamp for _, stamp, _ in of(play(clip, 0.99), Modality.RGB)] == [0.0, 0.2, 0.4]


def test_truth_is_that_of_the_rgb_image(clip):
    player = ClipPlayer(clip=clip, start_ns=0)
    images = player.take(0.3)
    assert [image.truth is not None for image in images] == [
        image.frame.modality is Modality.RGB for image in images
    ]


def test_memory_is_that_of_the_images(clip):
    assert clip.size_mib == pytest.approx(5 * (64 * 48 * 3 + 32 * 26 * 2) / (1 << 20))


def test_mistakes_are_told(clip):
    with pytest.raises(ConfigError, match=r'rate_scale is 0\.0, expected a number above 0'):
        ClipPlayer(clip=clip, start_ns=0, rate_scale=0.0)
    with pytest.raises(ConfigError, match='the scenario has no image in 1 s'):
        ClipPlayer(clip=replace(clip, images=()), start_ns=0)
    player = ClipPlayer(clip=clip, start_ns=0)
    with pytest.raises(
        ConfigError, match=r"fault\.rgb is 'ffc', expected one of none, gap, cover"
    ):
        player.set_fault(Modality.RGB, 'ffc')
    assert 'ffc' in fault_names(Modality.THERMAL)
