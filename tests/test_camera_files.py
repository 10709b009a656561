"""Each reader against cameras that the test writes by hand, in the format's own convention."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.io import savemat

from backend.camera_files import (
    PosedImage,
    PosedImages,
    find_camera_file,
    read_cameras,
    write_cameras_npz,
    write_transforms,
)
from backend.errors import InputError
from backend.views import Camera, Similarity

HEIGHT, WIDTH = 120, 160
K = np.array([[210.0, 0, 71.5], [0, 190.0, 66.25], [0, 0, 1]])
POINTS = np.array([[0.1, 0.25, -0.3], [-0.4, 0.15, 0.2], [0.35, -0.45, 0.05], [0.0, 0.5, 0.6]])
NAMES = ("a_1.png", "a_2.png", "a_3.png", "a_10.png")


def fixed_size(path: Path) -> tuple[int, int]:
    return HEIGHT, WIDTH


def look_at(position: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """(R, t) of an upright camera at ``position`` that looks at a point beside the origin."""
    centre = np.array(position)
    forward = np.array([0.05, -0.02, 0.1]) - centre
    forward /= np.linalg.norm(forward)
    right = np.cross(forward, [0.0, 0.0, 1.0])
    right /= np.linalg.norm(right)
    rotation = np.stack([right, np.cross(forward, right), forward])
    return rotation, -rotation @ centre


POSES = [look_at(p) for p in ([0, -3, 1], [2.5, -1, 0.5], [1, 2.8, -0.4], [-3, 0.3, 1.2])]


def by_hand(i: int, intrinsics: np.ndarray = K) -> np.ndarray:
    """Pixels of POINTS in view i, from the pinhole equation alone."""
    rotation, translation = POSES[i]
    pixels = []
    for point in POINTS:
        x, y, z = rotation @ point + translation
        assert z > 0
        u, v, w = intrinsics @ [x, y, z]
        pixels.append([u / w, v / w])
    return np.array(pixels)


def projection(i: int) -> np.ndarray:
    rotation, translation = POSES[i]
    return K @ np.column_stack([rotation, translation])


def opengl_camera_to_world(i: int) -> list[list[float]]:
    """Columns right, up, backward and position, as Blender's matrix_world of a camera has them."""
    rotation, translation = POSES[i]
    right, down, forward = rotation
    position = -rotation.T @ translation
    return [*np.column_stack([right, -down, -forward, position]).tolist(), [0, 0, 0, 1]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in NAMES:
        (tmp_path / name).touch()
    return tmp_path


def check(posed: PosedImages, order: Sequence[int] = (0, 1, 2, 3), k: np.ndarray = K) -> None:
    assert [p.image.name for p in posed.images] == [NAMES[i] for i in order]
    for p, i in zip(posed.images, order, strict=True):
        pixels, depth = p.camera.project(POINTS)
        np.testing.assert_allclose(pixels, by_hand(i, k), rtol=1e-9)
        assert (depth > 0).all()
        assert p.camera.image_size == (HEIGHT, WIDTH)


def transforms(folder: Path, shared: dict, *frames: dict) -> Path:
    path = folder / "transforms.json"
    path.write_text(json.dumps(shared | {"frames": list(frames)}), encoding="utf-8")
    return path


def frames(**extra: object) -> list[dict]:
    return [
        {"file_path": f"./{name}", "transform_matrix": opengl_camera_to_world(i), **extra}
        for i, name in enumerate(NAMES)
    ]


INTRINSICS = {"fl_x": 210.0, "fl_y": 190.0, "cx": 71.5, "cy": 66.25, "w": 160.0, "h": 120}


# ---------------------------------------------------------------- transforms.json


def test_transforms_with_intrinsics_for_all(folder: Path) -> None:
    posed = read_cameras(transforms(folder, INTRINSICS, *frames()), [], fixed_size)
    check(posed)
    assert posed.warnings == ()
    assert all(p.camera.distortion == () and not p.camera.orthographic for p in posed.images)


def test_transforms_with_intrinsics_for_each_frame(folder: Path) -> None:
    shared = {"camera_angle_x": 1.9, "fl_x": 3.0, "k1": 0.5}
    entries = frames(**INTRINSICS, k1=0.0)
    entries[2] |= {"k1": 0.1, "k2": -0.2, "p1": 0.01, "p2": 0.02, "k3": 0.3, "mask_path": "m.png"}
    (folder / "m.png").touch()
    posed = read_cameras(transforms(folder, shared, *entries), [], fixed_size)
    check(posed)
    assert posed.images[2].camera.distortion == (0.1, -0.2, 0.01, 0.02, 0.3)
    assert posed.images[1].camera.distortion == ()
    assert [p.mask for p in posed.images] == [None, None, folder / "m.png", None]


def test_transforms_of_nerf_has_square_pixels_and_no_endings(folder: Path) -> None:
    angle = 0.8
    entries = frames()
    for entry, name in zip(entries, NAMES, strict=True):
        entry["file_path"] = "./" + name.removesuffix(".png")
    posed = read_cameras(transforms(folder, {"camera_angle_x": angle}, *entries), [], fixed_size)
    focal = WIDTH / 2 / np.tan(angle / 2)
    check(posed, k=np.array([[focal, 0, WIDTH / 2], [0, focal, HEIGHT / 2], [0, 0, 1]]))


def test_a_frames_own_angle_wins_over_the_shared_focal_length(folder: Path) -> None:
    entry = frames(camera_angle_x=np.pi / 2)[0]
    posed = read_cameras(transforms(folder, INTRINSICS, entry), [], fixed_size)
    assert posed.images[0].camera.intrinsics[0, 0] == pytest.approx(80.0)


def test_orthographic_transforms_with_blenders_scale(folder: Path) -> None:
    matrix = [[1, 0, 0, 0.5], [0, 0, -1, -4], [0, 1, 0, 1.0], [0, 0, 0, 1]]  # at -Y, upright
    entry = {"file_path": NAMES[0], "transform_matrix": matrix}
    shared = {"camera_model": "ORTHOGRAPHIC", "ortho_scale": 2.0}
    camera = read_cameras(transforms(folder, shared, entry), [], fixed_size).images[0].camera
    pixels, depth = camera.project(np.array([[0.5, 7.0, 1.0], [1.0, 0.0, 1.25]]))
    np.testing.assert_allclose(pixels, [[80, 60], [120, 40]])  # 80 pixels for each unit
    np.testing.assert_allclose(depth, [11.0, 4.0])


def test_missing_images_are_left_out_and_counted(folder: Path) -> None:
    (folder / NAMES[1]).unlink()
    path = transforms(folder, INTRINSICS, *frames())
    posed = read_cameras(path, [], fixed_size)
    check(posed, order=(0, 2, 3))
    assert len(posed.warnings) == 1 and "1 of the 4 images" in posed.warnings[0]
    assert "a_2.png" in posed.warnings[0]


def test_given_images_keep_their_order_and_may_be_few(folder: Path) -> None:
    path = transforms(folder, INTRINSICS, *frames())
    check(read_cameras(path, [folder / NAMES[3], folder / NAMES[0]], fixed_size), order=(3, 0))


def test_equal_names_in_two_folders_are_told_apart(tmp_path: Path) -> None:
    entries = frames()[:2]
    for entry, part in zip(entries, ("train", "test"), strict=True):
        entry["file_path"] = f"./{part}/r_0"
        (tmp_path / part).mkdir()
        (tmp_path / part / "r_0.png").touch()
    path = transforms(tmp_path, INTRINSICS, *entries)
    posed = read_cameras(path, [tmp_path / "test" / "r_0.png"], fixed_size)
    np.testing.assert_allclose(posed.images[0].camera.project(POINTS)[0], by_hand(1))


def test_smaller_images_scale_the_intrinsics(folder: Path) -> None:
    posed = read_cameras(
        transforms(folder, INTRINSICS, *frames()), [], lambda path: (HEIGHT // 2, WIDTH // 2)
    )
    for i, p in enumerate(posed.images):
        np.testing.assert_allclose(p.camera.project(POINTS)[0], by_hand(i) / 2)
    assert len(posed.warnings) == 1 and "80 x 60" in posed.warnings[0]


@pytest.mark.parametrize("size", [(WIDTH, HEIGHT), (HEIGHT, HEIGHT), (60, 90)])
def test_another_shape_of_image_is_refused(folder: Path, size: tuple[int, int]) -> None:
    path = transforms(folder, INTRINSICS, *frames())
    with pytest.raises(InputError, match=r"transforms.json.*wrong image size.*160 x 120"):
        read_cameras(path, [], lambda path: size)


def test_cameras_in_opencv_axes_are_noticed(folder: Path) -> None:
    entries = frames()
    for entry in entries:
        entry["transform_matrix"] = np.asarray(entry["transform_matrix"]) @ np.diag([1, -1, -1, 1])
        entry["transform_matrix"] = entry["transform_matrix"].tolist()
    with pytest.raises(InputError, match="look away"):
        read_cameras(transforms(folder, INTRINSICS, *entries), [], fixed_size)


def scaled(matrix: list[list[float]], *factors: float) -> list[list[float]]:
    return (np.asarray(matrix) @ np.diag([*factors, 1.0])).tolist()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"transform_matrix": scaled(opengl_camera_to_world(0), -1, 1, 1)}, "left-handed"),
        ({"transform_matrix": scaled(opengl_camera_to_world(0), 0, 1, 1)}, "singular"),
        ({"transform_matrix": scaled(opengl_camera_to_world(0), 2, 1, 1)}, "orthonormal"),
        ({"transform_matrix": scaled(opengl_camera_to_world(0), np.nan, 1, 1)}, "not finite"),
        ({"fl_x": 0.0}, "fl_x must be above zero"),
        ({"camera_angle_x": 4.0}, "below pi"),
        ({"camera_model": "OPENCV_FISHEYE"}, "OPENCV_FISHEYE"),
        ({"is_fisheye": True}, "fisheye"),
        ({"camera_model": "ORTHOGRAPHIC", "ortho_scale": -1}, "ortho_scale"),
        ({"mask_path": "nowhere.png"}, "nowhere.png"),
    ],
)
def test_bad_frames_are_named(folder: Path, change: dict, message: str) -> None:
    path = transforms(folder, INTRINSICS, *frames()[1:], frames()[0] | change)
    with pytest.raises(InputError, match=message) as caught:
        read_cameras(path, [], fixed_size)
    assert "transforms.json" in str(caught.value)


