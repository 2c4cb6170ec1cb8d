# SPDX-License-Identifier: Apache-2.0
"""The process of one measured engine: opens it, runs it once, then answers requests.

    python -m rgbt_perception.benchmark.worker '{"card": "tiny", "backend": "onnx", ...}'

The argument has the fields of ``side.Task`` and ``side.Side``. Requests are lines of JSON on
standard input, answers lines of JSON on standard output; it ends when its input ends.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
import json
import os
import sys
from time import perf_counter, process_time, sleep
from typing import Any

import cv2
import numpy as np

from rgbt_models.card import load_card
from rgbt_perception.config import EngineConfig
from rgbt_perception.engine import Engine, open_engine
from rgbt_perception.errors import ConfigError, RGBTError
from rgbt_perception.geometry import letterbox_transform
from rgbt_perception.memory import keep_freed_memory
from rgbt_perception.types import Batch

SEED = 0


def random_batch(input_hw: tuple[int, int]) -> Batch:
    """Return standardised noise of both cameras; an engine takes as long for it as for images."""
    rng = np.random.default_rng(SEED)
    rgb, thermal = (rng.standard_normal((1, 3, *input_hw), np.float32) for _ in ('rgb', 'thermal'))
    return Batch(
        rgb=rgb,
        thermal=thermal,
        available=np.ones((1, 2), np.float32),
        letterbox=letterbox_transform(input_hw, input_hw),
        source_hw=input_hw,
    )


def open_side(order: dict[str, Any]) -> Engine:
    """Open the engine of an order, for its input size as the node does.

    Args:
        order: The fields of a task and a side.

    Raises:
        ConfigError: If the engine has another backend or precision than was asked for.
        RGBTError: If it cannot be opened.
    """
    engine = open_engine(
        replace(load_card(order['card']), input_hw=tuple(order['input_hw'])),
        EngineConfig(
            backend=order['backend'],
            precision=order['precision'],
            device=order['device'],
            num_threads=order['num_threads'],
            cache_dir=order['cache_dir'],
            background_build=False,
        ),
    )
    if (engine.backend, engine.precision) != (order['backend'], order['precision']):
        given = f'{engine.backend} {engine.precision}'
        engine.close()
        raise ConfigError(
            f"the engine runs as '{given}', expected '{order['backend']} {order['precision']}'; "
            f'this machine or card cannot give it: leave it out'
        )
    return engine


def measure(
    engine: Engine, batch: Batch, num_runs: int, period_s: float = 0.0
) -> dict[str, list[float]]:
    """Run the network, at most once in a period, and return the milliseconds of each run."""
    wall_ms, cpu_ms = [], []
    started = perf_counter()
    for index in range(num_runs):
        sleep(max(0.0, started + index * period_s - perf_counter()))
        began, cpu_began = perf_counter(), process_time()
        engine.run(batch)
        wall_ms.append((perf_counter() - began) * 1e3)
        cpu_ms.append((process_time() - cpu_began) * 1e3)
    return {'wall_ms': wall_ms, 'cpu_ms': cpu_ms}


def serve(order: dict[str, Any], answer: Callable[[dict[str, Any]], None]) -> None:
    """Open the engine, run it once, and answer requests until the input ends.

    Raises:
        RGBTError: If the engine cannot be opened or fails.
    """
    batch = random_batch(tuple(order['input_hw']))
    began = perf_counter()
    engine = open_side(order)
    open_s = perf_counter() - began
    engine.run(batch)
    names = {name: getattr(engine, name) for name in ('backend', 'device', 'precision')}
    answer({'open_s': open_s, **names})
    for line in sys.stdin:
        answer(measure(engine, batch, **json.loads(line)))
    engine.close()


def main() -> int:
    """Serve the order of the command line; return 1 when the engine fails, which is answered."""
    keep_freed_memory()  # as the node's program does, which is compared with this one
    cv2.setNumThreads(1)
    # Runtimes print; only answers may go to the pipe.
    pipe = os.fdopen(os.dup(sys.stdout.fileno()), 'w', encoding='utf-8')
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())

    def answer(values: dict[str, Any]) -> None:
        pipe.write(json.dumps(values) + '\n')
        pipe.flush()

    try:
        serve(json.loads(sys.argv[1]), answer)
    except RGBTError as error:
        answer({'error': str(error)})
        return 1
    return 0


if __name__ == '__main__':
    sys.exit(main())
