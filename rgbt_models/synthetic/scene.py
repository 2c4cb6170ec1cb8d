# SPDX-License-Identifier: Apache-2.0
"""Scenes: a place with actors, seen by an ego rig, under an environment.

``Scene`` is the content over time; ``Scene.at`` freezes it into a ``Snapshot``, which holds the
triangles and the acceleration structure that every camera of that instant shares.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
import math
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from rgbt_models.errors import RGBTError
from rgbt_models.synthetic.arrays import (
    DoubleArray,
    FloatArray,
    IndexArray,
    IntArray,
    rotation_from_angles,
)
from rgbt_models.synthetic.builder import Beams, Lamps, SceneBuilder
from rgbt_models.synthetic.clutter import add_clutter
from rgbt_models.synthetic.environment import (
    Condition,
    Environment,
    sample_condition,
    sample_environment,
)
from rgbt_models.synthetic.layouts import build_layout, Layout, LayoutKind, sample_layout_kind
from rgbt_models.synthetic.materials import MaterialTable
from rgbt_models.synthetic.meshes import face_normals
from rgbt_models.synthetic.placement import add_animals, add_people, add_traffic, Crew
from rgbt_models.synthetic.placer import Footprint, Placer
from rgbt_models.synthetic.raycast import RayCaster
from rgbt_models.synthetic.textures import NUM_TEXTURES

if TYPE_CHECKING:
    from rgbt_models.synthetic.actors import Actor

WORLD_VERSION = '2.0.0'

_Kind = TypeVar('_Kind', bound=Enum)
_EGO_RADIUS_M = 2.0
_WAY_WIDTH_M = 2.6
_SIDE_MARGIN_M = 1.5
_ELEVATED_SHARE, _TALL_SHARE = 0.14, 0.05
_ELEVATED_PITCH_RAD = (0.21, 0.52)  # downwards


class SceneError(RGBTError, ValueError):
    """A scene cannot be drawn as asked for."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class EgoPose:
    """Where the rig is in the world (x along its free way, z up)."""

    position: DoubleArray  # (3,), m
    yaw_rad: float = 0.0
    pitch_rad: float = 0.0
    roll_rad: float = 0.0

    @property
    def rotation(self) -> DoubleArray:
        """Rotation, shape (3, 3): v_world = rotation @ v_rig."""
        return rotation_from_angles(self.yaw_rad, self.pitch_rad, self.roll_rad)


@dataclass(frozen=True, slots=True, kw_only=True)
class Appearance:
    """How strongly surfaces vary, the same for a whole scene."""

    fine_texture: int
    coarse_texture: int
    cloud_texture: int
    texels_per_m: float
    albedo_contrast: float  # multiplies every Material.texture_rgb
    thermal_contrast: float  # multiplies every Material.texture_k
    lit_window_from: float  # windows with a hash above this are lit at night
    window_radiance: float


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Scene:
    """A place with everything on it; ``at`` gives the state at a time."""

    fixed_triangles: FloatArray  # (n, 3, 3), m
    fixed_materials: IndexArray  # (n,)
    actors: tuple[Actor, ...]
    materials: MaterialTable
    instance_class_ids: IntArray  # (k,), index into the detection classes
    lamps: Lamps
    beams: Beams
    layout: Layout
    appearance: Appearance
    environment: Environment
    ego: EgoPose
    condition: Condition | None = None  # what was asked for or drawn; None = made by hand

    def at(
        self,
        time_s: float = 0.0,
        *,
        ego: EgoPose | None = None,
        environment: Environment | None = None,
    ) -> Snapshot:
        """Freeze the scene.

        Args:
            time_s: Actors have moved for this long.
            ego: Pose of the rig; the scene's own if None.
            environment: Light and heat; the scene's own if None.
        """
        triangles, materials = [self.fixed_triangles], [self.fixed_materials]
        num_frames = 1 + max((actor.frame for actor in self.actors), default=0)
        frames = np.zeros((4, num_frames), np.float32)
        frames[2] = 1.0
        for actor in self.actors:
            mesh, indices = actor.triangles_at(time_s)
            triangles.append(mesh)
            materials.append(indices)
            x, y, _ = actor.course.position_at(time_s)
            cos, sin, _ = actor.course.heading
            frames[:, actor.frame] = x, y, cos, sin
        joined = np.ascontiguousarray(np.concatenate(triangles), np.float32)
        return Snapshot(
            scene=self,
            environment=self.environment if environment is None else environment,
            ego=self.ego if ego is None else ego,
            caster=RayCaster(joined),
            normals=face_normals(joined),
            triangle_materials=np.concatenate(materials),
            frames=frames,
        )


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Snapshot:
    """A scene at one instant, ready to be seen by cameras."""

    scene: Scene
    environment: Environment
    ego: EgoPose
    caster: RayCaster
    normals: FloatArray  # (n, 3), unit, either side
    triangle_materials: IndexArray  # (n,)
    frames: FloatArray  # (4, f): x, y, cos(yaw), sin(yaw) of every moving frame


def sample_appearance(rng: np.random.Generator) -> Appearance:
    """Draw how strongly surfaces vary."""
    return Appearance(
        fine_texture=int(rng.integers(NUM_TEXTURES)),
        coarse_texture=int(rng.integers(NUM_TEXTURES)),
        cloud_texture=int(rng.integers(NUM_TEXTURES)),
        texels_per_m=rng.uniform(8.0, 30.0),
        albedo_contrast=rng.uniform(1.0, 4.5),
        thermal_contrast=rng.uniform(0.5, 4.0),
        lit_window_from=rng.uniform(0.55, 1.0),
        window_radiance=rng.uniform(0.3, 2.0),
    )


