"""WarpGrad: learn what stands between the layers that adapt, without derivatives through the steps."""

from __future__ import annotations

import torch
from torch import nn

from quickstudy.core import tree
from quickstudy.core.episode import Episode, Examples
from quickstudy.core.learner import MetaLearner, Tags
from quickstudy.core.predictions import Categorical, Gaussian, Likelihood
from quickstudy.core.settings import Rate, Size
from quickstudy.core.shapes import Float, Shaped, Tensor
from quickstudy.inner import SGD, Gradient
from quickstudy.inner.rules import Params
from quickstudy.methods.gradient import body_and_head
from quickstudy.methods.gradient.body_and_head import Adapted, linear_head, query_loss
from quickstudy.methods.gradient.reptile import pull
from quickstudy.methods.gradient.tnet import TRANSFORM, transformed
from quickstudy.nets.net import weights_of, width_of

__all__ = ["WarpGrad", "Warped"]

WARP = "net.warp."


class Warped(nn.Module):
    """A body whose features go through a residual layer, which starts as nothing: x + V tanh(Ux)."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.features = width_of(body)
        self.body = body
        last = nn.Linear(self.features, self.features)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.warp = nn.Sequential(nn.Linear(self.features, self.features), nn.Tanh(), last)

    def forward(self, x: Shaped[Tensor, "n *item"]) -> Float[Tensor, "n d"]:
        features = self.body(x)
        out: Tensor = features + self.warp(features)
        return out


class WarpGrad(MetaLearner):
    """Learn warp layers that make descent efficient from wherever it passes (Flennerhag et al. 2020).

    Meta-learned: the initial weights, and warp layers that do not adapt: a linear map after each layer of the body (as
    in a T-net) and a residual, non-linear layer before the head.
    Adapts by: `steps` steps of body and head down the support's mean loss, through the warp layers.
    Scored by: the query's negative log-likelihood one step on from every point of the inner path, the points being
    constants: no derivative goes through more than one step, so paths may be long (equation 6; on the query, as in
    their appendix). The start is scored as in Reptile, ½‖θ - φ‖², of whose gradient the warp layers have no part.

    The paper keeps points of earlier paths in a buffer; here those of the path just taken are used, each once.

    Args:
        net: The body; the warp layers and a linear head are put on it.
        outputs: Ways, or the number of real values to predict.
        steps: Inner steps. Evaluation may ask for more.
        rate: Inner step size.
        likelihood: What the outputs mean: "categorical" logits or "gaussian" values.
    """

    tags = Tags(any_ways=False, relabels=False, regression=True)
    estimated = "points of the inner path are constants, and the start's score stands for Reptile's update"

    def __init__(
        self,
        net: nn.Module,
        outputs: int,
        *,
        steps: Size = 5,
        rate: Rate = 0.1,
        likelihood: Likelihood = "categorical",
    ) -> None:
        super().__init__()
        self.net = Warped(net)
        self.head = linear_head(self.net.features, outputs)
        self.steps = steps
        self.rule = SGD(rate=rate)
        self.likelihood = likelihood
        layers = {n.rpartition(".")[0]: leaf for n, leaf in weights_of(body=net).items() if leaf.ndim > 1}
        self.maps = body_and_head.kept(
            {f"{TRANSFORM}net.{layer}": torch.eye(len(leaf)) for layer, leaf in layers.items()}
        )

    def meta_loss(self, episode: Episode, *noise: Tensor) -> Float[Tensor, ""]:
        start, warps = self._parts()
        held = tree.map_leaves(torch.Tensor.detach, warps)
        points = [
            tree.map_leaves(torch.Tensor.detach, point)
            for point in self._path(start, held, episode.support, self.steps, "first-order")
        ]
        ahead = [self._path(point, warps, episode.support, 1, "exact")[-1] for point in points[:-1]]
        losses = [self._score(weights, warps, episode) for weights in ahead]
        return torch.stack(losses).mean() + pull(start, points[-1])

    def adapt(self, support: Examples, *noise: Tensor) -> Adapted:
        return self.adapt_for(support, self.steps)

    def adapt_for(self, support: Examples, steps: int) -> Adapted:
        """The learner after `steps` steps; 0 is the initial one."""
        start, warps = self._parts()
        weights = self._path(start, warps, support, steps, "first-order")[-1]
        return body_and_head.settled(self.net, weights, support, fixed=warps, compose=transformed)

    def predict(self, learner: Adapted, x: Shaped[Tensor, "n *item"]) -> Categorical | Gaussian:
        return self._say(learner, self._parts()[1], x)

    def _score(self, weights: Params, warps: Params, episode: Episode) -> Float[Tensor, ""]:
        learner = body_and_head.settled(self.net, weights, episode.support, fixed=warps, compose=transformed)
        return query_loss(self._say(learner, warps, episode.query.x), episode.query)

    def _say(self, learner: Adapted, warps: Params, x: Tensor) -> Categorical | Gaussian:
        return body_and_head.predict(self.net, learner, x, self.likelihood, fixed=warps, compose=transformed)

    def _path(self, start: Params, warps: Params, support: Examples, steps: int, gradient: Gradient) -> list[Params]:
        return body_and_head.path(
            self.net,
            start,
            support,
            kind=self.likelihood,
            rule=self.rule,
            steps=steps,
            gradient=gradient,
            fixed=warps,
            compose=transformed,
        )

    def _parts(self) -> tuple[Params, Params]:
        """The weights that adapt, as they start, and the warp layers."""
        whole = weights_of(net=self.net, head=self.head)
        warps = {name: leaf for name, leaf in whole.items() if name.startswith(WARP)}
        start = {name: leaf for name, leaf in whole.items() if name not in warps}
        return start, warps | body_and_head.given(self.maps)
