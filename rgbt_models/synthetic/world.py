# SPDX-License-Identifier: Apache-2.0
"""Pictures of the world: views of one camera, pairs of two."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Flag
from typing import Any, TYPE_CHECKING, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from rgbt_models.contrast import RGB_SPAN
from rgbt_models.errors import RGBTError
from rgbt_models.synthetic.amodal import AmodalTruth, measure_amodal
from rgbt_models.synthetic.contrast import (
    compare_cameras,
    measure_contrast,
    PairContrast,
    stretched_span,
)
from rgbt_models.synthetic.labels import find_objects, ObjectTruth
from rgbt_models.synthetic.materials import Label
from rgbt_models.synthetic.radiometry import measure_temperature
from rgbt_models.synthetic.rgb_sensor import (
    CLEAN_RGB,
    expose_rgb,
    Exposure,
    grey_noise,
    RgbSensor,
    sample_exposure,
    sample_rgb_sensor,
)
from rgbt_models.synthetic.scene import sample_scene, Snapshot
from rgbt_models.synthetic.shading import shade_surface
from rgbt_models.synthetic.surface import gather_surface
from rgbt_models.synthetic.thermal_sensor import (
    count_thermal,
    PLAIN_THERMAL,
    sample_thermal_sensor,
    ThermalSensor,
)

if TYPE_CHECKING:
    from rgbt_models.synthetic.arrays import ByteArray, CountArray, FloatArray, IndexArray
    from rgbt_models.synthetic.environment import Condition, Environment
    from rgbt_models.synthetic.faults import FaultKind
    from rgbt_models.synthetic.rig import Camera, Rig

Array: TypeAlias = NDArray[Any]

_CHUNK = 16384  # rays whose intermediate arrays stay in the processor's cache
_LEAST_HEADLIGHT = 1e-3  # weaker ones are not computed
_GLARE = 0.02  # of an ordinary front glass, with all lights on


class Extra(Flag):
    """Truth that costs time, to be combined with ``|``."""

    NONE = 0
    AMODAL = 1  # CameraView.amodal: whole boxes, occlusion, truncation
    CONTRAST = 2  # SyntheticPair.contrast
    ALL_QUANTITIES = 4  # temperature in the RGB view and radiance in the thermal view
    ALL = 7


@dataclass(frozen=True, slots=True, kw_only=True)
class Sensors:
    """The electronics of both cameras."""

    rgb: RgbSensor | None = None  # None = clean, in the weather and the lamps of the scene
    thermal: ThermalSensor = PLAIN_THERMAL
    rgb_noise: float = 0.0  # standard deviation, of full scale


CLEAN_SENSORS = Sensors()


class ViewError(RGBTError, ValueError):
    """A view lacks the quantity asked for."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class CameraView:
    """What one camera sees, with the truth, before the sensor's electronics."""

    label_map: ByteArray  # (h, w) uint8, Label
    instance_map: IndexArray  # (h, w) int32, -1 = no object
    depth_m: FloatArray  # (h, w) float32, along the optical axis, inf = sky
    objects: ObjectTruth
    radiance: FloatArray | None  # (h, w, 3) float32, linear RGB; None if not asked for
    temperature_c: FloatArray | None  # (h, w) float32; None if not asked for
    amodal: AmodalTruth | None = None  # follows objects; None if not asked for


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class SyntheticPair:
    """An RGB and a thermal image of one instant, each in its own pixels.

    Those of a sequence may be exposed one after the other, by cameras that fail.
    """

    rgb: ByteArray  # (h, w, 3) uint8
    thermal_raw: CountArray  # (h, w) uint16, counts of thermal_sensor: 0.01 K unless said
    rgb_view: CameraView  # radiance filled
    thermal_view: CameraView  # temperature_c filled
    environment: Environment
    rig: Rig
    condition: Condition | None = None  # as drawn; None = not of one kind
    exposure: Exposure | None = None  # of rgb; None = unknown
    rgb_sensor: RgbSensor = CLEAN_RGB
    thermal_sensor: ThermalSensor = PLAIN_THERMAL
    contrast: PairContrast | None = None  # None if not asked for
    time_s: float | None = None  # of rgb, since the start of the sequence; None = of no sequence
    skew_s: float = 0.0  # exposure of thermal minus that of rgb
    rgb_fault: FaultKind | None = None  # how the camera fails, None if it works
    thermal_fault: FaultKind | None = None

    @property
    def is_night(self) -> bool:
        """True when more than half of the lights are on."""
        return self.environment.is_night


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class _Rays:
    """The rays of one view and what they hit, all pixels."""

    direction: FloatArray  # (n, 3), world
    rig_direction: FloatArray  # (n, 3)
    triangle: IndexArray  # (n,)
    range_m: FloatArray  # (n,)
    origin: FloatArray  # (3,), world


