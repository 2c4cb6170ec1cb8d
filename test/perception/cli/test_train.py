# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import io
import json

from made_models import random_painted_samples, small_model, write_shard
import pytest
from rich.console import Console

from rgbt_models.build import ARCHITECTURES
from rgbt_models.label_sets import PACKAGE_LABEL_SET
from rgbt_models.train.pool import CONVERTED_KEY, POOL_FILE
from rgbt_models.train.run_log import StepReport
from rgbt_perception.cli.main import main
from rgbt_perception.cli.run_progress import describe_step, RunProgress

TRAIN = """
architecture: made
task: segmentation
max_steps: 4
checkpoint_every: 2
size_hws: [[64, 96]]
pixels_per_step: 12288
precision: 32-true
tensorboard: false
"""
PRETRAIN = """
max_steps: 2
batch_size: 2
precision: 32-true
mae:
  encoder: vit_tiny_patch16_224
  image_size: 64
  decoder_dim: 32
  decoder_depth: 1
  decoder_heads: 2
  masking: {method: random, mask_ratio: 0.7, max_mask_ratio: 0.8}
"""


@pytest.fixture
def pool(tmp_path, monkeypatch):
    """Return a pool as if it had been converted: nothing is rendered."""
    monkeypatch.setitem(ARCHITECTURES, 'made', lambda **_: small_model().train())
    folder = tmp_path / 'pool'
    write_shard(folder, 'shard_0', random_painted_samples(6, seed=2))
    (folder / POOL_FILE).write_text(
        json.dumps({CONVERTED_KEY: 'made', **PACKAGE_LABEL_SET.to_json()})
    )
    return folder


def write(path, text):
    path.write_text(text)
    return str(path)


def test_train_writes_weights_and_refuses_to_mix_runs(tmp_path, pool, capsys):
    config, run = write(tmp_path / 't.yaml', TRAIN), tmp_path / 'run'
    command = ['train', config, '--pool', str(pool), '--out', str(run)]
    assert main(command) == 0
    assert (run / 'weights.safetensors').is_file()
    assert json.loads((run / 'run.json').read_text())['steps'] == 4
    assert main(command) == 2
    assert 'expected an empty folder' in capsys.readouterr().err
    assert main([*command, '--resume']) == 2
    assert 'holds a finished run' in capsys.readouterr().err


def test_resume_goes_on_from_the_checkpoint(tmp_path, pool):
    config = write(tmp_path / 't.yaml', TRAIN)
    for name in ('whole', 'rest'):
        command = ['train', config, '--pool', str(pool), '--out', str(tmp_path / name)]
        if name == 'rest':
            (tmp_path / name).mkdir()
            checkpoint = 'checkpoint_000000002'
            (tmp_path / 'whole' / checkpoint).rename(tmp_path / name / checkpoint)
            command.append('--resume')
        assert main(command) == 0
    whole, rest = ((tmp_path / n / 'weights.safetensors').read_bytes() for n in ('whole', 'rest'))
    assert whole == rest


def test_pretrain_writes_an_encoder_that_train_starts_from(tmp_path, pool):
    config = write(tmp_path / 'p.yaml', PRETRAIN)
    encoder = tmp_path / 'encoder'
    assert main(['pretrain', config, '--pool', str(pool), '--out', str(encoder)]) == 0
    text = TRAIN.replace('architecture: made', "architecture: 'encoder: vit_tiny_patch16_224'")
    text += f'init_from: {encoder / "weights.safetensors"}\n'
    config = write(tmp_path / 't.yaml', text)
    assert main(['train', config, '--pool', str(pool), '--out', str(tmp_path / 'run')]) == 0


def test_a_misspelled_key_is_said_in_one_line(tmp_path, pool, capsys):
    config = write(tmp_path / 'p.yaml', PRETRAIN + 'learning_rat: 1.0\n')
    assert main(['pretrain', config, '--pool', str(pool), '--out', str(tmp_path / 'r')]) == 2
    assert "did you mean 'learning_rate'" in capsys.readouterr().err


def report():
    return StepReport(
        step=7,
        samples=70,
        progress=0.5,
        samples_per_s=12.34,
        learning_rate=0.1,
        losses={'box': 0.5, 'segmentation': 1.25},
    )


def test_the_bar_shows_step_rate_and_losses():
    assert describe_step(report()) == 'step 7  12.3 pairs/s  box 0.500  segmentation 1.250'
    console = Console(file=io.StringIO(), force_terminal=True, width=100)
    with RunProgress(console) as progress:
        assert progress.is_shown
        progress.show(report())
    text = console.file.getvalue()
    assert '12.3 pairs/s' in text
    assert '50%' in text


def test_without_a_terminal_there_is_no_bar():
    console = Console(file=io.StringIO(), force_terminal=False)
    with RunProgress(console) as progress:
        assert not progress.is_shown
    assert not console.file.getvalue().strip()
