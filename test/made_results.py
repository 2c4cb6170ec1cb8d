# SPDX-License-Identifier: Apache-2.0
"""Results made by hand, with every number different, for tests of what is said about them."""

from __future__ import annotations

import numpy as np

from rgbt_perception.types import (
    Detections,
    Dominance,
    DominanceState,
    Frame,
    Misregistration,
    Modality,
    Mode,
    Pair,
    Result,
    StageTimes,
    Temperatures,
)

RGB_STAMP_NS = 1_700_000_001_000_000_005
THERMAL_STAMP_NS = RGB_STAMP_NS + 7_250_000


def rgb_frame(stamp_ns: int = RGB_STAMP_NS, *, size_hw: tuple[int, int] = (4, 6)) -> Frame:
    pixels = np.arange(np.prod(size_hw) * 3, dtype=np.uint8).reshape(*size_hw, 3)
    return Frame(
        pixels=pixels, stamp_ns=stamp_ns, frame_id='rgb_optical_frame', modality=Modality.RGB
    )


def thermal_frame(stamp_ns: int = THERMAL_STAMP_NS, *, size_hw: tuple[int, int] = (3, 5)) -> Frame:
    pixels = np.arange(np.prod(size_hw), dtype=np.uint16).reshape(size_hw) + 29315
    return Frame(
        pixels=pixels,
        stamp_ns=stamp_ns,
        frame_id='thermal_optical_frame',
        modality=Modality.THERMAL,
    )


def build_result(
    pair: Pair | None = None,
    *,
    mode: Mode = Mode.FUSED,
    mode_reason: str = '',
    mdi: float = 0.25,
    share_map: np.ndarray | None = None,
) -> Result:
    pair = pair or Pair(rgb=rgb_frame(), thermal=thermal_frame())
    label_map = np.full(pair.reference.size_hw, 255, np.uint8)
    label_map[0, 1] = 5
    return Result(
        pair=pair,
        mode=mode,
        mode_reason=mode_reason,
        detections=Detections(
            boxes_xyxy=np.array([[1, 0, 4, 2], [0.5, 1, 1.5, 4]], np.float32),
            scores=np.array([0.75, 0.5], np.float32),
            class_ids=np.array([0, 2], np.int64),
        ),
        label_map=label_map,
        dominance=Dominance(
            mdi=mdi,
            rgb_share=(1 + mdi) / 2,
            thermal_share=(1 - mdi) / 2,
            rgb_entropy=0.5,
            thermal_entropy=0.75,
            method='linear_share',
            valid=True,
            state=DominanceState.RGB,
        ),
        temperatures=Temperatures(
            min_c=np.array([20.5, np.nan], np.float32),
            mean_c=np.array([30.25, np.nan], np.float32),
            max_c=np.array([36.5, np.nan], np.float32),
        ),
        misregistration=Misregistration(shift_x_px=3.0, shift_y_px=-4.0, confidence=0.5),
        share_map=np.full((2, 3), 0.5, np.float32) if share_map is None else share_map,
        times=StageTimes(preprocess_ms=1.5, infer_ms=20.25, postprocess_ms=3.0),
    )
