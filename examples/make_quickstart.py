"""Render the bundled example: a toy robot of our own, so that its pictures carry no one's rights.

    python examples/make_quickstart.py

writes ``quickstart/`` (eight pictures from all around with their cameras), ``drawings/`` (three
views without perspective on white) and ``drawings_sheet.png`` (the same side by side). Run from
the repository's root. The robot has a raised arm, a leaning antenna and paint that differs on every
side, so that a mirrored or turned result is seen at once.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.ndimage import map_coordinates

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from backend.camera_files import PosedImage, write_transforms  # noqa: E402
from backend.geometry.mesh import Mesh  # noqa: E402
from backend.named_views import named_cameras  # noqa: E402
from backend.views import Camera, View  # noqa: E402
from benchmarks.fit_quality import look_at, photograph  # noqa: E402

SIZE = 512
ROWS, COLUMNS = 70, 97  # vertices of each part
TEXTURE_ROWS, TEXTURE_COLUMNS = 512, 1536
FIELD_OF_VIEW = np.radians(27)
DISTANCE = 2.7
CENTRE = np.array([0.0, 0.0, 0.5])  # what the cameras look at; the robot stands on z = 0
ELEVATIONS = (12.0, 38.0)  # degrees, in turns

TEAL, NAVY, CREAM = (0.10, 0.55, 0.55), (0.10, 0.16, 0.32), (0.93, 0.83, 0.62)
ORANGE, RED, YELLOW = (0.93, 0.45, 0.12), (0.80, 0.13, 0.13), (0.96, 0.76, 0.16)
CYAN, GREY, DARK = (0.45, 0.90, 0.95), (0.45, 0.48, 0.52), (0.08, 0.09, 0.12)

Paint = Callable[[np.ndarray], np.ndarray]


# Shapes: everything is turned on a lathe ----------------------------------------------------------


def lathe(along: np.ndarray, radius: np.ndarray, start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Turn a profile around the axis from ``start`` (along = 0) to ``end`` (along = 1).

    Returns:
        ``[ROWS, COLUMNS, 3]`` points, rows equally spaced along the profile; the last column is
        the first again.
    """
    axis = end - start
    length = float(np.linalg.norm(axis))
    steps = np.hypot(np.diff(along) * length, np.diff(radius))
    travelled = np.concatenate([[0.0], np.cumsum(steps)])
    even = np.linspace(0, travelled[-1], ROWS)
    along, radius = np.interp(even, travelled, along), np.interp(even, travelled, radius)
    forward = axis / length
    side = np.cross(forward, [0.0, 1.0, 0.0] if abs(forward[1]) < 0.9 else [1.0, 0.0, 0.0])
    side /= np.linalg.norm(side)
    angle = np.linspace(0, 2 * np.pi, COLUMNS)
    ring = np.cos(angle)[:, None] * side + np.sin(angle)[:, None] * np.cross(forward, side)
    return start + along[:, None, None] * axis + radius[:, None, None] * ring


def capsule(start: tuple, end: tuple, radius: float, end_radius: float) -> np.ndarray:
    """A rod with round ends."""
    a, b = np.array(start, float), np.array(end, float)
    length = float(np.linalg.norm(b - a))
    turn = np.linspace(0, np.pi / 2, 50)
    along = np.concatenate([-radius * np.cos(turn), length + end_radius * np.sin(turn)]) / length
    return lathe(along, np.concatenate([radius * np.sin(turn), end_radius * np.cos(turn)]), a, b)


def rounded(centre: tuple, radii: tuple, power: float = 2.0) -> np.ndarray:
    """A superellipsoid: an ellipsoid at power 2, more and more of a can above."""
    turn = np.linspace(0, np.pi, 2000)
    along = -np.sign(np.cos(turn)) * np.abs(np.cos(turn)) ** (2 / power)
    radius = np.sin(turn).clip(min=0) ** (2 / power)
    unit = lathe((along + 1) / 2, radius, np.array([0.0, 0, -1]), np.array([0.0, 0, 1]))
    return unit * radii + centre


# Paint: a function of the place -------------------------------------------------------------------


def plain(color: tuple) -> Paint:
    return lambda p: np.tile(color, (len(p), 1))


def layered(base: tuple, *layers: tuple[Callable[[np.ndarray], np.ndarray], tuple]) -> Paint:
    """``base``, then each colour where its condition holds."""

    def paint(p: np.ndarray) -> np.ndarray:
        colors = np.tile(base, (len(p), 1))
        for where, color in layers:
            colors[where(p)] = color
        return colors

    return paint


def disc(x: float, z: float, radius: float, front: bool = True) -> Callable:
    return lambda p: ((p[:, 1] < 0) == front) & (np.hypot(p[:, 0] - x, p[:, 2] - z) < radius)


def band(low: float, high: float, axis: int = 2) -> Callable:
    return lambda p: (p[:, axis] > low) & (p[:, axis] < high)


def rings(start: tuple, end: tuple, count: int) -> Callable:
    """Every other one of ``2 * count`` slices along a line."""
    a, axis = np.array(start), np.subtract(end, start)
    return lambda p: ((p - a) @ axis / (axis @ axis) * 2 * count % 2) < 1


