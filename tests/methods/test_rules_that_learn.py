"""What a rule learns is the method's own and is trained, or the rule is refused: it never runs from its start."""

import pytest
import torch
from torch import nn

from helpers import random_episodes
from quickstudy import SGD, Adam, Episode, LearnedRates
from quickstudy.core import tree
from quickstudy.errors import SettingsError
from quickstudy.inner import Rule
from quickstudy.inner.alfa import ALFA
from quickstudy.inner.curvature import MetaCurvature
from quickstudy.inner.lstm import CoordinateLSTM, MetaLSTM
from quickstudy.inner.parted import Parted
from quickstudy.methods.bayesian.abml import ABML
from quickstudy.methods.bayesian.platipus import PLATIPUS
from quickstudy.methods.flat.baselinepp import BaselinePlusPlus
from quickstudy.methods.gradient.cavia import CAVIA
from quickstudy.methods.gradient.finetune import FineTune
from quickstudy.methods.gradient.imaml import IMAML
from quickstudy.methods.gradient.protomaml import ProtoMAML
from quickstudy.methods.gradient.reptile import Reptile
from quickstudy.nets import MLP


def abml(net: nn.Module, rule: Rule) -> ABML:
    return ABML(net, 4, steps=2, samples=2, rule=rule)


def cavia(net: nn.Module, rule: Rule) -> CAVIA:
    return CAVIA(net, 4, context=3, rule=rule)


def platipus(net: nn.Module, rule: Rule) -> PLATIPUS:
    return PLATIPUS(net, 4, steps=2, samples=2, rule=rule)


def protomaml(net: nn.Module, rule: Rule) -> ProtoMAML:
    return ProtoMAML(net, steps=2, rule=rule)


LEARNING = [LearnedRates(rate=0.2, per="tensor"), ALFA(rate=0.2), MetaLSTM(hidden=3), CoordinateLSTM(hidden=3)]
OWNED = [(make, rule) for make in (abml, cavia, platipus, protomaml) for rule in LEARNING]
OWNED += [
    (make, rule) for make in (abml, cavia, platipus) for rule in (LearnedRates(rate=0.2), MetaCurvature(rate=0.2))
]
OWNED.append((protomaml, Parted(body=LearnedRates(rate=0.2), head=SGD(rate=0.1), order="exact")))


def net() -> MLP:
    torch.manual_seed(0)
    return MLP((3,), hidden=(6, 5), activation="tanh")


def one() -> Episode:
    return tree.map_leaves(lambda leaf: leaf[0], random_episodes(tasks=1, item=(3,), dtype=torch.float64))


@pytest.mark.parametrize(("make", "rule"), OWNED, ids=lambda value: str(getattr(value, "__name__", value)))
def test_what_it_learns_is_a_parameter_with_the_true_meta_gradient(make, rule):
    """Central differences along a random direction of the rule's tensors alone."""
    method, task = make(net(), rule).double(), one()
    generator = torch.Generator().manual_seed(1)
    drawn = [torch.randn(method.noise_size, generator=generator, dtype=torch.float64)] if method.noise_size else []
    rates = dict(method.rates)
    assert rates
    assert all(rate.requires_grad for rate in rates.values())
    with torch.no_grad():  # away from special values that would hide a fault
        for name, weight in method.named_parameters():
            by = 0.05 if name.startswith("rates.") else 0.3
            weight.add_(by * torch.randn(weight.shape, generator=generator, dtype=torch.float64))
    slopes = torch.autograd.grad(method.meta_loss(task, *drawn), list(rates.values()))
    along = [torch.randn(rate.shape, generator=generator, dtype=torch.float64) for rate in rates.values()]

    def at(length: float) -> torch.Tensor:
        moved = {f"rates.{n}": rate + length * d for (n, rate), d in zip(rates.items(), along, strict=True)}
        with torch.no_grad():
            return torch.func.functional_call(method, moved, (task, *drawn))

    expected = sum((slope * d).sum() for slope, d in zip(slopes, along, strict=True))
    assert abs(expected) > 1e-5
    torch.testing.assert_close((at(1e-6) - at(-1e-6)) / 2e-6, expected, rtol=1e-5, atol=1e-8)


REFUSING = {
    "Reptile": lambda rule: Reptile(net(), 4, rule=rule),
    "iMAML": lambda rule: IMAML(net(), 4, rule=rule),
    "fine-tuning": lambda rule: FineTune(net(), 4, 20, rule=rule),
    "Baseline++": lambda rule: BaselinePlusPlus(net(), 20, rule=rule),
}


@pytest.mark.parametrize("rule", [*LEARNING, MetaCurvature(), Parted()], ids=str)
@pytest.mark.parametrize("name", REFUSING)
def test_a_method_that_cannot_train_a_rule_refuses_it(name, rule):
    if isinstance(rule, Parted) and name in ("fine-tuning", "Baseline++"):
        rule = Parted(body=LearnedRates(), head=LearnedRates())  # of which they step the head, or one weight
    with pytest.raises(SettingsError, match=rf"tensors to learn \(.*stay where they start: .*{name}.*such as sgd"):
        REFUSING[name](rule)


@pytest.mark.parametrize("name", REFUSING)
def test_a_rule_that_learns_nothing_is_taken(name):
    assert REFUSING[name](Adam(rate=0.1)).rule == Adam(rate=0.1)
    assert REFUSING[name](Parted(body=SGD(), head=Adam())).rule.head == Adam()


@pytest.mark.parametrize("rule", [LearnedRates(), MetaCurvature(), Parted(head=LearnedRates())], ids=str)
def test_heads_of_any_size_refuse_rules_with_something_for_each_weight(rule):
    with pytest.raises(SettingsError, match=r"would learn '.*head\.weight.*' for a head of one size.*per=tensor"):
        protomaml(net(), rule)


def test_a_parted_rule_makes_the_meta_gradient_an_estimate_anywhere():
    for make in (abml, cavia, platipus, protomaml):
        rule = Parted(body=LearnedRates(per="tensor"), head=SGD())
        assert make(net(), rule).estimated == rule.estimated
