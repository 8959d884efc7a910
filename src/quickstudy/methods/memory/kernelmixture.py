"""A prior-fitted network of real values that weighs what kernel machines say of them."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from quickstudy.core.apply import Statistics
from quickstudy.core.apply import apply as run
from quickstudy.core.episode import Episode, Examples, masked_mean
from quickstudy.core.learner import MetaLearner, Tags
from quickstudy.core.settings import Size
from quickstudy.core.shapes import Bool, Float, Shaped, Tensor
from quickstudy.methods.memory import machines
from quickstudy.methods.memory.against_rest import LEAST, Scale, moments
from quickstudy.methods.memory.normals import Normals
from quickstudy.nets.attention import Memory, Transformer, begin_as_nothing

__all__ = ["KernelMixture", "Weighed"]

PENALTIES = (0.002, 0.03, 0.3, 2.0)
KERNELS = 6
MACHINES = KERNELS * len(PENALTIES) + 1
"""One more says the mean of all training rows."""
SMALLEST = 1e-3
"""Errors below that, of a target of deviation 1, are taken for as much: what is said stays a density."""
SQUARES = 2.0
"""The weight of squared errors in the loss."""
FARTHEST = 3.0
"""Standard deviations are at most e³ times an error that was measured, or as much less."""


class Weighed(NamedTuple):
    """What is known of a table: the kernel machines' weights of its rows, their errors, and keys and values of rows."""

    memories: tuple[Memory, ...]
    weights: Float[Tensor, "k s n"]
    """Of each row, for each value, kernel and penalty."""
    errors: Float[Tensor, "k s"]
    """Of each machine: the root of the mean square, leaving one row out at a time."""
    told: Float[Tensor, "k c"]
    """The share of each column in what columns say of each value alone."""
    x: Float[Tensor, "n c"]
    ranks: Float[Tensor, "n c"]
    centre: Float[Tensor, " k"]
    deviation: Float[Tensor, " k"]
    mask: Bool[Tensor, " n"]
    statistics: Statistics


class Rows(NamedTuple):
    """What machines say of rows."""

    scores: Float[Tensor, "k m s"]
    near: Float[Tensor, "k m f"]
    """How alike to the training rows they are on average, by each kernel; and how far from the middle."""


