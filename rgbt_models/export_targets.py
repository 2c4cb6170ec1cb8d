# SPDX-License-Identifier: Apache-2.0
"""What each runtime wants of a graph: operator set, batching, what stays in float32.

The layers kept by an int8 graph were found by measuring the graphs of the shipped model.
"""

from __future__ import annotations

from dataclasses import dataclass

OPSET = 18  # of ``model.onnx``
# The last layers write logits, whose small differences decide; they are cheap.
PREDICTORS = ('detection.classifiers', 'detection.regressors', 'segmentation.classifier')


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportTarget:
    """How graphs for one runtime are made unless the user says otherwise.

    Attributes:
        opset: Operator set of a float32 graph; the others are made in ``OPSET``, whose
            softmax is an operator of its own that can stay in float32.
        is_stacked: Whether both images go through the encoder as one batch, which fills a GPU; on
            a CPU two passes take less time and memory.
        gated_on: Runtime that the task metrics are measured with.
        fp32_modules: Modules of the network that an int8 graph keeps in float32.
    """

    opset: int
    is_stacked: bool
    gated_on: str
    fp32_modules: tuple[str, ...]


EXPORT_TARGETS = {
    # Opset 23 has attention and GELU as single operators: .86 of the time of a ViT-S in opset 18.
    'onnx': ExportTarget(opset=23, is_stacked=False, gated_on='onnx', fp32_modules=PREDICTORS),
    # OpenVINO 2026.4 computes these two wrongly when they are quantised.
    'openvino': ExportTarget(
        opset=OPSET,
        is_stacked=False,
        gated_on='openvino',
        fp32_modules=('encoder.thermal_stem.stride_4.1', 'neck.fusions', *PREDICTORS),
    ),
    # Up to version 10 it reads no newer operators. It runs on a GPU only, and at the export there
    # may be none: the same numbers are computed by ONNX Runtime.
    'tensorrt': ExportTarget(
        opset=OPSET, is_stacked=True, gated_on='onnx', fp32_modules=PREDICTORS
    ),
}


def choose_opset(target: str, precision: str) -> int:
    """Return the operator set that a graph is made in."""
    return EXPORT_TARGETS[target].opset if precision == 'fp32' else OPSET
