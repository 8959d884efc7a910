"""One rule for the body and another for the head."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import torch

from quickstudy.core import tree
from quickstudy.core.settings import Choice, settings
from quickstudy.core.shapes import Tensor
from quickstudy.inner.rules import SGD, LearnedRates, Params, Rule

__all__ = ["Parted"]

HEAD = "head."
ADDRESS = {"body": "in body.", "head": "in head."}


@settings
class Parted(Rule):
    """Different rules and orders for body and head; an interpretation of Mix-MAML (Jia et al. 2023).

    That paper is known here by its title alone ("efficient meta-learning with hybrid optimization"). What it is taken
    to mean: the body steps by rates that are learned for each tensor and its slopes count as constants; the head steps
    by a rule of its own, through whose steps the meta-gradient goes exactly.
    """

    body: Annotated[Any, Choice("rule")] = LearnedRates(rate=0.1, per="tensor")
    """How the slopes of the body's weights become steps."""
    head: Annotated[Any, Choice("rule")] = SGD(rate=0.05)
    """How the head's do."""
    order: Literal["first-order", "exact"] = "first-order"
    """Whether slopes of the body are constants, or as the method says."""

    @property
    def estimated(self) -> str:
        return "slopes of the body count as constants, on purpose" if self.order == "first-order" else ""

    def learned(self, params: Params) -> Params:
        parts = _parts(params)
        return {
            ADDRESS[part] + name: leaf for part in parts for name, leaf in self._rule(part).learned(parts[part]).items()
        }

    def start(self, params: Params) -> dict[str, Any]:
        return {part: self._rule(part).start(weights) for part, weights in _parts(params).items()}

    @property
    def reads_loss(self) -> bool:
        return any(self._rule(part).reads_loss for part in ADDRESS)

    def told(self, state: dict[str, Any], loss: Tensor) -> dict[str, Any]:
        read = {"body": loss.detach() if self.order == "first-order" else loss, "head": loss}
        return {part: self._rule(part).told(own, read[part]) for part, own in state.items()}

    def step(
        self, params: Params, slope: Params, state: dict[str, Any], learned: Params
    ) -> tuple[Params, dict[str, Any]]:
        slopes, moved, states = _parts(slope), dict(params), {}
        if self.order == "first-order" and "body" in slopes:
            slopes["body"] = tree.map_leaves(torch.Tensor.detach, slopes["body"])
        for part, weights in _parts(params).items():
            at = ADDRESS[part]
            own = {name.removeprefix(at): leaf for name, leaf in learned.items() if name.startswith(at)}
            stepped, states[part] = self._rule(part).step(weights, slopes[part], state[part], own)
            moved |= stepped
        return moved, states

    def _rule(self, part: str) -> Rule:
        rule: Rule = self.head if part == "head" else self.body
        return rule


def _parts(params: Params) -> dict[str, Params]:
    """The weights of body and head, without a part that has none."""
    head = {name: leaf for name, leaf in params.items() if name.startswith(HEAD)}
    body = {name: leaf for name, leaf in params.items() if name not in head}
    return {part: weights for part, weights in (("body", body), ("head", head)) if weights}
