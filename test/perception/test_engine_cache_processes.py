# SPDX-License-Identifier: Apache-2.0
"""Several processes use one engine cache at once, and some of them are killed."""

from __future__ import annotations

from collections.abc import Iterator
import errno
from pathlib import Path
import threading

from engine_cache_peer import content_of, date_back, fill, make_key, start_peer
import pytest

from rgbt_perception.engine import file_lock
from rgbt_perception.engine.cache import EngineCache
from rgbt_perception.engine.cache_entry import remove_entry
from rgbt_perception.engine.file_lock import mark_in_use

KEY = make_key()
DEADLINE_S = 20.0


class Peer:
    """A process that runs ``engine_cache_peer``."""

    def __init__(self, folder: Path, *models: str) -> None:
        self._process = start_peer(folder, *models)

    def hear(self) -> str:
        """Return the next line it says."""
        return self._process.stdout.readline().strip()

    def hear_warning(self) -> str:
        """Return the next line it logs."""
        return self._process.stderr.readline().strip()

    def go_on(self) -> None:
        self._process.stdin.write('\n')
        self._process.stdin.flush()

    def kill(self) -> None:
        self._process.kill()
        self._process.wait(DEADLINE_S)

    def close(self) -> None:
        self.kill()
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            pipe.close()


@pytest.fixture
def folder(tmp_path):
    return tmp_path / 'engines'


@pytest.fixture
def start(folder) -> Iterator:
    """Give a function that starts a peer for some models."""
    peers = []

    def start_peer(*models: str) -> Peer:
        peers.append(Peer(folder, *models))
        return peers[-1]

    yield start_peer
    for peer in peers:
        peer.close()


def built_by(start, *models: str) -> Peer:
    """Return a peer that has built engines and still uses them."""
    peer = start(*models)
    for model in models:
        assert peer.hear() == 'building'
        peer.go_on()
        assert peer.hear().startswith('built ')
        if model != models[-1]:
            peer.go_on()
    return peer


def test_of_two_processes_one_builds_and_the_other_waits_and_reads(folder, start):
    path = folder / KEY.file_name
    builder = start('made 7')
    assert builder.hear() == 'building'
    reader = start('made 7')
    assert reader.hear_warning() == (
        "waiting for another process that builds the tensorrt engine of model 'made 7'"
    )
    builder.go_on()
    assert builder.hear() == f'built {path}'
    assert reader.hear() == f'found {path}'
    assert path.read_bytes() == content_of(KEY)


def test_engines_of_different_keys_are_built_at_once(start):
    peers = [start('first 1'), start('second 1')]
    assert [peer.hear() for peer in peers] == ['building', 'building']


def test_when_the_builder_is_killed_the_one_that_waits_builds(folder, start):
    builder = start('made 7')
    assert builder.hear() == 'building'
    waiting = start('made 7')
    assert waiting.hear_warning()
    builder.kill()
    assert waiting.hear() == 'building'
    waiting.go_on()
    assert waiting.hear() == f'built {folder / KEY.file_name}'
    assert {item.name for item in folder.iterdir()} == {KEY.file_name, f'{KEY.digest}.json'}


def test_what_a_killed_build_left_is_neither_taken_nor_kept(folder, start):
    builder = start('killed 1')
    assert builder.hear() == 'building'
    builder.kill()
    assert len(list(folder.iterdir())) == 2  # half an engine and a lock
    cache = EngineCache(folder)
    assert cache.find(make_key('killed 1')) is None
    cache.fetch(KEY, lambda path: path.write_bytes(content_of(KEY)))
    assert {item.name for item in folder.iterdir()} == {KEY.file_name, f'{KEY.digest}.json'}


def test_what_another_process_is_building_is_left_alone(folder, start):
    builder = start('other 1')
    assert builder.hear() == 'building'
    cache = EngineCache(folder)
    cache.fetch(KEY, lambda path: path.write_bytes(content_of(KEY)))
    cache.clear()
    builder.go_on()
    assert builder.hear() == f'built {folder / make_key("other 1").file_name}'


def test_drafts_of_timings_go_with_the_next_build(folder):
    folder.mkdir(mode=0o700)
    for name in ('tensorrt-10.3.0.timings', 'tensorrt-10.3.0.timings.77'):
        (folder / name).write_text('of the builder')
    EngineCache(folder).fetch(KEY, lambda path: path.write_bytes(content_of(KEY)))
    assert [path.name for path in folder.glob('tensorrt*')] == ['tensorrt-10.3.0.timings']


