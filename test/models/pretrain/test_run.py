# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import replace
import json
from pathlib import Path

from made_models import painted_sample, random_painted_samples, write_shard
from made_shards import make_shards, PAIRS
import numpy as np
import pytest
from safetensors.torch import load_file
import torch

from rgbt_models.build import create_model
from rgbt_models.errors import DatasetError
from rgbt_models.pretrain.config import (
    build_pretrain_config,
    load_pretrain_config,
    PretrainConfig,
    UnivConfig,
)
from rgbt_models.pretrain.mae import MaeConfig
from rgbt_models.pretrain.masking import MaskingConfig
from rgbt_models.pretrain.run import (
    build_task,
    crop_pair,
    draw_window,
    iterate_pairs,
    pretrain,
    PretrainLearner,
)
from rgbt_models.train.batches import open_sampler
from rgbt_models.train.init_encoder import load_encoder
from rgbt_models.train.loop import launch, RunPlace, TrainingLoop

ROOT = Path(__file__).resolve().parents[3]
NAME = 'vit_tiny_patch16_224'
MAE = PretrainConfig(
    max_steps=6,
    batch_size=2,
    precision='32-true',
    checkpoint_every=4,
    learning_rate=1e-3,
    warmup_steps=2,
    mae=MaeConfig(
        encoder=NAME,
        image_size=64,
        decoder_dim=32,
        decoder_depth=1,
        decoder_heads=2,
        masking=MaskingConfig(mask_ratio=0.7, max_mask_ratio=0.8, steps_per_epoch=2, num_epochs=3),
    ),
)


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """Return a folder with a pool and a finished pretraining run."""
    path = tmp_path_factory.mktemp('pretrain')
    write_shard(path / 'pool', 'shard_0', random_painted_samples(8, seed=1))
    pretrain(MAE, pool_dir=path / 'pool', place=RunPlace(folder=path / 'mae'))
    return path


def test_an_interrupted_run_goes_on_to_the_same_encoder(folder):
    """Mixture, schedule and draws of the masking are in the checkpoint too."""

    class InterruptedRunError(Exception):
        pass

    def interrupt(report):
        if report.step == 5:
            raise InterruptedRunError

    place = RunPlace(folder=folder / 'again', on_step=interrupt)
    with pytest.raises(InterruptedRunError):
        pretrain(MAE, pool_dir=folder / 'pool', place=place)
    pretrain(MAE, pool_dir=folder / 'pool', place=RunPlace(folder=folder / 'again', resume=True))
    first, second = (
        (folder / name / 'weights.safetensors').read_bytes() for name in ('mae', 'again')
    )
    assert first == second


def test_pairs_come_from_tar_shards_too(tmp_path):
    """Interrupted, it goes on to the same encoder."""
    shards = make_shards(tmp_path)
    pretrain(MAE, pool_dir=shards, place=RunPlace(folder=tmp_path / 'whole'))

    def stop(report):
        if report.step == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pretrain(MAE, pool_dir=shards, place=RunPlace(folder=tmp_path / 'cut', on_step=stop))
    pretrain(MAE, pool_dir=shards, place=RunPlace(folder=tmp_path / 'cut', resume=True))
    weights = [(tmp_path / name / 'weights.safetensors').read_bytes() for name in ('whole', 'cut')]
    assert weights[0] == weights[1]
    about = json.loads((tmp_path / 'cut' / 'run.json').read_text())
    assert (about['pool_pairs_read'], about['pool_skipped']) == (PAIRS, 0)
    assert not (tmp_path / 'cut' / 'skipped.jsonl').exists()


def test_a_pretrained_encoder_starts_a_model(folder):
    path = folder / 'mae' / 'weights.safetensors'
    model = create_model(f'encoder: {NAME}', num_detection_classes=3, num_segmentation_classes=8)
    load_encoder(model.encoder, path)
    saved, state = load_file(path), model.encoder.state_dict()
    for name, value in saved.items():
        if name != 'pos_embed':
            torch.testing.assert_close(state[f'vit.{name}'], value)
    # 4x4 patches of 64 px became the 14x14 of 224 px; the class row stays as it is.
    assert saved['pos_embed'].shape == (1, 17, 192)
    torch.testing.assert_close(state['vit.pos_embed'][:, 0], saved['pos_embed'][:, 0])


