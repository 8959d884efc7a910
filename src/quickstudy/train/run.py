"""A run: the folder that holds everything of one training, and how a method is made from what it says.

run.yaml          settings, versions, and the fingerprint of the training episodes
train.jsonl       one line a logged step or validation
checkpoints/      step-00000100.safetensors and .json (the newest two), best-00000080.* (the best two)
evaluation.json, report.html, report.md   written by evaluating it
"""

from __future__ import annotations

import dataclasses
import inspect
import json
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import torch
import yaml

import quickstudy
from quickstudy import registry
from quickstudy.core import files
from quickstudy.core.learner import CoTrained, MetaLearner, tags_of
from quickstudy.core.settings import Choice, Size, dump, load, owner_of, settings
from quickstudy.core.workers import Workers
from quickstudy.errors import CheckpointError, SettingsError
from quickstudy.tasks.source import Split, Tasks, TaskSource
from quickstudy.train import checkpoint
from quickstudy.train.parts import Parts
from quickstudy.train.settings import Training
from quickstudy.train.state import TrainState, load_weights, weights_of

__all__ = [
    "FORMAT",
    "Run",
    "RunSettings",
    "begun",
    "build_method",
    "parts_of",
    "pool_source",
    "training_source",
    "usual_net",
]

FORMAT = 1
POOL_EXAMPLES = 8
"""Conventional training takes this many examples for each task of `Training.batch`."""

Sizes = Size | tuple[Size, Size]


@settings
class RunSettings:
    """What a run is made of."""

    method: Annotated[Any, Choice("method")]
    """The method, by name and settings."""
    tasks: Annotated[Any, Choice("tasks")]
    """The tasks that it is evaluated on."""
    net: Annotated[Any, Choice("net")] = None
    """The net under it; None takes conv4 for images, and mlp for vectors unless the method reads them itself."""
    train: dict[str, Sizes] = dataclasses.field(default_factory=dict)
    """What training episodes have otherwise than the tasks: ways, shots, queries."""
    training: Training = Training()
    """How it is trained."""

    def plain(self) -> dict[str, Any]:
        """As nested plain values, which `RunSettings.read` takes."""
        return {
            "method": dump(self.method),
            "tasks": dump(self.tasks),
            "net": None if self.net is None else dump(self.net),
            "train": dump(self.train),
            "training": {name: dump(value) for name, value in vars(self.training).items()},
        }

    @staticmethod
    def read(plain: dict[str, Any]) -> RunSettings:
        """The settings that nested plain values (of a YAML file, say) stand for."""
        values = dict(plain)
        training = values.pop("training", None) or {}
        return RunSettings(**values, training=Training(**training))


def training_source(run: RunSettings) -> TaskSource:
    """The training episodes of a run, in the shape that its method and its batches need."""
    training = run.training
    if tags_of(run.method).trains_on == "pool":
        return _family(run).pool(training.split, training.seed, batch=POOL_EXAMPLES * training.batch)
    return _family(run).source(training.split, training.seed)


def pool_source(run: RunSettings, method: MetaLearner) -> TaskSource | None:
    """The flat batches that a run's method takes beside its training episodes; None if it takes none."""
    if not isinstance(method, CoTrained) or not method.flat_batch:
        return None
    return _family(run).pool(run.training.split, run.training.seed, batch=method.flat_batch)


def _family(run: RunSettings) -> Tasks:
    known = {f.name for f in dataclasses.fields(run.tasks)}
    changes: dict[str, Any] = dict(run.train)
    for name in changes:
        if name not in known:
            raise SettingsError(
                f"{type(run.tasks).__name__} has no setting {name!r}{registry.closest(name, known) or '.'}"
            )
    if "same_shape" in known and "same_shape" not in changes:
        changes["same_shape"] = run.training.batch
    family: Tasks = dataclasses.replace(run.tasks, **changes)
    return family


def build_method(run: RunSettings) -> MetaLearner:
    """A method with fresh weights, which depend on the settings and `training.seed` alone.

    Raises:
        SettingsError: the method cannot learn these tasks.
    """
    return parts_of(run).build(run.training.seed)


def parts_of(run: RunSettings) -> Parts:
    """What the method of a run is built of.

    Raises:
        SettingsError: the method cannot learn these tasks.
    """
    method = owner_of(run.method)
    source = run.tasks.source("train", run.training.seed)
    _check_fit(run, source)
    pool_outputs = None
    wanted = inspect.signature(inspect.unwrap(method.__init__)).parameters.get("pool_outputs")
    if wanted is not None:
        pool = run.tasks.pool(run.training.split, run.training.seed)
        # who can do without gets none of tasks whose classes are new each time: there a flat batch is one task
        pool_outputs = pool.outputs if pool.class_names or wanted.default is wanted.empty else None
    chosen = run.method
    if "likelihood" in {f.name for f in dataclasses.fields(chosen)} and chosen.likelihood != source.likelihood:
        chosen = dataclasses.replace(chosen, likelihood=source.likelihood)
    net = load("net", usual_net(method, images=len(source.item) == 3)) if run.net is None else run.net
    return Parts(chosen, net, source.item, source.outputs, pool_outputs)


