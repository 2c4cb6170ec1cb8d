# SPDX-License-Identifier: Apache-2.0
"""The perception node with an engine that takes for ever: ``slow_node.py CARD_DIR load|run``."""

from __future__ import annotations

from pathlib import Path
import sys
import threading

from fakes import FakeEngine

from rgbt_models.card import load_card
from rgbt_perception.nodes.perception_node import main
from rgbt_perception.pipeline import Pipeline


class SlowEngine(FakeEngine):
    """Answers the warm-up; then says so once and never answers again."""

    def run(self, batch):
        if len(self.batches) > 0:
            sys.stderr.write('run begins\n')
            threading.Event().wait(600.0)
        return super().run(batch)


def open_slowly(config):
    """Open at once, or never."""
    if sys.argv[2] == 'load':
        sys.stderr.write('load begins\n')
        threading.Event().wait(600.0)
    return Pipeline(card=load_card(sys.argv[1]), engine=SlowEngine(), config=config)


if __name__ == '__main__':
    assert Path(sys.argv[1]).is_dir()
    sys.exit(main(['perception_node'], open_with=open_slowly))
