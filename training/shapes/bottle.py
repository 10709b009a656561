"""Bottles, flasks, jars, jugs and dispensers: open and hollow, or closed with caps and stoppers."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from manifold3d import Manifold

from .colors import METALS, PAINTS, PLASTICS, WOODS, pick, shaded, varied
from .kinds import draw_kind
from .solids import Color, Part, box, cylinder, ellipsoid, extrude, loft, rounded, sphere, sweep
from .vessels import (
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

_PROUD = 0.0004  # of one colour over another
_ROUND = round_section()
_GLASS: tuple[Color, ...] = (
    (0.10, 0.24, 0.14),
    (0.20, 0.32, 0.12),
    (0.32, 0.16, 0.06),
    (0.16, 0.20, 0.10),
    (0.74, 0.84, 0.84),
    (0.80, 0.87, 0.80),
    (0.12, 0.25, 0.45),
    (0.10, 0.10, 0.12),
)
_PAPER: tuple[Color, ...] = (
    (0.95, 0.93, 0.86),
    (0.90, 0.84, 0.68),
    (0.96, 0.96, 0.95),
    (0.80, 0.15, 0.13),
    (0.12, 0.25, 0.50),
    (0.15, 0.40, 0.25),
    (0.93, 0.72, 0.16),
    (0.10, 0.10, 0.12),
)
_FOILS: tuple[Color, ...] = (
    (0.55, 0.10, 0.14),
    (0.12, 0.12, 0.14),
    (0.80, 0.66, 0.30),
    (0.75, 0.76, 0.78),
    (0.12, 0.30, 0.22),
)


def make(random: np.random.Generator) -> list[Part]:
    """Draw one bottle; its label faces -Y, a handle points to +X and a spout to -X."""
    name = draw_kind(random, {kind: weight for kind, (_, weight) in _KINDS.items()})
    return _KINDS[name][0](random)


# Glass --------------------------------------------------------------------------------------------


def _wine(random: np.random.Generator) -> list[Part]:
    """Bordeaux with square shoulders, Burgundy with sloping ones, flute, or sparkling."""
    radius, height = random.uniform(0.034, 0.041), random.uniform(0.28, 0.34)
    neck = random.uniform(0.012, 0.0145)
    style = pick(random, ("bordeaux", "burgundy", "flute", "sparkling"))
    swell = 1.12 if style == "sparkling" else 1.0
    start, end, bulge = {
        "bordeaux": (random.uniform(0.58, 0.64), random.uniform(0.69, 0.75), 0.93),
        "burgundy": (random.uniform(0.4, 0.48), random.uniform(0.76, 0.84), 0.62),
        "flute": (random.uniform(0.35, 0.42), random.uniform(0.84, 0.9), 0.58),
        "sparkling": (random.uniform(0.42, 0.5), random.uniform(0.78, 0.86), 0.64),
    }[style]
    radius *= swell
    between = neck + bulge * (radius - neck)
    middle = start + (0.3 if style == "bordeaux" else 0.48) * (end - start)
    curve = _curve(
        [(0.92 * radius, 0), (radius, 0.02), (radius, 0.5 * start), (radius, start),
         (between, middle), (neck * 1.02, end), (neck, 1.0)],
        height,
    )  # fmt: skip
    color = varied(random, pick(random, _GLASS[:6]), 0.03)
    is_open = random.random() < 0.3
    parts = _body(curve, _ROUND, color, is_open, 0.0028)
    parts.append(_ring(curve, _ROUND, 0.955, 0.985, color, 0.0018, 0.001))
    if not is_open:
        parts += _wine_closure(random, curve, sparkling=style == "sparkling")
    low, high = random.uniform(0.1, 0.18), start - random.uniform(0.02, 0.1)
    parts += _label(random, curve, _ROUND, low, max(high, low + 0.16))
    if random.random() < 0.3:
        parts += _label(random, curve, _ROUND, end + 0.01, end + 0.045)
    return parts


def _wine_closure(random: np.random.Generator, curve: np.ndarray, sparkling: bool) -> list[Part]:
    """A foil over cork and neck, or a bare cork; over sparkling wine a wired cork's head."""
    neck, height = curve[-1]
    foil = varied(random, pick(random, _FOILS), 0.03)
    if not sparkling and random.random() < 0.25:
        cork = cylinder(0.8 * neck, (0, 0, height - 0.005), (0, 0, height + 0.014))
        return [Part(cork, varied(random, (0.76, 0.58, 0.38)))]
    low = random.uniform(0.62 if sparkling else 0.76, 0.86)
    parts = [_ring(curve, _ROUND, low, 1.0, foil, 0.0008, 0.001)]
    parts.append(_ring(curve, _ROUND, 0.95, 0.99, foil, 0.0026, 0.001))
    head = [(neck + 0.0008, -0.004), (neck + 0.0008, 0.001), (0.85 * neck, 0.002)]
    if sparkling:
        head = [(neck, -0.004), (0.95 * neck, 0.004), (1.2 * neck, 0.014), (1.0 * neck, 0.023),
                (0.4 * neck, 0.026)]  # fmt: skip
    return [*parts, Part(turned(np.array(head) + [0.0, height], _ROUND), foil)]


