# SPDX-License-Identifier: Apache-2.0
"""From images to what the network sees in them: around an engine, or inside one that offers it.

Most engines take a batch and give raw outputs; the CPU prepares the one and decodes the other. An
engine on a device may do both there, where the images and logits are: it takes images, and only
what was found comes back.
"""

from __future__ import annotations

from dataclasses import dataclass
from time import perf_counter
from typing import Protocol, TypeGuard

import numpy as np

from rgbt_models.card import ModelCard
from rgbt_perception.box_votes import find_planes, Votes
from rgbt_perception.config import OutputConfig
from rgbt_perception.engine.base import Engine
from rgbt_perception.geometry import letterbox_transform
from rgbt_perception.postprocess import decode_detections, decode_label_map
from rgbt_perception.preprocess import build_batch
from rgbt_perception.types import Batch, FloatArray, Frame, Modality, Mode, Pair, Perceived


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Images:
    """The images of one pair as they are; see ``preprocess.build_batch`` for what becomes of them.

    Attributes:
        pair: The frames; those the mode uses must be there.
        mode: Which cameras the network looks at; not NONE.
        thermal: Normalised thermal image on the reference grid, shape (h, w), float32; None when
            the mode does not use it.
        card: Means and deviations.
        input_hw: Height and width of the network input, px.
    """

    pair: Pair
    mode: Mode
    thermal: FloatArray | None
    card: ModelCard
    input_hw: tuple[int, int]


def blank_batch(input_hw: tuple[int, int]) -> Batch:
    """Return a batch of zeros with both cameras, for a first run; height and width in px."""
    image = np.zeros((1, 3, *input_hw), np.float32)
    return Batch(
        rgb=image,
        thermal=image,
        available=np.ones((1, 2), np.float32),
        letterbox=letterbox_transform(input_hw, input_hw),
        source_hw=input_hw,
    )


def blank_images(card: ModelCard) -> Images:
    """Return black images of the card's input size, for a first run."""
    pixels = np.zeros((*card.input_hw, 3), np.uint8)
    frame = Frame(pixels=pixels, stamp_ns=0, frame_id='', modality=Modality.RGB)
    return Images(
        pair=Pair(rgb=frame, thermal=None),
        mode=Mode.FUSED,
        thermal=np.zeros(card.input_hw, np.float32),
        card=card,
        input_hw=card.input_hw,
    )


class ImageEngine(Engine, Protocol):
    """An engine that can prepare images and decode outputs itself.

    Attributes:
        takes_images: Whether it does so faster than the CPU. Of a supervised engine, that of the
            engine that runs at the moment.
    """

    takes_images: bool

    def perceive(self, images: Images, config: OutputConfig) -> Perceived:
        """Run the network on images, also where ``takes_images`` is False.

        Raises:
            EngineError: As ``run`` does.
        """


def takes_images(engine: Engine) -> TypeGuard[ImageEngine]:
    """Return whether an engine prepares images and decodes outputs itself."""
    return getattr(engine, 'takes_images', False)


def perceive(engine: Engine, images: Images, config: OutputConfig) -> Perceived:
    """Run the network of an engine on images.

    Args:
        engine: Any engine.
        images: Of one pair.
        config: Score threshold, overlap, number and votes of detections.

    Raises:
        EngineError: If the runtime fails, or a logit or box is not finite.
    """
    if takes_images(engine):
        return engine.perceive(images, config)
    started = perf_counter()
    batch = build_batch(images.pair, images.mode, images.thermal, images.card, images.input_hw)
    preprocessed = perf_counter()
    raw = engine.run(batch)
    inferred = perf_counter()
    detections = decode_detections(raw, batch.letterbox, batch.source_hw, config)
    votes = None
    if config.box_votes > 0.0:
        voting = find_planes(images.card.detection_classes, images.card.segmentation_classes)
        votes = Votes(detections=detections, planes=voting, weight=config.box_votes)
    return Perceived(
        detections=detections,
        label_map=decode_label_map(raw, batch.letterbox, batch.source_hw, votes=votes),
        share_map=raw.share_map,
        rgb_shares=raw.rgb_shares,
        entropies=raw.entropies,
        preprocess_ms=(preprocessed - started) * 1e3,
        infer_ms=(inferred - preprocessed) * 1e3,
    )
