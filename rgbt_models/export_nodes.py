# SPDX-License-Identifier: Apache-2.0
"""Which nodes of an exported graph belong to what."""

from __future__ import annotations

import ast
from collections.abc import Sequence

import onnx

# Outputs for the sake of which a node may be computed in fewer bits.
LOGITS = ('class_logits', 'segmentation_logits')
# The exporter writes the modules that a node comes from under this key, outermost first.
_SCOPES_KEY = 'pkg.torch.onnx.name_scopes'


def side_nodes(graph: onnx.GraphProto) -> list[str]:
    """Return the names of the nodes that no logit depends on."""
    producers = {name: node for node in graph.node for name in node.output}
    needed: set[str] = set()
    pending = list(LOGITS)
    while pending:
        node = producers.get(pending.pop())
        if node is not None and node.name not in needed:
            needed.add(node.name)
            pending.extend(node.input)
    return [node.name for node in graph.node if node.name not in needed]


def module_nodes(graph: onnx.GraphProto, modules: Sequence[str]) -> list[str]:
    """Return the names of the nodes that come from modules of the network, or below them."""
    return [
        node.name
        for node in graph.node
        if any(
            scope == module or scope.startswith(f'{module}.')
            for scope in _scopes(node)
            for module in modules
        )
    ]


def _scopes(node: onnx.NodeProto) -> list[str]:
    for item in node.metadata_props:
        if item.key == _SCOPES_KEY:
            return [str(scope) for scope in ast.literal_eval(item.value)]
    return []
