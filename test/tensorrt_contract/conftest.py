# SPDX-License-Identifier: Apache-2.0
"""Fixtures: a machine for each version of TensorRT."""

from __future__ import annotations

from pathlib import Path
import sys

from fakes import build_onnx_card
import pytest

from tensorrt_contract.bindings import CUDA_MODULES, load_cuda, load_tensorrt, TENSORRT
from tensorrt_contract.cuda_stand_in import CudaWorld
from tensorrt_contract.machine import add_variant, Machine
from tensorrt_contract.tensorrt_stand_in import TensorrtWorld

# The bindings of CUDA that go with a version of TensorRT.
CUDA_OF = {'8.6.1': '12.2.0', '10.3.0': '12.2.0', '10.16.1': '13.5.0', '11.4.0': '13.5.0'}


@pytest.fixture(params=TENSORRT)
def version(request: pytest.FixtureRequest) -> str:
    """Every version, for a test that does not choose one itself."""
    return str(request.param)


@pytest.fixture
def machine(version: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """Install the stand-ins of one version as the modules that our code imports."""
    cuda_version = CUDA_OF[version]
    cuda = CudaWorld()
    tensorrt = TensorrtWorld(load_tensorrt(version), cuda)
    for name in CUDA_MODULES.values():
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(
        sys.modules, CUDA_MODULES[cuda_version], cuda.module(load_cuda(cuda_version))
    )
    monkeypatch.setitem(sys.modules, 'tensorrt', tensorrt.module())
    card = build_onnx_card(tmp_path / 'card')
    return Machine(
        tensorrt=tensorrt,
        cuda=cuda,
        # Version 8 reads no operator set as new as that of model.onnx.
        card=add_variant(card, 'fp32') if version == '8.6.1' else card,
        cache_dir=tmp_path / 'cache',
    )
