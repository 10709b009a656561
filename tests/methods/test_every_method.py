"""What every method in ``METHODS`` promises, on one ball and with the least work each allows."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.spatial import KDTree

from backend.errors import Cancelled
from backend.geometry.mesh import Mesh
from backend.methods import METHODS
from backend.methods.interface import QUALITIES, MakePreview, MethodSpec
from backend.views import Views
from tests.shapes import ball, box, camera, cameras_around, in_unit_cube, views_of
from tests.trained_parts import BALLS

RADIUS = 0.35
SMALL: dict[str, Any] = {"resolution": 32, "steps": 20, "points": 2000}
"""Enough for a ball; used by those methods that have a parameter of the name."""


@pytest.fixture(scope="module")
def views() -> Views:
    return in_unit_cube(views_of(ball(RADIUS), cameras_around(6, 48)))


@pytest.fixture(params=METHODS.values(), ids=list(METHODS))
def spec(request: pytest.FixtureRequest) -> MethodSpec:
    return request.param


@pytest.fixture
def seen(spec: MethodSpec, views: Views) -> Views:
    """As many of the views as the method reads."""
    most = spec.maximum_views
    per_view = {n: getattr(views, n)[:most] for n in ("names", "images", "masks", "known")}
    return dataclasses.replace(views, cameras=views.cameras[:most], **per_view)


@pytest.fixture
def checkpoint(spec: MethodSpec, tmp_path: Path) -> str | None:
    """Weights that know the ball, for a method that needs some."""
    if not spec.needs_checkpoint:
        return None
    return str(BALLS[spec.name](tmp_path / "model.safetensors", RADIUS))


def small_params(spec: MethodSpec) -> Any:
    names = {field.name for field in dataclasses.fields(spec.params)}
    return spec.make_params("draft", {k: v for k, v in SMALL.items() if k in names})


class Log:
    """Writes the reports down, and cancels at one of them."""

    def __init__(self, cancel_at: int | None = None) -> None:
        self.fractions: list[float] = []
        self.messages: list[str] = []
        self.previews: list[Mesh] = []
        self.cancel_at = cancel_at

    def __call__(self, fraction: float, message: str, preview: MakePreview | None = None) -> None:
        self.fractions.append(fraction)
        self.messages.append(message)
        mesh = preview() if preview else None
        self.previews += [mesh] if mesh else []
        if len(self.fractions) == self.cancel_at:
            raise Cancelled


@pytest.mark.parametrize("spec", [s for s in METHODS.values() if s.needs_cameras], indirect=True)
def test_a_symmetric_object_seen_from_one_side_gets_two_equal_sides(spec: MethodSpec):
    places = [(1.5, -2.0, 0.6), (2.2, 0.3, -0.5), (1.2, 1.8, 0.4)]
    one_side = in_unit_cube(views_of(box((0.7, 0.5, 0.4)), [camera(p, 64) for p in places]))

    def gap(views: Views) -> float:
        mesh = spec.load(small_params(spec), "cpu", 0).reconstruct(views, Log())
        return float(KDTree(mesh.vertices).query(mesh.vertices * [-1, 1, 1])[0].mean())

    assert gap(dataclasses.replace(one_side, mirrors=("x",))) < 1e-4
    assert gap(one_side) > 0.02


def test_a_ball_becomes_a_ball(spec: MethodSpec, seen: Views, checkpoint: str | None):
    log = Log()
    mesh = spec.load(small_params(spec), "cpu", 0, checkpoint).reconstruct(seen, log)
    assert mesh.is_closed_manifold()
    assert mesh.vertices.dtype == np.float32
    assert np.abs(mesh.vertices).max() <= 0.5
    # Positive volume: outward. The bounds are wide, as so little work was allowed.
    ratio = mesh.signed_volume() / (4 / 3 * np.pi * RADIUS**3)
    assert 0.6 < ratio < 1.3
    middle = (mesh.vertices.max(axis=0) + mesh.vertices.min(axis=0)) / 2
    np.testing.assert_allclose(middle, 0, atol=0.06)
    assert min(log.fractions) >= 0
    assert max(log.fractions) <= 1
    assert log.fractions == sorted(log.fractions)
    assert len(log.fractions) >= 3
    assert all(log.messages)
    assert all(np.abs(preview.vertices).max() <= 0.51 for preview in log.previews)


def test_the_same_seed_gives_the_same_mesh(spec: MethodSpec, seen: Views, checkpoint: str | None):
    first, second = (
        spec.load(small_params(spec), "cpu", 3, checkpoint).reconstruct(seen, Log())
        for _ in range(2)
    )
    assert first.vertices.tobytes() == second.vertices.tobytes()
    assert first.faces.tobytes() == second.faces.tobytes()


@pytest.mark.cuda
def test_a_ball_becomes_a_ball_on_cuda(spec: MethodSpec, seen: Views, checkpoint: str | None):
    on_cuda = spec.load(small_params(spec), "cuda", 0, checkpoint).reconstruct(seen, Log())
    on_cpu = spec.load(small_params(spec), "cpu", 0, checkpoint).reconstruct(seen, Log())
    assert on_cuda.is_closed_manifold()
    assert on_cuda.signed_volume() == pytest.approx(on_cpu.signed_volume(), rel=0.05)


@pytest.mark.parametrize("cancel_at", [1, 2, 3])
def test_cancel_stops_it(spec: MethodSpec, seen: Views, checkpoint: str | None, cancel_at: int):
    log = Log(cancel_at)
    with pytest.raises(Cancelled):
        spec.load(small_params(spec), "cpu", 0, checkpoint).reconstruct(seen, log)
    assert len(log.fractions) == cancel_at


def test_the_name_is_the_folder(spec: MethodSpec):
    assert METHODS[spec.name] is spec
    assert spec.params.__module__ == f"backend.methods.{spec.folder or spec.name}"


def test_defaults_lie_within_their_bounds(spec: MethodSpec):
    """Given as text, as the command line gives them, the defaults come back the same."""
    defaults = dataclasses.asdict(spec.params())
    text = {name: str(value) for name, value in defaults.items()}
    assert spec.make_params("standard", text) == spec.params()
    assert all(field.metadata["description"] for field in dataclasses.fields(spec.params))


def test_presets_cover_every_quality(spec: MethodSpec):
    assert set(spec.presets) == set(spec.image_size) == set(QUALITIES)
    for quality in QUALITIES:
        made = spec.make_params(quality, spec.presets[quality])
        assert dataclasses.asdict(made).items() >= dict(spec.presets[quality]).items()
