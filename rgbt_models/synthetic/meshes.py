# SPDX-License-Identifier: Apache-2.0
"""Triangle meshes of the primitives everything is put together from.

A mesh is a triangle soup: float32, shape (n, 3, 3) = triangle, corner, xyz in metres.
"""

from __future__ import annotations

import math
from typing import NamedTuple, TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from rgbt_models.synthetic.arrays import BoolArray, FloatArray, IndexArray


class _Limb(NamedTuple):
    """A unit limb: where it is stretched, and its faces."""

    vertices: FloatArray  # (v, 3)
    faces: IndexArray  # (f, 3)
    is_top: BoolArray  # (v,), belongs to the end, not to the start


def _sphere(num_rings: int, num_sectors: int) -> tuple[FloatArray, IndexArray]:
    polar = np.linspace(0.0, np.pi, num_rings + 1)[:, None]
    azimuth = (2.0 * np.pi * np.arange(num_sectors) / num_sectors)[None]
    vertices = np.stack(
        [
            np.sin(polar) * np.cos(azimuth),
            np.sin(polar) * np.sin(azimuth),
            np.broadcast_to(np.cos(polar), (num_rings + 1, num_sectors)),
        ],
        axis=-1,
    ).reshape(-1, 3)
    faces = []
    for ring in range(num_rings):
        for sector in range(num_sectors):
            a = ring * num_sectors + sector
            b = ring * num_sectors + (sector + 1) % num_sectors
            if ring > 0:
                faces.append((a, a + num_sectors, b))
            if ring < num_rings - 1:
                faces.append((b, a + num_sectors, b + num_sectors))
    return vertices.astype(np.float32), np.array(faces, np.int32)


def _cylinder(num_sectors: int) -> tuple[FloatArray, IndexArray]:
    angle = 2.0 * np.pi * np.arange(num_sectors) / num_sectors
    circle = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    low = np.concatenate([circle, np.full((num_sectors, 1), -0.5)], axis=1)
    high = np.concatenate([circle, np.full((num_sectors, 1), 0.5)], axis=1)
    vertices = np.concatenate([low, high, [[0, 0, -0.5], [0, 0, 0.5]]]).astype(np.float32)
    n = num_sectors
    faces = []
    for j in range(n):
        k = (j + 1) % n
        faces += [(j, k, n + j), (k, n + k, n + j), (2 * n, k, j), (2 * n + 1, n + j, n + k)]
    return vertices, np.array(faces, np.int32)


def _ring(num_sectors: int, num_sides: int) -> IndexArray:
    """Return the faces of a closed tube of ``num_sectors`` times ``num_sides`` vertices."""
    faces = []
    for i in range(num_sectors):
        here, there = i * num_sides, ((i + 1) % num_sectors) * num_sides
        for j in range(num_sides):
            k = (j + 1) % num_sides
            faces += [
                (here + j, here + k, there + j),
                (here + k, there + k, there + j),
            ]
    return np.array(faces, np.int32)


def _limb(profile: list[tuple[float, float]], num_sectors: int) -> _Limb:
    """Return a unit limb: rows of (height, radius) of one cap, mirrored for the other.

    The last row of the cap is the rim, where the tapered side begins.
    """
    angle = 2.0 * np.pi * np.arange(num_sectors) / num_sectors
    rows = [*profile, *[(-height, radius) for height, radius in reversed(profile)]]
    points = [
        np.stack(
            [radius * np.cos(angle), radius * np.sin(angle), np.full(num_sectors, height)], axis=1
        )
        for height, radius in rows
    ]
    count = len(rows)
    vertices = np.concatenate([*points, [[0, 0, 1], [0, 0, -1]]]).astype(np.float32)
    is_top = np.arange(count * num_sectors) < len(profile) * num_sectors
    faces, n = [], num_sectors
    for j in range(n):
        k = (j + 1) % n
        faces.append((count * n, j, k))
        for row in range(count - 1):
            low, high = row * n, (row + 1) * n
            faces += [(low + j, high + j, low + k), (low + k, high + j, high + k)]
        last = (count - 1) * n
        faces.append((count * n + 1, last + k, last + j))
    return _Limb(vertices, np.array(faces, np.int32), np.append(is_top, [True, False]))


