# SPDX-License-Identifier: Apache-2.0
"""A scenario as images: every camera at its own rate, with its own stamps and failures."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field, replace
from itertools import groupby
import math
from operator import attrgetter
from typing import TYPE_CHECKING

import numpy as np

from rgbt_models.synthetic.environment import Condition, Environment, interpolate
from rgbt_models.synthetic.faults import CAMERAS, FailingCamera, FaultKind
from rgbt_models.synthetic.place import Place, sample_place
from rgbt_models.synthetic.rgb_sensor import Exposure, RgbSensor
from rgbt_models.synthetic.rig import build_camera, Camera, CameraTiming, Rig
from rgbt_models.synthetic.scenario_groups import DRAWN
from rgbt_models.synthetic.sequence_light import sample_lights
from rgbt_models.synthetic.sequence_sensors import build_thermal_sensor, open_sensors
from rgbt_models.synthetic.thermal_sensor import ThermalSensor
from rgbt_models.synthetic.world import CameraView, contrast_of, render_view, SyntheticPair

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from rgbt_models.synthetic.faults import Image
    from rgbt_models.synthetic.scenario import Scenario
    from rgbt_models.synthetic.scenario_groups import CameraSettings
    from rgbt_models.synthetic.scene import EgoPose, Snapshot

# Streams of random numbers, so that none depends on how many numbers another one took.
_PLACE, _SENSOR, _STAMP = 12, 13, 14


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Shot:
    """One image of one camera, with its truth.

    Attributes:
        camera: 'rgb' or 'thermal'.
        index: Which image of this camera.
        clip: Which place the rig is at.
        time_s: When it was exposed, since the start.
        stamp_s: When the camera says it was.
        image: RGB (h, w, 3) uint8 or thermal counts (h, w) uint16, whose meaning ``sensor`` says;
            None = not sent.
        fault: How the camera fails at this moment, None if it works.
        view: What there was to see, whatever the camera made of it.
        environment: Light and heat of the moment.
        condition: Of which kind they are; None between two kinds.
        ego: Where the rig was.
        sensor: How the camera works, failures aside.
        exposure: Of RGB images.
    """

    camera: str
    index: int
    clip: int
    time_s: float
    stamp_s: float
    image: Image | None
    fault: FaultKind | None
    view: CameraView
    environment: Environment
    condition: Condition | None
    ego: EgoPose
    sensor: RgbSensor | ThermalSensor
    exposure: Exposure | None


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Sequence:
    """Places and light of a scenario, drawn."""

    scenario: Scenario
    rig: Rig
    lights: tuple[Environment, ...]  # one per key of the scenario
    _places: dict[int, Place] = field(default_factory=dict)

    def clip_at(self, time_s: float) -> int:
        """Return which place the rig is at."""
        clip_s = self.scenario.clip_s
        return int(time_s / clip_s + 1e-9) if clip_s > 0.0 else 0

    def environment_at(self, time_s: float) -> Environment:
        """Return light and heat at a time."""
        first, second, linear = self._between(time_s)
        if first == second:
            return self.lights[first]
        fraction = linear * linear * (3.0 - 2.0 * linear)
        return interpolate(self.lights[first], self.lights[second], fraction)

    def condition_at(self, time_s: float) -> Condition | None:
        """Return the condition at a time; None between two different ones, or a drawn one."""
        first, second, _ = self._between(time_s)
        keys = self.scenario.conditions
        name = keys[first].condition
        return None if name == DRAWN or keys[second].condition != name else Condition(name)

    def _between(self, time_s: float) -> tuple[int, int, float]:
        """Return the keys before and after a time, and where between them it is, 0..1."""
        keys = self.scenario.conditions
        share = time_s / self.scenario.duration_s
        after = next((i for i, key in enumerate(keys) if key.share > share), len(keys))
        if after in (0, len(keys)):
            return (max(after - 1, 0), max(after - 1, 0), 0.0)
        first, second = keys[after - 1].share, keys[after].share
        return (after - 1, after, (share - first) / (second - first))

    def snapshot_at(self, time_s: float) -> Snapshot:
        """Freeze the world at a time."""
        clip, environment = self.clip_at(time_s), self.environment_at(time_s)
        if clip not in self._places:
            self._places.clear()  # a place is large, and never seen again
            self._places[clip] = sample_place(
                self.scenario,
                seed=_seed(self.scenario.seed, _PLACE, clip),
                environment=self.environment_at(clip * self.scenario.clip_s),
                view_angle_rad=self.rig.rgb.hfov_rad,
            )
        place, local_s = self._places[clip], time_s - clip * self.scenario.clip_s
        ego = place.ego_at(local_s)
        return place.scene.at(local_s, ego=ego, environment=environment)


def sample_sequence(scenario: Scenario) -> Sequence:
    """Draw the light of a scenario; places are drawn when the rig comes to them."""
    return Sequence(
        scenario=scenario, rig=build_rig(scenario), lights=tuple(sample_lights(scenario))
    )


def build_rig(scenario: Scenario) -> Rig:
    """Return the cameras of a scenario."""
    cameras = [_build_camera(group) for group in (scenario.rig.rgb, scenario.rig.thermal)]
    scale = scenario.rig.scale
    rgb, thermal = (camera if scale == 1.0 else camera.scaled(scale) for camera in cameras)
    return Rig(
        rgb=rgb,
        thermal=thermal,
        rgb_timing=_timing(scenario.rig.rgb),
        thermal_timing=_timing(scenario.rig.thermal),
    )


def render_sequence(scenario: Scenario, *, amodal: bool = False) -> Iterator[Shot]:
    """Render a scenario, image by image, in order of exposure; RGB first at the same moment.

    Args:
        scenario: The same one gives the same images, byte for byte.
        amodal: Also look at each object of the RGB images alone: whole boxes and occlusion.
    """
    sequence = sample_sequence(scenario)
    rig, sensors = sequence.rig, open_sensors(scenario)
    thermal_sensor = build_thermal_sensor(scenario)
    senders = {camera: FailingCamera() for camera in CAMERAS}
    snapshot, snapshot_s = None, math.nan
    for time_s, camera, index in exposures(scenario):
        if snapshot is None or time_s != snapshot_s:
            snapshot, snapshot_s = sequence.snapshot_at(time_s), time_s
        is_rgb, sensor = camera == 'rgb', sensors[camera]
        view = render_view(
            snapshot,
            rig.rgb if is_rgb else rig.thermal,
            radiance=is_rgb,
            temperature=not is_rgb,
            supersampling=scenario.sensors.supersampling,
            amodal=amodal and is_rgb,
        )
        fault = _fault_at(scenario, camera, time_s)
        if fault is None and sensor.is_correcting_at(time_s):
            fault = FaultKind.FFC
        sensor_rng, fault_rng = np.random.default_rng(
            [scenario.seed, _SENSOR, CAMERAS.index(camera), index]
        ).spawn(2)
        clip = sequence.clip_at(time_s)
        taken = sensor.take(view, snapshot.environment, sensor_rng, clip=clip)
        image = senders[camera].send(taken, fault, fault_rng, sensor=thermal_sensor)
        if fault is FaultKind.FFC:
            sensor.recalibrate()
        yield Shot(
            camera=camera,
            index=index,
            clip=clip,
            time_s=time_s,
            stamp_s=_stamp_s(scenario, camera, index, time_s),
            image=image,
            fault=fault,
            view=view,
            environment=snapshot.environment,
            condition=sequence.condition_at(time_s),
            ego=snapshot.ego,
            sensor=sensor.sensor,
            exposure=sensor.exposure,
        )


def exposures(scenario: Scenario) -> list[tuple[float, str, int]]:
    """List (time in seconds, camera, index) of every image, in order of time."""
    rows = []
    for order, camera in enumerate(CAMERAS):
        group = _group(scenario, camera)
        count = max(0, math.ceil((scenario.duration_s - group.phase_s) * group.rate_hz - 1e-6))
        rows += [(group.phase_s + i / group.rate_hz, order, i) for i in range(count)]
    return [(time_s, CAMERAS[order], index) for time_s, order, index in sorted(rows)]


def pair_shots(
    shots: Iterable[Shot], rig: Rig, *, max_apart_s: float, has_contrast: bool = False
) -> Iterator[SyntheticPair]:
    """Join every RGB image with the thermal image exposed nearest to it at the same place.

    Args:
        shots: In order of exposure.
        rig: The cameras that took them.
        max_apart_s: Images farther apart than this make no pair.
        has_contrast: Also measure how well each camera sees each object.
    """
    for _, shots_of_place in groupby(shots, key=attrgetter('clip')):
        for rgb, thermal in _join(shots_of_place, max_apart_s):
            if abs(thermal.time_s - rgb.time_s) <= max_apart_s:
                pair = _pair(rgb, thermal, rig)
                yield replace(pair, contrast=contrast_of(pair)) if has_contrast else pair


def _join(shots: Iterable[Shot], max_apart_s: float) -> Iterator[tuple[Shot, Shot]]:
    waiting: deque[Shot] = deque()
    before: Shot | None = None
    for shot in shots:
        # What has waited for long finds nothing nearer: a failure may last, and shots are large.
        while waiting and shot.time_s - waiting[0].time_s > max_apart_s:
            rgb = waiting.popleft()
            if before is not None:
                yield rgb, before
        if shot.image is None:
            continue
        if shot.camera == 'rgb':
            waiting.append(shot)
            continue
        for rgb in waiting:
            is_nearer = (
                before is not None and rgb.time_s - before.time_s < shot.time_s - rgb.time_s
            )
            yield rgb, before if is_nearer and before is not None else shot
        waiting.clear()
        before = shot
    if before is not None:
        for rgb in waiting:
            yield rgb, before


def _pair(rgb: Shot, thermal: Shot, rig: Rig) -> SyntheticPair:
    assert rgb.image is not None
    assert thermal.image is not None
    assert isinstance(rgb.sensor, RgbSensor)
    assert isinstance(thermal.sensor, ThermalSensor)
    return SyntheticPair(
        rgb=rgb.image,
        thermal_raw=thermal.image,
        rgb_view=rgb.view,
        thermal_view=thermal.view,
        environment=rgb.environment,
        rig=rig,
        condition=rgb.condition,
        exposure=rgb.exposure,
        rgb_sensor=rgb.sensor,
        thermal_sensor=thermal.sensor,
        time_s=rgb.time_s,
        skew_s=thermal.time_s - rgb.time_s,
        rgb_fault=rgb.fault,
        thermal_fault=thermal.fault,
    )


def _build_camera(group: CameraSettings) -> Camera:
    x, y, z = group.position_m
    yaw, pitch, roll = (math.radians(angle) for angle in group.angles_deg)
    shift_x, shift_y = group.centre_shift_px
    camera = build_camera(
        height=group.height,
        width=group.width,
        hfov_rad=math.radians(group.hfov_deg),
        position=(x, y, z),
        angles_rad=(yaw, pitch, roll),
        centre_shift_px=(shift_x, shift_y),
    )
    return replace(camera, distortion=tuple(group.distortion)) if group.distortion else camera


def _timing(group: CameraSettings) -> CameraTiming:
    return CameraTiming(rate_hz=group.rate_hz, offset_s=group.offset_s, jitter_s=group.jitter_s)


def _group(scenario: Scenario, camera: str) -> CameraSettings:
    return scenario.rig.rgb if camera == 'rgb' else scenario.rig.thermal


def _fault_at(scenario: Scenario, camera: str, time_s: float) -> FaultKind | None:
    share = time_s / scenario.duration_s
    for failure in scenario.failures:
        if failure.camera == camera and failure.holds_at(share):
            return FaultKind(failure.kind)
    return None


def _stamp_s(scenario: Scenario, camera: str, index: int, time_s: float) -> float:
    group = _group(scenario, camera)
    rng = np.random.default_rng([scenario.seed, _STAMP, CAMERAS.index(camera), index])
    return time_s + group.offset_s + group.jitter_s * float(rng.uniform(-1.0, 1.0))


def _seed(*parts: int) -> int:
    return int(np.random.default_rng(parts).integers(2**31))
