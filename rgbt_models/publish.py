# SPDX-License-Identifier: Apache-2.0
"""Turn a training run into a card folder: weights, graph, calibration, card."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
import tempfile
from typing import Any

import torch

from rgbt_models.build import create_model, RGBTModel
from rgbt_models.calibrate import calibrate_mdi
from rgbt_models.card import (
    GRAPH_FILE,
    hash_file,
    load_card,
    MdiCalibration,
    ModelCard,
    save_card,
    WEIGHTS_FILE,
)
from rgbt_models.card_folder import check_card_folder, write_card
from rgbt_models.errors import DatasetError
from rgbt_models.export import export_graph
from rgbt_models.label_sets import LabelSet, PACKAGE_LABEL_SET, parse_label_set
from rgbt_models.train.config import build_train_config, CARD_TASKS, TrainConfig
from rgbt_models.train.finished_run import read_run
from rgbt_models.train.loop import WEIGHTS_NAME
from rgbt_models.train.pool import read_label_set, SamplePool
from rgbt_models.train.tasks import build_task_model, trained_label_set
from rgbt_models.weights import load_weights, save_weights

# Five pairs a second on one CPU core; small, far objects gain from a larger input.
INPUT_HW = (288, 384)
RGB_HEIGHT = 480  # of the world's cameras, px
SIZE_MULTIPLE = 16
TRAINING_DATA = (
    'Synthetic data only: streets, car parks, paths and yards ray-cast by rgbt_models.synthetic; '
    'no real image was used.'
)
LICENCE, UNKNOWN_LICENCE = 'Apache-2.0', 'NOASSERTION'  # SPDX


def publish_run(
    *,
    run_dir: Path,
    card_dir: Path,
    version: str,
    calibration_pairs: int,
    pool_dir: Path | None = None,
    licence: str = '',
) -> ModelCard:
    """Write the card folder of a finished training run, with the classes that it learnt.

    Args:
        run_dir: Folder written by ``train``.
        card_dir: Receives ``card.json``, ``model.safetensors`` and ``model.onnx``, when all of
            them are made; loses the further graphs of a former card.
        version: Version of the weights.
        calibration_pairs: Pairs taken to calibrate the dominance index.
        pool_dir: Pool to take them from, labeled as that of the run; None = render them, which
            only models of the package's classes can use.
        licence: SPDX identifier of the weights; '' = Apache-2.0 for a run on rendered pairs, no
            assertion for one on a data set.

    Raises:
        CardError: If the card may not be written to the folder.
        DatasetError: If the run folder is not one, or of a task that no card has, or the pool is
            missing or has other classes.
        ExportError: If the graph does not reproduce torch.
    """
    check_card_folder(card_dir)
    run = read_run(run_dir)
    config = build_train_config(run['config'])
    if config.task not in CARD_TASKS:
        raise DatasetError(
            f"run '{run_dir}' learnt the task '{config.task}'; expected one of "
            f'{", ".join(CARD_TASKS)}, whose heads a card can have; train one of those'
        )
    label_set = parse_label_set(run)
    pool = _open_pool(pool_dir, label_set, config.task)
    model = _load_run(config, run_dir, label_set)
    fit = calibrate_mdi(
        model,
        config,
        num_pairs=calibration_pairs,
        scale=INPUT_HW[0] / RGB_HEIGHT,
        pool=pool,
        label_set=label_set,
    )
    training = {
        **run,
        'config': {**run['config'], 'init_from': _without_place(config.init_from)},
        'mdi_calibration_pairs': fit.num_pairs,
        'mdi_calibration_target': fit.target,
        'mdi_calibration_correlation': round(fit.correlation, 3),
    }
    card = replace(
        _describe(config, fit.calibration, training, card_dir=card_dir, version=version),
        licence=licence or (UNKNOWN_LICENCE if _real_data(run) else LICENCE),
    )
    return _write(card, model)


def record_metrics(card_dir: Path, name: str, metrics: dict[str, Any]) -> ModelCard:
    """Write measured metrics into a card under a name that says on what they were measured."""
    card = load_card(card_dir)
    updated = replace(card, metrics={**card.metrics, name: metrics})
    save_card(updated)
    return updated


def _write(card: ModelCard, model: RGBTModel) -> ModelCard:
    """Write the files of a card when all are made; return it with their hashes."""
    with tempfile.TemporaryDirectory() as name:
        weights, graph = Path(name, WEIGHTS_FILE), Path(name, GRAPH_FILE)
        parity = export_graph(model, graph)
        save_weights(model, weights)
        card = replace(
            card,
            weights_sha256=hash_file(weights),
            graph_sha256=hash_file(graph),
            training={**card.training, 'onnx_parity': float(f'{parity:.1e}')},
        )
        write_card(card, [weights, graph])
    return card


def _describe(
    config: TrainConfig,
    calibration: MdiCalibration,
    training: dict[str, Any],
    *,
    card_dir: Path,
    version: str,
) -> ModelCard:
    """Return the card of a run, without the hashes of its files."""
    learnt = trained_label_set(config.task, parse_label_set(training))
    real_data = _real_data(training)
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
        detection_classes=learnt.detection_classes,
        segmentation_classes=learnt.segmentation_classes,
        mdi_calibration=calibration,
        weights_sha256='',
        graph_sha256='',
        licence=LICENCE,
        training_data=real_data or TRAINING_DATA,
        synthetic_only=not real_data,
        training=training,
        folder=card_dir,
    )


def _without_place(path: str) -> str:
    """Return a file with its folder's name alone: where a run lay is nothing for a card."""
    return '/'.join(Path(path).parts[-2:])


