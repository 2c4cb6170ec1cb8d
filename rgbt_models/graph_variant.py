# SPDX-License-Identifier: Apache-2.0
"""Further graphs of a model: the same network in another precision, or made for one runtime."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rgbt_models.errors import CardError

PRECISIONS = ('fp32', 'fp16', 'int8')
TARGETS = ('onnx', 'openvino', 'tensorrt')


@dataclass(frozen=True, slots=True, kw_only=True)
class Graph:
    """One ONNX file of a card.

    Attributes:
        path: Where it lies.
        sha256: SHA-256 that the card expects of it.
        precision: 'fp32', 'fp16' or 'int8'.
    """

    path: Path
    sha256: str
    precision: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphVariant:
    """What a card says of one graph beside its ``model.onnx``.

    Attributes:
        file: Name of the ONNX file in the card folder, e.g. 'model.int8.onnx.291e25e3.onnx'.
        sha256: SHA-256 of that file.
        precision: 'fp32', 'fp16' or 'int8'; inputs and outputs are float32 in each.
        target: Runtime it was made for: 'onnx', 'openvino' or 'tensorrt'. The others may refuse
            it, or compute it wrongly.
        opset: Version of the ONNX operator set.
        is_stacked: True when both images go through the encoder as one batch, False when they
            go one after the other.
        keep_tokens: Share of the encoder's tokens that are kept, in (0, 1]; 1 = all.
        input_hw: The only height and width that it takes, px; None = any.
        gate: What was measured before it was accepted, with the conditions.
    """

    file: str
    sha256: str
    precision: str
    target: str
    opset: int
    is_stacked: bool
    keep_tokens: float = 1.0
    input_hw: tuple[int, int] | None = None
    gate: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check that the values can be used; the file itself is checked when it is opened.

        Raises:
            CardError: If the file is not the plain name of an ONNX file, the precision or target
                is unknown, the share of tokens is outside (0, 1], or a side is not above 0.
        """
        if Path(self.file).name != self.file or not self.file.endswith('.onnx'):
            raise CardError(
                f"graph variant has the file '{self.file}'; expected the name of an ONNX file in "
                f'the card folder; export the variant again'
            )
        if self.precision not in PRECISIONS or self.target not in TARGETS:
            raise CardError(
                f"graph variant '{self.file}' has precision '{self.precision}' and target "
                f"'{self.target}'; expected one of {', '.join(PRECISIONS)} and one of "
                f'{", ".join(TARGETS)}; export the variant again'
            )
        if not 0.0 < self.keep_tokens <= 1.0:
            raise CardError(
                f"graph variant '{self.file}' has keep_tokens {self.keep_tokens}; expected a "
                f'share above 0, at most 1; export the variant again'
            )
        if self.input_hw is not None and (len(self.input_hw) != 2 or min(self.input_hw) <= 0):
            raise CardError(
                f"graph variant '{self.file}' has input_hw {self.input_hw}; expected height and "
                f'width above 0; export the variant again'
            )

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> GraphVariant:
        """Build a variant from its JSON values.

        Raises:
            CardError: If a value cannot be used.
            TypeError: If they are no JSON object, or one is missing, unknown or of the wrong type.
        """
        if not isinstance(values, Mapping):
            raise TypeError(f'graph variant {values!r} is not an object')
        size = values.get('input_hw')
        return cls(**{**values, 'input_hw': None if size is None else tuple(size)})

    def to_json(self) -> dict[str, Any]:
        """Return the JSON values; older versions read them where any size is taken."""
        values = asdict(self)
        if self.input_hw is None:
            del values['input_hw']
        return values

    def takes(self, input_hw: tuple[int, int]) -> bool:
        """Return whether the graph accepts images of a height and width, px."""
        return self.input_hw in {None, input_hw}


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantRequest:
    """Which graph is wanted.

    Attributes:
        precision: 'fp32', 'fp16' or 'int8'.
        target: 'onnx', 'openvino' or 'tensorrt'.
        opset: Operator set; None = the best one for the target.
        is_stacked: Both images through the encoder as one batch; None = as the target likes it.
        keep_tokens: Share of the tokens that each merge leaves, 0.5 to 1; see ``token_merging``.
    """

    precision: str
    target: str
    opset: int | None = None
    is_stacked: bool | None = None
    keep_tokens: float = 1.0

    @property
    def is_gated(self) -> bool:
        """Whether it computes something else than the float32 graph, so that it may lose."""
        return self.precision != 'fp32' or self.keep_tokens < 1.0
