"""The visual hull as a method: exact, fair and rounded."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from backend.errors import ReconstructionError
from backend.geometry.mesh import Mesh
from backend.geometry.silhouettes import Silhouettes
from backend.geometry.visual_hull import signed_hull
from backend.methods.interface import MakePreview
from backend.methods.visual_hull import SPEC, Params
from backend.methods.visual_hull.reconstruct import load
from backend.views import Views
from tests.shapes import Hit, agreement, ball, box, camera, cameras_around, in_unit_cube, views_of

RADIUS = 0.35


def silent(fraction: float, message: str, preview: MakePreview | None = None) -> None:
    pass


def made(views: Views, **values: float) -> Mesh:
    params = Params(**{"resolution": 48, **values})  # type: ignore[arg-type]
    return load(None, params, "cpu", 0).reconstruct(views, silent)


def drawings(hit: Hit, names: str = "front right") -> Views:
    places = {"front": (0, -2, 0), "right": (2, 0, 0), "top": (0, 0, 2)}
    return in_unit_cube(views_of(hit, [camera(places[n], 96, True) for n in names.split()]))


def slice_area(mesh: Mesh, z: float) -> float:
    """Area of the cut at height ``z``, by Green's theorem over the cut's segments."""
    area = 0.0
    for triangle in mesh.vertices.astype(np.float64)[mesh.faces]:
        above = triangle[:, 2] > z
        if above.all() or not above.any():
            continue
        lone = int(np.flatnonzero(above == (above.sum() == 1))[0])
        a, b, c = triangle[[lone, (lone + 1) % 3, (lone + 2) % 3]]
        p, q = (a + (z - a[2]) / (e[2] - a[2]) * (e - a) for e in (b, c))
        sign = 1.0 if above[lone] else -1.0
        area += sign * (p[0] * q[1] - q[0] * p[1]) / 2
    return abs(area)


@pytest.mark.parametrize("names", ["front right", "front right top"])
def test_no_fairness_is_the_exact_hull(names: str):
    views = drawings(ball(RADIUS), names)
    silhouettes = Silhouettes.of(views)
    vertices = torch.as_tensor(made(views, fairness=0.0).vertices)
    distance = signed_hull(silhouettes.distances, silhouettes.cameras, vertices)
    assert float(distance.abs().mean()) * 96 < 0.02  # in cells of the grid it is extracted from
    assert float(distance.abs().max()) * 96 < 0.5


def test_two_circles_leave_squares():
    mesh = made(drawings(ball(RADIUS)), fairness=0.0)
    assert slice_area(mesh, 0.001) == pytest.approx((2 * RADIUS) ** 2, rel=0.02)


def test_rounding_makes_circles_of_squares_and_keeps_the_drawings():
    """With ellipses as cross-sections, two circles are the drawings of a ball."""
    views = drawings(ball(RADIUS))
    mesh = made(views, fairness=0.0, rounding=1.0)
    assert slice_area(mesh, 0.001) == pytest.approx(np.pi * RADIUS**2, rel=0.03)
    assert mesh.signed_volume() == pytest.approx(4 / 3 * np.pi * RADIUS**3, rel=0.04)
    assert min(agreement(mesh, views)) >= 0.97


def test_fair_and_round_stays_in_the_round_hull_and_keeps_the_drawings():
    views = drawings(ball(RADIUS))
    mesh = made(views, fairness=1.0, rounding=1.0)
    assert slice_area(mesh, 0.001) < 1.03 * np.pi * RADIUS**2
    assert min(agreement(mesh, views)) >= 0.97


def test_half_rounding_lies_between():
    views = drawings(ball(RADIUS))
    areas = [slice_area(made(views, fairness=0.0, rounding=r), 0.001) for r in (0.0, 0.5, 1.0)]
    assert areas[0] > areas[1] * 1.02 > areas[2] * 1.1


@pytest.mark.parametrize(
    ("values", "tolerance"), [({"fairness": 0.0}, 0.01), ({"fairness": 1.0}, 0.05)]
)
def test_a_box_stays_a_box(values: dict[str, float], tolerance: float):
    edges = np.array([0.8, 0.5, 0.3])
    views = drawings(box(edges.tolist()), "front right top")
    mesh = made(views, **values)
    assert mesh.signed_volume() == pytest.approx(edges.prod(), rel=4 * tolerance)
    assert min(agreement(mesh, views)) >= 0.97


def test_half_fairness_lies_between():
    views = in_unit_cube(views_of(ball(RADIUS), cameras_around(3, 96)))
    volumes = [made(views, fairness=f).signed_volume() for f in (0.0, 0.5, 1.0)]
    assert volumes[0] > volumes[1] > volumes[2]
    assert volumes[2] == pytest.approx(4 / 3 * np.pi * RADIUS**3, rel=0.1)


def test_perspective_views_leave_nothing_to_round():
    views = in_unit_cube(views_of(ball(RADIUS), cameras_around(3, 64)))
    plain, rounded = (made(views, fairness=0.0, rounding=r) for r in (0.0, 1.0))
    np.testing.assert_array_equal(plain.vertices, rounded.vertices)


def test_slanted_drawings_are_rounded_too():
    """The pair stands at a right angle, but its common axis runs across both pictures."""
    up = np.array([0.3, -0.2, 0.9])
    up /= np.linalg.norm(up)
    first = np.cross(up, [0.0, 1.0, 0.0])
    first /= np.linalg.norm(first)
    places = [2 * first, 2 * np.cross(up, first)]
    cameras = [camera(place.tolist(), 96, True) for place in places]
    views = in_unit_cube(views_of(ball(RADIUS), cameras))
    mesh = made(views, fairness=0.0, rounding=1.0)
    assert mesh.signed_volume() == pytest.approx(4 / 3 * np.pi * RADIUS**3, rel=0.04)


def test_nothing_in_common_is_an_error():
    views = drawings(ball(0.1, (0, 0, 0.3)))
    other = drawings(ball(0.1, (0, 0, -0.3)))
    views.masks[1] = other.masks[1]
    with pytest.raises(ReconstructionError, match="empty"):
        made(views, fairness=0.0)


def test_progress_names_its_stages():
    told: list[tuple[float, str]] = []

    def report(fraction: float, message: str, preview: MakePreview | None = None) -> None:
        told.append((fraction, message))

    params = SPEC.make_params("draft", {"resolution": 24})
    load(None, params, "cpu", 0).reconstruct(drawings(ball(RADIUS)), report)
    assert [fraction for fraction, _ in told] == sorted(fraction for fraction, _ in told)
    assert {message for _, message in told} == {"carving the hull", "smoothing the hull"}
