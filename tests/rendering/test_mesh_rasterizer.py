import math

import numpy as np
import pytest
import torch
from scipy.spatial import Delaunay

from backend.geometry.cameras import Cameras
from backend.rendering.mesh_rasterizer import rasterize, silhouette
from backend.views import Camera


def camera(size: int, orthographic: bool, focal: float, distance: float = 3.0) -> Camera:
    """Looks along +z at the origin from ``distance``."""
    intrinsics = np.array([[focal, 0, size / 2], [0, focal, size / 2], [0, 0, 1]])
    world_to_camera = np.eye(4)
    world_to_camera[2, 3] = distance
    return Camera(intrinsics, world_to_camera, (size, size), orthographic)


def pixel_camera(height: int, width: int) -> Cameras:
    """Orthographic: a vertex (x, y, z) lands on pixel (x, y) at depth z."""
    return Cameras.stack([Camera(np.eye(3), np.eye(4), (height, width), orthographic=True)])


def icosphere(levels: int) -> tuple[torch.Tensor, torch.Tensor]:
    golden = (1 + math.sqrt(5)) / 2
    vertices = torch.tensor(
        [[-1, golden, 0], [1, golden, 0], [-1, -golden, 0], [1, -golden, 0]], dtype=torch.float64
    )
    vertices = torch.cat([vertices, vertices.roll(1, 1), vertices.roll(2, 1)])
    distance = torch.cdist(vertices, vertices)
    near = (distance < 2.1) & (distance > 0)
    triples = torch.combinations(torch.arange(12), 3)
    a, b, c = triples.unbind(1)
    triangles = vertices[triples[near[a, b] & near[b, c] & near[a, c]]]  # [20, 3, 3]
    for _ in range(levels):
        p, q, r = triangles.unbind(1)
        pq, qr, rp = p + q, q + r, r + p
        parts = [(p, pq, rp), (pq, q, qr), (rp, qr, r), (pq, qr, rp)]
        triangles = torch.cat([torch.stack(part, 1) for part in parts])
        triangles = triangles / triangles.norm(dim=-1, keepdim=True)
    faces = torch.arange(3 * len(triangles)).view(-1, 3)
    return (triangles / triangles.norm(dim=-1, keepdim=True)).reshape(-1, 3), faces


def rasterize_by_rays(vertices, faces, one: Camera):
    """Slow twin: one ray through each pixel centre against each triangle, in three dimensions."""
    height, width = one.image_size
    face = np.full((height, width), -1)
    depth = np.full((height, width), np.inf)
    barycentric = np.zeros((height, width, 3))
    for y in range(height):
        for x in range(width):
            origin, direction = one.rays(np.array([x + 0.5, y + 0.5]))
            for index, (a, b, c) in enumerate(vertices[faces]):
                solution = np.linalg.solve(np.stack([b - a, c - a, -direction], 1), origin - a)
                weights = np.array([1 - solution[0] - solution[1], solution[0], solution[1]])
                if weights.min() >= 0 and 0 < solution[2] < depth[y, x]:
                    face[y, x], depth[y, x], barycentric[y, x] = index, solution[2], weights
    return face, barycentric, depth


@pytest.mark.parametrize("orthographic", [False, True])
def test_agrees_with_one_ray_at_a_time(orthographic):
    rng = np.random.default_rng(0)
    vertices = rng.uniform(-1.2, 1.2, (24, 3))
    faces = rng.permutation(24).reshape(8, 3)
    one = camera(18, orthographic, 7.0 if orthographic else 20.0)
    face, barycentric, depth = rasterize_by_rays(vertices, faces, one)
    cameras = Cameras.stack([one], dtype=torch.float64)
    seen = rasterize(torch.tensor(vertices), torch.tensor(faces), cameras, 0)
    assert (face >= 0).mean() > 0.2 and len(np.unique(face)) > 5
    np.testing.assert_array_equal(seen.face.numpy(), face)
    np.testing.assert_allclose(seen.barycentric.numpy(), barycentric, atol=1e-9)
    np.testing.assert_allclose(seen.depth.numpy(), depth, rtol=1e-9)


def test_lopsided_triangle_on_a_small_grid():
    drawing = """
        . . . . . . . . . .
        . . . . . . . . . .
        . # . . . . . . . .
        . # # . . . . . . .
        . # # # # . . . . .
        . # # # # # . . . .
        . # # # # # # # . .
        . . . . . . . . . .
        . . . . . . . . . .
        . . . . . . . . . .
    """
    expected = [[mark == "#" for mark in row.split()] for row in drawing.split("\n")[1:-1]]
    # Legs along x = 1 and y = 7; the long side x = 1 + 1.5 (y - 2) runs down to the right.
    vertices = torch.tensor([[1.0, 2.0, 5.0], [1.0, 7.0, 5.0], [8.5, 7.0, 5.0]])
    for faces in ([[0, 1, 2]], [[2, 1, 0]]):
        seen = rasterize(vertices, torch.tensor(faces), pixel_camera(10, 10), 0)
        assert (seen.face >= 0).tolist() == expected
        assert torch.equal(
            seen.depth[seen.face < 0], torch.full_like(seen.depth, math.inf)[seen.face < 0]
        )


