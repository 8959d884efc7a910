"""Convolutional processes on a line: the grid by hand, and moves that change nothing."""

import pytest
import torch
import torch.nn.functional as F

from quickstudy import Episode, Examples
from quickstudy.checks import check_method
from quickstudy.core import tree
from quickstudy.errors import SettingsError
from quickstudy.methods.conditional.convcnp import ConvCNP
from quickstudy.tasks.glyphs import Glyphs
from quickstudy.tasks.gp import GP
from quickstudy.train.run import RunSettings, build_method


def build(outputs: int = 1, **settings) -> ConvCNP:
    torch.manual_seed(0)
    settings = {"density": 8, "span": 8, "width": 4, "levels": 2, **settings}
    return ConvCNP((1,), outputs, **settings).double()


def one(**settings) -> Episode:
    batch = GP(shots=6, queries=5, **settings).source().batch([3])
    return tree.map_leaves(lambda leaf: leaf[0].double() if leaf.is_floating_point() else leaf[0], batch)


def moved(episode: Episode, by: float) -> Episode:
    return Episode(*(part._replace(x=part.x + by) for part in episode))


def test_density_and_mean_on_the_grid():
    """One cell and one example at a time, through the net as it is."""
    method, (support, query) = build(), one()
    learner = method.adapt(support)
    x, y = support.x[:, 0], support.y[:, 0]
    middle = (x.min() + x.max()) / 2
    torch.testing.assert_close(learner.middle, middle)
    places = middle + (torch.arange(64) - 31.5) / 8
    width = 2 / 8
    channels = []
    for place in places:
        near = torch.stack([(-0.5 * ((place - each) / width) ** 2).exp() for each in x])
        channels.append(torch.stack([near.sum(), (near * y).sum() / (near.sum() + 1e-8)]))
    features = method.net(torch.stack(channels).T[None])[0].T
    torch.testing.assert_close(learner.features, features)
    near = (-0.5 * ((query.x - places) / width) ** 2).exp()
    numbers = method.head(near @ features / near.sum(1, keepdim=True))
    said = method.predict(learner, query.x)
    torch.testing.assert_close(said.mean, numbers[:, :1])
    torch.testing.assert_close(said.std, 0.01 + 0.99 * F.softplus(numbers[:, 1:]))


@pytest.mark.parametrize("by", [0.25, -3.17, 1e3])
def test_moving_all_inputs_moves_the_predictions(by):
    method, episode = build(), one()
    other = moved(episode, by)
    here = method.predict(method.adapt(episode.support), episode.query.x)
    there = method.predict(method.adapt(other.support), other.query.x)
    torch.testing.assert_close(here.mean, there.mean, rtol=1e-6, atol=1e-8)
    torch.testing.assert_close(here.std, there.std, rtol=1e-6, atol=1e-8)
    torch.testing.assert_close(method.meta_loss(other), method.meta_loss(episode), rtol=1e-6, atol=1e-8)
    alone = method.predict(method.adapt(other.support), episode.query.x)
    assert not torch.allclose(here.mean, alone.mean, atol=1e-3)


def test_without_support_there_is_a_prior():
    method, (support, query) = build(), one()
    none = Examples(*(field[:0] for field in support))
    hidden = support._replace(mask=torch.zeros_like(support.mask))
    said = [method.predict(method.adapt(each), query.x) for each in (none, hidden)]
    torch.testing.assert_close(said[0].mean, said[1].mean)
    assert torch.isfinite(said[0].mean).all()


def test_far_from_the_grid_is_as_at_its_end():
    method, (support, _) = build(), one()
    learner = method.adapt(support)
    said = method.predict(learner, learner.middle + torch.tensor([[3.9375], [50.0], [1e6]], dtype=torch.float64))
    assert (said.mean == said.mean[0]).all()


def test_several_values_at_a_place():
    method, (support, query) = build(outputs=3), one()
    wide = support._replace(y=torch.cat([support.y, 2 * support.y, support.y - 1], 1))
    assert method.predict(method.adapt(wide), query.x).mean.shape == (5, 3)


def test_contract_on_a_line():
    found = check_method(
        "convcnp", {"density": 4, "width": 4, "levels": 2}, only=["padding", "no query leak", "loop equals map"]
    )
    assert [(each.name, each.reason) for each in found if not each.passed] == []
    assert all(each.name.endswith("(regression)") for each in found)


def test_only_places_on_a_line():
    with pytest.raises(SettingsError, match=r"real values at places on a line, got items of shape \(2,\)"):
        ConvCNP((2,), 1)
    with pytest.raises(SettingsError, match="kernel is 4; expected an odd number"):
        build(kernel=4)


def test_classes_are_refused():
    run = RunSettings(method=ConvCNP.Settings(), tasks=Glyphs())
    with pytest.raises(SettingsError, match="convcnp learns real values, and glyphs has classes to tell apart"):
        build_method(run)