def _beer(random: np.random.Generator) -> list[Part]:
    """Long neck, stubby or steinie; crown cap, swing top or open."""
    radius, neck = random.uniform(0.029, 0.034), random.uniform(0.0115, 0.0135)
    height = radius * random.uniform(5.4, 8.0)
    start = random.uniform(0.44, 0.6)
    end = start + random.uniform(0.16, 0.3)
    curve = _curve(
        [(0.9 * radius, 0), (radius, 0.03), (radius, 0.5 * start), (radius, start),
         (0.55 * (radius + neck), 0.5 * (start + end)), (1.15 * neck, end), (neck, 1.0)],
        height,
    )  # fmt: skip
    color = varied(random, pick(random, _GLASS), 0.03)
    closure = pick(random, ("crown", "crown", "swing", "open"))
    parts = _body(curve, _ROUND, color, closure == "open", 0.0026)
    parts.append(_ring(curve, _ROUND, 0.95, 0.985, color, 0.0018, 0.001))
    if closure == "crown":
        skirt = fluted_section(21, 0.08)
        crown = np.array([(1.28, -0.006), (1.2, -0.001), (0.95, 0.0015)]) * [neck, 1]
        cap = turned(crown + [0, height], skirt)
        parts.append(Part(cap, varied(random, pick(random, _FOILS + _PAPER[3:]))))
    elif closure == "swing":
        parts += _swing_top(curve)
    parts += _label(random, curve, _ROUND, random.uniform(0.1, 0.18), start - 0.03)
    if random.random() < 0.5:
        parts += _label(random, curve, _ROUND, end + 0.02, min(end + 0.12, 0.93))
    return parts


def _swing_top(curve: np.ndarray) -> list[Part]:
    """A porcelain stopper under a wire bail."""
    neck, height = curve[-1]
    stopper = turned(
        np.array([(0.7 * neck, -0.004), (1.05 * neck, 0.001), (neck, 0.009), (0.5 * neck, 0.013)])
        + [0.0, height],
        _ROUND,
    )  # fmt: skip
    side, foot = 1.35 * neck, height - 0.032
    bail = [(0.8 * neck, 0, foot), (side, 0, foot), (side, 0, height + 0.0065)]
    path = [(-x, y, z) for x, y, z in bail] + bail[::-1]
    wire = sweep(rounded(path, 0.006, closed=False), 0.0013)
    return [Part(stopper, (0.94, 0.93, 0.9)), Part(wire, METALS[1])]


def _spirits(random: np.random.Generator) -> list[Part]:
    """A decanter: square, faceted or round, with a stopper or a screw cap."""
    radius, height = random.uniform(0.04, 0.052), random.uniform(0.17, 0.26)
    neck = random.uniform(0.012, 0.016)
    shoulder = random.uniform(0.6, 0.72)
    section = pick(
        random,
        (
            _ROUND,
            round_section(random.uniform(3.5, 7.0)),
            round_section(random.uniform(4.0, 7.0), random.uniform(0.5, 0.7)),
            polygon_section(int(random.choice([5, 6, 8])), 0.15),
        ),
    )
    taper = random.uniform(0.75, 1.0)
    curve = _curve(
        [(0.94 * taper * radius, 0), (taper * radius, 0.03), (radius, 0.95 * shoulder),
         (0.85 * radius, shoulder + 0.05), (1.3 * neck, shoulder + 0.11), (neck, 0.85), (neck, 1)],
        height,
    )  # fmt: skip
    # A neck is round whatever the body is.
    solid, glass = _blended(curve, section, shoulder * height), pick(random, _GLASS[2:])
    parts = [Part(solid, varied(random, glass, 0.03))]
    color = varied(random, pick(random, WOODS + METALS + _GLASS[4:6]))
    plug = cylinder(0.9 * neck, (0, 0, height - 0.004), (0, 0, height + 0.006))
    if random.random() < 0.6:
        size = neck * random.uniform(1.3, 2.2)
        head = sphere(size, (0, 0, height + 0.004 + 0.8 * size), 16)
        parts.append(Part(plug + head, color))
    else:
        parts.append(Part(_screw_cap(random, neck, height), color))
    parts.append(_ring(curve, _ROUND, 0.94, 0.985, parts[0].color, 0.0025, 0.001))
    low = random.uniform(0.12, 0.25)
    return parts + _label(random, curve, section, low, 0.9 * shoulder)


