"""Proto-MAML: MAML whose head starts from the prototypes of the classes."""

from __future__ import annotations

from typing import Annotated

import torch
from torch import nn

from quickstudy import registry
from quickstudy.core.apply import apply
from quickstudy.core.episode import Examples
from quickstudy.core.learner import QueryScored, Tags
from quickstudy.core.predictions import Categorical
from quickstudy.core.settings import Choice, Count, Rate
from quickstudy.core.shapes import Shaped, Tensor
from quickstudy.errors import SettingsError
from quickstudy.inner import SGD, Gradient, Rule
from quickstudy.inner.rules import Params
from quickstudy.methods.gradient import body_and_head
from quickstudy.methods.gradient.body_and_head import Adapted, given, kept
from quickstudy.methods.metric.protonet import class_means
from quickstudy.nets.net import weights_of, width_of

__all__ = ["ProtoMAML"]

FAR = -1e4
"""The starting bias of a class without support: as far away as makes no difference, and finite as the steps need."""


class ProtoMAML(QueryScored):
    """MAML from a head that says what prototypical networks would (Triantafillou et al. 2020).

    Meta-learned: the body (and what the rule learns, where that is the same for heads of any size).
    Adapts by: a head of weights w = 2c/T and bias b = -‖c‖²/T for each class with mean embedding c, by which its logits
    are those of squared distances to the prototypes; then `steps` steps of body and head down the support's mean loss.
    Scored by: the query's cross-entropy after the last step, through the prototypes too.

    The head comes from the support, so one instance takes any number of classes, and with steps=0 it is a prototypical
    network. The paper's version is gradient="first-order".

    Args:
        net: The body.
        steps: Inner steps. Evaluation may ask for more.
        rule: How a slope becomes a step. It can have nothing to learn for each weight of the head, since heads differ
            in size: rates learned for each tensor will do, or a parted rule whose body learns.
        gradient: How the adapted weights depend on the initial ones.
        temperature: T, which divides the squared distances. 1 is the paper's; larger values soften early training:
            of many numbers the distances are so large that a class with one example is told without doubt.

    Raises:
        SettingsError: the rule learns something for each weight of the head.
    """

    tags = Tags(
        exceptions={"learns": "without steps it is a prototypical network, which has adapted; the toy needs no more"}
    )

    def __init__(
        self,
        net: nn.Module,
        *,
        steps: Count = 5,
        rule: Annotated[Rule, Choice("rule")] = SGD(rate=0.02),
        gradient: Gradient = "exact",
        temperature: Rate = 1.0,
    ) -> None:
        super().__init__()
        self.net = net
        self.steps = steps
        self.rule = rule
        self.gradient = gradient
        self.temperature = temperature
        self.estimated = rule.estimated
        self.rates = kept(_of_any_head(rule, net))

    def adapt(self, support: Examples, *noise: Tensor) -> Adapted:
        return self.adapt_for(support, self.steps)

    def adapt_for(self, support: Examples, steps: int) -> Adapted:
        """The learner after `steps` steps; 0 is a prototypical network."""
        return body_and_head.adapt(
            self.net,
            weights_of(net=self.net) | self._head(support),
            support,
            kind="categorical",
            rule=self.rule,
            steps=steps,
            gradient=self.gradient,
            learned=given(self.rates),
        )

    def predict(self, learner: Adapted, x: Shaped[Tensor, "n *item"]) -> Categorical:
        said = body_and_head.predict(self.net, learner, x, "categorical")
        assert isinstance(said, Categorical)
        return said

    def _head(self, support: Examples) -> Params:
        z, _ = apply(self.net, None, support.x, mask=support.mask)
        means, present = class_means(z, support)
        bias = torch.where(present, -means.square().sum(-1) / self.temperature, FAR)
        return {"head.weight": 2 * means / self.temperature, "head.bias": bias}


def _of_any_head(rule: Rule, net: nn.Module) -> Params:
    """What a rule learns of the body and a head of any number of classes."""

    def learned(ways: int) -> Params:
        head = {"head.weight": torch.zeros(ways, width_of(net)), "head.bias": torch.zeros(ways)}
        return rule.learned(weights_of(net=net) | head)

    few, more = learned(2), learned(3)
    if sized := [name for name, leaf in few.items() if leaf.shape != more[name].shape]:
        raise SettingsError(
            f"the rule {registry.name_of(type(rule))!r} would learn {sized[0]!r} for a head of one size; Proto-MAML "
            "makes heads of as many classes as the support has. Choose a rule that learns the same for every head "
            "(learned-rates with per=tensor, alfa, meta-lstm), or parted with such a rule, or with sgd, for its head."
        )
    return few
