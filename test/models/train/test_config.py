# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import pytest

from rgbt_models.errors import CardError, DatasetError
from rgbt_models.label_sets import SEGMENTATION_CLASSES
from rgbt_models.train.augment import AugmentConfig
from rgbt_models.train.config import load_train_config, TrainConfig
from rgbt_models.train.tasks import SEGMENTATION_WEIGHTS

ROOT = Path(__file__).resolve().parents[3]


def load(tmp_path, text):
    (tmp_path / 'train.yaml').write_text(text)
    return load_train_config(tmp_path / 'train.yaml')


@pytest.mark.parametrize('text', ['', '# nothing\n', '{}'])
def test_an_empty_file_is_the_defaults(tmp_path, text):
    assert load(tmp_path, text) == TrainConfig()


def test_values_replace_the_defaults_and_the_others_stay(tmp_path):
    config = load(
        tmp_path,
        """
        max_steps: 7
        max_hours: 2
        learning_rate: 0.003
        size_hws: [[64, 96], [96, 64]]
        rgb_mean: [0.1, 0.2, 0.3]
        augment: {shift_px: 0.0, degraded: 0.5}
        thermal_normaliser:
          low_percentile: 2.5
        """,
    )
    assert (config.max_steps, config.max_hours, config.learning_rate) == (7, 2, 0.003)
    assert config.size_hws == ((64, 96), (96, 64))
    assert config.rgb_mean == (0.1, 0.2, 0.3)
    assert config.augment == AugmentConfig(shift_px=0.0, degraded=0.5)
    assert config.thermal_normaliser.low_percentile == 2.5
    assert config.thermal_normaliser.high_percentile == 99.5
    assert config.warmup_steps == TrainConfig().warmup_steps


@pytest.mark.parametrize(
    ('text', 'said'),
    [
        (
            'learning_rat: 0.1',
            "unknown training setting 'learning_rat'; expected a field",
        ),
        ('learning_rat: 0.1', "did you mean 'learning_rate'"),
        ('augment: {shift: 1.0}', "unknown training setting 'augment.shift'"),
        ('augment: {shift_xp: 1.0}', "did you mean 'augment.shift_px'"),
        ('thermal_normaliser: {gamma: 1.0}', 'known: low_percentile, high_percentile'),
        ('3: 4', "unknown training setting '3'"),
    ],
)
def test_an_unknown_key_is_an_error_with_a_suggestion(tmp_path, text, said):
    with pytest.raises(DatasetError) as error:
        load(tmp_path, text)
    assert said in str(error.value)


@pytest.mark.parametrize(
    ('text', 'said'),
    [
        ('learning_rate: 1e-3', r"'learning_rate' is '1e-3'; .*write 1.0e-3"),
        ('max_steps: 7.5', "'max_steps' is 7.5; expected a value like 6000"),
        ('max_steps: true', "'max_steps' is True"),
        ('weight_decay: false', "'weight_decay' is False"),
        ('architecture: 5', "'architecture' is 5; expected a value like 'tiny'"),
        ('size_hws: [64, 96]', r"'size_hws' is \[64, 96\]"),
        ('size_hws: 64', "'size_hws' is 64"),
        ('augment: 5', "'augment.' are 5; expected a mapping"),
        ('augment: {degraded: often}', "'augment.degraded' is 'often'"),
        ('[1, 2]', r"'\(whole file\)' are \[1, 2\]; expected a mapping"),
        ('just words', "are 'just words'; expected a mapping"),
    ],
)
def test_a_value_of_the_wrong_type_is_said(tmp_path, text, said):
    with pytest.raises(DatasetError, match=said):
        load(tmp_path, text)


@pytest.mark.parametrize(
    ('text', 'said'),
    [
        ('size_hws: [[64, 100]]', r'size_hws is \(\(64, 100\),\); expected .* multiples of 16'),
        ('size_hws: [[0, 96]]', 'positive multiples of 16'),
        ('size_hws: [[64, 96, 3]]', r'expected \(height, width\) pairs'),
        ('size_hws: []', r'expected \(height, width\) pairs'),
        ('segmentation_weights: [1.0, 0.0]', 'segmentation_weights are .* values above 0'),
        ('segmentation_weights: [car]', "segmentation_weights' is .*expected a value like"),
        ('max_steps: 0', 'max_steps is 0; expected 1 or more'),
    ],
)
def test_a_value_that_cannot_be_used_is_said(tmp_path, text, said):
    with pytest.raises(DatasetError, match=said):
        load(tmp_path, text)


def test_a_normaliser_out_of_order_is_said(tmp_path):
    with pytest.raises(CardError, match='expected 0 <= low < high <= 100'):
        load(tmp_path, 'thermal_normaliser: {low_percentile: 99.9}')


@pytest.mark.parametrize('text', ['a: [', 'a: b: c', '!!python/object:os.system {}'])
def test_text_that_is_no_plain_yaml_is_said(tmp_path, text):
    with pytest.raises(DatasetError, match=r'(?s)cannot read training file .*expected YAML with'):
        load(tmp_path, text)