@pytest.mark.parametrize(
    "text",
    ["", '{"frames": [', "[]", "{}", '{"frames": 3}', '{"frames": []}', '{"frames": [1]}']
    + ['{"frames": [{"file_path": "a"}]}', '{"frames": [{"transform_matrix": [[1]]}]}']
    + ['{"frames": [{"file_path": "a", "transform_matrix": [[1, 2], [3, 4]], "fl_x": 1}]}']
    + ['{"fl_x": "wide", "frames": [{"file_path": "a", "transform_matrix": []}]}'],
)
def test_broken_json_is_an_input_error(folder: Path, text: str) -> None:
    path = folder / "transforms.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=r"transforms.json"):
        read_cameras(path, [], fixed_size)


def test_no_focal_length_and_unknown_or_repeated_images(folder: Path) -> None:
    with pytest.raises(InputError, match="no focal length"):
        read_cameras(transforms(folder, {}, *frames()), [], fixed_size)
    path = transforms(folder, INTRINSICS, *frames()[:2])
    with pytest.raises(InputError, match=r"no camera for a_10.png"):
        read_cameras(path, [folder / NAMES[0], folder / NAMES[3]], fixed_size)
    with pytest.raises(InputError, match="more than once"):
        read_cameras(path, [folder / NAMES[0], folder / NAMES[0]], fixed_size)
    path = transforms(folder, INTRINSICS, *frames(), frames()[0])
    with pytest.raises(InputError, match=r"several cameras for a_1.png"):
        read_cameras(path, [folder / NAMES[0]], fixed_size)


