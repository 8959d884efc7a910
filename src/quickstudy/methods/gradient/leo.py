"""LEO: adapt in a small latent space from which the head is generated."""

from __future__ import annotations

import math
from typing import Annotated, NamedTuple

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import nn

from quickstudy.core.apply import apply
from quickstudy.core.episode import Episode, Examples, masked_mean
from quickstudy.core.learner import MetaLearner, Tags
from quickstudy.core.predictions import Categorical, Gaussian, Likelihood, likelihood
from quickstudy.core.settings import Count, Rate, Size
from quickstudy.core.shapes import Float, Shaped, Tensor
from quickstudy.inner import Gradient, LearnedRates, descend
from quickstudy.inner.rules import Params
from quickstudy.methods.gradient import body_and_head
from quickstudy.methods.gradient.body_and_head import Adapted, query_loss
from quickstudy.nets.net import width_of

__all__ = ["LEO"]

Weight = Annotated[float, Field(ge=0)]


class Code(NamedTuple):
    """Where each class's latent code is drawn from."""

    mean: Float[Tensor, "k h"]
    std: Float[Tensor, "k h"]


class Solved(NamedTuple):
    """A task's learner, and what the meta-loss asks about the way to it."""

    learner: Adapted
    code: Code
    before: Float[Tensor, "k h"]
    after: Float[Tensor, "k h"]


