"""What an evaluation leaves behind: plain frozen values, written as JSON and read back with checks.

A number that is not finite (a diverged run) is null in the files, so that they are JSON everywhere, and `nan` here.
"""

from __future__ import annotations

import json
import math
import os
import platform
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import pydantic
import torch
from pydantic import BeforeValidator, TypeAdapter

import quickstudy
from quickstudy.core import files
from quickstudy.core.predictions import Metric
from quickstudy.errors import DataError

__all__ = [
    "Bin",
    "Calibration",
    "Comparison",
    "Competitor",
    "Curve",
    "Curves",
    "DrawnEpisode",
    "DrawnPoints",
    "DrawnQuery",
    "DrawnSupport",
    "Figure",
    "Interval",
    "Learned",
    "Machine",
    "Novelty",
    "Pair",
    "ProtocolInfo",
    "Recalibrated",
    "Record",
    "Result",
    "RunInfo",
    "Validated",
]

VERSION: Literal[1] = 1

Device = torch.device | str

Number = Annotated[float, BeforeValidator(lambda value: math.nan if value is None else value)]
"""A float that JSON may hold as null: one that was not finite."""

Sizes = int | tuple[int, int] | None
"""A fixed size, the range it is drawn from, or None where the tasks have no such size."""


@dataclass(frozen=True)
class Machine:
    """Where an evaluation ran."""

    processor: str
    cores: int
    """Cores that this process may use."""
    threads: int
    """Threads that torch uses for one operation."""
    torch: str
    quickstudy: str
    device: str

    @classmethod
    def here(cls, device: Device = "cpu") -> Machine:
        """This machine, with the name of its accelerator where `device` is one."""
        name = str(device)
        if torch.device(device).type == "cuda":
            name = f"{name} ({torch.cuda.get_device_name(device)})"
        return cls(
            processor=_processor(),
            cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
            threads=torch.get_num_threads(),
            torch=str(torch.__version__),
            quickstudy=quickstudy.__version__,
            device=name,
        )


@dataclass(frozen=True)
class RunInfo:
    """What was trained, and how."""

    name: str
    method: str
    """Registered name, or address."""
    method_settings: dict[str, Any]
    net: dict[str, Any]
    normalisation: str
    """As `quickstudy.nets.norm.normalisation` says it."""
    transductive: bool
    """Whether queries may influence each other's predictions."""
    tasks: dict[str, Any]
    training: dict[str, Any]
    steps: int
    """Training steps done."""
    seconds: Number
    """Wall-clock time of training."""
    seed: int
    parameters: int
    """How many numbers are meta-learned."""


@dataclass(frozen=True)
class ProtocolInfo:
    """What was asked: the episodes, by what determines them, and their hash."""

    tasks: dict[str, Any]
    split: str
    ways: Sizes
    shots: Sizes
    queries: Sizes
    episodes: int
    seed: int
    fingerprint: str
    """Of the task source: equal fingerprints, equal episodes at every index."""
    digest: str
    """Of this list of episodes; only results with equal digests may be compared in pairs."""


@dataclass(frozen=True)
class Result:
    """How one method did on the episodes of a protocol."""

    name: str
    metric: Metric
    mean: Number
    """Over episodes."""
    low: Number
    """Lower end of the 95% t-interval over episodes."""
    high: Number
    class_low: float | None
    """Lower end of the 95% interval over resampled classes; None where tasks have no classes."""
    class_high: float | None
    values: tuple[Number, ...]
    """The metric of each episode, in order."""
    nll: Number
    """Mean negative log-likelihood of a query, in nats."""
    seconds: Number
    """Wall-clock time of adapting and predicting."""
    digest: str
    """Of the episodes."""


@dataclass(frozen=True)
class Curve:
    """A metric along inner steps or shots, with its 95% t-interval at each."""

    x: tuple[int, ...]
    mean: tuple[Number, ...]
    low: tuple[Number, ...]
    high: tuple[Number, ...]
    floors: dict[str, tuple[Number, ...]] = field(default_factory=dict)
    """Means of the floors at the same `x`."""


@dataclass(frozen=True)
class Curves:
    """The curves of a run; None where its method or tasks have none."""

    steps: Curve | None = None
    """Over inner steps; 0 is before adaptation."""
    shots: Curve | None = None


@dataclass(frozen=True)
class Bin:
    """The predictions whose confidence lies in (low, high]."""

    low: float
    high: float
    count: int
    confidence: Number
    """Mean; null where the bin is empty."""
    accuracy: Number


@dataclass(frozen=True)
class Calibration:
    """Whether probabilities mean what they say, over the queries of all episodes."""

    bins: tuple[Bin, ...]
    ece: Number
    """Expected calibration error: the mean |accuracy - confidence| of the bins, weighted by count."""
    nll: Number
    brier: Number


@dataclass(frozen=True)
class Interval:
    """Whether central intervals of real values hold as many as they say, over the queries of all episodes."""

    level: float
    """What they say: the probability with which a value lies inside."""
    coverage: Number
    """The fraction of values that did."""
    width: Number
    """Mean: how sharp they are."""


@dataclass(frozen=True)
class Recalibrated:
    """What predictions are worth at one temperature, fitted on validation tasks: `quickstudy.evaluate.temperature`."""

    temperature: Number
    """Logits were divided by it, deviations multiplied."""
    episodes: int
    """Validation tasks that it was fitted on."""
    nll: Number
    """The mean over all queries, in nats."""
    calibration: Calibration | None
    """Of classes; None for real values."""
    intervals: tuple[Interval, ...]
    """Of real values; empty for classes."""


