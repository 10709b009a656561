"""Lamps, cars, airplanes, mugs and bottles: what makes each of them one, and turned bodies."""

from __future__ import annotations

from functools import cache
from itertools import pairwise
from types import ModuleType

import numpy as np
import pytest

pytest.importorskip("manifold3d", reason="needs the extra train")

import igl
from manifold3d import Manifold

from backend.geometry.mesh import Mesh
from training.shapes import airplane, bottle, car, lamp, make_shape, mug
from training.shapes.solids import Color, union
from training.shapes.surface import unite
from training.shapes.vessels import (
    band,
    fluted_section,
    hollow,
    polygon_section,
    profile,
    radius_at,
    round_section,
    stretch,
    turned,
)

COUNT = 10
KINDS: list[tuple[ModuleType, str, str]] = [
    (module, table, kind)
    for module, table in (
        (lamp, "_KINDS"),
        (car, "_STYLES"),
        (airplane, "_KINDS"),
        (mug, "_KINDS"),
        (bottle, "_KINDS"),
    )
    for kind in getattr(module, table)
]


@cache
def shapes(category: str) -> list[Mesh]:
    return [make_shape(category, 1, index) for index in range(COUNT)]


def of_kind(monkeypatch, module: ModuleType, table: str, kind: str, seed: int = 0) -> Mesh:
    """A shape of one kind, by leaving the category no other."""
    monkeypatch.setattr(module, table, {kind: getattr(module, table)[kind]})
    return unite(module.make(np.random.default_rng(seed)))


def inside(mesh: Mesh, points: np.ndarray) -> np.ndarray:
    vertices, faces = mesh.vertices.astype(float), mesh.faces.astype(np.int64)
    flat = np.ascontiguousarray(points.reshape(-1, 3), dtype=float)
    return (np.asarray(igl.fast_winding_number(vertices, faces, flat)) > 0.5).reshape(
        points.shape[:-1]
    )


def column_top(mesh: Mesh, x: float, y: float) -> float:
    """The highest place inside on an upright line."""
    heights = np.linspace(-0.5, 0.5, 1001)
    points = np.stack([np.full_like(heights, x), np.full_like(heights, y), heights], axis=1)
    return float(heights[inside(mesh, points)].max(initial=-0.5))


def centres_of_color(mesh: Mesh, color: Color) -> np.ndarray:
    """Centres ``[K, 3]`` of the faces of a colour."""
    assert mesh.face_uvs is not None and mesh.texture is not None
    pixel = (mesh.face_uvs[:, 0, 0] * mesh.texture.shape[1]).astype(int)
    same = (mesh.texture[0, pixel] == np.round(255 * np.array(color))).all(axis=1)
    return mesh.vertices[mesh.faces[same]].mean(axis=1)


# Every kind ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("module", "table", "kind"),
    KINDS,
    ids=[f"{module.__name__.rpartition('.')[2]}-{kind}" for module, _, kind in KINDS],
)
def test_every_kind_hangs_together_and_is_closed(monkeypatch, module, table, kind):
    mesh = of_kind(monkeypatch, module, table, kind, seed=3)
    assert mesh.is_closed_manifold()
    assert mesh.signed_volume() > 0


@pytest.mark.parametrize("category", ["car", "airplane"])
def test_vehicles_are_the_same_on_both_sides(category):
    # All but propellers, exhaust pipes and steering wheels.
    points = np.random.default_rng(0).uniform(-0.45, 0.45, (6000, 3))
    for mesh in shapes(category):
        low, high = mesh.vertices.min(axis=0), mesh.vertices.max(axis=0)
        spread = points / 0.45 * (high - low) / 2
        here, there = inside(mesh, spread), inside(mesh, spread * [-1.0, 1.0, 1.0])
        assert (here & there).sum() > 0.94 * (here | there).sum()


# Cars ---------------------------------------------------------------------------------------------


def test_cars_look_ahead_with_white_lamps_and_back_with_red_ones():
    for mesh in shapes("car"):
        assert centres_of_color(mesh, car._LAMP)[:, 1].max() < 0
        assert centres_of_color(mesh, car._RED)[:, 1].min() > 0


