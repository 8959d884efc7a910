"""`quickstudy adapt`: a trained run and a few examples of new classes, and it tells them apart."""

from __future__ import annotations

import csv
import dataclasses
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TextIO

from cyclopts import Parameter

from quickstudy.cli import screen
from quickstudy.cli.screen import Switch
from quickstudy.errors import DataError, SettingsError

if TYPE_CHECKING:
    from quickstudy.core.learner import MetaLearner
    from quickstudy.core.shapes import Tensor
    from quickstudy.evaluate.novelty import Detector
    from quickstudy.tasks.source import TaskSource

__all__ = ["EXAMPLES", "adapt"]

EXAMPLES = """\
The folder holds a subfolder for each class, with one example or more:
  letters/alpha/1.png   letters/alpha/2.png   letters/beta/1.png

Examples:
  quickstudy adapt runs/demo letters unknown.png another.png
  quickstudy adapt runs/demo letters scans/ --csv predictions.csv
"""


def adapt(
    run: Path,
    folder: Path,
    /,
    *files: Path,
    csv: Annotated[Path | None, Parameter(name="--csv", allow_leading_hyphen=True)] = None,
    invert: Literal["auto", "yes", "no"] = "auto",
    json: Switch = False,
    threads: int | None = None,
) -> int:
    """Learn new classes from a folder with a few examples of each, and say what other images show.

    Images that seem to belong to none of the classes are flagged: their familiarity is below what 95 of 100 queries of
    the right classes had on validation tasks. That is measured once, and kept in the run's folder.

    Args:
        run: A trained run's folder.
        folder: One subfolder a class, with its examples as images.
        files: Images to recognise, or folders of them.
        csv: Write the predictions, with the probability of every class, to this file; - is standard output.
        invert: Whether to take the negative of the images. "auto" does when the run learned bright strokes on dark
            ground and these are dark on bright.
        json: Print the predictions as JSON, and nothing else, on standard output.
        threads: Threads for torch; by default as many as there are idle processors.
    """
    from quickstudy.tasks.images import class_folders, files_in

    classes = class_folders(folder)
    if len(classes) < 2:
        raise DataError(
            f"{folder} holds 1 class, {next(iter(classes))!r}; telling apart takes 2 or more. Add a folder."
        )
    asked = [file for place in files for file in files_in(place)]
    if not asked:
        got = f"no images in {', '.join(map(str, files))}" if files else "no files"
        raise SettingsError(f"got {got} to recognise; name image files, or folders of them, after {folder}.")
    if csv is not None and not csv.parent.is_dir():
        raise SettingsError(
            f"--csv {csv}: there is no folder {str(csv.parent)!r}. Make it first, or name another file."
        )
    predicted = _recognise(run, classes, asked, invert)
    if csv is not None:
        _write(csv, list(classes), asked, predicted, silent=bool(json))
    if json:
        screen.json_out([_plain(list(classes), file, each) for file, each in zip(asked, predicted, strict=True)])
    elif csv is None:
        _show(list(classes), asked, predicted)
    return 0


@dataclasses.dataclass(frozen=True)
class Predicted:
    """What is said of one file."""

    probability: list[float]
    """Of each class."""
    margin: float | None
    """How much more familiar it is than the threshold; below 0 it belongs to no class. None where nobody can say."""

    @property
    def best(self) -> int:
        """The most likely class."""
        return max(range(len(self.probability)), key=lambda at: self.probability[at])

    @property
    def known(self) -> str:
        """Whether it seems to belong to one of the classes, in a word; "" where nobody can say."""
        return "" if self.margin is None else "yes" if self.margin >= 0 else "no"


def _recognise(run: Path, classes: dict[str, list[Path]], asked: list[Path], invert: str) -> list[Predicted]:
    """What is said of each file."""
    import torch

    from quickstudy.cli.novelty import detector
    from quickstudy.tasks.images import read_images
    from quickstudy.train.run import Run

    opened = Run.open(run)
    method, scalars = opened.method()
    source = opened.settings.tasks.source("train")
    if source.likelihood != "categorical":
        raise SettingsError(f"{run} learns real values, not classes; adapt takes a run on images of classes.")
    ways = _ways(method, source.outputs, list(classes), run)
    known = [file for files in classes.values() for file in files]
    pixels = read_images([*known, *asked], source.item, invert=invert == "yes")
    if invert == "auto" and _other_way_round(pixels[: len(known)], source):
        screen.warn("Dark on bright: taking the negative, as the run was trained. --invert no keeps them as they are.")
        pixels = 255 - pixels
    x = pixels.float() / 255
    labels = torch.tensor([at for at, files in enumerate(classes.values()) for _ in files])
    y = torch.nn.functional.one_hot(labels, ways).bool()
    method.eval()
    shots = min(len(files) for files in classes.values())
    found = detector(opened, method, scalars["number"], {"ways": ways, "shots": shots})
    if found is None:
        screen.warn("Foreign images are not flagged: the run's validation tasks have too few classes to learn it from.")
    with torch.no_grad():
        probability, margins = _predict(method, x[: len(known)], y, x[len(known) :], found)
    probability = probability[:, : len(classes)]
    rows: list[list[float]] = (probability / probability.sum(-1, keepdim=True)).tolist()
    return [Predicted(row, margin) for row, margin in zip(rows, margins, strict=True)]


