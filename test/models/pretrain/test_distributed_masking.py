# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
from pathlib import Path
import subprocess
import sys

import made_pretraining
from safetensors.torch import load_file
import torch

ROOT = Path(__file__).resolve().parents[3]


def test_two_processes_equal_one_in_masking_state_and_gradient(tmp_path):
    outs = [tmp_path / f'{rank}.safetensors' for rank in range(2)]
    path = os.pathsep.join([str(ROOT), str(ROOT / 'test'), os.environ.get('PYTHONPATH', '')])
    processes = [
        subprocess.Popen(
            [
                sys.executable,
                str(ROOT / 'test/made_pretraining.py'),
                *(str(rank), '2', str(tmp_path / 'meeting'), str(outs[rank])),
            ],
            env={**os.environ, 'PYTHONPATH': path, 'OMP_NUM_THREADS': '1'},
        )
        for rank in range(2)
    ]
    alone = made_pretraining.run_methods(rank=0, world_size=1)
    assert [process.wait(timeout=120) for process in processes] == [0, 0]
    for found in (load_file(out) for out in outs):
        assert set(found) == set(alone)
        for name, expected in alone.items():
            torch.testing.assert_close(
                found[name], expected, rtol=1e-5, atol=1e-6, equal_nan=True, msg=name
            )
