"""`quickstudy export`: what was trained, as a program that needs neither quickstudy nor Python."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from quickstudy.cli import screen
from quickstudy.cli.screen import Switch
from quickstudy.errors import SettingsError

if TYPE_CHECKING:
    from quickstudy.bundle import Bundle
    from quickstudy.bundle.program import Program

__all__ = ["EXAMPLES", "export"]

EXAMPLES = """\
Examples:
  quickstudy export letters abc.onnx --support abc    one learner, of these classes
  quickstudy export letters adapt.onnx --ways 5 --shots 3
  quickstudy export letters adapt.pt2 --ways 5
"""


def export(
    bundle: Path,
    out: Path,
    /,
    *,
    support: Path | None = None,
    ways: int | None = None,
    shots: int = 5,
    batch: int = 1,
    json: Switch = False,
    threads: int | None = None,
) -> int:
    """Write a bundle as ONNX or for torch.export, checked against what the bundle itself says.

    With --support it is the learner of that folder's classes: inputs in, probabilities out. Without, it is the whole
    of adapting and predicting for tasks of up to WAYS classes with up to SHOTS examples each.

    ONNX needs the extra: pip install 'quickstudy[export]'.

    Args:
        bundle: The folder of a bundle or of a run.
        out: The file to write, NAME.onnx or NAME.pt2.
        support: A folder with one subfolder a class, each with examples as images.
        ways: Most classes of a task; by default as many as it was trained for.
        shots: Most examples of a class.
        batch: How many inputs are answered at once.
        json: Print what the program takes and gives as JSON.
        threads: Threads for torch; by default as many as there are idle processors.
    """
    from quickstudy.bundle import Bundle
    from quickstudy.bundle.export import TRIALS, write

    if min(shots, batch, ways or 1) < 1:
        raise SettingsError(f"got ways={ways}, shots={shots}, batch={batch}; expected 1 or more of each.")
    opened = Bundle.open(bundle)
    program = _whole(opened, ways, shots, batch) if support is None else _learner(opened, support, batch)
    error = write(program, out)
    if json:
        screen.json_out({"file": str(out), "error": error, "outputs": program.outputs, **program.notes})
        return 0
    given = ", ".join(f"{name} {shape}" for name, shape in program.notes["inputs"].items())
    screen.say(f"{out}: {given} -> {', '.join(program.outputs)}.")
    screen.say(f"It is at most {error:.1e} from what the bundle says, on {TRIALS} sets of random inputs.")
    return 0


def _whole(opened: Bundle, ways: int | None, shots: int, batch: int) -> Program:
    from quickstudy.bundle.program import adapting

    most = opened.outputs if opened.likelihood == "categorical" else 1
    return adapting(opened, ways or most, shots, batch)


def _learner(opened: Bundle, support: Path, batch: int) -> Program:
    from quickstudy.bundle.program import specialised
    from quickstudy.cli.adapt import known_classes

    names, x, labels = known_classes(opened, support)
    return specialised(opened, opened.adapt(x, labels, len(names)), names, batch)
