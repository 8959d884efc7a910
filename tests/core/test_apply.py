"""`apply`: given parameters, measured statistics, given statistics."""

import pytest
import torch
from torch import nn

from quickstudy.core.apply import Moments, apply, current_tape
from quickstudy.errors import MethodError
from quickstudy.nets import MLP, Conv4, Norm


def net_of(norm: str = "support") -> nn.Module:
    torch.manual_seed(0)
    return MLP((3,), hidden=(5, 4), norm=norm, activation="tanh").double()


def points(n: int = 6, seed: int = 1) -> torch.Tensor:
    return torch.randn(n, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_own_parameters_or_given_ones():
    net, x = net_of("none"), points()
    assert torch.equal(apply(net, None, x)[0], net(x))
    doubled = {name: 2 * weight for name, weight in net.named_parameters()}
    out, statistics = apply(net, doubled, x)
    with torch.no_grad():
        for weight in net.parameters():
            weight.mul_(2)
    assert torch.equal(out, net(x))
    assert statistics == ()


def test_statistics_are_measured_in_the_order_of_the_layers():
    net, x = net_of(), points()
    out, statistics = apply(net, None, x)
    first = net.layers[1](x)
    assert len(statistics) == 2
    assert all(isinstance(moments, Moments) for moments in statistics)
    torch.testing.assert_close(statistics[0].mean, first.mean(0))
    torch.testing.assert_close(statistics[0].variance, first.var(0, correction=0))
    torch.testing.assert_close(out, net(x))


def test_given_statistics_are_used_and_returned():
    net, x = net_of(), points()
    _, statistics = apply(net, None, x)
    other = points(4, seed=2)
    out, returned = apply(net, None, other, statistics=statistics)
    assert returned is statistics
    alone = torch.cat([apply(net, None, other[i : i + 1], statistics=statistics)[0] for i in range(4)])
    torch.testing.assert_close(out, alone)
    again, _ = apply(net, None, x, statistics=statistics)
    torch.testing.assert_close(again, apply(net, None, x)[0])


def test_masked_inputs_are_not_measured():
    net, x = net_of(), points(6)
    mask = torch.tensor([True, True, False, True, False, True])
    noisy = torch.where(mask[:, None], x, 1e4)
    _, statistics = apply(net, None, noisy, mask=mask)
    _, expected = apply(net, None, x[mask])
    for got, want in zip(statistics, expected, strict=True):
        torch.testing.assert_close(got.mean, want.mean)
        torch.testing.assert_close(got.variance, want.variance)


def test_too_few_statistics_are_refused():
    _, statistics = apply(net_of(), None, points())
    with pytest.raises(MethodError, match="met more normalising layers than it has statistics for"):
        apply(net_of(), None, points(), statistics=statistics[:1])


def test_too_many_statistics_are_refused():
    _, statistics = apply(net_of(), None, points())
    with pytest.raises(MethodError, match="a net left 1 of the statistics that it was given untaken"):
        apply(net_of(), None, points(), statistics=(*statistics, statistics[0]))


def test_the_tape_ends_with_its_apply():
    seen = []

    class Spy(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            seen.append(current_tape())
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        apply(Spy(), None, points())
    assert seen[0] is not None
    assert current_tape() is None


def test_a_tape_within_a_tape():
    """A net that applies another keeps their statistics apart."""
    inner = net_of()

    class Outer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = Norm(3).double()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.norm(x) + apply(inner, None, x)[0].sum()

    _, statistics = apply(Outer(), None, points())
    assert len(statistics) == 1


def test_it_maps_over_tasks_and_differentiates():
    torch.manual_seed(0)
    net = Conv4((1, 16, 16), width=4, downsample="stride").double()
    x = torch.randn(3, 5, 1, 16, 16, dtype=torch.float64)
    mapped = torch.func.vmap(lambda x: apply(net, None, x))(x)
    for i in range(3):
        out, statistics = apply(net, None, x[i])
        torch.testing.assert_close(mapped[0][i], out)
        torch.testing.assert_close(mapped[1][2].variance[i], statistics[2].variance)
