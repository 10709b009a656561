import numpy as np
import pytest
import torch
from skimage.measure import marching_cubes

from backend.errors import ReconstructionError
from backend.geometry.cameras import Cameras
from backend.geometry.decimation import decimate
from backend.geometry.mesh import Mesh
from backend.geometry.mesh_repair import is_manifold
from backend.rendering.mesh_rasterizer import silhouette
from backend.views import Camera


def sphere(x, y, z):
    return np.sqrt(x * x + y * y + z * z) - 0.45


def torus(x, y, z):
    return np.hypot(np.hypot(x, y) - 0.35, z) - 0.1


def thin_bars(x, y, z):
    upright = np.maximum(np.hypot(x - 0.2, y - 0.1) - 0.025, abs(z) - 0.45)
    across = np.maximum(np.hypot(x + 0.2, z - 0.1) - 0.02, abs(y) - 0.45)
    plate = np.maximum(np.maximum(abs(x), abs(y)) - 0.35, abs(z + 0.2) - 0.02)
    return np.minimum(np.minimum(upright, across), plate)


def waves(x, y, z):
    """Blobs joined by narrow necks: simplifiers pinch them."""
    rng = np.random.default_rng(0)
    sums = sum(
        np.sin(a * x + b * y + c * z + phase)
        for a, b, c, phase in rng.normal(size=(10, 4)) * [9, 9, 9, 2]
    )
    return np.maximum(sums - 0.6, sphere(x, y, z))


def level_set(function, resolution: int) -> Mesh:
    axis = np.linspace(-0.6, 0.6, resolution)
    field = function(*np.meshgrid(axis, axis, axis, indexing="ij")).astype(np.float32)
    vertices, faces, _, _ = marching_cubes(field, 0.0, gradient_direction="descent")
    vertices = vertices * (axis[1] - axis[0]) - 0.6
    return Mesh(vertices.astype(np.float32), faces.astype(np.int32))


def silhouettes(mesh: Mesh) -> torch.Tensor:
    """From three oblique directions, ``[3, 256, 256]``."""
    cameras = []
    for forward in ([1.0, 0.3, -0.4], [-0.2, 1.0, 0.3], [0.5, -0.6, -0.9]):
        forward = np.array(forward) / np.linalg.norm(forward)
        right = np.cross(forward, [0, 0, 1])
        right /= np.linalg.norm(right)
        world_to_camera = np.eye(4)
        world_to_camera[:3, :3] = [right, np.cross(forward, right), forward]
        intrinsics = np.array([[220.0, 0, 128], [0, 220, 128], [0, 0, 1]])
        cameras.append(Camera(intrinsics, world_to_camera, (256, 256), orthographic=True))
    stacked = Cameras.stack(cameras)
    vertices, faces = torch.as_tensor(mesh.vertices), torch.as_tensor(mesh.faces)
    return torch.stack([silhouette(vertices, faces, stacked, view) for view in range(3)])


@pytest.mark.parametrize(
    ("function", "resolution"), [(sphere, 70), (torus, 90), (thin_bars, 130)], ids=lambda v: str(v)
)
def test_silhouettes_are_kept(function, resolution):
    mesh = level_set(function, resolution)
    assert len(mesh.faces) > 18_000
    simple = decimate(mesh, 5_000)
    assert 4_500 < len(simple.faces) <= 5_000 and is_manifold(simple)
    before, after = silhouettes(mesh), silhouettes(simple)
    iou = torch.minimum(before, after).sum((1, 2)) / torch.maximum(before, after).sum((1, 2))
    assert iou.min() > 0.995
    assert simple.signed_volume() == pytest.approx(mesh.signed_volume(), rel=3e-3)


@pytest.mark.parametrize("faces", [20_000, 3_000])
def test_narrow_necks_stay_manifold(faces):
    mesh = level_set(waves, 100)
    assert is_manifold(mesh) and len(mesh.faces) > 40_000
    simple = decimate(mesh, faces)
    assert is_manifold(simple) and 0.9 * faces < len(simple.faces) <= faces
    assert simple.signed_volume() == pytest.approx(mesh.signed_volume(), rel=0.01)


@pytest.mark.parametrize(("scale", "offset"), [(100.0, 0.0), (0.01, 0.0), (1.0, 50.0)])
def test_scale_and_place_in_the_world_do_not_matter(scale, offset):
    mesh = level_set(torus, 50)
    simple = decimate(mesh, 2_000)
    moved = decimate(mesh.transformed(scale, np.full(3, offset)), 2_000)
    assert is_manifold(moved) and len(moved.faces) <= 2_000
    assert moved.signed_volume() / scale**3 == pytest.approx(simple.signed_volume(), rel=2e-3)


def test_the_same_bytes_twice():
    mesh = level_set(torus, 50)
    one, other = decimate(mesh, 1_000), decimate(mesh, 1_000)
    assert one.vertices.tobytes() == other.vertices.tobytes()
    assert one.faces.tobytes() == other.faces.tobytes()


def test_colours_follow_the_surface():
    mesh = level_set(sphere, 60)
    colored = Mesh(mesh.vertices, mesh.faces, vertex_colors=mesh.vertices + 0.5)
    simple = decimate(colored, 2_000)
    assert simple.vertex_colors is not None and simple.vertex_colors.dtype == np.float32
    assert np.abs(simple.vertex_colors - (simple.vertices + 0.5)).mean() < 0.01


def test_a_small_mesh_comes_back_untouched():
    mesh = level_set(sphere, 12)
    assert decimate(mesh, len(mesh.faces)) is mesh


def test_too_few_faces_for_the_shape():
    with pytest.raises(ReconstructionError, match="cannot be reduced to 2"):
        decimate(level_set(sphere, 12), 2)
