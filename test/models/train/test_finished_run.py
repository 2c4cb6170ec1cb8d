# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import replace
import json

import cv2
from made_models import painted_sample, random_painted_samples, small_model, write_shard
from made_runs import config_of, run_of
import numpy as np
import pytest
import torch

from rgbt_models.build import ARCHITECTURES
from rgbt_models.errors import DatasetError, WeightsError
from rgbt_models.match_geometry import warp
from rgbt_models.train.finished_run import is_trained_on, load_run, pad_to_multiple
from rgbt_models.train.loop import RunPlace
from rgbt_models.train.matching_run import draw_homography, match_moved
from rgbt_models.train.matching_task import MatchingModel
from rgbt_models.train.pool import CONVERTED_KEY, POOL_FILE
from rgbt_models.train.supervised import train
from rgbt_models.train.tasks import build_task_model

SIZE_HW = (96, 128)


@pytest.fixture(autouse=True)
def made(monkeypatch):
    monkeypatch.setitem(ARCHITECTURES, 'made', lambda **_: small_model().train())


def test_cameras_are_taken_away_as_the_network_itself_does():
    run = run_of('both', small_model())
    rgb, thermal = run.images(painted_sample((10, 20, 40, 80)))
    cameras = [(1.0, 1.0), (1.0, 0.0), (0.0, 1.0)]
    for flags, found in zip(cameras, run.outputs(rgb, thermal, cameras), strict=True):
        with torch.inference_mode():
            wanted = run.model(rgb, thermal, torch.tensor([flags]))
        assert all(torch.equal(found[name], value) for name, value in wanted.items())


def test_the_weights_of_the_run_are_those_scored(tmp_path):
    pool, folder = tmp_path / 'pool', tmp_path / 'run'
    samples = random_painted_samples(2, seed=2)
    write_shard(pool, 'shard_0', samples)
    train(config_of('segmentation'), pool_dir=pool, place=RunPlace(folder=folder))
    run = load_run(folder)
    assert not run.model.training
    fresh = run_of('segmentation', build_task_model(config_of('segmentation')))
    images = run.images(samples[0])
    trained, untrained = (r.outputs(*images)[0]['segmentation_logits'] for r in (run, fresh))
    assert not torch.allclose(trained, untrained)
    (folder / 'weights.safetensors').unlink()
    with pytest.raises(WeightsError, match='cannot read weights'):
        load_run(folder)


def test_what_is_no_training_run_is_refused(tmp_path):
    with pytest.raises(DatasetError, match=r'holds no run.json; expected the folder of a finish'):
        load_run(tmp_path)
    (tmp_path / 'run.json').write_text('{"steps": 3')
    with pytest.raises(DatasetError, match=r"cannot read '.*run.json' .*; expected the JSON that"):
        load_run(tmp_path)
    (tmp_path / 'run.json').write_text(json.dumps({'config': {'mae': {}}}))
    with pytest.raises(DatasetError, match='has no architecture; expected one of rgbt train'):
        load_run(tmp_path)


def test_a_pool_of_the_scenes_of_the_training_is_told(tmp_path):
    about = {'scenes_read': [[0, 64], [1000, 1128]]}
    (tmp_path / 'shard_000001128').mkdir()
    assert is_trained_on(about, tmp_path) is False
    # Of an encoder whose run is not known it cannot be said that it has not seen them.
    unknown = {'encoder_origin': 'unknown, of timm/vit.safetensors'}
    assert is_trained_on({**about, **unknown}, tmp_path) is None
    (tmp_path / 'shard_000001064').mkdir()
    assert is_trained_on(about, tmp_path) is True
    assert is_trained_on({**about, **unknown}, tmp_path) is True
    # Shards of 64: one that begins before the pool reaches into it.
    assert is_trained_on({'scenes_read': [[1191, 1255]]}, tmp_path) is True
    assert is_trained_on({'scenes_read': [[1192, 1256]]}, tmp_path) is False
    (tmp_path / POOL_FILE).write_text(json.dumps({CONVERTED_KEY: 'made'}))
    assert is_trained_on(about, tmp_path) is None


