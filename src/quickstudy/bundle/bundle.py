"""A trained method ready for use: adapt to a task's support, predict its queries, for one task or many at once."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from quickstudy.bundle import calibration, origin
from quickstudy.bundle.calibration import Calibration
from quickstudy.bundle.engine import Engine, Labels
from quickstudy.bundle.folder import MANIFEST, Contents, read, weights_bytes, write
from quickstudy.bundle.learner import Learner
from quickstudy.bundle.manifest import version_of
from quickstudy.core.learner import MetaLearner
from quickstudy.core.predictions import Likelihood, Prediction
from quickstudy.core.settings import dump
from quickstudy.core.shapes import Float, Shaped, Tensor
from quickstudy.encoders import Encoder
from quickstudy.errors import BundleError
from quickstudy.evaluate.novelty import plain_familiarities
from quickstudy.train.parts import Parts
from quickstudy.train.run import Run

__all__ = ["Bundle"]


class Bundle:
    """A trained method with all that is needed to use it: its encoder, its calibration and where it comes from.

    Args:
        method: The trained method.
        encoder: Makes its inputs of raw ones.
        name: What to call it.
        outputs: Ways, or the number of real values it predicts.
        likelihood: Whether it tells classes apart or predicts real values.
        parts: What the method is built of; by default what it and its net tell, if they do. Without, it is not saved.
        labels: The names of the classes that it was trained on.
        provenance: Where it comes from, as plain values.
        calibrations: How sure it should be and what is foreign to it, by the sizes of tasks.
        licence: Of the weights: an SPDX identifier, say.
        version: Of what was saved; by default it is made of settings, encoder and weights.
    """

    def __init__(
        self,
        method: MetaLearner,
        encoder: Encoder,
        *,
        name: str = "bundle",
        outputs: int,
        likelihood: Likelihood = "categorical",
        parts: Parts | None = None,
        labels: Sequence[str] = (),
        provenance: dict[str, Any] | None = None,
        calibrations: Sequence[Calibration] = (),
        licence: str = "",
        version: str | None = None,
    ) -> None:
        self.method, self.encoder, self.name = method.eval(), encoder.pinned(), name
        self.outputs, self.likelihood = outputs, likelihood
        self.parts = Parts.of(method, encoder.item, outputs) if parts is None else parts
        self.labels, self.calibrations, self.licence = tuple(labels), tuple(calibrations), licence
        self.provenance: dict[str, Any] = provenance or {}
        self._version = version
        self._engine = Engine(self.method, encoder.item, outputs, likelihood)

    # --- opening and saving -------------------------------------------------------------------------------------------

    @staticmethod
    def stands_in(folder: Path | str) -> bool:
        """Whether a folder says of itself that it is a bundle."""
        return (Path(folder) / MANIFEST).is_file()

    @classmethod
    def open(cls, folder: Path | str) -> Bundle:
        """The bundle in a folder, or that of the run in it.

        Raises:
            BundleError: it holds neither, or a bundle that is damaged or cannot be understood.
            CheckpointError: the run in it cannot be read.
        """
        if cls.stands_in(folder):
            return cls.load(folder)
        if not (Path(folder) / "run.yaml").exists():
            raise BundleError(
                f"{folder} holds neither a bundle nor a run: there is no {MANIFEST} or run.yaml in it. Check the path, "
                "or make a bundle with `quickstudy bundle RUN OUT`."
            )
        return cls.of_run(Run.open(folder))

    @classmethod
    def of_run(
        cls,
        run: Run,
        *,
        name: str | None = None,
        encoder: Encoder | None = None,
        sizes: Sequence[tuple[int, int]] = (),
        licence: str = "",
    ) -> Bundle:
        """The bundle of a run: its best weights by validation, or else its last.

        Args:
            run: A run that has been trained.
            name: What to call it; the name of the run's folder by default.
            encoder: What makes its inputs of raw ones; by default images for tasks of images, numbers for others.
            sizes: The (ways, shots) of tasks to calibrate it for, on validation tasks. That takes seconds each, and is
                kept in the run's folder.
            licence: Of the weights.

        Raises:
            CheckpointError: the run has nothing saved, or nothing that can be read.
            SettingsError: the encoder makes items of another shape.
        """
        found = origin.of_run(run, encoder)
        bundle = cls(
            found.method,
            found.encoder,
            name=run.folder.resolve().name if name is None else name,
            outputs=found.parts.outputs,
            likelihood=found.likelihood,
            parts=found.parts,
            labels=found.labels,
            provenance=found.provenance,
            licence=licence,
        )
        bundle.calibrate(run, sizes)
        return bundle

    def calibrate(self, run: Run, sizes: Sequence[tuple[int, int]]) -> None:
        """Be calibrated anew, for tasks of these (ways, shots), on validation tasks of the run it was made of.

        Sizes that the run's validation classes do not allow are left out; all are, for real values.
        """
        step = self.provenance["training"]["step"]
        classes = self.likelihood == "categorical"
        self.calibrations = calibration.of_run(run, step, self._engine.in_use, sizes if classes else ())

    def save(self, folder: Path | str, *, replace: bool = False) -> None:
        """Write the bundle's folder, whole or not at all.

        Args:
            folder: Where to; it must not exist yet, or hold a bundle that may be replaced.
            replace: Whether a bundle that stands there is replaced.

        Raises:
            BundleError: something stands there, it cannot be written, or the method or encoder has no settings.
        """
        if self.parts is None:
            raise BundleError(
                f"{self.name}: its {type(self.method).__name__} was not built of settings, so that it could not be "
                "built again. Make the bundle of a run, or give it the parts that the method is built of."
            )
        encoder: Any = self.encoder  # not all encoders are settings; mypy takes none for one
        if not dataclasses.is_dataclass(encoder):
            raise BundleError(
                f"{self.name}: its {type(self.encoder).__name__} has no settings by which it could be found again. Use "
                "an encoder that is named, such as text or vision."
            )
        contents = Contents(
            name=self.name,
            version=self.version,
            likelihood=self.likelihood,
            licence=self.licence,
            parts=self.parts,
            encoder=self.encoder,
            calibrations=self.calibrations,
            labels=self.labels,
            provenance=self.provenance,
        )
        write(Path(folder), contents, weights_bytes(self.method), replace=replace)

    @classmethod
    def load(cls, folder: Path | str) -> Bundle:
        """The bundle that `save` wrote, checked against its hashes.

        Raises:
            BundleError: there is none, it is damaged, or it says something that this quickstudy does not understand.
        """
        found, method = read(Path(folder))
        return cls(method, outputs=found.parts.outputs, **found._asdict())

    @functools.cached_property
    def version(self) -> str:
        """12 hex digits of a hash of all that learners depend on: settings, encoder and weights."""
        if self._version is not None:
            return self._version
        made_of = {"method": type(self.method).__qualname__} if self.parts is None else self.parts.plain()
        entries = {"encoder": dump(self.encoder), "likelihood": self.likelihood, "outputs": self.outputs, **made_of}
        return version_of(entries | {"sha256": hashlib.sha256(weights_bytes(self.method)).hexdigest()})

    # --- use ----------------------------------------------------------------------------------------------------------

    @property
    def ways(self) -> int | None:
        """The most classes that it takes; None where any number will do, or where it predicts real values."""
        return self._engine.ways

    @property
    def item(self) -> tuple[int, ...]:
        """The shape of one input."""
        return self.encoder.item

    def to(self, device: torch.device | str) -> Bundle:
        """This bundle, its method moved to a device."""
        self.method.to(device)
        return self

    def adapt(self, x: Shaped[Tensor, "n *item"], y: Labels, ways: int | None = None) -> Learner:
        """The learner of one task.

        Args:
            x: The support, as the encoder makes it.
            y: The class of each example, from 0 up to `ways`; or its real values, [n] or [n, outputs].
            ways: How many classes there are, each with an example or more; by default as many as `y` names.

        Raises:
            SettingsError: these do not fit each other, or are more classes than the bundle takes.
        """
        return self.adapt_many([(x, y, ways)])[0]

    def predict(self, learner: Learner, x: Shaped[Tensor, "n *item"]) -> Prediction:
        """What a learner of this bundle says of each input, at its temperature: the probabilities of its classes alone,
        or values.

        Raises:
            BundleError: the learner is of another bundle, or of another version of this one.
            SettingsError: the inputs have another shape.
        """
        return self.predict_many([(learner, x)])[0]

    def adapt_many(self, tasks: Sequence[tuple[Tensor, Labels, int | None]]) -> list[Learner]:
        """The learner of each task, as `adapt` makes it; tasks of like sizes in one mapped call.

        Raises:
            SettingsError: as `adapt`.
        """
        prepared = [self._engine.prepare(*task) for task in tasks]
        found = [calibration.nearest(self.calibrations, each.ways, each.shots) for each in prepared]
        temperatures = [1.0 if each is None else each.temperature for each in found]
        relative = any(each.relative for each in self.calibrations)
        made = self._engine.adapt([each.support for each in prepared], temperatures if relative else None)
        return [
            Learner(state, each.ways, self.version, calibration.cutoff(fit, levels), temperature)
            for (state, levels), each, fit, temperature in zip(made, prepared, found, temperatures, strict=True)
        ]

    def predict_many(self, asked: Sequence[tuple[Learner, Tensor]]) -> list[Prediction]:
        """What each learner says of its inputs, as `predict`; learners and inputs of like sizes in one mapped call.

        Raises:
            BundleError: as `predict`.
            SettingsError: as `predict`.
        """
        for learner, _ in asked:
            self._check_own(learner)
        return self._engine.predict(asked)

    def margins(self, learner: Learner, said: Prediction) -> Float[Tensor, " n"] | None:
        """How far each prediction's familiarity is above the learner's cutoff: below 0 it is of no class of the
        support. None where nobody can say."""
        if learner.cutoff is None:
            return None
        return plain_familiarities(said)[learner.cutoff.score] - learner.cutoff.value

    def _check_own(self, learner: Learner) -> None:
        if learner.version != self.version:
            raise BundleError(
                f"got a learner of version {learner.version}; {self.name} is version {self.version}, which answers "
                "otherwise. Use the bundle that made it, or make it again from its support."
            )
