# SPDX-License-Identifier: Apache-2.0
"""Pictures of the world: views of one camera, pairs of two."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TYPE_CHECKING, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from rgbt_models.errors import RGBTError
from rgbt_models.synthetic.labels import find_objects, ObjectTruth
from rgbt_models.synthetic.materials import Label
from rgbt_models.synthetic.radiometry import measure_temperature
from rgbt_models.synthetic.scene import sample_scene, Snapshot
from rgbt_models.synthetic.sensors import count_thermal, expose_rgb
from rgbt_models.synthetic.shading import shade_surface
from rgbt_models.synthetic.surface import gather_surface

if TYPE_CHECKING:
    from rgbt_models.synthetic.arrays import ByteArray, CountArray, FloatArray, IndexArray
    from rgbt_models.synthetic.environment import Environment
    from rgbt_models.synthetic.rig import Camera, Rig

Array: TypeAlias = NDArray[Any]

_CHUNK = 16384  # rays whose intermediate arrays stay in the processor's cache
_LEAST_HEADLIGHT = 1e-3
_LEAST_HEATING_K = 0.05


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


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class SyntheticPair:
    """An RGB and a thermal image of one instant, each in its own pixels."""

    rgb: ByteArray  # (h, w, 3) uint8
    thermal_raw: CountArray  # (h, w) uint16, 0.01 K
    rgb_view: CameraView  # radiance filled
    thermal_view: CameraView  # temperature_c filled
    environment: Environment
    rig: Rig

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
) -> CameraView:
    """Look at a scene through one camera.

    Args:
        snapshot: ``Scene.at(time_s)``.
        camera: Where and how to look.
        radiance: Compute the visible image.
        temperature: Compute the thermal image.
        supersampling: Rays per pixel and direction; images are averaged, labels are not.

    Returns:
        The view at the camera's own size.
    """
    dense = camera if supersampling == 1.0 else camera.scaled(supersampling)
    rays = _cast(snapshot, dense)
    light, heat = _compute(snapshot, rays, radiance=radiance, temperature=temperature)
    label, instance = _label(snapshot, rays.triangle)
    depth = rays.range_m * (rays.rig_direction @ camera.forward.astype(np.float32))
    instance_map = _picture(instance, dense, camera, cv2.INTER_NEAREST)
    return CameraView(
        label_map=_picture(label, dense, camera, cv2.INTER_NEAREST),
        instance_map=instance_map,
        depth_m=_picture(depth, dense, camera, cv2.INTER_NEAREST),
        objects=find_objects(instance_map, snapshot.scene.instance_class_ids),
        radiance=None if light is None else _picture(light.T, dense, camera, cv2.INTER_AREA),
        temperature_c=None if heat is None else _picture(heat, dense, camera, cv2.INTER_AREA),
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
    needs_sun = (radiance and environment.sun_strength > 0.0) or (
        temperature and environment.solar_heating_k > _LEAST_HEATING_K
    )
    for start in range(0, count, _CHUNK):
        chunk = slice(start, min(start + _CHUNK, count))
        surface = gather_surface(
            snapshot,
            rays.triangle[chunk],
            rays.range_m[chunk],
            np.ascontiguousarray(rays.direction[chunk].T),
            origin=rays.origin,
            needs_sun=needs_sun,
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
    night: bool | None = None,
    supersampling: float = 1.0,
    rgb_noise: float = 0.0,
    all_quantities: bool = False,
) -> SyntheticPair:
    """Draw a scene and take both pictures of it.

    Args:
        seed: The same seed and rig give the same pair, byte for byte.
        rig: The two cameras.
        night: Force day or night; None draws.
        supersampling: Rays per pixel and direction.
        rgb_noise: Standard deviation of the RGB sensor's noise, of full scale.
        all_quantities: Also compute the temperature in the RGB view and the radiance in the
            thermal view.
    """
    scene = sample_scene(seed, night=night, view_angle_rad=rig.rgb.hfov_rad)
    snapshot = scene.at()
    rgb_view, thermal_view = render_views(
        snapshot, rig, supersampling=supersampling, all_quantities=all_quantities
    )
    rgb_rng, thermal_rng = np.random.default_rng([seed, 1]).spawn(2)
    rgb = expose_rgb(
        radiance_of(rgb_view), rgb_rng, lights=snapshot.environment.lights, noise=rgb_noise
    )
    return SyntheticPair(
        rgb=rgb,
        thermal_raw=count_thermal(temperature_of(thermal_view), thermal_rng),
        rgb_view=rgb_view,
        thermal_view=thermal_view,
        environment=snapshot.environment,
        rig=rig,
    )


def render_views(
    snapshot: Snapshot, rig: Rig, *, supersampling: float = 1.0, all_quantities: bool = False
) -> tuple[CameraView, CameraView]:
    """Look through both cameras, RGB first; each computes what it can see, or everything."""
    rgb_view = render_view(
        snapshot, rig.rgb, temperature=all_quantities, supersampling=supersampling
    )
    thermal_view = render_view(
        snapshot, rig.thermal, radiance=all_quantities, supersampling=supersampling
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
