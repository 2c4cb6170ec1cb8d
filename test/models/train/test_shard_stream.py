# SPDX-License-Identifier: Apache-2.0
"""Training from tar shards: what is read, by whom, what is left out, and where a run goes on."""

from __future__ import annotations

from dataclasses import replace
import json

from made_layouts import MAKERS
from made_models import random_painted_samples
from made_shards import damage, make_shards, PAIRS, PER_SHARD
import numpy as np
import pytest
import train_peer

from rgbt_models.build import ARCHITECTURES
from rgbt_models.data import read_layout, Skipped, write_shards
from rgbt_models.errors import DatasetError
from rgbt_models.label_sets import MASK_CLASSES
from rgbt_models.train import shard_stream
from rgbt_models.train.batches import open_sampler
from rgbt_models.train.loop import RunPlace
from rgbt_models.train.pool import read_label_set, read_origin, render_pool, SamplePool
from rgbt_models.train.shard_stream import ShardStream
from rgbt_models.train.supervised import train

CONFIG = replace(train_peer.CONFIG, max_steps=4, checkpoint_every=2, warmup_steps=1)


@pytest.fixture
def shards(tmp_path):
    return make_shards(tmp_path)


@pytest.fixture(autouse=True)
def made(monkeypatch):
    monkeypatch.setitem(ARCHITECTURES, train_peer.ARCHITECTURE, None)
    train_peer.register()


