# SPDX-License-Identifier: Apache-2.0
"""Lifecycle cycles of a node in its own process: ``cycling_node.py FOLDER activate|configure``.

Writes as JSON what the node held after the first cycles and at the end, and the resident memory of
the cycles between.
"""

from __future__ import annotations

import gc
import json
from pathlib import Path
import sys
import threading

from fakes import build_card, FakeEngine
import rclpy

from rgbt_perception.nodes.perception_node import PerceptionNode
from rgbt_perception.pipeline import Pipeline

NUM_CYCLES, NUM_FIRST = 400, 200  # the first ones fill the pools of Fast DDS and malloc


def private_bytes():
    """Return the private memory; pages of files come and go with what else the machine does."""
    gc.collect()
    status = Path('/proc/self/status').read_text()
    line = next(line for line in status.splitlines() if line.startswith('RssAnon:'))
    return int(line.split()[1]) * 1024


def held(node):
    """Count what a node may leave behind: descriptors, threads, and entities by kind."""
    gc.collect()
    kinds = (node.publishers, node.subscriptions, node.timers, node.services, node.waitables)
    return [
        sum(1 for _ in Path('/proc/self/fd').iterdir()),
        threading.active_count(),
        *(len(list(kind)) for kind in kinds),
        len(node._managed_entities),
        sum(entity() is not None for entity in node.default_callback_group.entities),
    ]


def run(folder, kind):
    """Cycle and return what is printed."""
    card = build_card(folder)
    node = PerceptionNode(
        open_with=lambda config: Pipeline(card=card, engine=FakeEngine(), config=config)
    )
    there, back = node.trigger_configure, node.trigger_cleanup
    if kind == 'activate':
        node.trigger_configure()
        there, back = node.trigger_activate, node.trigger_deactivate
    before, samples = None, []
    for cycle in range(NUM_CYCLES):
        assert there().name == 'SUCCESS'
        assert back().name == 'SUCCESS'
        if cycle == NUM_FIRST:
            before = held(node)
        if cycle >= NUM_FIRST and cycle % 10 == 0:
            samples.append(private_bytes())
    return {'before': before, 'after': held(node), 'private_bytes': samples}


if __name__ == '__main__':
    rclpy.init()
    json.dump(run(Path(sys.argv[1]), sys.argv[2]), sys.stdout)
    rclpy.try_shutdown()