def test_clearing_keeps_what_a_process_uses(folder, start):
    peer = built_by(start, 'used 1', 'also 1')
    cache = EngineCache(folder)
    assert [entry.is_in_use for entry in cache.entries()] == [True, True]
    assert cache.clear() == ()
    peer.kill()
    assert [entry.is_in_use for entry in cache.entries()] == [False, False]
    assert len(cache.clear()) == 2
    assert not list(folder.iterdir())


def test_discarding_keeps_what_another_process_runs(folder, start):
    key = make_key('used 1')
    peer = built_by(start, 'used 1')
    cache = EngineCache(folder)
    path = cache.find(key)
    cache.discard(key)
    assert path.exists()
    peer.kill()
    cache.discard(key)
    assert not list(folder.iterdir())


def test_clearing_keeps_what_has_just_been_built(folder, monkeypatch):
    marked = []

    def mark_late(path: Path) -> bool:
        if path.exists():
            assert EngineCache(folder).clear() == ()
            marked.append(path)
        return mark_in_use(path)

    monkeypatch.setattr('rgbt_perception.engine.cache.mark_in_use', mark_late)
    path = EngineCache(folder).fetch(KEY, lambda path: path.write_bytes(content_of(KEY)))
    assert marked == [path]
    assert path.exists()


@pytest.mark.parametrize(
    'step', ['file_lock._open', 'cache_entry.remove_unused'], ids=['engine', 'record']
)
def test_removing_an_engine_spares_the_one_that_replaces_it(folder, monkeypatch, step):
    # Between the look at the engine, or its removal, and the next step another thread builds it.
    fill(folder, 'made 7')
    path = folder / KEY.file_name
    path.write_bytes(b'damaged')
    cache = EngineCache(folder)
    has_come_far = threading.Event()
    monkeypatch.setattr('rgbt_perception.engine.cache._log_wait', lambda _: has_come_far.set())
    original = getattr(file_lock, step.rpartition('.')[2])
    builders: list[threading.Thread] = []

    def build_anew() -> None:
        cache.fetch(KEY, lambda path: path.write_bytes(content_of(KEY)))
        has_come_far.set()

    def replace_meanwhile(argument):
        found = original(argument)
        if not builders:
            builders.append(threading.Thread(target=build_anew))
            builders[0].start()
            assert has_come_far.wait(DEADLINE_S)
        return found

    monkeypatch.setattr(f'rgbt_perception.engine.{step}', replace_meanwhile)
    remove_entry(path)
    builders[0].join(DEADLINE_S)
    assert cache.find(KEY) == path


def test_what_cannot_be_removed_to_make_room_does_not_cost_the_engine(folder, monkeypatch, caplog):
    def fail(*_):
        raise OSError(errno.EIO, 'Input/output error')

    fill(folder, 'old 1')
    monkeypatch.setattr('rgbt_perception.engine.cache.remove_entry', fail)
    cache = EngineCache(folder, max_bytes=10)
    path = cache.fetch(KEY, lambda path: path.write_bytes(content_of(KEY)))
    assert path.parent == folder
    assert len(caplog.messages) == 1
    assert f"engine cache '{folder}' cannot be kept small" in caplog.messages[0]
    assert 'Input/output error' in caplog.messages[0]


def test_only_engines_unused_for_long_are_cleared_when_asked(folder):
    fill(folder, 'old 1', 'young 1')
    date_back(folder, 'old 1', days=40)
    removed = EngineCache(folder).clear(unused_for_s=30 * 86_400)
    assert [entry.record.key.model for entry in removed] == ['old 1']
    assert [path.name for path in folder.glob('*.plan')] == [make_key('young 1').file_name]


def test_engines_dated_into_the_future_are_cleared_too(folder):
    fill(folder, 'future 1')
    date_back(folder, 'future 1', days=-400)
    cache = EngineCache(folder)
    assert cache.clear(unused_for_s=1.0) == ()
    assert len(cache.clear()) == 1


def test_beyond_the_size_limit_the_longest_unused_go_but_not_those_in_use(folder, start):
    fill(folder, 'older 1', 'old 1')
    built_by(start, 'used 1')
    for days, model in ((1, 'old 1'), (2, 'older 1'), (3, 'used 1')):
        date_back(folder, model, days=days)
    size = len(content_of(make_key('used 1')))
    cache = EngineCache(folder, max_bytes=int(3.5 * size))
    cache.fetch(KEY, lambda path: path.write_bytes(content_of(KEY)))
    assert [entry.record.key.model for entry in cache.entries()] == ['made 7', 'old 1', 'used 1']


def test_an_engine_larger_than_the_limit_is_kept_alone(folder):
    fill(folder, 'old 1')
    cache = EngineCache(folder, max_bytes=10)
    cache.fetch(KEY, lambda path: path.write_bytes(content_of(KEY)))
    assert [entry.record.key.model for entry in cache.entries()] == ['made 7']