@dataclass(frozen=True)
class Novelty:
    """How well queries of no class of the support are told from those that belong."""

    score: str
    """The familiarity that is asked; `quickstudy.evaluate.novelty` says what each is."""
    threshold: Number
    """Below it a query is flagged. Like the score, it was chosen on validation tasks."""
    auroc: Number
    """The probability that a query of the support's classes is more familiar than one of another class."""
    kept: Number
    """The fraction of queries of the support's classes that are not flagged."""
    flagged: Number
    """The fraction of queries of other classes that are."""


@dataclass(frozen=True)
class Figure:
    """What a method measures of itself, over episodes."""

    name: str
    """As the method calls it."""
    mean: Number
    low: Number
    """Lower end of the 95% t-interval."""
    high: Number


@dataclass(frozen=True)
class Learned:
    """A point of the learning curve."""

    step: int
    loss: Number
    seconds: Number
    """Since training began."""


@dataclass(frozen=True)
class Validated:
    """A point of the validation curve."""

    step: int
    validation: Number
    low: Number
    high: Number


@dataclass(frozen=True)
class DrawnSupport:
    """A support image, as a data URI, and the position of its class in the episode's `classes`."""

    image: str
    label: int


@dataclass(frozen=True)
class DrawnQuery:
    """A query image with its true and predicted class."""

    image: str
    label: int
    predicted: int
    probability: Number
    """Of the predicted class."""


@dataclass(frozen=True)
class DrawnEpisode:
    """One test episode of images, for people to look at."""

    classes: tuple[str, ...]
    support: tuple[DrawnSupport, ...]
    queries: tuple[DrawnQuery, ...]


@dataclass(frozen=True)
class DrawnPoints:
    """One test episode of a regression from one number to one number: points, and the learner's mean between them."""

    support: tuple[tuple[Number, Number], ...]
    queries: tuple[tuple[Number, Number], ...]
    curve: tuple[tuple[Number, Number], ...]


class Kept:
    """What is kept as one JSON file."""

    def to_json(self) -> dict[str, Any]:
        """Plain values for `json.dump`."""
        values: dict[str, Any] = json.loads(TypeAdapter(type(self)).dump_json(self))
        return {"version": values.pop("version"), **values}

    @classmethod
    def from_json(cls, values: Any, origin: str = "the record") -> Self:
        """Read back what `to_json` gave.

        Raises:
            DataError: something is missing or of the wrong type; `origin` is what the message calls it.
        """
        version = values.get("version") if isinstance(values, dict) else None
        if version != VERSION:
            raise DataError(
                f"{origin}: got version {version!r}, expected {VERSION}. Evaluate again, or read it with the "
                "quickstudy that wrote it."
            )
        try:
            return TypeAdapter(cls).validate_python(values)
        except pydantic.ValidationError as error:
            first = error.errors()[0]
            at = ".".join(str(part) for part in first["loc"])
            raise DataError(
                f"{origin}: {at}: {first['msg'].lower()}. It was changed or cut off; evaluate again."
            ) from None

    def save(self, path: str | Path) -> None:
        """Write it as JSON, in one piece or not at all.

        Raises:
            CheckpointError: it cannot be written.
        """
        files.write(Path(path), json.dumps(self.to_json(), ensure_ascii=False, allow_nan=False) + "\n")

    @classmethod
    def read(cls, path: str | Path) -> Self:
        """Read what `save` wrote.

        Raises:
            DataError: no such file, no JSON, or not what this class keeps.
        """
        return cls.from_json(_read_json(Path(path)), str(path))


@dataclass(frozen=True)
class Record(Kept):
    """Everything about the evaluation of one run: `evaluation.json`."""

    run: RunInfo
    protocol: ProtocolInfo
    machine: Machine
    result: Result
    floors: tuple[Result, ...] = ()
    curves: Curves = Curves()
    calibration: Calibration | None = None
    intervals: tuple[Interval, ...] = ()
    """Of real values; empty for classes."""
    recalibrated: Recalibrated | None = None
    """The same at a temperature; None where none was fitted."""
    novelty: Novelty | None = None
    """Of classes; None where it was not measured."""
    examined: tuple[Figure, ...] = ()
    """What the method measured of itself; most measure nothing."""
    learning: tuple[Learned | Validated, ...] = ()
    episodes: tuple[DrawnEpisode | DrawnPoints, ...] = ()
    version: Literal[1] = VERSION


@dataclass(frozen=True)
class Competitor:
    """One side of a comparison."""

    run: RunInfo
    result: Result


@dataclass(frozen=True)
class Pair:
    """Two runs on the same episodes, by name."""

    a: str
    b: str
    difference: Number
    """Mean of a - b over episodes."""
    low: Number
    high: Number
    p: Number
    """Of the sign-flip test that neither is better."""
    p_holm: Number
    """Adjusted for all the pairs of the comparison."""


@dataclass(frozen=True)
class Comparison(Kept):
    """Several runs on the same episodes: `comparison.json`."""

    protocol: ProtocolInfo
    machine: Machine
    results: tuple[Competitor, ...]
    pairs: tuple[Pair, ...]
    version: Literal[1] = VERSION


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(f"{path}: no such file. Run `quickstudy evaluate` first.") from None
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read as JSON ({error}). Evaluate again.") from None


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine() or "unknown"
