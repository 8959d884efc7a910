"""The flags that say which episodes are asked, alike for every command that asks some."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Literal

from cyclopts import Parameter

if TYPE_CHECKING:
    from quickstudy.evaluate import Protocol
    from quickstudy.train.run import Run

__all__ = ["USUAL", "Asked"]


@Parameter(name="*")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Asked:
    """Episodes of a run's own tasks, where nothing else is said."""

    episodes: int = 1000
    """How many test episodes."""
    ways: int | None = None
    """Classes of a task."""
    shots: int | None = None
    """Support examples of a class."""
    queries: int | None = None
    """Query examples of a class."""
    split: Literal["test", "val", "train"] = "test"
    """Which split; use val while you still choose between settings."""
    seed: int = 0
    """Another seed asks other episodes of the same kind."""

    def of(self, run: Run) -> Protocol:
        """What is asked of this run."""
        from quickstudy.evaluate import Protocol

        return Protocol(tasks=run.settings.tasks, **vars(self))


USUAL = Asked()
