# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import replace
import json
import math
from types import SimpleNamespace

from made_models import random_painted_samples, small_model, write_shard
import pytest
import torch
from torch import nn

from rgbt_models.build import ARCHITECTURES
from rgbt_models.errors import DatasetError
from rgbt_models.train import loop, supervised
from rgbt_models.train.augment import AugmentConfig
from rgbt_models.train.balance import BalanceConfig
from rgbt_models.train.batches import collate
from rgbt_models.train.checkpoint import newest_checkpoint, read_state
from rgbt_models.train.config import build_train_config, TrainConfig
from rgbt_models.train.loop import RunPlace
from rgbt_models.train.schedule import parameter_groups, rate_factor
from rgbt_models.train.supervised import (
    draw_available,
    dropout_at,
    train,
    update_average,
)
from rgbt_models.weights import load_weights

CPU = torch.device('cpu')


@pytest.mark.parametrize('dropout', [0.0, 0.2, 0.6, 1.0])
def test_dropout_takes_each_camera_alike_and_never_both(dropout):
    torch.manual_seed(0)
    available = draw_available(20_000, dropout=dropout, device=CPU)
    assert available.shape == (20_000, 2)
    assert set(available.unique().tolist()) <= {0.0, 1.0}
    assert (available.sum(dim=1) >= 1).all()
    absent = (1 - available).mean(dim=0).tolist()
    assert absent == pytest.approx([dropout / 2] * 2, abs=0.012)


def test_without_dropout_nothing_is_taken_away():
    assert draw_available(1000, dropout=0.0, device=CPU).all()


def test_dropout_starts_late_and_ramps_to_its_final_value():
    config = TrainConfig(modality_dropout=0.3, dropout_start=0.15)
    at = {progress: dropout_at(progress, config) for progress in (0.0, 0.15, 0.25, 0.35, 1.0)}
    assert at == pytest.approx({0.0: 0.0, 0.15: 0.0, 0.25: 0.15, 0.35: 0.3, 1.0: 0.3})


@pytest.mark.parametrize(
    ('step', 'progress', 'warmup_steps', 'expected'),
    [
        (0, 0.0, 100, 0.01),
        (49, 0.0, 100, 0.5),
        (99, 0.0, 100, 1.0),
        (5000, 0.0, 100, 1.0),
        (0, 0.0, 0, 1.0),  # no warm-up
        (5000, 0.5, 100, 0.02 + 0.98 * 0.5),
        (5000, 1.0, 100, 0.02),
        (5000, 1.7, 100, 0.02),  # the last step of a run that ends by time
    ],
)
def test_rate_factor_literals(step, progress, warmup_steps, expected):
    assert rate_factor(step, progress, warmup_steps) == pytest.approx(expected)


def test_only_matrices_and_kernels_decay():
    model = small_model()
    decayed, plain = parameter_groups(model, 0.07)
    assert (decayed['weight_decay'], plain['weight_decay']) == (0.07, 0.0)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    decayed_names = {names[id(p)] for p in decayed['params']}
    plain_names = {names[id(p)] for p in plain['params']}
    assert decayed_names | plain_names == set(names.values())
    assert not decayed_names & plain_names
    assert {'encoder.rgb_embedding', 'encoder.thermal_embedding', 'encoder.norm.weight'} <= (
        plain_names
    )
    assert 'neck.fusions.0.thermal_weight.weight' in decayed_names
    assert 'encoder.blocks.0.attn.qkv.weight' in decayed_names
    assert not [name for name in decayed_names if name.endswith('bias')]


def test_the_average_moves_a_part_of_the_way_and_counters_are_copied():
    average, model = (nn.Sequential(nn.Linear(2, 1), nn.BatchNorm1d(1)) for _ in range(2))
    with torch.no_grad():
        average[0].weight.copy_(torch.tensor([[1.0, 2.0]]))
        model[0].weight.copy_(torch.tensor([[5.0, -2.0]]))
    model[1].running_mean.fill_(10.0)
    model[1].num_batches_tracked.fill_(9)
    update_average(average, model, decay=0.75)
    assert average[0].weight.tolist() == [[2.0, 1.0]]
    assert average[1].running_mean.tolist() == [2.5]
    assert int(average[1].num_batches_tracked) == 9
    assert model[0].weight.tolist() == [[5.0, -2.0]]


