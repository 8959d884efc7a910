"""Each claim's printed command asks for what its record was made of: steps, tasks, seeds and settings."""

from __future__ import annotations

import importlib
import json
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = [str(ROOT / "recipes"), str(ROOT / "benchmarks" / "claims")]
RECORDS = sorted(path.stem for path in (ROOT / "docs" / "records" / "claims").glob("*.json"))

UNTRAINED = ("clinc150", "small_tables", "small_table_values")


@pytest.fixture
def modules(monkeypatch):
    """By name, the modules of the claims; gone after the test."""
    before = set(sys.modules)
    for folder in FOLDERS:
        monkeypatch.syspath_prepend(folder)
    yield importlib.import_module
    for name in set(sys.modules) - before:
        if (getattr(sys.modules[name], "__file__", None) or "").startswith(tuple(FOLDERS)):
            del sys.modules[name]


def asked_for(modules, monkeypatch, name: str) -> tuple[Any, Any, dict[str, Any]]:
    """The script behind a record, what its claim's printed command asks for, and the record."""
    (command,) = {claim.command for claim in modules("claims").CLAIMS if claim.record == f"claims/{name}"}
    _, script, *_ = words = shlex.split(command)
    module = modules(Path(script).stem)
    monkeypatch.setattr(sys, "argv", words[1:])
    path = ROOT / "docs" / "records" / "claims" / f"{name}.json"
    asked = module._asked()
    assert asked.out == path.relative_to(ROOT)
    return module, asked, json.loads(path.read_text(encoding="utf-8"))


def numbers(record: Any, names: set[str]) -> set[int]:
    """The values of all keys of these names, wherever in a record they are."""
    if isinstance(record, list):
        return {found for each in record for found in numbers(each, names)}
    if not isinstance(record, dict):
        return set()
    own = {value for key, value in record.items() if key in names}
    return own.union(*(numbers(value, names) for value in record.values()))


def test_every_script_has_a_claim(modules):
    scripts = {path.name for path in (ROOT / "benchmarks" / "claims").glob("*.py") if '"__main__"' in path.read_text()}
    commands = [claim.command.split() for claim in modules("claims").CLAIMS]
    assert scripts <= {Path(words[1]).name for words in commands if len(words) > 1}


@pytest.mark.parametrize("name", RECORDS)
def test_a_command_asks_as_many_tasks_as_its_record_has(modules, monkeypatch, name):
    _, asked, record = asked_for(modules, monkeypatch, name)
    match name:
        case "small_tables" | "small_table_values":
            assert asked.seeds == record["seeds"]
        case "clinc150":
            few, many = (record["settings"][ways] for ways in ("5-way", "150-way"))
            assert (asked.episodes, asked.large) == (few["test episodes"], many["test episodes"])
            assert (asked.tune, asked.tune_large) == (few["validation episodes"], many["validation episodes"])
            assert asked.sentences is None
        case _:
            assert numbers(record, {"test tasks", "validation and test tasks"}) == {asked.tasks}


@pytest.mark.parametrize("name", [name for name in RECORDS if name not in UNTRAINED])
def test_a_command_trains_as_long_as_its_record_says(modules, monkeypatch, name):
    """Networks of small tables come with the package, and features of text are frozen: those train nothing."""
    _, asked, record = asked_for(modules, monkeypatch, name)
    trained = record.get("trained", record.get("training"))
    steps = {value for name, value in vars(asked).items() if name in ("steps", "reader_steps")}
    assert {run["steps"] for run in trained.values()} == steps
    assert numbers(trained, {"seed"}) <= {getattr(asked, "seed", 0)}


@pytest.mark.parametrize("name", ["ambiguity", "calibration", "deep-kernel", "shared_support"])
def test_a_record_has_the_settings_of_its_script(modules, monkeypatch, name):
    module, asked, record = asked_for(modules, monkeypatch, name)
    titles = {title: title.rpartition(", ")[0].removesuffix(", sharing") for title in record["trained"]}
    for title, run in record["trained"].items():
        now = modules("budgeted")._rounded(module._settings(titles[title], asked).plain())
        for part, settings in run["settings"].items():
            for setting, value in (settings or {}).items():
                assert now[part][setting] == value, (title, part, setting)
    assert set(titles.values()) == set(getattr(asked, "methods", module.METHODS))
