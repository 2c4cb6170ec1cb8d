# SPDX-License-Identifier: Apache-2.0
"""Watching the fusion layers of a model in training, and weighing their two halves.

All of it is hooks, which act on layers in training mode only and leave nothing in the state dict
or in an exported graph.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn, Tensor
from torch.nn import functional

from rgbt_models.fusion import SplitFusion

Halves = tuple[Tensor, Tensor]


@dataclass(slots=True, eq=False, kw_only=True)
class FusionPass:
    """What one forward pass left at one fusion layer.

    Attributes:
        features: (rgb, thermal), each (b, c, h, w), as the encoder gave them.
        fusion: The layer.
        has_both: (b,) bool, True = both cameras are there.
        contributions: Sum of |F_m * dL/dF_m| over the samples with both cameras, shape (2,),
            RGB first; filled by the backward pass.
    """

    features: Halves
    fusion: SplitFusion
    has_both: Tensor
    contributions: Tensor

    def rgb_shares(self) -> Tensor:
        """Return the RGB share of the plain, unweighed fusion, shape (b,); differentiable.

        Computed anew, from the features before they are measured: a loss on the shares does not
        count in ``contributions``. Samples without a camera have the share of the image given.
        """
        from_rgb, from_thermal = (
            functional.conv2d(features.float(), layer.weight.float())
            for features, layer in zip(
                self.features, (self.fusion.rgb_weight, self.fusion.thermal_weight), strict=True
            )
        )
        fused = from_rgb + from_thermal
        along = (from_rgb * fused).flatten(1).sum(dim=1)
        return along / (fused * fused).flatten(1).sum(dim=1).clamp(min=1e-12)


class FusionWatch:
    """Records every training pass of the ``SplitFusion`` layers of a model.

    A copy of the model is not watched. Passes without gradients are not recorded.

    Attributes:
        weights: Of RGB and thermal, summing to 1; 1/2 each = the fusion as it is.
        passes: The latest pass of each layer, None where there was none.
    """

    def __init__(self, model: nn.Module) -> None:
        """Attach to all fusion layers, in the order in which the model holds them."""
        self.fusions = [module for module in model.modules() if isinstance(module, SplitFusion)]
        self.weights = (0.5, 0.5)
        self.passes: list[FusionPass | None] = [None] * len(self.fusions)
        self._handles: list[Any] = []
        for index, fusion in enumerate(self.fusions):
            self._attach(index, fusion)

    def clear(self) -> None:
        """Forget the recorded passes."""
        self.passes = [None] * len(self.fusions)

    def detach(self) -> None:
        """Remove the hooks."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def _attach(self, index: int, fusion: SplitFusion) -> None:
        # Functions, not methods: deepcopy of a model copies the objects of methods.
        def before(module: nn.Module, args: tuple[Tensor, Tensor, Tensor]) -> Any:
            if module is not fusion or not module.training or not torch.is_grad_enabled():
                return None
            rgb, thermal, available = args
            found = FusionPass(
                features=(rgb, thermal),
                fusion=fusion,
                has_both=available.min(dim=1).values > 0.5,
                contributions=torch.zeros(2, device=rgb.device),
            )
            self.passes[index] = found
            return _measured(rgb, found, 0), _measured(thermal, found, 1), available

        def after(name: str, layer: nn.Module) -> Callable[[nn.Module, Any, Tensor], Any]:
            def weigh(module: nn.Module, _: Any, output: Tensor) -> Tensor | None:
                found = self.passes[index]
                if module is not layer or not fusion.training or found is None:
                    return None
                if not torch.is_grad_enabled():
                    return None
                weight = self.weights[name == 'thermal']
                if weight == 0.5:
                    return None
                factor = torch.where(found.has_both, 2.0 * weight, 1.0)
                return output * factor.to(output.dtype)[:, None, None, None]

            return weigh

        layers = {'rgb': fusion.rgb_weight, 'thermal': fusion.thermal_weight}
        self._handles.append(fusion.register_forward_pre_hook(before))
        for name, layer in layers.items():
            self._handles.append(layer.register_forward_hook(after(name, layer)))


def _measured(features: Tensor, found: FusionPass, modality_index: int) -> Tensor:
    """Return the same features, whose gradient through the fusion alone is measured."""
    if features.requires_grad:
        seen = features.view_as(features)
    else:  # of a frozen encoder
        seen = features.detach().requires_grad_()

    def measure(gradient: Tensor) -> None:
        product = (features.detach().float() * gradient.float()).abs().flatten(1).sum(dim=1)
        found.contributions[modality_index] += product[found.has_both].sum()

    seen.register_hook(measure)  # type: ignore[no-untyped-call]  # torch does not annotate it
    return seen