class KernelMixture(MetaLearner):
    """Weigh Gaussian processes by a transformer that was fitted to a prior over tables (after Müller et al. 2022).

    Meta-learned: the transformer, how rows enter and leave it, and how sharply errors tell machines apart.
    Adapts by: solving ridge regressions in closed form, and passing their scores of the training rows through the
    transformer, all rows attending to all; keys and values are kept.
    Scored by: the negative log-likelihood of each query under a mixture of one normal distribution a machine, plus
    twice the squared error of its mean over the values' variance: likelihood alone asks little of what noise hides.

    `KernelPFN` for real values. Each row is described by what 24 machines say of it, the posterior means of Gaussian
    processes with six kernels and four levels of noise: a linear kernel, a sum of one narrow kernel a column (an
    additive model, on ranks) and one wide kernel of all columns; then such a sum and a wide kernel whose columns are
    weighted by how much each says of the value alone, and one half as wide. Of a training row they say what they would
    without it (leave-one-out, in closed form). Errors of left-out rows make weights, means and standard deviations of a
    mixture to begin with, which is stacking; the transformer moves all three for each query.

    Values are standardised by the support. Rows and columns have no order, and there can be any number of each. Several
    values are predicted by as many passes.

    Args:
        net: What rows are passed through before; "flatten" for numbers as they are.
        outputs: Not used: the support says how many values there are.
        width: Of a row.
        hidden: Of the perceptrons between attentions, and of the head.
        heads: Of each attention.
        layers: Of the transformer.
    """

    tags = Tags(classification=False, regression=True, vectors="flatten")

    def __init__(
        self,
        net: nn.Module,
        outputs: int,
        *,
        width: Size = 64,
        hidden: Size = 128,
        heads: Size = 4,
        layers: Size = 3,
    ) -> None:
        super().__init__()
        self.net = net
        self.of_scores, self.of_target = nn.Linear(2 * MACHINES + KERNELS + 4, width), nn.Linear(1, width)
        self.transformer = Transformer(width, heads, hidden, layers, norm="before", activation="gelu")
        begin_as_nothing(self.transformer)
        self.norm = nn.LayerNorm(width)
        last = nn.Linear(hidden, 3 * MACHINES)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.head = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), last)
        self.log_sharpness = nn.Parameter(torch.zeros(()))

    def adapt(self, support: Examples, *noise: Tensor) -> Weighed:
        x, statistics = run(self.net, None, support.x, mask=support.mask)
        scale = Scale(x, support.mask)
        y = torch.where(scale.mask[:, None], support.y.to(x.dtype), 0.0)
        centre, variance = moments(y, scale.counted)
        deviation = torch.where(variance > LEAST, variance, 1.0).sqrt()
        target = torch.where(scale.mask[:, None], (y - centre) / deviation, 0.0).T
        ranks = scale.rank(scale.x)
        told = _told(scale, ranks, target)
        alike = _alike(scale, ranks, scale.x, ranks, told)
        weights, scores = torch.func.vmap(lambda each, of: _machines(scale, each, of))(alike, target)
        left = ((scores - target[..., None]) * scale.counted[:, None]).square().sum(1)
        errors = (left / scale.counted.sum().clamp(min=1)).sqrt().clamp(min=SMALLEST)
        scores, errors = F.pad(scores, (0, 1)), F.pad(errors, (0, 1), value=1.0)
        learner = Weighed((), weights, errors, told, scale.x, ranks, centre, deviation, scale.mask, statistics)
        others = 1 - torch.eye(len(x), dtype=x.dtype, device=x.device)  # a row is alike to itself, whatever it is
        rows, middle, error = self._rows(learner, scale, Rows(scores, _near(scale, scale.x, alike * others)))
        left_over = torch.asinh((target - middle) / error[:, None])
        rows = (rows + self.of_target(left_over[..., None])).to(x.dtype)
        return learner._replace(memories=self.transformer.remember(rows, support.mask))

    def predict(self, learner: Weighed, x: Shaped[Tensor, "n *item"]) -> Normals:
        z, _ = run(self.net, None, x, statistics=learner.statistics)
        scale = Scale(learner.x, learner.mask)
        alike = _alike(scale, learner.ranks, z, scale.rank(z), learner.told)
        weights = learner.weights.reshape(-1, KERNELS, len(PENALTIES), len(learner.mask))
        scores = F.pad(torch.einsum("kamn,kapn->kmap", alike, weights).flatten(2), (0, 1))
        rows, _, error = self._rows(learner, scale, Rows(scores, _near(scale, z, alike)))
        read = self.transformer(rows.to(z.dtype), learner.memories, learner.mask)
        said = self.head(self.norm(read)).to(z.dtype).unflatten(-1, (3, MACHINES))
        favour, shift, spread = said.unbind(-2)
        logits = favour + self._trust(learner)[:, None]
        means = learner.centre[:, None, None] + learner.deviation[:, None, None] * (
            scores + error[:, None, None] * shift
        )
        spread = FARTHEST * torch.tanh(spread / FARTHEST)
        stds = learner.deviation[:, None, None] * learner.errors[:, None] * spread.exp()
        return Normals(*(each.transpose(0, 1) for each in (logits, means, stds)))

    def meta_loss(self, episode: Episode, *noise: Tensor) -> Float[Tensor, ""]:
        learner = self.adapt(episode.support)
        said = self.predict(learner, episode.query.x)
        apart = ((episode.query.y - said.mean) / learner.deviation).square().sum(-1)
        return masked_mean(said.nll(episode.query.y) + SQUARES * apart, episode.query.mask)

    def _trust(self, learner: Weighed) -> Float[Tensor, "k s"]:
        """Log-weights of machines by their errors: the more rows there were, the more an error tells."""
        number = learner.mask.to(learner.errors.dtype).sum().clamp(min=1)
        return -self.log_sharpness.exp() * number.sqrt() * learner.errors.log()

    def _rows(
        self, learner: Weighed, scale: Scale, rows: Rows
    ) -> tuple[Float[Tensor, "k m d"], Float[Tensor, "k m"], Float[Tensor, " k"]]:
        """Rows as vectors; what is said of them on the whole, and the error of that.

        The vectors are of how machines differ from the whole, by its error, so that little noise is seen as well as
        much.
        """
        trust = self._trust(learner).softmax(-1)
        error = (trust * learner.errors.log()).sum(-1).exp()
        middle = torch.einsum("kms,ks->km", rows.scores, trust)
        apart = torch.asinh((rows.scores - middle[..., None]) / error[:, None, None])
        table = torch.cat([learner.errors.log(), scale.size.expand(len(error), 2)], -1)
        table = table[:, None].expand(-1, rows.scores.shape[1], -1)
        whole = torch.asinh(middle)[..., None]
        out: Tensor = self.of_scores(torch.cat([apart, rows.near, whole, table], -1))
        return out, middle, error


