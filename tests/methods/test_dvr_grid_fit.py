"""DVR on the grid: the colours' step against known displacements, and a dent that no mask shows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from backend.geometry.cameras import Cameras
from backend.geometry.fair_hull import fair_hull
from backend.geometry.silhouettes import Silhouettes
from backend.geometry.visual_hull import grid_points, silhouette_distances
from backend.methods.dvr import grid_fit
from backend.methods.dvr.grid_fit import (
    SWEPT,
    Photographs,
    Schedule,
    Surface,
    disagreement,
    find_surface,
    fit,
    hull_faith,
    spread,
    surface_motion,
    sweep,
)
from backend.views import Camera, Similarity, Views
from tests.shapes import cameras_around

Paint = Callable[[np.ndarray], np.ndarray]

RADIUS, RESOLUTION = 0.38, 48
DENT_CENTRE, DENT_RADIUS = np.array([0.0, -0.42, 0.2]), 0.26


def crossings(origins: np.ndarray, along: np.ndarray, centre: np.ndarray, radius: float):
    """Distances ``[..., 2]`` at which unit rays enter and leave a ball; inf where they miss."""
    from_centre = origins - centre
    middle = -(from_centre * along).sum(axis=-1)
    under = radius**2 - (from_centre**2).sum(axis=-1) + middle**2
    half = np.sqrt(np.maximum(under, 0))
    found = np.stack([middle - half, middle + half], axis=-1)
    return np.where((under > 0)[..., None], found, np.inf)


def waves(points: np.ndarray) -> np.ndarray:
    """Smooth colours of three directions, a few waves across the ball."""
    return 0.5 + 0.15 * np.sin(points @ np.array([[23, 5, -9], [7, 21, 11], [-5, 13, 19]]).T)


def bands(points: np.ndarray) -> np.ndarray:
    """Two greys in bands six cells wide: nearly all of the surface has no texture."""
    return np.repeat(0.5 + 0.1 * np.sign(np.sin(25 * points[..., :1] + 0.4)), 3, axis=-1)


def photograph(camera: Camera, dented: bool, paint: Paint) -> tuple[np.ndarray, np.ndarray]:
    """The painted ball's picture and mask; the dent is a smaller ball taken out of it."""
    size = camera.image_size[0]
    pixels = np.stack(np.meshgrid(*(np.arange(size) + 0.5,) * 2), axis=-1)
    origins, directions = camera.rays(pixels)
    along = directions / np.linalg.norm(directions, axis=-1, keepdims=True)
    whole = crossings(origins, along, np.zeros(3), RADIUS)
    distance = whole[..., 0]
    if dented:
        dent = crossings(origins, along, DENT_CENTRE, DENT_RADIUS)
        within = (dent[..., 0] < distance) & (distance < dent[..., 1])
        beyond = np.where(dent[..., 1] < whole[..., 1], dent[..., 1], np.inf)
        distance = np.where(within, beyond, distance)
    hit = np.isfinite(distance)
    points = origins + np.where(hit, distance, 0.0)[..., None] * along
    return np.where(hit[..., None], paint(points), 0.0), hit


def painted_views(count: int, dented: bool = False, size: int = 192, paint: Paint = waves) -> Views:
    cameras = cameras_around(count, size)
    images, masks = zip(*(photograph(camera, dented, paint) for camera in cameras), strict=True)
    return Views(
        tuple(f"view {index}" for index in range(count)),
        np.stack(images).astype(np.float32),
        np.stack(masks).astype(np.float32),
        np.ones((count, size, size), bool),
        tuple(cameras),
        Similarity(),
    )


def ball_field(radius: float) -> np.ndarray:
    """Signed distance in cells."""
    return ((radius - grid_points(RESOLUTION).norm(dim=-1)) * RESOLUTION).numpy()


@pytest.fixture(scope="module")
def views() -> Views:
    return painted_views(12)


@pytest.mark.parametrize("offset", [-0.8, -0.4, 0.4, 0.8])
def test_one_step_undoes_a_displacement(views: Views, offset: float):
    """A ball ``offset`` cells too large is told to shrink by about that, and the other way."""
    photographs = Photographs.shrunk(views, 2, torch.device("cpu"))
    surface = find_surface(ball_field(RADIUS + offset / RESOLUTION), photographs.cameras)
    motion, certainty, _ = surface_motion(surface, photographs, RESOLUTION)
    certain = certainty > 0.2 * certainty.max()
    assert certain.float().mean() > 0.2
    assert float(motion[certain].median()) == pytest.approx(offset, abs=0.2)


