import math

import pytest
import torch

from backend.rendering import ray_marching
from backend.rendering.ray_marching import first_crossing, implicit_depth, ray_box


def rays(count: int, spread: float = 1.0) -> tuple[torch.Tensor, torch.Tensor]:
    """Float64 rays along z, direction z 1; with ``spread`` 0.45 all go through the unit cube."""
    generator = torch.Generator().manual_seed(0)
    sideways = torch.rand(count, 4, generator=generator, dtype=torch.float64) - 0.5
    sideways *= spread
    origins = torch.cat([sideways[:, :2], torch.full_like(sideways[:, :1], -2.0)], dim=1)
    return origins, torch.cat([0.2 * sideways[:, 2:], torch.ones_like(sideways[:, :1])], dim=1)


def sphere(centre: torch.Tensor, radius: float):
    return lambda points: radius - (points - centre).norm(dim=-1)


def sphere_depths(origins, directions, centre, radius):
    """Nearest intersection by the quadratic formula, NaN where there is none."""
    offset = origins - centre
    a = (directions**2).sum(-1)
    b = (offset * directions).sum(-1)
    c = (offset**2).sum(-1) - radius**2
    return (-b - (b**2 - a * c).sqrt()) / a


def softplus_field(parameters: torch.Tensor):
    """A small smooth network bent around a sphere; ``parameters`` ``[32]``."""
    inward, bias, outward = parameters[:24].reshape(8, 3), parameters[24:28], parameters[28:]

    def logit(points):
        hidden = torch.tanh(points @ inward[:4].T + bias) + points @ inward[4:].T
        return 4 * (0.35 - points.norm(dim=-1)) + 0.3 * hidden @ outward

    return logit


def field_parameters() -> torch.Tensor:
    return torch.randn(32, generator=torch.Generator().manual_seed(3), dtype=torch.float64)


def test_axis_parallel_rays_meet_the_cube_where_drawn():
    origins = torch.tensor([[0.2, 0.1, -3], [0.5, 0, -3], [0.6, 0, -3], [2, 0, 0], [0, 0, 0]])
    directions = torch.tensor([[0, 0, 1], [0, 0, 1], [0, 0, 1], [-0.5, 0, 0], [0, -1.0, 0]])
    near, far = ray_box(origins, directions, 0.5)
    torch.testing.assert_close(near, torch.tensor([2.5, 2.5, 0, 3, -0.5]))
    torch.testing.assert_close(far, torch.tensor([3.5, 3.5, 0, 5, 0.5]))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_ray_box_agrees_with_points_along_the_ray(dtype):
    generator = torch.Generator().manual_seed(1)
    origins = 2 * torch.rand(400, 3, generator=generator, dtype=dtype) - 1
    directions = torch.randn(400, 3, generator=generator, dtype=dtype)
    directions[:100, 0] = 0
    directions[50:150, 2] = -0.0
    directions[:, 1] += directions[:, 1].sign()
    near, far = ray_box(origins, directions, 0.4)
    assert near.dtype == dtype
    assert near.isfinite().all() and far.isfinite().all()
    meets = far > near
    depths = torch.linspace(-4, 4, 8001, dtype=dtype)
    inside = (origins[:, None] + depths[:, None] * directions[:, None]).abs().amax(-1) <= 0.4
    expected = (depths >= near[:, None]) & (depths <= far[:, None]) & meets[:, None]
    assert 20 < int(meets.sum()) < 380
    assert int((inside != expected).sum()) <= 5
    for depth in (near, far):
        ends = (origins + depth[:, None] * directions)[meets]
        torch.testing.assert_close(ends.abs().amax(-1), torch.full_like(ends[:, 0], 0.4))


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 3e-5), (torch.float64, 1e-9)])
def test_depths_of_a_sphere(dtype, tolerance):
    origins, directions = (tensor.to(dtype) for tensor in rays(500))
    centre = torch.tensor([0.05, -0.1, 0.08], dtype=dtype)
    expected = sphere_depths(origins, directions, centre, 0.3)
    near, far = ray_box(origins, directions, 0.5)
    crossing = first_crossing(sphere(centre, 0.3), origins, directions, near, far, 64)
    sure = ((origins - centre).cross(directions, dim=1).norm(dim=1) / directions.norm(dim=1)) < 0.29
    assert int(sure.sum()) > 50
    assert crossing.hit[sure].all()
    assert not crossing.hit[expected.isnan()].any()
    assert not crossing.starts_inside.any()
    torch.testing.assert_close(crossing.depth[~crossing.hit], far[~crossing.hit])
    error = (crossing.depth - expected)[crossing.hit].abs()
    assert float(error.max()) < tolerance


