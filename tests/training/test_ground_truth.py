from __future__ import annotations

import numpy as np
import pytest
import trimesh
from scipy.spatial import KDTree

from backend.errors import InputError
from backend.geometry.mesh import Mesh
from tests.dataset_parts import box, from_trimesh, sphere, together
from training.ground_truth import BOX, Solid, wound_outwards


def uniform(count: int = 20_000, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-BOX, BOX, (count, 3))


def hemisphere(radius: float = 0.4) -> Mesh:
    """The upper half of a sphere, open below."""
    shape = trimesh.creation.revolve(
        radius * np.stack([np.cos(a := np.linspace(0, np.pi / 2, 33)), np.sin(a)], axis=1),
        sections=64,
    )
    return from_trimesh(shape)


def box_distance(points: np.ndarray, edges: np.ndarray, centre: np.ndarray) -> np.ndarray:
    """Signed distance to a box (Quilez)."""
    q = np.abs(points - centre) - edges / 2
    return np.linalg.norm(q.clip(0), axis=1) + q.max(axis=1).clip(max=0)


def turned_over(mesh: Mesh, which: np.ndarray | slice = slice(None)) -> Mesh:
    faces = mesh.faces.copy()
    faces[which] = faces[which][:, ::-1]
    return Mesh(mesh.vertices, faces)


# Occupancy and distance against formulas


def test_a_sphere_by_its_formula() -> None:
    points = uniform()
    distance, inside = Solid(sphere(0.4, 5)).signed_distance(points)
    expected = np.linalg.norm(points, axis=1) - 0.4
    assert np.abs(distance - expected).max() < 5e-4  # the flat faces of 20,480 triangles
    clear = np.abs(expected) > 1e-3
    assert np.array_equal(inside[clear], expected[clear] < 0)
    assert np.array_equal(inside, distance < 0)


def test_a_box_by_its_formula() -> None:
    edges, centre = np.array([0.5, 0.3, 0.8]), np.array([0.1, -0.05, 0.02])
    points = uniform()
    distance, _ = Solid(box(tuple(edges), tuple(centre))).signed_distance(points)
    assert np.abs(distance - box_distance(points, edges, centre)).max() < 1e-6


OVERLAPPING = ((0.6, 0.6, 0.3), (0, 0, -0.1)), ((0.2, 0.2, 0.8), (0.1, 0.05, 0.1))


def distance_to_union(points: np.ndarray) -> np.ndarray:
    """Negative inside; from inside by brute force over points on the union's surface."""
    each = [box_distance(points, np.array(e), np.array(c)) for e, c in OVERLAPPING]
    outside = np.min(each, axis=0)
    shapes = [trimesh.creation.box(e).apply_translation(c) for e, c in OVERLAPPING]
    surface = np.concatenate([trimesh.sample.sample_surface(s, 60_000, seed=0)[0] for s in shapes])
    walls = [box_distance(surface, np.array(e), np.array(c)) for e, c in OVERLAPPING]
    outer = surface[np.min(walls, axis=0) > -1e-9]
    inner = KDTree(outer).query(points)[0]
    return np.where(outside < 0, -inner, outside)


@pytest.mark.parametrize("turned", [(), (0,), (1,), (0, 1)])
def test_overlapping_boxes_count_once_and_inner_walls_do_not(turned: tuple[int, ...]) -> None:
    """However the two are wound."""
    parts = [box(*shape) for shape in OVERLAPPING]
    solid = Solid(together(*[turned_over(p) if i in turned else p for i, p in enumerate(parts)]))
    points = uniform(6000)
    expected = distance_to_union(points)
    distance, inside = solid.signed_distance(points)
    assert np.array_equal(inside, expected < 0)
    outside = expected > 0
    assert np.abs(distance - expected)[outside].max() < 1e-6
    assert np.abs(distance - expected)[~outside].max() < 0.012  # brute force and cut walls


def test_an_open_hemisphere_is_closed_where_the_winding_number_is_a_half() -> None:
    """On the axis: w = [inside] - (solid angle of the opening) / 4 pi."""
    radius = 0.4
    z = np.linspace(-0.39, 0.5, 90)
    points = np.stack([0 * z, 0 * z, z], axis=1)
    angle = 2 * np.pi * (1 - np.abs(z) / np.hypot(z, radius))
    expected = np.where(z > 0, (z < radius) - angle / (4 * np.pi), angle / (4 * np.pi))
    solid = Solid(hemisphere(radius))
    clear = np.abs(z - radius) > 0.01
    assert np.abs(solid.winding_number(points) - expected)[clear].max() < 0.02
    distance, inside = solid.signed_distance(points)
    clear = (np.abs(z) > 0.01) & (np.abs(z - radius) > 0.01)
    assert np.array_equal(inside[clear], ((z > 0) & (z < radius))[clear])
    to_bowl = np.where(z > 0, np.abs(radius - z), np.hypot(z, radius))
    assert np.abs(np.abs(distance) - to_bowl).max() < 2e-3


