"""Modulation against hooks that scale and shift what each layer gives."""

import pytest
import torch

from quickstudy.core.apply import apply
from quickstudy.nets import MLP, Conv4, Flatten, ResNet12
from quickstudy.nets.film import modulated, places

NETS = {
    "conv4": lambda: Conv4((1, 16, 16), width=4, norm="group"),
    "conv4 without norm": lambda: Conv4((3, 16, 16), width=4, norm="none"),
    "mlp": lambda: MLP((5,), hidden=(6, 4)),
    "mlp with norm": lambda: MLP((5,), hidden=(6, 4), norm="group"),
}


def drawn(net: torch.nn.Module, seed: int = 0) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    two = {name: torch.randn(2, size, generator=generator, dtype=torch.float64) for name, size in places(net).items()}
    return {name: (each[0], each[1]) for name, each in two.items()}


@pytest.mark.parametrize("kind", NETS)
def test_each_layer_gives_its_output_scaled_and_shifted(kind):
    torch.manual_seed(0)
    net = NETS[kind]().double()
    for weight in net.parameters():
        torch.nn.init.normal_(weight)
    x = torch.randn(3, *((5,) if "mlp" in kind else (1 if kind == "conv4" else 3, 16, 16)), dtype=torch.float64)
    modulation = drawn(net)
    said, _ = apply(net, modulated(net, modulation), x)

    if "conv4" in kind:  # it runs its layers by their weights, past hooks
        y = x
        for name, layer in net.blocks.named_children():
            y = layer(y)
            if f"blocks.{name}" in modulation:
                scale, shift = (each[:, None, None] for each in modulation[f"blocks.{name}"])
                y = (1 + scale) * y + shift
        expected = y.flatten(1)
    else:
        for name, (scale, shift) in modulation.items():
            change = lambda _, __, out, scale=scale, shift=shift: (1 + scale) * out + shift  # noqa: E731
            net.get_submodule(name).register_forward_hook(change)
        expected = net(x)
    torch.testing.assert_close(said, expected)


def test_statistics_are_those_of_the_modulated_net():
    """Over the support each channel of a normalising layer has mean bias·(1 + scale) + shift."""
    torch.manual_seed(0)
    net = MLP((5,), hidden=(4,), norm="support").double()
    modulation, seen = drawn(net), []
    (name,) = modulation
    net.get_submodule(name).register_forward_hook(lambda _, __, out: seen.append(out))
    x = torch.randn(7, 5, dtype=torch.float64)
    _, statistics = apply(net, modulated(net, modulation), x)
    torch.testing.assert_close(seen[0].mean(0), modulation[name][1])
    torch.testing.assert_close(seen[0].std(0, correction=0), (1 + modulation[name][0]).abs(), rtol=1e-3, atol=0)
    apply(net, modulated(net, modulation), x[:2], statistics=statistics)
    torch.testing.assert_close(seen[1], seen[0][:2])


def test_places():
    assert places(Flatten((3,))) == {}
    assert list(places(MLP((3,), hidden=(6, 4))).values()) == [6, 4]
    assert len(places(ResNet12((3, 16, 16), widths=(2, 3, 4, 5)))) == 16
    assert modulated(Flatten((3,)), {}) == {}


def test_it_maps_over_tasks():
    torch.manual_seed(0)
    net = MLP((5,), hidden=(6, 4)).double()
    tasks = [drawn(net, seed) for seed in range(3)]
    stacked = {name: tuple(torch.stack([task[name][i] for task in tasks]) for i in (0, 1)) for name in tasks[0]}
    x = torch.randn(3, 2, 5, dtype=torch.float64)
    mapped = torch.func.vmap(lambda modulation, x: apply(net, modulated(net, modulation), x)[0])(stacked, x)
    for task, one, said in zip(tasks, x, mapped, strict=True):
        torch.testing.assert_close(said, apply(net, modulated(net, task), one)[0])