def _milk(random: np.random.Generator) -> list[Part]:
    """A wide-necked milk or juice bottle; open, with a foil lid or a screw cap."""
    radius, height = random.uniform(0.036, 0.048), random.uniform(0.17, 0.24)
    neck = radius * random.uniform(0.45, 0.7)
    shoulder = random.uniform(0.45, 0.6)
    curve = _curve(
        [(0.9 * radius, 0), (radius, 0.04), (radius, 0.5 * shoulder), (radius, shoulder),
         (0.6 * neck + 0.4 * radius, shoulder + 0.14), (neck, shoulder + 0.3), (neck, 1.0)],
        height,
    )  # fmt: skip
    color = varied(random, pick(random, (*_GLASS[4:6], (0.95, 0.94, 0.9), *_GLASS[4:6])), 0.03)
    closure = pick(random, ("open", "open", "lid", "screw"))
    section = _ROUND
    if random.random() < 0.3 and closure != "open":
        section = round_section(random.uniform(3.0, 5.0))
        parts = [Part(_blended(curve, section, shoulder * height), color)]
    else:
        parts = _body(curve, _ROUND, color, closure == "open", 0.003)
    parts.append(_ring(curve, _ROUND, 0.93, 0.985, color, 0.003, 0.001))
    accent = varied(random, pick(random, _PAPER[3:] + METALS[:1]))
    if closure == "lid":
        lid = np.array([(neck + 0.004, -0.007), (neck + 0.004, 0.0), (neck - 0.001, 0.002)])
        parts.append(Part(turned(lid + [0, height], _ROUND), accent))
    elif closure == "screw":
        parts.append(Part(_screw_cap(random, neck, height), accent))
    if random.random() < 0.6:
        parts += _label(random, curve, section, 0.15, shoulder - 0.05)
    return parts


def _flask(random: np.random.Generator) -> list[Part]:
    """An oil or laboratory bottle: a ball, a cone or a drop under a narrow neck."""
    radius, neck = random.uniform(0.04, 0.055), random.uniform(0.01, 0.015)
    height = radius * random.uniform(3.2, 4.6)
    forms = {
        "ball": [(0.45, 0), (0.8, 0.07), (1, 0.24), (0.8, 0.42)],
        "cone": [(0.96, 0), (1, 0.03), (0.7, 0.3), (0.42, 0.5)],
        "drop": [(0.6, 0), (0.9, 0.07), (1, 0.18), (0.62, 0.42)],
    }
    form = pick(random, tuple(forms))
    knots = [(radius * r, z) for r, z in forms[form]]
    curve = _curve([*knots, (1.05 * neck, 0.62), (neck, 0.85), (neck, 1.0)], height, 30)
    color = varied(random, pick(random, _GLASS), 0.03)
    is_open = random.random() < 0.5
    parts = _body(curve, _ROUND, color, is_open, 0.0026)
    parts.append(_ring(curve, _ROUND, 0.95, 0.985, color, 0.003, 0.001))
    if not is_open:
        cork = cylinder(0.85 * neck, (0, 0, height - 0.006), (0, 0, height + 0.015), 1.05 * neck)
        parts.append(Part(cork, varied(random, (0.76, 0.58, 0.38))))
    if random.random() < 0.5:
        level = random.uniform(0.15, 0.3)
        second = varied(random, pick(random, _PAPER))
        parts.append(_ring(curve, _ROUND, level, level + 0.08, second, _PROUD, 0.001))
    return parts


def _jar(random: np.random.Generator) -> list[Part]:
    """A jar: round, square or faceted, with a lid, a knob or none."""
    radius = random.uniform(0.035, 0.055)
    height = radius * random.uniform(1.7, 3.0)
    section = pick(random, (_ROUND, _ROUND, polygon_section(int(random.integers(6, 11)), 0.2)))
    mouth = radius * random.uniform(0.72, 0.88)
    curve = _curve(
        [(0.92 * radius, 0), (radius, 0.05), (radius, 0.4), (radius, 0.76), (mouth, 0.89),
         (mouth, 1)],
        height,
    )  # fmt: skip
    color = varied(random, pick(random, (*_GLASS[4:6], *PAINTS, (0.8, 0.55, 0.2))), 0.03)
    closure = pick(random, ("screw", "screw", "knob", "open"))
    if closure == "open":
        parts = _body(curve, section, color, True, 0.003)
    else:
        parts = [Part(turned(curve, section), color)]
        accent = varied(random, pick(random, METALS + _PAPER[3:] + WOODS))
        lid = _screw_cap(random, mouth, height, 0.16 * height)
        if closure == "knob":
            knob = sphere(0.22 * mouth, (0, 0, height + 0.2 * mouth), 16)
            top = [(1.08, -0.004), (1.1, 0.002), (0.7, 0.008), (0.2, 0.011)]
            lid = turned(np.array(top) * [mouth, 1] + [0, height], _ROUND) + knob
        parts.append(Part(lid, accent))
    return parts + _label(random, curve, section, random.uniform(0.12, 0.25), 0.68)


