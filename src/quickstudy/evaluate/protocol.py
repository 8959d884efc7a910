"""What is asked of a method, frozen and hashed: which episodes, of which split, how many."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any

from pydantic import Field

from quickstudy.core.settings import Choice, Count, Size, dump, settings
from quickstudy.evaluate import record
from quickstudy.evaluate.record import ProtocolInfo
from quickstudy.tasks.source import Split, Tasks, TaskSource

__all__ = ["Protocol"]

Sizes = Size | tuple[Size, Size]


@settings
class Protocol:
    """The episodes that methods are evaluated on.

    Two results with one digest were made from the very same episodes.

    >>> from quickstudy.evaluate import Protocol
    >>> Protocol(tasks="sines", shots=5, episodes=600).source().item
    (1,)
    """

    tasks: Annotated[Tasks, Choice("tasks")]
    """The family of tasks: its settings, or a name."""
    split: Split = "test"
    """Which split; "val" while anything is still being chosen."""
    ways: Sizes | None = None
    """Classes of a task, where they are not to be as in `tasks`."""
    shots: Sizes | None = None
    """Support examples (of a class), where they are not to be as in `tasks`."""
    queries: Sizes | None = None
    """Query examples (of a class), where they are not to be as in `tasks`."""
    episodes: Annotated[int, Field(ge=2)] = 1000
    """How many; an interval needs two."""
    seed: Count = 0
    """Another seed asks other episodes of the same kind."""

    @property
    def chosen(self) -> Tasks:
        """The tasks in the sizes that this protocol asks for.

        Raises:
            SettingsError: the family has no such size (sine waves have no ways).
        """
        sizes = {name: getattr(self, name) for name in ("ways", "shots", "queries")}
        given: dict[str, Any] = {name: size for name, size in sizes.items() if size is not None}
        family: Any = self.tasks
        changed: Tasks = dataclasses.replace(family, **given) if given else family
        return changed

    def source(self) -> TaskSource:
        """The episodes: those numbered 0 to `episodes` - 1 are the protocol's."""
        return self.chosen.source(self.split, self.seed)

    @property
    def digest(self) -> str:
        """The hash of the list of episodes."""
        return self.source().digest(range(self.episodes))

    def info(self) -> ProtocolInfo:
        """The protocol as records keep it."""
        source, tasks = self.source(), self.chosen
        return ProtocolInfo(
            tasks=dump(tasks),
            split=self.split,
            ways=_size(tasks, "ways"),
            shots=_size(tasks, "shots"),
            queries=_size(tasks, "queries"),
            episodes=self.episodes,
            seed=self.seed,
            fingerprint=source.fingerprint,
            digest=source.digest(range(self.episodes)),
        )


def _size(tasks: Tasks, name: str) -> record.Sizes:
    size: record.Sizes = getattr(tasks, name, None)
    return size