def _check_fit(run: RunSettings, source: TaskSource) -> None:
    """Refuse tasks that the method does not claim to learn, before they fail somewhere inside it."""
    method, tags = owner_of(run.method), tags_of(run.method)
    if source.likelihood == "gaussian" and not tags.regression:
        setting = " with these settings" if method.tags.regression else ""
        raise SettingsError(
            f"{registry.name_of(method)}{setting} learns classes, and {registry.name_of(type(run.tasks))} has real "
            "values to predict. Choose a method for regression, such as reptile."
        )
    if source.likelihood == "categorical" and not tags.classification:
        raise SettingsError(
            f"{registry.name_of(method)} learns real values, and {registry.name_of(type(run.tasks))} has classes to "
            "tell apart. Choose a method for classes, such as protonet."
        )
    if tags.any_ways or source.likelihood == "gaussian":
        return
    trained, evaluated = (getattr(family, "ways", None) for family in (_family(run), run.tasks))
    if trained != evaluated or isinstance(trained, tuple):
        raise SettingsError(
            f"{registry.name_of(method)} takes tasks of one number of classes; got ways {trained} to train on and "
            f"{evaluated} to evaluate on. Choose one number for both, or a method that takes any, such as protonet."
        )


def usual_net(method: type[MetaLearner], images: bool) -> str:
    """The name of the net under a method where none is asked for."""
    return "conv4" if images else method.tags.vectors


def begun(run: RunSettings) -> MetaLearner:
    """A method as its training begins: fresh, but for what it takes from the run `training.start`.

    Raises:
        CheckpointError: that run cannot be read.
        SettingsError: its net is another one, it was trained on classes that this one is validated or tested on, or
            the method needs such a run and none is given.
    """
    built = build_method(run)
    if run.training.start is None:
        if built.needs_start:
            raise SettingsError(f"{registry.name_of(type(built))}: {built.needs_start}")
        return built
    before = Run.open(run.training.start)
    _refuse_seen(before.settings, run)
    built.start_from(before.method()[0])
    return built


def _refuse_seen(before: RunSettings, run: RunSettings) -> None:
    """Refuse to start from what was trained on classes that a run is to find new."""
    if type(before.tasks) is not type(run.tasks):
        return
    if getattr(before.tasks, "path", None) != getattr(run.tasks, "path", None):  # other data of the same form
        return
    seen = set(training_source(before).class_names)
    new: tuple[Split, ...] = ("val", "test") if run.training.split == "train" else ("test",)
    for split in new:
        if both := sorted(seen.intersection(run.tasks.source(split).class_names)):
            raise SettingsError(
                f"{run.training.start} was trained on {len(both)} of the {split} classes of these tasks, {both[0]!r} "
                "among them: it would remember them, not learn them. Start from a run that was trained on the classes "
                "that this one trains on."
            )