@pytest.mark.parametrize("samples", [2, 3, 8, 9, 40, 200])
def test_first_sign_change_is_that_of_a_plain_loop(samples):
    def waves(points):
        return torch.sin(37 * points[:, 2]) + torch.sin(23 * points[:, 0] + 5 * points[:, 2]) - 0.4

    origins, directions = rays(60, spread=0.45)
    near, far = ray_box(origins, directions, 0.5)
    crossing = first_crossing(waves, origins, directions, near, far, samples, secant_steps=40)
    steps = torch.linspace(0, 1, samples, dtype=torch.float64)
    for ray in range(60):
        depths = near[ray] + (far - near)[ray] * steps
        values = waves(origins[ray] + depths[:, None] * directions[ray])
        bracket = None
        for index in range(1, samples):
            if bracket is None and values[index - 1] < 0 <= values[index]:
                bracket = depths[index - 1], depths[index]
        assert crossing.starts_inside[ray] == (values[0] >= 0)
        expected_hit = bracket is not None and values[0] < 0
        assert crossing.hit[ray] == expected_hit
        if bracket is not None and expected_hit:
            assert bracket[0] <= crossing.depth[ray] <= bracket[1]
            point = origins[ray] + crossing.depth[ray] * directions[ray]
            assert abs(float(waves(point[None]))) < 1e-12


def test_a_camera_inside_the_object_hits_nothing():
    origins, directions = torch.zeros(1, 3), torch.tensor([[0.0, 0, 1]])

    def shells(points):  # occupied up to 0.1, and again from 0.3 to 0.4
        radius = points.norm(dim=-1)
        return torch.maximum(0.1 - radius, 0.05 - (radius - 0.35).abs())

    crossing = first_crossing(
        shells, origins, directions, torch.tensor([0.02]), torch.tensor([0.5]), 64
    )
    assert crossing.starts_inside.tolist() == [True]
    assert crossing.hit.tolist() == [False]
    assert crossing.depth.tolist() == pytest.approx([0.02])


def test_a_thin_slab_needs_enough_samples():
    def slab(points):
        return 0.004 - (points[:, 2] - 0.11).abs()

    origins, directions = rays(50, spread=0.45)
    near, far = ray_box(origins, directions, 0.5)
    coarse = first_crossing(slab, origins, directions, near, far, 16)
    fine = first_crossing(slab, origins, directions, near, far, 256)
    assert not coarse.hit.any()
    assert fine.hit.all()
    expected = torch.full_like(fine.depth, 2.106)
    torch.testing.assert_close(fine.depth, expected, rtol=0, atol=1e-9)


def test_the_field_is_asked_in_bounded_portions_and_only_where_needed(monkeypatch):
    monkeypatch.setattr(ray_marching, "POINTS_PER_CALL", 1000)
    calls = []

    def counted(points):
        calls.append(len(points))
        return sphere(torch.zeros(3, dtype=torch.float64), 0.45)(points)

    origins, directions = rays(300)
    origins[:100] += 10.0  # miss the cube
    near, far = ray_box(origins, directions, 0.5)
    bounded = first_crossing(counted, origins, directions, near, far, 128, secant_steps=3)
    assert max(calls) <= 1000
    assert sum(calls) < 0.6 * 200 * 128
    monkeypatch.undo()
    at_once = first_crossing(counted, origins, directions, near, far, 128, secant_steps=3)
    torch.testing.assert_close(bounded.depth, at_once.depth, rtol=0, atol=0)
    assert torch.equal(bounded.hit, at_once.hit)
    assert not bounded.hit[:100].any()


@pytest.mark.parametrize("field", ["creeping", "saturated", "infinite"])
def test_refinement_survives_unbalanced_logits(field):
    def logit(points):
        height = points[:, 2] - 0.0123
        if field == "creeping":  # flat before the surface, steep behind it
            return torch.where(height < 0, 0.1 * height, 5 * height)
        if field == "saturated":
            return 1e4 * height
        return torch.where(height < 0, -math.inf, math.inf)

    origins, directions = torch.tensor([[0.0, 0, -2]]), torch.tensor([[0.0, 0, 1]])
    near, far = ray_box(origins, directions, 0.5)
    crossing = first_crossing(logit, origins, directions, near, far, 16, secant_steps=12)
    tolerance = 1 / 15 / 2**11 if field == "infinite" else 2e-6
    assert crossing.depth.tolist() == pytest.approx([2.0123], abs=tolerance)