def _real_data(run: dict[str, Any]) -> str:
    """Return a sentence on the data of a run and of its encoder, '' when all was rendered."""
    encoder, pool = run.get('encoder_origin', ''), run.get('pool_origin', '')
    if not encoder and not pool:
        return ''
    pairs = f"Data set '{pool}'" if pool else 'Pairs rendered by rgbt_models.synthetic'
    before = f'; its encoder was pretrained on: {encoder}' if encoder else ''
    return f'{pairs}, {run.get("pool_pairs_read", 0)} pairs{before}.'


def _open_pool(pool_dir: Path | None, label_set: LabelSet, task: str) -> SamplePool | None:
    """Open the pool to calibrate on; None = rendered pairs will do."""
    if pool_dir is not None:
        found = read_label_set(pool_dir)
        if found != label_set:
            raise DatasetError(
                f"pool '{pool_dir}' has the classes {found.to_json()}; expected those of the run, "
                f'{label_set.to_json()}; give the pool of the run or one like it'
            )
        return SamplePool(pool_dir)
    learnt, ours = trained_label_set(task, label_set), PACKAGE_LABEL_SET
    if learnt.detection_classes not in {(), ours.detection_classes} or (
        learnt.segmentation_classes not in {(), ours.segmentation_classes}
    ):
        raise DatasetError(
            f'the run learnt the classes {learnt.to_json()}, which rendered pairs do not have; '
            f'expected a pool with them to calibrate the dominance index on; add --pool POOL'
        )
    return None


def _load_run(config: TrainConfig, run_dir: Path, label_set: LabelSet) -> RGBTModel:
    """Load the weights of a run; a head that it did not train gets no classes."""
    whole = build_task_model(config, label_set)
    load_weights(whole, run_dir / WEIGHTS_NAME)
    learnt = trained_label_set(config.task, label_set)
    model = create_model(
        config.architecture,
        num_detection_classes=len(learnt.detection_classes),
        num_segmentation_classes=len(learnt.segmentation_classes),
    )
    state = model.state_dict()
    for name, value in whole.state_dict().items():
        is_empty = not learnt.detection_classes if name.startswith('detection.') else False
        if name.startswith('segmentation.'):
            is_empty = not learnt.segmentation_classes
        state[name] = torch.zeros_like(state[name]) if is_empty else value
    model.load_state_dict(state)
    return model.eval()