def test_no_image_at_all(folder: Path) -> None:
    entry = frames()[0] | {"file_path": "elsewhere/x.png"}
    with pytest.raises(InputError, match=r"none of the 1 images.*elsewhere/x.png"):
        read_cameras(transforms(folder, INTRINSICS, entry), [], fixed_size)


# ---------------------------------------------------------------- cameras.npz


def padded(matrix: np.ndarray) -> np.ndarray:
    return np.vstack([matrix, [0, 0, 0, 1]])


def test_npz_of_idr(tmp_path: Path) -> None:
    (tmp_path / "image").mkdir()
    (tmp_path / "mask").mkdir()
    for name in NAMES:
        (tmp_path / "image" / name).touch()
        (tmp_path / "mask" / name).touch()
    arrays: dict[str, Any] = {f"world_mat_{i}": padded(projection(i)) for i in range(4)}
    arrays |= {f"scale_mat_{i}": np.diag([3.0, 3, 3, 1]) for i in range(4)}
    np.savez(tmp_path / "cameras.npz", **arrays)
    posed = read_cameras(tmp_path, [], fixed_size)
    check(posed)
    assert [p.mask for p in posed.images] == [tmp_path / "mask" / name for name in NAMES]


@pytest.mark.parametrize("pixels", [False, True])
def test_npz_with_pose_and_intrinsics_apart(folder: Path, pixels: bool) -> None:
    """DVR's camera_mat leads to [-1, 1]; some tools write it in pixels."""
    to_normalised = np.array([[2 / WIDTH, 0, -1], [0, 2 / HEIGHT, -1], [0, 0, 1]])
    camera_mat = np.eye(4)
    camera_mat[:3, :3] = K if pixels else to_normalised @ K
    arrays: dict[str, Any] = {f"world_mat_{i}": np.column_stack(POSES[i]) for i in range(4)}
    arrays |= {f"camera_mat_{i}": camera_mat for i in range(4)}
    np.savez(folder / "cameras.npz", **arrays)
    check(read_cameras(folder / "cameras.npz", [], fixed_size))


