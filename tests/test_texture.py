import numpy as np
import pytest
import torch
from skimage.measure import marching_cubes

from backend.geometry.cameras import Cameras
from backend.geometry.mesh import Mesh
from backend.rendering.mesh_rasterizer import rasterize
from backend.texture import bake_texture, vertex_colors
from backend.views import Camera, View

GREEN = np.array([0.0, 1.0, 0.0], dtype=np.float32)


def stripes(points: np.ndarray) -> np.ndarray:
    """A smooth colour everywhere in space, never green alone."""
    phase = points @ np.array([[9.0, 2, 1], [1, 7, 2], [2, 3, 8]]) + [0.0, 1, 2]
    return 0.5 + 0.35 * np.sin(phase)


def ball(resolution: int = 40, radius: float = 0.45) -> Mesh:
    axis = np.linspace(-0.6, 0.6, resolution)
    x, y, z = np.meshgrid(axis, axis, axis, indexing="ij")
    field = np.sqrt(x * x + y * y + z * z) - radius
    vertices, faces, _, _ = marching_cubes(field, 0.0, gradient_direction="descent")
    return Mesh((vertices * (axis[1] - axis[0]) - 0.6).astype(np.float32), faces.astype(np.int32))


def joined(*meshes: Mesh) -> Mesh:
    offsets = np.cumsum([0] + [len(m.vertices) for m in meshes])
    faces = [m.faces + offset for m, offset in zip(meshes, offsets[:-1], strict=True)]
    return Mesh(np.concatenate([m.vertices for m in meshes]), np.concatenate(faces))


def camera(direction, orthographic: bool = False, size: int = 160) -> Camera:
    """Looks at the origin along ``direction`` from a distance of 3."""
    forward = np.array(direction, dtype=float) / np.linalg.norm(direction)
    right = np.cross(forward, [0.0, 0.1, 1.0])
    right /= np.linalg.norm(right)
    world_to_camera = np.eye(4)
    world_to_camera[:3, :3] = [right, np.cross(forward, right), forward]
    world_to_camera[2, 3] = 3.0
    focal = 0.8 * size if orthographic else 2.3 * size
    intrinsics = np.array([[focal, 0, size / 2], [0, focal, size / 2], [0, 0, 1]])
    return Camera(intrinsics, world_to_camera, (size, size), orthographic)


def photograph(mesh: Mesh, one: Camera, color_of=stripes) -> View:
    """The mesh painted by ``color_of`` before a green wall."""
    vertices = torch.as_tensor(mesh.vertices).double()
    faces = torch.as_tensor(mesh.faces).long()
    seen = rasterize(vertices, faces, Cameras.stack([one], dtype=torch.float64), 0)
    corners = vertices[faces[seen.face.clamp(min=0)]]
    points = (corners * seen.barycentric[..., None]).sum(dim=2).numpy()
    mask = (seen.face >= 0).numpy()
    image = np.where(mask[..., None], color_of(points), GREEN).astype(np.float32)
    return View("view", image, mask.astype(np.float32), one)


AROUND = [[1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1]]


def texture_at_face_centres(mesh: Mesh) -> np.ndarray:
    assert mesh.face_uvs is not None and mesh.texture is not None
    centres = mesh.face_uvs.mean(axis=1)
    height, width = mesh.texture.shape[:2]
    column = (centres[:, 0] * width).astype(int).clip(0, width - 1)
    row = ((1 - centres[:, 1]) * height).astype(int).clip(0, height - 1)
    return mesh.texture[row, column] / 255.0


@pytest.mark.parametrize("orthographic", [False, True])
def test_a_painted_ball_gets_its_colours_back(orthographic):
    mesh = ball()
    views = [photograph(mesh, camera(d, orthographic)) for d in AROUND]
    colored = vertex_colors(mesh, views, "cpu")
    assert colored.vertex_colors is not None and colored.vertex_colors.dtype == np.float32
    assert np.abs(colored.vertex_colors - stripes(mesh.vertices)).mean() < 0.01
    assert np.abs(colored.vertex_colors - stripes(mesh.vertices)).max() < 0.06

    baked = bake_texture(mesh, views, 256, "cpu")
    error = np.abs(texture_at_face_centres(baked) - stripes(mesh.vertices[mesh.faces].mean(axis=1)))
    assert error.mean() < 0.01 and np.quantile(error, 0.999) < 0.06


