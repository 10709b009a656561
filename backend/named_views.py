"""Drawings of an object from its front, right, top, ...: cameras from the names of the views.

The views are those of Blender's number pad (1, Ctrl 1, 3, Ctrl 3, 7, Ctrl 7), without perspective:

====== ============= =========== ========
name   looks along   image right image up
====== ============= =========== ========
front  +Y            +X          +Z
back   -Y            -X          +Z
right  -X            +Y          +Z
left   +X            -Y          +Z
top    -Z            +X          +Y
bottom +Z            +X          -Y
====== ============= =========== ========

Needs numpy only.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from .errors import InputError
from .lazy_numpy import np
from .views import Camera

NAMED_VIEWS: tuple[str, ...] = ("front", "back", "left", "right", "top", "bottom")
ALIGNMENTS: tuple[str, ...] = ("extents", "as_drawn")

LONGEST_EDGE = 2.0
"""World length of the object's longest edge ("extents") or the longest picture side ("as_drawn").

That of Blender's default cube.
"""

_DISTANCE = 2.0 * LONGEST_EDGE  # of the cameras from the origin: well outside any object
_AXES = ("X", "Y", "Z")
_REPORTED_MISFIT = 0.02
_REFUSED_MISFIT = 0.30
_SPECK = 0.002  # share of the foreground below which a piece between two gaps is dirt
_FORWARD = {
    "front": (0, 1, 0),
    "back": (0, -1, 0),
    "left": (1, 0, 0),
    "right": (-1, 0, 0),
    "top": (0, 0, -1),
    "bottom": (0, 0, 1),
}
_UP = {"top": (0, 1, 0), "bottom": (0, -1, 0)}


def named_cameras(
    names: Sequence[str], masks: Sequence[np.ndarray], align: str = "extents"
) -> tuple[list[Camera], list[str]]:
    """Place an orthographic camera for every drawing.

    ``extents``: drawings may have different scales and margins. Every drawing measures two edges of
    the object's box; one scale for each drawing and one length for each edge are fitted to these
    measurements by least squares of their logarithms. The middle of the box is the world's origin,
    its longest edge is :data:`LONGEST_EDGE`.

    ``as_drawn``: one scale for all, and the middle of each picture is the world's origin; the
    longest side of any picture is :data:`LONGEST_EDGE`.

    Args:
        names: Names out of :data:`NAMED_VIEWS`, one for each drawing.
        masks: ``[H, W]`` coverage in [0, 1] of each drawing, 1 = object.
        align: "extents" or "as_drawn".

    Returns:
        The cameras, and a warning for every drawing and axis whose length is more than 2 % off the
        one agreed on ("extents" only).

    Raises:
        InputError: Unknown or repeated names, another number of drawings, an empty drawing, or
            drawings more than 30 % off.
    """
    _check_names(names)
    if len(names) != len(masks):
        raise InputError(
            f"{len(names)} views are named ({', '.join(names)}) for {len(masks)} pictures; "
            "name one for each."
        )
    boxes = np.array([_mask_box(name, mask) for name, mask in zip(names, masks, strict=True)])
    if align == "as_drawn":
        scale = max(max(mask.shape) for mask in masks) / LONGEST_EDGE
        middles = np.array([mask.shape[::-1] for mask in masks]) / 2.0
        scales, warnings = np.full(len(names), scale), []
    elif align == "extents":
        middles = boxes.mean(axis=1)
        scales, warnings = _agreed_scales(names, boxes[:, 1] - boxes[:, 0])
    else:
        raise InputError(f"align must be one of {', '.join(ALIGNMENTS)}, got '{align}'.")
    cameras = [
        _camera(name, scale, middle, mask.shape)
        for name, scale, middle, mask in zip(names, scales, middles, masks, strict=True)
    ]
    return cameras, warnings


def split_sheet(
    image: np.ndarray, mask: np.ndarray, names: Sequence[str]
) -> list[tuple[slice, slice]]:
    """Cut a picture with several drawings side by side at its widest empty gaps.

    Args:
        image: ``[H, W, ...]``.
        mask: ``[H, W]`` coverage in [0, 1], 1 = object.
        names: The views from left to right.

    Returns:
        Rows and columns of each drawing; the rows are all rows, so that heights stay comparable.

    Raises:
        InputError: Unknown or repeated names, or fewer separate drawings than names.
    """
    _check_names(names)
    if image.shape[:2] != mask.shape:
        raise ValueError(f"image {image.shape} and mask {mask.shape} differ in size")
    pieces = _column_runs(mask > 0.5)
    if len(pieces) < len(names):
        raise InputError(
            f"found {len(pieces)} separate drawings in the sheet but {len(names)} names "
            f"({', '.join(names)}); leave empty columns between the drawings or name fewer."
        )
    gaps = pieces[1:, 0] - pieces[:-1, 1]
    chosen = np.sort(np.argsort(-gaps, kind="stable")[: len(names) - 1])
    cuts = [0, *((pieces[chosen, 1] + pieces[chosen + 1, 0]) // 2).tolist(), mask.shape[1]]
    rows = slice(0, mask.shape[0])
    return [(rows, slice(left, right)) for left, right in pairwise(cuts)]


def _check_names(names: Sequence[str]) -> None:
    valid = f"the views are {', '.join(NAMED_VIEWS)}"
    if not names:
        raise InputError(f"no view is named; {valid}.")
    for name in names:
        if name not in NAMED_VIEWS:
            raise InputError(f"there is no view '{name}'; {valid}.")
        if list(names).count(name) > 1:
            raise InputError(f"the view '{name}' is named twice; {valid}.")


def _axes(name: str) -> np.ndarray:
    """``[3, 3]`` world directions of the camera's x (right), y (down) and z (forward)."""
    forward, up = np.array(_FORWARD[name]), np.array(_UP.get(name, (0, 0, 1)))
    return np.stack([np.cross(forward, up), -up, forward]).astype(np.float64)


