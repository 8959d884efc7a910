"""What autocast narrows: nets, and not what is made of their features."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from quickstudy import Categorical, registry
from quickstudy.core import tree
from quickstudy.core.apply import apply
from quickstudy.core.episode import Episode, to_device
from quickstudy.core.precision import said_by
from quickstudy.core.settings import load, owner_of
from quickstudy.methods.flat.teacher import divergence
from quickstudy.nets import MLP, Flatten
from quickstudy.tasks.glyphs import Glyphs
from quickstudy.tasks.source import Split
from quickstudy.train.run import RunSettings, build_method

COMPARING = ["protonet", "matching", "siamese", "r2d2", "metaoptnet", "simpleshot", "dkt"]
"""Methods that have no layers of their own before their logits, or compute theirs as exactly."""


def narrow() -> torch.autocast:
    return torch.autocast("cpu", torch.bfloat16)


def first(tasks: Glyphs, split: Split) -> Episode:
    """The first task."""
    return tree.map_leaves(lambda leaf: leaf[0], to_device(tasks.source(split).batch([0]), "cpu"))


def test_a_net_computes_in_half_and_is_handed_on_in_single() -> None:
    net, x = MLP((3,)), torch.randn(4, 3)
    with narrow():
        assert net(x).dtype == torch.bfloat16
        assert apply(net, None, x)[0].dtype == torch.float32
    assert apply(net.double(), None, x.double())[0].dtype == torch.float64


def test_probabilities_are_of_the_logits_that_are_given() -> None:
    """In bfloat16 their logarithms would have two or three digits."""
    said = Categorical(torch.randn(50, 20).bfloat16())
    y = torch.eye(20, dtype=torch.bool)[torch.arange(50) % 20]
    exact = Categorical(said.logits.double())
    with narrow():
        torch.testing.assert_close(said.nll(y).double(), exact.nll(y), rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(said.mean.double(), exact.mean, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", COMPARING)
def test_what_is_made_of_features_is_as_without_autocast(name: str) -> None:
    """Squared distances of hundreds differ by less than bfloat16 rounds: 256 and 257 are the same number."""
    tasks = Glyphs(ways=5, shots=2, queries=3)
    chosen = RunSettings(method=load("method", {"name": name}), tasks=tasks, net=load("net", {"name": "flatten"}))
    method = build_method(chosen).eval()
    assert any(isinstance(module, Flatten) for module in method.modules())
    support, query = first(tasks, "test")
    said = [method.predict(method.adapt(support), query.x).mean]
    with narrow():
        said.append(method.predict(method.adapt(support), query.x).mean)
    assert said[1].dtype == torch.float32
    torch.testing.assert_close(said[1], said[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["cnp", "np", "anp", "tnp", "relation"])
def test_what_one_net_says_of_each_class_differs_however_large_it_is(name: str) -> None:
    """Trained in bfloat16, an attentive neural process let all classes' logits grow until they rounded to one."""
    tasks, net = Glyphs(ways=5, shots=1, queries=4), load("net", {"name": "conv4", "width": 8})
    method = build_method(RunSettings(method=load("method", {"name": name}), tasks=tasks, net=net)).eval()
    support, query = first(tasks, "test")
    last = [module for module in method.modules() if isinstance(module, nn.Linear) and module.out_features == 1]
    nn.init.normal_(last[-1].weight, std=10.0)  # so that classes differ before any training
    said = []
    for shared in (0.0, 4096.0):
        nn.init.constant_(last[-1].bias, shared)
        with narrow():
            said.append(method.predict(method.adapt(support), query.x).mean)
    torch.testing.assert_close(said[1], said[0], rtol=1e-2, atol=1e-2)
    assert said[0].std(-1).mean() > 1e-3


def test_the_slopes_of_a_softmax_add_up_to_nothing_in_what_is_said() -> None:
    """In bfloat16 those of 20 classes that are said alike add up to a thousandth, of the same sign in every task."""
    layers = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 1))
    right = torch.arange(60) % 20
    nn.init.zeros_(layers[2].weight)
    with narrow():
        logits = said_by(layers, torch.randn(60, 20, 8))[..., 0]
        nn.functional.cross_entropy(logits, right).backward()
    assert layers[2].bias.grad.abs() < 1e-6


def test_a_teacher_is_followed_in_single() -> None:
    told, said = torch.randn(2, 50, 20).bfloat16()
    exact = divergence(told.double(), said.double(), 2.0)
    torch.testing.assert_close(divergence(told.float(), said.float(), 2.0).double(), exact, rtol=1e-4, atol=1e-5)
    assert divergence(told, said, 2.0).dtype == torch.float32


@pytest.mark.parametrize("name", sorted(set(registry.METHODS) - {"kernelpfn", "kernelmixture"}))
def test_no_loss_is_computed_in_half(name: str) -> None:
    """A loss near log 20 would be 2.98 or 3.00."""
    chosen = load("method", {"name": name})
    tags = owner_of(chosen).tags_with(chosen)
    if tags.trains_on == "pool" or not tags.classification:
        pytest.skip("it trains on flat batches, or has no classes")
    tasks, net = Glyphs(ways=5, shots=1, queries=2), load("net", {"name": "conv4", "width": 8})
    method = build_method(RunSettings(method=chosen, tasks=tasks, net=net))
    episode = first(tasks, "train")
    noise = [torch.randn(method.noise_in_training)] if method.noise_in_training else []
    with narrow():
        assert method.meta_loss(episode, *noise).dtype == torch.float32