# Plastic ------------------------------------------------------------------------------------------


def _soda(random: np.random.Generator) -> list[Part]:
    """A plastic bottle for water or lemonade: ribbed, waisted or plain."""
    radius = random.uniform(0.031, 0.046)
    height = radius * random.uniform(5.6, 7.4)
    neck = random.uniform(0.0115, 0.014)
    shoulder, waist = random.uniform(0.6, 0.7), random.uniform(0.8, 1.0)
    curve = _curve(
        [(0.78 * radius, 0), (0.97 * radius, 0.035), (radius, 0.1), (waist * radius, 0.36),
         (radius, shoulder), (0.7 * radius, shoulder + 0.14), (1.05 * neck, 0.91), (neck, 1.0)],
        height,
        44,
    )  # fmt: skip
    if random.random() < 0.5:
        curve[:, 0] -= _ripples(curve, int(random.integers(8, 16)), 0.05 * radius, shoulder)
    section = pick(random, (_ROUND, _ROUND, fluted_section(int(random.integers(8, 17)), 0.05)))
    color = varied(
        random, pick(random, ((0.78, 0.88, 0.92), (0.55, 0.75, 0.85), *_GLASS[:6])), 0.03
    )
    accent = varied(random, pick(random, PLASTICS + _PAPER[3:]))
    parts = [
        Part(turned(curve, section), color),
        _ring(curve, _ROUND, 0.925, 0.94, color, 0.0025, 0.001),
        Part(_screw_cap(random, neck, height), accent),
    ]
    low = random.uniform(0.3, 0.42)
    return parts + _label(random, curve, section, low, shoulder - 0.03, wrapped=True)


def _ripples(curve: np.ndarray, count: int, depth: float, shoulder: float) -> np.ndarray:
    """How deep the grooves ``[R]`` between the foot and the shoulder are."""
    along = (curve[:, 1] / curve[-1, 1] - 0.05) / (shoulder - 0.05)
    return np.where((along > 0) & (along < 1), depth * np.sin(np.pi * count * along) ** 2, 0.0)


def _shampoo(random: np.random.Generator) -> list[Part]:
    """A flat toiletry bottle with a flip-top, a pump or a nozzle."""
    radius, depth = random.uniform(0.032, 0.042), random.uniform(0.5, 0.85)
    height = random.uniform(0.13, 0.22)
    section = round_section(random.uniform(2.0, 4.0), depth)
    neck = 0.45 * radius
    shape = random.uniform(0.8, 1.0, 3)
    curve = _curve(
        [(0.93 * radius * shape[0], 0), (radius * shape[0], 0.03), (radius * shape[1], 0.4),
         (radius * shape[2], 0.75), (0.75 * radius, 0.9), (0.5 * radius, 0.96), (neck, 1.0)],
        height,
    )  # fmt: skip
    color = varied(random, pick(random, (*PLASTICS, *PAINTS, (0.96, 0.95, 0.93), _GLASS[4])))
    accent = varied(random, pick(random, (*PLASTICS, (0.95, 0.95, 0.94), METALS[0])))
    parts = [Part(turned(curve, section), color)]
    closure = pick(random, ("flip", "pump", "nozzle"))
    if closure == "flip":
        wide = random.uniform(1.0, 1.5)
        cap = np.array([(0.98, -0.003), (1.0, 0.0), (1.0, 0.02), (0.9, 0.023)]) * [wide * neck, 1]
        parts.append(Part(turned(cap + [0, height], section), accent))
    elif closure == "pump":
        parts.append(Part(_pump(random, 0.8 * neck, height), accent))
    else:
        cap = [(1.0, -0.003), (1.0, 0.008), (0.55, 0.013), (0.22, 0.045), (0.14, 0.046)]
        parts.append(Part(turned(np.array(cap) * [neck, 1] + [0, height], _ROUND), accent))
    return parts + _label(
        random, curve, section, random.uniform(0.12, 0.3), random.uniform(0.6, 0.75)
    )


