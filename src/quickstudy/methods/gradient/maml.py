"""Model-agnostic meta-learning, first-order MAML and ANIL, with a start for each class or one for all."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from torch import nn

from quickstudy.core.episode import Examples
from quickstudy.core.learner import QueryScored, Tags
from quickstudy.core.predictions import Categorical, Gaussian, Likelihood
from quickstudy.core.settings import Choice, Count
from quickstudy.core.shapes import Shaped, Tensor
from quickstudy.errors import SettingsError
from quickstudy.inner import SGD, Gradient, Rule
from quickstudy.inner.rules import Params
from quickstudy.methods.gradient import body_and_head
from quickstudy.methods.gradient.body_and_head import Adapted, given, kept, linear_head, tied_head
from quickstudy.nets.net import weights_of, width_of

__all__ = ["MAML"]

TIED = Tags()
"""What a tied head promises: any number of ways, and classes that can change places; but no real values."""


class MAML(QueryScored):
    """Learn a start from which a few gradient steps suffice (Finn et al. 2017).

    Meta-learned: the initial weights (and the step sizes, where the rule learns them).
    Adapts by: `steps` steps down the support's mean loss (the paper's line 6), with a tied head its sum over classes.
    Scored by: the query's negative log-likelihood after the last step (line 10).

    FOMAML is gradient="first-order"; ANIL (Raghu et al. 2020) is adapts="head" and BOIL (Oh et al. 2021) its opposite,
    adapts="body"; Meta-SGD (Li et al. 2017) is rule=LearnedRates(). Rules that learn how to step make further methods:
    see `quickstudy list`.

    A head per class starts each class somewhere else, so that it has a fixed number of ways, and its answers depend on
    which class comes first. With head="tied" one vector, without a bias, is where every class starts: any number of
    ways, and classes that can change places. The steps tell them apart, down a loss that is summed over classes as in
    the code of Finn et al., so that a class comes as far from where it starts however many others there are. Together
    with adapts="all" that is UNICORN-MAML (Ye and Chao 2022).

    Args:
        net: The body; a linear head is put on its features.
        outputs: Ways, or the number of real values to predict.
        steps: Inner steps. Evaluation may ask for more.
        rule: How a slope becomes a step. Which rate suits depends on how large features are: 0.05 is for a net that
            halves images by pooling, as "conv4" does, where 0.4 teaches far less; one that halves by strides takes
            0.4. The paper's rates are for a loss summed over classes: 0.4 there is 2.0 for five ways here, unless the
            head is tied.
        gradient: How the adapted weights depend on the initial ones.
        adapts: Which weights change: all of them, only the head, or only the body.
        head: Where the head of each class starts: at weights of its own ("per-class"), or where all do ("tied").
        likelihood: What the outputs mean: "categorical" logits or "gaussian" values.

    Raises:
        SettingsError: a tied head is asked for where it could not learn: if it does not step, or has no classes.
    """

    tags = Tags(
        any_ways=False,
        relabels=False,  # every class slot has a start of its own
        regression=True,
    )

    def __init__(
        self,
        net: nn.Module,
        outputs: int,
        *,
        steps: Count = 5,
        rule: Annotated[Rule, Choice("rule")] = SGD(rate=0.05),
        gradient: Gradient = "exact",
        adapts: Literal["all", "head", "body"] = "all",
        head: Literal["per-class", "tied"] = "per-class",
        likelihood: Likelihood = "categorical",
    ) -> None:
        super().__init__()
        tied = head == "tied"
        if tied and (adapts == "body" or likelihood == "gaussian"):
            raise SettingsError(
                f"head='tied' starts every class alike, and its steps tell them apart; got adapts={adapts!r} and "
                f"likelihood={likelihood!r}. Let the head step (adapts='all' or 'head') and learn classes, or choose "
                "head='per-class'."
            )
        self.net = net
        self.head = tied_head(width_of(net)) if tied else linear_head(width_of(net), outputs)
        self.tied = tied
        self.tags = TIED if tied else type(self).tags
        self.steps = steps
        self.rule = rule
        self.gradient = gradient
        self.adapts = adapts
        self.likelihood = likelihood
        self.estimated = rule.estimated
        self.rates = kept(rule.learned(self._start(ways=1)))

    @classmethod
    def tags_with(cls, chosen: Any) -> Tags:
        return TIED if chosen.head == "tied" else cls.tags

    def adapt(self, support: Examples, *noise: Tensor) -> Adapted:
        return self.adapt_for(support, self.steps)

    def adapt_for(self, support: Examples, steps: int) -> Adapted:
        """The learner after `steps` steps; 0 is the initial one."""
        return body_and_head.adapt(
            self.net,
            self._start(support.y.shape[-1]),
            support,
            kind=self.likelihood,
            rule=self.rule,
            steps=steps,
            gradient=self.gradient,
            learned=given(self.rates),
            fixed=self._fixed(),
            by_class=self.tied,
        )

    def predict(self, learner: Adapted, x: Shaped[Tensor, "n *item"]) -> Categorical | Gaussian:
        return body_and_head.predict(self.net, learner, x, self.likelihood, fixed=self._fixed())

    def _start(self, ways: int) -> Params:
        """The weights that step, as they start; a tied head for so many ways."""
        net, head = weights_of(net=self.net), weights_of(head=self.head)
        if self.tied:
            head = {name: weight.repeat(ways, 1) for name, weight in head.items()}
        return {"all": net | head, "head": head, "body": net}[self.adapts]

    def _fixed(self) -> Params:
        """The weights that do not step, where the loss must be told of them."""
        return weights_of(head=self.head) if self.adapts == "body" else {}