def test_npz_of_poses_alone_or_mirrored_or_broken(folder: Path) -> None:
    path = folder / "cameras.npz"
    np.savez(path, world_mat_0=padded(np.column_stack(POSES[0])))
    with pytest.raises(InputError, match="no intrinsics"):
        read_cameras(path, [folder / NAMES[0]], fixed_size)
    mirrored: dict[str, Any] = {
        f"world_mat_{i}": projection(i) @ np.diag([-1, 1, 1, 1]) for i in range(4)
    }
    np.savez(path, **mirrored)
    with pytest.raises(InputError, match="left-handed"):
        read_cameras(path, [], fixed_size)
    np.savez(path, world_mat_0=np.zeros((4, 4)))
    with pytest.raises(InputError, match=r"cameras.npz, camera 0: .*singular"):
        read_cameras(path, [folder / NAMES[0]], fixed_size)
    np.savez(path, something=np.eye(4))
    with pytest.raises(InputError, match="world_mat_0"):
        read_cameras(path, [], fixed_size)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"cameras.npz is broken"):
        read_cameras(path, [], fixed_size)


# ---------------------------------------------------------------- COLMAP

QUATERNION_SIGN = -1.0  # q and -q are one rotation; files hold either


def quaternion(rotation: np.ndarray) -> np.ndarray:
    """(w, x, y, z) as the eigenvector of Bar-Itzhack's matrix, another way than the reader's."""
    r = rotation
    matrix = np.array(
        [
            [r[0, 0] - r[1, 1] - r[2, 2], 0, 0, 0],
            [r[1, 0] + r[0, 1], r[1, 1] - r[0, 0] - r[2, 2], 0, 0],
            [r[2, 0] + r[0, 2], r[2, 1] + r[1, 2], r[2, 2] - r[0, 0] - r[1, 1], 0],
            [r[2, 1] - r[1, 2], r[0, 2] - r[2, 0], r[1, 0] - r[0, 1], np.trace(r)],
        ]
    )
    x, y, z, w = np.linalg.eigh(matrix)[1][:, -1]
    return QUATERNION_SIGN * np.array([w, x, y, z])


