"""One temperature for all that a method says, fitted on validation tasks: neither too sure then, nor too unsure.

Logits are divided by it (Guo et al. 2017, "On calibration of modern neural networks", section 4.2), deviations of real
values multiplied; the best guess stays what it was. Methods that learn by squared error say the deviation √½ whatever
the data: a temperature gives it the right size.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch

from quickstudy.core.denormals import without_denormals
from quickstudy.core.episode import Episode
from quickstudy.core.learner import MetaLearner
from quickstudy.core.lift import over_tasks, plan
from quickstudy.core.predictions import Prediction, Tempered
from quickstudy.core.shapes import Tensor
from quickstudy.evaluate.evaluate import batches, evaluating
from quickstudy.tasks.source import TaskSource

__all__ = ["cheapest", "fitted", "likeliest"]

Asked = tuple[Prediction, Tensor, Tensor]
"""What is said of the queries of some episodes [t, n], their targets, and which of them are not padding."""

LEAST, MOST = 1e-4, 1e4
PRECISION = 1e-3
"""Of the logarithm of a temperature."""
GOLDEN = (math.sqrt(5) - 1) / 2


def fitted(method: MetaLearner, source: TaskSource, episodes: int) -> float | None:
    """The temperature at which the queries of the first `episodes` of a source are likeliest.

    Args:
        method: Any meta-learner. It is put in evaluation mode meanwhile.
        source: Validation tasks: a temperature that was fitted on the tasks that are reported says too much of them.
        episodes: How many.

    Returns:
        None for predictions that have no temperature, or if their likelihood is nowhere finite.
    """
    return likeliest(_said(method, source, episodes))


def likeliest(asked: Sequence[Asked]) -> float | None:
    """The temperature at which all these targets are likeliest; None where `fitted` has none."""
    if not all(isinstance(said, Tempered) for said, _, _ in asked):
        return None

    def cost(temperature: float) -> float:
        def nll(said: Prediction, y: Tensor) -> Tensor:
            assert isinstance(said, Tempered)
            return said.tempered(temperature).nll(y)

        each = [over_tasks(nll, said, y, how="map")[mask] for said, y, mask in asked]
        return float(torch.cat(each).double().mean())

    found = cheapest(cost)
    return found if math.isfinite(cost(found)) else None


def cheapest(cost: Callable[[float], float], least: float = LEAST, most: float = MOST) -> float:
    """The number between `least` and `most` that costs least, by golden sections of its logarithm.

    Costs have to fall to one minimum and rise from there, as the nll of class probabilities does in their temperature;
    what is not finite counts as the dearest.
    """

    def at(place: float) -> float:
        found = cost(math.exp(place))
        return found if math.isfinite(found) else math.inf

    low, high = math.log(least), math.log(most)
    a, b = high - GOLDEN * (high - low), low + GOLDEN * (high - low)
    of_a, of_b = at(a), at(b)
    while high - low > PRECISION:
        if of_a < of_b:
            high, b, of_b = b, a, of_a
            a = high - GOLDEN * (high - low)
            of_a = at(a)
        else:
            low, a, of_a = a, b, of_b
            b = low + GOLDEN * (high - low)
            of_b = at(b)
    return math.exp((low + high) / 2)


@without_denormals()
def _said(method: MetaLearner, source: TaskSource, episodes: int) -> list[Asked]:
    """What a method says of the queries of episodes, a batch at a time."""
    found: list[Asked] = []

    def say(episode: Episode, *noise: Tensor) -> Prediction:
        return method.predict(method.adapt(episode.support, *noise), episode.query.x)

    with evaluating(method), torch.no_grad():
        for _, _, batch, noise in batches(method, source, episodes, source.digest(range(episodes))):
            how, chunk = plan(method, batch, *noise)
            said: Prediction = over_tasks(say, batch, *noise, how=how, chunk=chunk)
            found.append((said, batch.query.y, batch.query.mask))
    return found
