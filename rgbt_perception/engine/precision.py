# SPDX-License-Identifier: Apache-2.0
"""Which numbers an engine computes with, and which graph of the card that takes."""

from __future__ import annotations

from rgbt_models.card import ModelCard
from rgbt_models.graph_variant import Graph, GraphVariant
from rgbt_perception.config import EngineConfig
from rgbt_perception.engine.base import parse_device
from rgbt_perception.errors import ConfigError

# What each backend can compute with. int8 and fp16 of the graph backends need a graph of their
# own; bf16 is the fp32 graph or weights, computed in bf16.
PRECISIONS = {
    'tensorrt': ('fp32', 'fp16', 'int8'),
    'openvino': ('fp32', 'bf16', 'int8'),
    'onnx': ('fp32', 'fp16', 'int8'),
    'torch': ('fp32', 'bf16', 'fp16'),
}


def choose_precision(card: ModelCard, config: EngineConfig, backend: str) -> str:
    """Return the precision that a backend is to open a card in.

    'auto' takes a graph of lower precision only where its gate was passed and it takes the input
    size of the card: int8 on the CPU, fp16 on CUDA. torch computes in bf16 on CUDA, a published
    model in fp32, as its metrics were measured. Otherwise fp32.

    Raises:
        ConfigError: If the backend cannot compute in the precision of the settings, or the card
            has no graph for it.
    """
    is_on_cuda = parse_device(config.device) is not None
    if config.precision != 'auto':
        _check(card, config.precision, backend)
        return config.precision
    if backend == 'torch':
        return 'bf16' if is_on_cuda and not card.is_published else 'fp32'
    lower = 'fp16' if is_on_cuda else 'int8'
    for variant in card.variants:
        is_wanted = (variant.target, variant.precision) == (backend, lower)
        if is_wanted and has_passed(variant) and variant.takes(card.input_hw):
            return lower
    return 'fp32'


def choose_graph(card: ModelCard, backend: str, precision: str) -> Graph:
    """Return the graph that a backend opens for a precision.

    Raises:
        ConfigError: If the card has none. A graph that was made for another backend is not taken:
            OpenVINO computes int8 graphs of ONNX Runtime wrongly.
    """
    kind = 'fp32' if precision == 'bf16' else precision
    graph = card.find_graph(backend, kind)
    if graph is not None:
        return graph
    others = [_describe(item) for item in card.variants if item.precision == kind]
    found = f'one for {" and ".join(others)}' if others else 'none'
    raise ConfigError(
        f"card '{card.name}' has no {precision} graph for backend '{backend}' ({found}), expected "
        f'one made for it; run: rgbt export {card.name} --precision {precision} --target '
        f"{backend}, or set engine.precision to 'auto'"
    )


def _describe(variant: GraphVariant) -> str:
    size = variant.input_hw
    return variant.target if size is None else f'{variant.target} at {size[0]}x{size[1]} px'


def has_passed(variant: GraphVariant) -> bool:
    """Whether the task metrics of a graph were measured and within their bounds."""
    return variant.gate.get('passed') is True


def _check(card: ModelCard, precision: str, backend: str) -> None:
    if precision not in PRECISIONS[backend]:
        raise ConfigError(
            f"engine.precision is '{precision}', backend '{backend}' computes in "
            f"{', '.join(PRECISIONS[backend])}; choose one of these or 'auto'"
        )
    if backend != 'torch':
        choose_graph(card, backend, precision)
