# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

from made_models import painted_sample, write_shard
import numpy as np
import pytest

from rgbt_models.errors import DatasetError
from rgbt_models.train import pool as pool_module
from rgbt_models.train.pool import (
    _render_shard,
    POOL_FILE,
    render_pool,
    render_sample,
    SamplePool,
)

FIRST = painted_sample((10, 20, 40, 70), (50, 5, 60, 25))
NIGHT = painted_sample((70, 30, 90, 80), is_night=True)
EMPTY = painted_sample()


def assert_same(sample, expected):
    for name in ('rgb', 'thermal', 'label_map', 'boxes_xyxy', 'class_ids', 'ignore'):
        actual, wanted = getattr(sample, name), getattr(expected, name)
        assert actual.dtype == wanted.dtype, name
        np.testing.assert_array_equal(actual, wanted)
    assert sample.is_night is expected.is_night


def test_pairs_come_back_in_the_order_of_shards_and_rows(tmp_path):
    write_shard(tmp_path, 'shard_000000064', [NIGHT])
    write_shard(tmp_path, 'shard_000000000', [FIRST, EMPTY])
    pool = SamplePool(tmp_path)
    assert len(pool) == 3
    for index, expected in enumerate((FIRST, EMPTY, NIGHT)):
        assert_same(pool[index], expected)


def test_a_pair_without_objects_has_empty_arrays(tmp_path):
    write_shard(tmp_path, 'shard_0', [EMPTY])
    sample = SamplePool(tmp_path)[0]
    assert sample.boxes_xyxy.shape == (0, 4)
    assert (sample.class_ids.dtype, sample.ignore.dtype) == (np.int64, np.bool_)


def test_class_and_ignore_are_kept(tmp_path):
    sample = painted_sample((10, 20, 40, 70), (50, 5, 60, 25))
    sample.class_ids[1], sample.ignore[0] = 2, True
    write_shard(tmp_path, 'shard_0', [EMPTY, sample])
    read = SamplePool(tmp_path)[1]
    assert read.class_ids.tolist() == [0, 2]
    assert read.ignore.tolist() == [True, False]


def test_what_is_read_may_be_changed_without_changing_the_pool(tmp_path):
    write_shard(tmp_path, 'shard_0', [FIRST])
    pool = SamplePool(tmp_path)
    read = pool[0]
    read.rgb[:] = 0
    read.thermal[:] = 0
    read.boxes_xyxy[:] = 0
    assert_same(pool[0], FIRST)


def test_shards_finished_later_are_taken_in_and_others_keep_their_place(tmp_path):
    write_shard(tmp_path, 'shard_000000064', [NIGHT])
    pool = SamplePool(tmp_path)
    write_shard(tmp_path, 'shard_000000000', [FIRST])
    assert len(pool) == 1
    pool.refresh()
    pool.refresh()
    assert len(pool) == 2
    assert_same(pool[0], NIGHT)
    assert_same(pool[1], FIRST)


def test_unfinished_shards_are_not_read(tmp_path):
    write_shard(tmp_path, 'partial_000000000', [FIRST])
    with pytest.raises(DatasetError, match=r'no rendered shard in .*expected folders shard_\*'):
        SamplePool(tmp_path)


def test_a_missing_folder_is_said(tmp_path):
    with pytest.raises(DatasetError, match='no rendered shard in'):
        SamplePool(tmp_path / 'none')


def test_a_pool_keeps_no_files_open(tmp_path):
    for index in range(5):
        write_shard(tmp_path, f'shard_{index}', [FIRST])
    pool = SamplePool(tmp_path)
    samples = [pool[index] for index in range(5)]
    open_files = [str(file.resolve()) for file in Path('/proc/self/fd').iterdir()]
    assert not [file for file in open_files if file.startswith(str(tmp_path))]
    assert len(samples) == 5


def test_a_rendered_pair_is_on_the_rgb_grid_in_counts_and_repeatable():
    sample = render_sample(5, scale=0.2)
    assert sample.rgb.shape == (96, 128, 3)
    assert sample.thermal.shape == sample.label_map.shape == (96, 128)
    assert sample.thermal.dtype == np.uint16
    celsius = sample.thermal / 100.0 - 273.15
    assert -60 < celsius.min() < celsius.max() < 120
    assert len(sample.boxes_xyxy) == len(sample.class_ids) == len(sample.ignore)
    assert_same(render_sample(5, scale=0.2), sample)
    assert not np.array_equal(render_sample(6, scale=0.2).rgb, sample.rgb)


@pytest.fixture
def painted_world(monkeypatch):
    def render(seed, *, scale):
        x = seed % 60
        return painted_sample((x, 20, x + 20, 70), is_night=bool(seed % 2))

    monkeypatch.setattr(pool_module, 'render_sample', render)
    monkeypatch.setattr(pool_module, 'SHARD_PAIRS', 3)


def test_a_shard_holds_the_scenes_from_its_first_seed(painted_world, tmp_path):
    path = _render_shard(12, folder=tmp_path, scale=0.2)
    assert path == tmp_path / 'shard_000000012'
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]
    pool = SamplePool(tmp_path)
    assert [int(pool[index].boxes_xyxy[0, 0]) for index in range(3)] == [12, 13, 14]
    assert [pool[index].is_night for index in range(3)] == [False, True, False]


def test_what_a_broken_run_left_is_replaced(painted_world, tmp_path):
    (tmp_path / 'partial_000000012').mkdir()
    (tmp_path / 'partial_000000012' / 'rgb.npy').write_bytes(b'half')
    _render_shard(12, folder=tmp_path, scale=0.2)
    assert len(SamplePool(tmp_path)) == 3


def test_shards_that_are_there_are_not_rendered_again(tmp_path):
    for first in (100, 164):
        write_shard(tmp_path, f'shard_{first:09d}', [FIRST])
    # 65 pairs are two shards; both are there, so no process has anything to do.
    render_pool(tmp_path, num_pairs=65, seed=100, scale=0.2, num_workers=1)
    assert sorted(path.name for path in tmp_path.glob('*_*')) == [
        'shard_000000100',
        'shard_000000164',
    ]
    assert len(SamplePool(tmp_path)) == 2


@pytest.mark.parametrize('other', [{'seed': 64}, {'scale': 0.8}])
def test_a_pool_of_another_seed_or_scale_is_refused(tmp_path, other):
    settings = {'num_pairs': 0, 'seed': 0, 'scale': 0.5, 'num_workers': 1}
    render_pool(tmp_path, **settings)
    render_pool(tmp_path, **{**settings, 'num_pairs': 0})
    with pytest.raises(DatasetError, match=r'was rendered with .* use another folder'):
        render_pool(tmp_path, **{**settings, **other})


def test_a_damaged_description_of_a_pool_is_said(tmp_path):
    (tmp_path / POOL_FILE).write_text('{"seed": 1')
    with pytest.raises(DatasetError, match=r"cannot read '.*pool.json' .*; write the pool again"):
        render_pool(tmp_path, num_pairs=0, seed=1, scale=0.5, num_workers=1)