def numbers(stream: ShardStream, rng: np.random.Generator, count: int) -> list[int]:
    return [int(stream.draw(rng).rgb[0, 0, 0]) // 3 for _ in range(count)]


def test_each_pair_comes_once_in_each_epoch_in_another_order(shards, monkeypatch):
    monkeypatch.setattr(shard_stream, 'BUFFER_PAIRS', 4)
    stream, rng = ShardStream(shards, seed=7), np.random.default_rng(0)
    epochs = [numbers(stream, rng, PAIRS) for _ in range(3)]
    assert [sorted(epoch) for epoch in epochs] == [list(range(PAIRS))] * 3
    assert epochs[0] != epochs[1]
    assert len(stream) == PAIRS
    assert len(stream.skipped) == 0


@pytest.mark.parametrize('epoch', [0, 1])
def test_two_processes_read_disjoint_pairs_of_an_epoch(shards, epoch):
    found = []
    for rank in range(2):
        stream = ShardStream(shards, seed=7, rank=rank, num_processes=2)
        rng, drawn = np.random.default_rng(rank), dict[int, list[int]]()
        for _ in range(2 * PAIRS):
            number = numbers(stream, rng, 1)
            drawn.setdefault(stream.state()['epoch'], []).extend(number)
        found.append(drawn[epoch])
    assert sorted(found[0] + found[1]) == list(range(PAIRS))


def test_a_sample_is_what_a_converted_pool_has(shards):
    sample = ShardStream(shards, seed=7).draw(np.random.default_rng(1))
    number = int(sample.rgb[0, 0, 0]) // 3
    wanted = random_painted_samples(PAIRS, seed=3)[number]
    np.testing.assert_array_equal(sample.thermal, wanted.thermal)
    np.testing.assert_array_equal(sample.label_map, wanted.label_map)
    np.testing.assert_array_equal(sample.boxes_xyxy, wanted.boxes_xyxy)
    assert (sample.class_ids.tolist(), sample.ignore.tolist()) == ([0], [False])


def test_images_are_brought_to_the_size_that_the_index_says(shards):
    index = json.loads((shards / 'shards.json').read_text())
    assert index['size_hw'] == [96, 128]
    (shards / 'shards.json').write_text(json.dumps({**index, 'size_hw': [48, 80]}))
    sample = ShardStream(shards, seed=7).draw(np.random.default_rng(1))
    assert sample.rgb.shape == (48, 80, 3)
    assert (sample.label_map[:, 64:] == 255).all()  # 96x128 fits in as 48x64
    assert sample.boxes_xyxy[-1].tolist() == [64, 0, 80, 48]


@pytest.mark.parametrize(('drawn', 'buffer'), [(1, 4), (6, 4), (12, 4), (13, 4), (20, 5), (5, 50)])
def test_a_stream_goes_on_where_it_stood(shards, monkeypatch, drawn, buffer):
    monkeypatch.setattr(shard_stream, 'BUFFER_PAIRS', buffer)
    damage(shards, 'shard-000001.tar', 4)
    whole, rng = ShardStream(shards, seed=7), np.random.default_rng(0)
    numbers(whole, rng, drawn)
    state, rng_state = json.loads(json.dumps(whole.state())), rng.bit_generator.state
    expected = numbers(whole, rng, 30)
    resumed = ShardStream(shards, seed=7, state=state)
    rng.bit_generator.state = rng_state
    assert numbers(resumed, rng, 30) == expected
    assert resumed.state() == whole.state()


def test_corrupt_pairs_are_left_out_and_named_once(shards, caplog):
    damage(shards, 'shard-000001.tar', 4)
    damage(shards, 'shard-000004.tar', 12)
    stream, rng = ShardStream(shards, seed=7), np.random.default_rng(0)
    usable = [number for number in range(PAIRS) if number not in {4, 12}]
    for _ in range(2):
        assert sorted(numbers(stream, rng, len(usable))) == usable
    names = ['shard-000001.tar:000000004', 'shard-000004.tar:000000012']
    assert sorted(stream.skipped.reasons) == names
    assert all(caplog.text.count(f'left out {name}') == 1 for name in names)


def test_a_cut_shard_gives_what_is_whole(shards):
    path = shards / 'shard-000000.tar'
    path.write_bytes(path.read_bytes()[:1700])  # in the first pair
    stream = ShardStream(shards, seed=7)
    found = numbers(stream, np.random.default_rng(0), PAIRS - PER_SHARD)
    assert sorted(found) == list(range(PER_SHARD, PAIRS))
    assert list(stream.skipped.reasons) == ['shard-000000.tar']


@pytest.mark.parametrize('num_processes', [1, 2])
def test_shards_without_a_usable_pair_end_the_run(tmp_path, num_processes):
    folder = make_shards(tmp_path, num_pairs=5, is_registered=False)
    stream = ShardStream(folder, seed=7, num_processes=num_processes)
    with pytest.raises(DatasetError, match=r'no pair in the shards .*first reason: RGB and therm'):
        stream.draw(np.random.default_rng(0))


@pytest.mark.parametrize(
    ('layout', 'detection', 'segmentation'),
    [('llvip', ('person',), ()), ('vt821', (), MASK_CLASSES), ('folders', (), ())],
)
def test_classes_and_origin_are_those_of_the_data_set(tmp_path, layout, detection, segmentation):
    MAKERS[layout](tmp_path / 'source')
    manifest = read_layout(layout, tmp_path / 'source')
    out = tmp_path / 'shards'
    write_shards(manifest, out, pairs_per_shard=2, skipped=Skipped())
    label_set = read_label_set(out)
    assert label_set.detection_classes == detection
    assert label_set.segmentation_classes == segmentation
    assert read_origin(out) == layout


def test_nothing_is_rendered_among_shards(shards):
    before = sorted(path.name for path in shards.iterdir())
    render_pool(shards, num_pairs=64, seed=0, scale=0.1, num_workers=1)
    assert sorted(path.name for path in shards.iterdir()) == before


def test_a_pool_is_needed_where_pairs_are_picked(shards):
    with pytest.raises(DatasetError, match=r'holds tar shards, which .*; convert .* with --pool'):
        SamplePool(shards)


@pytest.mark.parametrize('key', ['size_hw', 'labels'])
def test_an_index_of_before_says_what_to_do(shards, key):
    index = json.loads((shards / 'shards.json').read_text())
    del index[key]
    (shards / 'shards.json').write_text(json.dumps(index))
    with pytest.raises(
        DatasetError, match=r'has no labels or no size_hw, .*write the shards agai'
    ):
        ShardStream(shards, seed=7)


@pytest.mark.parametrize('change', [{'size_hw': [0, 5]}, {'size_hw': [5]}, {'labels': ['depth']}])
def test_a_malformed_index_is_said(shards, change):
    index = json.loads((shards / 'shards.json').read_text())
    (shards / 'shards.json').write_text(json.dumps({**index, **change}))
    with pytest.raises(DatasetError, match=r"shards.json' is malformed"):
        read_label_set(shards)


def test_lost_and_changed_shards_are_said(shards):
    stream = ShardStream(shards, seed=7)
    stream.draw(np.random.default_rng(0))
    state = stream.state()
    path = shards / 'shard-000002.tar'
    data = path.read_bytes()
    path.write_bytes(data[:600])
    with pytest.raises(DatasetError, match=r"shard 'shard-000002.tar' has no pair \d any more"):
        ShardStream(shards, seed=7, state=state)
    path.unlink()
    with pytest.raises(DatasetError, match=r"lacks 1 shards, the first 'shard-000002.tar'"):
        ShardStream(shards, seed=7, state=state)


def test_more_processes_than_shards_are_refused(shards):
    with pytest.raises(DatasetError, match='holds 5 shards for 6 processes'):
        open_sampler(shards, (0, 0), None, num_processes=6)


def test_an_interrupted_run_goes_on_to_the_same_weights(shards, tmp_path):
    damage(shards, 'shard-000001.tar', 4)
    whole, cut = tmp_path / 'whole', tmp_path / 'cut'
    train(CONFIG, pool_dir=shards, place=RunPlace(folder=whole))

    def stop(report):
        if report.step == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(CONFIG, pool_dir=shards, place=RunPlace(folder=cut, on_step=stop))
    assert (cut / 'checkpoint_000000002').is_dir()
    run = train(CONFIG, pool_dir=shards, place=RunPlace(folder=cut, resume=True))
    assert run.steps == 4
    weights = [(folder / 'weights.safetensors').read_bytes() for folder in (whole, cut)]
    assert weights[0] == weights[1]
    for folder in (whole, cut):
        about = json.loads((folder / 'run.json').read_text())
        assert (about['pool_pairs_read'], about['pool_skipped']) == (PAIRS, 1)
        assert about['pool_origin'] == 'painted'
        named = json.loads((folder / 'skipped.jsonl').read_text())
        assert named['name'] == 'shard-000001.tar:000000004'