def test_a_sheet_holds_nothing_and_has_distances() -> None:
    corners = np.array([[-0.4, -0.4, 0], [0.4, -0.4, 0], [0.4, 0.4, 0], [-0.4, 0.4, 0]], np.float32)
    sheet = Mesh(corners, np.array([[0, 1, 2], [0, 2, 3]], np.int32))
    points = uniform(2000)
    distance, inside = Solid(sheet).signed_distance(points)
    assert not inside.any()
    over = np.abs(points[:, :2]).max(axis=1) < 0.4
    assert np.abs(distance - np.abs(points[:, 2]))[over].max() < 1e-6


# Faulty meshes


def volume_share(solid: Solid) -> float:
    return float(solid.occupancy(uniform(40_000)).mean() * (2 * BOX) ** 3)


SPHERE_VOLUME = 4 / 3 * np.pi * 0.4**3


@pytest.mark.parametrize(
    "fault",
    [
        lambda mesh: mesh,
        turned_over,
        lambda mesh: turned_over(mesh, slice(0, None, 3)),
        lambda mesh: Mesh(mesh.vertices, np.concatenate([mesh.faces, mesh.faces[:, ::-1]])),
        lambda mesh: Mesh(mesh.vertices, np.concatenate([mesh.faces, mesh.faces[:9, [0, 0, 1]]])),
    ],
    ids=["sound", "inside out", "mixed", "double-sided", "empty faces"],
)
def test_a_faulty_sphere_is_solid_all_the_same(fault) -> None:
    solid = Solid(fault(sphere(0.4, 3)))
    assert abs(volume_share(solid) - SPHERE_VOLUME) < 0.01
    assert solid.mesh.is_closed_manifold()
    assert solid.mesh.signed_volume() > 0
    assert len(solid.mesh.faces) == 1280


def test_a_cavity_stays_empty_and_an_inner_solid_changes_nothing() -> None:
    cavity = together(sphere(0.4, 3), turned_over(sphere(0.2, 3)))
    assert abs(volume_share(Solid(cavity)) - SPHERE_VOLUME * (1 - 0.5**3)) < 0.01
    doubled = together(sphere(0.4, 3), sphere(0.2, 3))
    assert abs(volume_share(Solid(doubled)) - SPHERE_VOLUME) < 0.01


def test_what_was_wound_well_is_left_as_it_was() -> None:
    mesh = together(*[box(*shape) for shape in OVERLAPPING])
    assert np.array_equal(wound_outwards(mesh).faces, mesh.faces)


@pytest.mark.parametrize(
    ("vertices", "match"),
    [
        (np.full((3, 3), np.nan), "not finite or outside"),
        (np.eye(3) * 50, "outside the unit cube"),
        (np.zeros((3, 3)), "no face with an area"),
    ],
)
def test_a_mesh_without_a_usable_surface_is_refused(vertices: np.ndarray, match: str) -> None:
    with pytest.raises(InputError, match=match):
        Solid(Mesh(vertices.astype(np.float32), np.array([[0, 1, 2]], np.int32)))


# Samples


def test_surface_points_lie_on_the_surface_evenly_and_look_outwards() -> None:
    edges = np.array([0.8, 0.4, 0.2])
    points, normals = Solid(box(tuple(edges))).surface_points(40_000, np.random.default_rng(1))
    assert np.abs(box_distance(points, edges, np.zeros(3))).max() < 1e-7
    side = np.abs(normals).argmax(axis=1)
    assert np.allclose(np.abs(normals).max(axis=1), 1)
    assert ((points * normals).sum(axis=1) > 0).all()
    areas = edges.prod() / edges
    assert np.abs(np.bincount(side) / 40_000 - areas / areas.sum()).max() < 0.01


def test_half_of_the_samples_are_even_and_half_near() -> None:
    solid = Solid(sphere())
    points = solid.sample_points(40_000, np.random.default_rng(0))
    assert points.shape == (40_000, 3)
    even, close, wide = points[:20_000], points[20_000:30_000], points[30_000:]
    assert np.abs(even).max() <= BOX
    assert np.abs(even.mean(axis=0)).max() < 0.01
    assert np.abs(even.std(axis=0) - 2 * BOX / np.sqrt(12)).max() < 0.01
    for near, sigma in ((close, 0.01), (wide, 0.05)):
        radial = np.linalg.norm(near, axis=1) - 0.4
        assert abs(radial.std() - sigma) < 0.1 * sigma


@pytest.mark.parametrize("resolution", [32, 64])
def test_voxels_are_their_centres(resolution: int) -> None:
    """A lopsided box, so that swapped axes would show."""
    edges, centre = np.array([0.9, 0.5, 0.3]), np.array([0.0, 0.2, -0.3])
    grid = Solid(box(tuple(edges), tuple(centre))).voxel_grid(resolution)
    axis = (np.arange(resolution) + 0.5) / resolution - 0.5
    inside = [np.abs(axis - c) < e / 2 for e, c in zip(edges, centre, strict=True)]
    assert np.array_equal(grid, np.einsum("x,y,z->xyz", *inside))
