"""A trained method put to use: tasks of any sizes in, one mapped call for those that are alike, learners out."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F

from quickstudy.bundle import many
from quickstudy.bundle.learner import Learner
from quickstudy.core import chance, tree
from quickstudy.core.apply import in_groups
from quickstudy.core.episode import Episode, Examples
from quickstudy.core.learner import MetaLearner
from quickstudy.core.lift import over_tasks, own_convolutions, suitable_chunk
from quickstudy.core.predictions import Likelihood, Prediction, at_temperature
from quickstudy.core.shapes import Float, Shaped, Tensor
from quickstudy.errors import SettingsError
from quickstudy.evaluate.evaluate import place_of
from quickstudy.evaluate.novelty import usual

__all__ = ["Engine", "InUse", "Labels", "Prepared"]

Labels = Sequence[int] | Sequence[float] | Tensor
"""What examples are labelled with: the number of a class each, or real values."""

Level = dict[str, float]
"""What is usual on a support, by the name of a score."""


class Prepared(NamedTuple):
    """A task's support as the method takes it."""

    support: Examples
    ways: int | None
    shots: int
    """Examples of the class that has fewest."""


class InUse(MetaLearner):
    """A method of a fixed number of ways, for tasks of fewer: labels are padded with classes that have no example.

    Args:
        method: The method.
        slots: Its number of ways.
    """

    def __init__(self, method: MetaLearner, slots: int) -> None:
        super().__init__()
        self.method, self.slots, self.noise_size = method, slots, method.noise_size
        self.tags = method.tags

    def adapt(self, support: Examples, *noise: Tensor) -> Any:
        y = F.pad(support.y, (0, self.slots - support.y.shape[-1]))
        return self.method.adapt(support._replace(y=y), *noise), (support.y & support.mask[:, None]).any(0)

    def predict(self, learner: Any, x: Shaped[Tensor, "n *item"]) -> Prediction:
        state, present = learner
        return many.among(many.cut(self.method.predict(state, x), len(x), len(present)), present)

    def meta_loss(self, episode: Episode, *noise: Tensor) -> Float[Tensor, ""]:
        return self.method.meta_loss(episode, *noise)