@pytest.mark.parametrize("orthographic", [False, True])
def test_area_of_a_sphere(orthographic):
    size, radius, distance = 200, 0.5, 3.0
    focal = 150.0 if orthographic else 400.0
    vertices, faces = icosphere(4)
    cameras = Cameras.stack([camera(size, orthographic, focal, distance)], dtype=torch.float64)
    # A sphere's outline from a distance d is the cone with tan = r / sqrt(d^2 - r^2).
    outline = focal * (radius if orthographic else radius / math.sqrt(distance**2 - radius**2))
    covered = silhouette(vertices * radius, faces, cameras, 0)
    assert covered.shape == (size, size)
    assert float(covered.sum()) == pytest.approx(math.pi * outline**2, rel=3e-3)
    count = int((rasterize(vertices * radius, faces, cameras, 0).face >= 0).sum())
    assert count == pytest.approx(math.pi * outline**2, rel=5e-3)


def test_silhouette_is_the_mean_of_the_finer_picture():
    vertices = torch.tensor([[0.0, 0.0, 1.0], [0.0, 4.0, 1.0], [4.0, 0.0, 1.0]])
    covered = silhouette(vertices, torch.tensor([[0, 1, 2]]), pixel_camera(4, 4), 0, supersample=2)
    # Below the diagonal x + y = 4 (which belongs to the triangle) 3 of 4 samples count.
    expected = [[1, 1, 1, 0.75], [1, 1, 0.75, 0], [1, 0.75, 0, 0], [0.75, 0, 0, 0]]
    assert covered.tolist() == expected


def test_depth_of_a_tilted_plane():
    size, focal = 40, 30.0
    one = camera(size, False, focal, distance=0.0)
    corners = torch.tensor([[-9.0, -9], [9, -9], [9, 9], [-9, 9]], dtype=torch.float64)
    depth = 5 + 0.2 * corners[:, :1] - 0.1 * corners[:, 1:]  # the plane z = 5 + 0.2 x - 0.1 y
    vertices = torch.cat([corners, depth], dim=1)
    faces = torch.tensor([[0, 1, 2], [0, 2, 3]])
    seen = rasterize(vertices, faces, Cameras.stack([one], dtype=torch.float64), 0)
    flat = (torch.arange(size) + 0.5 - size / 2).double() / focal
    expected = 5 / (1 - 0.2 * flat[None, :] + 0.1 * flat[:, None])
    torch.testing.assert_close(seen.depth, expected)
    points = (seen.barycentric[..., None] * vertices[faces[seen.face]]).sum(dim=2)
    torch.testing.assert_close(points[..., 2], expected)


def test_the_nearest_wins_and_ties_go_to_the_lower_index():
    square = torch.tensor([[0.0, 0, 0], [8, 0, 0], [0, 8, 0]])
    vertices = torch.cat([square + torch.tensor([0, 0, z]) for z in (2.0, 1.0, 1.0, 3.0)])
    seen = rasterize(vertices, torch.arange(12).view(4, 3), pixel_camera(4, 4), 0)
    assert seen.face.eq(1).all() and seen.depth.eq(1).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_neighbours_leave_no_crack(dtype):
    """A square cut into thin random triangles covers what the square covers, to the pixel."""
    rng = np.random.default_rng(3)
    inner = rng.uniform(2.3, 27.6, (400, 2))
    inner[:100] = np.round(inner[:100] * 2) / 2  # many vertices exactly on pixel centres
    border = np.array([[1.5, 1.5], [28.5, 1.5], [28.5, 28.5], [1.5, 28.5]])
    points = np.unique(np.concatenate([border, inner]), axis=0)
    faces = torch.tensor(Delaunay(points).simplices)
    vertices = torch.tensor(np.pad(points, ((0, 0), (0, 1)), constant_values=1.0), dtype=dtype)
    seen = rasterize(vertices, faces, pixel_camera(30, 30), 0)
    expected = torch.zeros(30, 30, dtype=torch.bool)
    expected[1:29, 1:29] = True
    assert torch.equal(seen.face >= 0, expected)
    # Every covered pixel's face and weights lead back to the pixel itself.
    rows, columns = expected.nonzero().unbind(1)
    back = (seen.barycentric[..., None] * vertices[faces[seen.face]]).sum(dim=2)[rows, columns]
    torch.testing.assert_close(back[:, 0], columns + 0.5, atol=1e-4, rtol=0, check_dtype=False)
    torch.testing.assert_close(back[:, 1], rows + 0.5, atol=1e-4, rtol=0, check_dtype=False)


def test_faces_at_or_behind_a_perspective_camera_are_dropped():
    one = Cameras.stack([camera(8, False, 8.0, distance=0.0)])
    ahead = torch.tensor([[-1.0, -1, 2], [1, -1, 2], [0, 1, 2]])
    behind, across = ahead * torch.tensor([1, 1, -1.0]), ahead - torch.tensor([[0, 0, 2.0]] * 3)
    for vertices in (behind, across):
        assert rasterize(vertices, torch.tensor([[0, 1, 2]]), one, 0).face.eq(-1).all()
    assert rasterize(ahead, torch.tensor([[0, 1, 2]]), one, 0).face.eq(0).any()


def test_portions_do_not_change_the_picture(monkeypatch):
    vertices, faces = icosphere(2)
    cameras = Cameras.stack([camera(40, False, 40.0)], dtype=torch.float64)
    whole = rasterize(vertices, faces, cameras, 0)
    monkeypatch.setattr("backend.rendering.mesh_rasterizer._CHUNK", 64)
    portions = rasterize(vertices, faces, cameras, 0)
    assert torch.equal(whole.face, portions.face)
    assert torch.equal(whole.depth, portions.depth)


def test_an_empty_mesh_shows_nothing():
    seen = rasterize(torch.zeros(0, 3), torch.zeros(0, 3, dtype=torch.int32), pixel_camera(3, 5), 0)
    assert seen.face.shape == (3, 5) and seen.face.eq(-1).all()