class LEO(MetaLearner):
    """Encode the support into a latent code, step on the code, and decode a head from it (Rusu et al. 2019).

    Meta-learned: the net, encoder, relation net and decoder, and the step sizes.
    Adapts by: a code for each class, drawn around what the relation net makes of all pairs of support examples
    (equation 4); `steps` steps on it down the support's mean loss, through the decoder (equations 5 and 6); then
    `tune_steps` on the decoded head itself (section 2.4).
    Scored by: the query's negative log-likelihood, + `divergence` · KL of the code from a standard normal, +
    `encoder` · ‖stop-gradient(adapted code) - code‖², + `orthogonality` of the decoder (equations 10 and 11; weight
    decay is the optimiser's).

    The paper's net is frozen, trained beforehand; here it is learned along. Its dropout is left out. For real values
    there is one code, and the encoder reads the targets too. Without noise, codes and heads are the means of what they
    would be drawn from.

    Args:
        net: The features; only the head adapts.
        outputs: Ways, or the number of real values to predict.
        latent: Numbers in a class's code.
        steps: Steps on the code.
        tune_steps: Steps on the decoded head.
        rate: Where the learned step size of codes starts. The paper's 1 suits classes; real values then diverge.
        tune_rate: Where that of the head starts.
        divergence: Weight of the codes' divergence from a standard normal.
        encoder: Weight of the distance that codes move.
        orthogonality: Weight of the decoder's columns being alike.
        gradient: How the adapted code depends on the initial one.
        likelihood: What the outputs mean: "categorical" logits or "gaussian" values.
    """

    tags = Tags(
        any_ways=False,
        relabels=False,
        regression=True,
        exceptions={"learns (regression)": "200 steps at the check's rate only teach it the average wave"},
    )

    def __init__(
        self,
        net: nn.Module,
        outputs: int,
        *,
        latent: Size = 64,
        steps: Count = 5,
        tune_steps: Count = 5,
        rate: Rate = 0.1,
        tune_rate: Rate = 0.01,
        divergence: Weight = 0.001,
        encoder: Weight = 1e-6,
        orthogonality: Weight = 0.1,
        gradient: Gradient = "exact",
        likelihood: Likelihood = "categorical",
    ) -> None:
        super().__init__()
        width = width_of(net)
        self.codes, self.rows = (outputs, 1) if likelihood == "categorical" else (1, outputs)
        self.net = net
        self.encode = nn.Linear(width if likelihood == "categorical" else width + outputs, latent, bias=False)
        self.relate = nn.Sequential(
            nn.Linear(2 * latent, 2 * latent), nn.ReLU(), nn.Linear(2 * latent, 2 * latent), nn.ReLU()
        )
        self.describe = nn.Linear(2 * latent, 2 * latent)
        self.decode = nn.Linear(latent, 2 * self.rows * (width + 1), bias=False)
        self.rates = body_and_head.kept({"code": torch.tensor(rate), "head": torch.tensor(tune_rate)})
        self.steps, self.tune_steps = steps, tune_steps
        self.divergence, self.encoder, self.orthogonality = divergence, encoder, orthogonality
        self.gradient = gradient
        self.estimated = "the adapted code counts as a constant in the distance that codes move" if encoder else ""
        self.likelihood = likelihood
        self.latent = latent
        self.width = width
        self.noise_size = self.codes * (latent + self.rows * (width + 1))

    def meta_loss(self, episode: Episode, *noise: Tensor) -> Float[Tensor, ""]:
        solved = self._solve(episode.support, *noise)
        mean, std = solved.code
        divergence = (0.5 * (mean.square() + std.square() - 1) - std.log()).sum(-1).mean()
        moved = (solved.after.detach() - solved.before).square().sum()
        return (
            query_loss(self.predict(solved.learner, episode.query.x), episode.query)
            + self.divergence * divergence
            + self.encoder * moved
            + self.orthogonality * _alike(self.decode.weight)
        )

    def adapt(self, support: Examples, *noise: Tensor) -> Adapted:
        return self._solve(support, *noise).learner

    def predict(self, learner: Adapted, x: Shaped[Tensor, "n *item"]) -> Categorical | Gaussian:
        return body_and_head.predict(self.net, learner, x, self.likelihood)

    def _solve(self, support: Examples, *noise: Tensor) -> Solved:
        features, statistics = apply(self.net, None, support.x, mask=support.mask)
        code = self._code(features, support)
        drawn = noise[0] if noise else features.new_zeros(self.noise_size)
        for_code, for_head = torch.split(drawn, [self.codes * self.latent, self.noise_size - self.codes * self.latent])
        before = code.mean + code.std * for_code.view(self.codes, -1)

        def code_loss(params: Params, weight: Tensor, noise: Tensor, features: Tensor, support: Examples) -> Tensor:
            return self._head_loss(self._decoded(params["code"], weight, noise), features, support)

        data = (self.decode.weight, for_head.view(self.codes, -1), features, support)
        rate = body_and_head.given(self.rates)
        after = descend(
            code_loss,
            {"code": before},
            data,
            rule=LearnedRates(),
            steps=self.steps,
            gradient=self.gradient,
            learned={"code": rate["code"]},
        )["code"]
        head = self._decoded(after, *data[:2])
        head = descend(
            self._head_loss,
            head,
            (features, support),
            rule=LearnedRates(),
            steps=self.tune_steps,
            gradient=self.gradient,
            learned=dict.fromkeys(head, rate["head"]),
        )
        return Solved(Adapted(head, statistics), code, before, after)

    def _code(self, features: Float[Tensor, "n d"], support: Examples) -> Code:
        """Means and deviations of each class's code: pairs of an example of the class with every example, averaged."""
        counted = support.mask.to(features.dtype)
        y = support.y.to(features.dtype)
        read = features if self.likelihood == "categorical" else torch.cat([features, y], 1)
        member = y * counted[:, None] if self.likelihood == "categorical" else counted[:, None]
        codes = self.encode(torch.where(support.mask[:, None], read, 0.0))
        n = len(codes)
        pairs = torch.cat([codes[:, None].expand(n, n, -1), codes[None].expand(n, n, -1)], -1)
        of_each = (self.relate(pairs) * counted[None, :, None]).sum(1) / counted.sum().clamp(min=1)
        of_class = member.T @ of_each / member.sum(0).clamp(min=1)[:, None]
        mean, said = self.describe(of_class).chunk(2, dim=-1)
        return Code(mean, self._deviation(said))

    def _decoded(self, code: Tensor, weight: Tensor, noise: Tensor) -> Params:
        """The head that a code stands for: rows of weights, each with its bias."""
        mean, said = F.linear(code, weight).chunk(2, dim=-1)
        rows = (mean + self._deviation(said) * noise).view(-1, self.width + 1)
        return {"head.weight": rows[:, :-1], "head.bias": rows[:, -1]}

    def _deviation(self, said: Tensor) -> Tensor:
        """A standard deviation of what a net says: √(2 / (latent + width)), as in the authors' code, where it says 0.

        It stays within a factor of e² of that: steps on a code that may ask for any deviation can run away.
        """
        return math.sqrt(2 / (self.latent + self.width)) * torch.exp(2 * torch.tanh(said / 2))

    def _head_loss(self, head: Params, features: Tensor, support: Examples) -> Float[Tensor, ""]:
        said = likelihood(self.likelihood, F.linear(features, head["head.weight"], head["head.bias"]))
        return masked_mean(said.nll(support.y), support.mask)


def _alike(weight: Float[Tensor, "m h"]) -> Float[Tensor, ""]:
    """How far the columns of a decoder are from being orthogonal: the mean square of their correlations."""
    columns = F.normalize(weight, dim=0)
    correlation = columns.T @ columns
    return (correlation - torch.eye(len(correlation), dtype=weight.dtype, device=weight.device)).square().mean()
