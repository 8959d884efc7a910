"""`quickstudy adapt`: a bundle or run and a few examples of new classes, and it tells them apart."""

from __future__ import annotations

import csv
import dataclasses
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TextIO

from cyclopts import Parameter

from quickstudy.cli import screen
from quickstudy.cli.screen import Switch
from quickstudy.errors import DataError, SettingsError

if TYPE_CHECKING:
    from quickstudy.bundle import Bundle
    from quickstudy.core.shapes import Tensor

__all__ = ["EXAMPLES", "adapt", "known_classes"]

EXAMPLES = """\
The folder holds a subfolder for each class, with one example or more:
  letters/alpha/1.png   letters/alpha/2.png   letters/beta/1.png

Examples:
  quickstudy adapt runs/demo-glyphs letters unknown.png another.png
  quickstudy adapt runs/demo-glyphs letters scans/ --csv predictions.csv
  quickstudy adapt my-bundle letters unknown.png
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

    Probabilities are taken at the temperature that made the right classes of validation tasks likeliest. Images that
    seem to belong to none of the classes are flagged: their familiarity is below what 95 of 100 queries of the right
    classes had there. A bundle holds both; for a run they are measured once, and kept in its folder.

    Args:
        run: The folder of a bundle or of a trained run.
        folder: One subfolder a class, with its examples as images.
        files: Images to recognise, or folders of them.
        csv: Write the predictions, with the probability of every class, to this file; - is standard output.
        invert: Whether to take the negative of the images. "auto" does when the run learned bright strokes on dark
            ground and these are dark on bright.
        json: Print the predictions as JSON, and nothing else, on standard output.
        threads: Threads for torch; by default as many as there are idle processors.
    """
    from quickstudy.tasks.images import files_in

    classes = _classes(folder)
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


def known_classes(bundle: Bundle, folder: Path) -> tuple[list[str], Tensor, list[int]]:
    """The classes of a folder: their names, and their examples as a bundle's items with the number of the class."""
    classes = _classes(folder)
    _check_takes(bundle, bundle.name, list(classes))
    files = [file for each in classes.values() for file in each]
    return list(classes), bundle.encoder.encode(files), _labels(classes)


def _classes(folder: Path) -> dict[str, list[Path]]:
    from quickstudy.tasks.images import class_folders

    classes = class_folders(folder)
    if len(classes) < 2:
        raise DataError(
            f"{folder} holds 1 class, {next(iter(classes))!r}; telling apart takes 2 or more. Add a folder."
        )
    return classes


def _labels(classes: dict[str, list[Path]]) -> list[int]:
    return [at for at, files in enumerate(classes.values()) for _ in files]


def _recognise(run: Path, classes: dict[str, list[Path]], asked: list[Path], invert: str) -> list[Predicted]:
    """What is said of each file."""
    from quickstudy.bundle import Bundle
    from quickstudy.train.run import Run

    trained = None if Bundle.stands_in(run) else Run.open(run)
    bundle = Bundle.load(run) if trained is None else Bundle.of_run(trained)
    _check_takes(bundle, run, list(classes))
    known = [file for files in classes.values() for file in files]
    x = _read(bundle, known, asked, invert)
    if trained is not None:
        bundle.calibrate(trained, [(len(classes), min(len(files) for files in classes.values()))])
    learner = bundle.adapt(x[: len(known)], _labels(classes), len(classes))
    if learner.cutoff is None:
        screen.warn("Foreign images are not flagged: too few validation classes were there to learn it from.")
    said = bundle.predict(learner, x[len(known) :])
    margins = bundle.margins(learner, said)
    each_margin = [None] * len(asked) if margins is None else margins.tolist()
    rows: list[list[float]] = said.mean.tolist()
    return [Predicted(row, margin) for row, margin in zip(rows, each_margin, strict=True)]


def _check_takes(bundle: Bundle, folder: Path | str, names: list[str]) -> None:
    """Refuse a bundle that does not tell such classes of images apart."""
    if bundle.likelihood != "categorical":
        raise SettingsError(f"{folder} learns real values, not classes; images of classes take another run or bundle.")
    if bundle.encoder.kind != "image":
        raise SettingsError(f"{folder} takes inputs of kind {bundle.encoder.kind!r}; image files take another.")
    if bundle.ways is not None and len(names) > bundle.ways:
        raise SettingsError(
            f"{folder} was trained for tasks of {bundle.ways} classes and its method, {type(bundle.method).__name__}, "
            f"takes no more; got {len(names)}: {', '.join(names)}. Leave {len(names) - bundle.ways} out, train with "
            f"--tasks.ways {len(names)}, or use a run of a method that takes any number, such as protonet."
        )


def _read(bundle: Bundle, known: list[Path], asked: list[Path], invert: str) -> Tensor:
    """The items of these image files. All are turned, or none: unless asked, if the known ones need it."""
    from quickstudy.encoders import ImageEncoder
    from quickstudy.tasks.images import dark_on_bright

    encoder = bundle.encoder
    if not isinstance(encoder, ImageEncoder):
        return encoder.encode([*known, *asked])
    pixels = encoder.pixels([*known, *asked])
    turn = invert == "yes"
    if invert == "auto" and encoder.invert == "paper" and dark_on_bright(pixels[: len(known)]):
        screen.warn("Dark on bright: taking the negative, as the run was trained. --invert no keeps them as they are.")
        turn = True
    return dataclasses.replace(encoder, invert="always" if turn else "never").fractions(pixels)


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