def test_a_run_knows_the_scenes_of_all_shards_it_read_whatever_its_settings_say(tmp_path):
    pool, folder = tmp_path / 'pool', tmp_path / 'run'
    for first in (64, 640):
        write_shard(pool, f'shard_{first:09d}', random_painted_samples(2, seed=first))
    config = config_of('segmentation', pool_seed=0, pool_pairs=64)
    train(config, pool_dir=pool, place=RunPlace(folder=folder))
    about = load_run(folder).about
    assert about['scenes_read'] == [[64, 128], [640, 704]]
    assert is_trained_on(about, pool) is True
    write_shard(tmp_path / 'other', 'shard_000000000', random_painted_samples(2, seed=1))
    assert is_trained_on(about, tmp_path / 'other') is False


def test_padding_goes_below_and_to_the_right():
    padded = pad_to_multiple(torch.ones(1, 3, 17, 32))
    assert padded.shape == (1, 3, 32, 32)
    assert padded[..., :17, :].all()
    assert not padded[..., 17:, :].any()


def test_homographies_of_a_score_depend_on_seed_and_index_only():
    first = draw_homography(SIZE_HW, seed=(0, 5))
    torch.manual_seed(3)
    before = torch.random.get_rng_state()
    assert torch.equal(draw_homography(SIZE_HW, seed=(0, 5)), first)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert not torch.equal(draw_homography(SIZE_HW, seed=(0, 6)), first)
    assert not torch.equal(draw_homography(SIZE_HW, seed=(1, 5)), first)


def test_matches_in_the_padding_are_left_out():
    model = build_task_model(config_of('matching')).eval()
    sample = painted_sample((10, 20, 40, 80), size_hw=(70, 100))
    found, homography = match_moved(run_of('matching', model), sample, seed=(0, 0))
    assert homography.shape == (3, 3)
    for points in (found.rgb_xy, found.thermal_xy):
        assert (points < torch.tensor([99.5, 69.5])).all()


class PatchEncoder(torch.nn.Module):
    """Tokens are the brightness around each patch, 32 px wide: nothing is learnt."""

    channels = (1024,)

    def forward(self, rgb, thermal):
        tokens = []
        for image in (rgb, thermal):
            patches = torch.nn.functional.unfold(image[:, :1], 32, padding=8, stride=16)
            patches = patches - patches.mean(dim=1, keepdim=True)
            h, w = (side // 16 for side in image.shape[2:])
            tokens.append(patches.reshape(1, 1024, h, w))
        return [tuple(tokens)]


def test_a_matcher_that_compares_what_it_sees_is_right_about_the_moved_image():
    # Both cameras see the same soft noise, so that matches are right only if image and points are
    # moved the same way round.
    rng = np.random.default_rng(4)
    grey = cv2.GaussianBlur(rng.random((192, 256)).astype(np.float32), (0, 0), 5.0)
    grey = (grey - grey.min()) / (grey.max() - grey.min())
    sample = replace(
        painted_sample(size_hw=(192, 256)),
        rgb=(grey * 255).astype(np.uint8)[..., None].repeat(3, axis=2),
        thermal=(28_000 + grey * 3000).astype(np.uint16),
    )
    base = small_model()
    base.encoder = PatchEncoder()
    run = run_of('matching', MatchingModel(base, is_fine=False))
    errors, flipped = [], []
    for index in range(4):
        found, homography = match_moved(run, sample, seed=(0, index))
        rgb_xy, thermal_xy = found.rgb_xy.numpy(), found.thermal_xy.numpy()
        errors += list(np.linalg.norm(warp(thermal_xy, homography) - rgb_xy, axis=1))
        flipped += list(np.linalg.norm(warp(rgb_xy, homography) - thermal_xy, axis=1))
    assert len(errors) >= 20
    assert np.median(errors) < 8.0  # half a token
    assert np.median(flipped) > 12.0