_FRONT: FloatArray = np.array([1, 0, 0], np.float32)
_SIDE: FloatArray = np.array([0, 1, 0], np.float32)
_FINE_LIMB = _limb([(0.75, 0.66), (0.0, 1.0)], 9)  # 72 triangles: torsos, heads
_LIMB = _limb([(0.35, 1.0)], 7)  # 28 triangles: arms, legs, tubes
_BLOB, _BLOB_FACES = _sphere(5, 8)
_LEAVES = 110  # loose triangles around each clump
_CYLINDER, _CYLINDER_FACES = _cylinder(12)
_RIM = _CYLINDER[:12] * np.array([1.0, 1.0, 0.0], np.float32)
_DISC = np.stack([np.zeros_like(_RIM), _RIM, np.roll(_RIM, -1, axis=0)], axis=1)
_TYRE_SECTORS, _TYRE_SIDES = 18, 5
_TYRE_FACES = _ring(_TYRE_SECTORS, _TYRE_SIDES)
_BOX = np.array(
    [[x, y, z] for x in (-0.5, 0.5) for y in (-0.5, 0.5) for z in (-0.5, 0.5)], np.float32
)
_BOX_FACES = np.array(
    [
        [0, 1, 3], [0, 3, 2], [4, 6, 7], [4, 7, 5], [0, 4, 5], [0, 5, 1],
        [2, 3, 7], [2, 7, 6], [0, 2, 6], [0, 6, 4], [1, 5, 7], [1, 7, 3],
    ],
    np.int32,
)  # fmt: skip


def box(size: tuple[float, float, float], centre: tuple[float, float, float]) -> FloatArray:
    """Return an axis-aligned box, 12 triangles."""
    vertices = _BOX * np.array(size, np.float32) + np.array(centre, np.float32)
    return np.asarray(vertices[_BOX_FACES])


def boxes(sizes: FloatArray, centres: FloatArray) -> FloatArray:
    """Return n axis-aligned boxes in one call.

    Args:
        sizes: Shape (n, 3), metres.
        centres: Shape (n, 3).

    Returns:
        Triangles, shape (12 * n, 3, 3).
    """
    vertices = _BOX[None] * sizes[:, None] + centres[:, None]
    return np.asarray(vertices[:, _BOX_FACES].reshape(-1, 3, 3), np.float32)


def wedge(
    *,
    back_x: tuple[float, float],
    front_x: tuple[float, float],
    half_width: tuple[float, float],
    z: tuple[float, float],
) -> FloatArray:
    """Return a box whose top differs from its bottom: car bodies and cabins.

    Every pair is (at the bottom, at the top), metres.
    """
    is_top = (_BOX[:, 2] > 0).astype(np.int64)
    is_front = _BOX[:, 0] > 0
    x = np.where(is_front, np.array(front_x)[is_top], np.array(back_x)[is_top])
    y = 2.0 * _BOX[:, 1] * np.array(half_width)[is_top]
    vertices = np.stack([x, y, np.array(z)[is_top]], axis=1).astype(np.float32)
    return vertices[_BOX_FACES]


def cylinder(
    radius: float, length: float, centre: tuple[float, float, float], *, axis: str = 'z'
) -> FloatArray:
    """Return a closed cylinder about ``axis`` ('x', 'y' or 'z'), 48 triangles."""
    vertices = _CYLINDER * np.array([radius, radius, length], np.float32)
    order = {'x': [2, 0, 1], 'y': [1, 2, 0], 'z': [0, 1, 2]}[axis]
    return (vertices[:, order] + np.array(centre, np.float32))[_CYLINDER_FACES]


def disc(radius: float, centre: tuple[float, float, float], *, axis: str = 'y') -> FloatArray:
    """Return a flat disc across ``axis`` ('x', 'y' or 'z'), 12 triangles."""
    order = {'x': [2, 0, 1], 'y': [1, 2, 0], 'z': [0, 1, 2]}[axis]
    return np.asarray(_DISC[:, :, order] * np.float32(radius) + np.array(centre, np.float32))


def wheel_rim(
    radius: float, centre: tuple[float, float, float], *, tube: float = 0.06
) -> FloatArray:
    """Return a torus in the xz plane, a tyre; ``tube`` is its thickness per radius."""
    around = 2.0 * np.pi * np.arange(_TYRE_SECTORS)[:, None] / _TYRE_SECTORS
    across = 2.0 * np.pi * np.arange(_TYRE_SIDES)[None] / _TYRE_SIDES
    reach = 1.0 + tube * (np.cos(across) - 1.0)  # the tread is at the radius
    vertices = np.stack(
        [
            reach * np.cos(around),
            np.broadcast_to(tube * np.sin(across), (_TYRE_SECTORS, _TYRE_SIDES)),
            reach * np.sin(around),
        ],
        axis=-1,
    ).reshape(-1, 3)
    tyre = (vertices * radius + np.array(centre)).astype(np.float32)
    return np.asarray(tyre[_TYRE_FACES])


def loft(sections: FloatArray) -> FloatArray:
    """Return a skin over cross-sections, open at both ends.

    Args:
        sections: Shape (s, k, 3): s sections of k points each.

    Returns:
        Triangles, shape (s-1, k-1, 2, 3, 3): two for every section interval and edge, so that
        each may get its own material.
    """
    a, b = sections[:-1, :-1], sections[:-1, 1:]
    c, d = sections[1:, :-1], sections[1:, 1:]
    one, two = np.stack([a, c, b], axis=2), np.stack([b, c, d], axis=2)
    return np.stack([one, two], axis=2).astype(np.float32)


