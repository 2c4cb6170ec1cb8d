# SPDX-License-Identifier: Apache-2.0
"""A process of its own that uses the engine cache, and may be killed; run by the tests.

python engine_cache_peer.py FOLDER MODEL...

Fetches the engine of each model. It says 'building' when one is built, and writes it only when it
is sent a line; it says 'built PATH' or 'found PATH', and goes on when it is sent another.
"""

from __future__ import annotations

import os
from pathlib import Path
import subprocess
import sys

from rgbt_perception.engine.cache import EngineCache
from rgbt_perception.engine.cache_key import CacheKey

ROOT = Path(__file__).resolve().parents[1]


def make_key(model: str = 'made 7', **changes: str) -> CacheKey:
    """Return a key for tests; every value is another one."""
    values = {
        'model': model,
        'graph_sha256': 'a' * 64,
        'weights_sha256': 'b' * 64,
        'backend': 'tensorrt',
        'backend_version': '10.3.0',
        'device': 'Orin (8.7), driver 540.4',
        'precision': 'fp16',
        'shapes': '1x96x160',
        'options': 'workspace 1024 MiB',
    }
    return CacheKey(**{**values, **changes})


def content_of(key: CacheKey) -> bytes:
    """Return what the tests build for a key."""
    return f'the engine of {key.model}, {key.digest}'.encode() * 20


def start_peer(folder: Path, *models: str) -> subprocess.Popen[str]:
    """Start this file as a process."""
    return subprocess.Popen(
        [sys.executable, __file__, str(folder), *models],
        env={**os.environ, 'PYTHONPATH': str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def fill(folder: Path, *models: str) -> None:
    """Let a process build the engines of some models and end; nobody uses them then."""
    with start_peer(folder, *models) as process:
        process.communicate('\n' * 2 * len(models))
    assert process.returncode == 0


def date_back(folder: Path, model: str, *, days: float) -> None:
    """Let the last use of an engine be some days ago."""
    record = folder / f'{make_key(model).digest}.json'
    stamp_s = record.stat().st_mtime - days * 86_400
    os.utime(record, (stamp_s, stamp_s))


def _say(text: str) -> None:
    sys.stdout.write(f'{text}\n')
    sys.stdout.flush()
    sys.stdin.readline()


def main() -> None:
    """Fetch and report."""
    cache = EngineCache(Path(sys.argv[1]))
    for model in sys.argv[2:]:
        key = make_key(model)
        was_built = False

        def build(path: Path, key: CacheKey = key) -> None:
            nonlocal was_built
            was_built = True
            with path.open('wb') as file:
                file.write(content_of(key)[:100])
                file.flush()
                _say('building')
                file.write(content_of(key)[100:])

        path = cache.fetch(key, build)
        _say(f'{"built" if was_built else "found"} {path}')


if __name__ == '__main__':
    main()
