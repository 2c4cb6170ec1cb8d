# SPDX-License-Identifier: Apache-2.0
"""What a built engine depends on, and the record that lies beside it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
import hashlib
import json
from typing import Any

RECORD_FORMAT = 1
# torch loads a package only from a file of this name; the others say what they are.
SUFFIXES = {'tensorrt': '.plan', 'openvino': '.blob', 'torch': '.pt2'}
_DIGEST_LETTERS = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheKey:
    """Everything that a built engine depends on: if any of it changes, another one is built.

    Attributes:
        model: Name and version of the card, for people who read the list.
        graph_sha256: Hash of the graph that is built, '' for a backend that reads none.
        weights_sha256: Hash of the card's weights.
        backend: 'tensorrt', 'openvino' or 'torch'.
        backend_version: Version of its package; of a version-compatible plan only the major one.
        device: Name of the processor, with what decides about the code built for it: compute
            capability and driver of a GPU, instruction sets of a CPU.
        precision: 'fp32', 'bf16', 'fp16' or 'int8'.
        shapes: Input sizes it is built for, e.g. '1x256x320'.
        options: What else the builder was told, '' for nothing.
    """

    model: str
    graph_sha256: str
    weights_sha256: str
    backend: str
    backend_version: str
    device: str
    precision: str
    shapes: str
    options: str = ''

    @property
    def digest(self) -> str:
        """Hash of all fields, 32 lower-case hex letters."""
        text = json.dumps(asdict(self), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:_DIGEST_LETTERS]

    @property
    def file_name(self) -> str:
        """Name of the engine's file in the cache folder."""
        return self.digest + SUFFIXES[self.backend]


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineRecord:
    """What is written beside an engine, as ``<digest>.json``.

    Attributes:
        key: What the engine was built from and for.
        sha256: Hash of the engine's file.
        size_bytes: Its size.
        build_s: How long the build took, s.
    """

    key: CacheKey
    sha256: str
    size_bytes: int
    build_s: float

    def to_json(self) -> str:
        """Return the record as JSON text, ending with a newline."""
        return json.dumps({'format': RECORD_FORMAT, **asdict(self)}, indent=2) + '\n'


def parse_record(text: str) -> EngineRecord:
    """Parse the record of an engine.

    Raises:
        ValueError: If it is not one of this format, with all fields and the right types.
    """
    values = json.loads(text)
    if not isinstance(values, dict) or values.pop('format', None) != RECORD_FORMAT:
        raise ValueError(f'not a record of format {RECORD_FORMAT}')
    key = CacheKey(**_check_fields(CacheKey, values.pop('key', None)))
    return EngineRecord(**_check_fields(EngineRecord, {**values, 'key': key}))


def _check_fields(kind: type[CacheKey | EngineRecord], values: Any) -> dict[str, Any]:
    types = {item.name: item.type for item in fields(kind)}
    if not isinstance(values, dict) or set(values) != set(types):
        raise ValueError(f'not the fields of {kind.__name__}')
    wrong = [name for name, value in values.items() if type(value).__name__ != types[name]]
    if wrong:
        raise ValueError(f'{wrong} of {kind.__name__} have the wrong type')
    return values
