# SPDX-License-Identifier: Apache-2.0
"""The cards that are measured: of users, shipped, or with random weights.

An engine takes as long for random weights as for trained ones.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
import shutil
import tempfile

import numpy as np

from rgbt_models.card import (
    GRAPH_FILE,
    hash_file,
    load_card,
    MdiCalibration,
    ModelCard,
    save_card,
    WEIGHTS_FILE,
)
from rgbt_models.graph_variant import GraphVariant, TARGETS, VariantRequest
from rgbt_perception.benchmark.side import Side
from rgbt_perception.errors import ExportError
from rgbt_perception.types import FloatArray

RANDOM_PREFIX = 'random:'
RANDOM_HW = (480, 640)
SEED = 0
NUM_FEEDS = 4
PATTERN_CARD = 'tiny'  # whose classes, normalisation and levels a random card takes


@contextmanager
def opened_card(
    name: str,
    input_hw: tuple[int, int] | None = None,
    *,
    sides: Iterable[Side] = (),
    refused: dict[str, str] | None = None,
) -> Iterator[ModelCard]:
    """Give the card of a name; what is made for it lies in a folder that is removed.

    Args:
        name: Of a shipped card, a path, or 'random:ARCHITECTURE'.
        input_hw: Network input that is measured, which a card with random weights prefers; None =
            that of the card, 480x640 with random weights.
        sides: Engines whose graphs in int8 or fp16 are made when the card has none that takes
            this input. They are calibrated with noise: as fast as those that users make, but not
            as accurate.
        refused: Receives, by name of a side, why its graph could not be made; None = that is an
            error.

    Raises:
        CardError: If there is no such card or architecture, or the size does not suit it.
        ExportError: If a graph cannot be made.
    """
    with tempfile.TemporaryDirectory(prefix='rgbt-bench-') as folder:
        if name.startswith(RANDOM_PREFIX):
            architecture = name.removeprefix(RANDOM_PREFIX)
            random_folder = Path(folder, architecture)
            card = write_random_card(architecture, input_hw or RANDOM_HW, random_folder)
        else:
            card = load_card(name)
        fitted = replace(card, input_hw=input_hw or card.input_hw)
        missing = [side for side in sides if _lacks_graph(fitted, side)]
        if missing:
            copy = shutil.copytree(card.folder, Path(folder, f'{card.name}_variants'))
            card = add_graphs(load_card(copy), missing, refused)
        yield card


def add_graphs(
    card: ModelCard, sides: Iterable[Side], refused: dict[str, str] | None = None
) -> ModelCard:
    """Write graphs, calibrated with noise, into the folder of a card; return it anew.

    Args:
        card: Of the model.
        sides: What the graphs are for; each is none that opens ``model.onnx``.
        refused: As of ``opened_card``.

    Raises:
        ExportError: If a graph cannot be made, and ``refused`` is None.
    """
    for side in sides:
        try:
            card = card.with_variant(_make_graph(card, side))
        except ExportError as error:  # noqa: PERF203 a handful
            if refused is None:
                raise
            refused[side.name] = str(error)
    save_card(card)
    return card


def _lacks_graph(card: ModelCard, side: Side) -> bool:
    """Whether an engine needs a graph of its own, which could be made and is not there."""
    has_own = side.backend in TARGETS and side.precision in ('fp16', 'int8')
    return (
        has_own and not card.is_published and card.find_graph(side.backend, side.precision) is None
    )


def _make_graph(card: ModelCard, side: Side) -> GraphVariant:
    try:
        from rgbt_models.export_variant import export_variant
    except ImportError as error:
        raise ExportError(
            f"card '{card.name}' has no {side.precision} graph for {side.backend}, and what would "
            f"make one cannot be imported ({error}); run: pip install 'rgbt_perception[train]'"
        ) from error
    request = VariantRequest(precision=side.precision, target=side.backend)
    feeds = draw_feeds(card.input_hw)
    return export_variant(card, request, card.folder, calibrate=lambda: feeds)


def draw_feeds(input_hw: tuple[int, int]) -> list[dict[str, FloatArray]]:
    """Return inputs of the network by name: standardised noise."""
    rng = np.random.default_rng(SEED)
    shapes = {'rgb': (1, 3, *input_hw), 'thermal': (1, 3, *input_hw)}
    return [
        {name: rng.standard_normal(shape, np.float32) for name, shape in shapes.items()}
        | {'available': np.ones((1, 2), np.float32)}
        for _ in range(NUM_FEEDS)
    ]


def write_random_card(architecture: str, input_hw: tuple[int, int], folder: Path) -> ModelCard:
    """Write a card of an architecture with random weights: weights, graph and ``card.json``.

    Args:
        architecture: A name of ``rgbt_models.build.ARCHITECTURES``, or 'encoder: <timm ViT>'.
        input_hw: Preferred network input of the card, px.
        folder: Receives the files; made when it is missing.

    Returns:
        The card; its metrics are empty and its training data say that there were none.

    Raises:
        CardError: If the architecture is unknown, or the size does not suit it.
        ExportError: If torch is not installed, or the graph does not reproduce it.
    """
    try:
        import torch

        from rgbt_models.build import create_model
        from rgbt_models.export import export_graph
        from rgbt_models.fusion import SplitFusion
        from rgbt_models.weights import save_weights
    except ImportError as error:
        raise ExportError(
            f"'{RANDOM_PREFIX}{architecture}' cannot be made ({error}), expected torch and what "
            f"exports its graphs; run: pip install 'rgbt_perception[train]', or name a card"
        ) from error

    pattern = load_card(PATTERN_CARD)
    torch.manual_seed(SEED)
    model = create_model(
        architecture,
        num_detection_classes=len(pattern.detection_classes),
        num_segmentation_classes=len(pattern.segmentation_classes),
    ).eval()
    num_levels = sum(isinstance(module, SplitFusion) for module in model.modules())
    folder.mkdir(parents=True, exist_ok=True)
    export_graph(model, folder / GRAPH_FILE)
    save_weights(model, folder / WEIGHTS_FILE)
    card = replace(
        pattern,
        name=folder.name,
        version='0',
        architecture=architecture,
        input_hw=input_hw,
        weights_sha256=hash_file(folder / WEIGHTS_FILE),
        graph_sha256=hash_file(folder / GRAPH_FILE),
        mdi_calibration=MdiCalibration(weights=(1.0,) * num_levels, bias=0.0),
        training_data='None: random weights, to measure how long it takes.',
        training={},
        metrics={},
        variants=(),
        folder=folder,
    )
    save_card(card)
    return card
