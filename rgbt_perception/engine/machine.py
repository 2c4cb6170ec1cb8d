# SPDX-License-Identifier: Apache-2.0
"""Whether NVIDIA GPUs can be used, found without starting any runtime."""

from __future__ import annotations

import ctypes
from pathlib import Path

_DEV = Path('/dev')
_CUDA_DEVICES = ('nvidia[0-9]*', 'nvgpu', 'nvhost-gpu', 'dxg')  # PC, Jetson, Jetson, WSL
CUDA_DRIVER = 'libcuda.so.1'
_GPU_INFORMATION = Path('/proc/driver/nvidia/gpus')


def find_cuda_problem() -> str:
    """Return why CUDA cannot be used here, '' when its device and its driver are there.

    Asked before TensorRT is touched: without a driver it ends the process, not with an error.
    """
    if not any(True for pattern in _CUDA_DEVICES for _ in _DEV.glob(pattern)):
        return 'no NVIDIA device in /dev'
    try:
        ctypes.CDLL(CUDA_DRIVER)
    except OSError:
        return f'an NVIDIA device, but no driver library {CUDA_DRIVER}'
    return ''


def find_gpu_names() -> tuple[str, ...]:
    """Return the names of the NVIDIA GPUs that the driver lists; a Jetson's is not among them."""
    names = []
    for path in sorted(_GPU_INFORMATION.glob('*/information')):
        text = path.read_text(encoding='utf-8', errors='replace')
        fields = dict(line.partition(':')[::2] for line in text.splitlines())
        names.append(fields.get('Model', 'unknown').strip())
    return tuple(names)
