"""T-nets and MT-nets: learn the space in which inner steps are taken."""

from __future__ import annotations

import torch
from torch import nn

from quickstudy.core.episode import Examples
from quickstudy.core.learner import QueryScored, Tags
from quickstudy.core.predictions import Categorical, Gaussian, Likelihood
from quickstudy.core.settings import Count, Rate
from quickstudy.core.shapes import Float, Shaped, Tensor
from quickstudy.inner import Gradient, LearnedRates
from quickstudy.inner.rules import Params
from quickstudy.methods.gradient import body_and_head
from quickstudy.methods.gradient.body_and_head import Adapted, given, kept, linear_head
from quickstudy.nets.net import weights_of, width_of

__all__ = ["TNet", "transformed"]

TRANSFORM = "transform."


class TNet(QueryScored):
    """MAML in which every layer is followed by a learned linear map that does not adapt (Lee and Choi 2018, "T-net").

    Meta-learned: the initial weights W, the maps T (identities at first), and for an MT-net which rows of W adapt.
    Adapts by: `steps` steps on W alone, where each layer computes T(Wx + b) (equations 4 and 5).
    Scored by: the query's negative log-likelihood after the last step.

    For the layer as a whole, TW, a step on W is one whose slope was multiplied by TTᵀ: T is a learned metric. With
    masked=True it is an MT-net: each unit's row of W steps or does not, drawn for each task with learned odds (equation
    7). The draw is a Gumbel-softmax, straight through: its gradient is an estimate. Without noise, a row steps where
    that is at least as likely as not: at first all do.

    Args:
        net: The body; a linear head is put on its features.
        outputs: Ways, or the number of real values to predict.
        steps: Inner steps. Evaluation may ask for more.
        rate: Inner step size; the paper finds that it matters little.
        masked: Whether rows of weights are masked, as in an MT-net.
        temperature: Of the masks' Gumbel-softmax.
        gradient: How the adapted weights depend on the initial ones.
        likelihood: What the outputs mean: "categorical" logits or "gaussian" values.
    """

    tags = Tags(any_ways=False, relabels=False, regression=True)

    def __init__(
        self,
        net: nn.Module,
        outputs: int,
        *,
        steps: Count = 1,
        rate: Rate = 0.1,
        masked: bool = False,
        temperature: Rate = 1.0,
        gradient: Gradient = "exact",
        likelihood: Likelihood = "categorical",
    ) -> None:
        super().__init__()
        self.net = net
        self.head = linear_head(width_of(net), outputs)
        self.steps = steps
        self.rate = rate
        self.temperature = temperature
        self.gradient = gradient
        self.likelihood = likelihood
        start = weights_of(net=net, head=self.head)
        matrices = {name: leaf for name, leaf in start.items() if leaf.ndim > 1}
        self.transforms = kept({f"{TRANSFORM}{_layer(n)}": torch.eye(len(leaf)) for n, leaf in matrices.items()})
        units = {_layer(name): torch.zeros(len(leaf)) for name, leaf in start.items()}
        self.odds = kept(units if masked else {})
        if masked:
            self.noise_size = sum(len(odds) for odds in self.odds.values())
            self.estimated = "masks are drawn straight through: their gradient is an estimate"

    def adapt(self, support: Examples, *noise: Tensor) -> Adapted:
        return self.adapt_for(support, self.steps, *noise)

    def adapt_for(self, support: Examples, steps: int, *noise: Tensor) -> Adapted:
        """The learner after `steps` steps; 0 is the initial one."""
        start = weights_of(net=self.net, head=self.head)
        return body_and_head.adapt(
            self.net,
            start,
            support,
            kind=self.likelihood,
            rule=LearnedRates(rate=self.rate),
            steps=steps,
            gradient=self.gradient,
            learned=self._rates(start, *noise),
            fixed=given(self.transforms),
            compose=transformed,
        )

    def predict(self, learner: Adapted, x: Shaped[Tensor, "n *item"]) -> Categorical | Gaussian:
        return body_and_head.predict(
            self.net, learner, x, self.likelihood, fixed=given(self.transforms), compose=transformed
        )

    def _rates(self, start: Params, *noise: Tensor) -> Params:
        """The step size of each row: `rate`, or nothing where it is masked."""
        masks = self._masks(*noise)
        return {
            name: self.rate * (masks[_layer(name)].view(-1, *(1,) * (leaf.ndim - 1)) if masks else leaf.new_ones(()))
            for name, leaf in start.items()
        }

    def _masks(self, *noise: Tensor) -> Params:
        odds = given(self.odds)
        if not odds:
            return {}
        said = torch.cat(list(odds.values()))
        if noise:  # a logistic number of each normal one
            said = said + torch.logit(torch.special.ndtr(noise[0]), eps=1e-6)
        soft = torch.sigmoid(said / self.temperature)
        hard = (said >= 0).to(soft.dtype)
        masks: Float[Tensor, " units"] = hard + soft - soft.detach()
        return dict(zip(odds, torch.split(masks, [len(each) for each in odds.values()]), strict=True))


def transformed(weights: Params) -> Params:
    """Weights with the maps that follow them multiplied in: T(Wx + b) is (TW)x + Tb."""
    whole = {name: leaf for name, leaf in weights.items() if not name.startswith(TRANSFORM)}
    for name, matrix in weights.items():
        layer = name.removeprefix(TRANSFORM)
        if layer == name:
            continue
        weight = whole[f"{layer}.weight"]
        whole[f"{layer}.weight"] = (matrix @ weight.flatten(1)).view_as(weight)
        if f"{layer}.bias" in whole:
            whole[f"{layer}.bias"] = matrix @ whole[f"{layer}.bias"]
    return whole


def _layer(name: str) -> str:
    return name.rpartition(".")[0]
