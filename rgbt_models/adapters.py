# SPDX-License-Identifier: Apache-2.0
"""LoRA on the linear layers of a shared encoder: on for thermal, off for RGB.

UNIV (https://arxiv.org/abs/2509.15642) adapts a pretrained RGB encoder to thermal images with
low-rank adapters: rank 8, alpha 32, dropout 0.1, merged into the weights when training ends, so
that one set of weights serves both modalities. Merged, RGB is no longer computed as before.

Differs: the adapter may also be kept apart. Then RGB runs with it off, through exactly the
layers of the base, so that the RGB path is bit-identical to the base and nothing can be
forgotten; the price is one pass per modality instead of one for both. Linear layers only: UNIV's
names also catch the convolutions of its patch embedding.

Needs peft, which is imported when an adapter is added.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
import importlib
from pathlib import Path
import re
from typing import Any

import torch
from torch import nn, Tensor

from rgbt_models.adapter_file import (
    AdapterFile,
    check_names,
    hash_tensors,
    LoraSettings,
    read_adapter,
    write_adapter,
)
from rgbt_models.errors import AdapterDependencyError, AdapterError, WeightsError

ADAPTER_NAME = 'thermal'


class Adapter:
    """The adapter of one encoder; made by ``add_adapter`` or ``load_adapter``.

    It is no module: the encoder holds the parameters, and nothing else of the encoder trains.
    """

    def __init__(
        self,
        *,
        encoder: nn.Module,
        settings: LoraSettings,
        layers: dict[str, Any],
        trainable: list[nn.Parameter],
    ) -> None:
        """Keep the peft layers by their names in the base, and what trained before."""
        self.encoder = encoder
        self.settings = settings
        self._layers = layers
        self._trainable = trainable
        self._base_weights: dict[str, Tensor] = {}  # filled while merged

    @property
    def layer_names(self) -> tuple[str, ...]:
        """Names of the adapted layers in the encoder."""
        return tuple(self._layers)

    @property
    def is_merged(self) -> bool:
        """Whether the weights of the encoder hold the update now."""
        return bool(self._base_weights)

    def parameters(self) -> list[nn.Parameter]:
        """Return what trains: A and B of every adapted layer."""
        return [
            parameter
            for layer in self._layers.values()
            for parameter in (
                layer.lora_A[ADAPTER_NAME].weight,
                layer.lora_B[ADAPTER_NAME].weight,
            )
        ]

    @property
    def parameter_share(self) -> float:
        """Parameters of the adapter per parameter of the base; 0.0137 for a ViT-B."""
        own = sum(parameter.numel() for parameter in self.parameters())
        return own / (sum(parameter.numel() for parameter in self.encoder.parameters()) - own)

    @contextmanager
    def off(self) -> Iterator[None]:
        """Run the encoder as the base, bit for bit, within the context.

        Whether it is on is decided when a layer runs: what gradient checkpointing computes again
        after the context would see the adapter.

        Raises:
            AdapterError: If the adapter is merged.
        """
        self._refuse_merged('switched off')
        layers = list(self._layers.values())
        were_off = [layer.disable_adapters for layer in layers]
        trained = [parameter.requires_grad for parameter in self.parameters()]
        for layer in layers:
            layer.enable_adapters(enabled=False)
        try:
            yield
        finally:
            for layer, was_off in zip(layers, were_off, strict=True):
                layer.enable_adapters(enabled=not was_off)
            for parameter, is_trained in zip(self.parameters(), trained, strict=True):
                parameter.requires_grad_(is_trained)

    def merge(self) -> None:
        """Add the update to the weights: both modalities see it, at no cost (UNIV's way).

        Raises:
            AdapterError: If it is merged already, or the update is not finite.
        """
        self._refuse_merged('merged again')
        for name, layer in self._layers.items():
            if not torch.isfinite(layer.get_delta_weight(ADAPTER_NAME)).all():
                raise AdapterError(
                    f"the update of layer '{name}' is not finite; expected finite A and B; go "
                    f'back to an earlier checkpoint'
                )
        for name, layer in self._layers.items():
            self._base_weights[name] = layer.get_base_layer().weight.detach().clone()
            layer.merge()

    def unmerge(self) -> None:
        """Put the weights of the base back, bit for bit (peft subtracts, which rounds).

        Raises:
            AdapterError: If the adapter is not merged.
        """
        if not self.is_merged:
            raise AdapterError(
                'the adapter is not merged; expected to unmerge after merge; leave this call out'
            )
        for name, layer in self._layers.items():
            layer.unmerge()
            layer.get_base_layer().weight.data.copy_(self._base_weights[name])
        self._base_weights.clear()

    def remove(self) -> nn.Module:
        """Make the encoder plain again: with the update if it is merged, else the base.

        Returns:
            The encoder, with its own layers and names, and what trained before the adapter came
            trains again; this object is of no use any more.
        """
        for name, layer in self._layers.items():
            parent, _, leaf = name.rpartition('.')
            setattr(self.encoder.get_submodule(parent), leaf, layer.get_base_layer())
        del self.encoder.peft_config  # peft's note that there is an adapter
        for parameter in self._trainable:
            parameter.requires_grad_(True)
        self._layers, self._base_weights = {}, {}
        return self.encoder

    def base_state(self) -> dict[str, Tensor]:
        """Return the tensors of the base under the names of the plain encoder, not copied."""
        state = {}
        for key, value in self.encoder.state_dict().items():
            module, _, leaf = key.rpartition('.')
            name = module.removesuffix('.base_layer')
            if name in self._layers and leaf == 'weight':
                value = self._base_weights.get(name, value)  # noqa: PLW2901
            if '.lora_' not in key:
                state[f'{name}.{leaf}' if name else leaf] = value
        return state

    def merged_state(self) -> dict[str, Tensor]:
        """Return the tensors of the plain encoder with the update added; nothing is changed."""
        state = self.base_state()
        with torch.no_grad():
            for name, layer in self._layers.items():
                key = f'{name}.weight'
                state[key] = state[key] + layer.get_delta_weight(ADAPTER_NAME).to(state[key])
        return state

    def state(self) -> dict[str, Tensor]:
        """Return A and B by layer: ``blocks.0.attn.qkv.lora_a`` (rank, in), ``lora_b``."""
        tensors = {}
        for name, layer in self._layers.items():
            tensors[f'{name}.lora_a'] = layer.lora_A[ADAPTER_NAME].weight.detach()
            tensors[f'{name}.lora_b'] = layer.lora_B[ADAPTER_NAME].weight.detach()
        return tensors

    def save(self, path: Path) -> None:
        """Write the adapter as safetensors, with its settings and the hash of its base."""
        file = AdapterFile(
            settings=self.settings,
            base_sha256=hash_tensors(self.base_state()),
            tensors=self.state(),
        )
        write_adapter(file, path)

    def load(self, path: Path, *, check_base: bool = True) -> None:
        """Load A and B in place; names, shapes, settings and base must fit.

        Args:
            path: Written by ``save``.
            check_base: Refuse an adapter trained on other base weights (a change of their
                floating-point type counts as other weights).

        Raises:
            AdapterError: If this adapter is merged, or the file has other settings.
            WeightsError: If the file cannot be read, or belongs to another base or shape.
        """
        self._refuse_merged('loaded into')
        file = read_adapter(path)
        if file.settings != self.settings:
            raise AdapterError(
                f"adapter '{path}' has {file.settings}, this one {self.settings}; expected the "
                f'same; add the adapter with the settings of the file'
            )
        if check_base and file.base_sha256 != hash_tensors(self.base_state()):
            raise WeightsError(
                f"adapter '{path}' was trained on other base weights than this encoder has; "
                f'expected the same base; load the base it was trained on'
            )
        wanted = self.state()
        check_names(path, file.tensors, wanted)
        with torch.no_grad():
            for name, tensor in wanted.items():
                tensor.copy_(file.tensors[name])

    def _refuse_merged(self, action: str) -> None:
        if self.is_merged:
            raise AdapterError(
                f'the adapter is merged and cannot be {action}; expected it apart from the '
                f'weights; call unmerge first'
            )


class ThermalAdapted(nn.Module):
    """A shared encoder with its adapter on for thermal and off for RGB, in one call.

    Takes the place of ``RGBTModel.encoder``; RGB features are those of the base, bit for bit, in
    torch and in the exported graph. A card has no place for an adapter: to publish a run, merge
    and remove it first.
    """

    def __init__(self, adapter: Adapter) -> None:
        """Wrap the encoder of an adapter, which must have ``features(image)`` (a SiameseViT)."""
        super().__init__()
        self.encoder = adapter.encoder
        self.adapter = adapter

    def forward(self, rgb: Tensor, thermal: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Encode both (b, 3, h, w), one after the other; returns what the encoder returns.

        Raises:
            AdapterError: If the adapter is merged.
        """
        encoder: Any = self.encoder
        with self.adapter.off():
            rgb_maps = encoder.features(rgb)
        return list(zip(rgb_maps, encoder.features(thermal), strict=True))


def add_adapter(encoder: nn.Module, settings: LoraSettings | None = None) -> Adapter:
    """Add a LoRA adapter to an encoder in place and freeze everything else.

    The new adapter changes nothing yet: B is zero. A is drawn from torch's global generator.

    Args:
        encoder: Any module with linear layers of the names in ``settings``, e.g. a timm ViT.
        settings: Shape of the adapter, UNIV's if not given.

    Returns:
        The adapter, on.

    Raises:
        AdapterDependencyError: If peft is not installed.
        AdapterError: If the encoder has an adapter already, or a layer name fits nothing or a
            layer whose call the encoder bypasses.

    Source: UNIV; METHODS: r = 8 on qkv, proj, fc1 and fc2 is 1.2 to 1.5 % of a ViT.
    """
    settings = settings or LoraSettings()
    peft = _import_peft()
    names = _find_layers(encoder, settings.layers)
    config = peft.LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules='|'.join(re.escape(name) for name in names),
    )
    training = encoder.training
    trainable = [parameter for parameter in encoder.parameters() if parameter.requires_grad]
    encoder.requires_grad_(False)
    peft.inject_adapter_in_model(config, encoder, adapter_name=ADAPTER_NAME)
    encoder.train(training)
    layers = {name: encoder.get_submodule(name) for name in names}
    return Adapter(encoder=encoder, settings=settings, layers=layers, trainable=trainable)


