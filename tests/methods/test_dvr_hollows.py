"""Hollows that no silhouette shows: a painted ball with a dent, and one without."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from backend.geometry.fair_hull import fair_hull
from backend.geometry.silhouettes import Silhouettes
from backend.geometry.visual_hull import grid_points
from backend.methods.dvr import Params, grid_fit
from backend.methods.dvr.grid_fit import Schedule, fit, open_hollows
from backend.methods.dvr.hollows import SWEPT, judged, sweep
from backend.methods.dvr.reconstruct import load
from backend.methods.dvr.surface import DISAGREEMENT, Photographs, Surface, find_surface
from backend.methods.interface import MakePreview
from backend.views import Views
from tests.painted_ball import (
    DENT_CENTRE,
    DENT_RADIUS,
    RADIUS,
    RESOLUTION,
    ball_field,
    dent_field,
    painted_views,
)

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def views() -> Views:
    return painted_views(12)


def test_only_photographs_that_agree_prove_a_hollow():
    """The same dent, carved out of a ball that has it and of one that has not."""
    before = ball_field(RADIUS)
    after = np.minimum(before, dent_field())
    within = (before > 1) & (after < -1)
    for dented in (True, False):
        photographs = Photographs.shrunk(painted_views(16, dented), 2, CPU)
        proven, unproven = judged(before, after, photographs)
        assert proven[within].all() == proven.any() == dented
        assert unproven[within].all() == unproven.any() == (not dented)
        assert not any(cells.any() for cells in judged(before, before, photographs))


def test_a_hollow_must_gain_enough():
    before = ball_field(RADIUS)
    after = np.minimum(before, dent_field())
    photographs = Photographs.shrunk(painted_views(16, dented=True), 2, CPU)
    for least_gain, is_enough in ((1e-5, True), (DISAGREEMENT**2, False)):
        proven, unproven = judged(before, after, photographs, least_gain=least_gain)
        assert (proven.any(), unproven.any()) == (is_enough, not is_enough)


def test_a_hollow_and_its_mirror_image_are_judged_as_one():
    """Carved on both sides, true on one only: the false one decides for both."""
    before = ball_field(RADIUS)
    after = np.minimum(before, dent_field())
    after = np.minimum(after, after[:, ::-1])
    photographs = Photographs.shrunk(painted_views(16, dented=True), 2, CPU)
    within = (before > 1) & (dent_field() < -1)
    proven, unproven = judged(before, after, photographs)
    assert proven[within].all()
    assert not unproven[within].any()
    for together in judged(before, after, photographs, ("y",)):
        np.testing.assert_array_equal(together, together[:, ::-1])


@pytest.mark.parametrize("dented", [True, False])
def test_a_hollow_is_found_on_a_coarse_grid(dented: bool):
    """A dent seven cells deep goes to its bottom, however far its lid; a whole ball stays."""
    views = painted_views(16, dented, size=256)
    fairing = fair_hull(Silhouettes.of(views), 32)
    start = fairing.field
    told: list[float] = []
    depth = open_hollows(fairing, views, 0.1, CPU, told.append)
    assert told == sorted(told)
    assert told[-1] == 1
    assert depth.min() == 0
    if not dented:
        assert depth.max() == 0
        return
    away = np.linalg.norm(grid_points(32).numpy() - DENT_CENTRE, axis=-1)
    inside = start > 0.5
    opened = (start - depth < 0)[inside & (away < DENT_RADIUS - 1 / 32)]
    kept = (start - depth > 0)[inside & (away > DENT_RADIUS + 2 / 32)]
    assert opened.mean() > 0.9
    assert kept.mean() > 0.99


def test_a_fit_restores_what_photographs_do_not_prove(monkeypatch: pytest.MonkeyPatch):
    """After the sweeps, and before it looks again, the fit is back at its start."""
    views = painted_views(12, size=96)
    fairing = fair_hull(Silhouettes.of(views), 24, rounds=1)
    start = fairing.field
    looked_at: list[np.ndarray] = []
    monkeypatch.setattr(
        grid_fit,
        "find_surface",
        lambda field, *rest: looked_at.append(field) or find_surface(field, *rest),
    )
    monkeypatch.setattr(
        grid_fit,
        "judged",
        lambda before, *_: (np.zeros(before.shape, bool), np.ones(before.shape, bool)),
    )
    fit(fairing, views, Schedule(6, 0.1), CPU, lambda *_: None)
    away = [float(np.abs(field - start).mean()) for field in looked_at]
    assert away[0] == 0
    assert away[1] > 0.01
    assert away[2] < 0.1 * away[1]  # its bounds may be others by now
    assert away[3] > 0.01


@pytest.mark.parametrize(("offset", "depth"), [(1.0, 1.0), (2.0, 2.0), (4.0, 2.0)])
def test_a_sweep_looks_below_what_is_too_large(views: Views, offset: float, depth: float):
    """A ball ``offset`` cells too large goes down by that, and by two cells at most."""
    photographs = Photographs.shrunk(views, 2, CPU)
    surface = find_surface(ball_field(RADIUS + offset / RESOLUTION), photographs.cameras)
    found, certainty = sweep(surface, photographs, RESOLUTION)
    believed = certainty > 0
    assert float(believed[~surface.judging].float().mean()) > 0.7
    assert float(found[believed].median()) == depth
    assert float(certainty.max()) <= SWEPT


def test_a_sweep_looks_as_deep_as_it_is_told(views: Views):
    """Ten cells below the surface, beyond the usual depths."""
    photographs = Photographs.shrunk(views, 2, CPU)
    surface = find_surface(ball_field(RADIUS + 10 / RESOLUTION), photographs.cameras)
    found, certainty = sweep(surface, photographs, RESOLUTION, (), (5, 10), 20.0)
    assert float(found[certainty > 0].median()) == 10


def test_a_sweep_leaves_the_truth_alone(views: Views):
    photographs = Photographs.shrunk(views, 2, CPU)
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
        photographs = Photographs.shrunk(some, 2, CPU)
        _, certainty = sweep(find_surface(field, photographs.cameras), photographs, RESOLUTION)
        assert float(certainty.max()) == 0.0


def test_a_sweep_hears_all_mirror_images_of_a_point():
    """A dent on one side of what is said to be symmetric: the other side tells against it."""
    photographs = Photographs.shrunk(painted_views(12, dented=True), 2, CPU)
    surface = find_surface(ball_field(RADIUS), photographs.cameras, ("y",))
    lid = (surface.points - torch.as_tensor(DENT_CENTRE)).norm(dim=1) < 0.8 * DENT_RADIUS
    _, alone = sweep(surface, photographs, RESOLUTION)
    _, together = sweep(surface, photographs, RESOLUTION, ("y",))
    assert float((alone[lid] > 0).float().mean()) > 0.5
    assert float((together[lid] > 0).float().mean()) < 0.2
    mirrored = surface.points * torch.tensor([1.0, -1, 1])
    partner = torch.cdist(surface.points, mirrored).argmin(dim=1)
    torch.testing.assert_close(together, together[partner], rtol=1e-3, atol=1e-4)


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
        fit(fairing, views, Schedule(3, 0.1), CPU, lambda *_: None)
    assert swept == [12]  # once, while the photographs are a quarter as large


@pytest.mark.parametrize("count", [8, 12])
def test_few_photographs_open_no_hollows(count: int):
    """Nor do they begin on half the resolution."""
    fractions: list[float] = []
    messages: list[str] = []

    def report(fraction: float, message: str, preview: MakePreview | None = None) -> None:
        fractions.append(fraction)
        messages.append(message)

    params = Params(resolution=32, rounds=3, smoothing_rounds=1)
    load(None, params, "cpu", 0).reconstruct(painted_views(count, size=96), report)
    assert fractions == sorted(fractions)
    assert ("opening hollows" in messages) == (count == 12)
