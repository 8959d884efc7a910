"""`quickstudy demo`: the main job from beginning to end, in a few minutes and without any data."""

from __future__ import annotations

import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import yaml

from quickstudy.cli import screen
from quickstudy.cli.asked import Asked
from quickstudy.cli.evaluate import show
from quickstudy.cli.report import written
from quickstudy.cli.screen import Switch

__all__ = ["EXAMPLES", "demo", "recipe"]

EXAMPLES = """\
Examples:
  quickstudy demo                       characters of many scripts; no download
  quickstudy demo --tasks omniglot      handwritten ones; a download
"""

FLOOR_MINUTES = 0.75
RECIPES = Path(__file__).with_name("demo.yaml")

TELLS = """\
Meta-training: many small tasks, each to tell a few characters apart from one
drawing of each. The test: characters of scripts that it has never seen.
"""

AFTER = """
All of it took {seconds:.0f} s. What next?
  quickstudy adapt {folder} FOLDER IMAGES
      learns classes of your own: FOLDER has a subfolder with examples for each
{install}  quickstudy serve {folder}
      serves it over HTTP, with a page to teach it by drawing: http://127.0.0.1:8000
  quickstudy train maml --help
      trains another method, and shows its settings
  quickstudy list
      shows everything there is"""

INSTALL = """\
  pip install 'quickstudy[serve]'
      installs what the next one needs
"""


def demo(
    *,
    tasks: Literal["glyphs", "omniglot"] = "glyphs",
    out: Path | None = None,
    minutes: float | None = None,
    episodes: int = 300,
    quiet: Switch = False,
    threads: int | None = None,
) -> int:
    """Meta-train on characters of some scripts, then learn those of unseen scripts from one example each.

    Prototypical networks are trained, evaluated beside every floor, and reported. On two processors all of it takes
    less than four minutes.

    Args:
        tasks: Which characters: glyphs (printed, rendered here) or omniglot (handwritten).
        out: The run's folder; runs/demo-glyphs or runs/demo-omniglot by default. A demo that is there goes on.
        minutes: Most minutes of training.
        episodes: How many test episodes.
        quiet: Show no progress.
        threads: Threads for torch; by default as many as there are idle processors.
    """
    from quickstudy.cli import session
    from quickstudy.cli.assess import Options, assess
    from quickstudy.evaluate.report import write_report
    from quickstudy.train.run import Run

    began = time.monotonic()
    folder = out or Path("runs") / f"demo-{tasks}"
    screen.say(TELLS)
    train = session.resume if (folder / "run.yaml").exists() else session.start
    code = train(recipe(tasks, minutes), folder, quiet=quiet, next_step=False)
    if code:
        return code
    run = Run.open(folder)
    record = assess(run, Asked(episodes=episodes).of(run), Options(minutes=FLOOR_MINUTES, quiet=quiet))
    record.save(folder / "evaluation.json")
    write_report(record, folder)
    screen.say("")
    show(record)
    written(folder)
    install = "" if find_spec("uvicorn") else INSTALL
    screen.say(AFTER.format(seconds=time.monotonic() - began, folder=folder, install=install))
    return 0


def recipe(tasks: str, minutes: float | None = None) -> dict[str, Any]:
    """What the demo trains, as nested settings."""
    held: dict[str, Any] = yaml.safe_load(RECIPES.read_text(encoding="utf-8"))[tasks]
    return held if minutes is None else {**held, "minutes": minutes}
