"""Surfaces of fields whose shape is known, and of fields that have none."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from backend.errors import ReconstructionError
from backend.geometry.isosurface import extract
from backend.geometry.mesh import Mesh
from backend.geometry.mesh_repair import is_manifold, make_closed_manifold
from backend.geometry.visual_hull import grid_points

CENTRE = np.array([0.05, -0.1, 0.02])


def ball_field(resolution: int, radius: float, centre: np.ndarray = CENTRE) -> np.ndarray:
    return radius - np.linalg.norm(grid_points(resolution).numpy() - centre, axis=-1)


def area(mesh: Mesh) -> float:
    corners = mesh.vertices.astype(np.float64)[mesh.faces]
    crossed = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    return float(np.linalg.norm(crossed, axis=1).sum() / 2)


def test_ball_has_its_radius_place_volume_and_area():
    mesh = extract(ball_field(48, 0.35))
    radii = np.linalg.norm(mesh.vertices - CENTRE, axis=1)
    # Linear interpolation of a distance field is off by at most h^2 / (8 r) along an edge.
    assert np.abs(radii - 0.35).max() < 1 / 48**2 / (8 * 0.35) * 1.2
    assert mesh.signed_volume() == pytest.approx(4 / 3 * np.pi * 0.35**3, rel=5e-3)
    assert area(mesh) == pytest.approx(4 * np.pi * 0.35**2, rel=5e-3)


def test_faces_look_outward_and_axes_keep_their_order():
    mesh = extract(ball_field(24, 0.3))
    assert mesh.is_closed_manifold()
    assert mesh.signed_volume() > 0
    assert mesh.faces.dtype == np.int32
    assert mesh.vertices.dtype == np.float32
    np.testing.assert_allclose(mesh.vertices.mean(axis=0), CENTRE, atol=0.01)


def test_level_moves_the_surface():
    mesh = extract(ball_field(48, 0.2), level=-0.1)
    assert np.linalg.norm(mesh.vertices - CENTRE, axis=1).mean() == pytest.approx(0.3, abs=1e-3)


@pytest.mark.parametrize("radius", [0.55, 0.8, 2.0])
def test_closed_where_the_inside_reaches_the_border(radius: float):
    mesh = extract(ball_field(24, radius, np.zeros(3)))
    assert mesh.is_closed_manifold()
    assert mesh.signed_volume() > 0
    assert np.abs(mesh.vertices).max() <= 0.5 + 0.5 / 24


def test_all_inside_is_the_cube():
    mesh = extract(np.ones((10, 10, 10)))
    assert mesh.is_closed_manifold()
    assert mesh.signed_volume() == pytest.approx(1.0, rel=0.02)


NOISE = {
    "smooth": lambda random: gaussian_filter(random.normal(size=(20, 20, 20)), 1.0),
    "rough": lambda random: random.normal(size=(14, 14, 14)),
    "of three values": lambda random: random.choice([-1.0, 0.0, 2.0], size=(14, 14, 14)),
    "beside the level": lambda random: (
        random.normal(size=(14, 14, 14)) * random.choice([1e-9, 1.0], size=(14, 14, 14))
    ),
}


@pytest.mark.parametrize("kind", NOISE)
def test_noise_leaves_no_hole_and_no_face_without_area(kind: str):
    """Every edge is run along as often one way as the other."""
    for seed in range(5):
        mesh = extract(NOISE[kind](np.random.default_rng(seed)))
        edges = mesh.faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2)
        ways = {turn: sorted(map(tuple, edges[:, ::turn].tolist())) for turn in (1, -1)}
        assert ways[1] == ways[-1]
        assert (np.linalg.norm(mesh.face_normals(), axis=1) > 0).all()


@pytest.mark.parametrize("seed", range(5))
def test_smooth_noise_gives_a_manifold(seed: int):
    mesh = extract(NOISE["smooth"](np.random.default_rng(seed)))
    assert mesh.is_closed_manifold()
    assert is_manifold(mesh)
    assert mesh.signed_volume() > 0


@pytest.mark.parametrize("kind", NOISE)
def test_what_is_rough_can_be_parted_into_manifolds(kind: str):
    assert is_manifold(make_closed_manifold(extract(NOISE[kind](np.random.default_rng(1)))))


@pytest.mark.parametrize("value", [0.0, -1.0])
def test_nothing_inside_is_an_error(value: float):
    with pytest.raises(ReconstructionError, match="empty"):
        extract(np.full((8, 8, 8), value))