def test_the_atlas_belongs_to_the_mesh():
    mesh = ball(30)
    baked = bake_texture(mesh, [photograph(mesh, camera(d)) for d in AROUND], 128, "cpu")
    assert baked.texture is not None and baked.face_uvs is not None
    assert baked.texture.shape == (128, 128, 3) and baked.texture.dtype == np.uint8
    assert baked.face_uvs.shape == (len(mesh.faces), 3, 2)
    assert baked.face_uvs.min() >= 0 and baked.face_uvs.max() <= 1
    assert baked.vertices is mesh.vertices and baked.faces is mesh.faces
    # No two faces share texels: the areas add up to what the charts cover together.
    ab, ac = (baked.face_uvs[:, i] - baked.face_uvs[:, 0] for i in (1, 2))
    total = 0.5 * np.abs(ab[:, 0] * ac[:, 1] - ab[:, 1] * ac[:, 0]).sum()
    pixels = np.concatenate([baked.face_uvs.reshape(-1, 2), np.ones((3 * len(mesh.faces), 1))], 1)
    fine = Camera(np.diag([600.0, 600, 1]), np.eye(4), (600, 600), orthographic=True)
    faces = torch.arange(len(pixels)).view(-1, 3)
    seen = rasterize(torch.as_tensor(pixels), faces, Cameras.stack([fine]), 0)
    assert (seen.face >= 0).double().mean() == pytest.approx(total, rel=0.01)


def test_the_background_never_bleeds_in():
    mesh = ball()
    views = [photograph(mesh, camera(d), lambda p: 0 * p + [0.8, 0.1, 0.7]) for d in AROUND[:2]]
    baked = bake_texture(mesh, views, 128, "cpu")
    assert baked.texture is not None
    np.testing.assert_allclose(
        baked.texture / 255.0, np.full((128, 128, 3), [0.8, 0.1, 0.7]), atol=0.01
    )


def test_what_is_hidden_does_not_take_the_colour_of_what_hides_it():
    """A red ball before a blue one: the camera in line sees red where the blue one lies behind."""
    small = ball(24, 0.2)
    front, back = (
        small.transformed(1.0, np.array([0, -0.3, 0])),
        small.transformed(1.0, np.array([0, 0.3, 0])),
    )
    both = joined(front, back)

    def red_or_blue(points):
        return np.where(points[..., 1:2] < 0, [0.9, 0.1, 0.1], [0.1, 0.1, 0.9])

    # One view in line, and one from the side that sees both.
    views = [photograph(both, camera(d), red_or_blue) for d in ([0.0, 1, 0], [1, 0.3, 0.2])]
    colored = vertex_colors(both, views, "cpu").vertex_colors
    assert colored is not None
    np.testing.assert_allclose(colored, red_or_blue(both.vertices), atol=1e-3)
    baked = bake_texture(both, views, 256, "cpu")
    expected = red_or_blue(both.vertices[both.faces].mean(axis=1))
    np.testing.assert_allclose(texture_at_face_centres(baked), expected, atol=0.01)


def test_the_unseen_side_takes_the_colours_around_it():
    mesh = ball()
    views = [photograph(mesh, camera([0, 1, 0]), lambda p: 0.5 + 0.8 * p[..., :1] * [1, 1, 1])]
    colored = vertex_colors(mesh, views, "cpu").vertex_colors
    assert colored is not None and np.isfinite(colored).all()
    behind = mesh.vertices[:, 1] > 0.2
    left, right = behind & (mesh.vertices[:, 0] < -0.2), behind & (mesh.vertices[:, 0] > 0.2)
    # Harmonic: between the extremes of what is seen, and brighter towards the brighter side.
    assert colored[left].mean() < 0.45 < 0.55 < colored[right].mean()
    assert colored[behind].min() >= colored[~behind].min()
    assert colored[behind].max() <= colored[~behind].max()


def test_the_unseen_side_keeps_colours_that_it_has():
    mesh = ball()
    painted = Mesh(mesh.vertices, mesh.faces, vertex_colors=np.full_like(mesh.vertices, 0.25))
    views = [photograph(mesh, camera([0, 1, 0]), lambda p: 0 * p + 0.75)]
    baked = bake_texture(painted, views, 128, "cpu")
    texels = texture_at_face_centres(baked)
    depth = mesh.vertices[mesh.faces].mean(axis=1)[:, 1]
    np.testing.assert_allclose(texels[depth > 0.05], 0.25, atol=0.01)
    np.testing.assert_allclose(texels[depth < -0.25], 0.75, atol=0.01)


def test_without_any_view_the_colour_is_grey():
    colored = vertex_colors(ball(16), [], "cpu").vertex_colors
    assert colored is not None and (colored == 0.5).all()


def test_a_view_that_contradicts_the_others_is_overruled():
    mesh = ball()
    directions = [[0, 1, 0], [0.5, 1, 0], [-0.5, 1, 0], [0, 1, 0.5], [0, 1, -0.5]]
    views = [photograph(mesh, camera(d), lambda p: 0 * p + 0.2) for d in directions]
    views[0] = photograph(mesh, camera(directions[0]), lambda p: 0 * p + 0.9)
    colored = vertex_colors(mesh, views, "cpu").vertex_colors
    assert colored is not None
    assert np.abs(colored[mesh.vertices[:, 1] < -0.35] - 0.2).max() < 0.1


def test_the_same_bytes_twice():
    mesh = ball(30)
    views = [photograph(mesh, camera(d)) for d in AROUND[:3]]
    one, other = (bake_texture(mesh, views, 128, "cpu") for _ in range(2))
    for name in ("texture", "face_uvs", "vertex_colors"):
        assert getattr(one, name).tobytes() == getattr(other, name).tobytes()
