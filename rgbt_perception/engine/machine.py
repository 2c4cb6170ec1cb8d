# SPDX-License-Identifier: Apache-2.0
"""What the machine has, found without starting any runtime."""

from __future__ import annotations

import ctypes
from pathlib import Path
import platform

_DEV = Path('/dev')
_CUDA_DEVICES = ('nvidia[0-9]*', 'nvgpu', 'nvhost-gpu', 'dxg')  # PC, Jetson, Jetson, WSL
CUDA_DRIVER = 'libcuda.so.1'
_CPUINFO = Path('/proc/cpuinfo')
# Names in /proc/cpuinfo: of x86-64, then of ARM.
_CPU_FEATURES = (
    'avx2',
    'avx512f',
    'avx_vnni',
    'avx512_vnni',
    'avx512_bf16',
    'amx_bf16',
    'amx_int8',
    'asimd',
    'asimdhp',
    'asimddp',
    'i8mm',
    'bf16',
    'sve',
)
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


def find_cpu_features() -> tuple[str, ...]:
    """Return the instruction sets of the CPU that matter to networks, slowest first."""
    flags = set(_read_cpuinfo('flags').split()) | set(_read_cpuinfo('Features').split())
    return tuple(name for name in _CPU_FEATURES if name in flags)


def find_cpu_name() -> str:
    """Return the name of the CPU, e.g. 'AMD EPYC'."""
    return _read_cpuinfo('model name') or platform.processor() or platform.machine()


def _read_cpuinfo(key: str) -> str:
    try:
        lines = _CPUINFO.read_text(encoding='utf-8').splitlines()
    except OSError:
        return ''
    for line in lines:
        name, _, value = line.partition(':')
        if name.strip() == key:
            return value.strip()
    return ''