@pytest.mark.parametrize(("offset", "depth"), [(1.0, 1.0), (2.0, 2.0), (4.0, 2.0)])
def test_a_sweep_looks_below_what_is_too_large(views: Views, offset: float, depth: float):
    """A ball ``offset`` cells too large goes down by that, and by two cells at most."""
    photographs = Photographs.shrunk(views, 2, torch.device("cpu"))
    surface = find_surface(ball_field(RADIUS + offset / RESOLUTION), photographs.cameras)
    found, certainty = sweep(surface, photographs, RESOLUTION)
    believed = certainty > 0
    assert float(believed[~surface.judging].float().mean()) > 0.7
    assert float(found[believed].median()) == depth
    assert float(certainty.max()) <= SWEPT


def test_a_sweep_leaves_the_truth_alone(views: Views):
    photographs = Photographs.shrunk(views, 2, torch.device("cpu"))
    surface = find_surface(ball_field(RADIUS), photographs.cameras)
    _, certainty = sweep(surface, photographs, RESOLUTION)
    assert float((certainty > 0).float().mean()) < 0.01


def test_a_sweep_needs_a_contradiction(views: Views):
    """Plain colours agree everywhere, and a single view always agrees with itself."""
    field = ball_field(RADIUS + 4 / RESOLUTION)
    grey = replace(views, images=np.full_like(views.images, 0.5))
    alone = replace(
        views, images=views.images[:1], masks=views.masks[:1], cameras=views.cameras[:1]
    )
    for some in (grey, alone):
        photographs = Photographs.shrunk(some, 2, torch.device("cpu"))
        _, certainty = sweep(find_surface(field, photographs.cameras), photographs, RESOLUTION)
        assert float(certainty.max()) == 0.0


def test_a_sweep_hears_all_mirror_images_of_a_point():
    """A dent on one side of what is said to be symmetric: the other side tells against it."""
    photographs = Photographs.shrunk(painted_views(12, dented=True), 2, torch.device("cpu"))
    surface = find_surface(ball_field(RADIUS), photographs.cameras, ("y",))
    lid = (surface.points - torch.as_tensor(DENT_CENTRE)).norm(dim=1) < 0.8 * DENT_RADIUS
    _, alone = sweep(surface, photographs, RESOLUTION)
    _, together = sweep(surface, photographs, RESOLUTION, ("y",))
    assert float((alone[lid] > 0).float().mean()) > 0.5
    assert float((together[lid] > 0).float().mean()) < 0.2
    mirrored = surface.points * torch.tensor([1.0, -1, 1])
    partner = torch.cdist(surface.points, mirrored).argmin(dim=1)
    torch.testing.assert_close(together, together[partner], rtol=1e-3, atol=1e-4)


def test_the_truth_disagrees_least(views: Views):
    photographs = Photographs.shrunk(views, 1, torch.device("cpu"))

    def error(offset: float) -> float:
        field = ball_field(RADIUS + offset / RESOLUTION)
        return disagreement(find_surface(field, photographs.cameras), photographs)

    assert error(0.0) < 0.3 * min(error(-1.0), error(1.0))


def test_hidden_and_grazing_points_are_not_seen(views: Views):
    photographs = Photographs.shrunk(views, 2, torch.device("cpu"))
    surface = find_surface(ball_field(RADIUS), photographs.cameras)
    for view, camera in enumerate(views.cameras):
        seen = surface.seen[view] > 0
        towards = torch.as_tensor(camera.centre, dtype=torch.float32) - surface.points
        cosine = (surface.outward * torch.nn.functional.normalize(towards, dim=1)).sum(dim=1)
        assert float(cosine[seen].min()) > 0.14
        assert bool(seen[cosine > 0.3].float().mean() > 0.99)


def test_plain_colours_move_nothing(views: Views):
    """Without texture every depth looks alike, so no step may be certain."""
    grey = replace(views, images=np.full_like(views.images, 0.5))
    photographs = Photographs.shrunk(grey, 2, torch.device("cpu"))
    surface = find_surface(ball_field(RADIUS + 0.5 / RESOLUTION), photographs.cameras)
    _, certainty, _ = surface_motion(surface, photographs, RESOLUTION)
    _, textured, _ = surface_motion(surface, Photographs.shrunk(views, 2, torch.device("cpu")), 48)
    assert float(certainty.mean()) < 0.01 * float(textured.mean())