def test_a_decay_of_zero_copies():
    average, model = small_model(seed=1), small_model(seed=2)
    update_average(average, model, decay=0.0)
    for name, value in model.state_dict().items():
        torch.testing.assert_close(average.state_dict()[name], value)


STEPS = 60
CONFIG = TrainConfig(
    architecture='small',
    max_steps=STEPS,
    size_hws=((64, 96),),
    pixels_per_step=4 * 64 * 96,
    learning_rate=3e-3,
    warmup_steps=5,
    ema_decay=0.9,
    precision='32-true',
    augment=AugmentConfig(min_zoom=1.0, max_zoom=1.0, heavy_sensor=0.0, degraded=0.0),
)


def run(folder, monkeypatch, config=CONFIG):
    """Train on painted pairs; return the run, the logged entries and the folder."""
    monkeypatch.setitem(ARCHITECTURES, 'small', lambda **classes: small_model().train())
    monkeypatch.setattr(loop, 'LOG_EVERY', 1)
    write_shard(folder / 'pool', 'shard_0', random_painted_samples(12, seed=3))
    result = train(config, pool_dir=folder / 'pool', place=RunPlace(folder=folder / 'run'))
    lines = (folder / 'run' / 'log.jsonl').read_text().splitlines()
    return result, [json.loads(line) for line in lines], folder / 'run'


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    with pytest.MonkeyPatch.context() as monkeypatch:
        yield run(tmp_path_factory.mktemp('train'), monkeypatch)


def mean_of(entries, name):
    return sum(entry[name] for entry in entries) / len(entries)


@pytest.mark.parametrize('name', ['box', 'segmentation'])
def test_losses_fall_on_painted_pairs(trained, name):
    _, entries, _ = trained
    assert len(entries) == STEPS
    assert mean_of(entries[-10:], name) < 0.7 * mean_of(entries[:10], name)


def test_the_classification_loss_stays_finite(trained):
    # It need not fall at once: the quality it must name rises as the boxes get better.
    _, entries, _ = trained
    losses = [entry['classification'] for entry in entries]
    assert all(0.0 < loss < 2.0 for loss in losses)


def test_a_run_tells_what_it_did(trained):
    result, entries, folder = trained
    description = json.loads((folder / 'run.json').read_text())
    assert (result.steps, result.samples) == (STEPS, STEPS * 4)
    assert description['steps'] == STEPS
    assert description['samples'] == STEPS * 4
    assert description['processes'] == 1
    assert description['accelerator'] == 'cpu'
    assert description['pool_pairs_read'] == 12
    assert build_train_config(description['config']) == CONFIG
    assert math.isfinite(result.final_loss)
    last = entries[-1]
    assert (last['step'], last['samples'], last['progress']) == (STEPS, STEPS * 4, 0.9833)


def test_the_averaged_weights_are_kept_and_fit_the_model(trained):
    _, _, folder = trained
    model = small_model()
    start = {name: value.clone() for name, value in model.state_dict().items()}
    load_weights(model, folder / 'weights.safetensors')
    state = model.state_dict()
    assert all(value.isfinite().all() for value in state.values())
    unmoved = [name for name, value in start.items() if torch.equal(value, state[name])]
    # No painted box reaches 96 px, so the coarsest level has nothing to regress.
    assert unmoved == ['detection.regressors.2.bias']


def test_the_trained_network_finds_the_painted_objects(trained):
    _, _, folder = trained
    model = small_model()
    load_weights(model, folder / 'weights.safetensors')
    samples = random_painted_samples(4, seed=99)  # not of the pool
    batch = collate(samples, CONFIG)
    with torch.no_grad():
        outputs = model(batch.rgb, batch.thermal, torch.ones(4, 2))
    labels = batch.label_maps[:, 2::4, 2::4]
    found = outputs['segmentation_logits'].argmax(dim=1)
    assert (found == labels).float().mean() > 0.9
    for index, target in enumerate(batch.targets):
        best = outputs['class_logits'][index, :, 0].argmax()
        centre = outputs['boxes_xyxy'][index, best].reshape(2, 2).mean(dim=0)
        x_min, y_min, x_max, y_max = target.boxes_xyxy[0].tolist()
        assert x_min < float(centre[0]) < x_max
        assert y_min < float(centre[1]) < y_max


