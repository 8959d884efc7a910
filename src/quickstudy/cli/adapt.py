"""`quickstudy adapt`: a trained run and a few examples of new classes, and it tells them apart."""

from __future__ import annotations

import csv
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TextIO

from cyclopts import Parameter

from quickstudy.cli import screen
from quickstudy.errors import DataError, SettingsError

if TYPE_CHECKING:
    from quickstudy.core.learner import MetaLearner
    from quickstudy.core.shapes import Tensor
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
    threads: int | None = None,
) -> int:
    """Learn new classes from a folder with a few examples of each, and say what other images show.

    Args:
        run: A trained run's folder.
        folder: One subfolder a class, with its examples as images.
        files: Images to recognise, or folders of them.
        csv: Write the predictions, with the probability of every class, to this file; - is standard output.
        invert: Whether to take the negative of the images. "auto" does when the run learned bright strokes on dark
            ground and these are dark on bright.
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
    if csv is None:
        _show(list(classes), asked, predicted)
    else:
        _write(csv, list(classes), asked, predicted)
    return 0


def _recognise(run: Path, classes: dict[str, list[Path]], asked: list[Path], invert: str) -> list[list[float]]:
    """The probability of each class for each file."""
    import torch

    from quickstudy.tasks.images import read_images
    from quickstudy.train.run import Run

    opened = Run.open(run)
    method, _ = opened.method()
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
    with torch.no_grad():
        probability = _predict(method, x[: len(known)], y, x[len(known) :])[:, : len(classes)]
    rows: list[list[float]] = (probability / probability.sum(-1, keepdim=True)).tolist()
    return rows


def _predict(method: MetaLearner, known: Tensor, y: Tensor, asked: Tensor) -> Tensor:
    import torch

    from quickstudy.core import chance
    from quickstudy.core.episode import Examples

    noise = [chance.noise(chance.key("adapt"), [0], method.noise_size)[0]] if method.noise_size else []
    learner = method.adapt(Examples(known, y, torch.ones(len(y), dtype=torch.bool)), *noise)
    mean: Tensor = method.predict(learner, asked).mean
    return mean


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


def _show(names: list[str], asked: list[Path], predicted: list[list[float]]) -> None:
    rows = []
    for file, row in zip(asked, predicted, strict=True):
        order = sorted(range(len(names)), key=lambda at: -row[at])
        first, second = order[0], order[1]
        rows.append([str(file), names[first], f"{row[first]:.1%}", f"{names[second]} {row[second]:.1%}"])
    screen.table(["File", "Class", "Probability", "Next"], rows, right=[2])


def _write(path: Path, names: list[str], asked: list[Path], predicted: list[list[float]]) -> None:
    to_screen = str(path) == "-"
    opened: Any = nullcontext(sys.stdout) if to_screen else path.open("w", newline="", encoding="utf-8")
    with opened as file:
        _rows(file, names, asked, predicted)
    if not to_screen:
        screen.say(f"{len(asked)} prediction{'s' * (len(asked) != 1)} written to {path}.")


def _rows(file: TextIO, names: list[str], asked: list[Path], predicted: list[list[float]]) -> None:
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["file", "class", "probability", *names])
    for name, row in zip(asked, predicted, strict=True):
        best = max(range(len(names)), key=lambda at: row[at])
        writer.writerow([name, names[best], f"{row[best]:.6f}", *(f"{p:.6f}" for p in row)])
