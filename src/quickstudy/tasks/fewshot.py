"""Few-shot classification: episodes of some classes, a few labelled examples of each, and more to ask about."""

from __future__ import annotations

import functools
from abc import abstractmethod
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import InstanceOf

from quickstudy.core import chance
from quickstudy.core.episode import Episode, Examples
from quickstudy.core.settings import Count, Size, settings
from quickstudy.errors import SettingsError, TaskError
from quickstudy.tasks.augment import Augmentation, augmented
from quickstudy.tasks.pool import Pool
from quickstudy.tasks.source import Indices, Split, Tasks, TaskSource
from quickstudy.tasks.splits import Splits, check_splits

__all__ = ["ArrayTasks", "FewShotSource", "FewShotTasks", "FlatSource", "ImageTasks", "Sizes"]

Sizes = Size | tuple[Size, Size]
"""A fixed number, or the (lowest, highest) of a range that is drawn from, both included."""


@settings
class FewShotTasks(Tasks):
    """What every family of few-shot classification tasks is set by. Families say where their pools come from."""

    ways: Sizes = 5
    """Classes of a task: a number, or a range to draw from."""
    shots: Sizes = 1
    """Support examples of a class: a number, or a range to draw from."""
    queries: Sizes = 15
    """Query examples of a class: a number, or a range to draw from."""
    same_shape: Size = 1
    """How many successive tasks share their ways, shots and queries where these are ranges; the batch size, usually."""
    min_examples: Count = 0
    """Classes with fewer examples than this are left out."""

    def __post_init__(self) -> None:
        for name in ("ways", "shots", "queries"):
            low, high = _range(getattr(self, name))
            if low > high:
                raise SettingsError(f"{name} is a range from {low} to {high}; write the lower number first.")

    @abstractmethod
    def pools(self) -> Splits:
        """The pools of the three splits, the same objects each time."""

    def source(self, split: Split = "train", seed: int = 0) -> FewShotSource:
        return FewShotSource(
            self._pool(split),
            ways=self.ways,
            shots=self.shots,
            queries=self.queries,
            seed=seed,
            same_shape=self.same_shape,
            variants=self._variants,
            augment=self._augment(split),
        )

    def pool(self, split: Split = "train", seed: int = 0, batch: int = 128) -> FlatSource:
        return FlatSource(
            self._pool(split), batch=batch, seed=seed, variants=self._variants, augment=self._augment(split)
        )

    def _pool(self, split: Split) -> Pool:
        pools = self.pools()
        pool: Pool = _joined(pools.train, pools.val) if split == "train+val" else getattr(pools, split)
        return pool.at_least(self.min_examples)

    @property
    def _variants(self) -> int:
        return 1

    def _augment(self, split: Split) -> Augmentation:
        return "none"


@functools.lru_cache(maxsize=2)
def _joined(*pools: Pool) -> Pool:
    return Pool.join(pools)


@settings
class ImageTasks(FewShotTasks):
    """Few-shot tasks of images, which may be changed at random for training."""

    augment: Augmentation = "none"
    """What is done to each training image at random: nothing; "flip" mirrors every other one; "flip-crop" moves the
    frame too, by up to an eighth each way; "affine" turns, stretches and moves it a little, which suits characters.
    Validation and test images are never changed."""

    def _augment(self, split: Split) -> Augmentation:
        return self.augment if split in ("train", "train+val") else "none"


@settings
class ArrayTasks(FewShotTasks):
    """Few-shot tasks from pools of your own: `ArrayTasks(splits=Splits(train, val, test), ways=5)`.

    Raises:
        DataError: two splits share a class or an example.
    """

    splits: InstanceOf[Splits]
    """The pools, for instance from `Pool.from_arrays` or `Pool.from_dataset`."""

    def __post_init__(self) -> None:
        FewShotTasks.__post_init__(self)
        check_splits(self.splits)

    def pools(self) -> Splits:
        return self.splits


