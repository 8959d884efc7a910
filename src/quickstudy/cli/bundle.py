"""`quickstudy bundle`: a run as one folder to keep, share and serve; or what a folder holds, checked."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from quickstudy.cli import screen
from quickstudy.cli.screen import Switch
from quickstudy.errors import BundleError, SettingsError

if TYPE_CHECKING:
    from quickstudy.bundle import Bundle
    from quickstudy.bundle.calibration import Calibration
    from quickstudy.encoders import Encoder
    from quickstudy.train.run import Run

__all__ = ["EXAMPLES", "bundle", "calibrate"]

EXAMPLES = """\
Examples:
  quickstudy bundle runs/demo-glyphs letters    make one
  quickstudy bundle letters                     check it, and see what is in it
  quickstudy bundle runs/demo-glyphs letters --replace --licence Apache-2.0
  quickstudy bundle runs/words intents --encoder text
"""


def bundle(
    run: Path,
    out: Path | None = None,
    /,
    *,
    name: str | None = None,
    encoder: str | None = None,
    licence: str = "",
    sizes: Annotated[list[str] | None, Parameter(consume_multiple=True)] = None,
    calibration: bool = True,
    replace: Switch = False,
    json: Switch = False,
    threads: int | None = None,
) -> int:
    """Make a bundle of a run: one folder with all that is needed to use what was trained, on any machine.

    Without OUT, check the bundle in the first folder against its hashes and show what is in it.

    Args:
        run: A trained run's folder; or a bundle's, to check it.
        out: The folder to write. It appears whole or not at all.
        name: What to call the bundle; by default as its folder is called.
        encoder: What makes inputs of raw ones, by name ("image", "vector", "text") or as YAML, such as
            "{name: text, longest: 64}". By default images for tasks of images and numbers for others.
        licence: The licence of the weights, such as Apache-2.0.
        sizes: Tasks to calibrate for, as WAYSxSHOTS, such as 5x1: how sure to be, and what belongs to no class. Tasks
            of other sizes take the nearest.
        calibration: Whether to do that at all. It takes seconds for each size, and needs the validation data.
        replace: Replace a bundle that stands in OUT.
        json: Print what is in the bundle as JSON.
        threads: Threads for torch; by default as many as there are idle processors.
    """
    from quickstudy.bundle import Bundle
    from quickstudy.bundle.calibration import SIZES

    asked = [_size(each) for each in sizes or ()] or list(SIZES)
    if out is None:
        _refuse_run(Bundle, run)
        made, place = Bundle.load(run), run
    else:
        made, place = _of_run(run, encoder, asked if calibration else []), out
        made.name, made.licence = name or out.absolute().name, licence
        made.save(out, replace=bool(replace))
    if json:
        screen.json_out(_plain(made, place))
    else:
        _show(made, place, fresh=out is not None)
    return 0


def _refuse_run(kind: type[Bundle], folder: Path) -> None:
    if not kind.stands_in(folder) and (folder / "run.yaml").exists():
        raise SettingsError(f"{folder} is a run. Say where to write its bundle: quickstudy bundle {folder} OUT.")


def _of_run(folder: Path, encoder: str | None, sizes: list[tuple[int, int]]) -> Bundle:
    from quickstudy.bundle import Bundle
    from quickstudy.train.run import Run

    if Bundle.stands_in(folder):
        raise BundleError(f"{folder} is a bundle already. Copy its folder, or make another of the run it came from.")
    run = Run.open(folder)
    made = Bundle.of_run(run, encoder=None if encoder is None else _encoder(encoder, run))
    calibrate(made, run, sizes)
    return made


def calibrate(made: Bundle, run: Run, sizes: Sequence[tuple[int, int]]) -> None:
    """Have a bundle know, for tasks of these sizes, how sure to be and what belongs to no class; what is found is kept
    with the run."""
    with screen.progress("Calibrating", len(sizes)) as ticker:
        found: list[Calibration] = []
        for at, size in enumerate(sizes):
            made.calibrate(run, [size])
            found += made.calibrations
            ticker.at(at + 1)
    made.calibrations = tuple(dict.fromkeys(found))


def _encoder(text: str, run: Any) -> Encoder:
    """The encoder of a name or a mapping in YAML; the shape of its items is the run's where it has to be said."""
    import yaml

    from quickstudy import registry
    from quickstudy.core.settings import load

    try:
        given = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise SettingsError(f"--encoder {text!r} is not YAML: {error}. Write a name, or {{name: ..., ...}}.") from error
    given = {"name": given} if isinstance(given, str) else given
    if not isinstance(given, dict) or not isinstance(given.get("name"), str):
        raise SettingsError(f"--encoder {text!r} has no name. Write one, or {{name: ..., setting: value}}.")
    fields = {field.name for field in dataclasses.fields(registry.get("encoder", given["name"]))}
    if "item" in fields and "item" not in given:
        given["item"] = run.settings.tasks.source("train").item
    made: Encoder = load("encoder", given)
    return made


def _size(text: str) -> tuple[int, int]:
    ways, sign, shots = text.partition("x")
    if not (sign and ways.isdigit() and shots.isdigit() and int(ways) > 1 and int(shots) > 0):
        raise SettingsError(f"--sizes {text}: expected WAYSxSHOTS, two ways or more, such as 5x1.")
    return int(ways), int(shots)


def _plain(made: Bundle, place: Path) -> dict[str, Any]:
    from quickstudy.bundle.manifest import Calibrated
    from quickstudy.core.settings import dump

    assert made.parts is not None
    return {
        "folder": str(place),
        "name": made.name,
        "version": made.version,
        "licence": made.licence,
        "likelihood": made.likelihood,
        "ways": made.ways,
        **made.parts.plain(),
        "encoder": dump(made.encoder),
        "novelty": [Calibrated.of(each) for each in made.calibrations],
        "labels": len(made.labels),
        "provenance": made.provenance,
    }


def _show(made: Bundle, place: Path, *, fresh: bool) -> None:
    told = _plain(made, place)
    classes = "any number" if made.ways is None else f"up to {made.ways}"
    evaluated = made.provenance.get("evaluation")
    rows = [
        ["Version", made.version],
        ["Method", f"{told['method']['name']} on {told['net']['name']}"],
        ["Takes", f"{made.encoder.kind}, encoded to {list(made.item)}"],
        ["Tells", f"{classes} of classes apart" if made.likelihood == "categorical" else f"{made.outputs} real values"],
        ["Temperatures", _by_size(made, lambda found: f"{found.temperature:.3g}")],
        ["Foreign inputs", _by_size(made, lambda found: f"AUROC {found.detector.auroc:.3f}")],
        ["Evaluated", f"{evaluated['metric']} {evaluated['mean']:.4f}" if evaluated else "not with these weights"],
        ["Licence", made.licence or "not stated"],
    ]
    title = made.name if made.name == place.name else f"{made.name} ({place})"
    screen.table(["", ""], rows, title=title, headed=False)
    if fresh:
        screen.say(f"\nUse it: quickstudy adapt {place} CLASSES FILES, or quickstudy serve {place}.")


def _by_size(made: Bundle, told: Callable[[Calibration], str]) -> str:
    return ", ".join(f"{each.ways}x{each.shots}: {told(each)}" for each in made.calibrations) or "-"