def fan(outline: FloatArray) -> FloatArray:
    """Return a convex face from its outline, shape (k, 3), as k-2 triangles."""
    first = np.broadcast_to(outline[0], (len(outline) - 2, 3))
    return np.stack([first, outline[1:-1], outline[2:]], axis=1).astype(np.float32)


def capsules(rows: FloatArray, *, is_fine: bool = False) -> FloatArray:
    """Return n rounded, tapered limbs in one call.

    Args:
        rows: Shape (n, 10): start (3), end (3), radius at the start, radius at the end,
            thickness front to back as a fraction of the width, height of the caps as a fraction
            of their radius.
        is_fine: 72 triangles for each instead of 28.

    Returns:
        Triangles, shape (n, f, 3, 3), the same number f for each limb.
    """
    limb = _FINE_LIMB if is_fine else _LIMB
    starts, ends = rows[:, 0:3], rows[:, 3:6]
    axis = ends - starts
    axis = axis / (np.linalg.norm(axis, axis=1, keepdims=True) + 1e-6)
    is_lateral = np.abs(axis[:, 1:2]) >= 0.9
    reference = np.where(is_lateral, _FRONT, _SIDE)
    side = reference - axis * np.sum(axis * reference, axis=1, keepdims=True)
    side /= np.linalg.norm(side, axis=1, keepdims=True)
    front = np.cross(side, axis)
    basis = np.stack([front * rows[:, 8:9], side, axis * rows[:, 9:10]], axis=1)  # (n, 3, 3)
    unit = np.matmul(limb.vertices[None], basis.astype(np.float32))  # (n, v, 3)
    top = limb.is_top[None, :, None]
    radius = np.where(top, rows[:, 7, None, None], rows[:, 6, None, None])
    centre = np.where(top, ends[:, None], starts[:, None])
    vertices = (centre + unit * radius).astype(np.float32)
    return np.ascontiguousarray(vertices[:, limb.faces])


def capsule(
    start: tuple[float, float, float], end: tuple[float, float, float], radius: float
) -> FloatArray:
    """Return one limb of constant radius."""
    row = np.array([[*start, *end, radius, radius, 1.0, 1.0]], np.float32)
    return np.asarray(capsules(row, is_fine=True)[0])


def foliage(
    rng: np.random.Generator, centres: FloatArray, radii: FloatArray, *, num_leaves: int = _LEAVES
) -> FloatArray:
    """Return clumps of leaves: ragged cores with loose leaves around them.

    Args:
        rng: Source of randomness.
        centres: Shape (n, 3), metres.
        radii: Shape (n,).
        num_leaves: Loose triangles around each clump.

    Returns:
        Triangles, shape (n*f, 3, 3).
    """
    count = len(centres)
    ragged = 1.0 + 0.18 * rng.standard_normal((count, len(_BLOB), 1), dtype=np.float32)
    cores = _BLOB[None] * ragged * (0.82 * radii)[:, None, None] + centres[:, None]
    outward = rng.standard_normal((count, num_leaves, 3), dtype=np.float32)
    outward /= np.linalg.norm(outward, axis=2, keepdims=True)
    reach = (0.7 + 0.45 * rng.random((count, num_leaves, 1), dtype=np.float32)) * radii[
        :, None, None
    ]
    middle = centres[:, None] + outward * reach
    size = (0.05 + 0.12 * rng.random((count, num_leaves, 1, 1), dtype=np.float32)) * np.float32(
        np.sqrt(radii)
    )[:, None, None, None]
    corners = rng.standard_normal((count, num_leaves, 3, 3), dtype=np.float32)
    leaves = middle[:, :, None] + corners * size
    mesh = [cores[:, _BLOB_FACES].reshape(-1, 3, 3), leaves.reshape(-1, 3, 3)]
    return np.concatenate(mesh).astype(np.float32)


def move(triangles: FloatArray, yaw_rad: float, position: FloatArray) -> FloatArray:
    """Turn a mesh about z, then shift it: object frame to world frame."""
    cos, sin = math.cos(yaw_rad), math.sin(yaw_rad)
    rotation = np.array([[cos, sin, 0.0], [-sin, cos, 0.0], [0.0, 0.0, 1.0]], np.float32)
    return np.asarray(triangles @ rotation + position.astype(np.float32), np.float32)


def face_normals(triangles: FloatArray) -> FloatArray:
    """Return unit normals, shape (n, 3); degenerate triangles get zero."""
    one = triangles[:, 1] - triangles[:, 0]
    two = triangles[:, 2] - triangles[:, 0]
    normals = np.empty_like(one)
    for i in range(3):
        j, k = (i + 1) % 3, (i + 2) % 3
        normals[:, i] = one[:, j] * two[:, k] - one[:, k] * two[:, j]
    length = np.sqrt(np.einsum('ij,ij->i', normals, normals)) + np.float32(1e-12)
    return np.asarray(normals / length[:, None])
