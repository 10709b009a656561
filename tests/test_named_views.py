"""Named views: Blender's handedness, agreed scales, and sheets with several drawings."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from backend.errors import InputError
from backend.named_views import LONGEST_EDGE, NAMED_VIEWS, named_cameras, split_sheet
from backend.views import Camera, opengl_to_opencv

SIZE = {"X": 30.0, "Y": 50.0, "Z": 80.0}
EDGES = {"front": "XZ", "back": "XZ", "left": "YZ", "right": "YZ", "top": "XY", "bottom": "XY"}


def box_mask(
    width: float,
    height: float,
    left: float = 7.0,
    top: float = 5.0,
    image: tuple[int, int] | None = None,
) -> np.ndarray:
    """Exact coverage of an axis-aligned rectangle."""
    rows, columns = image or (int(height + 2 * top) + 2, int(width + 2 * left) + 2)

    def covered(start: float, length: float, count: int) -> np.ndarray:
        pixel = np.arange(count)
        return np.clip(np.minimum(pixel + 1, start + length) - np.maximum(pixel, start), 0, 1)

    return np.outer(covered(top, height, rows), covered(left, width, columns))


def drawing(name: str, scale: float, **more: float) -> np.ndarray:
    horizontal, vertical = EDGES[name]
    return box_mask(SIZE[horizontal] * scale, SIZE[vertical] * scale, **more)  # pyright: ignore[reportArgumentType]


def euler_camera(x: float, z: float) -> np.ndarray:
    """Rotation of a Blender camera with rotation_euler (x, 0, z) in degrees, OpenCV axes."""
    a, c = np.radians([x, z])
    about_x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    about_z = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
    matrix = np.eye(4)
    matrix[:3, :3] = about_z @ about_x
    return opengl_to_opencv(matrix)[:3, :3].T


# rotation_euler x and z that Blender's "Align Active Camera to View" gives in each axis view.
BLENDER = {
    "front": (90, 0),
    "back": (90, 180),
    "right": (90, 90),
    "left": (90, -90),
    "top": (0, 0),
    "bottom": (180, 0),
}


def one_camera(name: str) -> Camera:
    return named_cameras([name], [drawing(name, 1.0)])[0][0]


@pytest.mark.parametrize("name", NAMED_VIEWS)
def test_axes_are_those_of_blenders_views(name: str) -> None:
    camera = one_camera(name)
    np.testing.assert_allclose(
        camera.world_to_camera[:3, :3], euler_camera(*BLENDER[name]), atol=1e-12
    )
    assert camera.orthographic


# An F standing in the XZ plane: stem, two arms towards +X; and a dot on its back at +Y.
F = {
    "foot": (-0.4, 0.0, -0.8),
    "corner": (-0.4, 0.0, 0.8),
    "arm": (0.4, 0.0, 0.8),
    "short arm": (0.1, 0.0, 0.1),
    "dot": (-0.4, 0.6, -0.8),
}


@pytest.mark.parametrize(
    ("name", "left_of", "above"),
    [
        ("front", [("corner", "arm"), ("foot", "short arm")], [("corner", "foot")]),
        ("back", [("arm", "corner"), ("short arm", "foot")], [("corner", "foot")]),
        ("right", [("foot", "dot")], [("arm", "dot")]),
        ("left", [("dot", "foot")], [("arm", "dot")]),
        ("top", [("dot", "arm")], [("dot", "foot")]),
        ("bottom", [("dot", "arm")], [("foot", "dot")]),
    ],
)
def test_an_f_is_seen_as_in_blender(name: str, left_of: list, above: list) -> None:
    pixels, depth = one_camera(name).project(np.array(list(F.values())))
    at = dict(zip(F, pixels, strict=True))
    for left, right in left_of:
        assert at[left][0] < at[right][0] - 1.0
    for up, down in above:
        assert at[up][1] < at[down][1] - 1.0
    assert (depth > 0).all()


@pytest.mark.parametrize(
    ("name", "near", "far"),
    [
        ("front", "foot", "dot"),
        ("back", "dot", "foot"),
        ("right", "arm", "corner"),
        ("left", "corner", "arm"),
        ("top", "corner", "foot"),
        ("bottom", "foot", "corner"),
    ],
)
def test_what_is_in_front(name: str, near: str, far: str) -> None:
    _, depth = one_camera(name).project(np.array([F[near], F[far]]))
    assert depth[0] < depth[1] - 0.1


def test_drawings_of_different_scales_agree_exactly() -> None:
    """Front, right and top of one box at three scales, with different margins and fractions."""
    scales = {"front": 1.0, "right": 2.37, "top": 0.613}
    masks = [drawing(n, s, left=3.3 + s, top=6.7 * s) for n, s in scales.items()]
    cameras, warnings = named_cameras(list(scales), masks)
    assert warnings == []
    unit = LONGEST_EDGE / max(SIZE.values())  # world length of one unit of SIZE
    half = 0.5 * unit * np.array(list(SIZE.values()))
    corners = np.array(list(itertools.product([-1, 1], repeat=3))) * half
    for (_, scale), camera, mask in zip(scales.items(), cameras, masks, strict=True):
        assert camera.intrinsics[0, 0] == pytest.approx(scale / unit, rel=1e-9)
        assert camera.intrinsics[1, 1] == camera.intrinsics[0, 0]
        assert camera.image_size == mask.shape
        pixels, _ = camera.project(corners)
        np.testing.assert_allclose(pixels.min(axis=0), [3.3 + scale, 6.7 * scale], atol=1e-9)
        far = np.array([mask.sum(axis=1).max(), mask.sum(axis=0).max()])
        np.testing.assert_allclose(np.ptp(pixels, axis=0), far, atol=1e-9)


def test_all_six_views_agree() -> None:
    scales = np.array([1.0, 0.5, 2.0, 1.5, 0.7, 3.0])
    masks = [drawing(n, s) for n, s in zip(NAMED_VIEWS, scales, strict=True)]
    cameras, warnings = named_cameras(NAMED_VIEWS, masks)
    found = np.array([c.intrinsics[0, 0] for c in cameras])
    np.testing.assert_allclose(found / found[0], scales, rtol=1e-9)
    assert warnings == []


def test_the_longest_edge_seen_has_the_documented_length() -> None:
    for names in (["front"], ["top"], ["front", "back"]):
        cameras, _ = named_cameras(names, [drawing(n, 1.0) for n in names])
        longest = max(SIZE[axis] for axis in EDGES[names[0]])
        assert longest / cameras[0].intrinsics[0, 0] == pytest.approx(LONGEST_EDGE)


def test_a_misfit_is_spread_and_named() -> None:
    """Front and back differ by 10 % in width: a quarter of it stays at each of four extents."""
    masks = [box_mask(100, 80), box_mask(110, 80)]
    _, warnings = named_cameras(["front", "back"], masks)
    share = 100 * (1.1**0.25 - 1)
    assert len(warnings) == 4
    assert f"back view is drawn {share:.1f} % longer along X" in warnings[2]
    assert "front view is drawn" in warnings[0] and "shorter along X" in warnings[0]
    assert "longer along Z" in warnings[1] and "shorter along Z" in warnings[3]


def test_a_small_misfit_is_kept_quiet() -> None:
    masks = [box_mask(100, 80), box_mask(107, 80)]
    assert named_cameras(["front", "back"], masks)[1] == []


def test_drawings_of_different_objects_are_refused() -> None:
    with pytest.raises(InputError, match=r"% (longer|shorter) along [XZ].*views' names"):
        named_cameras(["front", "back"], [box_mask(200, 60), box_mask(60, 200)])


def test_as_drawn_shares_scale_and_picture_centre() -> None:
    masks = [np.zeros((100, 60)), np.zeros((80, 200))]
    for mask in masks:
        mask[10:20, 5:9] = 1.0  # where the object is must not matter
    cameras, warnings = named_cameras(["front", "right"], masks, align="as_drawn")
    for camera, mask in zip(cameras, masks, strict=True):
        assert camera.intrinsics[0, 0] == camera.intrinsics[1, 1] == 200 / LONGEST_EDGE
        pixels, _ = camera.project(np.zeros(3))
        np.testing.assert_allclose(pixels, [mask.shape[1] / 2, mask.shape[0] / 2])
    assert warnings == []


@pytest.mark.parametrize(
    ("names", "count", "align", "message"),
    [
        (["front", "side"], 2, "extents", "no view 'side'.*front, back, left, right, top, bottom"),
        (["front", "front"], 2, "extents", "'front' is named twice"),
        ([], 0, "extents", "no view is named"),
        (["front", "right"], 1, "extents", r"2 views are named \(front, right\) for 1 pictures"),
        (["front"], 1, "loosely", "align must be one of extents, as_drawn"),
    ],
)
def test_bad_names(names: list[str], count: int, align: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        named_cameras(names, [box_mask(10, 10)] * count, align)


def test_an_empty_drawing_is_named() -> None:
    with pytest.raises(InputError, match="right view is empty"):
        named_cameras(["front", "right"], [box_mask(10, 10), np.full((9, 9), 0.4)])


# ---------------------------------------------------------------- sheets


def sheet(*columns: tuple[int, int], width: int = 300, height: int = 40) -> np.ndarray:
    mask = np.zeros((height, width))
    for left, right in columns:
        mask[5:35, left:right] = 1.0
    return mask


def cut(mask: np.ndarray, *names: str) -> list[tuple[int, int]]:
    pieces = split_sheet(np.zeros((*mask.shape, 3)), mask, names)
    assert all(mask[rows].shape == mask.shape for rows, _ in pieces)
    return [(columns.start, columns.stop) for _, columns in pieces]


def test_a_sheet_is_cut_in_the_middle_of_its_gaps() -> None:
    mask = sheet((10, 60), (100, 150), (200, 280))
    assert cut(mask, "front", "right", "back") == [(0, 80), (80, 175), (175, 300)]
    assert cut(mask, "front") == [(0, 300)]


def test_pieces_of_one_drawing_stay_together() -> None:
    mask = sheet((10, 40), (45, 60), (100, 130), (138, 150), (200, 280))
    assert cut(mask, "front", "right", "back") == [(0, 80), (80, 175), (175, 300)]


def test_specks_are_no_drawings() -> None:
    mask = sheet((10, 60), (100, 200))
    mask[3, 78:80] = 1.0
    mask[20, 250] = 1.0
    assert cut(mask, "front", "right") == [(0, 80), (80, 300)]
    with pytest.raises(InputError, match="found 2 separate drawings in the sheet but 3 names"):
        cut(mask, "front", "right", "top")


def test_empty_and_misnamed_sheets() -> None:
    with pytest.raises(InputError, match="found 0 separate drawings"):
        cut(sheet(), "front", "right")
    with pytest.raises(InputError, match="no view 'side'"):
        cut(sheet((10, 60), (100, 200)), "front", "side")


def test_a_sheet_gives_the_cameras_of_its_pieces() -> None:
    mask = np.zeros((90, 200))
    mask[5:85, 10:40] = 1.0  # front: X 30, Z 80
    mask[5:85, 100:150] = 1.0  # right: Y 50, Z 80
    names = ("front", "right")
    masks = [mask[piece] for piece in split_sheet(mask, mask, names)]
    cameras, warnings = named_cameras(names, masks)
    assert warnings == []
    assert cameras[0].intrinsics[0, 0] == pytest.approx(80 / LONGEST_EDGE)
    assert cameras[1].intrinsics[0, 0] == pytest.approx(80 / LONGEST_EDGE)