def test_the_pull_adds_up_and_points_inward():
    """Every point's pull is shared by eight cells, and an inward step lowers the field."""
    field = ball_field(RADIUS)
    surface = find_surface(field, Cameras.stack(cameras_around(4, 32)))
    ones = torch.ones(len(surface.points))
    target = spread(surface, 0.5 * ones, 2 * ones, field)
    pull = float((2 / surface.slope.square()).sum())
    assert float(target.weight.sum()) == pytest.approx(pull, rel=1e-4)
    touched = target.weight > 1e-6
    np.testing.assert_allclose(
        (target.field - field)[touched], -0.5 * float(surface.slope.median()), atol=0.05
    )
    untouched = target.weight == 0
    np.testing.assert_array_equal(target.field[untouched], field[untouched])


@pytest.mark.parametrize("paint", [waves, bands])
def test_colours_find_a_dent_that_no_silhouette_shows(paint: Paint):
    """Without the sweep, bands leave 0.9 of the error."""
    views = painted_views(16, dented=True, paint=paint)
    cameras = Cameras.stack(views.cameras)
    silhouettes = Silhouettes(silhouette_distances(views), cameras)
    fairing = fair_hull(silhouettes, RESOLUTION, rounds=8)

    def error(field: np.ndarray) -> float:
        """Mean distance in cells from the dent's surface, over points that face it."""
        points = find_surface(field, cameras).points.numpy()
        true = np.minimum(
            RADIUS - np.linalg.norm(points, axis=1),
            np.linalg.norm(points - DENT_CENTRE, axis=1) - DENT_RADIUS,
        )
        facing = np.linalg.norm(points - DENT_CENTRE, axis=1) < DENT_RADIUS + 0.02
        return float(np.abs(true[facing]).mean() * RESOLUTION)

    before = error(fairing.field)
    told: list[float] = []
    after = fit(fairing, views, Schedule(16, 0.1), torch.device("cpu"), lambda s, _: told.append(s))
    assert before > 1.0
    assert error(after) < 0.5 * before
    assert told == sorted(told)
    assert told[-1] == 1.0


def test_few_photographs_do_not_sweep(monkeypatch: pytest.MonkeyPatch):
    """With eight, an evenly coloured cabinet was hollowed out from front to back."""
    swept: list[int] = []

    def look(surface: Surface, *_: object) -> tuple[torch.Tensor, torch.Tensor]:
        swept.append(len(surface.seen))
        nothing = torch.zeros(len(surface.points))
        return nothing, nothing

    monkeypatch.setattr(grid_fit, "sweep", look)
    for count in (8, 12):
        views = painted_views(count, size=96)
        fairing = fair_hull(Silhouettes.of(views), 24, rounds=1)
        fit(fairing, views, Schedule(3, 0.1), torch.device("cpu"), lambda *_: None)
    assert swept == [12]  # once, while the photographs are a quarter as large


def test_photographs_that_tell_nothing_leave_the_fair_hull(views: Views):
    """Of a plain ball all surfaces look alike: no round is so much better as to be believed."""
    random = np.random.default_rng(0)
    noise = random.normal(0.5, 0.02, views.images.shape).astype(np.float32)
    silhouettes = Silhouettes.of(views)
    fairing = fair_hull(silhouettes, RESOLUTION, rounds=2)
    before = fairing.field
    after = fit(
        fairing,
        replace(views, images=noise),
        Schedule(3, 0.1),
        torch.device("cpu"),
        lambda share, _: None,
    )
    np.testing.assert_array_equal(after, before)


def test_the_hull_is_believed_where_the_photographs_agree(views: Views):
    photographs = Photographs.shrunk(views, 1, torch.device("cpu"))

    def mean_faith(offset: float) -> float:
        field = ball_field(RADIUS + offset / RESOLUTION)
        surface = find_surface(field, photographs.cameras)
        _, _, error = surface_motion(surface, photographs, RESOLUTION)
        faith = hull_faith(surface, error, RESOLUTION)
        assert faith.shape == field.shape
        assert faith.max() <= 1.0
        return float(faith[np.abs(field) < 1].mean())

    assert mean_faith(0.0) > 0.9
    assert mean_faith(3.0) < 0.7 * mean_faith(0.0)
