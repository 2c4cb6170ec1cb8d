# SPDX-License-Identifier: Apache-2.0
"""Model files that are not what the card says, and engines that fail while running."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
import json
import re
import struct
from typing import Any, TYPE_CHECKING

from fakes import (
    build_card,
    build_onnx_card,
    build_outputs,
    FailingEngine,
    FakeEngine,
    HangingEngine,
)
import numpy as np

from faults.table import live, sentence
from rgbt_models.card import CARD_FILE, hash_file, load_card
from rgbt_models.errors import RGBTError
from rgbt_perception.config import EngineConfig, PerceptionConfig
from rgbt_perception.engine import open_engine
from rgbt_perception.engine.base import collect_outputs
from rgbt_perception.pipeline import Pipeline

if TYPE_CHECKING:
    from pathlib import Path

    from faults.rig import FaultRig

FILES, COMPUTE, CHECKPOINT = 'Model files', 'Compute', 'Checkpoint'


def _refusal(action: Callable[[], Any]) -> str:
    try:
        action()
    except RGBTError as error:
        return str(error)
    return 'accepted'


def _open_graph(folder: Path, change: Callable[[Path], None], *, is_hash_kept: bool) -> str:
    """Open a card whose graph file was changed; with its hash kept only the runtime can tell."""
    card = build_onnx_card(folder)
    change(card.graph_path)
    if is_hash_kept:
        card = build_card(folder, graph_sha256=hash_file(card.graph_path))
    said = _refusal(lambda: open_engine(card, EngineConfig(backend='onnx', num_threads=1)))
    return re.sub(r"' \(.*\)", "' (...)", said, flags=re.DOTALL)  # the runtime's own words


@sentence(FILES, 'the graph is missing', text='is missing; expected it beside its card')
def graph_missing(folder: Path) -> str:
    return _open_graph(folder, lambda path: path.unlink(), is_hash_kept=False)


@sentence(FILES, 'the graph was changed after the card was written', text='has SHA-256')
def graph_changed(folder: Path) -> str:
    return _open_graph(
        folder, lambda path: path.write_bytes(path.read_bytes() + b'\0'), is_hash_kept=False
    )


@sentence(FILES, 'the graph is empty', text='ONNX Runtime cannot open')
def graph_empty(folder: Path) -> str:
    return _open_graph(folder, lambda path: path.write_bytes(b''), is_hash_kept=True)


@sentence(FILES, 'the graph is one byte', text='ONNX Runtime cannot open')
def graph_of_one_byte(folder: Path) -> str:
    return _open_graph(folder, lambda path: path.write_bytes(b'\x08'), is_hash_kept=True)


@sentence(FILES, 'the graph is truncated', text='ONNX Runtime cannot open|has inputs')
def graph_truncated(folder: Path) -> str:
    def cut(path: Path) -> None:
        path.write_bytes(path.read_bytes()[:700])

    return _open_graph(folder, cut, is_hash_kept=True)


@sentence(FILES, 'the device is not there', text="engine.device is 'gpu'")
def unknown_device(folder: Path) -> str:
    card = build_onnx_card(folder)
    return _refusal(lambda: open_engine(card, EngineConfig(device='gpu')))


@sentence(FILES, 'the card is not JSON', text='malformed|is not valid JSON')
def card_not_json(folder: Path) -> str:
    build_card(folder)
    (folder / CARD_FILE).write_text('{', encoding='utf-8')
    return _refusal(lambda: load_card(str(folder)))


@sentence(FILES, 'there is no card', text='no model card at')
def no_card(folder: Path) -> str:
    return _refusal(lambda: load_card(str(folder / 'nowhere')))


@sentence(FILES, 'the class list of the card repeats a name', text='each once')
def classes_repeat(folder: Path) -> str:
    build_card(folder)
    values = json.loads((folder / CARD_FILE).read_text(encoding='utf-8'))
    values['detection_classes'] = ['person', 'person', 'car']
    (folder / CARD_FILE).write_text(json.dumps(values), encoding='utf-8')
    return _refusal(lambda: load_card(str(folder)))


@sentence(
    CHECKPOINT,
    'a card with another class list than its network',
    text="classes, card 'fake' names",
)
def other_class_list(folder: Path) -> str:
    card = replace(build_card(folder), detection_classes=('person', 'dog'))
    pipeline = Pipeline(card=card, engine=FakeEngine(), config=PerceptionConfig())
    return _refusal(pipeline.warm_up)


def _load(folder: Path, content: bytes | dict[str, Any]) -> str:
    """Load weights into a small module, from bytes or from named tensors."""
    from safetensors.torch import save_file
    from torch import nn

    from rgbt_models.weights import load_weights

    path = folder / 'model.safetensors'
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        save_file(content, path)
    return _refusal(lambda: load_weights(nn.Linear(3, 2), path))


@sentence(CHECKPOINT, 'a pickle in place of the weights', text='expected a safetensors file')
def pickle_payload(folder: Path) -> str:
    # Unpickling this calls os.mkdir(marker).
    marker = folder / 'marker'
    said = _load(folder, f'cos\nmkdir\n(V{marker}\ntR.'.encode())
    assert not marker.exists(), 'the payload was executed'
    return said


@sentence(CHECKPOINT, 'weights of no bytes', text='cannot read weights')
def no_bytes(folder: Path) -> str:
    return _load(folder, b'')


@sentence(CHECKPOINT, 'a header of 100 GB', text='cannot read weights')
def huge_header(folder: Path) -> str:
    return _load(folder, struct.pack('<Q', 100 * 10**9) + b'{}')


@sentence(CHECKPOINT, 'weights with other names', text='missing: bias, weight; unexpected: other')
def wrong_names(folder: Path) -> str:
    from torch import zeros

    return _load(folder, {'other': zeros(2)})


@sentence(CHECKPOINT, 'weights of another shape', text=r'mismatched: weight \(5, 3\) for \(2, 3\)')
def wrong_shape(folder: Path) -> str:
    from torch import zeros

    return _load(folder, {'weight': zeros(5, 3), 'bias': zeros(2)})


@sentence(COMPUTE, 'the network gives NaN', text="output 'class_logits' .* non-finite")
def nan_logits(_: Path) -> str:
    raw = build_outputs((64, 80))
    raw.class_logits[0, 0, 0] = np.nan
    names = ('class_logits', 'boxes_xyxy', 'segmentation_logits', 'share_map', 'rgb_shares')
    outputs = {name: getattr(raw, name) for name in (*names, 'entropies')}
    return _refusal(lambda: collect_outputs(outputs))


@live(
    COMPUTE,
    'one inference fails',
    mode='fused',
    status='inference',
    level='ERROR',
    text='1 pairs failed: the accelerator said no',
)
def one_failure(rig: FaultRig) -> None:
    rig.put_engine(FailingEngine(num_bad=1))
    rig.spin_until(lambda: False, 0.15)
    rig.step(has_answer=False)
    rig.steps(2)


@live(
    COMPUTE,
    'one inference runs out of memory',
    mode='fused',
    status='inference',
    level='ERROR',
    text='1 pairs failed: .*memory',
)
def out_of_memory_once(rig: FaultRig) -> None:
    rig.put_engine(FailingEngine(num_bad=1, error=MemoryError('std::bad_alloc')))
    rig.spin_until(lambda: False, 0.15)
    rig.step(has_answer=False)
    rig.steps(2)


@live(
    COMPUTE,
    'every inference of the first backend fails',
    mode='fused',
    status='engine',
    level='WARN',
    text='running on second because first failed: .*the accelerator said no',
    engine__max_failures=2,
)
def backend_keeps_failing(rig: FaultRig) -> None:
    rig.put_engine(FailingEngine(), FailingEngine())
    for _ in range(30):
        rig.step()
        if rig.engine.backend == 'second':
            break
    rig.steps(3)


@live(
    COMPUTE,
    'an inference hangs',
    mode='fused',
    status='inference',
    level='ERROR',
    text='1 pairs failed: .*timeout_s',
    engine__timeout_s=0.3,
)
def engine_hangs(rig: FaultRig) -> None:
    hanging, running = HangingEngine(), rig.engine
    rig.put_engine(hanging)
    rig.step(has_answer=False)
    rig.spin_until(lambda: rig.engine is not running, 5.0)  # another one was opened
    rig.spin_until(lambda: False, 0.2)
    rig.steps(2)
    hanging.release()


@live(
    COMPUTE,
    'every backend fails',
    status='engine',
    level='ERROR',
    text='no engine is left: .*the accelerator said no',
    recovers=False,
    engine__max_failures=1,
)
def every_backend_fails(rig: FaultRig) -> None:
    rig.put_engine(FailingEngine(), FailingEngine(), FailingEngine())
    for _ in range(12):
        rig.step(has_answer=False)
