# SPDX-License-Identifier: Apache-2.0
"""Results as a subscriber sees them, and their way back to ``Result``."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from rgbt_models.card import ModelCard
from rgbt_perception.temperatures import unknown_temperatures
from rgbt_perception.truth import decode_label_map
from rgbt_perception.types import (
    Detections,
    Dominance,
    DominanceState,
    FloatArray,
    Mode,
    NS_PER_S,
    Pair,
    Result,
    StageTimes,
    UNKNOWN_MISREGISTRATION,
)


@dataclass(slots=True, eq=False, kw_only=True)
class ReceivedResult:
    """The messages of one result, gathered as they come in.

    Attributes:
        stamp_ns: Stamp of the reference frame, nanoseconds.
        received_ns: Monotonic time at which the detections came, 0 = not yet.
        boxes_xyxy: (n, 4) float32, px.
        class_names: One per box.
        scores: (n,) float32.
        label_map_png: Mask as PNG, b'' = not yet.
        values: Key-values of the dominance message, empty = not yet.
    """

    stamp_ns: int
    received_ns: int = 0
    boxes_xyxy: FloatArray = field(default_factory=lambda: np.zeros((0, 4), np.float32))
    class_names: tuple[str, ...] = ()
    scores: FloatArray = field(default_factory=lambda: np.zeros(0, np.float32))
    label_map_png: bytes = b''
    values: dict[str, str] = field(default_factory=dict)

    @property
    def is_complete(self) -> bool:
        """True when detections, mask and dominance are here."""
        return bool(self.received_ns and self.label_map_png and self.values)

    @property
    def mode(self) -> Mode:
        """Which cameras were used."""
        return Mode(self.values['mode'])

    @property
    def is_mdi_valid(self) -> bool:
        """True when the network gave a usable dominance."""
        return self.values['valid'] == 'true'

    @property
    def mdi(self) -> float:
        """Modality dominance index, NaN when not valid."""
        return float(self.values['mdi']) if self.is_mdi_valid else float('nan')

    @property
    def latency_ms(self) -> float:
        """Processing time in the node, milliseconds."""
        return float(self.values['latency_ms'])

    @property
    def frame_stamps(self) -> tuple[int | None, int | None]:
        """Stamps of the RGB and the thermal frame, nanoseconds, None for a missing one."""
        return parse_stamp(self.values['rgb_stamp']), parse_stamp(self.values['thermal_stamp'])

    def to_result(self, pair: Pair, card: ModelCard) -> Result:
        """Rebuild the result.

        Args:
            pair: The frames with the stamps of ``frame_stamps``.
            card: Card of the node's model, for the class ids.
        """
        values = self.values
        names = card.detection_classes
        ids = [names.index(name) if name in names else int(name) for name in self.class_names]
        return Result(
            pair=pair,
            mode=self.mode,
            mode_reason=values['mode_reason'],
            detections=Detections(
                boxes_xyxy=self.boxes_xyxy,
                scores=self.scores,
                class_ids=np.array(ids, np.int64),
            ),
            label_map=decode_label_map(self.label_map_png),
            dominance=Dominance(
                mdi=float(values['mdi']),
                rgb_share=float(values['rgb_share']),
                thermal_share=float(values['thermal_share']),
                rgb_entropy=float(values['rgb_entropy']),
                thermal_entropy=float(values['thermal_entropy']),
                method=values['method'],
                valid=self.is_mdi_valid,
                state=DominanceState(values['state']),
            ),
            temperatures=unknown_temperatures(len(ids)),
            misregistration=UNKNOWN_MISREGISTRATION,
            share_map=np.zeros((1, 1), np.float32),
            times=StageTimes(
                preprocess_ms=float(values['preprocess_ms']),
                infer_ms=float(values['infer_ms']),
                postprocess_ms=float(values['postprocess_ms']),
            ),
        )


def parse_stamp(text: str) -> int | None:
    """Parse seconds with nine decimals into nanoseconds; '' gives None."""
    if not text:
        return None
    seconds, _, nanoseconds = text.partition('.')
    return int(seconds) * NS_PER_S + int(nanoseconds)
