"""What the checks try a method on: toy tasks, and the method built small for them."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from quickstudy.core import chance, settings
from quickstudy.core.episode import Episode, Examples, to_device
from quickstudy.core.how import How
from quickstudy.core.learner import MetaLearner, Tags
from quickstudy.core.predictions import Likelihood
from quickstudy.core.shapes import Tensor
from quickstudy.tasks.sines import Sines
from quickstudy.tasks.source import Indices

__all__ = ["Subject"]

WAYS, SHOTS, QUERIES = 5, 3, 4
POOL_CLASSES, POOL_BATCH = 40, 128
TELLING = 3  # directions of the input in which classes differ


@dataclasses.dataclass(frozen=True)
class Subject:
    """A method with settings and a net, on toy tasks of one kind."""

    cls: type[MetaLearner]
    chosen: Any
    net: Any
    item: tuple[int, ...]
    kind: Likelihood

    @property
    def tags(self) -> Tags:
        """What the method promises with these settings."""
        return self.cls.tags_with(self.chosen)

    def fresh(self, seed: int = 0) -> MetaLearner:
        """The method as its author initialises it, in float32."""
        outputs, pool_outputs = (WAYS, POOL_CLASSES) if self.kind == "categorical" else (1, 1)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            net = settings.make(settings.owner_of(self.net), self.net, item=self.item)
            method: MetaLearner = settings.make(
                self.cls, self.chosen, net=net, item=self.item, outputs=outputs, pool_outputs=pool_outputs
            )
        return method

    def build(self, seed: int = 0, dtype: torch.dtype = torch.float64) -> MetaLearner:
        """The method with every weight moved a little, away from special values that would hide a fault."""
        method = self.fresh(seed).to(dtype)
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for weight in method.parameters():
                weight.add_(torch.randn(weight.shape, generator=generator, dtype=dtype), alpha=0.05)
        return method

    def episodes(self, indices: Indices, dtype: torch.dtype = torch.float64, ways: int = WAYS) -> Episode:
        """Toy episodes: clusters to tell apart, or waves to continue."""
        if self.kind == "categorical":
            return to_device(_clusters(indices, self.item, ways), "cpu", dtype)
        return to_device(_waves(Sines().source().batch(indices), self.item), "cpu", dtype)

    def training(self, indices: Indices, dtype: torch.dtype = torch.float64) -> Episode:
        """What `meta_loss` takes: episodes, or flat batches of the pool."""
        if self.tags.trains_on == "episodes":
            return self.episodes(indices, dtype)
        if self.kind == "categorical":
            return to_device(_flat_clusters(indices, self.item), "cpu", dtype)
        return to_device(_waves(Sines().pool(batch=POOL_BATCH).batch(indices), self.item), "cpu", dtype)

    def noise(self, method: MetaLearner, indices: Indices, dtype: torch.dtype = torch.float64) -> tuple[Tensor, ...]:
        """The noise that the method asks for, [t, size], as arguments to go last: none, or one."""
        if not method.noise_size:
            return ()
        return (chance.noise(chance.key("checks", "noise"), indices, method.noise_size).to(dtype),)

    @property
    def how(self) -> How:
        """How tasks are run together."""
        return "map" if self.tags.maps else "loop"


def _clusters(indices: Indices, item: tuple[int, ...], ways: int) -> Episode:
    """Classes that differ in few directions, the same for all tasks, under larger noise in all others.

    The raw distance between two examples says little; who knows the directions tells the classes apart.
    """
    size, each = int(np.prod(item)), SHOTS + QUERIES
    telling = min(TELLING, size)
    drawn = chance.normals(chance.key("clusters"), indices, ways * (telling + each * size))
    centres = drawn[:, : ways * telling].reshape(-1, ways, 1, telling)
    x = _disguise(centres, drawn[:, ways * telling :].reshape(-1, ways, each, size), item)
    y = np.broadcast_to(np.eye(ways, dtype=bool)[:, None], (len(x), ways, each, ways))

    def part(take: slice) -> Examples:
        return _examples(x[:, :, take].reshape(len(x), -1, *item), y[:, :, take].reshape(len(x), -1, ways))

    return Episode(part(slice(SHOTS)), part(slice(SHOTS, None)))


def _flat_clusters(indices: Indices, item: tuple[int, ...]) -> Episode:
    """Flat batches over a fixed pool of such classes, for conventional training."""
    size = int(np.prod(item))
    telling = min(TELLING, size)
    centres = chance.normals(chance.key("pool centres"), range(POOL_CLASSES), telling)
    label = chance.words(chance.key("pool labels"), indices, POOL_BATCH) % np.uint64(POOL_CLASSES)
    noise = chance.normals(chance.key("pool noise"), indices, POOL_BATCH * size).reshape(-1, POOL_BATCH, size)
    x = _disguise(centres[label.astype(np.int64)], noise, item)
    batch = _examples(x, np.eye(POOL_CLASSES, dtype=bool)[label.astype(np.int64)])
    return Episode(batch, batch)


def _disguise(centres: NDArray[Any], noise: NDArray[Any], item: tuple[int, ...]) -> NDArray[Any]:
    """Examples around their centres, turned so that no coordinate shows the telling directions."""
    size, telling = noise.shape[-1], centres.shape[-1]
    turn = np.linalg.qr(chance.normals(chance.key("turn"), range(size), size))[0]
    told = 2.0 * centres + 0.5 * noise[..., :telling]
    x: NDArray[Any] = np.concatenate([told, 1.5 * noise[..., telling:]], axis=-1) @ turn
    return x.reshape(*x.shape[:-1], *item)


def _examples(x: NDArray[Any], y: NDArray[Any]) -> Examples:
    return Examples(torch.from_numpy(x), torch.from_numpy(y.copy()), torch.ones(x.shape[:2], dtype=torch.bool))


def _waves(sines: Episode, item: tuple[int, ...]) -> Episode:
    """Sines with x repeated over the item, both scaled so that step sizes meant for classes do not diverge."""
    scale = 0.8 / np.sqrt(np.prod(item))

    def spread(part: Examples) -> Examples:
        x = scale * part.x.reshape(*part.mask.shape, *(1 for _ in item))
        return part._replace(x=x.expand(*part.mask.shape, *item).contiguous(), y=part.y / 10)

    return Episode(spread(sines.support), spread(sines.query))