def test_no_rays_and_too_few_samples():
    none = torch.zeros(0, 3)
    near, far = ray_box(none, none, 0.5)
    crossing = first_crossing(lambda points: points[:, 0], none, none, near, far, 16)
    assert crossing.depth.shape == crossing.hit.shape == (0,)
    depth = implicit_depth(lambda points: points[:, 0], none, none, crossing.depth)
    assert depth.shape == (0,)
    with pytest.raises(ValueError, match="at least 2 samples, got 1"):
        first_crossing(lambda points: points[:, 0], none, none, near, far, 1)


def test_gradient_of_a_sphere_s_depth_is_the_closed_form():
    origins, directions = rays(200)
    centre = torch.tensor([0.05, -0.1, 0.08], dtype=torch.float64, requires_grad=True)
    radius = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    near, far = ray_box(origins, directions, 0.5)
    crossing = first_crossing(
        lambda points: radius - (points - centre).norm(dim=-1), origins, directions, near, far, 64
    )
    origins, directions = origins[crossing.hit], directions[crossing.hit]

    def logit(points):
        return 7 * (radius - (points - centre).norm(dim=-1))

    depth = implicit_depth(logit, origins, directions, crossing.depth[crossing.hit])
    weights = torch.linspace(1, 2, len(depth), dtype=torch.float64)
    implicit = torch.autograd.grad((weights * depth).sum(), [centre, radius])
    exact = sphere_depths(origins, directions, centre, radius)
    steep = ((origins + exact[:, None] * directions - centre) * directions).sum(-1) < -0.01
    assert steep.all()  # no ray is so grazing that its gradient is limited
    explicit = torch.autograd.grad((weights * exact).sum(), [centre, radius])
    torch.testing.assert_close(depth, exact, rtol=0, atol=1e-9)
    torch.testing.assert_close(implicit[0], explicit[0], rtol=1e-6, atol=0)
    torch.testing.assert_close(implicit[1], explicit[1], rtol=1e-6, atol=0)


def marched_depth(parameters, origins, directions):
    logit = softplus_field(parameters)
    near, far = ray_box(origins.detach(), directions.detach(), 0.6)
    crossing = first_crossing(logit, origins, directions, near, far, 64, secant_steps=20)
    assert crossing.hit.all()
    return implicit_depth(logit, origins, directions, crossing.depth)


def test_gradient_through_the_march_by_gradcheck():
    origins = torch.tensor([[0.05, -0.1, -1.5], [0, 0.08, -1.5]], dtype=torch.float64)
    directions = torch.tensor([[0.02, 0.06, 1.0], [0, -0.1, 1.0]], dtype=torch.float64)
    inputs = [field_parameters(), origins, directions]
    for tensor in inputs:
        tensor.requires_grad_()
    assert torch.autograd.gradcheck(marched_depth, inputs, atol=1e-7)


def test_gradient_against_finite_differences_of_bisected_depths():
    origins = torch.tensor([[0.05, -0.1, -1.5]], dtype=torch.float64)
    directions = torch.tensor([[0.02, 0.06, 1.0]], dtype=torch.float64)

    def bisected(parameters):
        low, high = 0.9, 1.5
        for _ in range(60):
            middle = (low + high) / 2
            outside = softplus_field(parameters)(origins + middle * directions)[0] < 0
            low, high = (middle, high) if outside else (low, middle)
        return low

    parameters = field_parameters().requires_grad_()
    marched_depth(parameters, origins, directions).sum().backward()
    assert parameters.grad is not None
    for index in (0, 7, 13, 25, 30):
        step = torch.zeros_like(parameters.detach())
        step[index] = 1e-5
        with torch.no_grad():
            difference = (bisected(parameters + step) - bisected(parameters - step)) / 2e-5
        assert float(parameters.grad[index]) == pytest.approx(difference, rel=1e-5, abs=1e-9)


def test_rays_that_graze_are_limited_and_rays_that_leave_are_dropped():
    normal = torch.tensor([[1e-4, 1.0, 0.0]], dtype=torch.float64)
    offset = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    origins = torch.zeros(1, 3, dtype=torch.float64)
    crossing = torch.zeros(1, dtype=torch.float64)

    def plane(points):
        return (3 * points * normal).sum(-1) + offset

    grazing = torch.tensor([[2.0, 0, 0]], dtype=torch.float64)
    (limited,) = torch.autograd.grad(
        implicit_depth(plane, origins, grazing, crossing).sum(), offset
    )
    expected = -1 / (0.01 * 3 * float(normal.norm()) * 2)
    assert float(limited) == pytest.approx(expected)
    for direction in (-grazing, torch.tensor([[0, 0, 1.0]], dtype=torch.float64)):
        depth = implicit_depth(plane, origins, direction, crossing + 0.25)
        assert depth.tolist() == [0.25]
        (dropped,) = torch.autograd.grad(depth.sum(), offset)
        assert float(dropped) == 0