def _pump(random: np.random.Generator, neck: float, height: float) -> Manifold:
    """A collar, a plunger and a spout towards -X."""
    rise = random.uniform(0.022, 0.035)
    top, out = height + 0.012 + rise, random.uniform(0.03, 0.042)
    spout = rounded(
        [(0.004, 0, top), (-out, 0, top), (-out - 0.002, 0, top - 0.012)], 0.006, closed=False
    )
    return (
        cylinder(neck, (0, 0, height - 0.004), (0, 0, height + 0.012))
        + cylinder(0.35 * neck, (0, 0, height), (0, 0, top))
        + cylinder(0.7 * neck, (0, 0, top - 0.004), (0, 0, top + 0.006))
        + sweep(spout, 0.004)
    )


def _spray(random: np.random.Generator) -> list[Part]:
    """A cleaner's bottle with a trigger head that sprays to -X."""
    radius, depth = random.uniform(0.038, 0.046), random.uniform(0.62, 1.0)
    height = random.uniform(0.17, 0.21)
    section = round_section(random.uniform(2.0, 3.5), depth)
    neck, waist = 0.0125, random.uniform(0.7, 0.9)
    curve = _curve(
        [(0.93 * radius, 0), (radius, 0.03), (radius, 0.45), (waist * radius, 0.68),
         (0.75 * waist * radius, 0.85), (1.2 * neck, 0.95), (neck, 1.0)],
        height,
    )  # fmt: skip
    color = varied(random, pick(random, PLASTICS + _GLASS[4:6]))
    head, trigger = pick(random, PLASTICS[:2] + PLASTICS[:2] + PLASTICS), pick(random, PLASTICS)
    outline = rounded(
        [(0.022, 0.012), (0.03, 0.04), (0.018, 0.056), (-0.05, 0.052), (-0.05, 0.038),
         (-0.012, 0.034), (-0.012, 0.012)],
        0.006, 3,
    )  # fmt: skip
    body = extrude(outline + [0.0, height], -0.011, 0.011, "y", 0.003)
    lever = rounded([(-0.02, 0.04), (-0.036, 0.02), (-0.03, -0.012)], 0.012, closed=False)
    path = np.insert(lever + [0.0, height], 1, 0.0, axis=1)
    nozzle = cylinder(0.008, (-0.045, 0, height + 0.045), (-0.062, 0, height + 0.045), segments=4)
    return [
        Part(turned(curve, section), color),
        Part(cylinder(1.2 * neck, (0, 0, height - 0.006), (0, 0, height + 0.016)), head),
        Part(body, head),
        Part(sweep(path, 0.0045), trigger),
        Part(nozzle, trigger),
        *_label(random, curve, section, random.uniform(0.08, 0.2), 0.52),
    ]


def _jug(random: np.random.Generator) -> list[Part]:
    """A canister with a handle at its shoulder: a loop beside the neck, or a hole in the body."""
    radius, height = random.uniform(0.065, 0.085), random.uniform(0.22, 0.3)
    neck = random.uniform(0.017, 0.024)
    glass = random.random() < 0.4
    shoulder = random.uniform(0.5, 0.6)
    section = _ROUND if glass else round_section(random.uniform(3.0, 5.5), random.uniform(0.6, 1.0))
    curve = _curve(
        [(0.92 * radius, 0), (radius, 0.03), (radius, 0.5 * shoulder), (radius, shoulder),
         (0.72 * radius, shoulder + 0.2), (1.15 * neck, 0.9), (neck, 1.0)],
        height,
    )  # fmt: skip
    color = varied(random, pick(random, _GLASS if glass else (*PLASTICS, (0.93, 0.93, 0.9))), 0.03)
    accent = varied(random, pick(random, PLASTICS + METALS))
    parts = [Part(_blended(curve, section, shoulder * height), color)]
    parts.append(Part(_screw_cap(random, neck, height), accent))
    if glass:
        low, high = (shoulder + 0.16) * height, 0.94 * height
        x_low, x_high = radius_at(curve, low), radius_at(curve, high)
        out = max(x_low, x_high + 0.03) + 0.006
        path = [(x_high - 0.003, 0, high), (out, 0, high), (out, 0, 0.5 * (low + high)),
                (x_low - 0.006, 0, low)]  # fmt: skip
        parts.append(Part(sweep(rounded(path, 0.02, 5, closed=False), 0.0065), color))
    else:
        parts[0] = Part(parts[0].solid + _canister_handle(curve, section, shoulder), color)
    return parts + _label(random, curve, section, 0.1, shoulder - 0.06)


