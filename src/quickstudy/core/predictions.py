"""What a learner says of its queries: small distributions that know how to be scored.

Every prediction has `nll(y)` and `score(y)`, one figure per example, and `mean`; so classification, regression and
Bayesian methods share every other line of the library. They are NamedTuples: they stack and map as they are.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import NormalDist
from typing import Literal, NamedTuple, Protocol, runtime_checkable

import torch

from quickstudy.core.precision import at_least_single
from quickstudy.core.shapes import Bool, Float, Shaped, Tensor
from quickstudy.errors import MethodError

__all__ = [
    "Categorical",
    "Gaussian",
    "Likelihood",
    "Metric",
    "Mixture",
    "Ordered",
    "Prediction",
    "Tempered",
    "at_temperature",
    "bisected",
    "likelihood",
]


Likelihood = Literal["categorical", "gaussian"]
"""What a net's plain output means: logits of classes, or real values."""

Metric = Literal["accuracy", "mse"]

BISECTIONS = 40
"""Halvings by which a mixture's quantile is found: to rounding in float32."""


@runtime_checkable
class Prediction(Protocol):
    """The interface of a predictive distribution over the targets of `n` examples."""

    @property
    def metric(self) -> Metric:
        """What `score` measures: "accuracy" (higher is better) or "mse" (lower is better)."""

    @property
    def mean(self) -> Tensor:
        """The expected target: class probabilities [n, k], or values [n, *out]."""

    def nll(self, y: Tensor) -> Tensor:
        """The negative log-likelihood of the targets `y`, in nats, one an example [n]."""

    def score(self, y: Tensor) -> Tensor:
        """Accuracy (0 or 1) or squared error, one an example [n]."""


@runtime_checkable
class Ordered(Protocol):
    """A prediction of real values that also says how likely lesser ones are: it has central intervals."""

    def cdf(self, y: Tensor) -> Tensor:
        """The probability of each target below `y`, [n, *out]."""

    def quantile(self, p: float) -> Tensor:
        """The value below which each target lies with probability `p` (above 0, below 1), [n, *out]."""


@runtime_checkable
class Tempered(Protocol):
    """A prediction that one number can make less sure, or surer, without another best guess."""

    def tempered(self, temperature: float) -> Prediction:
        """Less sure where `temperature` is above 1: logits are divided by it, deviations multiplied."""


def at_temperature(said: Prediction, temperature: float) -> Prediction:
    """A prediction made less sure, where `temperature` is above 1, or surer; itself at 1, or if it has none."""
    # By the name of what it takes: to ask a protocol whether it is one of its own takes longer than the division.
    tempered = getattr(said, "tempered", None)
    return said if temperature == 1 or tempered is None else tempered(temperature)


class Categorical(NamedTuple):
    """Class probabilities, given by unnormalised log-probabilities.

    >>> from quickstudy import Categorical
    >>> Categorical(torch.tensor([[2.0, 0.0]])).score(torch.tensor([[True, False]]))
    tensor([1.])
    """

    logits: Float[Tensor, "n k"]

    @classmethod
    def among(cls, present: Bool[Tensor, " k"], logits: Float[Tensor, "*m n k"]) -> Categorical:
        """The classes that a support has examples of: a class without any is never predicted."""
        return cls(torch.where(present, logits, -torch.inf))

    @property
    def metric(self) -> Metric:
        return "accuracy"

    @property
    def mean(self) -> Float[Tensor, "n k"]:
        return at_least_single(self.logits).softmax(-1)

    def nll(self, y: Shaped[Tensor, "n k"]) -> Float[Tensor, " n"]:
        # `where` keeps 0 · (-inf) of a ruled-out class from becoming NaN.
        log_p = at_least_single(self.logits).log_softmax(-1)
        return -torch.where(y == 0, 0.0, y.to(log_p.dtype) * log_p).sum(-1)

    def score(self, y: Shaped[Tensor, "n k"]) -> Float[Tensor, " n"]:
        right = self.logits.argmax(-1) == y.to(self.logits.dtype).argmax(-1)
        return right.to(self.logits.dtype)

    def tempered(self, temperature: float) -> Categorical:
        return Categorical(self.logits / temperature)


