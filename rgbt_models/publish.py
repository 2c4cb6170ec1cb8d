# SPDX-License-Identifier: Apache-2.0
"""Turn a training run into a card folder: weights, graph, calibration, card."""

from __future__ import annotations

from dataclasses import replace
import json
from pathlib import Path
from typing import Any

from rgbt_models.build import create_model, RGBTModel
from rgbt_models.calibrate import calibrate_mdi
from rgbt_models.card import (
    CARD_FILE,
    GRAPH_FILE,
    hash_file,
    load_card,
    MdiCalibration,
    ModelCard,
    WEIGHTS_FILE,
)
from rgbt_models.errors import DatasetError
from rgbt_models.export import export_graph
from rgbt_models.label_sets import DETECTION_CLASSES, SEGMENTATION_CLASSES
from rgbt_models.train.config import (
    build_train_config,
    TrainConfig,
)
from rgbt_models.train.loop import RUN_NAME, WEIGHTS_NAME
from rgbt_models.weights import load_weights, save_weights

# Five pairs a second on one CPU core; small, far objects gain from a larger input.
INPUT_HW = (288, 384)
RGB_HEIGHT = 480  # of the world's cameras, px
SIZE_MULTIPLE = 16
PUBLISHED_TASKS = ('both', 'detection', 'segmentation')
TRAINING_DATA = (
    'Synthetic data only: street scenes ray-cast by rgbt_models.synthetic; no real image was used.'
)


def publish_run(
    *,
    run_dir: Path,
    card_dir: Path,
    version: str,
    calibration_pairs: int,
) -> ModelCard:
    """Write the card folder of a finished training run.

    Args:
        run_dir: Folder written by ``train``.
        card_dir: Receives ``card.json``, ``model.safetensors`` and ``model.onnx``.
        version: Version of the weights.
        calibration_pairs: Pairs rendered to calibrate the dominance index.

    Raises:
        DatasetError: If the run folder is not one, or of a task that no card has.
        ExportError: If the graph does not reproduce torch.
    """
    run = _read_run(run_dir)
    config = build_train_config(run['config'])
    if config.task not in PUBLISHED_TASKS:
        raise DatasetError(
            f"run '{run_dir}' learnt the task '{config.task}'; expected one of "
            f'{", ".join(PUBLISHED_TASKS)}, whose heads a card can have; train one of those'
        )
    model = _load_run(config, run_dir)
    card_dir.mkdir(parents=True, exist_ok=True)
    fit = calibrate_mdi(model, config, num_pairs=calibration_pairs, scale=INPUT_HW[0] / RGB_HEIGHT)
    parity = export_graph(model, card_dir / GRAPH_FILE)
    save_weights(model, card_dir / WEIGHTS_FILE)
    training = {
        **run,
        'onnx_parity': float(f'{parity:.1e}'),
        'mdi_calibration_pairs': fit.num_pairs,
        'mdi_calibration_correlation': round(fit.correlation, 3),
    }
    card = _describe(config, fit.calibration, training, card_dir=card_dir, version=version)
    (card_dir / CARD_FILE).write_text(card.to_json(), encoding='utf-8')
    return card


def record_metrics(card_dir: Path, name: str, metrics: dict[str, Any]) -> ModelCard:
    """Write measured metrics into a card under a name that says on what they were measured."""
    card = load_card(card_dir)
    updated = replace(card, metrics={**card.metrics, name: metrics})
    (card_dir / CARD_FILE).write_text(updated.to_json(), encoding='utf-8')
    return updated


def _describe(
    config: TrainConfig,
    calibration: MdiCalibration,
    training: dict[str, Any],
    *,
    card_dir: Path,
    version: str,
) -> ModelCard:
    return ModelCard(
        name=card_dir.name,
        version=version,
        architecture=config.architecture,
        input_hw=INPUT_HW,
        size_multiple=SIZE_MULTIPLE,
        rgb_mean=config.rgb_mean,
        rgb_std=config.rgb_std,
        thermal_mean=config.thermal_mean,
        thermal_std=config.thermal_std,
        thermal_normaliser=config.thermal_normaliser,
        detection_classes=DETECTION_CLASSES,
        segmentation_classes=SEGMENTATION_CLASSES,
        mdi_calibration=calibration,
        weights_sha256=hash_file(card_dir / WEIGHTS_FILE),
        graph_sha256=hash_file(card_dir / GRAPH_FILE),
        licence='Apache-2.0',
        training_data=TRAINING_DATA,
        synthetic_only=True,
        training=training,
        folder=card_dir,
    )


def _read_run(run_dir: Path) -> dict[str, Any]:
    path = run_dir / RUN_NAME
    if not path.is_file():
        raise DatasetError(
            f"'{run_dir}' holds no {RUN_NAME}; expected the folder of a finished rgbt train run; "
            f'give that folder'
        )
    run: dict[str, Any] = json.loads(path.read_text(encoding='utf-8'))
    return run


def _load_run(config: TrainConfig, run_dir: Path) -> RGBTModel:
    model = create_model(
        config.architecture,
        num_detection_classes=len(DETECTION_CLASSES),
        num_segmentation_classes=len(SEGMENTATION_CLASSES),
    )
    load_weights(model, run_dir / WEIGHTS_NAME)
    return model.eval()