def load_adapter(encoder: nn.Module, path: Path, *, check_base: bool = True) -> Adapter:
    """Add the adapter of a file to an encoder that has none.

    Raises:
        AdapterDependencyError: If peft is not installed.
        AdapterError: If the encoder lacks the layers or has an adapter already.
        WeightsError: If the file cannot be read, or belongs to another base or shape.
    """
    adapter = add_adapter(encoder, read_adapter(path).settings)
    try:
        adapter.load(path, check_base=check_base)
    except WeightsError:
        adapter.remove()
        raise
    return adapter


def _find_layers(encoder: nn.Module, wanted: tuple[str, ...]) -> list[str]:
    linear = [name for name, module in encoder.named_modules() if isinstance(module, nn.Linear)]
    if any('.lora_A.' in name for name in linear):
        raise AdapterError(
            'the encoder has an adapter already; expected a plain encoder; remove the adapter or '
            'load into it'
        )
    matches = {
        item: [name for name in linear if f'.{name}'.endswith(f'.{item}')] for item in wanted
    }
    absent = [item for item, names in matches.items() if not names]
    if absent:
        leaves = sorted({name.rpartition('.')[2] for name in linear})
        raise AdapterError(
            f'no linear layer of the encoder is called {", ".join(absent)}; expected names among '
            f'{", ".join(leaves) or "(it has none)"}; correct the layers of the settings'
        )
    chosen = set().union(*matches.values())
    for name in linear:
        parent = encoder.get_submodule(name.rpartition('.')[0])
        is_qkv = name in chosen and name.endswith('qkv')
        if is_qkv and getattr(parent, 'q_bias', None) is not None:
            raise AdapterError(
                f"layer '{name}' is bypassed: the encoder multiplies with its weight directly, "
                f'so an adapter would do nothing; expected a layer that is called; choose an '
                f'encoder without separate q and v biases or leave the layer out'
            )
    return [name for name in linear if name in chosen]


def _import_peft() -> Any:
    try:
        return importlib.import_module('peft')
    except ImportError as error:
        raise AdapterDependencyError(
            'peft is not installed; LoRA adapters need it; '
            "install it with: pip install 'rgbt_perception[train]'"
        ) from error
