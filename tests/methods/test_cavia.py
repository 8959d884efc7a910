"""CAVIA against a net that is given its context as more inputs, and against FiLM by hand."""

import pytest
import torch
from torch import nn

from helpers import random_episodes
from quickstudy import SGD, Episode
from quickstudy.core import tree
from quickstudy.core.episode import to_device
from quickstudy.errors import MethodError
from quickstudy.methods.gradient.cavia import CAVIA
from quickstudy.nets import MLP, Conv4, Flatten
from quickstudy.tasks.glyphs import Glyphs


def one(item=(3,), seed: int = 0) -> Episode:
    return tree.map_leaves(lambda leaf: leaf[0], random_episodes(tasks=1, item=item, dtype=torch.float64, seed=seed))


def small(**settings) -> CAVIA:
    torch.manual_seed(0)
    return CAVIA(MLP((3,), hidden=(6, 5), activation="tanh"), 4, context=2, **settings).double()


def test_the_first_layer_sees_the_context_as_more_inputs():
    """A step on the inputs c of a net of [x, c], appended to every example, by autograd alone."""
    learned, episode = small(at="first", steps=1, rule=SGD(rate=0.7)), one()
    first, second = learned.net.layers[1], learned.net.layers[4]

    def wide(x: torch.Tensor, context: torch.Tensor) -> torch.Tensor:
        longer = torch.cat([x, context.expand(len(x), -1)], 1)
        hidden = torch.tanh(longer @ torch.cat([first.weight, learned.enter.weight], 1).T + first.bias)
        return learned.head(torch.tanh(second(hidden)))

    context = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    labels = episode.support.y.int().argmax(-1)
    loss = nn.functional.cross_entropy(wide(episode.support.x, context), labels)
    (slope,) = torch.autograd.grad(loss, context)
    learner = learned.adapt(episode.support)
    assert set(learner.weights) == {"context"}
    torch.testing.assert_close(learner.weights["context"], -0.7 * slope)
    said = learned.predict(learner, episode.query.x)
    torch.testing.assert_close(said.logits, wide(episode.query.x, -0.7 * slope))


def test_film_scales_and_shifts_the_channels_of_a_layer():
    learned, episode = small(at="film", steps=1), one()
    learner = learned.adapt(episode.support)
    first, second = learned.net.layers[1], learned.net.layers[4]
    scale, shift = (learned.enter.weight @ learner.weights["context"]).split(6)
    assert scale.abs().max() > 0
    hidden = torch.tanh((1 + scale) * first(episode.query.x) + shift)
    expected = learned.head(torch.tanh(second(hidden)))
    torch.testing.assert_close(learned.predict(learner, episode.query.x).logits, expected)


@pytest.mark.parametrize(("at", "layer"), [("first", "blocks.1"), ("film", "blocks.9")])
def test_normalised_layers_are_shifted_after_their_normalisation(at, layer):
    torch.manual_seed(0)
    learned = CAVIA(Conv4((1, 16, 16), width=4), 4, at=at).double()
    assert learned.layer == layer
    episode = one((1, 16, 16))
    before, after = (
        learned.predict(learned.adapt_for(episode.support, steps), episode.support.x).nll(episode.support.y).mean()
        for steps in (0, 1)
    )
    assert after < before


def test_steps_at_the_papers_rate_are_felt_by_a_net_of_images():
    """As a linear layer starts, the support's loss falls by 0.0001 of 1.6, and no training brings a net off chance."""
    source = Glyphs(ways=5, shots=5).source("train")
    torch.manual_seed(0)
    learned = CAVIA(Conv4(source.item), 5)
    support = tree.map_leaves(lambda leaf: leaf[0], to_device(source.batch([0]), "cpu")).support
    before, after = (learned.predict(learned.adapt_for(support, k), support.x).nll(support.y).mean() for k in (0, 2))
    assert before - after > 0.005


def test_without_steps_tasks_have_one_and_the_same_learner():
    learned = small()
    contexts = [learned.adapt_for(one(seed=seed).support, 0).weights["context"] for seed in (0, 1)]
    assert not any(context.any() for context in contexts)


def test_a_net_without_biases_is_refused():
    with pytest.raises(MethodError, match="Flatten has none"):
        CAVIA(Flatten((3,)), 4)