def _canister_handle(curve: np.ndarray, section: np.ndarray, shoulder: float) -> Manifold:
    """A grip from the neck out over the shoulder and down to the body's edge at +X."""
    height = curve[-1, 1]
    edge = 0.9 * radius_at(curve, 0.9 * shoulder * height) * float(section[:, 0].max())
    high, low = 0.84 * height, 0.96 * shoulder * height
    path = [
        (0.0, 0, high),
        (0.75 * edge, 0, high),
        (edge, 0, 0.6 * high + 0.4 * low),
        (edge, 0, low),
    ]
    return sweep(
        rounded(path, 0.04, 6, closed=False), round_section(3.0)[::4] * [0.014, 0.009], up=(0, 0, 1)
    )


def _sports(random: np.random.Generator) -> list[Part]:
    """A drinking bottle or vacuum flask, with a lid, a carrying loop or a cup."""
    radius = random.uniform(0.033, 0.042)
    height = radius * random.uniform(4.6, 6.6)
    grip = random.uniform(0.8, 1.0)
    mouth = radius * random.uniform(0.6, 0.9)
    curve = _curve(
        [(0.9 * radius, 0), (radius, 0.03), (radius, 0.35), (grip * radius, 0.6),
         (radius, 0.8), (0.95 * radius, 0.88), (mouth, 0.95), (mouth, 1.0)],
        height,
    )  # fmt: skip
    color = varied(random, pick(random, PLASTICS + PAINTS + METALS))
    accent = varied(random, pick(random, (*PLASTICS, *METALS)))
    parts = [Part(turned(curve, _ROUND), color)]
    style = pick(random, ("loop", "spout", "cup"))
    if style == "cup":
        cup = np.array([(1.0, -0.006), (1.0, 0.0), (0.94, 0.05), (0.8, 0.055)]) * [radius, 1]
        parts.append(Part(turned(cup + [0, height], _ROUND), accent))
        if random.random() < 0.5:
            path = [(0.9, 0.72), (1.75, 0.72), (1.75, 0.32), (0.9, 0.32)]
            points = np.insert(np.array(path) * [radius, height], 1, 0.0, axis=1)
            parts.append(Part(sweep(rounded(points, 0.02, 5, closed=False), 0.006), accent))
    else:
        lid = np.array([(1.05, -0.01), (1.08, 0.0), (1.05, 0.018), (0.9, 0.022)]) * [mouth, 1]
        parts.append(Part(turned(lid + [0, height], _ROUND), accent))
        top = height + 0.02
        if style == "loop":
            side = random.uniform(0.5, 0.9) * mouth
            points = [(-side, 0, top - 0.004), (-side, 0, top + 0.024), (side, 0, top + 0.024),
                      (side, 0, top - 0.004)]  # fmt: skip
            parts.append(Part(sweep(rounded(points, 0.012, 5, closed=False), 0.0045), accent))
        else:
            spout = [(0.0, 0.0), (0.0, 0.012), (0.0, 0.024)]
            radii = (0.012, 0.008, 0.01)
            pieces = [
                cylinder(r, (x, 0, top + z - 0.006), (x, 0, top + z + 0.008))
                for (x, z), r in zip(spout, radii, strict=True)
            ]
            parts += [Part(piece, PLASTICS[0]) for piece in pieces]
    low = random.uniform(0.15, 0.45)
    return parts + _label(random, curve, _ROUND, low, low + random.uniform(0.1, 0.3))


def _perfume(random: np.random.Generator) -> list[Part]:
    """A thick-walled scent bottle, its cap as important as itself."""
    width, depth = random.uniform(0.025, 0.036), random.uniform(0.35, 0.9)
    height = random.uniform(0.05, 0.09)
    section = pick(random, (_ROUND, round_section(random.uniform(3.0, 8.0), depth),
                            round_section(2.0, depth), polygon_section(8, 0.1)))  # fmt: skip
    forms = ([(0.95, 0), (1, 0.05), (1, 0.5), (1, 0.9), (0.9, 1)],
             [(0.55, 0), (0.9, 0.2), (1, 0.5), (0.85, 0.82), (0.3, 1)],
             [(0.7, 0), (0.75, 0.05), (0.9, 0.6), (1, 0.92), (0.9, 1)])  # fmt: skip
    curve = _curve([(width * r, z) for r, z in pick(random, forms)], height)
    color = varied(random, pick(random, (*_GLASS[4:], (0.9, 0.72, 0.74), (0.86, 0.72, 0.42))), 0.04)
    accent = varied(random, pick(random, (*METALS, PLASTICS[1], (0.83, 0.68, 0.38))))
    neck, rise = 0.26 * width, height + random.uniform(0.003, 0.006)
    parts = [
        Part(turned(curve, section), color),
        Part(cylinder(neck, (0, 0, height - 0.004), (0, 0, rise + 0.004)), METALS[0]),
    ]
    size, tall = width * random.uniform(0.32, 0.62), random.uniform(0.015, 0.032)
    caps: list[Callable[[], Manifold]] = [
        lambda: cylinder(size, (0, 0, rise), (0, 0, rise + tall)),
        lambda: box((2 * size, 2 * size * depth, tall), (0, 0, rise + tall / 2), 0.002),
        lambda: ellipsoid((size, size, 0.6 * tall), (0, 0, rise + 0.55 * tall)),
        lambda: turned(
            np.array([(0.7, 0), (1, 0.7), (0.6, 1)]) * [size, tall] + [0, rise],
            polygon_section(8, 0.1),
        ),
    ]
    parts.append(Part(pick(random, caps)(), accent))
    return parts + _label(random, curve, section, 0.25, 0.65)


