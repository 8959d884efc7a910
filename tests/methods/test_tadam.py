"""TADAM against prototypical networks, and against the paper's formulas written out."""

import pytest
import torch

from helpers import random_episodes
from quickstudy import Episode, Examples, ProtoNet
from quickstudy.core import tree
from quickstudy.methods.metric.tadam import TADAM
from quickstudy.nets import MLP, Flatten


def one(**sizes) -> Episode:
    return tree.map_leaves(lambda leaf: leaf[0], random_episodes(tasks=1, item=(3,), dtype=torch.float64, **sizes))


def made(**settings) -> TADAM:
    torch.manual_seed(0)
    return TADAM(MLP((3,), hidden=(6, 4), activation="tanh"), **settings).double()


def moved(method: TADAM) -> TADAM:
    with torch.no_grad():
        method.embedding.factors.copy_(torch.tensor([[0.5, -0.3], [0.2, 0.7]]))
    return method


@pytest.mark.parametrize("conditioned", [True, False])
def test_it_begins_as_a_prototypical_network(conditioned):
    method, episode = made(scale=0.25, conditioned=conditioned), one(shots=3)
    peer = ProtoNet(method.net, temperature=4.0).double()
    expected = peer.predict(peer.adapt(episode.support), episode.query.x).mean
    torch.testing.assert_close(method.predict(method.adapt(episode.support), episode.query.x).mean, expected)
    torch.testing.assert_close(method.meta_loss(episode), peer.meta_loss(episode))


def test_what_weighs_no_task_is_modulated_by_none():
    method, episode = TADAM(Flatten((3,))).double(), one()
    peer = ProtoNet(Flatten((3,)))
    assert method.adapt(episode.support).modulation == {}
    torch.testing.assert_close(method.meta_loss(episode), peer.meta_loss(episode))


def test_the_mean_prototype_modulates_every_layer():
    """γ = 1 + γ₀ g(c) and β = β₀ h(c) on the output of each layer, c being the mean of the plain prototypes."""
    method, episode = moved(made(scale=0.5)), one(shots=3)
    support = episode.support._replace(mask=torch.arange(12) != 5)
    labels, kept = support.y.int().argmax(-1), support.mask

    def prototypes(z):
        return torch.stack([z[kept & (labels == k)].mean(0) for k in range(4)])

    c = prototypes(method.net(support.x)).mean(0)
    e = method.embedding
    hidden = lambda part, x: x + torch.nn.functional.elu(part.inner(x))  # noqa: E731

    def modulated(x):
        for place, layer in enumerate((method.net.layers[1], method.net.layers[4])):
            shared = torch.nn.functional.elu(e.first[place](c))
            scale = e.factors[place, 0] * e.scales[place].last(hidden(e.scales[place], shared))
            shift = e.factors[place, 1] * e.shifts[place].last(hidden(e.shifts[place], shared))
            x = torch.tanh((1 + scale) * layer(x) + shift)
        return x

    means, z = prototypes(modulated(support.x)), modulated(episode.query.x)
    logits = -0.5 * (z[:, None] - means).square().sum(-1)
    said = method.predict(method.adapt(support), episode.query.x)
    torch.testing.assert_close(said.mean, logits.softmax(-1))
    target = episode.query.y.int().argmax(-1)
    expected = torch.nn.functional.cross_entropy(logits, target) + 0.01 * (0.25 + 0.09 + 0.04 + 0.49)
    torch.testing.assert_close(method.meta_loss(episode._replace(support=support)), expected)


def test_all_that_is_learned_has_a_slope():
    method, episode = moved(made()), one(shots=3)
    method.meta_loss(episode).backward()
    assert all(weight.grad.abs().sum() > 0 for weight in method.parameters())


def test_the_net_learns_to_classify_the_pool_with_a_head_of_its_own():
    """Its slope is that of torch's cross-entropy on the plain net's features; what tasks alone use has none."""
    torch.manual_seed(0)
    method = moved(TADAM(MLP((3,), hidden=(6, 4), activation="tanh"), 9)).double()
    x, labels, mask = torch.randn(8, 3, dtype=torch.float64), torch.arange(8), torch.arange(8) != 3
    batch = Examples(x, torch.nn.functional.one_hot(labels, 9).bool(), mask)
    method.flat_loss(batch).backward()
    slopes = {name: weight.grad for name, weight in method.named_parameters()}
    method.zero_grad()
    torch.nn.functional.cross_entropy(method.head(method.net(x[mask])), labels[mask]).backward()
    torch.testing.assert_close(slopes, {name: weight.grad for name, weight in method.named_parameters()})
    moved_by = {name.partition(".")[0] for name, slope in slopes.items() if slope is not None and slope.any()}
    assert moved_by == {"net", "head"}


def test_slopes_of_a_flat_batch_are_central_differences():
    torch.manual_seed(0)
    method = TADAM(MLP((3,), hidden=(6, 4), activation="tanh"), 9).double()
    x, y = torch.randn(8, 3, dtype=torch.float64), torch.eye(9).bool()[:8]
    batch = Examples(x, y, torch.ones(8, dtype=torch.bool))
    method.flat_loss(batch).backward()
    for weight in (method.net.layers[1].weight, method.head.weight, method.head.bias):
        at = (0,) * weight.ndim
        found = []
        for change in (1e-6, -2e-6):
            with torch.no_grad():
                weight[at] += change
                found.append(method.flat_loss(batch).item())
        assert weight.grad[at].item() == pytest.approx((found[0] - found[1]) / 2e-6, rel=1e-4)


def test_the_share_of_conventional_steps_decays_as_in_the_paper():
    """0.9 to the power of ⌊20 t / T⌋ (section 3.4)."""
    shares = [TADAM(MLP((3,)), 9).flat_share(t / 60) for t in range(60)]
    assert shares == [0.9 ** (t // 3) for t in range(60)]


def test_the_head_of_the_pool_says_nothing_of_tasks():
    with_head, without, episode = TADAM(MLP((3,), hidden=(6,)), 9), TADAM(MLP((3,), hidden=(6,))), one(shots=3)
    without.load_state_dict({n: w for n, w in with_head.state_dict().items() if not n.startswith("head")})
    said = [each.double().predict(each.adapt(episode.support), episode.query.x).mean for each in (with_head, without)]
    assert torch.equal(*said)
    assert torch.equal(with_head.meta_loss(episode), without.meta_loss(episode))


def test_what_has_nothing_to_classify_is_not_co_trained():
    assert [TADAM(MLP((3,)), 9, flat_batch=size).flat_batch for size in (64, 7, 0)] == [64, 7, 0]
    assert TADAM(MLP((3,))).flat_batch == TADAM(Flatten((3,)), 9).flat_batch == 0
    assert TADAM(MLP((3,)), 9, flat_batch=0).head is None


def test_a_class_without_support_is_never_predicted():
    method, episode = moved(made()), one()
    absent = episode.support._replace(mask=~episode.support.y[:, 2])
    mean = method.predict(method.adapt(absent), episode.query.x).mean
    assert torch.isfinite(mean).all()
    assert not mean[:, 2].any()