def needle(p: np.ndarray) -> np.ndarray:
    x, z = p[:, 0] + 0.035, p[:, 2] - 0.475
    return (p[:, 1] < 0) & (np.abs(x - z) < 0.012) & (x > -0.01) & (x < 0.045)


def warning_stripes(p: np.ndarray) -> np.ndarray:
    on_hatch = (p[:, 1] > 0) & (np.abs(p[:, 0]) < 0.10) & (np.abs(p[:, 2] - 0.46) < 0.05)
    return on_hatch & ((p[:, 0] + p[:, 2]) % 0.06 < 0.03)


def hatch(p: np.ndarray) -> np.ndarray:
    return (p[:, 1] > 0) & (np.abs(p[:, 0]) < 0.115) & (np.abs(p[:, 2] - 0.46) < 0.065)


def visor(p: np.ndarray) -> np.ndarray:
    inside = (np.abs(p[:, 0]) / 0.125) ** 4 + (np.abs(p[:, 2] - 0.785) / 0.052) ** 4 < 1
    return (p[:, 1] < 0) & inside


def checks(p: np.ndarray) -> np.ndarray:
    """Sixteen squares around the body's lower edge, in two rows."""
    sector = np.floor(np.arctan2(p[:, 1], p[:, 0]) / (2 * np.pi) * 16)
    row = np.floor((p[:, 2] - 0.305) / 0.03)
    return band(0.305, 0.365)(p) & ((sector + row) % 2 == 0)


BODY = layered(
    TEAL,
    (band(0.30, 0.37), CREAM),
    (checks, NAVY),
    (band(0.572, 0.592), ORANGE),
    (disc(-0.035, 0.475, 0.072), NAVY),
    (disc(-0.035, 0.475, 0.060), CREAM),
    (needle, RED),
    (disc(0.085, 0.505, 0.022), RED),
    (disc(0.085, 0.445, 0.022), YELLOW),
    (hatch, DARK),
    (warning_stripes, YELLOW),
)
HEAD = layered(
    ORANGE,
    (lambda p: p[:, 2] > 0.868, YELLOW),
    (band(0.862, 0.874), NAVY),
    (visor, DARK),
    (disc(-0.055, 0.787, 0.026), CYAN),
    (disc(0.060, 0.787, 0.034), CYAN),
    (disc(0.060, 0.787, 0.014), DARK),
    (disc(-0.055, 0.787, 0.010), DARK),
    (disc(0.0, 0.79, 0.075, front=False), CREAM),
    (disc(0.0, 0.79, 0.050, front=False), RED),
    (disc(0.0, 0.79, 0.025, front=False), CREAM),
)


def robot() -> Mesh:
    """About 1 high, facing -Y; the parts overlap, as only their pictures matter."""
    right = ((-0.19, 0, 0.53), (-0.31, -0.02, 0.60), (-0.37, -0.05, 0.75))  # its own right: raised
    left = ((0.19, 0, 0.53), (0.29, 0.01, 0.42), (0.27, -0.10, 0.33))
    parts = [
        (rounded((0, 0, 0.455), (0.205, 0.165, 0.175), 3.2), BODY),
        (rounded((0, 0, 0.645), (0.075, 0.075, 0.05), 4.0), plain(GREY)),
        (rounded((0, 0, 0.79), (0.175, 0.15, 0.125), 2.8), HEAD),
        (capsule((-0.205, 0, 0.79), (-0.165, 0, 0.79), 0.042, 0.042), plain(NAVY)),
        (capsule((0.165, 0, 0.79), (0.205, 0, 0.79), 0.042, 0.042), plain(NAVY)),
        (capsule((0.05, 0.02, 0.90), (0.095, 0.03, 1.02), 0.016, 0.013), plain(GREY)),
        (rounded((0.10, 0.03, 1.04), (0.040, 0.040, 0.040)), plain(RED)),
        *limb(right, 0.050, 0.044),
        *limb(left, 0.050, 0.044),
        (rounded((-0.385, -0.06, 0.79), (0.062, 0.055, 0.065)), plain(YELLOW)),
        (rounded((0.265, -0.125, 0.315), (0.060, 0.065, 0.055)), plain(YELLOW)),
        *leg(-0.095, -0.055),
        *leg(0.095, 0.025),
    ]
    return joined(parts)


def limb(joints: tuple, radius: float, end_radius: float) -> list[tuple[np.ndarray, Paint]]:
    shoulder, elbow, wrist = joints
    return [
        (capsule(shoulder, elbow, radius, radius), plain(TEAL)),
        (
            capsule(elbow, wrist, radius + 0.004, end_radius),
            layered(CREAM, (rings(elbow, wrist, 2), ORANGE)),
        ),
    ]


