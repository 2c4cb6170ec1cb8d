# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
import torch
from torch.nn import functional
from torch.profiler import profile, ProfilerActivity

from rgbt_models.train.attention_kernel import attention_kernel

FUSED = 'aten::_scaled_dot_product_flash_attention_for_cpu'


def attend(device_type, precision, dtype=torch.bfloat16):
    torch.manual_seed(0)
    q, k, v = (torch.randn(2, 3, 20, 16).to(dtype).requires_grad_() for _ in range(3))
    with (
        profile(activities=[ProfilerActivity.CPU]) as watched,
        attention_kernel(device_type, precision),
    ):
        attended = functional.scaled_dot_product_attention(q, k, v)
        attended.float().square().sum().backward()
    names = {event.key for event in watched.key_averages()}
    return attended, q.grad, FUSED in names


def test_a_cpu_in_bfloat16_uses_no_fused_kernel_and_gets_the_same_values():
    attended, gradient, is_fused = attend('cpu', 'bf16-mixed')
    wanted, wanted_gradient, _ = attend('cpu', '32-true', torch.float32)
    assert not is_fused
    assert torch.allclose(attended.float(), wanted, atol=0.02)
    assert torch.allclose(gradient.float(), wanted_gradient, atol=0.05)


@pytest.mark.parametrize(('device', 'precision'), [('cpu', '32-true'), ('cuda', 'bf16-mixed')])
def test_elsewhere_torch_chooses(device, precision):
    assert attend(device, precision)[2]


def test_the_switch_is_set_back_afterwards():
    allowed = torch.backends.cuda.fp16_bf16_reduction_math_sdp_allowed
    before = allowed()
    with attention_kernel('cpu', 'bf16-mixed'):
        assert allowed()
    assert allowed() == before