def render_view(
    snapshot: Snapshot,
    camera: Camera,
    *,
    radiance: bool = True,
    temperature: bool = True,
    supersampling: float = 1.0,
    amodal: bool = False,
) -> CameraView:
    """Look at a scene through one camera.

    Args:
        snapshot: ``Scene.at(time_s)``.
        camera: Where and how to look.
        radiance: Compute the visible image.
        temperature: Compute the thermal image.
        supersampling: Rays per pixel and direction; images are averaged, labels and depth are
            those of the ray nearest to the middle of the pixel.
        amodal: Also look at each object alone.

    Returns:
        The view at the camera's own size.
    """
    dense = camera if supersampling == 1.0 else camera.scaled(supersampling)
    rays = _cast(snapshot, dense)
    light, heat = _compute(snapshot, rays, radiance=radiance, temperature=temperature)
    label, instance = _label(snapshot, rays.triangle)
    depth = rays.range_m * (rays.rig_direction @ camera.forward.astype(np.float32))
    instance_map = _picture(instance, dense, camera, cv2.INTER_NEAREST_EXACT)
    objects = find_objects(instance_map, snapshot.scene.instance_class_ids)
    return CameraView(
        label_map=_picture(label, dense, camera, cv2.INTER_NEAREST_EXACT),
        instance_map=instance_map,
        depth_m=_picture(depth, dense, camera, cv2.INTER_NEAREST_EXACT),
        objects=objects,
        radiance=None if light is None else _picture(light.T, dense, camera, cv2.INTER_AREA),
        temperature_c=None if heat is None else _picture(heat, dense, camera, cv2.INTER_AREA),
        amodal=measure_amodal(snapshot, camera, objects) if amodal else None,
    )


def _picture(values: Array, dense: Camera, camera: Camera, interpolation: int) -> Array:
    """Turn one value (or row) per ray into an image of the camera's own size."""
    image = np.ascontiguousarray(values).reshape(dense.height, dense.width, *values.shape[1:])
    if dense is camera:
        return image
    small = cv2.resize(image, (camera.width, camera.height), interpolation=interpolation)
    return np.asarray(small, values.dtype)


def _cast(snapshot: Snapshot, camera: Camera) -> _Rays:
    rig_direction = camera.rays()
    rotation = snapshot.ego.rotation
    direction = rig_direction @ rotation.T.astype(np.float32)
    origin = (snapshot.ego.position + rotation @ camera.position).astype(np.float32)
    triangle, range_m = snapshot.caster.cast(origin, direction)
    return _Rays(
        direction=direction,
        rig_direction=rig_direction,
        triangle=triangle,
        range_m=range_m,
        origin=origin,
    )


def _compute(
    snapshot: Snapshot, rays: _Rays, *, radiance: bool, temperature: bool
) -> tuple[FloatArray | None, FloatArray | None]:
    environment = snapshot.environment
    count = len(rays.triangle)
    light = np.empty((3, count), np.float32) if radiance else None
    heat = np.empty(count, np.float32) if temperature else None
    if light is None and heat is None:
        return None, None
    has_head_lamps = environment.ego_headlight * environment.lights > _LEAST_HEADLIGHT
    for start in range(0, count, _CHUNK):
        chunk = slice(start, min(start + _CHUNK, count))
        surface = gather_surface(
            snapshot,
            (rays.triangle[chunk], rays.range_m[chunk]),
            np.ascontiguousarray(rays.direction[chunk].T),
            origin=rays.origin,
            sees_light=radiance,
            sees_heat=temperature,
        )
        if light is not None:
            beam = np.ascontiguousarray(rays.rig_direction[chunk].T) if has_head_lamps else None
            light[:, chunk] = shade_surface(snapshot, surface, beam)
        if heat is not None:
            heat[chunk] = measure_temperature(snapshot, surface)
    return light, heat


def _label(snapshot: Snapshot, triangle: IndexArray) -> tuple[ByteArray, IndexArray]:
    table, is_hit = snapshot.scene.materials, triangle >= 0
    material = snapshot.triangle_materials.take(np.maximum(triangle, 0))
    label = table.label.astype(np.uint8).take(material)
    label[~is_hit] = Label.SKY
    instance = table.instance.take(material)
    instance[~is_hit] = -1
    return label, instance


