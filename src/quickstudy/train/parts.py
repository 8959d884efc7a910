"""What a method is built of: settings by name, and the structure that they are given."""

from __future__ import annotations

import dataclasses
import inspect
from typing import Any

import torch

from quickstudy.core.learner import MetaLearner
from quickstudy.core.settings import dump, make, owner_of

__all__ = ["Parts"]


@dataclasses.dataclass(frozen=True)
class Parts:
    """Enough to build a method anew, but for its weights."""

    method: Any
    """Its settings."""
    net: Any
    """Those of the net under it."""
    item: tuple[int, ...]
    """The shape of one input."""
    outputs: int
    """Ways, or the number of real values to predict."""
    pool_outputs: int | None = None
    """Classes of its conventional training, for methods that keep a head for them; None where there is no pool."""

    @classmethod
    def of(cls, method: MetaLearner, item: tuple[int, ...], outputs: int) -> Parts | None:
        """What a method at hand was built of, as far as it and its net tell; None where they do not."""
        net = getattr(method, "net", None)
        chosen, under = getattr(method, "settings", None), getattr(net, "settings", None)
        if chosen is None or under is None or owner_of(under) is not type(net):
            return None
        wanted = inspect.signature(inspect.unwrap(type(method).__init__)).parameters.get("pool_outputs")
        if wanted is not None and wanted.default is wanted.empty:
            return None
        return cls(chosen, under, item, outputs, getattr(method, "pool_outputs", None))

    def build(self, seed: int = 0) -> MetaLearner:
        """The method with fresh weights, which the seed determines."""
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)  # not torch's: that one reseeds the GPUs too
            net = make(owner_of(self.net), self.net, item=self.item)
            structure = {"net": net, "item": self.item, "outputs": self.outputs}
            if self.pool_outputs is not None:
                structure["pool_outputs"] = self.pool_outputs
            built: MetaLearner = make(owner_of(self.method), self.method, **structure)
        return built

    def plain(self) -> dict[str, Any]:
        """As plain values that YAML and JSON hold."""
        return {
            "method": dump(self.method),
            "net": dump(self.net),
            "item": list(self.item),
            "outputs": self.outputs,
            "pool_outputs": self.pool_outputs,
        }