def sample_ego(rng: np.random.Generator, *, yaw_spread_rad: float = 0.22) -> EgoPose:
    """Draw a rig pose: mostly 1.1..2.4 m high; one in seven on a mast or a facade, looking down.

    Args:
        rng: Source of randomness.
        yaw_spread_rad: Standard deviation of the direction, which is +x in the mean.
    """
    draw, pitch = rng.random(), rng.normal(-0.01, 0.045)
    if draw < _ELEVATED_SHARE:
        height, pitch = rng.uniform(3.0, 8.0), -rng.uniform(*_ELEVATED_PITCH_RAD)
    elif draw < _ELEVATED_SHARE + _TALL_SHARE:
        height = rng.uniform(2.4, 3.6)  # lorries, small masts
        pitch -= (height - 2.4) * 0.06
    else:
        height = rng.uniform(1.1, 2.4)
    return EgoPose(
        position=np.array([0.0, 0.0, height]),
        yaw_rad=rng.normal(0.0, yaw_spread_rad),
        pitch_rad=pitch,
        roll_rad=rng.normal(0.0, 0.015),
    )


def finish_scene(
    builder: SceneBuilder,
    *,
    layout: Layout,
    appearance: Appearance,
    environment: Environment,
    ego: EgoPose,
    condition: Condition | None = None,
) -> Scene:
    """Turn what a builder collected into a scene."""
    triangles, materials = builder.fixed.joined()
    return Scene(
        fixed_triangles=triangles,
        fixed_materials=materials,
        actors=tuple(builder.actors),
        materials=MaterialTable.from_materials(builder.materials),
        instance_class_ids=np.array(builder.instance_class_ids, np.int64),
        lamps=builder.lamps(),
        beams=builder.beams(),
        layout=layout,
        appearance=appearance,
        environment=environment,
        ego=ego,
        condition=condition,
    )


def sample_scene(
    seed: int,
    *,
    condition: Condition | str | None = None,
    environment: Environment | None = None,
    layout: LayoutKind | str | None = None,
    view_angle_rad: float = math.radians(56.0),
    keep_way_clear: bool = False,
) -> Scene:
    """Draw a scene.

    What stands where does not depend on the condition: the same seed by day and by night is the
    same place with the same people, dressed for the air's temperature.

    Args:
        seed: The same seed gives the same scene.
        condition: Light and weather, as ``Condition`` or by its name; None draws one.
        environment: Used instead of one that is drawn; then the condition is only noted.
        layout: Kind of place, as ``LayoutKind`` or by its name; None draws one.
        view_angle_rad: Horizontal angle, below pi, within which things are placed: the field of
            view of the camera that will look.
        keep_way_clear: Leave the rig's way along +x free for ``Scene.layout.clear_m``.

    Raises:
        SceneError: If there is no such condition or layout.
    """
    wanted = None if condition is None else _kind_of(Condition, condition)
    wanted_layout = None if layout is None else _kind_of(LayoutKind, layout)
    light_rng, place_rng, actor_rng, clutter_rng, ego_rng = np.random.default_rng(seed).spawn(5)
    drawn = sample_condition(light_rng)
    asked = drawn if wanted is None and environment is None else wanted
    if environment is None:
        environment = sample_environment(light_rng, asked)
    appearance = sample_appearance(place_rng)
    kind = sample_layout_kind(place_rng)
    builder = SceneBuilder()
    place = build_layout(place_rng, builder, kind if wanted_layout is None else wanted_layout)
    ego = sample_ego(ego_rng, yaw_spread_rad=place.yaw_spread_rad)
    placer = _placer_in_view(place, ego, view_angle_rad)
    placer.take(0.0, 0.0, _EGO_RADIUS_M)
    if keep_way_clear:
        way = Footprint(length_m=place.clear_m, width_m=_WAY_WIDTH_M)
        placer.take_rectangle(place.clear_m / 2, 0.0, 0.0, way)
    crew = Crew(rng=actor_rng, builder=builder, placer=placer, ambient_c=environment.ambient_c)
    add_traffic(crew)
    add_people(crew)
    add_animals(crew)
    add_clutter(clutter_rng, builder, placer)
    return finish_scene(
        builder,
        layout=place,
        appearance=appearance,
        environment=environment,
        ego=ego,
        condition=asked,
    )


def _kind_of(kinds: type[_Kind], wanted: _Kind | str) -> _Kind:
    try:
        return kinds(wanted)
    except ValueError:
        known = ', '.join(str(item.value) for item in kinds)
        raise SceneError(
            f'{kinds.__name__} is {wanted!r}, expected one of {known}; choose one'
        ) from None


def _placer_in_view(place: Layout, ego: EgoPose, view_angle_rad: float) -> Placer:
    """Return a placer whose candidates lie in what the camera sees."""
    slope = 1.06 * math.tan(0.5 * view_angle_rad)

    def candidate(rng: np.random.Generator, near: float, far: float) -> tuple[float, float]:
        distance = math.exp(rng.uniform(math.log(near), math.log(far)))
        bearing = ego.yaw_rad + math.atan(rng.uniform(-slope, slope))
        return distance * math.cos(bearing), distance * math.sin(bearing)

    def is_seen(x: float, y: float) -> bool:
        forward = x * math.cos(ego.yaw_rad) + y * math.sin(ego.yaw_rad)
        aside = y * math.cos(ego.yaw_rad) - x * math.sin(ego.yaw_rad)
        return forward > 0.0 and abs(aside) <= slope * forward + _SIDE_MARGIN_M

    return Placer(candidate, place, is_seen=is_seen)