def _machines(
    scale: Scale, alike: Float[Tensor, "a n n"], target: Float[Tensor, " n"]
) -> tuple[Float[Tensor, "s n"], Float[Tensor, "n s"]]:
    """The weights of each kernel machine, and its leave-one-out scores of the training rows."""
    # in double precision: with little noise the matrices are too near to singular for single
    weights, scores = machines.fitted(alike.double(), scale.mask, PENALTIES, target.double()[None])
    return weights[0].to(alike.dtype), scores[0].to(alike.dtype)


def _told(scale: Scale, ranks: Float[Tensor, "n c"], target: Float[Tensor, "k n"]) -> Float[Tensor, "k c"]:
    """How much of what columns say of a target alone each says: squared correlations beyond those of chance.

    Of three with a column, the greatest: with its values, with its ranks, and with how far these are from the middle.
    """
    number = scale.counted.sum().clamp(min=1)
    found = []
    for values in (scale.apart(scale.x), ranks, (ranks - 0.5).square()):
        mean, variance = moments(values, scale.counted)
        z = scale.counted[:, None] * (values - mean) / (variance + LEAST).sqrt()
        found.append((target @ z / number).square())
    beyond = (torch.stack(found).amax(0) - 2 / number).clamp(min=0) * scale.alike.sign()
    share = beyond + 0.02 * scale.alike
    return share / share.sum(-1, keepdim=True).clamp(min=LEAST)


def _alike(
    scale: Scale,
    ranks: Float[Tensor, "n c"],
    x: Float[Tensor, "m c"],
    asked: Float[Tensor, "m c"],
    told: Float[Tensor, "k c"],
) -> Float[Tensor, "k 6 m n"]:
    """How alike rows `x` of ranks `asked` are to the training rows, by each kernel; a constant in each stands for an
    intercept."""
    z, known, weight = scale.apart(x), scale.apart(scale.x), scale.alike
    near, *near_told = machines.additive(asked, ranks, torch.cat([weight[None], told])).unbind(0)
    same = [machines.linear(z, known, weight), near, machines.wide(z, known, weight)]
    found = []
    for share, own in zip(told, near_told, strict=True):
        smooth = machines.wide(z, known, share)
        found.append(torch.stack([*same, own, smooth, smooth**4]))
    return torch.stack(found) + 1.0


def _near(scale: Scale, x: Float[Tensor, "m c"], alike: Float[Tensor, "k a m n"]) -> Float[Tensor, "k m f"]:
    """How alike rows are to training rows on average, by each kernel; and how far out they lie, by a logarithm."""
    mean = (alike @ scale.counted) / scale.counted.sum().clamp(min=1)
    far = (scale.apart(x).square() @ scale.alike + 1).log()
    return torch.cat([torch.asinh(mean).transpose(1, 2), far.expand(len(alike), -1)[..., None]], -1)
