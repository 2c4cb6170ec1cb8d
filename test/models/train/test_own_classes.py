# SPDX-License-Identifier: Apache-2.0
"""From a converted data set with classes of its own to a card that runs."""

from __future__ import annotations

from dataclasses import replace
import json
from pathlib import Path

from made_layouts import MAKERS, picture
import numpy as np
import pytest
from safetensors.torch import load_file
import torch

from rgbt_models.build import ARCHITECTURES, RGBTModel
from rgbt_models.card import load_card
from rgbt_models.data import read_layout, Skipped
from rgbt_models.data.pool_writer import write_pool
from rgbt_models.encoder import SiameseEncoder
from rgbt_models.errors import DatasetError, WeightsError
from rgbt_models.label_sets import DETECTION_CLASSES, LabelSet, MASK_CLASSES, PACKAGE_LABEL_SET
from rgbt_models.publish import publish_run
from rgbt_models.train.config import TrainConfig
from rgbt_models.train.loop import RunPlace
from rgbt_models.train.pool import read_label_set
from rgbt_models.train.supervised import SupervisedLearner, train
from rgbt_models.train.tasks import (
    check_labels,
    salient_ids,
    SEGMENTATION_WEIGHTS,
    segmentation_weights,
)
from rgbt_perception.config import PerceptionConfig
from rgbt_perception.engine import open_engine
from rgbt_perception.pipeline import Pipeline
from rgbt_perception.types import Frame, Modality, Pair

CONFIG = TrainConfig(
    architecture='made',
    max_steps=2,
    size_hws=((64, 96),),
    pixels_per_step=2 * 64 * 96,
    precision='32-true',
)
ONLY_MAPS = LabelSet(detection_classes=(), segmentation_classes=('background', 'car', 'curve'))


@pytest.fixture(autouse=True)
def made(monkeypatch):
    def build(*, num_detection_classes, num_segmentation_classes):
        return RGBTModel(
            encoder=SiameseEncoder(dim=32, depth=1, num_heads=2),
            channels=(16, 24, 32),
            num_detection_classes=num_detection_classes,
            num_segmentation_classes=num_segmentation_classes,
        )

    monkeypatch.setitem(ARCHITECTURES, 'made', build)


def make_pool(layout: str, folder: Path) -> Path:
    MAKERS[layout](folder / 'source')
    manifest = read_layout(layout, folder / 'source')
    write_pool(manifest, folder / 'pool', size_hw=(72, 100), skipped=Skipped())
    return folder / 'pool'


def run_pair(card_dir: Path):
    frames = [
        Frame(pixels=pixels, stamp_ns=7, frame_id='camera', modality=modality)
        for pixels, modality in (
            (np.repeat(picture(1, 3), 4, axis=0).repeat(4, axis=1), Modality.RGB),
            (np.repeat(picture(2), 4, axis=0).repeat(4, axis=1), Modality.THERMAL),
        )
    ]
    card, config = load_card(card_dir), PerceptionConfig()
    pipeline = Pipeline(card=card, engine=open_engine(card, config.engine), config=config)
    try:
        return pipeline.run(Pair(rgb=frames[0], thermal=frames[1]))
    finally:
        pipeline.close()


@pytest.mark.parametrize(
    ('layout', 'task', 'names'),
    [
        ('flir-aligned', 'detection', None),
        ('llvip', 'detection', ('person',)),
        ('mfnet', 'segmentation', None),
        ('fmb', 'segmentation', None),
    ],
)
def test_a_model_of_a_sets_own_classes_becomes_a_card_that_runs(tmp_path, layout, task, names):
    pool, run = make_pool(layout, tmp_path), tmp_path / 'run'
    train(replace(CONFIG, task=task), pool_dir=pool, place=RunPlace(folder=run))
    card_dir = tmp_path / 'mine'
    publish_run(run_dir=run, card_dir=card_dir, version='1', calibration_pairs=4, pool_dir=pool)
    card = load_card(card_dir)
    kinds = (card.detection_classes, card.segmentation_classes)
    own = read_layout(layout, tmp_path / 'source')
    wanted = own.detection_classes if task == 'detection' else own.segmentation_classes
    assert kinds == ((wanted, ()) if task == 'detection' else ((), wanted))
    assert names is None or wanted == names
    assert card.training_data.startswith(f"Data set '{layout}', ")
    assert (card.synthetic_only, card.licence) == (False, 'NOASSERTION')
    result = run_pair(card_dir)
    if task == 'detection':
        assert (result.label_map == 255).all()
    else:
        assert len(result.detections.scores) == 0
        assert int(result.label_map.max()) < len(wanted)


def test_a_pool_of_other_classes_is_needed_and_checked(tmp_path):
    pool, run = make_pool('pst900', tmp_path), tmp_path / 'run'
    train(replace(CONFIG, task='segmentation'), pool_dir=pool, place=RunPlace(folder=run))
    options = {'run_dir': run, 'card_dir': tmp_path / 'c', 'version': '1', 'calibration_pairs': 4}
    with pytest.raises(DatasetError, match=r'which rendered pairs do not have; .*add --pool POOL'):
        publish_run(**options)
    (tmp_path / 'other').mkdir()
    with pytest.raises(DatasetError, match=r"pool '.*other' has the classes .*; expected those"):
        publish_run(**options, pool_dir=tmp_path / 'other')
    about = json.loads((run / 'run.json').read_text())
    assert about['pool_origin'] == 'pst900'
    assert about['detection_classes'] == []
    assert len(about['segmentation_classes']) == 5


