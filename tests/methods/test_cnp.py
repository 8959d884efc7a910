"""Conditional neural processes by hand, one example and one function at a time."""

import math

import pytest
import torch
import torch.nn.functional as F

from helpers import random_episodes, random_points
from quickstudy import Episode, Examples
from quickstudy.checks import check_method
from quickstudy.core import tree
from quickstudy.methods.conditional.cnp import CNP
from quickstudy.nets import MLP, Flatten
from quickstudy.tasks.sines import Sines
from quickstudy.train.run import RunSettings, build_method, usual_net


def build(path: str = "mean", values: int = 1, **settings) -> CNP:
    torch.manual_seed(0)
    return CNP(Flatten((2,)), values, path=path, width=8, heads=2, likelihood="gaussian", **settings).double()


def code_by_hand(method: CNP, support: Examples) -> torch.Tensor:
    encoder = method.path.encoder
    each = [encoder.of_each(torch.cat([x, y])) for x, y in zip(support.x, support.y, strict=True)]
    return encoder.of_all(sum(each) / len(each))


@pytest.mark.parametrize("values", [1, 3])
def test_one_vector_is_decoded_at_every_place(values):
    method, support, query = build(values=values), random_points(5, 1, values), random_points(4, 2, values)
    code = code_by_hand(method, support)
    said = method.predict(method.adapt(support), query.x)
    for i, x in enumerate(query.x):
        numbers = method.decoder.layers(torch.cat([x, code]))
        torch.testing.assert_close(said.mean[i], numbers[:values])
        torch.testing.assert_close(said.std[i], 0.1 + 0.9 * F.softplus(numbers[values:]))


def test_the_loss_is_of_support_and_query():
    episode = Episode(random_points(5, 1), random_points(4, 2))
    whole, part = build(), build(scored="query")
    learner = whole.adapt(episode.support)
    on_support, on_query = (whole.predict(learner, each.x).nll(each.y) for each in episode)
    torch.testing.assert_close(whole.meta_loss(episode), torch.cat([on_support, on_query]).mean())
    torch.testing.assert_close(part.meta_loss(episode), on_query.mean())


@pytest.mark.parametrize("path", ["mean", "attention"])
def test_without_support_there_is_a_prior(path):
    method, query = build(path), random_points(4, 2)
    none, padding = random_points(0, 1), random_points(3, 1)._replace(mask=torch.zeros(3, dtype=torch.bool))
    said = [method.predict(method.adapt(support), query.x) for support in (none, padding)]
    torch.testing.assert_close(said[0].mean, said[1].mean)
    assert torch.isfinite(said[0].std).all()


def test_attention_reads_what_is_near():
    """By hand: scaled products of keys of places, over values of examples that have attended to each other."""
    method, support, query = build("attention"), random_points(5, 1), random_points(4, 2)
    path = method.path
    h = path.of_each(torch.cat([support.x, support.y], 1))
    h = path.related(h, path.related.memory(h), support.mask)
    keys, values = path.attention.of_key(path.of_place(support.x)), path.attention.of_value(h)
    asked = path.attention.of_query(path.of_place(query.x))
    heads = [
        (asked[:, part] @ keys[:, part].T / math.sqrt(4)).softmax(-1) @ values[:, part]
        for part in (slice(0, 4), slice(4, 8))
    ]
    read = path.attention.out(torch.cat(heads, 1))
    numbers = method.decoder.layers(torch.cat([query.x, read], 1))
    torch.testing.assert_close(method.predict(method.adapt(support), query.x).mean, numbers[:, :1])


def one() -> Episode:
    return tree.map_leaves(lambda leaf: leaf[0], random_episodes(tasks=1, item=(3,), dtype=torch.float64))


@pytest.mark.parametrize("path", ["mean", "attention"])
def test_each_class_is_a_function_of_its_own(path):
    torch.manual_seed(0)
    method = CNP(MLP((3,), hidden=(5,)), 4, path=path, width=8, heads=2).double()
    episode = one()
    said = method.predict(method.adapt(episode.support), episode.query.x).logits
    z, asked = method.net(episode.support.x), method.net(episode.query.x)
    for k in range(4):
        y = episode.support.y[None, :, k, None].double()
        told = method.path.read(method.path.encode(z, y, episode.support.mask), asked)
        torch.testing.assert_close(said[:, k], method.decoder(asked, told)[0, :, 0])
    torch.testing.assert_close(
        method.meta_loss(episode), F.cross_entropy(said, episode.query.y.int().argmax(-1).long())
    )


def test_a_class_is_encoded_by_its_own_examples():
    """The mean is not thinned by the examples of others, however many classes there are."""
    torch.manual_seed(0)
    method, episode = CNP(MLP((3,), hidden=(5,)), 4, width=8).double(), one()
    support = episode.support
    other = torch.where(support.y[:, 2:3], support.x, torch.randn_like(support.x))
    said, again = (
        method.predict(method.adapt(support._replace(x=x)), episode.query.x).logits for x in (support.x, other)
    )
    torch.testing.assert_close(said[:, 2], again[:, 2])
    assert (said[:, 0] - again[:, 0]).abs().min() > 1e-6


def test_a_class_without_support_is_never_predicted():
    torch.manual_seed(0)
    method, episode = CNP(MLP((3,), hidden=(5,)), 4, width=8).double(), one()
    absent = episode.support._replace(mask=~episode.support.y[:, 2])
    assert not method.predict(method.adapt(absent), episode.query.x).mean[:, 2].any()


def test_contract_with_attention():
    names = ["loop equals map", "no query leak", "padding", "support order", "relabelling", "any ways", "gradients"]
    found = check_method("cnp", {"path": "attention", "width": 8, "heads": 2}, only=names)
    assert [(each.name, each.reason) for each in found if not each.passed] == []


def test_places_are_read_as_they_are_unless_told():
    assert usual_net(CNP, images=False) == "flatten"
    assert usual_net(CNP, images=True) == "conv4"
    run = RunSettings(method=CNP.Settings(width=8), tasks=Sines())
    assert isinstance(build_method(run).net, Flatten)


@pytest.mark.parametrize(("name", "chosen"), [("cnp", {}), ("np", {"latent": 4}), ("tnp", {"layers": 2, "hidden": 8})])
def test_contract_on_images(name, chosen):
    found = check_method(
        name,
        {**chosen, "width": 8, "heads": 2},
        net={"name": "conv4", "width": 4, "downsample": "stride"},
        item=(1, 8, 8),
        only=["loop equals map", "no query leak", "padding", "support order", "relabelling", "any ways"],
    )
    assert [(each.name, each.reason) for each in found if not each.passed] == []
