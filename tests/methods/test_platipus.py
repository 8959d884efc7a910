"""PLATIPUS against MAML where nothing is spread, and its divergence against torch's."""

import math

import torch

from quickstudy.core import tree
from quickstudy.inner import SGD
from quickstudy.methods.bayesian import members
from quickstudy.methods.bayesian.members import Spread
from quickstudy.methods.bayesian.platipus import PLATIPUS
from quickstudy.methods.gradient.maml import MAML
from quickstudy.nets import MLP
from quickstudy.tasks.sines import Sines


def episode():
    def double(leaf):
        return leaf[0].double() if leaf.is_floating_point() else leaf[0]

    return tree.map_leaves(double, Sines(shots=6, queries=4).source().batch([0]))


def method(**settings):
    torch.manual_seed(0)
    chosen = {"rule": SGD(rate=0.05), "samples": 3, "likelihood": "gaussian", **settings}
    return PLATIPUS(MLP((1,), hidden=(5,)), 1, **chosen).double()


def noise_for(made):
    return torch.randn(made.noise_size, generator=torch.Generator().manual_seed(1)).double()


def test_without_spread_it_is_maml_of_one_more_step():
    task, made = episode(), method(spread=1e-12, rate=0.05, steps=4)
    maml = MAML(MLP((1,), hidden=(5,)), 1, rule=SGD(rate=0.05), steps=5, likelihood="gaussian").double()
    maml.net.load_state_dict(made.net.state_dict())
    maml.head.load_state_dict(made.head.state_dict())
    x = torch.linspace(-5, 5, 7, dtype=torch.float64)[:, None]
    said = made.predict(made.adapt(task.support, noise_for(made)), x)
    expected = maml.predict(maml.adapt(task.support), x).mean
    torch.testing.assert_close(said.mean, expected, rtol=1e-5, atol=1e-7)
    assert len(said.log_weight) == 3


def test_members_differ_by_the_spread_of_their_starts():
    task, made = episode(), method(spread=0.3, steps=0)
    made.log_rates["prior"].data.fill_(-math.inf)  # a rate of 0: draws around the mean start itself
    learner = made.adapt(task.support, noise_for(made))
    row = members.rows(noise_for(made), learner[1].weights)[1]
    drawn = learner[1].weights["head.weight"]
    torch.testing.assert_close(drawn, made.head.weight + 0.3 * row["head.weight"])


def test_divergence_is_torchs():
    generator = torch.Generator().manual_seed(0)
    a, b = (
        Spread(*({n: torch.randn(s, generator=generator) for n, s in (("u", (2, 3)), ("v", (4,)))} for _ in range(2)))
        for _ in range(2)
    )
    normal = torch.distributions.Normal
    expected = sum(
        torch.distributions.kl_divergence(
            normal(a.mean[n], a.log_std[n].exp()), normal(b.mean[n], b.log_std[n].exp())
        ).sum()
        for n in a.mean
    )
    torch.testing.assert_close(members.divergence(a, b), expected)


def test_the_loss_is_the_querys_from_starts_that_saw_it_and_the_divergence():
    task, made = episode(), method(divergence=0.5, steps=2, rate=0.1)
    noise = noise_for(made)
    prior = Spread(made._stepped("prior", task.support), dict(made.prior_std))
    posterior = Spread(made._stepped("posterior", task.query), dict(made.posterior_std))
    assert not torch.equal(prior.mean["head.bias"], posterior.mean["head.bias"])
    apart = sum(
        ((prior.mean[n] - posterior.mean[n]) ** 2).sum() / (2 * 0.02**2) for n in prior.mean
    )  # deviations start equal
    plain = method(divergence=0.0, steps=2, rate=0.1).meta_loss(task, noise)
    torch.testing.assert_close(made.meta_loss(task, noise) - plain, 0.5 * apart / 4, rtol=1e-5, atol=1e-7)