class Gaussian(NamedTuple):
    """Independent normal targets. With the standard deviation √½ the nll is squared error plus a constant.

    >>> from quickstudy import Gaussian
    >>> Gaussian(torch.tensor([[1.0]]), torch.tensor([[1.0]])).score(torch.tensor([[3.0]]))
    tensor([4.])
    """

    mean: Float[Tensor, "n *out"]
    std: Float[Tensor, "n *out"]

    @property
    def metric(self) -> Metric:
        return "mse"

    def nll(self, y: Float[Tensor, "n *out"]) -> Float[Tensor, " n"]:
        z = (y - self.mean) / self.std
        each = 0.5 * z * z + self.std.log() + 0.5 * math.log(2 * math.pi)
        return each.flatten(1).sum(-1)

    def score(self, y: Float[Tensor, "n *out"]) -> Float[Tensor, " n"]:
        return (y - self.mean).square().flatten(1).mean(-1)

    def cdf(self, y: Float[Tensor, "n *out"]) -> Float[Tensor, "n *out"]:
        below: Tensor = torch.special.ndtr((y - self.mean) / self.std)
        return below

    def quantile(self, p: float) -> Float[Tensor, "n *out"]:
        return self.mean + NormalDist().inv_cdf(p) * self.std

    def tempered(self, temperature: float) -> Gaussian:
        return Gaussian(self.mean, temperature * self.std)


class Mixture(NamedTuple):
    """Several predictions at once, weighted: what an ensemble or a posterior over learners says.

    `parts` is one Categorical or Gaussian whose every leaf has a leading axis of `m` members.
    """

    parts: Categorical | Gaussian
    log_weight: Float[Tensor, " m"]

    @property
    def metric(self) -> Metric:
        return "accuracy" if isinstance(self.parts, Categorical) else "mse"

    @property
    def mean(self) -> Tensor:
        each: Tensor = torch.func.vmap(lambda part: part.mean)(self.parts)
        weight = self._weight().view(-1, *(1,) * (each.ndim - 1))
        return (weight * each).sum(0)

    def nll(self, y: Tensor) -> Float[Tensor, " n"]:
        log_p: Tensor = -torch.func.vmap(lambda part: part.nll(y))(self.parts)
        return -torch.logsumexp(log_p + self.log_weight.log_softmax(0)[:, None], 0)

    def score(self, y: Tensor) -> Float[Tensor, " n"]:
        if isinstance(self.parts, Categorical):
            return Categorical(self.mean.clamp(min=1e-30).log()).score(y)
        return (y - self.mean).square().flatten(1).mean(-1)

    def cdf(self, y: Tensor) -> Tensor:
        """The probability of a real value below `y`.

        Raises:
            MethodError: the parts are not Gaussian: classes have no order.
        """
        each = torch.func.vmap(lambda part: part.cdf(y))(self._real())
        below: Tensor = torch.tensordot(self._weight(), each, 1)
        return below

    def quantile(self, p: float) -> Tensor:
        """The value below which a real value lies with probability `p`, by bisection between the members' own.

        Raises:
            MethodError: as `cdf`.
        """
        each = torch.func.vmap(lambda part: part.quantile(p))(self._real())
        low: Tensor = each.amin(0)
        high: Tensor = each.amax(0)
        return bisected(self.cdf, p, low, high)

    def tempered(self, temperature: float) -> Categorical | Mixture:
        """Of classes, the probabilities that the members agree on; of real values, each member's deviation."""
        if isinstance(self.parts, Categorical):
            return Categorical(self.mean.log()).tempered(temperature)
        return self._replace(parts=self.parts.tempered(temperature))

    def _real(self) -> Gaussian:
        if not isinstance(self.parts, Gaussian):
            raise MethodError(f"a mixture of {type(self.parts).__name__} has no order; expected one of Gaussian parts.")
        return self.parts

    def _weight(self) -> Float[Tensor, " m"]:
        return self.log_weight.softmax(0)


def bisected(cdf: Callable[[Tensor], Tensor], p: float, low: Tensor, high: Tensor) -> Tensor:
    """Where each `cdf` reaches `p`, by bisection between `low` and `high`."""
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        below = cdf(middle) < p
        low, high = torch.where(below, middle, low), torch.where(below, high, middle)
    return (low + high) / 2


def likelihood(kind: Likelihood, output: Float[Tensor, "n *out"]) -> Categorical | Gaussian:
    """A net's plain output as a prediction: logits of classes, or values with squared error as their score.

    A "gaussian" has variance ½, for which the nll is squared error plus a constant: the usual regression loss, with
    step sizes as the papers give them.
    """
    if kind == "categorical":
        return Categorical(output)
    return Gaussian(output, torch.full_like(output, math.sqrt(0.5)))
