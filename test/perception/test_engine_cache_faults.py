# SPDX-License-Identifier: Apache-2.0
"""Whatever is wrong with the cache, a good engine is returned and one sentence says why."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
import json
import logging
import os
from pathlib import Path
import pwd
import resource
import shutil
import stat
import tempfile

from engine_cache_peer import content_of, make_key
import numpy as np
import pytest

from rgbt_perception.engine.cache import EngineCache
from rgbt_perception.engine.cache_folder import find_cache_folder
from rgbt_perception.errors import EngineError

KEY = make_key()
NOBODY = 65534


def build(path: Path) -> None:
    path.write_bytes(content_of(KEY))


@pytest.fixture
def folder(tmp_path):
    return tmp_path / 'engines'


@pytest.fixture(autouse=True)
def _forget_engines_outside(monkeypatch):
    monkeypatch.setattr('rgbt_perception.engine.cache._OUTSIDE', {})


@pytest.fixture
def warnings(caplog):
    """Give the sentences of level WARNING and above."""
    caplog.set_level(logging.INFO)
    return lambda: [item.getMessage() for item in caplog.records if item.levelno > logging.INFO]


def flip_byte(path: Path, position: int) -> None:
    content = bytearray(path.read_bytes())
    content[position] ^= 0x20
    path.write_bytes(content)


def change_record(path: Path, **changes: object) -> None:
    record = path.with_suffix('.json')
    values = json.loads(record.read_text())
    values['key'].update(changes)
    record.write_text(json.dumps(values))


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    'missing': (lambda path: path.unlink(), 'is missing'),
    'empty': (lambda path: path.write_bytes(b''), f'has 0 of {len(content_of(KEY))} bytes'),
    'truncated': (lambda path: os.truncate(path, 9), f'has 9 of {len(content_of(KEY))} bytes'),
    'altered': (lambda path: flip_byte(path, 7), 'was altered'),
    'no record': (lambda path: path.with_suffix('.json').unlink(), 'has no readable record'),
    'empty record': (lambda path: path.with_suffix('.json').write_text(''), 'no readable record'),
    'binary record': (
        lambda path: path.with_suffix('.json').write_bytes(bytes(range(256))),
        'no readable record',
    ),
    'foreign GPU': (lambda path: change_record(path, device='H100'), 'is recorded as another one'),
    'foreign version': (
        lambda path: change_record(path, backend_version='11.4.0'),
        'is recorded as another one',
    ),
}


@pytest.mark.parametrize('name', DAMAGES)
def test_a_damaged_engine_is_listed_built_again_and_named_once(folder, warnings, name):
    damage, sentence = DAMAGES[name]
    cache = EngineCache(folder)
    path = cache.fetch(KEY, build)
    damage(path)
    assert cache.find(KEY) is None
    problem = cache.verify()[0].problem
    assert problem
    assert problem in sentence or sentence in problem or name.startswith('foreign')
    assert cache.fetch(KEY, build).read_bytes() == content_of(KEY)
    assert len(warnings()) == 1
    assert sentence in warnings()[0]
    assert "model 'made 7'" in warnings()[0]
    assert cache.fetch(KEY, pytest.fail) == path
    assert not cache.verify()[0].problem


def test_200_random_damages_never_give_another_engine(folder):
    rng = np.random.default_rng(6)
    cache = EngineCache(folder)
    path = cache.fetch(KEY, build)
    num_found_damaged = 0
    for _ in range(200):
        victim = path if rng.random() < 0.5 else path.with_suffix('.json')
        content = bytearray(victim.read_bytes())
        position = rng.integers(len(content))
        if rng.random() < 0.3:
            content = content[:position]
        else:
            content[position] ^= 1 << rng.integers(8)
        victim.write_bytes(content)
        num_found_damaged += bool(cache.verify()[0].problem)
        assert cache.fetch(KEY, build).read_bytes() == content_of(KEY)
    assert num_found_damaged > 150  # a flip in the build time of a record damages nothing


def occupy_by_file(folder: Path) -> None:
    folder.write_text('mine')


def put_below_a_file(folder: Path) -> None:
    folder.parent.rmdir()
    folder.parent.write_text('mine')


def open_to_group(folder: Path) -> None:
    folder.mkdir()
    folder.chmod(0o770)


def open_to_all(folder: Path) -> None:
    folder.mkdir()
    folder.chmod(0o707)


@pytest.mark.parametrize(
    ('prepare', 'reason'),
    [
        (occupy_by_file, 'it is no folder'),
        (put_below_a_file, 'Not a directory'),
        (open_to_group, 'others may write to it'),
        (open_to_all, 'others may write to it'),
    ],
)
def test_an_unusable_folder_is_bypassed_and_named_once(tmp_path, warnings, prepare, reason):
    folder = tmp_path / 'parent' / 'engines'
    folder.parent.mkdir()
    prepare(folder)
    cache = EngineCache(folder)
    path = cache.fetch(KEY, build)
    assert path.read_bytes() == content_of(KEY)
    assert not path.is_relative_to(tmp_path)
    assert len(warnings()) == 1
    assert reason in warnings()[0]
    assert f"engine cache '{folder}' cannot be used" in warnings()[0]
    assert not folder.is_dir() or not list(folder.iterdir())


def test_engines_of_a_folder_that_others_could_write_to_are_not_taken(folder):
    cache = EngineCache(folder)
    kept = cache.fetch(KEY, build)
    folder.chmod(0o777)
    assert cache.find(KEY) is None
    assert cache.fetch(KEY, build) != kept
    with pytest.raises(EngineError, match='others may write to it; give it mode 700'):
        cache.entries()


def link_to_copy(path: Path) -> None:
    copy = path.with_name('copy')
    path.rename(copy)
    path.symlink_to(copy)


def replace_by_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def give_to_nobody(path: Path) -> None:
    if os.geteuid():
        pytest.skip('needs the rights of the superuser')
    os.chown(path, NOBODY, NOBODY)


@pytest.mark.parametrize(
    ('plant', 'engine_sentence'),
    [
        (link_to_copy, 'is no regular file'),
        (replace_by_pipe, 'is no regular file'),
        (give_to_nobody, f'belongs to user {NOBODY}, not {os.geteuid()}'),
        (lambda path: path.chmod(0o620), 'may be written to by others'),
        (lambda path: path.chmod(0o602), 'may be written to by others'),
    ],
)
@pytest.mark.parametrize('suffix', ['.plan', '.json'])
def test_what_somebody_else_may_have_put_there_is_not_taken(
    folder, warnings, plant, engine_sentence, suffix
):
    # As if the folder had been open to others before it was given mode 700.
    cache = EngineCache(folder)
    path = cache.fetch(KEY, build)
    plant(path.with_suffix(suffix))
    sentence = engine_sentence if suffix == '.plan' else 'has no readable record'
    assert cache.find(KEY) is None
    assert cache.verify()[0].problem == sentence
    assert cache.fetch(KEY, build).read_bytes() == content_of(KEY)
    assert len(warnings()) == 1
    assert sentence in warnings()[0]
    assert cache.fetch(KEY, pytest.fail) == path


def test_what_is_built_is_private_whatever_the_umask_and_whatever_lies_there(folder, tmp_path):
    (tmp_path / 'mine').write_text('mine')
    folder.mkdir(mode=0o700)
    (folder / f'building-{KEY.digest}.json').symlink_to(tmp_path / 'mine')
    umask = os.umask(0)
    try:
        path = EngineCache(folder).fetch(KEY, build)
    finally:
        os.umask(umask)
    modes = [stat.S_IMODE(item.stat().st_mode) for item in (path, path.with_suffix('.json'))]
    assert modes == [0o600, 0o600]
    assert (tmp_path / 'mine').read_text() == 'mine'


def test_a_folder_of_another_user_is_bypassed(folder, warnings, monkeypatch):
    kept = EngineCache(folder).fetch(KEY, build)
    monkeypatch.setattr(os, 'geteuid', lambda: NOBODY - 1)
    assert EngineCache(folder).fetch(KEY, build) != kept
    assert len(warnings()) == 1
    assert f'it belongs to user {os.getuid()}, not {NOBODY - 1}' in warnings()[0]


def test_without_a_home_every_engine_is_built_for_its_process(warnings, monkeypatch):
    monkeypatch.delenv('HOME')
    monkeypatch.delenv('XDG_CACHE_HOME', raising=False)
    monkeypatch.setattr(pwd, 'getpwuid', lambda uid: {}[uid])  # as for the user of a container
    cache = EngineCache(find_cache_folder())
    assert cache.fetch(KEY, build).read_bytes() == content_of(KEY)
    assert len(warnings()) == 1
    assert 'engine cache in the home folder cannot be used (the user has none' in warnings()[0]
    with pytest.raises(EngineError, match=r'the user has none; set engine\.cache_dir'):
        cache.entries()


@contextmanager
def read_only_folder() -> Iterator[Path]:
    """Give a folder with an engine that its user may read and not write to.

    The superuser may write everywhere, so for the time being it becomes nobody.
    """
    folder = Path(tempfile.mkdtemp())
    is_root = os.geteuid() == 0
    if is_root:
        os.chown(folder, NOBODY, NOBODY)
        os.seteuid(NOBODY)
    try:
        EngineCache(folder).fetch(KEY, build)
        folder.chmod(0o500)
        yield folder
    finally:
        folder.chmod(0o700)
        if is_root:
            os.seteuid(0)
        shutil.rmtree(folder)


def test_a_read_only_folder_is_read_and_else_bypassed(warnings):
    with read_only_folder() as folder:
        cache = EngineCache(folder)
        assert cache.fetch(KEY, pytest.fail).parent == folder
        cache.discard(KEY)
        assert cache.fetch(KEY, pytest.fail).parent == folder
        assert not warnings()
        other = make_key('other 1')
        path = cache.fetch(other, build)
        assert path.read_bytes() == content_of(KEY)
        assert path.parent != folder
        with pytest.raises(EngineError, match=f"'{folder}' cannot be written to; set engine"):
            cache.check_writable()
        with pytest.raises(EngineError, match=f"'{folder}' cannot be written to; set engine"):
            EngineCache(folder / 'new' / 'engines').check_writable()
    assert len(warnings()) == 1
    assert f"engine cache '{folder}' cannot be used (Permission denied)" in warnings()[0]


def test_a_disk_that_fills_up_while_building_is_bypassed(folder, warnings):
    paths = []

    def build_where_there_is_room(path: Path) -> None:
        paths.append(path)
        path.write_bytes(content_of(KEY))
        if path.parent == folder:
            Path('/dev/full').write_bytes(b'x')  # the kernel's own 'no space left on device'

    path = EngineCache(folder).fetch(KEY, build_where_there_is_room)
    assert path.read_bytes() == content_of(KEY)
    assert [item.parent == folder for item in paths] == [True, False]
    assert len(warnings()) == 1
    assert 'No space left on device' in warnings()[0]
    assert not list(folder.iterdir())


@contextmanager
def largest_file(size_bytes: int) -> Iterator[None]:
    """Let no file of this process grow beyond a size, as a full disk would."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_no_room_anywhere_is_an_error_that_says_what_to_do(folder):
    with largest_file(1 << 20), pytest.raises(EngineError) as error:
        EngineCache(folder).fetch(KEY, lambda path: path.write_bytes(bytes(2 << 20)))
    assert 'cannot be written' in str(error.value)
    assert 'File too large' in str(error.value)
    assert 'expected room in engine.cache_dir or the temporary folder' in str(error.value)
    assert not list(folder.iterdir())


def test_what_cannot_be_kept_is_not_built_a_second_time(folder, warnings):
    with largest_file(1 << 20):
        kept = EngineCache(folder).keep(KEY, lambda path: path.write_bytes(bytes(2 << 20)))
    assert kept is None
    assert len(warnings()) == 1
    assert 'File too large' in warnings()[0]
