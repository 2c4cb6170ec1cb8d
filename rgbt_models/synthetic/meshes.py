# SPDX-License-Identifier: Apache-2.0
"""Triangle meshes of the primitives everything is put together from.

A mesh is a triangle soup: float32, shape (n, 3, 3) = triangle, corner, xyz in metres.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from rgbt_models.synthetic.arrays import FloatArray, IndexArray


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


def _torus(tube: float, num_sectors: int, num_sides: int) -> tuple[FloatArray, IndexArray]:
    vertices, faces = [], []
    for i in range(num_sectors):
        a = 2.0 * math.pi * i / num_sectors
        for j in range(num_sides):
            b = 2.0 * math.pi * j / num_sides
            radius = 1.0 + tube * math.cos(b)
            vertices.append((radius * math.cos(a), tube * math.sin(b), radius * math.sin(a)))
            here, there = i * num_sides, ((i + 1) % num_sectors) * num_sides
            k = (j + 1) % num_sides
            faces += [
                (here + j, here + k, there + j),
                (here + k, there + k, there + j),
            ]
    return np.array(vertices, np.float32), np.array(faces, np.int32)


_FRONT: FloatArray = np.array([1, 0, 0], np.float32)
_SIDE: FloatArray = np.array([0, 1, 0], np.float32)
_LIMB, _LIMB_FACES = _sphere(6, 9)
_LIMB_IS_TOP = _LIMB[:, 2] >= -1e-6
_BLOB, _BLOB_FACES = _sphere(5, 8)
_LEAVES = 110  # loose triangles around each clump
_CYLINDER, _CYLINDER_FACES = _cylinder(12)
_TORUS, _TORUS_FACES = _torus(0.06, 22, 5)
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


def wheel_rim(radius: float, centre: tuple[float, float, float]) -> FloatArray:
    """Return a thin torus in the xz plane: the tyre of a bicycle."""
    return np.asarray((_TORUS * np.float32(radius) + np.array(centre, np.float32))[_TORUS_FACES])


def capsules(
    starts: FloatArray,
    ends: FloatArray,
    start_radii: FloatArray,
    end_radii: FloatArray,
    flatness: FloatArray,
) -> FloatArray:
    """Return n rounded, tapered limbs in one call.

    Args:
        starts: Shape (n, 3), metres.
        ends: Shape (n, 3).
        start_radii: Shape (n,).
        end_radii: Shape (n,).
        flatness: Shape (n,): thickness front to back as a fraction of the width.

    Returns:
        Triangles, shape (n, f, 3, 3), the same number f for each limb.
    """
    axis = ends - starts
    axis = axis / (np.linalg.norm(axis, axis=1, keepdims=True) + 1e-6)
    is_lateral = np.abs(axis[:, 1:2]) >= 0.9
    reference = np.where(is_lateral, _FRONT, _SIDE)
    side = reference - axis * np.sum(axis * reference, axis=1, keepdims=True)
    side /= np.linalg.norm(side, axis=1, keepdims=True)
    front = np.cross(side, axis)
    basis = np.stack([front * flatness[:, None], side, axis], axis=1)  # (n, 3, 3)
    unit = np.matmul(_LIMB[None], basis.astype(np.float32))  # (n, v, 3)
    top = _LIMB_IS_TOP[None, :, None]
    radius = np.where(top, end_radii[:, None, None], start_radii[:, None, None])
    centre = np.where(top, ends[:, None], starts[:, None])
    vertices = (centre + unit * radius).astype(np.float32)
    return np.ascontiguousarray(vertices[:, _LIMB_FACES])


def capsule(
    start: tuple[float, float, float], end: tuple[float, float, float], radius: float
) -> FloatArray:
    """Return one limb of constant radius."""
    one = np.ones(1, np.float32)
    mesh = capsules(
        np.array([start], np.float32), np.array([end], np.float32), one * radius, one * radius, one
    )
    return np.asarray(mesh[0])


def foliage(rng: np.random.Generator, centres: FloatArray, radii: FloatArray) -> FloatArray:
    """Return clumps of leaves: ragged cores with loose leaves around them.

    Args:
        rng: Source of randomness.
        centres: Shape (n, 3), metres.
        radii: Shape (n,).

    Returns:
        Triangles, shape (n*f, 3, 3).
    """
    count = len(centres)
    ragged = 1.0 + 0.18 * rng.standard_normal((count, len(_BLOB), 1), dtype=np.float32)
    cores = _BLOB[None] * ragged * (0.82 * radii)[:, None, None] + centres[:, None]
    outward = rng.standard_normal((count, _LEAVES, 3), dtype=np.float32)
    outward /= np.linalg.norm(outward, axis=2, keepdims=True)
    reach = (0.7 + 0.45 * rng.random((count, _LEAVES, 1), dtype=np.float32)) * radii[:, None, None]
    middle = centres[:, None] + outward * reach
    size = (0.05 + 0.12 * rng.random((count, _LEAVES, 1, 1), dtype=np.float32)) * np.float32(
        np.sqrt(radii)
    )[:, None, None, None]
    corners = rng.standard_normal((count, _LEAVES, 3, 3), dtype=np.float32)
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