@pytest.mark.parametrize('task', ['both', 'detection'])
def test_a_task_whose_labels_the_pool_lacks_is_refused(tmp_path, task):
    pool = make_pool('pst900', tmp_path)
    with pytest.raises(DatasetError, match=r'has no boxes; .*one of segmentation, saliency, mat'):
        train(replace(CONFIG, task=task), pool_dir=pool, place=RunPlace(folder=tmp_path / 'run'))
    assert not (tmp_path / 'run').exists()


def test_saliency_masks_are_learnt_without_settings(tmp_path):
    pool, run = make_pool('vt821', tmp_path), tmp_path / 'run'
    result = train(replace(CONFIG, task='saliency'), pool_dir=pool, place=RunPlace(folder=run))
    assert result.steps == 2
    assert np.isfinite(result.final_loss)


def test_matching_needs_no_labels():
    nothing = LabelSet(detection_classes=(), segmentation_classes=())
    check_labels('matching', nothing, pool='p')
    with pytest.raises(DatasetError, match='has no boxes and no label maps; expected what the ta'):
        check_labels('both', nothing, pool='p')


def test_weights_are_ours_for_our_classes_and_ones_for_others():
    assert segmentation_weights(CONFIG, PACKAGE_LABEL_SET) == SEGMENTATION_WEIGHTS
    assert segmentation_weights(CONFIG, ONLY_MAPS) == (1.0, 1.0, 1.0)
    config = replace(CONFIG, segmentation_weights=(1.0, 2.0, 3.0))
    assert segmentation_weights(config, ONLY_MAPS) == (1.0, 2.0, 3.0)
    with pytest.raises(
        DatasetError, match=r'has 3 values; expected 13, one per class of the pool \(sky, road'
    ):
        segmentation_weights(config, PACKAGE_LABEL_SET)


def test_salient_are_the_classes_that_are_named():
    assert CONFIG.salient_classes == DETECTION_CLASSES
    assert salient_ids(CONFIG, PACKAGE_LABEL_SET) == tuple(range(6, 13))
    named = replace(CONFIG, salient_classes=('curve', 'car'))
    assert salient_ids(named, ONLY_MAPS) == (2, 1)
    masks = LabelSet(detection_classes=(), segmentation_classes=MASK_CLASSES)
    assert salient_ids(CONFIG, masks) == (1,)
    with pytest.raises(
        DatasetError, match=r'salient_classes is person, rider, .*pool: background, car, cu'
    ):
        salient_ids(CONFIG, ONLY_MAPS)


def test_a_head_without_classes_gives_no_logits():
    model = ARCHITECTURES['made'](num_detection_classes=0, num_segmentation_classes=2).eval()
    outputs = model(torch.rand(1, 3, 64, 96), torch.rand(1, 3, 64, 96), torch.ones(1, 2))
    assert outputs['class_logits'].shape[2] == 0
    assert outputs['segmentation_logits'].shape == (1, 2, 16, 24)


def test_a_run_starts_from_the_whole_weights_of_another_of_the_same_classes(tmp_path):
    pool, run = make_pool('mfnet', tmp_path), tmp_path / 'run'
    config = replace(CONFIG, task='segmentation')
    train(config, pool_dir=pool, place=RunPlace(folder=run))
    path = run / 'weights.safetensors'
    further = replace(config, init_from=str(path), init_heads=True)
    learner = SupervisedLearner(
        further, device=torch.device('cpu'), label_set=read_label_set(pool)
    )
    written = load_file(path)
    for model in (learner.model, learner.average):
        state = model.state_dict()
        assert set(state) == set(written)
        assert all(torch.equal(state[name], value) for name, value in written.items())
    with pytest.raises(WeightsError, match=r'do not fit the model; .*mismatched: segmentation\.c'):
        SupervisedLearner(further, device=torch.device('cpu'), label_set=ONLY_MAPS)


def test_heads_of_other_classes_are_refused_though_as_many(tmp_path):
    pool, run = make_pool('mfnet', tmp_path), tmp_path / 'run'
    config = replace(CONFIG, task='segmentation')
    train(config, pool_dir=pool, place=RunPlace(folder=run))
    about = json.loads((run / 'run.json').read_text())
    about['segmentation_classes'].reverse()
    (run / 'run.json').write_text(json.dumps(about))
    further = replace(config, init_from=str(run / 'weights.safetensors'), init_heads=True)
    with pytest.raises(WeightsError, match=r'have the segmentation_classes .*; expected backgro'):
        train(further, pool_dir=pool, place=RunPlace(folder=tmp_path / 'next'))
    (run / 'run.json').unlink()  # then nobody knows
    train(further, pool_dir=pool, place=RunPlace(folder=tmp_path / 'next'))