def write_colmap_text(folder: Path, camera: str, names: Sequence[str] = NAMES) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    header = "# Camera list\n#   CAMERA_ID, MODEL, WIDTH, HEIGHT, PARAMS[]\n"
    (folder / "cameras.txt").write_text(f"{header}7 {camera}\n", encoding="utf-8")
    lines = ["# Image list with two lines of data per image:"]
    for i, name in enumerate(names):
        numbers = [*quaternion(POSES[i][0]), *POSES[i][1]]
        lines.append(f"{i + 1} {' '.join(repr(float(n)) for n in numbers)} 7 {name}")
        lines.append("" if i % 2 else "12.5 30.25 -1 40.0 50.0 17 1.0 2.0 3")
    (folder / "images.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


def write_colmap_binary(folder: Path, model: int, parameters: Sequence[float]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    data = struct.pack("<QiiQQ", 1, 7, model, WIDTH, HEIGHT)
    (folder / "cameras.bin").write_bytes(data + struct.pack(f"<{len(parameters)}d", *parameters))
    data = struct.pack("<Q", len(NAMES))
    for i, name in enumerate(NAMES):
        data += struct.pack("<i7di", i + 1, *quaternion(POSES[i][0]), *POSES[i][1], 7)
        data += name.encode() + b"\0" + struct.pack("<Q", i)
        data += b"".join(struct.pack("<ddq", 1.5, 2.5, -1) for _ in range(i))
    (folder / "images.bin").write_bytes(data)


PINHOLE = "PINHOLE 160 120 210.0 190.0 71.5 66.25"


@pytest.mark.parametrize("place", [".", "sparse", "sparse/0", "colmap/sparse/0"])
def test_colmap_text(folder: Path, place: str) -> None:
    write_colmap_text(folder / place, PINHOLE)
    check(read_cameras(find_camera_file(folder), [], fixed_size))


def test_colmap_binary_beside_an_images_folder(tmp_path: Path) -> None:
    write_colmap_binary(tmp_path / "sparse" / "0", 1, [210.0, 190.0, 71.5, 66.25])
    (tmp_path / "images").mkdir()
    for name in NAMES:
        (tmp_path / "images" / name).touch()
    check(read_cameras(tmp_path, [], fixed_size))
    check(read_cameras(tmp_path / "sparse" / "0" / "cameras.bin", [], fixed_size))


@pytest.mark.parametrize(
    ("number", "model", "parameters", "focal", "distortion"),
    [
        (0, "SIMPLE_PINHOLE", (200, 71, 66), (200, 200), ()),
        (1, "PINHOLE", (210, 190, 71, 66), (210, 190), ()),
        (2, "SIMPLE_RADIAL", (200, 71, 66, 0.1), (200, 200), (0.1, 0, 0, 0, 0)),
        (3, "RADIAL", (200, 71, 66, 0.1, 0.2), (200, 200), (0.1, 0.2, 0, 0, 0)),
        (
            4,
            "OPENCV",
            (210, 190, 71, 66, 0.1, 0.2, 3e-3, 4e-3),
            (210, 190),
            (0.1, 0.2, 3e-3, 4e-3, 0),
        ),
    ],
)
def test_colmap_camera_models(
    folder: Path, number: int, model: str, parameters: tuple, focal: tuple, distortion: tuple
) -> None:
    write_colmap_binary(folder / "binary", number, parameters)
    words = " ".join(str(p) for p in parameters)
    write_colmap_text(folder / "text", f"{model} 160 120 {words}")
    for name in ("binary", "text"):
        images = [folder / image for image in NAMES]
        camera = read_cameras(folder / name, images, fixed_size).images[0].camera
        expected = [[focal[0], 0, 71], [0, focal[1], 66], [0, 0, 1]]
        np.testing.assert_array_equal(camera.intrinsics, expected)
        assert camera.distortion == distortion


def test_colmap_models_that_cannot_be_used_are_named(folder: Path) -> None:
    write_colmap_text(folder / "text", "FOV 160 120 1 2 3 4 5")
    write_colmap_binary(folder / "binary", 5, [1.0] * 8)
    for name, model in (("text", "FOV"), ("binary", "OPENCV_FISHEYE")):
        with pytest.raises(InputError, match=f"camera model {model} cannot be used"):
            read_cameras(folder / name, [], fixed_size)


def test_truncated_colmap_files(folder: Path) -> None:
    write_colmap_binary(folder / "binary", 1, [210.0, 190.0, 71.5, 66.25])
    for name in ("images.bin", "cameras.bin"):
        whole = (folder / "binary" / name).read_bytes()
        (folder / "binary" / name).write_bytes(whole[:-9])
        with pytest.raises(InputError, match=name):
            read_cameras(folder / "binary", [], fixed_size)
        (folder / "binary" / name).write_bytes(whole)
    write_colmap_text(folder / "text", PINHOLE + " 1.0")
    with pytest.raises(InputError, match=r"images.txt.*5 parameters"):
        read_cameras(folder / "text", [], fixed_size)
    write_colmap_text(folder / "text", PINHOLE)
    (folder / "text" / "images.txt").write_text("1 0.5 0.5 0.5 0.5 0 0 0 8\n\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"images.txt"):
        read_cameras(folder / "text", [], fixed_size)


# ---------------------------------------------------------------- Middlebury


def write_middlebury(path: Path, change: Callable[[str], str] = str) -> Path:
    rows = [
        " ".join(
            [name, *(repr(float(x)) for x in (*K.ravel(), *POSES[i][0].ravel(), *POSES[i][1]))]
        )
        for i, name in enumerate(NAMES)
    ]
    path.write_text(change("\n".join(["4", *rows]) + "\n"), encoding="utf-8")
    return path


def test_middlebury(folder: Path) -> None:
    write_middlebury(folder / "dino_par.txt")
    (folder / "README.txt").write_text("a text\nwith 12 numbers 1 2 3 4 5", encoding="utf-8")
    (folder / "dino_ang.txt").write_text("10.5 20.5 a_1.png\n", encoding="utf-8")
    assert find_camera_file(folder) == folder / "dino_par.txt"
    check(read_cameras(folder, [], fixed_size))


@pytest.mark.parametrize(
    "change",
    [
        lambda t: t[: len(t) - 30],
        lambda t: t.replace("4\n", "5\n", 1),
        lambda t: "",
        lambda t: "x" + t,
    ],
)
def test_broken_middlebury(folder: Path, change: Callable[[str], str]) -> None:
    path = write_middlebury(folder / "dino_par.txt", change)
    with pytest.raises(InputError, match=r"dino_par.txt"):
        read_cameras(path, [], fixed_size)


def test_mirrored_middlebury(folder: Path) -> None:
    path = write_middlebury(folder / "dino_par.txt")
    rows = [row.split() for row in path.read_text(encoding="utf-8").splitlines()]
    for row in rows[1:]:
        for j in (10, 13, 16):  # the first column of R
            row[j] = str(-float(row[j]))
    path.write_text("\n".join(" ".join(row) for row in rows), encoding="utf-8")
    with pytest.raises(InputError, match=r"dino_par.txt, a_1.png: .*left-handed"):
        read_cameras(path, [], fixed_size)


# ---------------------------------------------------------------- projection matrices

FACTORS = (1.0, -2.0, 1e-3, -40.0)  # a projection matrix means the same at any scale and sign


def scaled_projections() -> np.ndarray:
    return np.stack([factor * projection(i) for i, factor in enumerate(FACTORS)])


def test_projection_matrices_of_any_scale_and_sign(folder: Path) -> None:
    np.save(folder / "P.npy", scaled_projections())
    check(read_cameras(folder, [], fixed_size))


def test_projection_with_skew(folder: Path) -> None:
    skewed = K + np.array([[0, 4.5, 0], [0, 0, 0], [0, 0, 0]])
    np.save(folder / "P.npy", np.stack([skewed @ np.column_stack(pose) for pose in POSES]))
    posed = read_cameras(folder, [], fixed_size)
    check(posed, k=skewed)
    np.testing.assert_allclose(posed.images[0].camera.intrinsics, skewed, atol=1e-9)


def row_text(matrix: np.ndarray) -> str:
    return " ".join(repr(float(x)) for x in matrix.ravel())


def lines_text(matrix: np.ndarray) -> str:
    return "\n".join(row_text(row) for row in matrix)


@pytest.mark.parametrize("form", [row_text, lines_text])
def test_projections_in_one_text(folder: Path, form: Callable[[np.ndarray], str]) -> None:
    text = "# P\n" + "\n".join(form(m) for m in scaled_projections()) + "\n"
    (folder / "projections.txt").write_text(text, encoding="utf-8")
    check(read_cameras(folder, [], fixed_size))


def test_projections_with_names(folder: Path) -> None:
    rows = [f"{NAMES[i]} {row_text(scaled_projections()[i])}" for i in (2, 0, 1, 3)]
    (folder / "P.txt").write_text("\n".join(rows), encoding="utf-8")
    check(read_cameras(folder, [], fixed_size), order=(2, 0, 1, 3))


@pytest.mark.parametrize("place", [".", "txt"])
def test_a_text_for_each_image(folder: Path, place: str) -> None:
    (folder / place).mkdir(exist_ok=True)
    for name, matrix in zip(NAMES, scaled_projections(), strict=True):
        text = "CONTOUR\n" + lines_text(matrix)
        (folder / place / name.replace(".png", ".txt")).write_text(text, encoding="utf-8")
    images = [folder / name for name in NAMES]
    check(read_cameras(find_camera_file(folder), images, fixed_size))
    found = read_cameras(folder, [], fixed_size)
    assert {p.image.name for p in found.images} == set(NAMES)


def test_matlab_cells_matched_by_number(tmp_path: Path) -> None:
    """As the VGG dinosaur has them: a 1 x N cell array, more matrices than images."""
    cells = np.empty((1, 12), dtype=object)
    for i in range(12):
        cells[0, i] = projection(0) * (1.0 + i)
    cells[0, 3], cells[0, 7] = projection(1), projection(2)
    savemat(tmp_path / "Ps.mat", {"P": cells})
    for number in (7, 0, 3):
        (tmp_path / f"viff.{number:03}.png").touch()
    posed = read_cameras(tmp_path, [], fixed_size)
    assert [p.image.name for p in posed.images] == [f"viff.{n:03}.png" for n in (0, 3, 7)]
    for p, i in zip(posed.images, (0, 1, 2), strict=True):
        np.testing.assert_allclose(p.camera.project(POINTS)[0], by_hand(i))
    assert "by the numbers" in posed.warnings[0] and "counted from 0" in posed.warnings[0]


def test_numbers_may_count_from_one(tmp_path: Path) -> None:
    np.save(tmp_path / "P.npy", scaled_projections())
    images = [tmp_path / f"shot{n}.png" for n in (4, 2)]
    posed = read_cameras(tmp_path / "P.npy", images, fixed_size)
    for p, i in zip(posed.images, (3, 1), strict=True):
        np.testing.assert_allclose(p.camera.project(POINTS)[0], by_hand(i))
    assert "counted from 1" in posed.warnings[0]


def test_images_that_no_number_fits(folder: Path) -> None:
    np.save(folder / "P.npy", scaled_projections()[:3])
    with pytest.raises(InputError, match="3 cameras without names for 4 images"):
        read_cameras(folder, [], fixed_size)


def test_matlab_array_with_matrices_along_the_last_axis(folder: Path) -> None:
    savemat(folder / "Ps.mat", {"P": scaled_projections().transpose(1, 2, 0)})
    check(read_cameras(folder, [], fixed_size))


def test_fitted_left_handed_world_is_mirrored_back(folder: Path) -> None:
    mirror = np.diag([-1.0, 1, 1, 1])
    np.save(folder / "P.npy", 0.01 * np.stack([projection(i) @ mirror for i in range(4)]))
    posed = read_cameras(folder, [], fixed_size)
    check(posed)  # x of the file's world is reversed, so POINTS are where they were
    assert len(posed.warnings) == 1 and "left-handed" in posed.warnings[0]
    np.save(folder / "P.npy", np.stack([projection(i) @ mirror for i in range(4)]))
    with pytest.raises(InputError, match="left-handed"):
        read_cameras(folder, [], fixed_size)


def test_images_of_another_size_are_suspected(folder: Path) -> None:
    np.save(folder / "P.npy", scaled_projections())
    posed = read_cameras(folder, [], lambda path: (HEIGHT // 2, WIDTH // 2))
    assert len(posed.warnings) == 1 and "misses the image" in posed.warnings[0]


@pytest.mark.parametrize(
    ("matrices", "message"),
    [
        (np.zeros((4, 3, 4)), "singular"),
        (np.full((4, 3, 4), np.inf), "not finite"),
        (np.tile(np.eye(3, 4), (4, 1, 1)), "without intrinsics"),
        (np.zeros((4, 5, 4)), "not 3 x 4"),
        (np.array(["a"]), "not 3 x 4"),
    ],
)
def test_bad_projections(folder: Path, matrices: np.ndarray, message: str) -> None:
    np.save(folder / "P.npy", matrices)
    with pytest.raises(InputError, match=message) as caught:
        read_cameras(folder / "P.npy", [], fixed_size)
    assert "P.npy" in str(caught.value)


@pytest.mark.parametrize("name", ["P.npy", "P.mat", "P.txt", "cameras.npz"])
def test_files_of_other_content(folder: Path, name: str) -> None:
    for content in (b"", b"not a camera file", b"1 2 3\n4 5", bytes(range(256))):
        (folder / name).write_bytes(content)
        with pytest.raises(InputError, match=name):
            read_cameras(folder / name, [], fixed_size)


# ---------------------------------------------------------------- finding


def test_none_or_several_camera_files(folder: Path) -> None:
    with pytest.raises(InputError, match="no camera file"):
        find_camera_file(folder)
    transforms(folder, INTRINSICS, *frames())
    write_colmap_text(folder / "sparse", PINHOLE)
    with pytest.raises(InputError, match=r"transforms.json, sparse.*--cameras"):
        find_camera_file(folder)
    check(read_cameras(folder / "sparse", [], fixed_size))


def test_paths_that_are_no_camera_files(folder: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        read_cameras(folder / "nothing.json", [], fixed_size)
    with pytest.raises(InputError, match="not a folder"):
        find_camera_file(folder / "nothing")
    with pytest.raises(InputError, match="no known camera format"):
        read_cameras(folder / NAMES[0], [], fixed_size)


# ---------------------------------------------------------------- writing


def known_camera(i: int, **more: object) -> Camera:
    rotation, translation = POSES[i]
    pose = padded(np.column_stack([rotation, translation]))
    return Camera(K, pose, (HEIGHT, WIDTH), **more)  # pyright: ignore[reportArgumentType]


def test_transforms_round_trip(folder: Path) -> None:
    cameras = [
        known_camera(0),
        known_camera(1, distortion=(0.1, -0.2, 0.01, 0.02, 0.3)),
        known_camera(2, orthographic=True),
        Camera(K + np.eye(3)[[1, 0, 2]] * [[0, 2.5, 0], [0] * 3, [0] * 3], *_pose(3)),
    ]
    posed = [PosedImage(folder / n, c) for n, c in zip(NAMES, cameras, strict=True)]
    posed[1] = PosedImage(folder / NAMES[1], cameras[1], folder / NAMES[0])
    write_transforms(folder / "transforms.json", posed)
    back = read_cameras(folder, [], fixed_size).images
    for before, after in zip(posed, back, strict=True):
        assert after.image.samefile(before.image)
        np.testing.assert_allclose(after.camera.intrinsics, before.camera.intrinsics, rtol=1e-14)
        np.testing.assert_allclose(
            after.camera.world_to_camera, before.camera.world_to_camera, atol=1e-14
        )
        assert after.camera.orthographic == before.camera.orthographic
        assert after.camera.distortion == before.camera.distortion
    assert back[1].mask is not None and back[1].mask.samefile(folder / NAMES[0])
    assert {p.name for p in folder.iterdir()} == {*NAMES, "transforms.json"}


def _pose(i: int) -> tuple[np.ndarray, tuple[int, int]]:
    return known_camera(i).world_to_camera, (HEIGHT, WIDTH)


def test_written_transforms_hold_blenders_matrix_and_nerfs_keys(folder: Path) -> None:
    posed = [PosedImage(folder / n, known_camera(i)) for i, n in enumerate(NAMES)]
    write_transforms(folder / "transforms.json", posed)
    content = json.loads((folder / "transforms.json").read_text(encoding="utf-8"))
    assert content["camera_angle_x"] == pytest.approx(2 * np.arctan(80 / 210))
    for i, frame in enumerate(content["frames"]):
        np.testing.assert_allclose(frame["transform_matrix"], opengl_camera_to_world(i), atol=1e-12)
        assert frame["file_path"] == NAMES[i]


def test_written_npz_projects_as_idr_and_as_dvr_do(folder: Path) -> None:
    posed = [PosedImage(folder / n, known_camera(i)) for i, n in enumerate(NAMES)]
    to_world = Similarity(2.5, np.array([0.1, 0.2, -0.3]))
    write_cameras_npz(folder / "cameras.npz", posed, to_world)
    check(read_cameras(folder, [], fixed_size))
    with np.load(folder / "cameras.npz") as file:
        unit = np.column_stack([(POINTS - to_world.offset) / to_world.scale, np.ones(len(POINTS))])
        for i in range(4):
            world, scale = file[f"world_mat_{i}"], file[f"scale_mat_{i}"]
            idr = unit @ (world @ scale)[:3].T
            np.testing.assert_allclose(idr[:, :2] / idr[:, 2:], by_hand(i))
            dvr = unit @ (file[f"camera_mat_{i}"] @ world @ scale)[:3].T
            expected = 2 * by_hand(i) / [WIDTH, HEIGHT] - 1
            np.testing.assert_allclose(dvr[:, :2] / dvr[:, 2:], expected, atol=1e-12)


def test_what_cannot_be_written(folder: Path) -> None:
    for camera in (known_camera(0, orthographic=True), known_camera(0, distortion=(0.1,))):
        with pytest.raises(InputError, match=r"a_1.png"):
            write_cameras_npz(folder / "cameras.npz", [PosedImage(folder / NAMES[0], camera)])
    posed = [PosedImage(folder / NAMES[0], known_camera(0))]
    with pytest.raises(InputError, match="cannot write"):
        write_transforms(folder / "missing" / "transforms.json", posed)
    assert {p.name for p in folder.iterdir()} == set(NAMES)