def _camera(name: str, scale: float, middle: np.ndarray, image_size: tuple[int, ...]) -> Camera:
    """The camera that sees the origin at the pixel ``middle`` (x, y)."""
    pose = np.eye(4)
    pose[:3, :3] = _axes(name)
    pose[2, 3] = _DISTANCE
    intrinsics = np.array([[scale, 0, middle[0]], [0, scale, middle[1]], [0, 0, 1]])
    height, width = image_size
    return Camera(intrinsics, pose, (height, width), orthographic=True)


def _mask_box(name: str, mask: np.ndarray) -> np.ndarray:
    """``[2, 2]`` corners (x, y) of the object's box, in pixels and fractions of them."""
    if not (mask > 0.5).any():
        raise InputError(f"the {name} view is empty: no object was found in its picture.")
    edges = [_profile_edges(mask.max(axis=0)), _profile_edges(mask.max(axis=1))]
    return np.array(edges).T


def _profile_edges(profile: np.ndarray) -> tuple[float, float]:
    return _first_edge(profile), len(profile) - _first_edge(profile[::-1])


def _first_edge(profile: np.ndarray) -> float:
    """Where the object begins: partly covered pixels count with the covered part of them."""
    first = int(np.argmax(profile > 0.5))
    before = float(profile[first - 1]) if first > 0 else 0.0
    return first + 1.0 - float(profile[first]) - before


def _agreed_scales(names: Sequence[str], extents: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """Fit ``extent = scale of the view * length of the edge``.

    Args:
        names: V names.
        extents: ``[V, 2]`` width and height of each drawing in pixels.

    Returns:
        ``[V]`` pixels per world unit, and warnings.
    """
    edges = np.array([np.abs(_axes(name)[:2]).argmax(axis=1) for name in names])  # [V, 2]
    views = len(names)
    equations = np.zeros((2 * views, views + 3))
    row = np.arange(2 * views)
    equations[row, row // 2] = 1.0
    equations[row, views + edges.ravel()] = 1.0
    measured = np.log(extents.ravel())
    solution = np.linalg.lstsq(equations, measured, rcond=None)[0]
    seen = np.unique(edges)
    shift = solution[views + seen].max() - np.log(LONGEST_EDGE)
    misfits = np.expm1(measured - equations @ solution).reshape(views, 2)
    return np.exp(solution[:views] + shift), _misfit_warnings(names, edges, misfits)


def _misfit_warnings(names: Sequence[str], edges: np.ndarray, misfits: np.ndarray) -> list[str]:
    view, side = divmod(int(np.abs(misfits).argmax()), 2)
    if abs(misfits[view, side]) > _REFUSED_MISFIT:
        raise InputError(
            f"the drawings contradict each other: the object in the {names[view]} view is "
            f"{_difference(misfits[view, side])} along {_AXES[edges[view, side]]} than the views "
            "agree; they do not show one object from these sides, so check the views' names."
        )
    return [
        f"the {name} view is drawn {_difference(misfit)} along {_AXES[edge]} than the views agree."
        for name, view_edges, view_misfits in zip(names, edges, misfits, strict=True)
        for edge, misfit in zip(view_edges, view_misfits, strict=True)
        if abs(misfit) > _REPORTED_MISFIT
    ]


def _difference(misfit: float) -> str:
    return f"{100 * abs(misfit):.1f} % {'longer' if misfit > 0 else 'shorter'}"


def _column_runs(foreground: np.ndarray) -> np.ndarray:
    """``[P, 2]`` first column and column after the last of each piece, without specks."""
    columns = foreground.sum(axis=0)
    steps = np.diff(np.concatenate([[0], columns > 0, [0]]).astype(np.int8))
    runs = np.column_stack([np.flatnonzero(steps == 1), np.flatnonzero(steps == -1)])
    areas = np.array([columns[left:right].sum() for left, right in runs])
    return runs[areas >= _SPECK * columns.sum()] if len(runs) else runs
