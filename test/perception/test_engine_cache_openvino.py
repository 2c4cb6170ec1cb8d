# SPDX-License-Identifier: Apache-2.0
"""What happens to the files of the cache never changes what an engine computes."""

from __future__ import annotations

import logging
from pathlib import Path

from engine_opener import BATCH
from fakes import build_onnx_card
import numpy as np
import pytest

pytest.importorskip('openvino', reason='needs openvino')

from rgbt_models.card import OUTPUT_NAMES
from rgbt_perception.config import EngineConfig
from rgbt_perception.engine import open_engine

NUM_DAMAGES = 30


def damage(path: Path, rng: np.random.Generator) -> None:
    """Flip one bit, cut the file, or remove it."""
    content = bytearray(path.read_bytes())
    position = rng.integers(len(content))
    kind = rng.random()
    if kind < 0.7:
        content[position] ^= 1 << rng.integers(8)
        path.write_bytes(content)
    elif kind < 0.95:
        path.write_bytes(content[:position])
    else:
        path.unlink()


def test_random_damages_neither_end_the_process_nor_change_an_output(tmp_path, caplog):
    caplog.set_level(logging.WARNING)
    card = build_onnx_card(tmp_path / 'card')
    config = EngineConfig(backend='openvino', num_threads=1, cache_dir=str(tmp_path / 'cache'))
    wanted = open_engine(card, config).run(BATCH)
    rng = np.random.default_rng(11)
    for _ in range(NUM_DAMAGES):
        (blob,) = (tmp_path / 'cache').glob('*.blob')
        caplog.clear()
        damage(blob if rng.random() < 0.7 else blob.with_suffix('.json'), rng)
        engine = open_engine(card, config)
        found = engine.run(BATCH)
        for name in OUTPUT_NAMES:
            np.testing.assert_array_equal(getattr(found, name), getattr(wanted, name))
        assert len(caplog.messages) <= 1  # none where the damage is in the time a build took
        engine.close()