def test_cars_stand_on_four_wheels():
    for mesh in shapes("car"):
        low = mesh.vertices[:, 2].min()
        ground = mesh.vertices[mesh.vertices[:, 2] < low + 2e-3]
        corners = {(bool(x > 0), bool(y > 0)) for x, y, _ in ground}
        assert len(corners) == 4
        # The body itself is off the ground, between the wheels as well.
        assert np.abs(ground[:, 0]).min() > 0.05
        assert not inside(mesh, np.array([[0.0, 0.0, low + 0.01]])).any()


def test_a_pickup_has_an_empty_bed(monkeypatch):
    mesh = of_kind(monkeypatch, car, "_STYLES", "pickup")
    bed, tailgate = column_top(mesh, 0.0, 0.28), column_top(mesh, 0.0, 0.445)
    assert bed < tailgate - 0.02
    assert bed > mesh.vertices[:, 2].min() + 0.05


def test_a_convertible_is_open_between_its_doors(monkeypatch):
    mesh = of_kind(monkeypatch, car, "_STYLES", "convertible")
    width = float(np.ptp(mesh.vertices[:, 0]))
    door = max(column_top(mesh, x, 0.0) for x in np.linspace(0.3, 0.5, 30) * width)
    assert column_top(mesh, 0.0, 0.0) < door - 0.04


