from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation
from torch.autograd import gradcheck

from backend.errors import Cancelled, InputError
from backend.geometry.cameras import Cameras
from backend.methods.drwr import SINGLE_IMAGE
from backend.methods.drwr.camera_fit import cloud_overlap, cloud_silhouette, fit_camera
from backend.methods.drwr.losses import (
    LossForm,
    LossTerms,
    drwr_loss,
    silhouette_targets,
    view_losses,
)
from backend.methods.drwr.network import (
    BACKGROUND,
    DrwrNetwork,
    Encoder,
    NetworkSettings,
    PointDecoder,
    SameConv2d,
    from_settings,
    load_network,
    matrix_to_quaternion,
    network_image,
    quaternion_to_matrix,
    same_padding,
)
from backend.methods.drwr.projection import DEPTH_RANGE, project_silhouettes, projection_losses
from backend.methods.drwr.single_image import (
    SingleImageReconstructor,
    density_field,
    gap_closing_width,
)
from backend.views import Camera, Views
from tests.shapes import agreement, box, camera, in_unit_cube, view
from tests.trained_parts import DRWR_SETTINGS as TINY
from tests.trained_parts import drwr_checkpoint, drwr_network


def random_rotations(count: int, seed: int = 0) -> np.ndarray:
    return Rotation.from_quat(np.random.default_rng(seed).normal(size=(count, 4))).as_matrix()


# The network's layers


