# SPDX-License-Identifier: Apache-2.0
"""The one pipeline of node, replay and evaluation: a pair in, a result out."""

from __future__ import annotations

from dataclasses import replace
import math
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rgbt_models.card import load_card, ModelCard
from rgbt_perception import box_votes, object_contrast
from rgbt_perception.camera_model import CameraModel
from rgbt_perception.config import OutputConfig, PerceptionConfig
from rgbt_perception.dominance_filter import CONTRAST, DominanceFilter
from rgbt_perception.engine import Engine, open_engine, supervise
from rgbt_perception.engine.stages import blank_batch, Images, perceive
from rgbt_perception.errors import ConfigError, EngineError
from rgbt_perception.health import HealthMonitor
from rgbt_perception.misregistration import MisregistrationMonitor
from rgbt_perception.radiometry import Radiometry
from rgbt_perception.registration import Registration
from rgbt_perception.temperatures import measure_temperatures, unknown_temperatures
from rgbt_perception.thermal import swap_bytes
from rgbt_perception.thermal_scaling import ThermalScaler
from rgbt_perception.types import (
    Detections,
    FloatArray,
    Frame,
    Misregistration,
    Modality,
    Mode,
    Pair,
    RawOutputs,
    Result,
    StageTimes,
    Temperatures,
    UNKNOWN_MISREGISTRATION,
    UNLABELED,
)


class Pipeline:
    """Runs pairs through preprocessing, the network and postprocessing, one at a time.

    Not thread-safe: one thread runs it, and changes its settings between two runs.

    Attributes:
        card: The model's card.
        engine: What runs the network.
        config: The settings in force; see ``reconfigure``.
        input_hw: Height and width of the network input, px.
    """

    def __init__(self, *, card: ModelCard, engine: Engine, config: PerceptionConfig) -> None:
        """Put the parts together; takes over the engine and closes it in ``close``.

        Raises:
            ConfigError: If the configured input size does not fit the card.
        """
        self.card = card
        self.engine = engine
        self.config = config
        self.input_hw = choose_input_hw(card, config)
        self.registration = Registration(config.registration)
        self._is_byte_swapped = config.thermal.is_byte_swapped
        self.health = HealthMonitor(config.fallback, config.thermal)
        self.radiometry = Radiometry(config.thermal)
        self.scaler = ThermalScaler(config.thermal, card.thermal_normaliser, self.radiometry)
        self._dominance = DominanceFilter(config.dominance, card.mdi_calibration)
        self._object_contrast = object_contrast.ObjectContrast(card, self.registration)
        self._monitor = MisregistrationMonitor(config.registration)
        self._misregistration = UNKNOWN_MISREGISTRATION
        self._geometry: object = None  # that the monitor's measurements were made with

    def run(self, pair: Pair) -> Result:
        """Process one pair; a pair without any usable camera gives an empty result.

        Raises:
            EngineError: If the network fails; the next pair may work again.
        """
        started = perf_counter()
        if self._is_byte_swapped and pair.thermal is not None:
            pair = replace(pair, thermal=swap_bytes(pair.thermal))
        mode, mode_reason = self.health.assess(pair)
        if mode is Mode.NONE:
            return self._empty_result(pair, mode_reason, started)
        native = None if mode is Mode.RGB_ONLY else self._normalise_thermal(pair)
        thermal = self._on_reference(native, pair)
        images = Images(
            pair=pair, mode=mode, thermal=thermal, card=self.card, input_hw=self.input_hw
        )
        prepared = perf_counter()
        perceived = perceive(self.engine, images, self._decoding(mode))
        found, label_map = perceived.detections, perceived.label_map
        output = self.config.output
        detections = found.at_least(output.score_threshold).best(output.max_detections)
        advantage = math.nan
        if mode is Mode.FUSED and pair.rgb is not None and thermal is not None:
            self._misregistration = self._measure_misregistration(pair.rgb, thermal)
            if self.config.dominance.method == CONTRAST and native is not None:
                rgb = pair.rgb.pixels
                advantage = self._object_contrast(rgb, thermal, native, found, label_map)
        dominance = self._dominance.update(
            perceived, mode, pair.reference.stamp_ns, contrast_advantage=advantage
        )
        return Result(
            pair=pair,
            mode=mode,
            mode_reason=mode_reason,
            detections=detections,
            label_map=label_map,
            dominance=dominance,
            temperatures=self._temperatures(pair, mode, detections),
            misregistration=self._misregistration,
            share_map=perceived.share_map[0, 0],
            times=_times(started, prepared, perceived.preprocess_ms, perceived.infer_ms),
        )

    def warm_up(self) -> None:
        """Run the network once on zeros, so that the first pair is as fast as the later ones.

        Raises:
            EngineError: If the network fails, e.g. because the graph refuses the input size, or
                gives other numbers of classes than the card names.
        """
        self._check_classes(self.engine.run(blank_batch(self.input_hw)))

    def _check_classes(self, raw: RawOutputs) -> None:
        for kind, num_given, names in (
            ('detection', raw.class_logits.shape[2], self.card.detection_classes),
            ('segmentation', raw.segmentation_logits.shape[1], self.card.segmentation_classes),
        ):
            if num_given != len(names):
                raise EngineError(
                    f"the network gives {num_given} {kind} classes, card '{self.card.name}' names "
                    f'{len(names)}; use the card that was exported with this network'
                )

    def reconfigure(self, config: PerceptionConfig) -> None:
        """Take over the settings that may change while running.

        Settings that are not live are kept for reading, but what was built from them stays.
        """
        self.config = config
        self._dominance.config = config.dominance
        self.health.config = config.fallback
        self.radiometry.config = self.scaler.config = config.thermal
        self._monitor.config = config.registration

    def set_camera(self, modality: Modality, model: CameraModel) -> None:
        """Take over the model of a camera, as of its camera_info; see ``Registration``."""
        self.registration.set_camera(modality, model)

    def set_pose(self, rotation: NDArray[Any], translation: NDArray[Any]) -> None:
        """Take over the pose of the thermal camera, as of tf; see ``Registration``.

        Raises:
            ConfigError: If it is no pose.
        """
        self.registration.set_pose(rotation, translation)

    def reset(self) -> None:
        """Forget what was learnt from earlier pairs, as before another bag."""
        self._dominance.reset()
        self.health.reset()
        self.scaler.reset()
        self._monitor.reset()
        self._misregistration = UNKNOWN_MISREGISTRATION

    def close(self) -> None:
        """Release the engine."""
        self.engine.close()

    def _normalise_thermal(self, pair: Pair) -> FloatArray | None:
        return None if pair.thermal is None else self.scaler(pair.thermal)

    def _on_reference(self, image: FloatArray | None, pair: Pair) -> FloatArray | None:
        """Bring a normalised thermal image onto the grid of the reference frame."""
        if image is None or pair.rgb is None:
            return image
        return np.asarray(self.registration.register(image, pair.rgb.size_hw), np.float32)

    def _decoding(self, mode: Mode) -> OutputConfig:
        """Return the settings that find all that votes and all whose contrast is measured."""
        output = self.config.output
        scores, counts = [output.score_threshold], [output.max_detections]
        if mode is Mode.FUSED and self.config.dominance.method == CONTRAST:
            scores.append(object_contrast.MIN_SCORE)
        if output.box_votes > 0.0:
            scores.append(box_votes.MIN_SCORE)
            counts.append(box_votes.MAX_VOTES)
        return replace(output, score_threshold=min(scores), max_detections=max(counts))

    def _measure_misregistration(self, rgb: Frame, thermal: FloatArray) -> Misregistration:
        """Measure now and then, afresh when other camera models, pose or image sizes came."""
        if self._geometry != self.registration.geometry:
            self._geometry = self.registration.geometry
            self._monitor.reset()
        return self._monitor.update(rgb.pixels, thermal)

    def _temperatures(self, pair: Pair, mode: Mode, detections: Detections) -> Temperatures:
        if pair.thermal is None or mode is Mode.RGB_ONLY or not len(detections):
            return unknown_temperatures(len(detections))
        return measure_temperatures(
            detections,
            self.radiometry.temperature_c(pair.thermal.pixels),
            self.registration,
            pair.reference.size_hw,
            is_thermal_grid=pair.rgb is None,
        )

    def _empty_result(self, pair: Pair, mode_reason: str, started: float) -> Result:
        dominance = self._dominance.update(None, Mode.NONE, pair.reference.stamp_ns)
        return Result(
            pair=pair,
            mode=Mode.NONE,
            mode_reason=mode_reason,
            detections=Detections(
                boxes_xyxy=np.zeros((0, 4), np.float32),
                scores=np.zeros(0, np.float32),
                class_ids=np.zeros(0, np.int64),
            ),
            label_map=np.full(pair.reference.size_hw, UNLABELED, np.uint8),
            dominance=dominance,
            temperatures=unknown_temperatures(0),
            misregistration=self._misregistration,
            share_map=np.zeros((0, 0), np.float32),
            times=_times(started, perf_counter()),
        )