# Airplanes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("thickness", [0.06, 0.12, 0.18])
def test_airfoils_are_as_thick_as_their_name_says_at_three_tenths(thickness):
    outline = airplane._airfoil(thickness, camber=0.0)
    upper = outline[: len(outline) // 2 + 1][::-1]
    thickest = upper[np.argmax(upper[:, 1])]
    assert 2 * thickest[1] == pytest.approx(thickness, rel=0.02)
    assert thickest[0] == pytest.approx(0.3, abs=0.08)
    assert np.allclose(outline[::-1] * [1, -1], outline)
    assert outline[:, 0].min() == 0 and outline[:, 0].max() == 1


def test_wings_reach_from_tip_to_tip_without_a_seam():
    wing = airplane._Wing(half_span=10.0, root=3.0, tip=1.0, sweep=4.0, rise=1.0)
    solid = wing.solid(5.0, 2.0)
    low, high = np.reshape(solid.bounding_box(), (2, 3))
    assert len(solid.decompose()) == 1 and solid.genus() == 0
    assert high[0] == pytest.approx(10.0, abs=0.1) and low[0] == pytest.approx(-high[0])
    assert low[1] == pytest.approx(5.0, abs=0.01)  # the root's leading edge
    assert high[1] == pytest.approx(5.0 + 4.0 + 1.0, abs=0.05)  # the tip's trailing edge
    # A NACA section encloses 0.685 of chord times thickness, integrated over both wings.
    shares = np.linspace(0.0, 1.0, 1001)
    section = 0.685 * 0.12 * (1 - 0.3 * shares) * (3.0 - 2.0 * shares) ** 2
    assert solid.volume() == pytest.approx(2 * 10.0 * section.mean(), rel=0.06)


def test_airplanes_have_their_windscreen_in_front():
    seen = 0
    for mesh in shapes("airplane"):
        glass = centres_of_color(mesh, airplane._GLASS)
        if len(glass):
            front, rear = mesh.vertices[:, 1].min(), mesh.vertices[:, 1].max()
            assert glass[:, 1].min() - front < rear - glass[:, 1].max()
            seen += 1
    assert seen >= COUNT // 2


@pytest.mark.parametrize("blades", [2, 3, 5])
def test_a_propeller_has_its_blades_in_one_plane(blades):
    random = np.random.default_rng(0)
    _, fan = airplane._propeller(random, 1.0, (0.0, 0.0, 0.0), (1.0, 0.0, 0.0), blades)
    tips = fan.solid ^ Manifold.cylinder(2.0, 1.5, 1.5, 48, True).rotate((90, 0, 0))
    outer = tips - Manifold.cylinder(2.0, 0.6, 0.6, 48, True).rotate((90, 0, 0))
    assert len(outer.decompose()) == blades
    low, high = np.reshape(fan.solid.bounding_box(), (2, 3))
    assert high[1] - low[1] < 0.3


# Mugs ---------------------------------------------------------------------------------------------


def test_mugs_hold_what_is_poured_into_them():
    around = np.linspace(0, 2 * np.pi, 16, endpoint=False)
    for mesh in shapes("mug"):
        low, high = mesh.vertices.min(axis=0), mesh.vertices.max(axis=0)
        # The axis of the vessel is where its lowest face is; the handle moves the whole to -x.
        ground = mesh.vertices[mesh.vertices[:, 2] < low[2] + 1e-3]
        x, y = 0.5 * (ground.min(axis=0) + ground.max(axis=0))[:2]
        floor = column_top(mesh, x, y)
        assert floor < high[2] - 0.015  # below the rim even when it is full
        reach = np.linspace(0.0, 1.0, 300)[:, None]
        level = np.full((300, 16), floor + 0.5 * (high[2] - floor))
        points = np.stack([x + reach * np.cos(around), y + reach * np.sin(around), level], axis=-1)
        assert inside(mesh, points).any(axis=0).all()


@pytest.mark.parametrize("style", mug._HANDLES)
def test_a_handle_makes_one_hole_and_leaves_the_cavity_free(monkeypatch, style):
    monkeypatch.setattr(mug, "_HANDLES", (style,))
    for seed in range(4):
        random = np.random.default_rng(seed)
        body = mug._body(random, mug._KINDS["mug"])
        wall = hollow(body.outside, body.inside, body.section)
        handle = mug._handle(random, body)
        assert wall.genus() == 0
        assert (wall + handle).genus() == (0 if style == "hook" else 1)
        assert len((wall + handle).decompose()) == 1
        drink = turned(body.inside, body.section)
        assert (handle ^ drink).volume() == pytest.approx(0.0, abs=1e-12)
        assert np.reshape(handle.bounding_box(), (2, 3))[1, 0] > body.outside[:, 0].max()


# Lamps --------------------------------------------------------------------------------------------


def test_fabric_shades_are_open_tubes_and_metal_ones_bells():
    for seed in range(8):
        random = np.random.default_rng(seed)
        fabric = lamp._fabric_shade(random, 0.2, 0.25).parts(0.0)
        tube = union([part.solid for part in fabric])
        assert tube.genus() == 1 and len(tube.decompose()) == 1
        shade = lamp._metal_shade(random, 0.2, 0.25)
        bell = union([part.solid for part in shade.parts(0.0)])
        assert bell.genus() == 0 and len(bell.decompose()) == 1
        assert bell.volume() < 0.35 * turned(shade.curve, shade.section).volume()
        axis = Manifold.cube((0.002, 0.002, 1.0), center=True)
        low, high = np.reshape((bell ^ axis).bounding_box(), (2, 3))[:, 2]
        assert low > 0.2 and high == pytest.approx(0.25, abs=1e-6)  # closed above, empty below


@pytest.mark.parametrize("kind", ["arc", "gooseneck"])
def test_bent_lamps_reach_forwards(monkeypatch, kind):
    mesh = of_kind(monkeypatch, lamp, "_KINDS", kind)
    foot = mesh.vertices[mesh.vertices[:, 2] < mesh.vertices[:, 2].min() + 0.01]
    assert 0.5 * (foot[:, 1].min() + foot[:, 1].max()) > 0.05


# Bottles ------------------------------------------------------------------------------------------


def test_an_open_bottle_is_empty_down_to_its_floor():
    curve = bottle._curve([(0.04, 0), (0.04, 0.5), (0.015, 0.8), (0.015, 1.0)], 0.2)
    section = round_section()
    (closed,) = bottle._body(curve, section, (0, 0, 0), False, 0.003)
    (opened,) = bottle._body(curve, section, (0, 0, 0), True, 0.003)
    assert opened.solid.genus() == 0
    assert 0.1 < opened.solid.volume() / closed.solid.volume() < 0.4
    axis = Manifold.cube((0.002, 0.002, 1.0), center=True)
    floor = np.reshape((opened.solid ^ axis).bounding_box(), (2, 3))[:, 2]
    assert floor == pytest.approx([0.0, 0.006], abs=1e-6)


def test_labels_stand_proud_of_the_glass_by_less_than_a_millimetre_or_two():
    curve = bottle._curve([(0.04, 0), (0.04, 0.5), (0.03, 1.0)], 0.2)
    section = round_section()
    body = turned(curve, section)
    for seed in range(10):
        for part in bottle._label(np.random.default_rng(seed), curve, section, 0.2, 0.6):
            low, high = np.reshape(part.solid.bounding_box(), (2, 3))
            assert -0.0415 < low[1] < -0.04  # it shows on the front
            assert low[2] >= 0.2 * 0.2 - 1e-9 and high[2] <= 0.6 * 0.2 + 1e-9
            assert (part.solid - body).volume() > 0


# Turned bodies ------------------------------------------------------------------------------------


def test_a_profile_goes_through_its_points_and_never_beyond_them():
    knots = np.array([(0.5, 0.0), (1.0, 0.3), (1.0, 0.7), (0.2, 0.9), (0.2, 1.4)])
    curve = profile(knots, 2000)
    distance = np.linalg.norm(curve[:, None] - knots, axis=2).min(axis=0)
    assert distance.max() < 1e-3
    assert (np.diff(curve[:, 1]) > 0).all()
    for (r0, z0), (r1, z1) in pairwise(knots):
        part = curve[(curve[:, 1] >= z0) & (curve[:, 1] <= z1), 0]
        assert part.min() >= min(r0, r1) - 1e-9 and part.max() <= max(r0, r1) + 1e-9


def area(outline: np.ndarray) -> float:
    x, y = outline.T
    return float(0.5 * (x * np.roll(y, -1) - y * np.roll(x, -1)).sum())


@pytest.mark.parametrize(
    "section",
    [round_section(), round_section(4.0, 0.6), polygon_section(6), fluted_section(12, 0.1)],
    ids=["round", "flat", "hexagon", "fluted"],
)
def test_turned_and_hollow_bodies_have_the_volume_of_their_frusta(section):
    low, high, height = 0.8, 0.5, 1.5
    curve = np.array([(low, 0.0), (high, height)])
    frustum = area(section) * height / 3 * (low**2 + low * high + high**2)
    assert turned(curve, section).volume() == pytest.approx(frustum, rel=1e-9)
    inside_curve = np.array([(0.4, 0.2), (0.4, height)])
    cavity = area(section) * 0.4**2 * (height - 0.2)
    vessel = hollow(curve, inside_curve, section)
    assert vessel.volume() == pytest.approx(frustum - cavity, rel=1e-9)
    assert vessel.genus() == 0


def test_sections_have_the_reach_and_symmetry_of_their_names():
    for sides in (4, 6, 9):
        outline = polygon_section(sides, 0.05)
        turn = 2 * np.pi / sides
        matrix = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
        gaps = np.linalg.norm((outline @ matrix)[:, None] - outline, axis=2).min(axis=1)
        assert gaps.max() < 1e-9
        assert outline[:, 0].max() == pytest.approx(np.cos(np.pi / sides))  # a side faces +X
    radii = np.linalg.norm(fluted_section(10, 0.2), axis=1)
    assert radii[0] == 1.0 and radii.max() == 1.0 and radii.min() == pytest.approx(0.8)


def test_a_band_lies_around_its_stretch_of_a_body():
    curve = np.array([(1.0, 0.0), (0.5, 1.0)])
    section = round_section()
    ring = band(curve, section, 0.2, 0.6, proud=0.01, depth=0.02)
    assert ring.genus() == 1
    low, high = np.reshape(ring.bounding_box(), (2, 3))
    assert (low[2], high[2]) == pytest.approx((0.2, 0.6))
    assert high[0] == pytest.approx(radius_at(curve, 0.2) + 0.01)
    assert radius_at(curve, 0.2) == pytest.approx(0.9)
    outer, inner = (stretch(curve, 0.2, 0.6) + [offset, 0.0] for offset in (0.01, -0.02))
    expected = turned(outer, section).volume() - turned(inner, section).volume()
    assert ring.volume() == pytest.approx(expected, rel=1e-9)
