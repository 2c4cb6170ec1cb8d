# SPDX-License-Identifier: Apache-2.0
"""Without a usable folder an engine is built once for its process, and does not outlive it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
import errno
import fcntl
import os
from pathlib import Path
import subprocess
import sys
import tempfile
import threading

from engine_cache_peer import content_of, make_key
import pytest
from source_tree import ROOT

from rgbt_perception.engine.cache import EngineCache
from rgbt_perception.engine.cache_folder import make_temporary_folder, remove_temporary_folder
from rgbt_perception.errors import EngineError

KEY = make_key()
# Builds without a folder, says where, and waits to be killed or sent a line.
PEER = """
from pathlib import Path
import sys
from engine_cache_peer import make_key
from rgbt_perception.engine.cache import EngineCache
print(EngineCache(None).fetch(make_key(), lambda path: path.write_bytes(b'x')), flush=True)
sys.stdin.readline()
"""


def build(path: Path) -> None:
    path.write_bytes(content_of(KEY))


@pytest.fixture(autouse=True)
def temporary(monkeypatch, tmp_path):
    """Give an empty folder in place of /tmp, for a process that has built nothing yet."""
    monkeypatch.setattr('rgbt_perception.engine.cache._OUTSIDE', {})
    monkeypatch.setattr(tempfile, 'tempdir', str(tmp_path))
    return tmp_path


def start_peer(temporary: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, '-c', PEER],
        env={**os.environ, 'PYTHONPATH': f'{ROOT}:{ROOT / "test"}', 'TMPDIR': str(temporary)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


def test_an_engine_is_built_once_for_its_process(caplog):
    path = EngineCache(None).fetch(KEY, build)
    assert EngineCache(None).fetch(KEY, pytest.fail) == path
    assert path.read_bytes() == content_of(KEY)
    assert len(caplog.messages) == 1


def test_one_that_is_refused_is_removed_and_built_again(temporary):
    cache = EngineCache(None)
    cache.fetch(KEY, build)
    cache.discard(KEY)
    assert not list(temporary.iterdir())
    assert cache.fetch(KEY, lambda path: path.write_bytes(b'new')).read_bytes() == b'new'


def test_another_engine_does_not_wait_for_one_that_is_being_built():
    is_free = threading.Event()

    def build_slowly(path: Path) -> None:
        assert is_free.wait(10.0)
        build(path)

    with ThreadPoolExecutor(1) as executor:
        slow = executor.submit(EngineCache(None).fetch, KEY, build_slowly)
        quick = EngineCache(None).fetch(make_key('made 8'), build)
        assert not slow.done()
        is_free.set()
        assert slow.result() != quick


def test_one_that_somebody_removed_is_built_again():
    cache = EngineCache(None)
    cache.fetch(KEY, build).unlink()
    assert cache.fetch(KEY, build).read_bytes() == content_of(KEY)


def test_a_temporary_folder_that_knows_no_locks_will_do(monkeypatch):
    def fail(*_):
        raise OSError(errno.ENOLCK, 'No locks available')

    monkeypatch.setattr(fcntl, 'flock', fail)
    assert EngineCache(None).fetch(KEY, build).read_bytes() == content_of(KEY)


def test_a_build_that_fails_leaves_nothing(temporary):
    def fail(path):
        raise EngineError('unknown layer')

    with pytest.raises(EngineError, match='unknown layer'):
        EngineCache(None).fetch(KEY, fail)
    assert not list(temporary.iterdir())


def test_what_a_process_built_for_itself_goes_with_it(temporary):
    with start_peer(temporary) as peer:
        path = Path(peer.stdout.readline().strip())
        assert path.is_file()
        peer.communicate('\n')
    assert not list(temporary.iterdir())


def test_what_a_killed_process_left_is_removed_and_that_of_others_is_not(temporary):
    (temporary / 'rgbt_engine_link').symlink_to(temporary)
    with start_peer(temporary) as killed, start_peer(temporary) as running:
        left, used = (Path(peer.stdout.readline().strip()) for peer in (killed, running))
        killed.kill()
        killed.wait()
        own = make_temporary_folder()
        assert not left.parent.exists()
        assert used.is_file()
        assert own.is_dir()
        remove_temporary_folder(own)
        running.communicate('\n')
    assert [path.name for path in temporary.iterdir()] == ['rgbt_engine_link']