class FewShotSource(TaskSource):
    """The few-shot episodes of one pool.

    Which class answers to which way is random. Examples lie round by round: one of each way in the order of the ways,
    then the next of each. Under one seed, episode *i* has the same queries whatever the shots, and the same first
    supports, so that curves over shots compare like with like.

    Args:
        pool: Where the examples come from.
        ways: Classes of a task: a number, or a (lowest, highest) range.
        shots: Support examples of a class, likewise.
        queries: Query examples of a class, likewise.
        seed: Another seed gives another sequence of episodes.
        same_shape: Episodes i with equal i // same_shape share their sizes where these are ranges.
        variants: Successive classes of the pool that are variants of one (rotations); an episode takes at most one of
            them, at random. 1 means that every class is its own.
        augment: What is done to each image at random.

    Raises:
        TaskError: too few classes, or a class with too few examples (naming it).
    """

    def __init__(
        self,
        pool: Pool,
        *,
        ways: Sizes = 5,
        shots: Sizes = 1,
        queries: Sizes = 15,
        seed: int = 0,
        same_shape: int = 1,
        variants: int = 1,
        augment: Augmentation = "none",
    ) -> None:
        self.pool_of, self.seed, self.same_shape, self.variants = pool, seed, same_shape, variants
        self.augment = augment
        self.ways, self.shots, self.queries = _range(ways), _range(shots), _range(queries)
        self.item, self.outputs = pool.item, self.ways[1]
        self._check()

    @property
    def identity(self) -> dict[str, Any]:
        names = ("ways", "shots", "queries", "seed", "same_shape", "variants")
        pool = {"tasks": self.pool_of.name, "data": self.pool_of.fingerprint}
        return pool | {name: getattr(self, name) for name in names} | _told(self.augment)

    @property
    def class_names(self) -> list[str]:
        return _base_names(self.pool_of, self.variants)

    def classes(self, indices: Indices) -> NDArray[np.int64]:
        at = _numbers(indices)
        return self._classes(at, self._sizes(at)[0]) // self.variants

    def batch(self, indices: Indices) -> Episode:
        at = _numbers(indices)
        ways, shots, queries = self._sizes(at)
        classes = self._classes(at, ways)
        # Queries are drawn first and round by round: more shots then leave everything before them as it was.
        words = chance.words(self._key("examples"), at, (queries + shots) * ways).reshape(len(at), -1, ways)
        drawn = chance.choose(words.transpose(0, 2, 1), self.pool_of.counts[classes])
        rows = (drawn + self.pool_of.starts[classes][..., None]).transpose(0, 2, 1)
        change = _changes(self.augment, self._key("augment"), at, (queries + shots) * ways).reshape(rows.shape)
        support, query = (
            self._rounds(rows[:, part], change[:, part]) for part in (slice(queries, None), slice(queries))
        )
        return Episode(support, query)

    def _rounds(self, rows: NDArray[np.int64], change: NDArray[np.uint64]) -> Examples:
        tasks, rounds, ways = rows.shape
        y = np.tile(np.eye(ways, dtype=bool), (tasks, rounds, 1))
        return _examples(self.pool_of, rows.reshape(tasks, -1), y, change.reshape(tasks, -1), self.augment)

    def _classes(self, at: NDArray[np.int64], ways: int) -> NDArray[np.int64]:
        words = chance.words(self._key("classes"), at, 2 * ways).reshape(len(at), ways, 2)
        base = chance.choose(words[..., 0], self.pool_of.classes // self.variants)
        return base * self.variants + _below(words[..., 1], self.variants)

    def _sizes(self, at: NDArray[np.int64]) -> tuple[int, int, int]:
        """The ways, shots and queries that these episodes share."""
        low, high = np.array([self.ways, self.shots, self.queries]).T
        each = low + _below(chance.words(self._key("sizes"), at // self.same_shape, 3), high - low + 1)
        odd = np.flatnonzero((each != each[0]).any(1))
        if len(odd):
            raise TaskError(
                f"episodes {at[0]} and {at[odd[0]]} have (ways, shots, queries) {tuple(each[0].tolist())} and "
                f"{tuple(each[odd[0]].tolist())}; a batch holds one shape. Set same_shape to your batch size "
                f"(it is {self.same_shape}) and start batches at its multiples."
            )
        ways, shots, queries = each[0].tolist()
        return ways, shots, queries

    def _key(self, purpose: str) -> int:
        return chance.key("few-shot", purpose, self.pool_of.name, self.seed)

    def _check(self) -> None:
        pool, ways = self.pool_of, self.ways[1]
        have = pool.classes // self.variants
        if ways > have:
            raise TaskError(f"{pool.name} has {have} classes, but ways is {ways}. Lower ways to {have} or less.")
        need = self.shots[1] + self.queries[1]
        poorest = int(pool.counts.argmin())
        count = int(pool.counts[poorest])
        if count < need:
            lower = count - self.shots[1]
            mend = f"Lower queries to {lower}" if lower > 0 else f"Lower shots and queries to {count} together"
            raise TaskError(
                f"class {pool.names[poorest]!r} of {pool.name} has {count} examples, but {self.shots[1]} support + "
                f"{self.queries[1]} query need {need}. {mend}, or drop the class with min_examples={need}."
            )


class FlatSource(TaskSource):
    """Labelled examples over all classes of a pool, drawn with replacement: batches for conventional training.

    An episode's `query` is one such batch of `batch` examples, its `support` the same.
    """

    def __init__(
        self, pool: Pool, *, batch: int = 128, seed: int = 0, variants: int = 1, augment: Augmentation = "none"
    ) -> None:
        self.pool_of, self.size, self.seed, self.variants, self.augment = pool, batch, seed, variants, augment
        self.item, self.outputs = pool.item, pool.classes // variants

    @property
    def identity(self) -> dict[str, Any]:
        pool = {"tasks": self.pool_of.name, "data": self.pool_of.fingerprint}
        return pool | {"flat": self.size, "seed": self.seed, "variants": self.variants} | _told(self.augment)

    @property
    def class_names(self) -> list[str]:
        return _base_names(self.pool_of, self.variants)

    def classes(self, indices: Indices) -> NDArray[np.int64]:
        return np.tile(np.arange(self.outputs), (len(indices), 1))

    def batch(self, indices: Indices) -> Episode:
        at = _numbers(indices)
        ends = np.cumsum(self.pool_of.counts)
        words = chance.words(chance.key("flat", self.pool_of.name, self.seed), at, self.size)
        example = _below(words, int(ends[-1]))
        kind = np.searchsorted(ends, example, side="right")
        rows = self.pool_of.starts[kind] + example - (ends - self.pool_of.counts)[kind]
        y = np.zeros((*kind.shape, self.outputs), dtype=bool)
        np.put_along_axis(y, (kind // self.variants)[..., None], True, axis=-1)
        change = _changes(self.augment, chance.key("flat", "augment", self.pool_of.name, self.seed), at, self.size)
        examples = _examples(self.pool_of, rows, y, change, self.augment)
        return Episode(examples, examples)


def _range(sizes: Sizes) -> tuple[int, int]:
    return (sizes, sizes) if isinstance(sizes, int) else sizes


def _numbers(indices: Indices) -> NDArray[np.int64]:
    at = np.asarray(indices, dtype=np.int64)
    if at.ndim != 1 or len(at) == 0 or at.min() < 0:
        raise TaskError(f"a batch is asked for by a list of episode numbers, 0 or more each; got {indices!r}.")
    return at


def _below(words: NDArray[np.uint64], sizes: NDArray[np.int64] | int) -> NDArray[np.int64]:
    """Integers from 0 up to `sizes`, without it, from 32-bit words (uniform to 2⁻³²)."""
    drawn: NDArray[np.int64] = ((words * np.asarray(sizes, dtype=np.uint64)) >> np.uint64(32)).astype(np.int64)
    return drawn


def _told(augment: Augmentation) -> dict[str, Augmentation]:
    """As part of an identity: sources that augment nothing are what they were before there was such a choice."""
    return {} if augment == "none" else {"augment": augment}


def _changes(augment: Augmentation, key: int, at: NDArray[np.int64], count: int) -> NDArray[np.uint64]:
    """A random word for each image; none is drawn where nothing asks for it."""
    return np.zeros((len(at), count), np.uint64) if augment == "none" else chance.words(key, at, count)


def _examples(
    pool: Pool, rows: NDArray[np.int64], y: NDArray[np.bool_], change: NDArray[np.uint64], augment: Augmentation
) -> Examples:
    """Examples in these rows of a pool, each changed by a random word."""
    # All in numpy: torch copies with every OpenMP thread, which on a busy machine takes 15 times as long as with one.
    x = augmented(pool.x.numpy().take(rows, axis=0), change, augment)
    return Examples(torch.from_numpy(x), torch.from_numpy(y), torch.ones(rows.shape, dtype=torch.bool))


def _base_names(pool: Pool, variants: int) -> list[str]:
    """The names of classes without the part that tells variants apart (what follows the last slash)."""
    return pool.names if variants == 1 else [name.rpartition("/")[0] for name in pool.names[::variants]]