def test_a_missing_file_is_said(tmp_path):
    with pytest.raises(DatasetError, match=r'cannot read training file .*none.yaml'):
        load_train_config(tmp_path / 'none.yaml')


def test_the_recipes_of_the_repository_load():
    recipes = sorted((ROOT / 'config' / 'train').glob('*.yaml'))
    assert [path.name for path in recipes if load_train_config(path).architecture] == [
        path.name for path in recipes
    ]
    assert any(path.name == 'tiny.yaml' for path in recipes)


def test_every_class_of_the_package_has_a_weight_in_the_loss():
    assert len(SEGMENTATION_WEIGHTS) == len(SEGMENTATION_CLASSES) == 13


@pytest.mark.parametrize(
    ('text', 'problem'),
    [
        (
            'precision: 16-mixed',
            "precision is '16-mixed'; expected one of auto, bf16-mixed, 32-true",
        ),
        ('{task: saliency, is_balanced: true}', "is_balanced is on with the task 'saliency'; exp"),
        (
            '{task: matching, visibility_weight: 0.5}',
            "visibility_weight is 0.5 with the task 'matching'; expected one of both, detection",
        ),
        (
            '{task: detection, lovasz_weight: 1.0}',
            "lovasz_weight is 1.0 with the task 'detection'; expected one of both, segmentation",
        ),
        ('lovasz_weight: -1', 'lovasz_weight is -1.*; expected 0 or more'),
        ('init_heads: true', "init_heads is on with init_from '' and the task 'both'; expected"),
        (
            '{task: matching, init_from: card/model.safetensors, init_heads: true}',
            "init_heads is on with init_from 'card/model.safetensors' and the task 'matching'; ex",
        ),
        ('rgb_mean: [0.4]', r'rgb_mean and rgb_std are \(0.4,\) .* expected three values each'),
    ],
)
def test_what_would_fail_deep_in_the_run_is_refused(tmp_path, text, problem):
    path = tmp_path / 't.yaml'
    path.write_text(text)
    with pytest.raises(DatasetError, match=problem):
        load_train_config(path)


@pytest.mark.parametrize(
    ('text', 'said'),
    [
        (
            'ema_decay: 1.0',
            r'ema_decay is 1.0; expected a value in \[0, 1\); correct the training',
        ),
        ('ema_decay: -0.1', r'ema_decay is -0.1; expected a value in \[0, 1\)'),
        ('drop_path: 1.0', r'drop_path is 1.0; expected a value in \[0, 1\)'),
        ('modality_dropout: 1.1', r'modality_dropout is 1.1; expected a value in \[0, 1\];'),
        ('modality_dropout: .nan', 'modality_dropout is nan; expected a value in'),
        ('visibility_weight: -0.5', 'visibility_weight is -0.5; expected 0 or more'),
        ('visibility_weight: .inf', 'visibility_weight is inf; expected 0 or more'),
        ('warmup_steps: -1', 'warmup_steps is -1; expected 0 or more'),
        ('clip_norm: -2.0', 'clip_norm is -2.0; expected 0 or more'),
        ('learning_rate: 0.0', 'learning_rate is 0.0; expected a number above 0'),
        ('learning_rate: .inf', 'learning_rate is inf; expected a number above 0'),
        ('final_rate: 1.5', r'final_rate is 1.5; expected a value in \[0, 1\]'),
        ('weight_decay: -0.1', 'weight_decay is -0.1; expected 0 or more'),
        ('weight_decay_growth: -1.0', 'weight_decay_growth is -1.0; expected 0 or more'),
        ('max_hours: -1.0', 'max_hours is -1.0; expected 0 or more'),
        ('augment: {min_zoom: 0.0}', 'min_zoom is 0.0; expected a number above 0'),
        ('augment: {min_zoom: 2.0}', 'min_zoom is 2.0 and max_zoom 1.7; expected at most max'),
        ('augment: {degraded: 1.5}', r'degraded is 1.5; expected a value in \[0, 1\]'),
        ('augment: {heavy_sensor: -0.5}', r'heavy_sensor is -0.5; expected a value in \[0, 1\]'),
        ('augment: {shift_px: -1.0}', 'shift_px is -1.0; expected 0 or more'),
        (
            '{size_hws: [[64, 96], [32, 32]], pixels_per_step: 6143}',
            'pixels_per_step is 6143; expected 6144 or more, the pixels of the largest crop',
        ),
    ],
)
def test_a_value_out_of_range_is_said(tmp_path, text, said):
    with pytest.raises(DatasetError, match=said):
        load(tmp_path, text)


@pytest.mark.parametrize(
    'text',
    [
        '{ema_decay: 0.0, modality_dropout: 1.0, warmup_steps: 0, clip_norm: 0.0}',
        'augment: {min_zoom: 1.0, max_zoom: 1.0, degraded: 1.0, heavy_sensor: 0.0}',
        '{size_hws: [[64, 96]], pixels_per_step: 6144}',
    ],
)
def test_a_value_at_the_end_of_its_range_is_used(tmp_path, text):
    assert load(tmp_path, text) != TrainConfig()
