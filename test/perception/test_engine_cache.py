# SPDX-License-Identifier: Apache-2.0
"""Engines are built once, found again, and kept apart by everything they depend on."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, replace
import json
from pathlib import Path
import stat

from engine_cache_peer import content_of, date_back, make_key
import pytest

from rgbt_perception.engine.cache import EngineCache
from rgbt_perception.engine.cache_folder import find_cache_folder
from rgbt_perception.engine.cache_key import CacheKey, parse_record
from rgbt_perception.errors import EngineError

KEY = make_key()


class Builder:
    """Builds the engine of a key, and notes where."""

    def __init__(self, key: CacheKey = KEY) -> None:
        self._key = key
        self.paths: list[Path] = []

    def __call__(self, path: Path) -> None:
        self.paths.append(path)
        path.write_bytes(content_of(self._key))


def never_build(path: Path) -> None:
    raise AssertionError(f'{path} is built, expected it to be found')


@pytest.fixture
def cache(tmp_path):
    return EngineCache(tmp_path / 'new' / 'engines')


def test_engine_is_built_once_and_then_found(cache):
    builder = Builder()
    path = cache.fetch(KEY, builder)
    assert path.read_bytes() == content_of(KEY)
    assert cache.fetch(KEY, never_build) == path
    assert cache.find(KEY) == path
    assert [built.parent for built in builder.paths] == [path.parent]
    assert builder.paths != [path]


@pytest.mark.parametrize(
    ('backend', 'suffix'), [('tensorrt', '.plan'), ('openvino', '.blob'), ('torch', '.pt2')]
)
def test_builder_and_user_get_a_path_with_the_suffix_of_the_backend(cache, backend, suffix):
    key = make_key(backend=backend)
    builder = Builder(key)
    assert cache.fetch(key, builder).suffix == suffix
    assert builder.paths[0].suffix == suffix


def test_a_new_folder_is_readable_by_its_user_only(cache, tmp_path):
    cache.fetch(KEY, Builder())
    assert stat.S_IMODE((tmp_path / 'new' / 'engines').stat().st_mode) == 0o700


def test_nothing_but_engine_and_record_stays_in_the_folder(cache):
    path = cache.fetch(KEY, Builder())
    assert {item.name for item in path.parent.iterdir()} == {
        f'{KEY.digest}.plan',
        f'{KEY.digest}.json',
    }


@pytest.mark.parametrize('name', [item.name for item in fields(CacheKey)])
def test_an_engine_is_not_taken_for_another_gpu_version_graph_size_or_option(cache, name):
    cache.fetch(KEY, Builder())
    other = replace(KEY, **{name: 'openvino' if name == 'backend' else 'other'})
    assert cache.find(other) is None
    assert cache.fetch(other, Builder(other)).read_bytes() == content_of(other)
    assert cache.fetch(KEY, never_build).read_bytes() == content_of(KEY)


def test_of_two_threads_one_builds(cache):
    builder = Builder()
    with ThreadPoolExecutor(8) as threads:
        paths = set(threads.map(lambda _: cache.fetch(KEY, builder), range(8)))
    assert len(paths) == 1
    assert len(builder.paths) == 1


def test_finding_makes_neither_folder_nor_file(cache, tmp_path):
    assert cache.find(KEY) is None
    assert not list(tmp_path.iterdir())


def test_an_error_of_the_builder_is_handed_on_and_leaves_nothing(cache, tmp_path):
    def build(path):
        path.write_bytes(b'half')
        raise EngineError('unknown layer')

    with pytest.raises(EngineError, match='unknown layer'):
        cache.fetch(KEY, build)
    assert not list((tmp_path / 'new' / 'engines').iterdir())
    assert cache.fetch(KEY, Builder()).read_bytes() == content_of(KEY)


@pytest.mark.parametrize('build', [lambda path: None, lambda path: path.touch()])
def test_a_builder_that_writes_nothing_is_an_error(cache, build):
    with pytest.raises(EngineError, match="wrote no engine for model 'made 7', expected a file"):
        cache.fetch(KEY, build)


def test_a_discarded_engine_is_built_again(cache):
    cache.fetch(KEY, Builder())
    cache.discard(KEY)
    assert cache.find(KEY) is None
    builder = Builder()
    cache.fetch(KEY, builder)
    assert len(builder.paths) == 1


def test_the_record_says_what_the_engine_is(cache):
    path = cache.fetch(KEY, Builder())
    record = parse_record(path.with_suffix('.json').read_text())
    assert record.key == KEY
    assert record.size_bytes == len(content_of(KEY))
    assert json.loads(record.to_json())['key']['device'] == 'Orin (8.7), driver 540.4'


def test_entries_are_listed_last_used_first(cache):
    keys = [make_key(model) for model in ('first 1', 'second 1', 'third 1')]
    for days, key in zip((2, 3, 1), keys, strict=True):
        path = cache.fetch(key, Builder(key))
        date_back(path.parent, key.model, days=days)
    names = [entry.record.key.model for entry in cache.entries()]
    assert names == ['third 1', 'first 1', 'second 1']
    cache.find(keys[1])
    assert cache.entries()[0].record.key == keys[1]


@pytest.mark.parametrize(
    ('environment', 'expected'),
    [
        ({'XDG_CACHE_HOME': '/x/cache', 'HOME': '/h'}, '/x/cache/rgbt_perception/engines'),
        ({'XDG_CACHE_HOME': 'relative', 'HOME': '/h'}, '/h/.cache/rgbt_perception/engines'),
        ({'HOME': '/h'}, '/h/.cache/rgbt_perception/engines'),
    ],
)
def test_default_folder_follows_the_xdg_specification(monkeypatch, environment, expected):
    monkeypatch.delenv('XDG_CACHE_HOME', raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert find_cache_folder() == Path(expected)


def test_a_named_folder_may_start_with_the_home(monkeypatch):
    monkeypatch.setenv('HOME', '/h')
    assert find_cache_folder('~/plans') == Path('/h/plans')


@pytest.mark.parametrize('text', ['[]', '{}', '{"format": 2}', '{"format": 1}', '3'])
def test_what_is_no_record_is_refused(text):
    with pytest.raises(ValueError, match='not '):
        parse_record(text)


def test_a_record_of_wrong_types_is_refused(cache):
    path = cache.fetch(KEY, Builder())
    values = json.loads(path.with_suffix('.json').read_text())
    values['size_bytes'] = str(values['size_bytes'])
    with pytest.raises(ValueError, match=r"\['size_bytes'\] of EngineRecord have the wrong type"):
        parse_record(json.dumps(values))
