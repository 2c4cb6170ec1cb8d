# SPDX-License-Identifier: Apache-2.0
"""How the C library hands out the memory of images."""

from __future__ import annotations

import ctypes

# Parameters of glibc's mallopt, from malloc.h.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8
MMAP_ABOVE_BYTES = 32 << 20  # the largest value glibc takes
TRIM_ABOVE_BYTES = 256 << 20


def keep_freed_memory() -> bool:
    """Let freed image buffers stay with the process, for a program that runs for long.

    glibc gives large blocks back to the system as soon as they are freed, and the next pair pays
    for every page of them again. Measured on a virtual machine, one core, VGA pairs: building the
    network's input takes 2.3 instead of 3.9 ms, the mask 1.0 instead of 2.0 ms. The price is that
    the process keeps the memory of its busiest moment. All threads share one heap, so that this is
    the busiest moment of the process, not the sum of those of its threads (17 MiB less in
    ``python -m bench.soak``); call it before threads are started.

    Returns:
        False where the C library is not glibc; nothing has changed then.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    settings = {
        M_ARENA_MAX: 1,
        M_MMAP_THRESHOLD: MMAP_ABOVE_BYTES,
        M_TRIM_THRESHOLD: TRIM_ABOVE_BYTES,
    }
    return all(mallopt(parameter, value) == 1 for parameter, value in settings.items())
