# SPDX-License-Identifier: Apache-2.0
"""Scenes: a street with actors, seen by an ego rig, under an environment.

``Scene`` is the content over time; ``Scene.at`` freezes it into a ``Snapshot``, which holds the
triangles and the acceleration structure that every camera of that instant shares.
"""

from __future__ import annotations

from dataclasses import dataclass
import math
from typing import TYPE_CHECKING

import numpy as np

from rgbt_models.synthetic.arrays import (
    DoubleArray,
    FloatArray,
    IndexArray,
    IntArray,
    rotation_from_angles,
)
from rgbt_models.synthetic.builder import Lamps, Placer, SceneBuilder
from rgbt_models.synthetic.clutter import add_clutter
from rgbt_models.synthetic.environment import Environment, sample_environment
from rgbt_models.synthetic.materials import MaterialTable
from rgbt_models.synthetic.meshes import face_normals
from rgbt_models.synthetic.population import add_people, add_traffic
from rgbt_models.synthetic.raycast import RayCaster
from rgbt_models.synthetic.street import add_buildings, add_ground, sample_street, Street
from rgbt_models.synthetic.textures import NUM_TEXTURES

if TYPE_CHECKING:
    from rgbt_models.synthetic.actors import Actor

WORLD_VERSION = '1.0.0'


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class EgoPose:
    """Where the rig is in the world (x along the street, z up)."""

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
    """A street with everything on it; ``at`` gives the state at a time."""

    fixed_triangles: FloatArray  # (n, 3, 3), m
    fixed_materials: IndexArray  # (n,)
    actors: tuple[Actor, ...]
    materials: MaterialTable
    instance_class_ids: IntArray  # (k,), index into the detection classes
    lamps: Lamps
    street: Street
    appearance: Appearance
    environment: Environment
    ego: EgoPose

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


def sample_ego(rng: np.random.Generator) -> EgoPose:
    """Draw a rig pose: 1.1..2.4 m high, one in ten up to 5 m and looking down."""
    height = rng.uniform(1.1, 2.4) if rng.random() < 0.9 else rng.uniform(2.4, 5.0)
    pitch = rng.normal(-0.01, 0.045) - max(height - 2.4, 0.0) * 0.05
    return EgoPose(
        position=np.array([0.0, 0.0, height]),
        yaw_rad=rng.normal(0.0, 0.22),
        pitch_rad=pitch,
        roll_rad=rng.normal(0.0, 0.015),
    )


def finish_scene(
    builder: SceneBuilder,
    *,
    street: Street,
    appearance: Appearance,
    environment: Environment,
    ego: EgoPose,
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
        street=street,
        appearance=appearance,
        environment=environment,
        ego=ego,
    )


def sample_scene(
    seed: int, *, night: bool | None = None, view_angle_rad: float = math.radians(56.0)
) -> Scene:
    """Draw a street scene.

    The layout does not depend on ``night``: the same seed by day and by night is the same street
    with the same people, dressed for the air's temperature.

    Args:
        seed: The same seed gives the same scene.
        night: Force day or night; None draws day, night or, one in ten, the time between.
        view_angle_rad: Horizontal angle within which things are placed: the field of view of
            the camera that will look.
    """
    light_rng, street_rng, actor_rng, clutter_rng, ego_rng = np.random.default_rng(seed).spawn(5)
    environment = sample_environment(light_rng, night=night)
    appearance = sample_appearance(street_rng)
    street = sample_street(street_rng)
    ego = sample_ego(ego_rng)
    slope = 1.06 * math.tan(0.5 * view_angle_rad)

    def candidate(rng: np.random.Generator, near: float, far: float) -> tuple[float, float]:
        distance = math.exp(rng.uniform(math.log(near), math.log(far)))
        bearing = ego.yaw_rad + math.atan(rng.uniform(-slope, slope))
        return distance * math.cos(bearing), distance * math.sin(bearing)

    placer = Placer(
        candidate,
        centre_y=street.centre_y,
        road_half_width_m=street.half_width_m,
        reach_y=street.half_width_m + street.setback_m,
        kerb_m=street.kerb_m,
    )
    builder = SceneBuilder()
    add_ground(street_rng, builder, street)
    add_buildings(street_rng, builder, street)
    ambient_c = environment.ambient_c
    add_traffic(actor_rng, builder, placer, street, ambient_c)
    add_people(actor_rng, builder, placer, ambient_c)
    add_clutter(clutter_rng, builder, placer, street)
    return finish_scene(
        builder, street=street, appearance=appearance, environment=environment, ego=ego
    )
