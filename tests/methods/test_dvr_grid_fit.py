"""DVR on the grid: the colours' step against known displacements, and a dent that no mask shows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from backend.geometry.cameras import Cameras
from backend.geometry.fair_hull import Fairing, fair_hull
from backend.geometry.silhouettes import Silhouettes
from backend.geometry.visual_hull import grid_points, silhouette_distances
from backend.methods.dvr.grid_fit import (
    GIVES_WAY,
    HOLD,
    Evidence,
    Pull,
    Schedule,
    fit,
    hold,
    is_clearly_better,
    surface_motion,
)
from backend.methods.dvr.surface import Photographs, find_surface, hull_faith, ignorance, spread
from backend.views import Views
from tests.painted_ball import (
    DENT_CENTRE,
    DENT_RADIUS,
    RADIUS,
    RESOLUTION,
    Paint,
    ball_field,
    bands,
    painted_views,
    waves,
)
from tests.shapes import box, cameras_around, in_unit_cube, views_of


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


def test_the_truth_disagrees_least(views: Views):
    photographs = Photographs.shrunk(views, 1, torch.device("cpu"))

    def error(offset: float) -> float:
        field = ball_field(RADIUS + offset / RESOLUTION)
        surface = find_surface(field, photographs.cameras)
        return Evidence.of(field, surface, photographs).error()

    assert error(0.0) < 0.3 * min(error(-1.0), error(1.0))


def test_surfaces_are_compared_only_where_they_differ():
    """Five cells farther counts as one."""
    other = np.zeros((4, 4, 4), np.float32)
    other[2:] = [[[5.0]], [[-0.5]]]
    cells = torch.tensor([[0, 1, 2], [2, 1, 2], [3, 1, 2], [1, 1, 2]])
    points = (cells + 0.5) / 4 - 0.5
    errors, seen = torch.tensor([9.0, 2, 8, 7]), torch.tensor([1.0, 1, 2, 1])
    one = Evidence(np.zeros_like(other), points, errors, seen)
    two = replace(one, field=other)
    assert one.error() == pytest.approx(26 / 5)
    np.testing.assert_allclose(one.distance(two), [0, 5, 0.5, 0])
    parts = one.sums(two, [])
    np.testing.assert_allclose(parts.sum(axis=1), [2 + 0.5 * 8, 1 + 0.5 * 2])
    assert (parts[1] > 0).sum() == 2
    assert not two.sums(one, []).any()


def test_mirror_images_share_a_block():
    points = torch.tensor([[-0.3, 0.1, 0.2], [0.3, 0.1, 0.2]])
    one = Evidence(np.ones((4, 4, 4), np.float32), points, torch.ones(2), torch.ones(2))
    assert sorted(one.sums(one, [])[1])[-3:] == [0, 1, 1]
    assert sorted(one.sums(one, ["x"])[1])[-2:] == [0, 2]


def evidence(distance: float, errors: np.ndarray) -> Evidence:
    """Of points in all blocks, each that far from the other surface."""
    points = grid_points(8).reshape(-1, 3)
    field = np.full((8, 8, 8), distance, np.float32)
    return Evidence(field, points, torch.as_tensor(errors), torch.ones(len(points)))


@pytest.mark.parametrize(
    ("distance", "gain", "in_one_block", "is_better"),
    [
        (0.5, 0.02, False, False),  # hardly a gain
        (0.5, 0.1, False, True),
        (0.5, 0.1, True, True),  # far moves need no more than that
        (0.1, 0.1, False, True),
        (0.1, 0.1, True, False),  # a slight one could be chance
        (0.1, -0.1, False, False),
        (0.05, 0.5, False, False),  # or blur
    ],
)
def test_slight_motions_have_to_please_everywhere(
    distance: float, gain: float, in_one_block: bool, is_better: bool
):
    noise = np.random.default_rng(0).uniform(0.9, 1.1, (2, 512))
    before, after = noise.copy()
    if in_one_block:
        after[:] = before
        before[7] += 512 * gain
    else:
        after *= 1 - gain
    found = is_clearly_better(evidence(distance, after), evidence(distance, before), [])
    assert found == is_better


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


def test_photographs_that_tell_nothing_leave_the_fair_hull(views: Views):
    """Of a plain ball all surfaces look alike: no rounds are so much better as to be believed."""
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


def test_photographs_tell_nothing_about_even_colours(views: Views):
    """As if one half of the ball were grey."""
    field = ball_field(RADIUS)
    surface = find_surface(field, Cameras.stack(views.cameras))
    photographs = Photographs.shrunk(views, 2, torch.device("cpu"))
    _, certainty, _ = surface_motion(surface, photographs, RESOLUTION)
    certainty[surface.points[:, 0] < 0] = 0
    unknown = ignorance(surface, certainty, 0.01, RESOLUTION)
    assert unknown.shape == field.shape
    assert unknown.min() >= 0
    near, third = np.abs(field) < 0.5, RESOLUTION // 3
    assert unknown[:third][near[:third]].mean() > 0.9
    assert unknown[-third:][near[-third:]].mean() < 0.1
    assert not unknown[np.abs(field) > 3].any()


def test_the_fair_hull_lets_go_of_what_has_left_it():
    held = np.zeros((2, 2, 2), np.float32)
    field = np.full_like(held, GIVES_WAY)
    field[0], field[1, 0] = 0, 10 * GIVES_WAY
    target = hold(held, field, np.ones_like(held))
    np.testing.assert_array_equal(target.field, held)
    np.testing.assert_allclose(target.weight[0], HOLD)
    np.testing.assert_allclose(target.weight[1, 1], HOLD / 4)
    assert (target.weight[1, 0] < 1e-4 * HOLD).all()
    assert not hold(held, field, np.zeros_like(held)).weight.any()


def test_plain_sides_do_not_sag():
    """The bending energy draws a grey box's flat sides inward, for as long as it is let."""
    views = in_unit_cube(views_of(box([0.8, 0.7, 0.9]), cameras_around(8, 128)))
    views = replace(views, images=np.full_like(views.images, 0.5))
    photographs = Photographs.shrunk(views, 1, torch.device("cpu"))
    silhouettes, resolution = Silhouettes.of(views), 32
    solved = fair_hull(silhouettes, resolution).field
    second_farthest = grid_points(resolution).abs().sort(dim=-1).values[..., 1].numpy()
    sides = (np.abs(solved) < 1) & (second_farthest < 0.2)

    def sagged(is_held: bool) -> float:
        """By how many cells the middles of the sides move in ten looks."""
        fairing = Fairing(silhouettes, silhouettes.hull(resolution), solved, is_solution=True)
        start = fairing.field
        pull = Pull(0.1, views.mirrors, start if is_held else None)
        for _ in range(10):
            surface = find_surface(fairing.field, photographs.cameras)
            pull.advance(fairing, surface, photographs, None, None)
        return float(np.abs(fairing.field - start)[sides].mean())

    assert sagged(is_held=True) < 0.15
    assert sagged(is_held=False) > 0.4