def leg(x: float, step: float) -> list[tuple[np.ndarray, Paint]]:
    hip, ankle = (0.85 * x, 0.0, 0.30), (x, step, 0.09)
    foot = layered(RED, (band(-1.0, 0.03), NAVY), (disc(x, 0.075, 0.028), CREAM))
    return [
        (capsule(hip, ankle, 0.064, 0.058), layered(GREY, (rings(hip, ankle, 3), NAVY))),
        (rounded((x, step - 0.045, 0.058), (0.088, 0.125, 0.058), 2.6), foot),
    ]


def joined(parts: list[tuple[np.ndarray, Paint]]) -> Mesh:
    """One mesh whose texture holds the parts' paint, one below the other."""
    texture = np.concatenate([painted(grid, paint) for grid, paint in parts])
    faces, uvs = zip(*(tiled(i, len(parts)) for i in range(len(parts))), strict=True)
    vertices = np.concatenate([grid.reshape(-1, 3) for grid, _ in parts])
    return Mesh(
        vertices.astype(np.float32),
        np.concatenate(faces).astype(np.int32),
        face_uvs=np.concatenate(uvs).astype(np.float32),
        texture=np.round(255 * texture).astype(np.uint8),
    )


def painted(grid: np.ndarray, paint: Paint) -> np.ndarray:
    """``[TEXTURE_ROWS, TEXTURE_COLUMNS, 3]`` colours of a part."""
    row = np.linspace(0, ROWS - 1, TEXTURE_ROWS)
    column = np.linspace(0, COLUMNS - 1, TEXTURE_COLUMNS)
    at = np.stack(np.meshgrid(row, column, indexing="ij"))
    places = [map_coordinates(grid[..., axis], at, order=1) for axis in range(3)]
    return paint(np.stack(places, axis=-1).reshape(-1, 3)).reshape(*at.shape[1:], 3)


def tiled(part: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """A part's faces ``[F, 3]`` and their texture coordinates ``[F, 3, 2]``."""
    index = np.arange(ROWS * COLUMNS).reshape(ROWS, COLUMNS)
    a, b, c, d = index[:-1, :-1], index[:-1, 1:], index[1:, :-1], index[1:, 1:]
    faces = np.stack([np.stack([a, b, d], -1), np.stack([a, d, c], -1)]).reshape(-1, 3)
    row, column = np.divmod(faces, COLUMNS)
    u = (0.5 + column / (COLUMNS - 1) * (TEXTURE_COLUMNS - 1)) / TEXTURE_COLUMNS
    v = (part + (0.5 + row / (ROWS - 1) * (TEXTURE_ROWS - 1)) / TEXTURE_ROWS) / count
    return faces + part * ROWS * COLUMNS, np.stack([u, 1 - v], axis=-1)


# Pictures -----------------------------------------------------------------------------------------


def turntable(count: int) -> list[Camera]:
    focal = 0.5 * SIZE / np.tan(FIELD_OF_VIEW / 2)
    intrinsics = np.array([[focal, 0, SIZE / 2], [0, focal, SIZE / 2], [0, 0, 1.0]])
    to_centre = np.eye(4)
    to_centre[:3, 3] = -CENTRE
    cameras = []
    for index in range(count):
        around = 2 * np.pi * index / count
        up = np.radians(ELEVATIONS[index % len(ELEVATIONS)])
        flat = np.array([np.sin(around), -np.cos(around), 0.0]) * np.cos(up)
        eye = DISTANCE * (flat + [0, 0, np.sin(up)])
        cameras.append(Camera(intrinsics, look_at(eye) @ to_centre, (SIZE, SIZE)))
    return cameras


def drawing_cameras(names: list[str]) -> list[Camera]:
    cameras, _ = named_cameras(names, [np.ones((SIZE, SIZE))] * len(names), "as_drawn")
    middle = np.eye(4)
    middle[:3, 3] = -CENTRE
    zoom = 1.6
    corner = SIZE / 2 * (1 - 1 / zoom)
    return [
        Camera(c.intrinsics, c.world_to_camera @ middle, c.image_size, c.orthographic).resampled(
            corner, corner, zoom, (SIZE, SIZE)
        )
        for c in cameras
    ]


def on_white(view: View) -> np.ndarray:
    cover = view.mask[..., None]
    return np.round(255 * (view.image * cover + 1 - cover)).astype(np.uint8)


def save(pixels: np.ndarray, path: Path) -> None:
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(pixels).save(path, optimize=True)


def main() -> None:
    mesh = robot()
    posed = []
    for index, view in enumerate(photograph(mesh, turntable(8))):
        path = HERE / "quickstart" / f"view_{index}.png"
        pixels = np.dstack([view.image, view.mask])
        save(np.round(255 * pixels).astype(np.uint8), path)
        posed.append(PosedImage(path, view.camera))
    write_transforms(HERE / "quickstart" / "transforms.json", posed)
    names = ["front", "right", "top"]
    drawings = [on_white(view) for view in photograph(mesh, drawing_cameras(names))]
    for name, pixels in zip(names, drawings, strict=True):
        save(pixels, HERE / "drawings" / f"{name}.png")
    save(np.hstack(drawings), HERE / "drawings_sheet.png")


if __name__ == "__main__":
    main()
