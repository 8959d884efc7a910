"""Deep kernel transfer."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import nn

from quickstudy.core.apply import Statistics, apply
from quickstudy.core.episode import Episode, Examples
from quickstudy.core.learner import MetaLearner, Tags
from quickstudy.core.precision import in_own_precision
from quickstudy.core.predictions import Categorical, Gaussian, Likelihood
from quickstudy.core.settings import Rate, Size
from quickstudy.core.shapes import Bool, Float, Shaped, Tensor
from quickstudy.methods.bayesian import gp
from quickstudy.methods.bayesian.gp import Fit
from quickstudy.methods.bayesian.kernels import Kernel, make_kernel
from quickstudy.nets.net import width_of
from quickstudy.nets.norm import make_norm

__all__ = ["DKT", "Process"]

LEAST_NOISE = 1e-4
"""Variance below which the noise is not learned: covariances would no longer be factorised safely in float32."""


class Process(NamedTuple):
    """What deep kernel transfer learns of a task: a Gaussian process that has seen the support."""

    features: Float[Tensor, "n d"]
    fit: Fit
    present: Bool[Tensor, " k"]
    statistics: Statistics
    last: Statistics
    """Of the normalisation under the cosine."""


class DKT(MetaLearner):
    """A Gaussian process on learned features: adapt by conditioning it (Patacchiola et al. 2020, "DKT").

    Meta-learned: the net, and the kernel's numbers: scales, lengths, frequencies, the noise, and of values the mean.
    Adapts by: the posterior of an exact Gaussian process that has seen the support; nothing is stepped (equation 5).
    Scored by: the negative logarithm of the marginal likelihood of support and query together, by the number of
    examples (equation 4): no task parameters are left that the support could be fitted by.

    Classes are told apart by regressing, for each of them, +1 at its examples and -1 at all others (section 3.2). One
    covariance serves them all, so any number of classes will do; the paper learns one for each place. The probability
    of a class is by Bayes' rule that of the labels (+1 for it, -1 for the others) under the process's own predictive
    density, where the paper takes the sigmoid of each mean: the most likely class is the same.

    Args:
        net: The features.
        outputs: Ways, or the number of real values to predict.
        kernel: The covariance. "cosine" is the paper's BNCosSim: its features are normalised by the support first,
            except for real values, which would no longer know where they are. "spectral" and "rbf" suit real values.
        mixtures: Components of the "spectral" kernel.
        noise: Where the variance of the learned noise starts.
        likelihood: What is predicted: "categorical" classes or "gaussian" values.
    """

    tags = Tags(regression=True)

    def __init__(
        self,
        net: nn.Module,
        outputs: int,
        *,
        kernel: Kernel = "cosine",
        mixtures: Size = 4,
        noise: Rate = 0.1,
        likelihood: Likelihood = "categorical",
    ) -> None:
        super().__init__()
        width = width_of(net)
        self.net = net
        centred = kernel == "cosine" and likelihood == "categorical"
        self.norm = make_norm("support" if centred else "none", width)
        self.covariance = make_kernel(kernel, width, mixtures)
        self.log_noise = nn.Parameter(torch.tensor(math.log(noise)))
        self.mean: Tensor
        if likelihood == "gaussian":
            self.mean = nn.Parameter(torch.zeros(outputs))
        self.likelihood = likelihood

    def meta_loss(self, episode: Episode, *noise: Tensor) -> Float[Tensor, ""]:
        support, query = episode
        z, statistics, last = self._features(support.x, mask=support.mask)
        at_query = self._features(query.x, mask=query.mask, statistics=(statistics, last))[0]
        examples = Examples(*(torch.cat(both) for both in zip(support, query, strict=True)))
        fitted = self._fit(torch.cat([z, at_query]), examples)
        return -gp.log_marginal(fitted).sum() / examples.mask.sum().clamp(min=1)

    def adapt(self, support: Examples, *noise: Tensor) -> Process:
        z, statistics, last = self._features(support.x, mask=support.mask)
        y = (support.y != 0) & support.mask[:, None]
        present = y.any(0) if self.likelihood == "categorical" else y.new_ones(y.shape[1])
        return Process(z, self._fit(z, support), present, statistics, last)

    def predict(self, learner: Process, x: Shaped[Tensor, "n *item"]) -> Categorical | Gaussian:
        z, *_ = self._features(x, statistics=(learner.statistics, learner.last))
        with in_own_precision(z):
            cross, prior = self.covariance(z, learner.features), self.covariance.variance(z)
        residual, variance = gp.posterior(learner.fit, cross, prior)
        mean = residual + self._prior_mean(len(learner.present))
        spread = (variance + self._noise())[:, None]
        if self.likelihood == "gaussian":
            return Gaussian(mean, spread.sqrt().expand_as(mean))
        # log N(1; m, v) - log N(-1; m, v) of each class; what they have in common drops out.
        return Categorical.among(learner.present, 2 * mean / spread)

    def _fit(self, z: Float[Tensor, "n d"], examples: Examples) -> Fit:
        y = examples.y.to(z.dtype)
        values = y if self.likelihood == "gaussian" else 2 * y - 1
        with in_own_precision(z):
            covariance = self.covariance(z, z)
        return gp.fit(covariance, values - self._prior_mean(values.shape[1]), self._noise(), examples.mask)

    def _prior_mean(self, functions: int) -> Tensor:
        """Of real values, as learned; of classes, the mean of their labels where all are equally likely."""
        return self.mean if self.likelihood == "gaussian" else self.log_noise.new_full((functions,), 2 / functions - 1)

    def _noise(self) -> Float[Tensor, ""]:
        return LEAST_NOISE + self.log_noise.exp()

    def _features(
        self, x: Tensor, mask: Tensor | None = None, statistics: tuple[Statistics, Statistics] | None = None
    ) -> tuple[Float[Tensor, "n d"], Statistics, Statistics]:
        """Features, with the statistics of the net and of the last normalisation."""
        first, second = statistics or (None, None)
        z, found = apply(self.net, None, x, mask=mask, statistics=first)
        z, last = apply(self.norm, None, z, mask=mask, statistics=second)
        return (z if mask is None else torch.where(mask[:, None], z, 0.0)), found, last