def test_two_runs_of_one_seed_are_equal(tmp_path, monkeypatch):
    config = TrainConfig(
        architecture='small',
        max_steps=3,
        size_hws=((64, 96),),
        pixels_per_step=2 * 64 * 96,
        modality_dropout=0.5,
        dropout_start=-1.0,
        precision='32-true',
    )
    contents = []
    for name in ('a', 'b'):
        (tmp_path / name).mkdir()
        _, entries, folder = run(tmp_path / name, monkeypatch, config)
        contents.append((folder / 'weights.safetensors').read_bytes())
        assert len(entries) == 3
    assert contents[0] == contents[1]


def test_the_precision_is_settled_where_the_run_begins(tmp_path, monkeypatch):
    cpuinfo = tmp_path / 'cpuinfo'
    cpuinfo.write_text('flags\t: avx2\n')
    monkeypatch.setattr('rgbt_models.cpu._CPUINFO', cpuinfo)
    _, _, folder = run(
        tmp_path, monkeypatch, replace(CONFIG, max_steps=2, checkpoint_every=1, precision='auto')
    )
    description = json.loads((folder / 'run.json').read_text())
    assert description['config']['precision'] == '32-true'
    checkpoint = newest_checkpoint(folder)
    assert checkpoint is not None
    state = read_state(checkpoint)
    assert state['config']['precision'] == '32-true'


def test_a_run_ends_by_time(tmp_path, monkeypatch):
    clock = iter(range(0, 100_000, 100))
    monkeypatch.setattr(loop, 'time', SimpleNamespace(monotonic=lambda: float(next(clock))))
    config = TrainConfig(
        architecture='small',
        max_steps=10_000,
        max_hours=0.5,  # 1800 s; the clock above runs 100 s a look
        size_hws=((32, 32),),
        pixels_per_step=2 * 32 * 32,
        precision='32-true',
    )
    result, entries, _ = run(tmp_path, monkeypatch, config)
    assert 2 < result.steps < 18
    assert [entry['progress'] for entry in entries] == sorted(e['progress'] for e in entries)


def test_a_folder_that_holds_a_run_is_refused(trained):
    _, _, folder = trained
    with pytest.raises(DatasetError, match=r'holds run.json and log.jsonl of another run'):
        train(CONFIG, pool_dir=folder.parent / 'pool', place=RunPlace(folder=folder))


def test_an_empty_pool_is_said(tmp_path, monkeypatch):
    monkeypatch.setitem(ARCHITECTURES, 'small', lambda **classes: small_model())
    with pytest.raises(DatasetError, match='no rendered shard in'):
        train(CONFIG, pool_dir=tmp_path, place=RunPlace(folder=tmp_path / 'run'))


def test_the_balancer_is_clipped_with_the_model(tmp_path, monkeypatch):
    norms = []

    class Watched(supervised.SupervisedLearner):
        def finish_step(self, losses, *, step):
            trained = [*self.model.parameters(), *self.extra_modules['balancer'].parameters()]
            found = torch.stack([p.grad.norm() for p in trained if p.grad is not None])
            own = [p.grad.norm() for p in self.extra_modules['balancer'].parameters()]
            norms.append((found.norm().item(), torch.stack(own).norm().item()))
            super().finish_step(losses, step=step)

    monkeypatch.setattr(supervised, 'SupervisedLearner', Watched)
    config = replace(
        CONFIG,
        max_steps=2,
        accumulate=2,
        clip_norm=0.01,
        is_balanced=True,
        balance=BalanceConfig(start=0.0, mapping=50.0),
    )
    run(tmp_path, monkeypatch, config)
    assert len(norms) == 2
    for whole, own in norms:
        assert whole == pytest.approx(0.01, rel=1e-3)
        assert own > 1e-4
