# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import subprocess
import sys

from rgbt_perception.memory import keep_freed_memory

COUNT_FAULTS = """
import resource, sys
import numpy as np
from rgbt_perception.memory import keep_freed_memory
if sys.argv[1] == 'keep':
    assert keep_freed_memory()
faults = []
for _ in range(20):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    images = [np.full((3, 288, 384), 1.0, np.float32) for _ in range(4)]
    del images
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
print(sorted(faults[5:])[7])
"""


def count_faults(how):
    found = subprocess.run(
        [sys.executable, '-c', COUNT_FAULTS, how], capture_output=True, text=True, check=True
    )
    return int(found.stdout)


def test_memory_of_images_is_kept_and_not_faulted_in_again():
    assert count_faults('give back') > 500  # 4 arrays of 324 pages
    assert count_faults('keep') < 50


def test_without_mallopt_nothing_happens(monkeypatch):
    monkeypatch.setattr('rgbt_perception.memory.ctypes.CDLL', lambda _name: object())
    assert not keep_freed_memory()