class Engine:
    """What turns supports into learners and inputs into predictions.

    Args:
        method: The trained method.
        item: The shape of one input.
        outputs: Ways, or the number of real values.
        likelihood: Which of them.
    """

    def __init__(self, method: MetaLearner, item: tuple[int, ...], outputs: int, likelihood: Likelihood) -> None:
        self.method, self.item, self.outputs, self.likelihood = method, item, outputs, likelihood
        fixed = likelihood == "categorical" and not method.tags.any_ways
        self.ways = outputs if fixed else None
        self.in_use: MetaLearner = InUse(method, outputs) if fixed else method

    def prepare(self, x: Shaped[Tensor, "n *item"], y: Labels, ways: int | None = None) -> Prepared:
        """A support with its labels as the method takes them.

        Raises:
            SettingsError: they do not fit each other.
        """
        x = self._inputs(x, "the support", place_of(self.method))
        if len(y) != len(x):
            raise SettingsError(f"got {len(x)} examples and {len(y)} labels; expected a label for each example.")
        return self._of_values(x, y, ways) if self.likelihood == "gaussian" else self._of_classes(x, y, ways)

    def adapt(
        self, supports: Sequence[Examples], temperatures: Sequence[float] | None = None
    ) -> list[tuple[Any, Level]]:
        """The state of each support's learner, and what is usual on the support at its temperature, if these are given;
        they are where somebody asks."""
        made: dict[int, tuple[Any, Level]] = {}
        each_at = [None] * len(supports) if temperatures is None else temperatures
        kinds = [(each.y.shape[1:], temperature) for each, temperature in zip(supports, each_at, strict=True)]
        for group in many.groups(kinds, [len(each.mask) for each in supports]):
            learn = functools.partial(self._learn, each_at[group[0]])
            if len(group) == 1:
                noise = tuple(each[0] for each in self._noise(1))
                made[group[0]] = self._alone(learn, supports[group[0]], noise)
                continue
            batch = many.padded([supports[at] for at in group])
            learned = self._mapped(learn, batch.x, batch, self._noise(len(group)))
            made |= dict(zip(group, many.apart(learned), strict=True))
        return [
            (made[at][0], {name: float(level) for name, level in made[at][1].items()}) for at in range(len(supports))
        ]

    def predict(self, asked: Sequence[tuple[Learner, Tensor]]) -> list[Prediction]:
        """What learners say of their inputs.

        Raises:
            SettingsError: inputs of another shape.
        """
        place = place_of(self.method)
        inputs = [self._inputs(x, "the inputs", place) for _, x in asked]
        learners = [learner for learner, _ in asked]
        found: dict[int, Prediction] = {}
        for group in many.groups([each.leaves.shapes for each in learners], [len(x) for x in inputs]):
            first = learners[group[0]]
            if len(group) == 1:
                state = many.on(first.state, first.leaves, place[0])
                said = [self._alone(self.method.predict, state, inputs[group[0]])]
            else:
                x = many.padded_inputs([inputs[at] for at in group])
                states = many.stacked([learners[at].leaves for at in group], first.state, place[0])
                said = many.each_said(self._mapped(self.method.predict, x, states, x))
            for at, each in zip(group, said, strict=True):
                rows = many.cut(each, len(inputs[at]), None if self.ways is None else learners[at].ways)
                found[at] = at_temperature(rows, learners[at].temperature)
        return [found[at] for at in range(len(asked))]

    def _alone(self, fn: Callable[..., Any], *of_task: Any) -> Any:
        """`fn` of one task, apart from the method's own memory."""
        with torch.no_grad():
            return tree.map_leaves(many.own, fn(*of_task))

    def _mapped(self, fn: Callable[..., Any], x: Tensor, *batches: Any) -> Any:
        """`fn` of each task with a leading axis of tasks, which are taken together where the method can be mapped."""
        chunk = 1
        if self.method.tags.maps:
            chunk = min(len(x), suitable_chunk(x.device.type, x[0].numel(), self._own_convolutions))
        with torch.no_grad(), in_groups():
            return over_tasks(fn, *batches, how="map" if chunk > 1 else "loop", chunk=chunk if chunk < len(x) else None)

    def _learn(
        self, temperature: float | None, support: Examples, noise: tuple[Tensor, ...]
    ) -> tuple[Any, dict[str, Tensor]]:
        state = self.method.adapt(support, *noise)
        if temperature is None:
            return state, {}
        said = self.method.predict(state, support.x)
        if self.ways is not None:
            said = many.among(said, (support.y & support.mask[:, None]).any(0))
        return state, usual(at_temperature(said, temperature), support.mask)

    @functools.cached_property
    def _own_convolutions(self) -> bool:
        """Whether learners have convolutions of their own, which a CPU maps a few at a time."""

        def some() -> Any:
            x = torch.zeros(self.outputs, *self.item)
            y = torch.zeros(self.outputs, self.outputs) if self.likelihood == "gaussian" else torch.arange(self.outputs)
            return self.adapt([self.prepare(x, y).support])[0][0]

        return own_convolutions(self.method, some)

    def _noise(self, tasks: int) -> tuple[Tensor, ...]:
        """The noise that `adapt` takes: the same for every task, so that a support always makes the same learner."""
        if not self.method.noise_size:
            return ()
        one = chance.noise(chance.key("adapt"), [0], self.method.noise_size).to(*place_of(self.method))
        return (one.repeat(tasks, 1),)

    def _inputs(self, x: Tensor, what: str, place: tuple[torch.device, torch.dtype]) -> Tensor:
        if x.shape[1:] != self.item or not len(x):
            raise SettingsError(
                f"{what} have shape {list(x.shape)}; expected {['n', *self.item]}, of one example or more. Make them "
                "with the bundle's encoder."
            )
        return x.to(*place)

    def _of_values(self, x: Tensor, y: Labels, ways: int | None) -> Prepared:
        if ways is not None:
            raise SettingsError(f"got ways={ways}, but this bundle predicts real values. Leave ways out.")
        values = torch.as_tensor(y).to(x)
        values = values[:, None] if values.ndim == 1 else values
        if values.shape != (len(x), self.outputs) or not values.isfinite().all():
            raise SettingsError(
                f"got values of shape {list(values.shape)}; expected finite ones of shape [{len(x)}, {self.outputs}]."
            )
        return Prepared(Examples(x, values, x.new_ones(len(x), dtype=torch.bool)), None, len(x))

    def _of_classes(self, x: Tensor, y: Labels, ways: int | None) -> Prepared:
        labels = [int(each) for each in y]
        ways = max(labels) + 1 if ways is None else ways
        if self.ways is not None and ways > self.ways:
            raise SettingsError(
                f"got {ways} classes; this bundle's method, {type(self.method).__name__}, was trained for "
                f"{self.ways} and takes no more. Leave {ways - self.ways} out, or use a method that takes any number, "
                "such as protonet."
            )
        counts = [0] * max(ways, 0)
        for label in labels:
            if not 0 <= label < ways:
                raise SettingsError(
                    f"got the label {label}; expected numbers from 0 to {ways - 1}, for {ways} classes."
                )
            counts[label] += 1
        if 0 in counts:
            raise SettingsError(
                f"class {counts.index(0)} of {ways} has no example; expected one or more of each. Number the classes "
                "without gaps."
            )
        if not self.method.tags.support_order:  # such methods were trained on examples round by round
            order = many.by_rounds(labels)
            x, labels = x[order], [labels[at] for at in order]
        one_hot = F.one_hot(torch.tensor(labels, device=x.device), self.ways or ways).bool()
        return Prepared(Examples(x, one_hot, x.new_ones(len(x), dtype=torch.bool)), ways, min(counts))