def _predict(
    method: MetaLearner, known: Tensor, y: Tensor, asked: Tensor, found: Detector | None
) -> tuple[Tensor, list[float] | list[None]]:
    """The probability of each class for each input, and the margin of its familiarity."""
    import torch

    from quickstudy.core import chance
    from quickstudy.core.episode import Examples

    noise = [chance.noise(chance.key("adapt"), [0], method.noise_size)[0]] if method.noise_size else []
    mask = torch.ones(len(y), dtype=torch.bool)
    learner = method.adapt(Examples(known, y, mask), *noise)
    said = method.predict(learner, asked)
    if found is None:
        return said.mean, [None] * len(asked)
    margins: list[float] = found.margin(said, method.predict(learner, known), mask).tolist()
    return said.mean, margins


def _ways(method: Any, outputs: int, names: Sequence[str], run: Path) -> int:
    """How many classes the labels have places for: more than there are names where the method has a fixed number."""
    if method.tags.any_ways:
        return len(names)
    if len(names) > outputs:
        raise SettingsError(
            f"{run} was trained for tasks of {outputs} classes and its method, {type(method).__name__}, takes no more; "
            f"got {len(names)}: {', '.join(names)}. Leave {len(names) - outputs} out, train with "
            f"--tasks.ways {len(names)}, or use a run of a method that takes any number, such as protonet."
        )
    return outputs


def _other_way_round(known: Tensor, source: TaskSource) -> bool:
    """Whether these images are dark on bright, where the run was trained on bright on dark."""
    from quickstudy.tasks.images import dark_on_bright

    trained = source.batch([0]).support.x[0]
    return str(trained.dtype) == "torch.uint8" and dark_on_bright(known) and not dark_on_bright(trained)


def _show(names: list[str], asked: list[Path], predicted: list[Predicted]) -> None:
    rows = []
    for file, each in zip(asked, predicted, strict=True):
        row = each.probability
        first, second = sorted(range(len(names)), key=lambda at: -row[at])[:2]
        rows.append([str(file), names[first], f"{row[first]:.1%}", each.known, f"{names[second]} {row[second]:.1%}"])
    screen.table(["File", "Class", "Probability", "Known", "Next"], rows, right=[2])
    foreign = sum(each.known == "no" for each in predicted)
    if foreign:
        screen.say(f"{foreign} of {len(asked)} seem{'s' * (foreign == 1)} to belong to no class (Known: no).")


def _write(path: Path, names: list[str], asked: list[Path], predicted: list[Predicted], silent: bool) -> None:
    to_screen = str(path) == "-"
    opened: Any = nullcontext(sys.stdout) if to_screen else path.open("w", newline="", encoding="utf-8")
    with opened as file:
        _rows(file, names, asked, predicted)
    if not (to_screen or silent):
        screen.say(f"{len(asked)} prediction{'s' * (len(asked) != 1)} written to {path}.")


def _rows(file: TextIO, names: list[str], asked: list[Path], predicted: list[Predicted]) -> None:
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["file", "class", "probability", "known", "familiarity", *names])
    for name, each in zip(asked, predicted, strict=True):
        margin = "" if each.margin is None else f"{each.margin:.6f}"
        probabilities = [f"{p:.6f}" for p in each.probability]
        writer.writerow([name, names[each.best], probabilities[each.best], each.known, margin, *probabilities])


def _plain(names: list[str], file: Path, each: Predicted) -> dict[str, Any]:
    """What is said of a file, for JSON."""
    return {
        "file": str(file),
        "class": names[each.best],
        "probability": each.probability[each.best],
        "known": None if each.margin is None else each.margin >= 0,
        "familiarity": each.margin,
        "probabilities": dict(zip(names, each.probability, strict=True)),
    }
