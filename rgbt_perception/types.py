# SPDX-License-Identifier: Apache-2.0
"""The nouns that pass from stage to stage.

Frame → Pair → Batch → RawOutputs → Result. All are frozen; arrays are never changed after they
were put into one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
import math

import numpy as np
from numpy.typing import NDArray

from rgbt_perception.errors import ShapeError

ByteArray = NDArray[np.uint8]
FloatArray = NDArray[np.float32]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]
Image = NDArray[np.generic]

UNLABELED = 255
NS_PER_S = 1_000_000_000


class Modality(Enum):
    """A sensing channel. Wherever both appear, RGB comes first."""

    RGB = 'rgb'
    THERMAL = 'thermal'


class Mode(Enum):
    """Which cameras a result relies on."""

    FUSED = 'fused'
    RGB_ONLY = 'rgb_only'
    THERMAL_ONLY = 'thermal_only'
    NONE = 'none'


class DropReason(Enum):
    """Why an input did not become part of a result."""

    BAD_FRAME = 'bad_frame'  # encoding, step, size or data not usable
    DUPLICATE_STAMP = 'duplicate_stamp'  # a frame of that camera with that stamp was already here
    LATE = 'late'  # arrived after everything it could be paired with had gone out
    NO_PARTNER = 'no_partner'  # waited for the other camera in vain and was not the reference
    QUEUE_FULL = 'queue_full'  # the bounded pairing queue was full, the oldest frame left
    STAMP_JUMP = 'stamp_jump'  # stamps jumped back (bag loop, clock reset): queues were cleared
    SUPERSEDED = 'superseded'  # a newer pair was ready before the worker took this one
    FAILED = 'failed'  # the pipeline raised on this pair


class DominanceState(Enum):
    """Filtered verdict of the modality dominance index."""

    RGB = 'rgb'
    BALANCED = 'balanced'
    THERMAL = 'thermal'
    SINGLE = 'single'


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Frame:
    """One decoded image with its time.

    Attributes:
        pixels: RGB: uint8 (h, w, 3) in R, G, B order. Thermal: (h, w) uint8 (tone-mapped),
            uint16 (counts) or float32 (temperature, degrees C or K; NaN = invalid).
        stamp_ns: Time of the message header, nanoseconds.
        frame_id: Frame of the message header.
        modality: Which camera.
    """

    pixels: Image
    stamp_ns: int
    frame_id: str
    modality: Modality

    def __post_init__(self) -> None:
        """Check shape and type against the modality.

        Raises:
            ShapeError: If pixels do not fit the modality or are empty.
        """
        shape, dtype = self.pixels.shape, self.pixels.dtype
        if self.modality is Modality.RGB:
            if len(shape) != 3 or shape[2] != 3 or dtype != np.uint8 or 0 in shape:
                raise ShapeError(
                    'rgb pixels', expected='uint8 (h, w, 3)', actual=f'{dtype} {shape}'
                )
        elif len(shape) != 2 or 0 in shape or dtype not in (np.uint8, np.uint16, np.float32):
            raise ShapeError(
                'thermal pixels',
                expected='uint8, uint16 or float32 (h, w)',
                actual=f'{dtype} {shape}',
            )

    @property
    def size_hw(self) -> tuple[int, int]:
        """Height and width, px."""
        return self.pixels.shape[0], self.pixels.shape[1]


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Pair:
    """Two matching frames, or one alone when its partner is missing.

    Attributes:
        rgb: The RGB frame, or None.
        thermal: The thermal frame, or None.
        offset_ns: How far the thermal clock was taken to be ahead of the RGB clock, nanoseconds.
    """

    rgb: Frame | None
    thermal: Frame | None
    offset_ns: int = 0

    def __post_init__(self) -> None:
        """Refuse a pair of nothing.

        Raises:
            ShapeError: If both frames are missing.
        """
        if self.rgb is None and self.thermal is None:
            raise ShapeError('pair', expected='at least one frame', actual='empty')

    @property
    def reference(self) -> Frame:
        """The frame whose header and pixel grid the result carries: RGB when there is one."""
        frame = self.rgb if self.rgb is not None else self.thermal
        assert frame is not None
        return frame

    @property
    def skew_ns(self) -> int | None:
        """Thermal stamp, less the clock offset, minus RGB stamp, ns; None for a frame alone."""
        if self.rgb is None or self.thermal is None:
            return None
        return self.thermal.stamp_ns - self.offset_ns - self.rgb.stamp_ns


@dataclass(frozen=True, slots=True, kw_only=True)
class LetterboxTransform:
    """Resize keeping the ratio, then padding: ``network = source * scale + pad`` (edge units)."""

    scale: float
    pad_x: float
    pad_y: float


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Batch:
    """Network input of one pair.

    Attributes:
        rgb: (1, 3, h, w) float32, standardised; zeros when RGB is not available.
        thermal: (1, 3, h, w) float32, standardised, replicated; zeros when not available.
        available: (1, 2) float32 in {0, 1}, RGB first.
        letterbox: How reference pixels became network pixels.
        source_hw: Height and width of the reference image, px.
    """

    rgb: FloatArray
    thermal: FloatArray
    available: FloatArray
    letterbox: LetterboxTransform
    source_hw: tuple[int, int]


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class RawOutputs:
    """Outputs of the graph for one pair, as named there (batch axis kept, b = 1).

    Attributes:
        class_logits: (b, n, k) float32, one row per anchor point; k = 0 for a model that detects
            nothing.
        boxes_xyxy: (b, n, 4) float32, network pixels, edge units.
        segmentation_logits: (b, k, h/s, w/s) float32, s a whole number of network pixels; k = 0
            for a model that labels nothing.
        share_map: (b, 1, h/16, w/16) float32, RGB share of the fused feature per patch.
        rgb_shares: (b, l) float32, RGB share per fusion level, finest first; l = 0 for a model
            that gives none.
        entropies: (b, 2) float32 in 0..1, feature entropy per modality, RGB first.
    """

    class_logits: FloatArray
    boxes_xyxy: FloatArray
    segmentation_logits: FloatArray
    share_map: FloatArray
    rgb_shares: FloatArray
    entropies: FloatArray


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Detections:
    """Boxes of one pair, in reference image pixels, best score first. Length n, may be 0.

    Attributes:
        boxes_xyxy: (n, 4) float32, px, edge units, max edge exclusive, inside the image.
        scores: (n,) float32 in [0, 1].
        class_ids: (n,) int64, index into the card's detection classes.
    """

    boxes_xyxy: FloatArray
    scores: FloatArray
    class_ids: IntArray

    def __post_init__(self) -> None:
        """Check that the arrays fit together.

        Raises:
            ShapeError: If a shape is wrong.
        """
        n = len(self.boxes_xyxy)
        if self.boxes_xyxy.shape != (n, 4):
            raise ShapeError('boxes_xyxy', expected='(n, 4)', actual=self.boxes_xyxy.shape)
        for name in ('scores', 'class_ids'):
            if getattr(self, name).shape != (n,):
                raise ShapeError(name, expected=f'({n},)', actual=getattr(self, name).shape)

    def __len__(self) -> int:
        """Return the number of boxes."""
        return len(self.scores)

    def at_least(self, score: float) -> Detections:
        """Return those from a score on."""
        keep = self.scores >= np.float32(score)
        return Detections(
            boxes_xyxy=self.boxes_xyxy[keep],
            scores=self.scores[keep],
            class_ids=self.class_ids[keep],
        )

    def best(self, count: int) -> Detections:
        """Return the first ones, as many as there are up to a number."""
        return Detections(
            boxes_xyxy=self.boxes_xyxy[:count],
            scores=self.scores[:count],
            class_ids=self.class_ids[:count],
        )


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Perceived:
    """What the network found in the images of one pair, decoded, in host memory.

    Attributes:
        detections: Boxes in reference pixels.
        label_map: (h, w) uint8 class ids at reference image size, 255 = unlabeled.
        share_map: As in ``RawOutputs``; so are the shares and the entropies.
        rgb_shares: (b, l) float32.
        entropies: (b, 2) float32.
        preprocess_ms: Time before the network; 0 for an engine that prepares images itself.
        infer_ms: Time of the network, and of what an engine does itself around it.
    """

    detections: Detections
    label_map: ByteArray
    share_map: FloatArray
    rgb_shares: FloatArray
    entropies: FloatArray
    preprocess_ms: float
    infer_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Dominance:
    """How much each camera was relied on, or shows, for one pair. Source: ours, on MDACL's idea.

    Attributes:
        mdi: Modality dominance index in [-1, 1], > 0 = RGB dominant.
        rgb_share: (1 + mdi) / 2.
        thermal_share: (1 - mdi) / 2.
        rgb_entropy: Feature entropy of RGB in 0..1; NaN when RGB is not used.
        thermal_entropy: Feature entropy of thermal in 0..1; NaN when thermal is not used.
        method: How mdi was found: 'linear_share', 'contrast', 'single' with one camera, 'none'
            without any or when the model gives no shares and no contrast was measured.
        valid: False when there is no usable number; mdi and the shares are then NaN.
        state: Verdict after temporal filtering.
    """

    mdi: float
    rgb_share: float
    thermal_share: float
    rgb_entropy: float
    thermal_entropy: float
    method: str
    valid: bool
    state: DominanceState


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Temperatures:
    """Temperature of each detection, degrees Celsius; arrays of the detections' length n.

    NaN where thermal is not radiometric, was not used, or does not see the box.
    """

    min_c: FloatArray  # (n,) float32
    mean_c: FloatArray  # (n,) float32
    max_c: FloatArray  # (n,) float32

    def __post_init__(self) -> None:
        """Check that all arrays have one length.

        Raises:
            ShapeError: If they do not.
        """
        n = len(self.min_c)
        for name in ('min_c', 'mean_c', 'max_c'):
            if getattr(self, name).shape != (n,):
                raise ShapeError(name, expected=f'({n},)', actual=getattr(self, name).shape)

    def __len__(self) -> int:
        """Return the number of detections."""
        return len(self.min_c)


@dataclass(frozen=True, slots=True, kw_only=True)
class Misregistration:
    """How far the registered thermal image lies beside the RGB image, as the images show it.

    Attributes:
        shift_x_px: Shift of thermal to the right of RGB, RGB pixels; NaN when unknown.
        shift_y_px: Shift of thermal below RGB, RGB pixels; NaN when unknown.
        confidence: 0..1; 0 = not measured or the images share no structure.
    """

    shift_x_px: float
    shift_y_px: float
    confidence: float

    @property
    def shift_px(self) -> float:
        """Length of the shift, RGB pixels; NaN when unknown."""
        return math.hypot(self.shift_x_px, self.shift_y_px)


UNKNOWN_MISREGISTRATION = Misregistration(shift_x_px=math.nan, shift_y_px=math.nan, confidence=0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class StageTimes:
    """Processing time of one pair, milliseconds."""

    preprocess_ms: float
    infer_ms: float
    postprocess_ms: float

    @property
    def latency_ms(self) -> float:
        """Sum of the stages."""
        return self.preprocess_ms + self.infer_ms + self.postprocess_ms


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Result:
    """All outputs of one pair, in the pixels of the reference frame.

    Attributes:
        pair: The input.
        mode: Which cameras the network used.
        mode_reason: Why a camera was not used, '' when fused.
        detections: Boxes in reference pixels.
        label_map: (h, w) uint8 class ids at reference image size, 255 = unlabeled.
        dominance: Filtered dominance.
        temperatures: Temperature of each detection.
        misregistration: Newest measurement, smoothed; unknown until there is one.
        share_map: (hs, ws) float32 RGB share per patch, network grid.
        times: Processing time.
    """

    pair: Pair
    mode: Mode
    mode_reason: str
    detections: Detections
    label_map: ByteArray
    dominance: Dominance
    temperatures: Temperatures
    misregistration: Misregistration
    share_map: FloatArray = field(repr=False)
    times: StageTimes