@pytest.mark.parametrize(
    ("size", "widths"),
    [(32, (16, 32, 64)), (64, (16, 32, 64, 128)), (128, (16, 32, 64, 128, 256))],
)
def test_encoder_is_the_papers_table(size: int, widths: tuple[int, ...]):
    """5x5 to half the size, then pairs of 3x3: one halves and doubles, one keeps."""
    found, maps = [], torch.zeros(1, 3, size, size)
    for layer in Encoder(size).convolutions:
        maps = layer(maps)
        if isinstance(layer, SameConv2d):
            found.append((layer.kernel_size[0], layer.stride[0], *maps.shape[1:3]))
    wanted = [(5, 2, 16, size // 2)]
    for depth, width in enumerate(widths[1:], start=2):
        wanted += [(3, 2, width, size >> depth), (3, 1, width, size >> depth)]
    assert found == wanted
    assert maps.shape[-1] == 4


def test_parameters_are_those_of_the_papers_layers():
    """Counted by hand for 64 pixels and 8,000 points."""
    convolutions = (75 * 16 + 16) + sum(
        9 * a * b + b for a, b in [(16, 32), (32, 32), (32, 64), (64, 64), (64, 128), (128, 128)]
    )
    full = 1024 * 1024 + 1024
    encoder = convolutions + (2048 * 1024 + 1024) + 2 * full
    decoder = 1024 * 24_000 + 24_000
    head = (1024 * 32 + 32) + (32 * 32 + 32) + (32 * 4 + 4)
    with torch.device("meta"):
        network = DrwrNetwork(NetworkSettings(64, 8000))
        ensemble = DrwrNetwork(NetworkSettings(64, 8000, candidates=4))
    count = sum(p.numel() for p in network.parameters())
    assert count == encoder + decoder + (2048 * 1024 + 1024) + full + head
    assert sum(p.numel() for p in ensemble.parameters()) == encoder + decoder + full + 5 * head


@pytest.mark.parametrize("size", [1, 2, 3, 5])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("length", [4, 5, 8])
def test_same_padding_is_tensorflows(length: int, size: int, stride: int):
    """A convolution by loops: output i sees what begins at ``i * stride - before``."""
    before, after = same_padding(length, size, stride)
    layer = SameConv2d(1, 1, size, stride).double()
    image = torch.rand(1, 1, length, length, dtype=torch.float64)
    assert layer.bias is not None
    bias, out = layer.bias.detach()[0], layer(image).detach()[0, 0]
    assert out.shape == (math.ceil(length / stride),) * 2
    assert after - before in (0, 1)
    for row in range(len(out)):
        for column in range(len(out)):
            total = float(bias)
            for y in range(size):
                for x in range(size):
                    i, j = row * stride - before + y, column * stride - before + x
                    if 0 <= i < length and 0 <= j < length:
                        total += float(layer.weight.detach()[0, 0, y, x] * image[0, 0, i, j])
            assert float(out[row, column]) == pytest.approx(total, abs=1e-12)


def test_weights_begin_as_the_programs_do():
    torch.manual_seed(0)
    encoder, decoder = Encoder(64), PointDecoder(1024, 2000)
    weight = encoder.fc_2.weight
    wanted = math.sqrt(1.3 * 2 / 1024)
    assert weight.abs().max().item() <= 2 * wanted
    # Cut at two deviations, a normal distribution keeps 0.8796 of its deviation.
    assert weight.std().item() == pytest.approx(0.8796 * wanted, rel=0.01)
    assert decoder.fc.weight.std().item() == pytest.approx(0.8796 * 0.025, rel=0.01)
    assert float(decoder.fc.bias.abs().max()) == 0


def test_points_lie_in_the_cube_and_quaternions_are_of_length_one():
    torch.manual_seed(0)
    network = DrwrNetwork(dataclasses.replace(TINY, candidates=3))
    prediction = network(5 * torch.rand(2, 3, 64, 64), torch.rand(6, 3, 64, 64))
    assert prediction.shapes.shape == (2, TINY.points, 3)
    assert float(prediction.shapes.abs().max()) <= 0.5
    assert prediction.student.shape == (6, 4)
    assert prediction.candidates is not None
    assert prediction.candidates.shape == (6, 3, 4)
    for quaternions in (prediction.student, prediction.candidates):
        torch.testing.assert_close(quaternions.norm(dim=-1), torch.ones(quaternions.shape[:-1]))


@pytest.mark.parametrize("candidates", [0, 2])
def test_the_student_moves_nothing_but_itself(candidates: int):
    torch.manual_seed(0)
    network = DrwrNetwork(dataclasses.replace(TINY, candidates=candidates))
    network(torch.rand(2, 3, 64, 64)).student[:, 0].sum().backward()
    moved = {name for name, p in network.named_parameters() if p.grad is not None}
    own = "pose.student" if candidates else "pose"
    assert moved == {name for name, _ in network.named_parameters() if name.startswith(own)}


def test_pictures_are_not_asked_for_shapes():
    """Shapes come from the images alone, cameras from the pictures alone."""
    torch.manual_seed(0)
    network = DrwrNetwork(TINY).double()
    images, pictures = torch.rand(2, 2, 3, 64, 64, dtype=torch.float64)
    both = network(images, pictures)
    torch.testing.assert_close(both.shapes, network(images).shapes)
    torch.testing.assert_close(both.student, network(pictures).student)


def test_image_sizes_must_halve_down():
    with pytest.raises(InputError, match="power of two such as 64, got 48"):
        NetworkSettings(image_size=48)


# Rotations


def test_quaternions_and_matrices_are_scipys():
    matrices = random_rotations(200)
    found = matrix_to_quaternion(matrices)
    wanted = Rotation.from_matrix(matrices).as_quat(scalar_first=True)
    np.testing.assert_allclose(np.abs((found * wanted).sum(1)), 1, atol=1e-12)
    assert (found[:, 0] >= 0).all()
    back = quaternion_to_matrix(torch.as_tensor(found)).numpy()
    np.testing.assert_allclose(back, matrices, atol=1e-12)


def test_half_turns_have_quaternions():
    halves = np.stack([np.diag([1.0, -1, -1]), np.diag([-1.0, 1, -1]), np.diag([-1.0, -1, 1])])
    back = quaternion_to_matrix(torch.as_tensor(matrix_to_quaternion(halves))).numpy()
    np.testing.assert_allclose(back, halves, atol=1e-12)


# DPC's projection


def cameras_around_cube(count: int, size: int, orthographic: bool = False) -> Cameras:
    places = 2.5 * random_rotations(count, seed=3)[:, 0]
    cameras = [camera(place.tolist(), size, orthographic) for place in places]
    return Cameras.stack(cameras, dtype=torch.float64)


def test_a_point_lands_on_its_pixel():
    cameras = cameras_around_cube(3, 16)
    point = torch.tensor([[0.21, -0.13, 0.17]], dtype=torch.float64)
    seen = project_silhouettes(point.expand(3, 1, 3), cameras, sigma=0.3, resolution=16)
    pixels = cameras.project(point)[0][:, 0]
    centres = torch.stack(torch.meshgrid(*[torch.arange(16) + 0.5] * 2, indexing="xy"), dim=-1)
    for silhouette, pixel in zip(seen, pixels, strict=True):
        centroid = (silhouette[..., None] * centres).sum((0, 1)) / silhouette.sum()
        torch.testing.assert_close(centroid, pixel, atol=0.15, rtol=0)


def test_silhouette_is_what_no_ray_escapes():
    """Two points on one ray, each ending it with probability one half."""
    size, one = 8, camera([0, -2.5, 0], 8, orthographic=True, span=1.0)
    cameras = Cameras.stack([one], dtype=torch.float64)
    cell = DEPTH_RANGE / size
    # Half of each point lies in the cell around the ray, half in the cell above.
    points = torch.tensor([[[0.5 / 8, y * cell, 0.0] for y in (-1.5, 1.5)]], dtype=torch.float64)
    seen = project_silhouettes(points, cameras, sigma=1e-3, resolution=size)[0]
    wanted = torch.zeros(size, size, dtype=torch.float64)
    wanted[3:5, 4] = 1 - 0.5 * 0.5
    torch.testing.assert_close(seen, wanted, atol=1e-9, rtol=0)


@pytest.mark.parametrize("orthographic", [False, True])
def test_projection_has_the_right_gradient(orthographic: bool):
    torch.manual_seed(0)
    cameras = cameras_around_cube(2, 8, orthographic)
    masks = (torch.rand(2, 8, 8) > 0.5).double()
    points = (0.6 * torch.rand(2, 5, 3, dtype=torch.float64) - 0.3).requires_grad_()
    assert gradcheck(lambda p: projection_losses(p, cameras, masks, 0.8, 8), (points,))


def test_a_covered_mask_costs_nothing():
    one = camera([0, -2.5, 0], 16, orthographic=True, span=1.0)
    mask = torch.zeros(1, 16, 16, dtype=torch.float64)
    mask[:, 4:12, 5:10] = 1
    rows, columns = torch.nonzero(mask[0], as_tuple=True)
    x, z = (columns + 0.5) / 16 - 0.5, 0.5 - (rows + 0.5) / 16
    points = torch.stack([x, torch.zeros_like(x) + 0.01, z], dim=-1).double()
    points = points.repeat(3, 1)[None]
    cameras = Cameras.stack([one], dtype=torch.float64)
    loss = projection_losses(points, cameras, mask, 1e-3, 16)
    assert float(loss) < 0.5 * 0.01 * float(mask.sum())
    assert float(projection_losses(points + 0.25, cameras, mask, 1e-3, 16)) > 5


# DRWR's loss, taken apart


def projected(views: int, points: int) -> tuple[torch.Tensor, torch.Tensor]:
    pixels = 12 * torch.rand(views, points, 2, dtype=torch.float64) - 2
    return pixels, torch.ones(views, points, dtype=torch.bool)


@pytest.mark.parametrize("form", get_args(LossForm))
def test_views_cost_what_each_costs_alone(form: LossForm):
    torch.manual_seed(0)
    masks = (torch.rand(3, 8, 8) > 0.4).numpy()
    known = np.ones(masks.shape, bool)
    pixels, visible = projected(3, 6)
    targets = silhouette_targets(masks, known, form, dtype=torch.float64)
    terms = LossTerms(2.0, 0.5, 0.1)
    together = view_losses(targets, terms, pixels, visible, exact=True)
    for index in range(3):
        one = slice(index, index + 1)
        alone = silhouette_targets(masks[one], known[one], form, dtype=torch.float64)
        cost = drwr_loss(alone, terms, pixels[one], visible[one], exact=True)
        torch.testing.assert_close(together[index], cost)
    torch.testing.assert_close(drwr_loss(targets, terms, pixels, visible, True), together.mean())


def test_without_omega_and_delta_all_points_push_alike():
    """What is left of the released push: a mean over all pairs, wherever they lie."""
    pixels, visible = projected(1, 5)
    targets = silhouette_targets(np.eye(8)[None], np.ones((1, 8, 8), bool), "released")
    terms = LossTerms(alpha=0.0, beta=1.0, sigma=0.2, omega=False, delta=False)
    total = 0.0
    for one in pixels[0].tolist():
        for other in pixels[0].tolist():
            total += math.exp(3.5 - (math.dist(one, other) / 8) ** 2 / (2 * 0.2**2)) / 25
    found = view_losses(targets, terms, pixels.float(), visible)
    assert float(found) == pytest.approx(total, rel=1e-5)


@pytest.mark.parametrize("form", get_args(LossForm))
def test_hard_pixels_pull_at_the_outline_alone(form: LossForm):
    mask = np.zeros((1, 8, 8))
    mask[0, 2:5, 3:7] = 1
    known = np.ones(mask.shape, bool)
    targets = silhouette_targets(mask, known, form, dtype=torch.float64, smooth=False)
    pixels = torch.tensor([[[4.5, 3.5], [1.5, 3.5], [0.5, 7.5], [2.7, 3.5]]], dtype=torch.float64)
    pixels.requires_grad_()
    terms = LossTerms(alpha=4.0, beta=0.0, sigma=0.1)
    cost = view_losses(targets, terms, pixels, torch.ones(1, 4, dtype=torch.bool))
    cost.sum().backward()
    # Inside 0, outside 1, and between the pixels' centres at 2.5 and 3.5 in proportion.
    assert float(cost.detach()) == pytest.approx(0 + 1 + 1 + 0.8)
    assert pixels.grad is not None
    assert pixels.grad[0, :, 0].tolist() == pytest.approx([0, 0, 0, -1])


# What the network sees


def test_background_is_laid_out_in_grey():
    pixels = np.random.default_rng(0).random((32, 32, 3))
    coverage = np.zeros((32, 32))
    coverage[8:24, 8:24] = 1
    image = network_image(pixels, coverage, 16)
    assert image.shape == (3, 16, 16)
    assert (image[:, :4] == BACKGROUND).all()
    block = pixels[8:10, 8:10].mean(axis=(0, 1))
    np.testing.assert_allclose(image[:, 4, 4], block, rtol=1e-5)


# The camera of a photograph


def chair_cloud(count: int = 6000) -> np.ndarray:
    """Seat, back and one armrest: no two sides look alike."""
    random = np.random.default_rng(0)
    parts = [
        ((0.7, 0.6, 0.12), (0, 0, -0.1)),
        ((0.7, 0.1, 0.5), (0, 0.25, 0.2)),
        ((0.1, 0.5, 0.3), (0.3, 0, 0.1)),
    ]
    clouds = [
        (random.random((count // 3, 3)) - 0.5) * np.array(edges) + centre for edges, centre in parts
    ]
    return np.concatenate(clouds)


def cut_out_camera(
    points: np.ndarray, azimuth: float, size: int = 128
) -> tuple[Camera, np.ndarray]:
    """A camera whose picture the cloud fills but for a margin, and the cloud's mask in it."""
    place = [2.4 * math.sin(azimuth), -2.4 * math.cos(azimuth), 1.0]
    whole = camera(place, size, span=1.6)
    pixels = whole.project(points)[0]
    low, high = pixels.min(axis=0), pixels.max(axis=0)
    side = float((high - low).max()) * 1.08
    left, top = (low + high - side) / 2
    cut = whole.resampled(left, top, size / side, (size, size))
    mask = cloud_silhouette(cut.project(points)[0] / 2, size // 2)
    return cut, mask.repeat(2, axis=0).repeat(2, axis=1).astype(np.float32)


def degrees_between(one: Camera, other: Camera) -> float:
    turn = one.world_to_camera[:3, :3] @ other.world_to_camera[:3, :3].T
    return math.degrees(Rotation.from_matrix(turn).magnitude())


@pytest.mark.parametrize("azimuth", [0.4, 2.5, 4.0])
def test_the_camera_is_found_from_a_rough_rotation(azimuth: float):
    points = chair_cloud()
    true, mask = cut_out_camera(points, azimuth)
    rough = Rotation.from_rotvec([0.1, -0.12, 0.08]).as_matrix() @ true.world_to_camera[:3, :3]
    found = fit_camera(points, mask, rough, 2.6)
    assert degrees_between(found, true) < 6
    assert cloud_overlap(points, found, mask) > 0.93
    offset = np.linalg.norm(found.project(points)[0] - true.project(points)[0], axis=1)
    assert offset.mean() < 3  # of 128 pixels


def test_a_hopeless_rotation_is_searched_anew():
    points = chair_cloud()
    true, mask = cut_out_camera(points, 0.7)
    wrong = Rotation.from_euler("xyz", [1.2, 0.8, 0.3]).as_matrix() @ true.world_to_camera[:3, :3]
    found = fit_camera(points, mask, wrong, 2.6)
    assert cloud_overlap(points, found, mask) > 0.85
    assert degrees_between(found, true) < 20


def test_parallel_rays_are_fitted_too():
    points = chair_cloud()
    whole = camera([1.5, -2.0, 1.0], 64, orthographic=True, span=1.3)
    mask = cloud_silhouette(whole.project(points)[0], 64).astype(np.float32)
    found = fit_camera(points, mask, whole.world_to_camera[:3, :3], 0.0)
    assert found.orthographic
    assert cloud_overlap(points, found, mask) > 0.95


# From points to a surface, and through a file


def test_an_even_ball_keeps_its_size():
    random = np.random.default_rng(0)
    points = random.normal(size=(8000, 3))
    points *= 0.35 * random.random((8000, 1)) ** (1 / 3) / np.linalg.norm(points, axis=1)[:, None]
    cloud = torch.as_tensor(points)
    field = density_field(cloud, 64, gap_closing_width(cloud, 64, 0.0))
    volume = (field > 0).mean()
    assert volume == pytest.approx(4 / 3 * math.pi * 0.35**3, rel=0.12)
    # Near the surface its slope is about one for each cell.
    radii = np.linalg.norm(np.stack(np.meshgrid(*[(np.arange(64) + 0.5) / 64 - 0.5] * 3)), axis=0)
    shell = (radii > 0.33) & (radii < 0.40)
    slope = np.polyfit(radii[shell] * 64, field[shell], 1)[0]
    assert -1.8 < slope < -0.5


def box_network() -> DrwrNetwork:
    """Whatever it sees, it predicts a box, seen straight from the front."""
    points = np.random.default_rng(0).uniform(-0.5, 0.5, (TINY.points, 3)) * [0.8, 0.6, 0.4]
    return drwr_network(points)


def photograph() -> Views:
    return in_unit_cube([view("photo", camera([0, -2.5, 0.1], 128), box((0.8, 0.6, 0.4)))])


def quiet(fraction: float, message: str, preview: object = None) -> None:
    pass


def test_one_photograph_becomes_a_closed_mesh(tmp_path: Path):
    """Through a file and back: the same network, the same mesh, on the photograph."""
    network, views = box_network(), photograph()
    params = SINGLE_IMAGE.make_params("draft", {"resolution": 48})
    direct = SingleImageReconstructor(network.eval(), params, torch.device("cpu"))
    path = drwr_checkpoint(tmp_path / "model.safetensors", network)
    loaded = SINGLE_IMAGE.load(params, "cpu", 0, str(path))
    assert isinstance(loaded, SingleImageReconstructor)
    seen = dataclasses.replace(views, cameras=(loaded.camera(views),))
    one, other = direct.reconstruct(seen, quiet), loaded.reconstruct(seen, quiet)
    assert one.vertices.tobytes() == other.vertices.tobytes()
    assert one.faces.tobytes() == other.faces.tobytes()
    assert one.is_closed_manifold()
    assert np.abs(one.vertices).max() <= 0.5
    assert one.signed_volume() == pytest.approx(0.8 * 0.6 * 0.4, rel=0.25)
    assert agreement(one, seen)[0] > 0.9


def test_the_photographs_own_camera_is_not_needed():
    """A placeholder camera agrees with nothing, so it carves nothing."""
    reconstructor = SingleImageReconstructor(
        box_network().eval(),
        SINGLE_IMAGE.make_params("draft", {"resolution": 40}),
        torch.device("cpu"),
    )
    views = photograph()
    placeholder = Camera(np.eye(3), np.eye(4), (128, 128), orthographic=True)
    mesh = reconstructor.reconstruct(dataclasses.replace(views, cameras=(placeholder,)), quiet)
    assert mesh.signed_volume() == pytest.approx(0.8 * 0.6 * 0.4, rel=0.25)


def test_the_poisson_surface_is_closed_too():
    params = SINGLE_IMAGE.make_params("draft", {"resolution": 48, "surface": "poisson"})
    reconstructor = SingleImageReconstructor(box_network().eval(), params, torch.device("cpu"))
    mesh = reconstructor.reconstruct(photograph(), quiet)
    assert mesh.is_closed_manifold()
    assert mesh.signed_volume() == pytest.approx(0.8 * 0.6 * 0.4, rel=0.25)


def test_it_can_be_cancelled():
    def stop(fraction: float, message: str, preview: object = None) -> None:
        raise Cancelled

    reconstructor = SingleImageReconstructor(
        box_network(), SINGLE_IMAGE.params(), torch.device("cpu")
    )
    with pytest.raises(Cancelled):
        reconstructor.reconstruct(photograph(), stop)


def test_a_checkpoint_takes_one_image():
    views = photograph()
    twice = dataclasses.replace(views, names=("a", "b"))
    reconstructor = SingleImageReconstructor(
        box_network(), SINGLE_IMAGE.params(), torch.device("cpu")
    )
    with pytest.raises(InputError, match="from one image, but there are 2"):
        reconstructor.reconstruct(twice, quiet)


def test_settings_make_the_same_network():
    network = from_settings({"network": dataclasses.asdict(TINY)})
    assert network.settings == TINY
    assert [p.shape for p in network.parameters()] == [p.shape for p in box_network().parameters()]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, "does not describe this version's network"),
        (None, "does not describe this version's network"),
        ({"network": {**dataclasses.asdict(TINY), "layers": 3}}, "does not describe"),
        ({"network": {**dataclasses.asdict(TINY), "points": 10**9}}, "points must be between"),
        ({"network": {**dataclasses.asdict(TINY), "image_size": 100}}, "power of two"),
    ],
)
def test_foreign_settings_are_refused(tmp_path: Path, settings: Any, said: str):
    path = drwr_checkpoint(tmp_path / "model.safetensors", box_network(), settings=settings)
    with pytest.raises(InputError, match=said):
        load_network(path)


def test_tensors_that_do_not_fit_are_refused(tmp_path: Path):
    other = DrwrNetwork(dataclasses.replace(TINY, points=500))
    path = drwr_checkpoint(tmp_path / "model.safetensors", other)
    with pytest.raises(InputError, match=r"'decoder.fc.bias' has the shape \(1500,\) where"):
        load_network(path)
    ensemble = DrwrNetwork(dataclasses.replace(TINY, candidates=2))
    drwr_checkpoint(path, ensemble)
    with pytest.raises(InputError, match="has no place in it"):
        load_network(path)
    broken = box_network()
    with torch.no_grad():
        broken.encoder.fc_1.weight[0, 0] = math.nan
    drwr_checkpoint(path, broken)
    with pytest.raises(InputError, match="not finite"):
        load_network(path)