def _dropper(random: np.random.Generator) -> list[Part]:
    """A medicine bottle: pills under a wide cap, or drops under a rubber bulb."""
    radius, height = random.uniform(0.018, 0.028), random.uniform(0.06, 0.09)
    neck = radius * random.uniform(0.42, 0.6)
    pills = random.random() < 0.5
    mouth = 0.85 * radius if pills else neck
    curve = _curve(
        [(0.93 * radius, 0), (radius, 0.04), (radius, 0.4), (radius, 0.72), (0.9 * radius, 0.8),
         (mouth, 0.9), (mouth, 1)],
        height,
    )  # fmt: skip
    color = varied(random, pick(random, ((0.36, 0.18, 0.06), (0.85, 0.5, 0.15), (0.95, 0.95, 0.94),
                                         (0.14, 0.28, 0.5))))  # fmt: skip
    accent = varied(random, pick(random, PLASTICS[:2]))
    parts = [
        Part(turned(curve, _ROUND), color),
        Part(_screw_cap(random, mouth, height, random.uniform(0.012, 0.02)), accent),
    ]
    if not pills:
        knots = [(0.6, 0), (0.62, 0.01), (0.8, 0.016), (0.7, 0.03), (0.25, 0.036)]
        bulb = np.array(knots) * [neck, 1] + [0, height + 0.001]
        parts.append(Part(turned(profile(bulb, 12), _ROUND), varied(random, PLASTICS[1])))
    return parts + _label(random, curve, _ROUND, random.uniform(0.1, 0.2), 0.68)


def _hip_flask(random: np.random.Generator) -> list[Part]:
    """A flat metal flask, curved to the hip, its cap on a strap."""
    width, height = random.uniform(0.042, 0.05), random.uniform(0.09, 0.13)
    section = round_section(random.uniform(2.6, 4.0), random.uniform(0.24, 0.32))
    curve = _curve(
        [(0.88 * width, 0), (0.97 * width, 0.05), (width, 0.4), (0.98 * width, 0.82),
         (0.8 * width, 0.94), (0.45 * width, 1.0)],
        height,
    )  # fmt: skip
    bend = random.uniform(2.0, 6.0)

    def curved(points: np.ndarray) -> np.ndarray:
        return points + np.stack([0 * points[:, 0], bend * points[:, 0] ** 2, 0 * points[:, 0]], 1)

    metal = varied(random, pick(random, METALS), 0.03)
    sleeve = varied(random, pick(random, WOODS + PAINTS))
    low, high = random.uniform(0.08, 0.2), random.uniform(0.6, 0.75)
    wrap = _ring(curve, section, low, high, sleeve, 0.0012, 0.001)
    body, wrap_solid = (
        solid.warp_batch(lambda points: curved(np.asarray(points)))
        for solid in (turned(curve, section), wrap.solid)
    )
    side = 0.012  # of the hinge from the cap
    arm = rounded(
        [
            (0.03, 0, height - 0.008),
            (side, 0, height + 0.004),
            (side, 0, height + 0.02),
            (0, 0, height + 0.02),
        ],
        0.003,
        closed=False,
    )
    neck = cylinder(0.008, (0, 0, height - 0.004), (0, 0, height + 0.008))
    return [
        Part(body, metal),
        Part(wrap_solid, sleeve),
        Part(neck, metal),
        Part(_screw_cap(random, 0.009, height + 0.019, 0.014), metal),
        Part(sweep(arm, 0.0018), metal),
    ]


# Parts --------------------------------------------------------------------------------------------