class Run:
    """A run's folder, made by `Run.create` and read by `Run.open`.

    Attributes:
        writes: Whether anything is written into it; of several workers, the first alone writes.
    """

    def __init__(self, folder: Path, settings: RunSettings, episodes: str) -> None:
        self.folder, self.settings, self.episodes = folder, settings, episodes
        self.writes = True

    @classmethod
    def create(cls, folder: Path | str, settings: RunSettings) -> Run:
        """A new run in a folder that holds none yet.

        Raises:
            SettingsError: there is a run in the folder.
            CheckpointError: the folder cannot be written.
        """
        folder = Path(folder)
        if (folder / "run.yaml").exists() or (folder / "checkpoints").exists():
            raise SettingsError(f"{folder} holds a run already. Go on with it (--resume), or choose another folder.")
        notes: dict[str, Any] = {
            "format": FORMAT,
            "quickstudy": quickstudy.__version__,
            "torch": str(torch.__version__),
            "episodes": training_source(settings).fingerprint,
            "settings": settings.plain(),
        }
        files.write(folder / "run.yaml", yaml.safe_dump(notes, sort_keys=False))
        return cls(folder, settings, notes["episodes"])

    @classmethod
    def open(cls, folder: Path | str) -> Run:
        """The run in a folder.

        Raises:
            CheckpointError: there is none, or it cannot be understood.
        """
        path = Path(folder) / "run.yaml"
        try:
            notes = yaml.safe_load(path.read_text(encoding="utf-8"))
            if notes["format"] != FORMAT:
                raise ValueError(f"it has format {notes['format']}, this quickstudy reads format {FORMAT}")
            return cls(Path(folder), RunSettings.read(notes["settings"]), notes["episodes"])
        except FileNotFoundError as error:
            raise CheckpointError(f"{folder} holds no run: no file {path}. Train one with --out {folder}.") from error
        except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError) as error:
            raise CheckpointError(f"{path} cannot be read: {error}. Restore it, or train again.") from error

    @classmethod
    def shared(cls, folder: Path | str, settings: RunSettings, workers: Workers) -> Run:
        """The run in a folder, made there first where there is none, for workers that train it together.

        Raises:
            SettingsError: the folder holds something else.
            CheckpointError: the folder cannot be written or read.
        """

        def made() -> Run:
            exists = not workers.first or (Path(folder) / "run.yaml").exists()
            return cls.open(folder) if exists else cls.create(folder, settings)

        run = workers.first_then_others(made)
        run.writes = workers.first
        return run

    @property
    def checkpoints(self) -> Path:
        """Where the run's checkpoints are."""
        return self.folder / "checkpoints"

    def save(self, state: TrainState) -> None:
        """Write a checkpoint of the state, unless a step broke its weights: the last good one then stays the newest.

        Raises:
            CheckpointError: it cannot be written.
        """
        if not (self.writes and state.sound):
            return
        name = f"step-{state.number:08d}"
        checkpoint.write(self.checkpoints, name, state.tensors(), state.scalars())

    def save_best(self, state: TrainState, validation: float) -> None:
        """Keep the weights of the state as the ones to evaluate.

        Raises:
            CheckpointError: they cannot be written.
        """
        if not self.writes:
            return
        weights = weights_of(state.method)
        scalars = {"number": state.number, "seconds": state.seconds, "validation": validation}
        checkpoint.write(self.checkpoints, f"best-{state.number:08d}", weights, scalars)

    def resume(self) -> tuple[TrainState, list[str]]:
        """The state to go on from, and what was wrong with newer checkpoints that had to be passed over.

        Raises:
            CheckpointError: all checkpoints are damaged, or the settings no longer make the same training episodes.
        """
        if training_source(self.settings).fingerprint != self.episodes:
            raise CheckpointError(
                f"{self.folder} was trained on other episodes than its settings make here: the data have changed. "
                "Restore them, or train a new run."
            )
        saved, damaged = checkpoint.newest(self.checkpoints)
        method = begun(self.settings) if saved is None else build_method(self.settings)
        state = TrainState(method, self.settings.training)
        if saved is not None:
            state.restore(*saved)
        if self.writes:
            self._forget_after(state.number)
        return state, damaged

    def method(self) -> tuple[MetaLearner, dict[str, Any]]:
        """The trained method (the best weights by validation, or else the last), and the numbers saved with them.

        Warns of damaged checkpoints that had to be passed over.

        Raises:
            CheckpointError: nothing has been saved, or nothing of it can be read.
        """
        kind = "best" if checkpoint.names(self.checkpoints, "best") else "step"
        saved, damaged = checkpoint.newest(self.checkpoints, kind)
        for message in damaged:
            warnings.warn(f"{message} An earlier one is used.", stacklevel=2)
        if saved is None:
            raise CheckpointError(f"{self.folder} has no checkpoint yet. Train it first (--resume).")
        built = build_method(self.settings)
        load_weights(built, saved.tensors)
        return built, saved.scalars

    def log(self, record: dict[str, Any]) -> None:
        """Append one record to train.jsonl.

        Raises:
            CheckpointError: it cannot be written.
        """
        if not self.writes:
            return
        try:
            with (self.folder / "train.jsonl").open("a", encoding="utf-8") as file:
                file.write(json.dumps(record) + "\n")
        except OSError as error:
            path = self.folder / "train.jsonl"
            raise CheckpointError(f"{path} cannot be written: {error.strerror}. Make room, then resume.") from error

    def history(self) -> Iterator[dict[str, Any]]:
        """The records of train.jsonl; a last line cut off by a crash is left out."""
        path = self.folder / "train.jsonl"
        for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
            try:
                yield json.loads(line)
            except ValueError:
                return

    def _forget_after(self, number: int) -> None:
        """Drop what was logged after the step that a resumed run goes on from; it will be logged again."""
        kept = [json.dumps(record) + "\n" for record in self.history() if record.get("step", 0) <= number]
        if (self.folder / "train.jsonl").exists():
            files.write(self.folder / "train.jsonl", "".join(kept))
