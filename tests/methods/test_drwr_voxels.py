"""DPC-V: the voxels that DRWR's papers compare with, from the code to a mesh."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.autograd import gradcheck

from backend.errors import InputError, ReconstructionError
from backend.geometry.cameras import Cameras
from backend.geometry.visual_hull import grid_points
from backend.methods.drwr import SINGLE_IMAGE
from backend.methods.drwr.camera_fit import cloud_overlap
from backend.methods.drwr.network import (
    DrwrNetwork,
    NetworkSettings,
    VoxelDecoder,
    from_settings,
    matrix_to_quaternion,
)
from backend.methods.drwr.projection import voxel_losses, voxel_silhouettes
from backend.methods.drwr.single_image import (
    SingleImageReconstructor,
    occupancy_field,
    surface_level,
    surface_points,
)
from tests.shapes import agreement, ball, camera, coverage, in_unit_cube, view
from tests.trained_parts import FRONT

TINY = NetworkSettings(image_size=32, points=3000, width=1 / 16, distance=2.5, voxels=8)


def ball_grid(
    radius: float, resolution: int, centre: tuple[float, float, float] = (0, 0, 0)
) -> Tensor:
    """Occupancy ``[R, R, R]`` that falls from 1 to 0 within a cell around a sphere."""
    away = grid_points(resolution).double() - torch.tensor(centre, dtype=torch.float64)
    return ((radius - away.norm(dim=-1)) * resolution + 0.5).clamp(0, 1)


# The decoder


@pytest.mark.parametrize("voxels", [8, 32, 64])
def test_the_decoder_doubles_up_to_its_grid(voxels: int):
    torch.manual_seed(0)
    decoder = VoxelDecoder(64, voxels, 1 / 16)
    found = decoder(torch.randn(2, 64))
    assert found.shape == (2, *(voxels,) * 3)
    channels = [layer.in_channels for layer in decoder.convolutions if hasattr(layer, "weight")]
    assert channels == [16 >> step for step in range(int(math.log2(voxels)) - 2)]


def test_voxels_begin_even_and_nearly_empty():
    """So that gradients reach all cells of a ray, and alike."""
    torch.manual_seed(0)
    with torch.no_grad():
        grids = VoxelDecoder(256, 32, 0.25)(torch.randn(4, 256))
    assert float(grids.mean()) == pytest.approx(1 / 32, rel=0.05)
    assert float(grids.std()) < 0.1 / 32
    front = Cameras.stack([camera([0, -2.5, 0], 32)] * 4)
    silhouettes = voxel_silhouettes(grids, front)[:, 8:24, 8:24]
    assert float(silhouettes.mean()) == pytest.approx(1 - math.exp(-1), rel=0.05)


def test_a_network_of_voxels_predicts_them():
    torch.manual_seed(0)
    network = DrwrNetwork(dataclasses.replace(TINY, candidates=2))
    with torch.no_grad():
        prediction = network(torch.rand(2, 3, 32, 32), torch.rand(6, 3, 32, 32))
    assert prediction.shapes.shape == (2, 8, 8, 8)
    assert 0 <= float(prediction.shapes.min()) <= float(prediction.shapes.max()) <= 1
    assert prediction.student.shape == (6, 4)


@pytest.mark.parametrize("voxels", [4, 12, 33])
def test_grids_that_cannot_be_doubled_to_are_refused(voxels: int):
    with pytest.raises(InputError, match=f"power of two from 8 such as 32, got {voxels}"):
        NetworkSettings(voxels=voxels)


def test_model_cards_from_before_voxels_are_read():
    settings = dataclasses.asdict(dataclasses.replace(TINY, voxels=0))
    del settings["voxels"]
    assert from_settings({"network": settings}).settings == dataclasses.replace(TINY, voxels=0)
    del settings["distance"]
    with pytest.raises(InputError, match="does not describe this version's network"):
        from_settings({"network": settings})


# The projection


@pytest.mark.parametrize("orthographic", [False, True])
@pytest.mark.parametrize("place", [(0.0, -2.5, 0.0), (1.3, -1.6, 1.1)])
def test_a_ball_is_seen_as_a_disc(orthographic: bool, place: tuple[float, float, float]):
    """Off the middle, so that a swapped or turned axis shows."""
    centre = (0.12, -0.08, 0.05)
    one = camera(place, 32, orthographic)
    grid = ball_grid(0.3, 32, centre)[None]
    found = voxel_silhouettes(grid, Cameras.stack([one], dtype=torch.float64))[0].numpy()
    smaller, disc, larger = (
        coverage(one, ball(0.3 + cells / 32, centre), samples=8) for cells in (-0.8, 0, 0.8)
    )
    assert (found >= smaller - 0.02).all()
    assert (found <= larger + 0.02).all()
    # A ray that passes beside the ball still meets many cells which the ball fills in part.
    assert disc.sum() < (found > 0.5).sum() < larger.sum()


def test_silhouettes_are_sampled_alike_whatever_the_pictures_size():
    """Rays go through the middles of R × R pixels, however many pixels the picture has."""
    grid = ball_grid(0.3, 8, (0.1, 0.05, -0.1))[None]
    places = [Cameras.stack([camera([1, -2, 1], size)], dtype=torch.float64) for size in (8, 32)]
    one, other = (voxel_silhouettes(grid, cameras) for cameras in places)
    torch.testing.assert_close(one, other)


@pytest.mark.parametrize("orthographic", [False, True])
def test_nothing_is_not_seen_and_a_full_cube_is(orthographic: bool):
    cameras = Cameras.stack([camera([0, -2.5, 0], 16, orthographic, span=1.6)])
    assert float(voxel_silhouettes(torch.zeros(1, 16, 16, 16), cameras).abs().max()) == 0
    full = voxel_silhouettes(torch.ones(1, 16, 16, 16), cameras)[0]
    # The cube's front is 1 wide, its picture 1.6 at the cube's middle.
    wide = 16 / 1.6 * (1.0 if orthographic else 2.5 / 2.0)
    centres = (torch.arange(16) + 0.5 - 8).abs()
    inside, beyond = centres < wide / 2 - 1.0, centres > wide / 2 + 1.0
    assert float(full[inside][:, inside].min()) > 1 - 1e-5
    assert float(full[beyond].abs().max()) == 0
    assert float(full[:, beyond].abs().max()) == 0


def test_a_ray_ends_in_any_of_its_cells():
    """One column of cells, seen along it: none of its cells may let the ray pass."""
    grid = torch.zeros(1, 8, 8, 8, dtype=torch.float64)
    grid[0, 2, :, 5] = torch.tensor([0, 0.5, 0, 0, 0.25, 0, 0, 0])
    cameras = Cameras.stack([camera([0, -2.5, 0], 8, True, span=1.0)], dtype=torch.float64)
    steps = math.ceil(math.sqrt(3.0) * 8)
    depths = ((torch.arange(steps) + 0.5) / steps - 0.5) * math.sqrt(3.0)
    cells = (torch.arange(8) + 0.5) / 8 - 0.5
    shares = (1 - 8 * (depths[:, None] - cells).abs()).clamp(min=0).double()
    read = shares @ grid[0, 2, :, 5]
    wanted = torch.zeros(8, 8, dtype=torch.float64)
    wanted[7 - 5, 2] = 1 - (1 - read).prod()  # rows go down
    torch.testing.assert_close(voxel_silhouettes(grid, cameras)[0], wanted, atol=1e-6, rtol=0)


@pytest.mark.parametrize("orthographic", [False, True])
def test_voxels_have_the_right_gradient(orthographic: bool):
    """For the grid, and for where the cameras are."""
    torch.manual_seed(0)
    places = [(0.4, -2.3, 0.7), (-1.9, 0.8, 1.2)]
    cameras = Cameras.stack([camera(p, 4, orthographic) for p in places], dtype=torch.float64)
    masks = (torch.rand(2, 4, 4) > 0.5).double()
    grids = (0.1 + 0.3 * torch.rand(2, 4, 4, 4, dtype=torch.float64)).requires_grad_()
    pose = cameras.world_to_camera.clone().requires_grad_()

    def losses(grids: Tensor, pose: Tensor) -> Tensor:
        return voxel_losses(grids, dataclasses.replace(cameras, world_to_camera=pose), masks)

    assert gradcheck(losses, (grids, pose))


def test_the_loss_is_half_the_squared_difference_at_the_grids_size():
    cameras = Cameras.stack([camera([0, -2.5, 0], 16)], dtype=torch.float64)
    grid, masks = ball_grid(0.3, 8)[None], torch.rand(1, 16, 16, dtype=torch.float64)
    coarse = masks.view(1, 8, 2, 8, 2).mean((2, 4))
    wanted = 0.5 * (voxel_silhouettes(grid, cameras) - coarse).square().sum()
    torch.testing.assert_close(voxel_losses(grid, cameras, masks)[0], wanted)


@pytest.mark.cuda
def test_cuda_sees_the_same():
    """Value and gradient."""
    grids = ball_grid(0.3, 16, (0.1, 0.0, -0.05))[None].float()
    masks, found = torch.rand(1, 32, 32), []
    for device in ("cpu", "cuda"):
        cameras = Cameras.stack([camera([1, -2, 1], 32)], device)
        grid = grids.to(device).requires_grad_()
        loss = voxel_losses(grid, cameras, masks.to(device)).sum()
        loss.backward()
        assert grid.grad is not None
        found.append((loss.detach().cpu(), grid.grad.cpu()))
    torch.testing.assert_close(found[0], found[1], rtol=1e-3, atol=1e-4)


# From voxels to a surface, and through a file


def test_points_of_a_ball_lie_on_its_sphere():
    points = surface_points(ball_grid(0.35, 32, (0.05, 0, 0)).numpy(), 2000)
    assert points.shape == (2000, 3)
    radii = np.linalg.norm(points - [0.05, 0, 0], axis=1)
    assert np.abs(radii - 0.35).max() < 0.3 / 32
    assert np.abs(points.mean(axis=0) - [0.05, 0, 0]).max() < 0.02
    faint = 0.2 * ball_grid(0.35, 32).numpy()
    assert surface_level(faint) == pytest.approx(0.1)
    assert np.abs(np.linalg.norm(surface_points(faint, 500), axis=1) - 0.35).max() < 0.3 / 32
    with pytest.raises(ReconstructionError, match="empty"):
        surface_points(np.zeros((8, 8, 8)), 10)


def test_a_finer_field_keeps_the_ball():
    field = occupancy_field(ball_grid(0.33, 16, (0.06, -0.04, 0.0)).numpy(), 48, 1.0)
    assert field.shape == (48, 48, 48)
    solid = field > 0
    assert solid.mean() == pytest.approx(4 / 3 * math.pi * 0.33**3, rel=0.03)
    middle = grid_points(48).numpy()[solid].mean(axis=0)
    np.testing.assert_allclose(middle, [0.06, -0.04, 0.0], atol=2e-3)
    radii = np.linalg.norm(grid_points(48).numpy() - [0.06, -0.04, 0.0], axis=-1)
    shell = np.abs(radii - 0.33) < 0.5 / 48
    assert -1.4 < np.polyfit(radii[shell] * 48, field[shell], 1)[0] < -0.4


def test_a_leg_of_one_cell_stays():
    grid = np.zeros((16, 16, 16))
    grid[8, 8, 2:14] = 1
    middle = occupancy_field(grid, 48, 1.0)[25, 25]
    assert (middle[9:39] > 0).all()


def ball_network() -> DrwrNetwork:
    """Whatever it sees, it predicts a ball, seen straight from the front.

    Its one transposed convolution has 16 channels for 2×2×2 cells: the first 8 channels of the
    4×4×4 cells are the logits of those, each let through by one tap.
    """
    torch.manual_seed(0)
    network = DrwrNetwork(TINY)
    logits = torch.logit(ball_grid(0.35, 8).float(), eps=1e-4)
    channels = logits.view(4, 2, 4, 2, 4, 2).permute(1, 3, 5, 0, 2, 4).flatten(0, 2)
    values = torch.cat([channels, torch.zeros_like(channels)])
    decoder, last = network.decoder, network.pose.student[-1]
    assert isinstance(decoder, VoxelDecoder)
    assert isinstance(last, nn.Linear)
    (layer,) = decoder.convolutions
    assert isinstance(layer, nn.ConvTranspose3d)
    assert layer.bias is not None
    with torch.no_grad():
        decoder.fc.weight.zero_()
        decoder.fc.bias.copy_(torch.where(values < 0, 5 * values, values).flatten())
        layer.bias.zero_()
        layer.weight.zero_()
        for channel in range(8):
            x, y, z = (1 + (channel >> shift & 1) for shift in (2, 1, 0))
            layer.weight[channel, 0, x, y, z] = 1
        last.weight.zero_()
        front = camera(FRONT).world_to_camera[:3, :3]
        last.bias.copy_(torch.as_tensor(matrix_to_quaternion(front)))
    return network.eval()


def test_one_photograph_becomes_a_ball_of_voxels(tmp_path: Path):
    network = ball_network()
    found = network(torch.rand(1, 3, 32, 32)).shapes[0].detach()
    torch.testing.assert_close(found, ball_grid(0.35, 8).float(), atol=1e-3, rtol=0)
    path = tmp_path / "model.safetensors"
    settings = {"network": dataclasses.asdict(TINY)}
    card = {"method": "drwr_single_image", "recipe": "drwr", "settings": settings}
    save_file(network.state_dict(), path, {"model_card": json.dumps(card)})
    params = SINGLE_IMAGE.make_params("draft", {"resolution": 48})
    loaded = SINGLE_IMAGE.load(params, "cpu", 0, str(path))
    assert isinstance(loaded, SingleImageReconstructor)
    views = in_unit_cube([view("photo", camera([0, -2.5, 0.1], 64), ball(0.35))])
    seen = dataclasses.replace(views, cameras=(loaded.camera(views),))
    cloud = surface_points(ball_grid(0.35, 8).numpy(), 3000)
    assert cloud_overlap(cloud, seen.cameras[0], seen.masks[0]) > 0.93
    mesh = loaded.reconstruct(seen, lambda fraction, message, preview=None: None)
    assert mesh.is_closed_manifold()
    assert mesh.signed_volume() == pytest.approx(4 / 3 * math.pi * 0.35**3, rel=0.1)
    radii = np.linalg.norm(mesh.vertices, axis=1)
    assert np.ptp(radii) < 0.4 / 8  # not the steps of its cells
    assert agreement(mesh, seen)[0] > 0.9
