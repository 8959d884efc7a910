"""Neural processes with a latent code, plain and attentive."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import torch
from torch import nn

from quickstudy.core.apply import Statistics, apply
from quickstudy.core.episode import Episode, Examples
from quickstudy.core.learner import MetaLearner, Tags
from quickstudy.core.predictions import Categorical, Gaussian, Likelihood, Mixture
from quickstudy.core.settings import Fraction, Size
from quickstudy.core.shapes import Bool, Float, Shaped, Tensor
from quickstudy.methods.conditional import functions
from quickstudy.methods.conditional.encoders import Code, Decoder, LatentEncoder, Normal, make_path
from quickstudy.methods.conditional.functions import Scored
from quickstudy.nets.net import width_of

__all__ = ["NP", "Drawn"]


class Drawn(NamedTuple):
    """What a neural process learns of a task: codes drawn for each function, and what the decoder is told besides."""

    latent: Float[Tensor, "m c z"]
    code: Code
    present: Bool[Tensor, " k"]
    statistics: Statistics


class NP(MetaLearner):
    """Encode the support into a distribution of functions, by a latent code (Garnelo et al. 2018, "Neural processes").

    Meta-learned: the net, the latent encoder, the decoder, and the deterministic path where there is one.
    Adapts by: drawing `samples` codes from q(z | support), a normal whose mean and deviation the encoder says.
    Scored by: the bound -E log p(targets | z) + KL(q(z | support and query) ‖ q(z | support)), for a z from the former
    (equation 7), by the target; or by `loss="importance"`, the mean over codes of their weights.

    Predictions are mixtures, one member a code. With `path="attention"` it is the attentive neural process (Kim et al.
    2019): examples attend to each other, and places to examples. Layers are as many and as wide as in the code of the
    transformer neural processes (Nguyen and Grover 2022); that code's deterministic path is `path="mean"`. Each class
    is a function that is 1 at its examples, with a code of its own, drawn by the noise that all classes share.

    Args:
        net: What inputs are embedded by; "flatten" for places as they are.
        outputs: Ways, or the number of real values to predict.
        path: What the decoder is told of the support besides the code: nothing ("none"), its "mean" encoding, or by
            "attention" what the examples near a place say.
        latent: Numbers in a code.
        samples: Codes drawn by `adapt`: members of the prediction.
        training_samples: Codes that the loss is a mean over.
        loss: What training minimises: the paper's "bound", or the "importance"-weighted one of Burda et al. (2016).
        width: Of every layer.
        layers: Of the decoder.
        heads: Of the attentions.
        floor: The least standard deviation of a real value. It bounds the likelihood that can be reached.
        scored: Whether the loss is about real values of support and query, or of the query alone.
        likelihood: What is predicted: "categorical" classes or "gaussian" values.
    """

    tags = Tags(
        regression=True,
        vectors="flatten",
        exceptions={"learns (regression)": "200 steps of the check only teach it the average wave"},
    )

    def __init__(
        self,
        net: nn.Module,
        outputs: int,
        *,
        path: Literal["none", "mean", "attention"] = "none",
        latent: Size = 128,
        samples: Size = 16,
        training_samples: Size = 1,
        loss: Literal["bound", "importance"] = "bound",
        width: Size = 128,
        layers: Size = 3,
        heads: Size = 8,
        floor: Fraction = 0.1,
        scored: Scored = "all",
        likelihood: Likelihood = "categorical",
    ) -> None:
        super().__init__()
        features, values = width_of(net), functions.values_of(likelihood, outputs)
        attends = heads if path == "attention" else 0
        self.net = net
        own = likelihood == "categorical"
        self.path = make_path(path, features, values, width, heads, own=own)
        self.encoder = LatentEncoder(features, values, width, latent, attends, own=own)
        told = latent + self.path.width
        self.decoder = Decoder(features, told, width, layers, functions.numbers_said(likelihood, outputs))
        self.latent, self.samples, self.training_samples = latent, samples, training_samples
        self.loss, self.floor, self.scored, self.likelihood = loss, floor, scored, likelihood
        self.noise_size = latent * max(samples, training_samples)
        self.training_noise_size = latent * training_samples

    def meta_loss(self, episode: Episode, *noise: Tensor) -> Float[Tensor, ""]:
        targets = functions.scored(episode, self.likelihood, self.scored)
        x, statistics = self._embedded(episode.support)
        support = x, functions.as_functions(episode.support, self.likelihood, x.dtype), episode.support.mask
        everything = functions.joined(episode)
        x, _ = self._embedded(everything, statistics)
        prior = self.encoder(*support)
        posterior = self.encoder(x, functions.as_functions(everything, self.likelihood, x.dtype), everything.mask)
        z = _drawn(posterior, self._noise(x, noise)[: self.training_samples])
        present = functions.known(episode.support, self.likelihood)
        learner = Drawn(z, self.path.encode(*support), present, statistics)
        log_p = -_nll_of_each(self._said(learner, targets.x), targets)
        count = targets.mask.sum().clamp(min=1)
        if self.loss == "importance":
            weight = log_p + _log_density(prior, z) - _log_density(posterior, z)
            return (math.log(len(z)) - weight.logsumexp(0)) / count
        return (_divergence(posterior, prior) - log_p.mean()) / count

    def adapt(self, support: Examples, *noise: Tensor) -> Drawn:
        x, statistics = self._embedded(support)
        y = functions.as_functions(support, self.likelihood, x.dtype)
        z = _drawn(self.encoder(x, y, support.mask), self._noise(x, noise)[: self.samples])
        code = self.path.encode(x, y, support.mask)
        return Drawn(z, code, functions.known(support, self.likelihood), statistics)

    def predict(self, learner: Drawn, x: Shaped[Tensor, "n *item"]) -> Mixture:
        return Mixture(self._said(learner, x), learner.latent.new_zeros(len(learner.latent)))

    def _said(self, learner: Drawn, x: Shaped[Tensor, "n *item"]) -> Categorical | Gaussian:
        """What each code has the decoder say, with a leading axis of codes."""
        features, _ = apply(self.net, None, x, statistics=learner.statistics)
        read = self.path.read(learner.code, features)
        members, queries = len(learner.latent), len(features)
        told = [
            learner.latent[:, :, None].expand(-1, -1, queries, -1),
            read.expand(members, *read.shape),
        ]
        numbers = self.decoder(features, torch.cat(told, dim=-1))
        return functions.said(numbers, self.likelihood, learner.present, self.floor)

    def _embedded(
        self, examples: Examples, statistics: Statistics | None = None
    ) -> tuple[Float[Tensor, "n d"], Statistics]:
        x, found = apply(self.net, None, examples.x, mask=examples.mask, statistics=statistics)
        return torch.where(examples.mask[:, None], x, 0.0), found

    def _noise(self, like: Tensor, noise: tuple[Tensor, ...]) -> Float[Tensor, "m z"]:
        """One row a code; zeros, for the mean, where none is given."""
        drawn = noise[0] if noise else like.new_zeros(self.noise_size)
        return drawn.view(-1, self.latent)


def _drawn(code: Normal, noise: Float[Tensor, "m z"]) -> Float[Tensor, "m c z"]:
    return code.mean + code.std * noise[:, None]


def _nll_of_each(prediction: Categorical | Gaussian, targets: Examples) -> Float[Tensor, " m"]:
    """The negative log-likelihood of all targets together, by each member of a prediction."""
    nll = torch.func.vmap(lambda part: part.nll(targets.y))(prediction)
    return torch.where(targets.mask, nll, 0.0).sum(-1)


def _log_density(code: Normal, z: Float[Tensor, "m c z"]) -> Float[Tensor, " m"]:
    """Of each code, all functions together."""
    each = -0.5 * ((z - code.mean) / code.std).square() - code.std.log() - 0.5 * math.log(2 * math.pi)
    return each.flatten(1).sum(-1)


def _divergence(of: Normal, from_: Normal) -> Float[Tensor, ""]:
    """The Kullback-Leibler divergence of one code's distribution from another's, all functions together."""
    ratio = (of.std / from_.std).square()
    apart = ((of.mean - from_.mean) / from_.std).square()
    return 0.5 * (ratio + apart - 1 - ratio.log()).sum()
