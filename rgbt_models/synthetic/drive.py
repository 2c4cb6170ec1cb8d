# SPDX-License-Identifier: Apache-2.0
"""A drive along one street, from day into night, as a sequence of pairs.

Traffic keeps to the right: the rig in the right lane behind a car, oncoming cars in the left
one, parked cars at both kerbs, people on the pavements, some crossing behind the car in front.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
import math
from typing import TYPE_CHECKING

import numpy as np

from rgbt_models.synthetic.actors import Course
from rgbt_models.synthetic.builder import Placer, SceneBuilder
from rgbt_models.synthetic.clutter import add_clutter, add_street_lamp
from rgbt_models.synthetic.environment import (
    Environment,
    interpolate,
    sample_day,
    sample_night,
)
from rgbt_models.synthetic.population import add_bicycle, add_car, add_person
from rgbt_models.synthetic.scene import (
    Appearance,
    EgoPose,
    finish_scene,
    Scene,
    Snapshot,
)
from rgbt_models.synthetic.sensors import count_thermal, expose_rgb, Exposure, measure_exposure
from rgbt_models.synthetic.street import add_buildings, add_ground, Street
from rgbt_models.synthetic.world import (
    radiance_of,
    render_views,
    SyntheticPair,
    temperature_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rgbt_models.synthetic.arrays import FloatArray
    from rgbt_models.synthetic.rig import Rig

_VIEW_M = 120.0  # built-up street ahead of the last position
_LANE_M = 1.75  # middle of a lane from the middle of the road
_PARKED_M = 4.55  # middle of a parked car from the middle of the road
_HALF_WIDTH_M = 5.7
_CAMERA_HEIGHT_M = 1.6
_SPEED_M_S = 4.0  # of the rig; when people cross is timed for it
_GAP_M = 17.0  # to the car in front
_WALKING_M_S = 1.35
_DAY_UNTIL, _NIGHT_FROM = 0.2, 0.75  # shares of the drive
_EXPOSURE_SMOOTHING_S = 0.6
_NIGHT_GAIN = 4.0
_NETD_K = 0.008
_LENS_BLUR_PX = 0.9
_CLOTHES_C = 15.0  # the weather that people are dressed for


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class DriveInstant:
    """One instant of a drive."""

    time_s: float
    pair: SyntheticPair
    ego: EgoPose


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Drive:
    """A street to drive along and the light of both ends."""

    scene: Scene  # with the environment of the day
    night: Environment
    duration_s: float
    speed_m_s: float

    def snapshot_at(self, time_s: float) -> Snapshot:
        """Freeze the drive at a time."""
        share = (time_s / self.duration_s - _DAY_UNTIL) / (_NIGHT_FROM - _DAY_UNTIL)
        share = min(max(share, 0.0), 1.0)
        fraction = share * share * (3.0 - 2.0 * share)
        environment = interpolate(self.scene.environment, self.night, fraction)
        return self.scene.at(time_s, ego=self._ego_at(time_s), environment=environment)

    def _ego_at(self, time_s: float) -> EgoPose:
        # The car rolls and pitches a little on its springs.
        return EgoPose(
            position=np.array([self.speed_m_s * time_s, 0.0, _CAMERA_HEIGHT_M]),
            yaw_rad=0.012 * math.sin(0.5 * time_s),
            pitch_rad=-0.015 + 0.003 * math.sin(5.1 * time_s),
            roll_rad=0.002 * math.sin(3.7 * time_s + 1.0),
        )


def render_drive(
    seed: int, *, duration_s: float, rate_hz: float, rig: Rig
) -> Iterator[DriveInstant]:
    """Render a drive, instant by instant.

    Args:
        seed: The same arguments give the same images, byte for byte.
        duration_s: Length of the drive; day lasts for a fifth of it, night for the last quarter.
        rate_hz: Pairs per second; the first at time 0, none at ``duration_s``.
        rig: The two cameras.

    Yields:
        Pairs with their ground truth, in order of time.
    """
    drive = sample_drive(seed, duration_s=duration_s)
    # Its own generator: how many instants are rendered must not change the street.
    rgb_rng, thermal_rng = np.random.default_rng([seed, 1]).spawn(2)
    gain = 0.0
    for index in range(round(duration_s * rate_hz)):
        time_s = index / rate_hz
        snapshot = drive.snapshot_at(time_s)
        rgb_view, thermal_view = render_views(snapshot, rig)
        wanted = _meter(radiance_of(rgb_view), snapshot.environment.lights)
        keep = math.exp(-1.0 / (rate_hz * _EXPOSURE_SMOOTHING_S)) if gain > 0.0 else 0.0
        gain = wanted.gain ** (1.0 - keep) * (gain**keep if gain > 0.0 else 1.0)
        exposure = replace(wanted, gain=gain, noise=0.001 + 0.0012 * gain)
        pair = SyntheticPair(
            rgb=expose_rgb(radiance_of(rgb_view), rgb_rng, exposure=exposure),
            thermal_raw=count_thermal(
                temperature_of(thermal_view),
                thermal_rng,
                netd_k=_NETD_K,
                blur_px=_LENS_BLUR_PX,
                pattern_k=_NETD_K,
            ),
            rgb_view=rgb_view,
            thermal_view=thermal_view,
            environment=snapshot.environment,
            rig=rig,
        )
        yield DriveInstant(time_s=time_s, pair=pair, ego=snapshot.ego)


def _meter(radiance: FloatArray, lights: float) -> Exposure:
    max_gain = math.exp((1.0 - lights) * math.log(100.0) + lights * math.log(_NIGHT_GAIN))
    return measure_exposure(
        radiance, percentile=70.0, level=0.3, max_gain=max_gain, glow=0.25 * lights
    )


def sample_drive(seed: int, *, duration_s: float) -> Drive:
    """Draw the street, the traffic and the light of a drive."""
    light_rng, street_rng, traffic_rng, people_rng, clutter_rng = np.random.default_rng(
        [seed, 2]
    ).spawn(5)
    length_m = _SPEED_M_S * duration_s + _VIEW_M
    day, night = _sample_light(light_rng)
    street = _sample_drive_street(street_rng, length_m)
    builder = SceneBuilder()
    add_ground(street_rng, builder, street)
    add_buildings(street_rng, builder, street)
    placer = _along_street_placer(street)
    _add_traffic(traffic_rng, builder, placer, street, speed_m_s=_SPEED_M_S)
    _add_people(people_rng, builder, placer, street, speed_m_s=_SPEED_M_S)
    add_clutter(clutter_rng, builder, placer, street, density=length_m / 60.0)
    for x in np.arange(12.0, length_m, 28.0):
        add_street_lamp(clutter_rng, builder, street, float(x), 1.0 if x % 56 < 28 else -1.0)
    scene = finish_scene(
        builder,
        street=street,
        appearance=_sample_drive_appearance(street_rng),
        environment=day,
        ego=EgoPose(position=np.array([0.0, 0.0, _CAMERA_HEIGHT_M])),
    )
    return Drive(scene=scene, night=night, duration_s=duration_s, speed_m_s=_SPEED_M_S)


def _sample_light(rng: np.random.Generator) -> tuple[Environment, Environment]:
    day = replace(
        sample_day(rng),
        sun_direction=np.array([-0.48, 0.6, 0.64], np.float32),
        sun_strength=0.8,
        ambient_c=rng.uniform(14.0, 19.0),
        solar_heating_k=6.0,
        ground_offset_k=3.0,
        haze_per_m=0.002,
        sky_depression_k=rng.uniform(10.0, 18.0),
        cloud_k=0.5,
        ego_headlight=0.7,
    )
    night = replace(
        sample_night(rng),
        sun_direction=day.sun_direction,
        ambient_c=day.ambient_c - 5.0,
        solar_heating_k=0.6,
        ground_offset_k=1.0,
        ego_headlight=0.7,
        sky_radiance=np.array([0.002, 0.0024, 0.003], np.float32),
        sky_light=np.array([0.012, 0.011, 0.009], np.float32),
        thermal_haze_per_m=day.thermal_haze_per_m,
        sky_depression_k=day.sky_depression_k,
        cloud_k=day.cloud_k,
    )
    return day, night


def _sample_drive_street(rng: np.random.Generator, length_m: float) -> Street:
    return Street(
        centre_y=_LANE_M,  # the rig drives at y = 0, in the right lane
        half_width_m=_HALF_WIDTH_M,
        pavement_m=rng.uniform(2.8, 3.6),
        kerb_m=0.12,
        setback_m=rng.uniform(4.0, 6.0),
        length_m=length_m,
        has_markings=True,
        marking_albedo=(0.6, 0.6, 0.6),
        marking_k=0.7,
        crossing_x=0.4 * length_m,
    )


def _sample_drive_appearance(rng: np.random.Generator) -> Appearance:
    return Appearance(
        fine_texture=int(rng.integers(6)),
        coarse_texture=int(rng.integers(6)),
        cloud_texture=int(rng.integers(6)),
        texels_per_m=14.0,
        albedo_contrast=1.2,
        thermal_contrast=0.5,
        lit_window_from=0.6,
        window_radiance=0.8,
    )


def _along_street_placer(street: Street) -> Placer:
    reach = street.half_width_m + street.setback_m

    def candidate(rng: np.random.Generator, near: float, far: float) -> tuple[float, float]:
        del far  # things stand along the whole street
        x = rng.uniform(near, street.length_m)
        return x, street.centre_y + rng.uniform(-reach, reach)

    return Placer(
        candidate,
        centre_y=street.centre_y,
        road_half_width_m=street.half_width_m,
        reach_y=reach,
        kerb_m=street.kerb_m,
    )


def _add_traffic(
    rng: np.random.Generator,
    builder: SceneBuilder,
    placer: Placer,
    street: Street,
    *,
    speed_m_s: float,
) -> None:
    ahead = Course(position=_point(_GAP_M, 0.0, 0.0), yaw_rad=0.0, speed_m_s=speed_m_s)
    add_car(rng, builder, ahead, is_running=True)
    left_lane = street.centre_y + _LANE_M
    for x in np.arange(55.0, 2.2 * street.length_m, 62.0):
        position = _point(x + rng.uniform(-8.0, 8.0), left_lane, 0.0)
        course = Course(position=position, yaw_rad=math.pi, speed_m_s=7.0)
        add_car(rng, builder, course, is_running=True)
    for side, yaw in ((1.0, math.pi), (-1.0, 0.0)):
        x = rng.uniform(8.0, 14.0)
        while x < street.length_m:
            if rng.random() < 0.55:
                y = street.centre_y + side * _PARKED_M
                placer.take(x, y, 2.3)
                course = Course(position=_point(x, y, 0.0), yaw_rad=yaw + rng.normal(0.0, 0.02))
                add_car(rng, builder, course, is_running=False)
            x += rng.uniform(6.8, 11.0)
    for x, side, yaw in ((26.0, -1.0, 0.0), (90.0, 1.0, math.pi)):
        # Between the lane and the parked cars.
        position = _point(x, street.centre_y + side * (_LANE_M + 1.35), 0.0)
        course = Course(position=position, yaw_rad=yaw, speed_m_s=3.6)
        add_bicycle(rng, builder, course, ambient_c=_CLOTHES_C, has_rider=True)


def _add_people(
    rng: np.random.Generator,
    builder: SceneBuilder,
    placer: Placer,
    street: Street,
    *,
    speed_m_s: float,
) -> None:
    edge = street.half_width_m + 0.6
    outer = street.half_width_m + street.pavement_m - 0.4
    for _ in range(round(street.length_m / 4.5)):
        x, side = rng.uniform(6.0, street.length_m), float(rng.choice([-1.0, 1.0]))
        lateral = side * rng.uniform(edge, outer)
        position = _point(x, street.centre_y + lateral, street.kerb_m)
        course = Course(position=position, yaw_rad=float(rng.choice([0.0, math.pi])))
        add_person(rng, builder, course, ambient_c=_CLOTHES_C)
        if rng.random() < 0.25:
            beside = position + _point(rng.normal(0.0, 0.3), 0.55 * -side, 0.0)
            add_person(rng, builder, replace(course, position=beside), ambient_c=_CLOTHES_C)
    for _ in range(round(street.length_m / 25.0)):
        spot = placer.place(
            rng, near_m=8.0, far_m=street.length_m, radius_m=0.8, beyond_m=edge, within_m=outer
        )
        if spot is not None:
            course = Course(position=spot, yaw_rad=rng.uniform(0.0, 2.0 * math.pi))
            add_bicycle(rng, builder, course, ambient_c=_CLOTHES_C, has_rider=False)
    _add_crossing_people(rng, builder, street, speed_m_s=speed_m_s)


def _add_crossing_people(
    rng: np.random.Generator, builder: SceneBuilder, street: Street, *, speed_m_s: float
) -> None:
    """Let people cross behind the car in front, well before the rig arrives."""
    kerb = street.half_width_m + 0.5
    for x in np.arange(30.0, street.length_m - 0.6 * _VIEW_M, 34.0):
        side = float(rng.choice([-1.0, 1.0]))
        passes_lane_s = x / speed_m_s - 2.6
        to_lane_m = kerb + side * _LANE_M
        course = Course(
            position=_point(x, street.centre_y + side * kerb, 0.0),
            yaw_rad=-side * math.pi / 2,
            speed_m_s=_WALKING_M_S,
            start_s=passes_lane_s - to_lane_m / _WALKING_M_S,
            length_m=2.0 * kerb,
        )
        add_person(rng, builder, course, ambient_c=_CLOTHES_C, has_own_speed=False)


def _point(x: float, y: float, z: float) -> FloatArray:
    return np.array([x, y, z], np.float32)