def open_pipeline(config: PerceptionConfig, *, supervised: bool = False) -> Pipeline:
    """Load the card, open its engine and build the pipeline.

    Args:
        config: All settings.
        supervised: Watch the engine, reopen and replace it (see ``engine.supervised``), as a node
            needs it; without, every failure is the caller's, as a reproducible replay needs it.

    Returns:
        The pipeline, ready to run; close it to release the engine.

    Raises:
        CardError: If the card is missing or malformed.
        WeightsError: If a model file is missing or altered.
        ConfigError: If the input size or the device is wrong.
        BackendUnavailableError: If the backend is not installed.
        EngineError: If the runtime refuses the model.
    """
    card = load_card(config.model.card)
    # What an engine builds for one size of input, it builds for the size of the settings.
    card_of_engine = replace(card, input_hw=choose_input_hw(card, config))
    open_it = supervise if supervised else open_engine
    return Pipeline(card=card, engine=open_it(card_of_engine, config.engine), config=config)


def choose_input_hw(card: ModelCard, config: PerceptionConfig) -> tuple[int, int]:
    """Return height and width of the network input, px: those of the settings, else the card's.

    Raises:
        ConfigError: If the network cannot take such a size.
    """
    model = config.model
    input_hw = (model.input_height or card.input_hw[0], model.input_width or card.input_hw[1])
    if any(side % card.size_multiple for side in input_hw):
        raise ConfigError(
            f'model.input_height and model.input_width are {input_hw[0]} and {input_hw[1]}, '
            f"expected multiples of {card.size_multiple} for card '{card.name}'; use 0 for the "
            f"card's {card.input_hw[0]} and {card.input_hw[1]}"
        )
    return input_hw


def _times(
    started: float, prepared: float, preprocess_ms: float = 0.0, infer_ms: float = 0.0
) -> StageTimes:
    """Return the times until now; the stages around the network began at ``prepared``."""
    before_ms, latency_ms = ((end - started) * 1e3 for end in (prepared, perf_counter()))
    preprocess_ms += before_ms
    return StageTimes(
        preprocess_ms=preprocess_ms,
        infer_ms=infer_ms,
        postprocess_ms=latency_ms - preprocess_ms - infer_ms,
    )
