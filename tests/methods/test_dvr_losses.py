import math

import pytest
import torch
from torch.autograd import gradcheck

from backend.methods.dvr import losses


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_reduction_over_images_and_over_rays():
    values = torch.tensor([1.0, 2, 6])
    assert float(losses.reduced(values, 2)) == 4.5
    assert float(losses.reduced(values, 3)) == float(values.mean())
    assert float(losses.reduced(values[:0], 3)) == 0


def test_photometric_adds_the_channels():
    rendered = torch.tensor([[0.5, 0.2, 0.0], [1, 1, 1]])
    observed = torch.tensor([[0.25, 0.7, 0.0], [1, 1, 1]])
    torch.testing.assert_close(losses.photometric(rendered, observed), torch.tensor([0.75, 0]))
    assert gradcheck(losses.photometric, (random(4, 3).requires_grad_(), random(4, 3, seed=1)))


def test_image_gradient_of_a_patch_drawn_by_hand():
    observed = torch.zeros(1, 2, 2, 3)
    rendered = torch.zeros(1, 2, 2, 3)
    rendered[0, 0, 1] = torch.tensor([3.0, 4.0, 0.0])  # the pixel at the top right
    valid = torch.ones(1, 2, 2, dtype=torch.bool)
    assert losses.image_gradient(rendered, observed, valid).tolist() == [10.0]
    valid[0, 0, 0] = False  # takes the top row's difference along x away
    assert losses.image_gradient(rendered, observed, valid).tolist() == [5.0]
    valid[0, 0, 1] = False
    assert losses.image_gradient(rendered, observed, valid).tolist() == [0.0]


def test_image_gradient_ignores_brightness_and_axes_exchange():
    rendered, observed = random(6, 2, 2, 3), random(6, 2, 2, 3, seed=1)
    valid = random(6, 2, 2, seed=2) > -0.5
    plain = losses.image_gradient(rendered, observed, valid)
    brighter = losses.image_gradient(rendered + 0.7, observed, valid)
    turned = losses.image_gradient(
        rendered.transpose(1, 2), observed.transpose(1, 2), valid.transpose(1, 2)
    )
    torch.testing.assert_close(brighter, plain)
    torch.testing.assert_close(turned, plain)
    assert gradcheck(
        lambda colors: losses.image_gradient(colors, observed, valid), rendered.requires_grad_()
    )


def test_image_gradient_is_smooth_where_it_vanishes():
    rendered = torch.zeros(2, 2, 2, 3, requires_grad=True)
    valid = torch.ones(2, 2, 2, dtype=torch.bool)
    losses.image_gradient(rendered, torch.zeros(2, 2, 2, 3), valid).sum().backward()
    assert rendered.grad is not None
    assert torch.equal(rendered.grad, torch.zeros_like(rendered))


def test_cross_entropies_are_those_of_the_probability():
    logits = random(9)
    probability = torch.sigmoid(logits)
    torch.testing.assert_close(losses.freespace(logits), -torch.log(1 - probability))
    torch.testing.assert_close(losses.occupancy(logits), -torch.log(probability))
    assert losses.freespace(torch.zeros(1)).tolist() == pytest.approx([math.log(2)])
    assert losses.occupancy(torch.tensor([-1e4])).tolist() == [1e4]
    assert gradcheck(losses.freespace, logits.requires_grad_())
    assert gradcheck(losses.occupancy, logits)


def test_normals_of_a_sphere_point_outward():
    centre = torch.tensor([0.1, 0, -0.05], dtype=torch.float64)
    outward = torch.nn.functional.normalize(random(20, 3), dim=-1)
    normals = losses.outward_normals(
        lambda points: 5 * (0.3 - (points - centre).norm(dim=-1)), centre + 0.3 * outward
    )
    torch.testing.assert_close(normals, outward, rtol=0, atol=2e-5)


def test_normals_are_exact_for_planes_and_zero_in_a_constant_field():
    direction = torch.tensor([2.0, -1.0, 2.0], dtype=torch.float64)
    normals = losses.outward_normals(lambda points: -points @ direction, random(4, 3))
    torch.testing.assert_close(normals, (direction / 3).expand(4, 3))
    flat = losses.outward_normals(lambda points: 0 * points[:, 0], random(4, 3))
    assert torch.equal(flat, torch.zeros_like(flat))


def test_smoothness_is_the_turn_of_a_sphere_s_normal():
    points = torch.tensor([[0.3, 0, 0], [0, 0, 0.3]], dtype=torch.float64)
    angle = 0.01
    turned = 0.3 * torch.tensor(
        [[math.cos(angle), math.sin(angle), 0], [0, 0, 1]], dtype=torch.float64
    )
    values = losses.normal_smoothness(
        lambda where: 0.3 - where.norm(dim=-1), points, turned - points
    )
    assert values.tolist() == pytest.approx([2 * math.sin(angle / 2), 0], abs=1e-7)


def test_smoothness_gradient_reaches_the_field():
    weight = random(3).requires_grad_()
    points, offsets = 0.3 * random(5, 3), 0.02 * random(5, 3, seed=1)

    def smoothness(weight):
        return losses.normal_smoothness(
            lambda where: (where * weight).sin().sum(-1) - where.norm(dim=-1), points, offsets
        )

    assert gradcheck(smoothness, weight)
