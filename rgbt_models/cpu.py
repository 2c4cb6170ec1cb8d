# SPDX-License-Identifier: Apache-2.0
"""What the CPU is, read from the kernel: no runtime is asked."""

from __future__ import annotations

from pathlib import Path
import platform

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
# Any of these computes with bfloat16; torch imitates it on other CPUs.
BF16_FEATURES = frozenset(('avx512_bf16', 'amx_bf16', 'bf16'))


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
