# SPDX-License-Identifier: Apache-2.0
"""A scenario played in real time: rendered once into memory, sent again and again at its rate.

Rendering takes longer than the time between two images, so it all happens before the first image
is sent; what is left to do for each image is to copy it. Nothing here needs ROS.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
import heapq
import math
from typing import Any, TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from rgbt_perception.convert import FRAME_IDS
from rgbt_perception.errors import ConfigError
from rgbt_perception.simulation import build_truth, transport_s
from rgbt_perception.truth import Truth
from rgbt_perception.types import Frame, Modality, NS_PER_S

if TYPE_CHECKING:
    from rgbt_models.synthetic import Rig, Scenario, ThermalSensor
    from rgbt_models.synthetic.faults import FailingCamera

NO_FAULT = 'none'
MAX_BEHIND_S = 0.5  # what is later than that is not sent any more
_MIB = 1 << 20


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class ClipImage:
    """One image of a clip.

    Attributes:
        modality: Which camera.
        time_s: When it is exposed, since the start of the clip.
        skew_s: What its stamp says more than that.
        transport_s: From the exposure to the arrival.
        pixels: RGB (h, w, 3) uint8 or thermal (h, w) uint16; None = a failure of the scenario
            lets it send nothing.
        truth: Of RGB images.
    """

    modality: Modality
    time_s: float
    skew_s: float
    transport_s: float
    pixels: NDArray[Any] | None
    truth: Truth | None


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Clip:
    """A rendered scenario."""

    images: tuple[ClipImage, ...]  # in order of exposure
    duration_s: float
    rig: Rig
    thermal_sensor: ThermalSensor

    @property
    def size_mib(self) -> float:
        """Memory that the images take; one that a camera repeats is there once."""
        by_id = {id(x.pixels): x.pixels.nbytes for x in self.images if x.pixels is not None}
        return sum(by_id.values()) / _MIB


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class SimulatedImage:
    """An image to send now, and the truth of it."""

    frame: Frame
    truth: Truth | None


def render_clip(scenario: Scenario) -> Iterator[Clip | None]:
    """Render a scenario into memory.

    Yields:
        None after each image, at last the clip: the caller can do something else in between.
    """
    from rgbt_models.synthetic import build_rig, render_sequence
    from rgbt_models.synthetic.sequence_sensors import build_thermal_sensor

    images: list[ClipImage] = []
    for shot in render_sequence(scenario):
        modality = Modality(shot.camera)
        images.append(
            ClipImage(
                modality=modality,
                time_s=shot.time_s,
                skew_s=shot.stamp_s - shot.time_s,
                transport_s=transport_s(scenario, shot),
                pixels=shot.image,
                truth=build_truth(shot) if modality is Modality.RGB else None,
            )
        )
        yield None
    yield Clip(
        images=tuple(images),
        duration_s=scenario.duration_s,
        rig=build_rig(scenario),
        thermal_sensor=build_thermal_sensor(scenario),
    )


def fault_names(modality: Modality) -> tuple[str, ...]:
    """Return what can be injected into a camera."""
    from rgbt_models.synthetic.faults import kinds_of

    return (NO_FAULT, *kinds_of(modality.value))


def check_fault(modality: Modality, kind: str) -> None:
    """Check what is to be injected into a camera.

    Raises:
        ConfigError: If there is no such failure of this camera.
    """
    names = fault_names(modality)
    if kind not in names:
        raise ConfigError(
            f"fault.{modality.value} is '{kind}', expected one of {', '.join(names)}; choose one"
        )


@dataclass(slots=True, kw_only=True)
class ClipPlayer:
    """Says which images of a clip are due. It has no clock of its own.

    Attributes:
        clip: What is played.
        start_ns: Stamp of the start.
        rate_scale: How much faster than rendered; stamps follow.
        has_loop: Begin again after the last image; stamps go on.
        num_skipped: Images that were not sent because the caller came too late.
    """

    clip: Clip
    start_ns: int
    rate_scale: float = 1.0
    has_loop: bool = True
    num_skipped: int = 0
    _cycle: int = 0
    _position: int = 0
    _num_sent: int = 0
    _faults: dict[Modality, str] = field(default_factory=dict)
    _cameras: dict[Modality, FailingCamera] = field(default_factory=dict)
    _on_the_way: list[tuple[float, int, SimulatedImage]] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Check the rate.

        Raises:
            ConfigError: If it cannot be used, or there is nothing to play.
        """
        if not 0.0 < self.rate_scale < math.inf:
            raise ConfigError(
                f'rate_scale is {self.rate_scale}, expected a number above 0; correct it'
            )
        if not self.clip.images:
            raise ConfigError(
                f'the scenario has no image in {self.clip.duration_s:g} s, expected at least one; '
                f'make it longer or its rates higher'
            )

    @property
    def is_over(self) -> bool:
        """True when nothing is left to send."""
        return self._exposure_s() is None and not self._on_the_way

    def set_fault(self, modality: Modality, kind: str) -> None:
        """Let a camera fail from its next exposure on, or work again.

        Raises:
            ConfigError: If there is no such failure of this camera.
        """
        check_fault(modality, kind)
        self._faults[modality] = kind

    def next_s(self) -> float:
        """Return when to call ``take`` next, seconds since the start; inf when it is over."""
        exposure_s = self._exposure_s()
        arrival_s = self._on_the_way[0][0] if self._on_the_way else math.inf
        return min(math.inf if exposure_s is None else exposure_s, arrival_s)

    def take(self, now_s: float) -> list[SimulatedImage]:
        """Return the images that arrive until a time, in order of arrival.

        Args:
            now_s: Since the start, seconds.
        """
        while (exposure_s := self._exposure_s()) is not None and exposure_s <= now_s:
            image = self.clip.images[self._position]
            if exposure_s < now_s - MAX_BEHIND_S:
                self.num_skipped += 1
            else:
                self._expose(image, exposure_s)
            self._position += 1
            if self._position == len(self.clip.images) and self.has_loop:
                self._cycle, self._position = self._cycle + 1, 0
        arrived = []
        while self._on_the_way and self._on_the_way[0][0] <= now_s:
            arrived.append(heapq.heappop(self._on_the_way)[2])
        return arrived

    def _exposure_s(self) -> float | None:
        if self._position >= len(self.clip.images):
            return None
        played_s = self._cycle * self.clip.duration_s + self.clip.images[self._position].time_s
        return played_s / self.rate_scale

    def _expose(self, image: ClipImage, exposure_s: float) -> None:
        from rgbt_models.synthetic.faults import FailingCamera, FaultKind, LATE_S

        if image.pixels is None:
            return
        name, transport = self._faults.get(image.modality, NO_FAULT), image.transport_s
        kind = None if name == NO_FAULT else FaultKind(name)
        if kind is FaultKind.LATE:
            transport += LATE_S
        pixels = self._cameras.setdefault(image.modality, FailingCamera()).send(
            image.pixels,
            kind,
            np.random.default_rng(
                [self._cycle, self._position, int(image.modality is Modality.RGB)]
            ),
            sensor=self.clip.thermal_sensor,
        )
        if pixels is None:
            return
        frame = Frame(
            pixels=pixels,
            stamp_ns=self.start_ns + round((exposure_s + image.skew_s) * NS_PER_S),
            frame_id=FRAME_IDS[image.modality],
            modality=image.modality,
        )
        self._num_sent += 1
        item = (
            exposure_s + transport,
            self._num_sent,
            SimulatedImage(frame=frame, truth=image.truth),
        )
        heapq.heappush(self._on_the_way, item)
