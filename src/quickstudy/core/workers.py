"""Several processes that do one job: who one is among them, and the little that is said between them.

`torchrun --nproc-per-node=2 -m quickstudy train ...` starts two workers. Work is shared by index; what they find is
added up or gathered, so that every worker knows the same and decides alike. One process alone says nothing to anybody
and pays nothing.
"""

from __future__ import annotations

import contextlib
import os
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import safetensors.numpy
import torch
from numpy.typing import NDArray
from torch import distributed
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous

from quickstudy.core.shapes import Float, Tensor
from quickstudy.errors import WorkersError

__all__ = ["Arrays", "Workers", "join", "leave", "torchrun"]

Items = TypeVar("Items", bound=Sequence[Any])
Found = TypeVar("Found")
Arrays = Mapping[str, NDArray[Any]]
"""Arrays of any shapes, by name."""

_store: Any = None
"""Where the workers of this job leave word for each other, besides their messages; None alone."""


class Workers:
    """The workers of a job as one of them sees them.

    Every method that speaks to the others must be called by all of them, in the same order.

    Args:
        rank: Which one this is, from 0.
        count: How many there are; one alone by default.
    """

    def __init__(self, rank: int = 0, count: int = 1) -> None:
        self.rank, self.count = rank, count
        self.stop = False
        """Whether this worker was asked to stop; the others learn it by `add_up`."""
        self._stops: Tensor | None = None

    @classmethod
    def here(cls) -> Workers:
        """The workers that this process has joined."""
        if _store is None:
            return cls()
        return cls(distributed.get_rank(), distributed.get_world_size())

    @property
    def first(self) -> bool:
        """Whether this is the worker that writes and speaks."""
        return self.rank == 0

    @property
    def stopping(self) -> bool:
        """Whether any worker had been asked to stop when gradients were last added up: the same for all."""
        if self.count == 1:
            return self.stop
        return self._stops is not None and bool(self._stops.item() > 0)

    def share(self, items: Items) -> Items:
        """This worker's part of a sequence: neighbours, that it may take in the chunks that one process would."""
        first, end = (len(items) * rank // self.count for rank in (self.rank, self.rank + 1))
        return items[first:end]  # type: ignore[return-value]

    def add_up(
        self, slopes: Sequence[Tensor | None], shapes: Sequence[torch.Size], number: Float[Tensor, ""]
    ) -> tuple[Sequence[Tensor | None], Float[Tensor, ""]]:
        """The sum over workers of each slope, and of a number, whose precision all are in.

        One flat buffer goes round once; every worker has the same sums, to the bit. A slope that a worker lacks counts
        as zero, and is None where no worker has one.

        Args:
            slopes: This worker's.
            shapes: Of the slopes, those that are lacking too.
            number: This worker's.

        Raises:
            WorkersError: a worker is lost.
        """
        if self.count == 1:
            return slopes, number
        full = [number.new_zeros(s) if slope is None else slope for slope, s in zip(slopes, shapes, strict=True)]
        notes = number.new_tensor([float(self.stop), *(float(slope is not None) for slope in slopes)])
        flat = torch.cat([*(slope.flatten() for slope in full), number.reshape(1), notes])
        with _in_touch():
            distributed.all_reduce(flat)
        *sums, number, self._stops, known = torch.split(flat, [*(slope.numel() for slope in full), 1, 1, len(full)])
        # in this order: reading `known` would wait for a GPU
        return [
            None if own is None and known[place] == 0 else sums[place].view(shapes[place])
            for place, own in enumerate(slopes)
        ], number.reshape(())

    def agree(self, value: float) -> float:
        """The first worker's value.

        Raises:
            WorkersError: a worker is lost.
        """
        if self.count == 1:
            return value
        told = torch.tensor([value], dtype=torch.float64)
        with _in_touch():
            distributed.broadcast(told, 0)
        return told.item()

    def gather(self, arrays: Arrays) -> list[Arrays]:
        """What each worker gives, in their order: arrays by name, of any shapes.

        Raises:
            WorkersError: a worker is lost.
        """
        if self.count == 1:
            return [arrays]
        packed = safetensors.numpy.save({name: np.ascontiguousarray(array) for name, array in arrays.items()})
        own = torch.frombuffer(bytearray(packed), dtype=torch.uint8)
        with _in_touch():
            sizes = [torch.zeros(1, dtype=torch.int64) for _ in range(self.count)]
            distributed.all_gather(sizes, torch.tensor([len(own)]))
            longest = max(int(size) for size in sizes)
            given = [torch.empty(longest, dtype=torch.uint8) for _ in sizes]
            distributed.all_gather(given, torch.nn.functional.pad(own, (0, longest - len(own))))
        parts = zip(given, sizes, strict=True)
        return [safetensors.numpy.load(part[: int(size)].numpy().tobytes()) for part, size in parts]

    def first_then_others(self, do: Callable[[], Found]) -> Found:
        """Do something: the first worker alone, then the others, who find what it wrote; then all go on.

        Raises:
            WorkersError: a worker is lost.
        """
        if self.first:
            found = do()
            self._meet()
            self._meet()
            return found
        self._meet()
        found = do()
        self._meet()
        return found

    def fails_first(self) -> bool:
        """Note that this worker cannot go on, and say whether it is the first: then it is the one to say why."""
        if self.count == 1:
            return True
        try:
            return bool(_store.add("failed", 1) == 1)
        except RuntimeError:  # nobody is left to ask
            return True

    def _meet(self) -> None:
        """Wait until every worker is here."""
        if self.count > 1:
            with _in_touch():
                distributed.all_reduce(torch.zeros(1))  # not `barrier`, which would do it on the GPU


def torchrun() -> bool:
    """Whether torchrun started this process; it may then start it again."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def join() -> Workers:
    """Meet the other workers, where torchrun started several; `leave` ends it.

    Where there are GPUs, each worker of a machine takes one of its own.

    Raises:
        WorkersError: they cannot be met.
    """
    global _store  # noqa: PLW0603
    if _store is not None:
        return Workers.here()
    if not torchrun() or os.environ.get("WORLD_SIZE", "1") == "1":
        return Workers()
    backend = "gloo"
    if torch.cuda.is_available():
        gpus = torch.cuda.device_count()
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]) % gpus)
        if int(os.environ["LOCAL_WORLD_SIZE"]) <= gpus:  # NCCL refuses two workers on one GPU
            backend = "cpu:gloo,cuda:nccl"
    with _in_touch():
        shared, rank, count = next(rendezvous("env://"))
        # torchrun keeps its store when it starts workers again, with the addresses of those that died.
        store = PrefixStore(_meeting(shared, rank, count), shared)
        distributed.init_process_group(backend, store=store, rank=rank, world_size=count)
    _store = PrefixStore("quickstudy", store)
    return Workers.here()


def _meeting(store: Any, rank: int, count: int) -> str:
    """A name that the workers of this start agree on, and none of an earlier start of the job has used.

    The first calls by a new name; the others answer whatever call they see with a name of their own, and know by its
    echo that it was not an old one.
    """
    own = uuid.uuid4().hex
    if rank == 0:
        store.set("call", own)
        store.set(f"{own}/heard", ",".join(store.get(f"{own}/{other}").decode() for other in range(1, count)))
        return own
    while True:
        call: str = store.get("call").decode()
        store.set(f"{call}/{rank}", own)
        if store.check([f"{call}/heard"]) and own in store.get(f"{call}/heard").decode().split(","):
            return call
        time.sleep(0.01)


def leave() -> None:
    """Part from the other workers, if there are any."""
    global _store  # noqa: PLW0603
    if _store is not None:
        _store = None
        distributed.destroy_process_group()


@contextlib.contextmanager
def _in_touch() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        reason = str(error).strip().partition("\n")[0]
        raise WorkersError(
            "another worker of this job has stopped, and none can go on without it. torchrun starts all of them again "
            f"where --max-restarts allows; otherwise give its command again. ({reason})"
        ) from error
