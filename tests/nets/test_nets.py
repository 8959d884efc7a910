"""Nets: the shapes that come out, and that no query influences another unless one asks for it."""

import pytest
import torch
from torch import nn

from quickstudy import registry
from quickstudy.core.apply import apply
from quickstudy.core.settings import load, make
from quickstudy.errors import SettingsError
from quickstudy.nets import MLP, Conv4, Flatten, ResNet12, normalisation


@pytest.mark.parametrize(
    ("net", "item", "features"),
    [
        (MLP((3,)), (3,), 40),
        (MLP((1, 4, 4), hidden=(8, 5), norm="support"), (1, 4, 4), 5),
        (MLP((3,), hidden=()), (3,), 3),
        (MLP((1, 2, 2), hidden=(8, 5), skip=True), (1, 2, 2), 9),
        (Flatten((2, 3)), (2, 3), 6),
        (Conv4((1, 28, 28), width=8), (1, 28, 28), 8),
        (Conv4((3, 32, 32), width=8), (3, 32, 32), 32),
        (Conv4((3, 84, 80), width=8), (3, 84, 80), 200),
        (Conv4((1, 28, 28), width=8, downsample="stride"), (1, 28, 28), 8),
        (Conv4((1, 5, 9), width=8, downsample="stride"), (1, 5, 9), 8),
        (ResNet12((3, 32, 32), widths=(4, 6, 8, 10)), (3, 32, 32), 10),
        (ResNet12((1, 17, 16), widths=(4, 6, 8, 10), norm="group"), (1, 17, 16), 10),
    ],
    ids=str,
)
def test_features(net, item, features):
    assert net.features == features
    out = net(torch.randn(4, *item))
    assert out.shape == (4, features)
    assert torch.isfinite(out).all()


def test_conv4_of_the_papers():
    """64 filters: 64 features at 28 pixels (Snell et al. 2017), 1,600 at 84."""
    assert Conv4((1, 28, 28)).features == 64
    assert Conv4((3, 84, 84)).features == 1600
    # Four 3x3 convolutions without bias, each with two numbers a channel for its normalisation.
    assert sum(p.numel() for p in Conv4((1, 28, 28)).parameters()) == 9 * 64 * (1 + 3 * 64) + 4 * 2 * 64


def test_a_bias_is_there_only_where_normalisation_would_not_undo_it():
    assert Conv4((1, 16, 16), norm="none").blocks[0].bias is not None
    assert Conv4((1, 16, 16)).blocks[0].bias is None


@pytest.mark.parametrize("name", ["conv4", "resnet12"])
def test_images_have_three_axes_and_sixteen_pixels(name):
    for item in ((10,), (1, 8, 28)):
        with pytest.raises(SettingsError, match=rf"{name} reads images .* 16 by 16 pixels, got items of shape"):
            make(registry.get("net", name), load("net", name), item=item)


def test_strides_take_any_size():
    with pytest.raises(SettingsError, match=r"at least 1 by 1 pixels, got items of shape \(5,\)\. Use net 'mlp'"):
        Conv4((5,), downsample="stride")


def test_settings_are_checked():
    with pytest.raises(SettingsError, match=r"Conv4\.width: .*got 0"):
        Conv4((1, 28, 28), width=0)
    with pytest.raises(SettingsError, match=r"MLP\.norm: .*got 'batch'"):
        MLP((1,), norm="batch")


SMALL = {
    "conv4": {"name": "conv4", "width": 4},
    "resnet12": {"name": "resnet12", "widths": [4, 4, 4, 4]},
    "mlp": {"name": "mlp", "hidden": [6, 6]},
}


def small(name: str, norm: str) -> nn.Module:
    torch.manual_seed(0)
    net = make(registry.get("net", name), load("net", {**SMALL[name], "norm": norm}), item=(1, 16, 16))
    return net.double()


def said_of_queries(net: nn.Module, count: int, *, spoil_last: bool = False) -> torch.Tensor:
    """Features of the first query among `count`."""
    generator = torch.Generator().manual_seed(0)
    support = torch.randn(5, 1, 16, 16, generator=generator, dtype=torch.float64)
    query = torch.randn(4, 1, 16, 16, generator=generator, dtype=torch.float64)
    if spoil_last:
        query[-1] *= 10
    _, statistics = apply(net, None, support)
    return apply(net, None, query[:count], statistics=statistics)[0][0]


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("norm", ["support", "group", "none"])
def test_no_query_influences_another(name, norm):
    net = small(name, norm)
    assert normalisation(net) == norm
    alone = said_of_queries(net, 1)
    torch.testing.assert_close(said_of_queries(net, 4), alone)
    torch.testing.assert_close(said_of_queries(net, 4, spoil_last=True), alone)


@pytest.mark.parametrize("name", SMALL)
def test_transductive_nets_leak_and_say_so(name):
    net = small(name, "transductive")
    assert normalisation(net) == "transductive"
    gap = (said_of_queries(net, 4) - said_of_queries(net, 4, spoil_last=True)).abs().max()
    assert gap > 1e-3


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("norm", ["support", "transductive", "group", "none"])
def test_nothing_is_stored(name, norm):
    net = small(name, norm)
    before = {key: value.clone() for key, value in net.state_dict().items()}
    said_of_queries(net, 4)
    assert before.keys() == net.state_dict().keys()
    assert all(torch.equal(value, net.state_dict()[key]) for key, value in before.items())
    assert not list(net.buffers())


def test_a_perceptron_may_keep_its_input():
    torch.manual_seed(0)
    net = MLP((1, 2), hidden=(4, 3), activation="tanh", skip=True)
    x = 1e3 * torch.randn(5, 1, 2)
    z = net(x)
    torch.testing.assert_close(z[:, :2], x.flatten(1), rtol=0, atol=0)
    torch.testing.assert_close(z[:, 2:], net.layers(x), rtol=0, atol=0)
