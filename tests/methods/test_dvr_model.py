import numpy as np
import pytest
import torch

from backend.methods.dvr.model import OccupancyColorNetwork, ResnetBlockFC


def points(count: int = 500) -> torch.Tensor:
    return torch.rand(count, 3, generator=torch.Generator().manual_seed(0)) - 0.5


def test_a_new_block_is_the_identity_and_learns():
    block = ResnetBlockFC(16)
    features = torch.randn(5, 16)
    assert torch.equal(block(features), features)
    block(features).square().sum().backward()
    assert block.fc_1.weight.grad is not None
    assert float(block.fc_1.weight.grad.abs().sum()) > 0


def test_the_paper_s_network_written_out_in_numpy():
    torch.manual_seed(0)
    network = OccupancyColorNetwork(hidden=12, condition_size=4).double()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.randn_like(parameter) / 3)
    weights = {name: tensor.numpy() for name, tensor in network.state_dict().items()}

    def layer(name, features):
        return features @ weights[name + ".weight"].T + weights[name + ".bias"]

    where, code = points(7).double().numpy(), np.array([[0.3, -0.2, 1.0, 0.5]])
    features = layer("fc_in", where)
    for index in range(5):
        features = features + layer(f"fc_condition.{index}", code)
        inner = layer(f"blocks.{index}.fc_0", np.maximum(features, 0))
        features = features + layer(f"blocks.{index}.fc_1", np.maximum(inner, 0))
    output = layer("fc_out", np.maximum(features, 0))

    arguments = torch.as_tensor(where), torch.as_tensor(code)
    logits, colors = network(*arguments)
    np.testing.assert_allclose(logits.detach(), output[:, 0], rtol=1e-12)
    np.testing.assert_allclose(colors.detach(), 1 / (1 + np.exp(-output[:, 1:])), rtol=1e-12)
    assert torch.equal(network.occupancy_logit(*arguments), logits)
    assert torch.equal(network.color(*arguments), colors)


def test_number_of_parameters_is_the_paper_s():
    count = sum(parameter.numel() for parameter in OccupancyColorNetwork().parameters())
    assert count == (3 + 1) * 512 + 10 * (512 + 1) * 512 + (512 + 1) * 4


@pytest.mark.parametrize("condition_size", [0, 6])
@pytest.mark.parametrize("hidden", [32, 33, 512])
def test_the_initial_surface_is_a_sphere(hidden, condition_size):
    torch.manual_seed(0)
    network = OccupancyColorNetwork(hidden, condition_size=condition_size)
    network.initialise_sphere(0.3)
    where = points()
    condition = torch.randn(1, condition_size) if condition_size else None
    logits = network.occupancy_logit(where, condition).detach()
    expected = 20 * (0.3 - where.norm(dim=-1))
    tolerance = 20 * {32: 0.07, 33: 0.07, 512: 0.003}[hidden]
    assert float((logits - expected).abs().max()) < tolerance
    colors = network.color(where, condition).detach()
    assert colors.shape == (500, 3)
    assert 0 < float(colors.min()) < float(colors.max()) < 1


def test_every_weight_can_leave_the_sphere():
    network = OccupancyColorNetwork(32, condition_size=3)
    network.initialise_sphere(0.3)
    optimiser = torch.optim.SGD(network.parameters(), lr=1e-3)
    before = [parameter.detach().clone() for parameter in network.parameters()]
    for _ in range(3):
        optimiser.zero_grad()
        logits, colors = network(points(), torch.ones(3))
        (logits.square().mean() + colors.square().mean()).backward()
        optimiser.step()
    for old, new in zip(before, network.parameters(), strict=True):
        assert not torch.equal(old, new)


def test_a_condition_must_be_given_exactly_when_the_network_has_one():
    with pytest.raises(ValueError, match="length 4, got none"):
        OccupancyColorNetwork(8, condition_size=4)(points(2))
    with pytest.raises(ValueError, match=r"length 0, got \(1, 4\)"):
        OccupancyColorNetwork(8)(points(2), torch.zeros(1, 4))
