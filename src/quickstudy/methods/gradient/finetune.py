"""Conventional training followed by fine-tuning: the floors that meta-learning must beat."""

from __future__ import annotations

from typing import Annotated, Literal

from torch import nn

from quickstudy.core.apply import apply
from quickstudy.core.episode import Episode, Examples, masked_mean
from quickstudy.core.learner import MetaLearner, Tags
from quickstudy.core.predictions import Categorical, Gaussian, Likelihood, likelihood
from quickstudy.core.settings import Choice, Count
from quickstudy.core.shapes import Float, Shaped, Tensor
from quickstudy.inner import Adam, Rule
from quickstudy.inner.rules import refuse_learned
from quickstudy.methods.gradient import body_and_head
from quickstudy.methods.gradient.body_and_head import Adapted
from quickstudy.nets.net import weights_of, width_of

__all__ = ["FineTune"]


class FineTune(MetaLearner):
    """Train one net on all classes at once, then fit a head, or all of it, to the support.

    The "Baseline" of Chen et al. (2019, "A closer look at few-shot classification").

    Learned beforehand: the net, by ordinary classification over all training classes (or regression over all tasks).
    Adapts by: gradient steps on a new linear head, with the net frozen (a linear probe) or stepping too.
    Scored by: nothing of a task; training never sees an episode.

    With steps=0 it is the floor of no adaptation: chance for classes, the average function for real values.

    Args:
        net: The body.
        outputs: Real values to predict; for classes the head takes its size from the support.
        pool_outputs: Classes of the flat training pool, or real values.
        steps: Gradient steps on the support.
        rule: How a slope becomes a step. It can learn nothing, for training never steps.
        adapts: Whether only the head or all weights step.
        likelihood: What the outputs mean: "categorical" logits or "gaussian" values.

    Raises:
        SettingsError: the rule meta-learns something.
    """

    tags = Tags(trains_on="pool", regression=True)

    def __init__(
        self,
        net: nn.Module,
        outputs: int,
        pool_outputs: int,
        *,
        steps: Count = 50,
        rule: Annotated[Rule, Choice("rule")] = Adam(rate=0.01),
        adapts: Literal["head", "all"] = "head",
        likelihood: Likelihood = "categorical",
    ) -> None:
        super().__init__()
        self.net = net
        self.head = nn.Linear(width_of(net), outputs if likelihood == "gaussian" else pool_outputs)
        self.steps = steps
        self.rule = rule
        self.adapts = adapts
        self.likelihood = likelihood
        stepping = {"head": self.head} if adapts == "head" else {"net": net, "head": self.head}
        refuse_learned(rule, weights_of(**stepping), "fine-tuning's conventional training never steps by it")

    def meta_loss(self, episode: Episode, *noise: Tensor) -> Float[Tensor, ""]:
        batch = episode.query
        features, _ = apply(self.net, None, batch.x, mask=batch.mask)
        return masked_mean(likelihood(self.likelihood, self.head(features)).nll(batch.y), batch.mask)

    def adapt(self, support: Examples, *noise: Tensor) -> Adapted:
        return self.adapt_for(support, self.steps)

    def adapt_for(self, support: Examples, steps: int) -> Adapted:
        """The learner after `steps` steps; 0 is the initial one."""
        start = weights_of(head=self.head)
        if self.likelihood == "categorical":  # new classes, new head: all classes start alike
            ways = support.y.shape[-1]
            start = {name: weight.new_zeros(ways, *weight.shape[1:]) for name, weight in start.items()}
        if self.adapts == "all":
            start |= weights_of(net=self.net)
        return body_and_head.adapt(
            self.net, start, support, kind=self.likelihood, rule=self.rule, steps=steps, gradient="first-order"
        )

    def predict(self, learner: Adapted, x: Shaped[Tensor, "n *item"]) -> Categorical | Gaussian:
        return body_and_head.predict(self.net, learner, x, self.likelihood)
