"""MAML++: MAML trained steadily."""

from __future__ import annotations

from typing import Literal

import torch
from torch import nn

from quickstudy.core.episode import Episode, Examples
from quickstudy.core.learner import MetaLearner, Tags
from quickstudy.core.predictions import Categorical, Gaussian, Likelihood
from quickstudy.core.settings import Fraction, Rate, Size
from quickstudy.core.shapes import Float, Shaped, Tensor
from quickstudy.inner import Gradient, LearnedRates
from quickstudy.inner.rules import Params
from quickstudy.methods.gradient import body_and_head
from quickstudy.methods.gradient.body_and_head import Adapted, given, kept, linear_head, query_loss
from quickstudy.nets.net import weights_of, width_of

__all__ = ["MAMLPlusPlus"]


class MAMLPlusPlus(MetaLearner):
    """MAML with a loss after every step and rates for every layer and step (Antoniou et al. 2019, "MAML++").

    Meta-learned: the initial weights, the normalising layers' scales and shifts before the first step and after each
    (BNWB), and a step size for each weight tensor and step (LSLR).
    Adapts by: `steps` steps of all other weights down the support's mean loss.
    Scored by: the query's negative log-likelihood after every step, weighed (equation 4): all steps alike at first;
    the share of those before the last falls to `early` within the first `annealed` part of the training.

    Normalisation statistics are those of the support at each step's weights, so every step has its own. So have scales
    and shifts: one for all would have to suit the features of the first weights as well as those of the last (the
    paper's "shared batch normalization bias"). Those before the first step are the net's own. In the authors' code a
    step's inner loss shares them with the query's loss after it; here they go with the weights, so that the query's
    loss after a step and the next inner loss are of one net. The outer cosine is schedule=cosine.

    The paper learns the step sizes themselves. An outer step of Adam moves each of them by about the outer rate, which
    for sines, where they start at 0.01, is a tenth of them and more: at an outer rate of 0.004 the 48th step had a loss
    beyond 1e28, and from another start rates were between -0.37 and 0.38 after 700. So their logarithms are learned.

    Args:
        net: The body; a linear head is put on its features.
        outputs: Ways, or the number of real values to predict.
        steps: Inner steps. Evaluation may ask for more, which take the last step's rates, scales and shifts.
        rate: Where the learned step sizes start.
        space: Whether the step sizes are learned as such ("linear", the paper's) or by their logarithms ("log").
        early: How much of the loss falls to the steps before the last in the end: 0.03·(T - 1)/T in the paper.
        annealed: In which part of the training it falls to that: 0.1 in the paper for Omniglot, 0.15 for Mini-ImageNet.
        first_order: For which part of the training, from its start, slopes are constants (section 4, "derivative-order
            annealing"); the authors' own settings have none.
        gradient: How the adapted weights depend on the initial ones.
        likelihood: What the outputs mean: "categorical" logits or "gaussian" values.
    """

    tags = Tags(any_ways=False, relabels=False, regression=True)

    def __init__(
        self,
        net: nn.Module,
        outputs: int,
        *,
        steps: Size = 5,
        rate: Rate = 0.1,
        space: Literal["linear", "log"] = "log",
        early: Fraction = 0.024,
        annealed: Fraction = 0.1,
        first_order: Fraction = 0.0,
        gradient: Gradient = "exact",
        likelihood: Likelihood = "categorical",
    ) -> None:
        super().__init__()
        self.net = net
        self.head = linear_head(width_of(net), outputs)
        self.steps = steps
        self.early = early
        self.annealed = annealed
        self.first_order = first_order
        self.gradient = gradient
        self.stage = gradient
        self.register_buffer("early_now", torch.tensor(float(early)), persistent=False)
        self.likelihood = likelihood
        self.rule = LearnedRates(rate=rate, per="tensor", steps=steps, space=space)
        start, before = self._divided()
        self.rates = kept(self.rule.learned(start))
        self.norms = kept({name: leaf.detach().repeat(steps, 1) for name, leaf in before.items()})

    early_now: Tensor
    stage: Gradient

    def reach(self, done: float) -> None:
        """Let the weights of steps be those of this moment of the training, and the gradient too."""
        even, left = 1 - 1 / self.steps, max(0.0, 1 - done / self.annealed) if self.annealed else 0.0
        self.early_now.fill_(self.early + (even - self.early) * left)
        self.stage = "first-order" if done < self.first_order else self.gradient

    def meta_loss(self, episode: Episode, *noise: Tensor) -> Float[Tensor, ""]:
        losses = [self._score(weights, episode) for weights in self._path(episode.support, self.steps)[1:]]
        early, last = torch.stack(losses[:-1] or losses), losses[-1]
        return self.early_now * early.mean() + (1 - self.early_now) * last

    def adapt(self, support: Examples, *noise: Tensor) -> Adapted:
        return self.adapt_for(support, self.steps)

    def adapt_for(self, support: Examples, steps: int) -> Adapted:
        """The learner after `steps` steps; 0 is the initial one."""
        return body_and_head.settled(self.net, self._path(support, steps)[-1], support)

    def predict(self, learner: Adapted, x: Shaped[Tensor, "n *item"]) -> Categorical | Gaussian:
        return body_and_head.predict(self.net, learner, x, self.likelihood)

    def start_from(self, trained: MetaLearner) -> None:
        super().start_from(trained)
        with torch.no_grad():
            for name, leaf in self._divided()[1].items():
                self.norms[name.replace(".", "/")].copy_(leaf.expand(self.steps, -1))

    def _score(self, weights: Params, episode: Episode) -> Float[Tensor, ""]:
        learner = body_and_head.settled(self.net, weights, episode.support)
        return query_loss(self.predict(learner, episode.query.x), episode.query)

    def _path(self, support: Examples, steps: int) -> list[Params]:
        """All weights before, between and after `steps` steps: those that step, and those of normalising layers."""
        start, before = self._divided()
        after = {name: leaf.unbind() for name, leaf in given(self.norms).items()}
        norms = [before, *({name: each[at] for name, each in after.items()} for at in range(self.steps))]
        path = body_and_head.path(
            self.net,
            start,
            support,
            kind=self.likelihood,
            rule=self.rule,
            steps=steps,
            gradient=self.stage,
            learned=given(self.rates),
            fixed=norms,
        )
        return [weights | norms[min(number, self.steps)] for number, weights in enumerate(path)]

    def _divided(self) -> tuple[Params, Params]:
        """The weights that step, as they start, and those that do not: of normalising layers, which are vectors."""
        whole = weights_of(net=self.net, head=self.head)
        normalising = {name.rpartition(".")[0] for name, leaf in whole.items() if _scales(name, leaf)}
        fixed = {name: leaf for name, leaf in whole.items() if name.rpartition(".")[0] in normalising}
        return {name: leaf for name, leaf in whole.items() if name not in fixed}, fixed


def _scales(name: str, leaf: Tensor) -> bool:
    return name.endswith(".weight") and leaf.ndim == 1