def render_pair(
    seed: int,
    rig: Rig,
    *,
    condition: Condition | None = None,
    supersampling: float = 1.0,
    sensors: Sensors | None = CLEAN_SENSORS,
    extras: Extra = Extra.NONE,
) -> SyntheticPair:
    """Draw a scene and take both pictures of it.

    Args:
        seed: The same arguments give the same pair, byte for byte.
        rig: The two cameras.
        condition: Light and weather; None draws.
        supersampling: Rays per pixel and direction.
        sensors: The electronics of both cameras; None draws them too.
        extras: Truth to compute besides visible boxes and maps.
    """
    scene = sample_scene(seed, condition=condition, view_angle_rad=rig.rgb.hfov_rad)
    snapshot = scene.at()
    rgb_view, thermal_view = render_views(
        snapshot, rig, supersampling=supersampling, extras=extras
    )
    environment, radiance = snapshot.environment, radiance_of(rgb_view)
    used = _draw_sensors(seed, environment) if sensors is None else sensors
    rgb_sensor = in_weather(environment) if used.rgb is None else used.rgb
    rgb_rng, thermal_rng = np.random.default_rng([seed, 1]).spawn(2)
    exposure = sample_exposure(radiance, rgb_rng, lights=environment.lights)
    exposure = replace(exposure, noise=used.rgb_noise)
    pair = SyntheticPair(
        rgb=expose_rgb(radiance, rgb_rng, exposure=exposure, sensor=rgb_sensor),
        thermal_raw=count_thermal(temperature_of(thermal_view), thermal_rng, sensor=used.thermal),
        rgb_view=rgb_view,
        thermal_view=thermal_view,
        environment=environment,
        rig=rig,
        condition=scene.condition,
        exposure=exposure,
        rgb_sensor=rgb_sensor,
        thermal_sensor=used.thermal,
    )
    return replace(pair, contrast=contrast_of(pair)) if Extra.CONTRAST in extras else pair


def in_weather(environment: Environment) -> RgbSensor:
    """Return a clean RGB camera in rain and lamps: streaks, drops and glare are no electronics."""
    return RgbSensor(rain=float(environment.rain), glare=_GLARE * float(environment.lights))


def _draw_sensors(seed: int, environment: Environment) -> Sensors:
    rgb_rng, thermal_rng = np.random.default_rng([seed, 4]).spawn(2)
    lights, rain = float(environment.lights), float(environment.rain)
    return Sensors(
        rgb=sample_rgb_sensor(rgb_rng, lights=lights, rain=rain),
        thermal=sample_thermal_sensor(thermal_rng),
    )


def contrast_of(pair: SyntheticPair) -> PairContrast:
    """Measure how well each camera of a pair sees each object.

    Raises:
        ViewError: If the exposure of the RGB image is unknown.
    """
    if pair.exposure is None:
        raise ViewError(
            'the pair has no exposure; expected the one of its RGB image, whose noise depends on '
            'it; pass exposure=... when the pair is built'
        )
    grey, thermal = grey_noise(pair.exposure, pair.rgb_sensor), pair.thermal_sensor
    contrast_rgb = measure_contrast(
        pair.rgb,
        pair.rgb_view.instance_map,
        pair.rgb_view.objects,
        noise_at=lambda level: float(grey[round(level)]),
        span=RGB_SPAN,
    )
    contrast_thermal = measure_contrast(
        pair.thermal_raw,
        pair.thermal_view.instance_map,
        pair.thermal_view.objects,
        noise_at=lambda _: thermal.noise_k * thermal.counts_per_k,
        span=stretched_span(pair.thermal_raw),
    )
    return compare_cameras(
        pair.rgb_view.objects, contrast_rgb, pair.thermal_view.objects, contrast_thermal
    )


def render_views(
    snapshot: Snapshot, rig: Rig, *, supersampling: float = 1.0, extras: Extra = Extra.NONE
) -> tuple[CameraView, CameraView]:
    """Look through both cameras, RGB first; each computes what it can see, and the extras."""
    has_all, has_amodal = Extra.ALL_QUANTITIES in extras, Extra.AMODAL in extras
    rgb_view = render_view(
        snapshot, rig.rgb, temperature=has_all, supersampling=supersampling, amodal=has_amodal
    )
    thermal_view = render_view(
        snapshot, rig.thermal, radiance=has_all, supersampling=supersampling, amodal=has_amodal
    )
    return rgb_view, thermal_view


def radiance_of(view: CameraView) -> FloatArray:
    """Return the view's radiance.

    Raises:
        ViewError: If the view was rendered without it.
    """
    if view.radiance is None:
        raise ViewError(
            'the view has no radiance; expected a visible image; '
            'render it with render_view(..., radiance=True)'
        )
    return view.radiance


def temperature_of(view: CameraView) -> FloatArray:
    """Return the view's temperature, degrees Celsius.

    Raises:
        ViewError: If the view was rendered without it.
    """
    if view.temperature_c is None:
        raise ViewError(
            'the view has no temperature_c; expected a thermal image; '
            'render it with render_view(..., temperature=True)'
        )
    return view.temperature_c
