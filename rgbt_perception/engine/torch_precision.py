# SPDX-License-Identifier: Apache-2.0
"""Weights of lower precision, with what needs float32 left in it.

What stays: the fusions, whose shares of the modalities span a few hundredths, and the last layer
of each head, whose logits and distances are of full precision then. Boxes and entropies are
computed in float32 by the model itself.
"""

from __future__ import annotations

from typing import Any, TYPE_CHECKING

if TYPE_CHECKING:
    from torch import dtype, nn, Tensor

    from rgbt_models.build import RGBTModel


def lower_precision(model: RGBTModel, precision: str) -> None:
    """Make a model compute in bf16 or fp16; its inputs and outputs stay float32.

    Args:
        model: In evaluation mode; changed in place, for inference only.
        precision: 'bf16' or 'fp16'.
    """
    import torch

    from rgbt_models.fusion import SplitFusion

    lower = {'bf16': torch.bfloat16, 'fp16': torch.float16}[precision]
    fold_batch_norms(model)
    model.to(lower)
    _cast_inputs(model.encoder, lower)
    for module in model.modules():
        if isinstance(module, SplitFusion):
            _keep_float32(module)
            module.register_forward_hook(_lower_fused_features(lower))
    heads = model.detection, model.segmentation
    for last_layer in (*heads[0].classifiers, *heads[0].regressors, heads[1].classifier):
        _keep_float32(last_layer)


def fold_batch_norms(model: nn.Module) -> None:
    """Fold every batch normalisation that follows a convolution in a sequence into its weights.

    Args:
        model: In evaluation mode; changed in place. The result differs by rounding only.
    """
    from torch import nn
    from torch.nn.utils.fusion import fuse_conv_bn_eval

    for sequence in [item for item in model.modules() if isinstance(item, nn.Sequential)]:
        for index in range(len(sequence) - 1):
            first, second = sequence[index], sequence[index + 1]
            if not isinstance(second, nn.BatchNorm2d):
                continue
            if isinstance(first, nn.Conv2d):
                sequence[index] = fuse_conv_bn_eval(first, second)
            elif isinstance(first, nn.ConvTranspose2d):
                sequence[index] = fuse_conv_bn_eval(first, second, transpose=True)
            else:
                continue
            sequence[index + 1] = nn.Identity()


def _keep_float32(module: nn.Module) -> None:
    import torch

    module.float()
    _cast_inputs(module, torch.float32)


def _cast_inputs(module: nn.Module, wanted: dtype) -> None:
    def cast(_: Any, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return tuple(tensor.to(wanted) for tensor in inputs)

    module.register_forward_pre_hook(cast)


def _lower_fused_features(lower: dtype) -> Any:
    def cast(_: Any, __: Any, outputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        fused, *shares = outputs
        return fused.to(lower), *shares

    return cast
