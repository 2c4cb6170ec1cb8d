# SPDX-License-Identifier: Apache-2.0
"""Which numbers a training run computes with, when its settings leave that to the machine.

Imports torch only where a GPU is asked: processes that render read settings, too.
"""

from __future__ import annotations

from rgbt_models.cpu import BF16_FEATURES, find_cpu_features

AUTO = 'auto'
MIXED = 'bf16-mixed'
SINGLE = '32-true'
PRECISIONS = (AUTO, MIXED, SINGLE)


def choose_precision(wanted: str, accelerator: str) -> str:
    """Return a precision of Fabric: 'bf16-mixed' where the machine computes with bfloat16.

    torch accepts bfloat16 everywhere, but imitates it on other machines.

    Args:
        wanted: One of ``PRECISIONS``; what is not 'auto' is returned as it is.
        accelerator: 'cpu' or 'cuda'.
    """
    if wanted != AUTO:
        return wanted
    if accelerator == 'cpu':
        has_bf16 = not BF16_FEATURES.isdisjoint(find_cpu_features())
    else:
        import torch

        has_bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
    return MIXED if has_bf16 else SINGLE
