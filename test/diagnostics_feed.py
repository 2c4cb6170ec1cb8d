# SPDX-License-Identifier: Apache-2.0
"""A pipeline made by hand, and reports on it, for tests of the diagnostics."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace

from made_results import rgb_frame, RGB_STAMP_NS, thermal_frame

from rgbt_perception.engine.base import EngineState
from rgbt_perception.ros.diagnostics import NodeFacts
from rgbt_perception.types import Modality

SECOND = 1_000_000_000
TOPICS = {Modality.RGB: '/rgb/image_raw', Modality.THERMAL: '/thermal/image_raw'}
PIPELINE = SimpleNamespace(
    card=SimpleNamespace(
        detection_classes=('person', 'car', 'bicycle'),
        name='tiny',
        version='1',
        architecture='rgbt_tiny',
        licence='Apache-2.0',
        training_data='a synthetic world',
        synthetic_only=True,
    ),
    engine=SimpleNamespace(backend='onnx', device='cpu', precision='fp32', state=EngineState()),
    input_hw=(384, 512),
    scaler=SimpleNamespace(problem=''),
    radiometry=SimpleNamespace(describe=lambda pixels: f'counts of {pixels.dtype}'),
    health=SimpleNamespace(problems={}),
    registration=SimpleNamespace(problem=''),
)
# Node clock minus monotonic clock, so that the stamps of the results made by hand are fresh.
CLOCK_NS = RGB_STAMP_NS


def statuses(diagnostics, now_ns, *, publishers=(1, 1), pipeline=PIPELINE, **facts):
    known = {
        'received': Counter({Modality.RGB: 11, Modality.THERMAL: 12}),
        'dropped': Counter(),
        'waiting': 0,
        'num_publishers': dict(zip(Modality, publishers, strict=True)),
        'clock_ns': CLOCK_NS,
    }
    items = diagnostics.statuses(now_ns, NodeFacts(**{**known, **facts}), pipeline)
    return {item.name.removeprefix('perception: '): item for item in items}


def note_frames(diagnostics, now_ns):
    """Both cameras deliver now, with fresh stamps."""
    diagnostics.note_frame(rgb_frame(CLOCK_NS + now_ns), now_ns)
    diagnostics.note_frame(thermal_frame(CLOCK_NS + now_ns), now_ns)


def changed(**parts):
    """The pipeline with some parts replaced."""
    return SimpleNamespace(**{**vars(PIPELINE), **parts})
