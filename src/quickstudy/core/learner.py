"""The contract: a meta-learner turns the support of ONE task into a learner, and the learner predicts queries.

`adapt`, `predict` and `meta_loss` are pure functions of their arguments and the module's parameters. What is
meta-learned is the parameters; what was learned about a task is returned, never stored on `self`. That is what lets
`over_tasks` map them, a server keep thousands of learners, and a whole meta-step be one function to differentiate.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

from torch import nn

from quickstudy.core.episode import Episode, Examples, masked_mean
from quickstudy.core.predictions import Prediction
from quickstudy.core.settings import Configurable, owner_of
from quickstudy.core.shapes import Float, Shaped, Tensor
from quickstudy.errors import SettingsError

__all__ = ["CoTrained", "Examined", "MetaLearner", "QueryScored", "Stepwise", "Tags", "tags_of"]


@dataclass(frozen=True)
class Tags:
    """What a method promises beyond the contract; `check_method` holds it to them.

    A promise that cannot be kept is declared False, or an entry {check: reason} in `exceptions` says why.
    """

    maps: bool = True
    """It survives `vmap`; otherwise `over_tasks` loops."""
    trains_on: Literal["episodes", "pool"] = "episodes"
    """What `meta_loss` takes: few-shot episodes, or flat batches of all training classes (conventional training)."""
    any_ways: bool = True
    """One trained instance takes tasks of any number of classes."""
    relabels: bool = True
    """Renaming the classes renames the predictions and changes nothing else."""
    support_order: bool = True
    """The order of the support does not matter."""
    regression: bool = False
    """It also learns tasks with real-valued targets (`likelihood="gaussian"`)."""
    classification: bool = True
    """It learns tasks with classes; False for a method that learns real values only."""
    vectors: str = "mlp"
    """The net it has for inputs that are vectors, where none is asked for: "flatten" if its own layers read them."""
    item: tuple[int, ...] | None = None
    """The one shape of input that it reads; None for whatever its net does."""
    exceptions: dict[str, str] = field(default_factory=dict)


class MetaLearner(Configurable, nn.Module, ABC):
    """What every method is: two verbs and a loss, all for one task.

    Subclasses take structure as positional arguments of `__init__` (`net`, `outputs`) and settings as keyword-only
    ones. A method whose `adapt` needs chance says how many standard normal numbers in `noise_size`; they are then
    drawn outside, one stream a task, and given to `adapt` and `meta_loss` as one flat tensor after their other
    arguments.
    """

    tags: Tags = Tags()
    """What it promises. Where that depends on its settings, `tags_with` says how, and `__init__` sets it."""

    noise_size: int = 0
    """Standard normal numbers that `adapt` takes, and `meta_loss` unless it needs fewer."""

    training_noise_size: int | None = None
    """How many of those, from the first on, `meta_loss` reads; training draws no others. None where it reads all."""

    estimated: str = ""
    """Why the gradient of `meta_loss` is an estimate and not its derivative; empty where it is the derivative."""

    stage: Hashable = None
    """What `reach` has changed besides tensors: a compiled step is compiled anew for each value."""

    needs_start: str = ""
    """Why it can only be trained after `start_from`; empty where it begins from nothing as well."""

    @property
    def noise_in_training(self) -> int:
        """How many normal numbers `meta_loss` is given for each task."""
        return self.noise_size if self.training_noise_size is None else self.training_noise_size

    @classmethod
    def tags_with(cls, chosen: Any) -> Tags:
        """What it promises with these settings: the same with all of them, unless overridden."""
        return cls.tags

    @abstractmethod
    def adapt(self, support: Examples, *noise: Float[Tensor, " size"]) -> Any:
        """The learner that the support makes: a tree of tensors."""

    @abstractmethod
    def predict(self, learner: Any, x: Shaped[Tensor, "n *item"]) -> Prediction:
        """What the learner says of each input, none of them influencing another."""

    @abstractmethod
    def meta_loss(self, episode: Episode, *noise: Float[Tensor, " size"]) -> Float[Tensor, ""]:
        """What training minimises, for one task."""

    def reach(self, done: float) -> None:
        """Be told, before each training step, which share of the training is done: from 0 to below 1.

        A method that changes as training goes on keeps what changes in buffers, or in attributes that `stage` names.
        """

    def start_from(self, trained: MetaLearner) -> None:
        """Take over what another method has learned, before training: the weights of its net, unless overridden.

        Raises:
            SettingsError: its net is another one, or one of the two has none.
        """
        own, other = (getattr(method, "net", None) for method in (self, trained))
        if not isinstance(own, nn.Module) or not isinstance(other, nn.Module):
            raise SettingsError(
                f"{type(self).__name__} cannot start from {type(trained).__name__}: both need an attribute `net`."
            )
        try:
            own.load_state_dict(other.state_dict())
        except RuntimeError as error:
            reason = str(error).splitlines()[-1].strip()  # torch lists every weight; one tells enough
            raise SettingsError(
                f"{type(self).__name__} cannot start from the net of {type(trained).__name__}, which is another one: "
                f"{reason} Choose the same net, with the same settings."
            ) from error

    def forward(self, episode: Episode, *noise: Float[Tensor, " size"]) -> Float[Tensor, ""]:
        """`meta_loss`, so that `torch.func.functional_call` makes a meta-step one pure function."""
        return self.meta_loss(episode, *noise)


class QueryScored(MetaLearner):
    """A meta-learner scored by how likely its adapted learner finds the query: most of them."""

    def meta_loss(self, episode: Episode, *noise: Float[Tensor, " size"]) -> Float[Tensor, ""]:
        learner = self.adapt(episode.support, *noise)
        query = episode.query
        return masked_mean(self.predict(learner, query.x).nll(query.y), query.mask)


def tags_of(chosen: Any) -> Tags:
    """What the method that these settings are of promises with them."""
    tags: Tags = owner_of(chosen).tags_with(chosen)
    return tags


@runtime_checkable
class CoTrained(Protocol):
    """A meta-learner with a second signal: some of its training steps are conventional.

    Such a step classifies a flat batch of all training classes; the others are what they are for any method.
    """

    flat_batch: int
    """Examples of the batch of such a step; 0 where it trains on episodes alone."""

    def flat_share(self, done: float) -> float:
        """The probability that a step is conventional where this share of the training, from 0 to below 1, is done."""

    def flat_loss(self, batch: Examples) -> Float[Tensor, ""]:
        """What such a step minimises."""


@runtime_checkable
class Stepwise(Protocol):
    """A meta-learner that adapts in steps, of which one can ask for fewer or more than it was trained with."""

    steps: int

    def adapt_for(self, support: Examples, steps: int, *noise: Tensor) -> Any:
        """The learner after `steps` steps; 0 is the learner before any adaptation. Noise is as `adapt` takes it."""


@runtime_checkable
class Examined(Protocol):
    """A meta-learner that measures, of a task, what no prediction shows: how well its own computations went."""

    def examine(self, episode: Episode, *noise: Float[Tensor, " size"]) -> dict[str, Float[Tensor, ""]]:
        """Figures by the names that reports show, the same names for each task. Noise is as `adapt` takes it."""
