# SPDX-License-Identifier: Apache-2.0
"""A frozen teacher that shows its patch tokens and the attention of its last block.

Fused attention returns no weights. Instead of computing queries and keys a second time per kind
of attention, the probe takes what the last block hands to ``scaled_dot_product_attention`` and
repeats only the softmax: rotary positions, relative-position biases and normalised queries are
then right without a line about them.
"""

from __future__ import annotations

from collections.abc import Callable
import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn, Tensor
import torch.nn.functional as F
from torch.overrides import TorchFunctionMode

from rgbt_models.errors import PretrainError

EncodeTokens = Callable[[nn.Module, Tensor], Tensor]


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class TeacherView:
    """What the teacher sees in a batch of RGB images.

    Attributes:
        patch_tokens: (b, n, d), without class token and registers.
        attention: (b, a, p + n, p + n) of the last block with a heads and p leading tokens (class
            token, registers); rows are queries and sum to 1.
        num_prefix_tokens: p.
    """

    patch_tokens: Tensor
    attention: Tensor
    num_prefix_tokens: int


class AttentionProbe(TorchFunctionMode):
    """Context in which one attention module gives away its attention weights."""

    def __init__(self, module: nn.Module) -> None:
        """Watch ``module``; it must call ``scaled_dot_product_attention`` once."""
        super().__init__()
        self._module = module
        self._is_inside = False
        self._weights: list[Tensor] = []
        self._hooks: list[Any] = []

    def __enter__(self) -> AttentionProbe:
        """Start to watch; what was seen before is forgotten."""
        self._weights.clear()
        self._hooks = [
            self._module.register_forward_pre_hook(lambda *_: self._enter_module()),
            self._module.register_forward_hook(lambda *_: self._leave_module(), always_call=True),
        ]
        super().__enter__()  # type: ignore[no-untyped-call]  # of torch
        return self

    def __exit__(self, *error: Any) -> None:
        """Stop watching."""
        super().__exit__(*error)  # type: ignore[no-untyped-call]  # of torch
        for hook in self._hooks:
            hook.remove()

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Pass every call on, and keep the weights of the one that is watched."""
        kwargs = kwargs or {}
        if self._is_inside and func is F.scaled_dot_product_attention:
            named = dict(zip(('query', 'key', 'value', 'attn_mask'), args, strict=False))
            named.update(kwargs)
            self._weights.append(
                attention_weights(
                    named['query'],
                    named['key'],
                    mask=named.get('attn_mask'),
                    scale=named.get('scale'),
                )
            )
        return func(*args, **kwargs)

    @property
    def weights(self) -> Tensor:
        """Attention of the last pass, (b, a, n, n), rows sum to 1, float32, no gradient.

        Raises:
            PretrainError: If the module did not call fused attention exactly once.
        """
        if len(self._weights) != 1:
            raise PretrainError(
                f'the watched attention called scaled_dot_product_attention '
                f'{len(self._weights)} times; expected once; watch the attention of the last '
                f'block and build the encoder with fused attention '
                f'(timm.layers.set_fused_attn(True))'
            )
        return self._weights[0]

    def _enter_module(self) -> None:
        self._is_inside = True

    def _leave_module(self) -> None:
        self._is_inside = False


@torch.no_grad()
def attention_weights(
    query: Tensor, key: Tensor, *, mask: Tensor | None = None, scale: float | None = None
) -> Tensor:
    """Compute softmax(query key^T * scale + mask) in float32.

    Args:
        query: (..., n, d).
        key: (..., n, d).
        mask: Broadcast to (..., n, n): bool, True = may attend; or float, added.
        scale: d ** -0.5 if not given.
    """
    logits = query.float() @ key.float().transpose(-2, -1)
    logits = logits * (query.shape[-1] ** -0.5 if scale is None else scale)
    if mask is not None and mask.dtype == torch.bool:
        logits = logits.masked_fill(~mask, float('-inf'))
    elif mask is not None:
        logits = logits + mask.float()
    return logits.softmax(dim=-1)


def encode_timm_tokens(encoder: nn.Module, image: Tensor) -> Tensor:
    """Return all tokens of a timm ViT after its last norm, (b, p + n, d)."""
    tokens: Tensor = encoder.forward_features(image)  # type: ignore[operator]  # of every timm ViT
    return tokens


def encode_siamese_tokens(encoder: nn.Module, image: Tensor) -> Tensor:
    """Return all tokens of a ``ViTEncoder`` at its last tap, (b, p + n, d)."""
    model: Any = encoder
    patches = model.embed(image)  # (b, d, h, w)
    tokens = model.with_prefix(patches.flatten(2).transpose(1, 2))
    last: Tensor = model.run(tokens, grid_hw=(patches.shape[2], patches.shape[3]))[-1]
    return last


def count_prefix_tokens(encoder: nn.Module) -> int:
    """Return how many tokens of a timm ViT stand before the patches: class token, registers."""
    return int(getattr(encoder, 'num_prefix_tokens', 0))


def last_attention(encoder: nn.Module) -> nn.Module:
    """Return the attention module of the last block of a timm ViT, or of one below ``vit``.

    Raises:
        PretrainError: If the encoder has no ``blocks`` with an ``attn``.
    """
    blocks = getattr(getattr(encoder, 'vit', encoder), 'blocks', None)
    attention = getattr(blocks[-1], 'attn', None) if blocks else None
    if not isinstance(attention, nn.Module):
        raise PretrainError(
            f"encoder {type(encoder).__name__} has no attention at 'blocks[-1].attn'; expected a "
            f'vision transformer as timm builds it; give its transformer'
        )
    return attention


class FrozenTeacher(nn.Module):
    """A copy of an encoder that never trains: no gradient, no dropout, whatever is called."""

    def __init__(self, encoder: nn.Module, *, encode: EncodeTokens = encode_timm_tokens) -> None:
        """Copy the encoder as it is now.

        Args:
            encoder: A vision transformer with ``blocks[-1].attn``; stays as it is.
            encode: Maps (encoder, image) to all its tokens (b, p + n, d), the leading ones first.

        Raises:
            PretrainError: If there is no such attention.
        """
        super().__init__()
        self.encoder = copy.deepcopy(encoder).requires_grad_(False)
        self.num_prefix_tokens = count_prefix_tokens(encoder)
        self._encode = encode
        last_attention(self.encoder)
        self.eval()

    def train(self, mode: bool = True) -> FrozenTeacher:
        """Stay in evaluation mode, whatever the module around it does."""
        del mode
        return super().train(mode=False)

    @torch.no_grad()
    def forward(self, rgb: Tensor) -> TeacherView:
        """Look at RGB images (b, 3, h, w).

        Raises:
            PretrainError: If the last attention is not a fused one.
        """
        probe = AttentionProbe(last_attention(self.encoder))
        with probe:
            tokens = self._encode(self.encoder, rgb)
        return TeacherView(
            patch_tokens=tokens[:, self.num_prefix_tokens :],
            attention=probe.weights,
            num_prefix_tokens=self.num_prefix_tokens,
        )