def test_univ_starts_from_it_and_leaves_an_adapter(folder):
    config = PretrainConfig(
        method='univ',
        init_from=str(folder / 'mae' / 'weights.safetensors'),
        max_steps=2,
        batch_size=2,
        precision='32-true',
        univ=UnivConfig(encoder=NAME, image_size=64, adapt_rgb=False),
    )
    run = pretrain(config, pool_dir=folder / 'pool', place=RunPlace(folder=folder / 'univ'))
    assert (run.steps, run.samples) == (2, 4)
    before, after = (load_file(folder / name / 'weights.safetensors') for name in ('mae', 'univ'))
    assert set(before) == set(after)
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert 'blocks.0.attn.qkv.weight' in changed
    assert not [name for name in changed if not name.endswith('weight')]
    assert (folder / 'univ' / 'adapter.safetensors').is_file()
    described = json.loads((folder / 'univ' / 'run.json').read_text())
    assert build_pretrain_config(described['config']) == config


def test_mixed_precision_leaves_the_pixels_as_they_are(folder):
    """They are the target: in bfloat16 a flat patch would be nothing but rounding."""
    seen = []

    class Watched(PretrainLearner):
        def losses(self, wrapped, batch, *, step, progress):
            hook = self.model.register_forward_pre_hook(lambda _, args: seen.append(args[0].rgb))
            terms = super().losses(wrapped, batch, step=step, progress=progress)
            hook.remove()
            return terms

    config = replace(MAE, precision='bf16-mixed', max_steps=1)
    place = RunPlace(folder=folder / 'mixed')
    fabric = launch(config, place)
    learner = Watched(build_task(config), device=fabric.device)
    loop = TrainingLoop(fabric, learner, config, place)
    pool, rng, drawn = open_sampler(folder / 'pool', (0, 0), loop.sampler_state)
    run = loop.run(iterate_pairs(pool, rng, config, drawn=drawn), dict)
    assert np.isfinite(run.final_loss)
    assert seen[0].dtype == torch.float32


@pytest.mark.parametrize('name', ['m_specgene', 'univ', 'synthetic'])
def test_the_recipes_load(name):
    config = load_pretrain_config(ROOT / 'config' / 'pretrain' / f'{name}.yaml')
    assert config.method == ('univ' if name == 'univ' else 'mae')
    if config.method == 'mae':  # the schedule ends with the run
        masking = config.mae.masking
        assert masking.num_epochs * masking.steps_per_epoch == config.max_steps


def test_there_is_no_other_recipe():
    names = sorted(path.stem for path in (ROOT / 'config' / 'pretrain').iterdir())
    assert names == ['m_specgene', 'synthetic', 'univ']


@pytest.mark.parametrize(
    ('changes', 'said'),
    [
        ({'method': 'jepa'}, "method is 'jepa'; expected one of mae, univ"),
        ({'batch_size': 0}, 'batch_size is 0; expected 1 or more'),
        ({'min_area': 0.9, 'max_area': 0.5}, 'min_area and max_area are 0.9 and 0.5'),
        ({'method': 'univ'}, "method 'univ' has no init_from"),
        ({'layer_decay': 0.5}, 'layer_decay is 0.5; expected 1 in pretraining'),
        ({'max_steps': 0}, 'max_steps is 0'),
    ],
)
def test_what_cannot_be_run_is_refused(changes, said):
    with pytest.raises(DatasetError, match=said):
        PretrainConfig(**changes)


def test_a_misspelled_key_deep_inside_is_said():
    with pytest.raises(DatasetError, match=r"'mae.masking.mask_ration'.*did you mean 'mae.mask"):
        build_pretrain_config({'mae': {'masking': {'mask_ration': 0.5}}})


def test_both_images_are_cut_alike():
    sample = painted_sample((40, 20, 80, 70))  # hot where it is bright
    rng = np.random.default_rng(5)
    config = replace(MAE, flip=0.5)
    sides = set()
    for _ in range(20):
        cut = crop_pair(sample, rng, config)
        assert cut.rgb.shape == (64, 64, 3)
        assert cut.thermal.shape == (64, 64)
        bright, hot = cut.rgb[..., 0] > 135, cut.thermal > 29_500
        assert (bright != hot).mean() < 0.02
        sides.add(round(float(hot.mean()), 3))
    assert len(sides) > 10


def test_windows_are_inside_and_of_the_area_asked_for():
    rng = np.random.default_rng(0)
    for _ in range(200):
        x, y, w, h = draw_window((96, 128), rng, (0.2, 0.9))
        assert x >= 0
        assert y >= 0
        assert x + w <= 128
        assert y + h <= 96
        assert 0.18 < w * h / (96 * 128) < 0.92
        assert 0.7 < w / h < 1.45


def test_a_window_that_never_fits_becomes_the_centred_square():
    assert draw_window((10, 1000), np.random.default_rng(0), (1.0, 1.0)) == (495, 0, 10, 10)
