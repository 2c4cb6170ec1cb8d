# SPDX-License-Identifier: Apache-2.0
"""What each runtime wants of a graph: operator set, batching, what stays in float32.

The layers kept by an int8 graph were found by measuring the graphs of the shipped model.
"""

from __future__ import annotations

from dataclasses import dataclass

from rgbt_models.errors import ExportError
from rgbt_models.graph_variant import VariantRequest

OPSET = 18  # of ``model.onnx``
# Below, the exporter of torch 2.15 quietly writes 18; above, graphs that ONNX Runtime 1.31
# refuses.
OPSETS = range(OPSET, 26)
# The last layers write logits, whose small differences decide; they are cheap.
PREDICTORS = ('detection.classifiers', 'detection.regressors', 'segmentation.classifier')


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportTarget:
    """How graphs for one runtime are made unless the user says otherwise.

    Attributes:
        opset: Operator set of a float32 graph; the others are made in ``OPSET``, which all
            runtimes but TensorRT 8.6 read.
        opsets: Operator sets that the runtime reads.
        is_stacked: Whether both images go through the encoder as one batch, which fills a GPU; on
            a CPU two passes take less time and memory.
        gated_on: Runtime that the task metrics are measured with.
        fp32_modules: Modules that an int8 graph keeps in float32 beside the predictors, where the
            network has them.
        keeps_fusions: Whether an int8 graph keeps the fusion layers in float32.
    """

    opset: int
    opsets: range = OPSETS
    is_stacked: bool
    gated_on: str
    fp32_modules: tuple[str, ...] = ()
    keeps_fusions: bool = False


EXPORT_TARGETS = {
    # Opset 23 has attention and GELU as single operators: .86 of the time of a ViT-S in opset 18.
    'onnx': ExportTarget(opset=23, is_stacked=False, gated_on='onnx'),
    # OpenVINO 2026.4 computes this layer and the fusions wrongly when they are quantised.
    'openvino': ExportTarget(
        opset=OPSET,
        is_stacked=False,
        gated_on='openvino',
        fp32_modules=('encoder.thermal_stem.stride_4.1',),
        keeps_fusions=True,
    ),
    # Up to version 10 it reads no newer operators, 8.6 none newer than 17. It runs on a GPU only,
    # and at the export there may be none: the same numbers are computed by ONNX Runtime.
    'tensorrt': ExportTarget(
        opset=OPSET, opsets=range(17, OPSET + 1), is_stacked=True, gated_on='onnx'
    ),
}


def choose_opset(request: VariantRequest) -> int:
    """Return the operator set that a graph is made in.

    Raises:
        ExportError: If the one asked for is none that the exporter writes and the target reads.
    """
    target = EXPORT_TARGETS[request.target]
    if request.opset is None:
        return target.opset if request.precision == 'fp32' else OPSET
    if request.opset not in target.opsets:
        raise ExportError(
            f"operator set {request.opset} cannot be made for target '{request.target}'; expected "
            f'{target.opsets[0]} to {target.opsets[-1]}; correct --opset or leave it out'
        )
    return request.opset
