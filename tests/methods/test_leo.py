"""LEO's code, steps and penalties, each by hand."""

import torch
import torch.nn.functional as F
from torch.distributions import Normal, kl_divergence

from helpers import random_episodes
from quickstudy import Episode
from quickstudy.core import tree
from quickstudy.core.episode import masked_mean
from quickstudy.methods.gradient.leo import LEO
from quickstudy.nets import MLP


def one() -> Episode:
    return tree.map_leaves(lambda leaf: leaf[0], random_episodes(tasks=1, item=(3,), dtype=torch.float64))


def build(**settings) -> LEO:
    torch.manual_seed(0)
    return LEO(MLP((3,), hidden=(6,), activation="tanh"), 4, latent=5, **settings).double()


def noise_for(method: LEO) -> torch.Tensor:
    return torch.randn(method.noise_size, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def deviation(said: torch.Tensor) -> torch.Tensor:
    return (2 / 11) ** 0.5 * (2 * torch.tanh(said / 2)).exp()


def code_by_hand(method: LEO, episode: Episode) -> tuple[torch.Tensor, torch.Tensor]:
    codes = method.encode(method.net(episode.support.x))
    labels = episode.support.y.int().argmax(-1)
    means, stds = [], []
    for k in range(4):
        own = [code for code, label in zip(codes, labels, strict=True) if label == k]
        pairs = torch.stack([method.relate(torch.cat([a, b])) for a in own for b in codes])
        mean, log_std = method.describe(pairs.mean(0)).chunk(2)
        means.append(mean)
        stds.append(deviation(log_std))
    return torch.stack(means), torch.stack(stds)


def test_a_code_is_read_from_all_pairs():
    method, episode = build(), one()
    mean, std = code_by_hand(method, episode)
    solved = method._solve(episode.support)
    torch.testing.assert_close(solved.code.mean, mean)
    torch.testing.assert_close(solved.code.std, std)
    torch.testing.assert_close(solved.before, mean)


def test_steps_go_through_the_decoder_and_then_on_the_head():
    method, episode = build(steps=1, tune_steps=1, rate=0.7, tune_rate=0.2), one()
    noise = noise_for(method)
    mean, std = code_by_hand(method, episode)
    code = (mean + std * noise[:20].view(4, 5)).detach().requires_grad_()
    features, labels = method.net(episode.support.x), episode.support.y.int().argmax(-1)

    def decoded(code: torch.Tensor) -> torch.Tensor:
        mean, log_std = method.decode(code).chunk(2, -1)
        return mean + deviation(log_std) * noise[20:].view(4, 7)

    def loss(head: torch.Tensor) -> torch.Tensor:
        return F.cross_entropy(features @ head[:, :6].T + head[:, 6], labels)

    (slope,) = torch.autograd.grad(loss(decoded(code)), code)
    head = decoded(code - 0.7 * slope).detach().requires_grad_()
    (slope,) = torch.autograd.grad(loss(head), head)
    weights = method.adapt(episode.support, noise).weights
    torch.testing.assert_close(weights["head.weight"], (head - 0.2 * slope)[:, :6])
    torch.testing.assert_close(weights["head.bias"], (head - 0.2 * slope)[:, 6])


def test_the_loss_is_the_papers_sum():
    method, episode = build(divergence=0.3, encoder=0.2, orthogonality=0.5), one()
    noise = noise_for(method)
    solved, query = method._solve(episode.support, noise), episode.query
    expected = masked_mean(method.predict(solved.learner, query.x).nll(query.y), query.mask)
    expected += 0.3 * kl_divergence(Normal(*solved.code), Normal(0.0, 1.0)).sum(-1).mean()
    expected += 0.2 * (solved.after - solved.before).square().sum()
    weight = method.decode.weight / method.decode.weight.norm(dim=0)
    expected += 0.5 * (weight.T @ weight - torch.eye(5)).square().mean()
    torch.testing.assert_close(method.meta_loss(episode, noise), expected)


def test_step_sizes_are_learned():
    method = build()
    method.meta_loss(one(), noise_for(method)).backward()
    assert all(rate.grad.abs() > 0 for rate in method.rates.values())


def test_codes_are_pulled_to_where_their_steps_ended():
    """The only slope that is an estimate: of the distance to the adapted code as a constant."""
    whole, plain, episode = build(encoder=0.2), build(encoder=0.0), one()
    noise = noise_for(whole)
    mean, std = code_by_hand(whole, episode)
    before, after = mean + std * noise[:20].view(4, 5), whole._solve(episode.support, noise).after.detach()
    expected = torch.autograd.grad(0.2 * (after - before).square().sum(), whole.encode.weight)[0]
    (with_pull,), (without,) = (
        torch.autograd.grad(method.meta_loss(episode, noise), method.encode.weight) for method in (whole, plain)
    )
    torch.testing.assert_close(with_pull - without, expected)
    assert whole.estimated
    assert not plain.estimated