def _curve(knots: list[tuple[float, float]], height: float, count: int = 26) -> np.ndarray:
    """A rising profile through knots (radius in metres, height in parts of the whole)."""
    return profile(np.array(knots) * [1.0, height], count)


def _body(
    curve: np.ndarray, section: np.ndarray, color: Color, is_open: bool, wall: float
) -> list[Part]:
    """The body: solid to the eye when it is closed, hollow when one can look in."""
    if not is_open:
        return [Part(turned(curve, section), color)]
    inside = stretch(curve, 2.0 * wall, float(curve[-1, 1])) - [wall, 0.0]
    inside[0, 0] *= 0.8  # a round bottom
    return [Part(hollow(curve, inside, section), color)]


def _blended(curve: np.ndarray, section: np.ndarray, shoulder: float) -> Manifold:
    """A body whose section turns from its own into a circle above the shoulder."""
    angles = np.arctan2(section[:, 1], section[:, 0])
    circle = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    rise = (curve[:, 1] - shoulder) / (curve[-1, 1] - shoulder)
    share = np.clip(3.0 * rise, 0.0, 1.0)[:, None, None]
    flat = curve[:, None, :1] * ((1.0 - share) * section + share * circle)
    heights = np.broadcast_to(curve[:, None, 1:], (*flat.shape[:2], 1))
    return loft(np.concatenate([flat, heights], axis=2))


def _ring(
    curve: np.ndarray,
    section: np.ndarray,
    low: float,
    high: float,
    color: Color,
    proud: float,
    depth: float,
) -> Part:
    """A band of a colour between two heights in parts of the whole."""
    height = float(curve[-1, 1])
    return Part(band(curve, section, low * height, high * height, proud, depth), color)


def _screw_cap(
    random: np.random.Generator, neck: float, height: float, tall: float = 0.0
) -> Manifold:
    tall = tall or random.uniform(0.012, 0.022)
    radius = neck + 0.0022
    outline = np.array(
        [(radius, 0.003 - tall), (radius, 0.001), (radius - 0.0012, 0.0022), (0.4 * radius, 0.0024)]
    )
    grip = fluted_section(int(random.integers(16, 30)), 0.05) if random.random() < 0.6 else _ROUND
    return turned(outline + [0, height], grip)


def _label(
    random: np.random.Generator,
    curve: np.ndarray,
    section: np.ndarray,
    low: float,
    high: float,
    wrapped: bool = False,
) -> list[Part]:
    """Paper around the body, or on its front: plain, striped, or with an emblem."""
    if random.random() < 0.12:
        return []
    height, radius = float(curve[-1, 1]), float(curve[:, 0].max())
    paper, ink, second = (varied(random, pick(random, _PAPER)) for _ in range(3))
    label = _ring(curve, section, low, high, paper, _PROUD, 0.001).solid
    mask: Manifold | None = None
    if not wrapped and random.random() < 0.6:
        share = random.uniform(0.55, 0.85)
        mask = box((2 * share * radius, 1.0, 4.0), (0.0, -0.5, 0.0))
        label = label ^ mask
    parts = [Part(label, paper)]
    size = high - low
    if random.random() < 0.7:
        start = low + size * random.uniform(0.08, 0.3)
        stripe = _ring(curve, section, start, start + size * random.uniform(0.1, 0.25), ink,
                       2 * _PROUD, 0.001).solid  # fmt: skip
        parts.append(Part(stripe if mask is None else stripe ^ mask, ink))
    if random.random() < 0.6:
        middle, half = height * (low + 0.66 * size), height * 0.22 * size
        disc = cylinder(min(half, 0.45 * radius), (0, -1, middle), (0, 0, middle))
        if random.random() < 0.4:
            disc = box((radius, 1.0, 1.6 * half), (0.0, -0.5, middle))
        seal = _ring(curve, section, low, high, second, 3 * _PROUD, 0.001).solid
        parts.append(Part(seal ^ disc, second if second != paper else shaded(paper, 0.6)))
    return parts


_KINDS: dict[str, tuple[Callable[[np.random.Generator], list[Part]], float]] = {
    "wine": (_wine, 3),
    "beer": (_beer, 3),
    "spirits": (_spirits, 2),
    "milk": (_milk, 1.5),
    "flask": (_flask, 1),
    "jar": (_jar, 1.5),
    "soda": (_soda, 3),
    "shampoo": (_shampoo, 2),
    "spray": (_spray, 1.5),
    "jug": (_jug, 2),
    "sports": (_sports, 1.5),
    "perfume": (_perfume, 1),
    "dropper": (_dropper, 1),
    "hip flask": (_hip_flask, 0.7),
}
