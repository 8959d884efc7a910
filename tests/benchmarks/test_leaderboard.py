"""The leaderboards: their files load, a tiny one runs from its file to its page, and what a row is told is true."""

from __future__ import annotations

import dataclasses
import importlib
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from quickstudy.cli.flags import overlay
from quickstudy.cli.recipe import checked
from quickstudy.evaluate.record import Record

ROOT = Path(__file__).parents[2]
BOARDS = {path.stem: yaml.safe_load(path.read_text()) for path in (ROOT / "recipes" / "leaderboards").glob("*.yaml")}
ROWS = [(name, row) for name, board in sorted(BOARDS.items()) for row in board["rows"]]

TINY = """
title: Tiny
metric: accuracy
protocols:
  5-way 1-shot: {ways: 5, shots: 1, queries: 3, episodes: 10}
  6-way 1-shot: {ways: 6, shots: 1, queries: 3, episodes: 10}
usual: [5-way 1-shot, 6-way 1-shot]
floors_of: [protonet]
common:
  net: {name: conv4, width: 4}
  tasks: {name: glyphs, ways: 5, shots: 1, queries: 3}
  batch: 2
  steps: 3
  validate_every: 0
rows:
  protonet: {method: {name: protonet}}
  anil: {method: {name: anil, steps: 1}}
published:
  protonet: {5-way 1-shot: 99.9}
"""


@pytest.fixture
def modules() -> tuple[ModuleType, ModuleType]:
    return importlib.import_module("leaderboard"), importlib.import_module("leaderboards")


@pytest.mark.parametrize(("name", "row"), ROWS, ids=lambda value: value.replace(" ", "-"))
def test_a_row_is_a_run(name: str, row: str) -> None:
    board = BOARDS[name]
    own = {key: value for key, value in board["rows"][row].items() if key != "only"}
    asked = checked(overlay(board["common"], own))
    assert asked.run.net is not None
    assert set(board["rows"][row].get("only", board["usual"])) <= set(board["protocols"])


@pytest.mark.parametrize(("name", "row"), ROWS, ids=lambda value: value.replace(" ", "-"))
def test_the_records_of_a_row_were_made_by_its_recipe(name: str, row: str) -> None:
    """As far as a record knows the settings: it may be older than some."""
    board, stem = BOARDS[name], row.replace(", ", "-").replace(" ", "-")
    own = {key: value for key, value in board["rows"][row].items() if key != "only"}
    asked = checked(overlay(board["common"], own)).run.plain()
    for path in (ROOT / "docs" / "records" / "leaderboards" / name).glob(f"{stem}--*.json"):
        told = Record.read(path).run
        pairs = {"method": told.method_settings, "net": told.net, "training": told.training}
        beside = {"steps", "seed", "start", "device", "minutes", "how", "chunk", "compile"}
        for part, settings in pairs.items():
            known = asked[part].keys() & settings.keys() - ({"likelihood"} if part == "method" else beside)
            assert {key: settings[key] for key in known} == {key: asked[part][key] for key in known}, path.name


@pytest.mark.parametrize("name", sorted(BOARDS))
def test_what_is_published_belongs_to_a_row(name: str) -> None:
    board = BOARDS[name]
    assert set(board.get("published", {})) <= set(board["rows"])
    assert set(board["floors_of"]) <= set(board["rows"])
    assert all(set(figures) <= set(board["protocols"]) for figures in board["published"].values())


def test_from_a_file_to_a_page(
    modules: tuple[ModuleType, ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench, page = modules
    (tmp_path / "tiny.yaml").write_text(TINY)
    records = tmp_path / "records"
    for module in modules:
        monkeypatch.setattr(module, "BOARDS", tmp_path)
        monkeypatch.setattr(module, "RECORDS", records)
    monkeypatch.setattr(bench, "RUNS", tmp_path / "runs")
    monkeypatch.setattr(page, "ROOT", tmp_path)
    (tmp_path / "docs").mkdir()
    lowest = Record.read(ROOT / "docs" / "records" / "omniglot-protonet-5-way.json").floors
    monkeypatch.setattr(bench, "floors", lambda *asked: lowest)
    board = bench.Board.read("tiny")
    for row, seed in (("protonet", 0), ("protonet", 1), ("anil", 0)):
        bench.one(board, row, seed)
    names = sorted(path.stem for path in (records / "tiny").glob("*.json"))
    assert names == [  # ANIL's head has five places
        "anil--5-way-1-shot",
        "protonet--5-way-1-shot",
        "protonet--6-way-1-shot",
        "protonet-seed-1--5-way-1-shot",
        "protonet-seed-1--6-way-1-shot",
    ]
    first = Record.read(records / "tiny" / "protonet--5-way-1-shot.json")
    assert (first.run.steps, first.protocol.episodes, len(first.result.values)) == (3, 10, 10)
    floors = {name: bool(Record.read(records / "tiny" / f"{name}.json").floors) for name in names}
    assert [name for name in names if floors[name]] == ["protonet--5-way-1-shot", "protonet--6-way-1-shot"]
    text = "\n".join(page.section("tiny", yaml.safe_load(TINY)))
    lines = [line for line in text.splitlines() if line.startswith("| protonet")]
    assert "[99.9]" in lines[0]
    assert "seeds" in lines[0]
    page.picture("tiny", yaml.safe_load(TINY), page.read("tiny", yaml.safe_load(TINY)))
    assert (tmp_path / "docs" / "leaderboard-tiny.svg").exists()


def test_a_budget_is_steps(modules: tuple[ModuleType, ModuleType], tmp_path: Path, monkeypatch: Any) -> None:
    bench, _ = modules
    (tmp_path / "tiny.yaml").write_text(TINY + "minutes: 2\n")
    monkeypatch.setattr(bench, "BOARDS", tmp_path)
    monkeypatch.setattr(bench, "RECORDS", tmp_path / "records")
    monkeypatch.setattr(bench, "WATCHED", 0.1)
    board = bench.Board.read("tiny")
    with pytest.raises(SystemExit, match="--pace"):
        board.recipe("protonet")
    bench.pace(board, "protonet")
    kept = bench.read_paces(board)["protonet"]
    steps = board.recipe("protonet")["steps"]
    assert steps <= 120 / kept["seconds_per_step"] < 1.12 * steps
    kept["seconds_per_step"] = 1e-9
    board.paces.write_text(json.dumps({"protonet": kept}))
    bench.pace(board, "protonet")  # what was quicker before stays
    assert bench.read_paces(board)["protonet"] == kept
    assert board.recipe("protonet", seed=3) | {"steps": 0} == {
        **overlay(board.common, board.rows["protonet"]),
        "seed": 3,
        "steps": 0,
    }
    named = dataclasses.replace(board, rows={"protonet": {"steps": 7}})
    assert named.recipe("protonet")["steps"] == 7
    assert bench.round_down(1234.9) == 1200
    assert bench.round_down(56.7) == 56


def test_a_row_that_a_floor_beats_says_so(modules: tuple[ModuleType, ModuleType]) -> None:
    _, page = modules
    found = Record.read(ROOT / "docs" / "records" / "omniglot-protonet-5-way.json")
    floors = found.floors
    assert page.beaten("accuracy", found.result, floors) == ""
    assert "not ahead of" in page.beaten("accuracy", floors[0], floors)
    assert page.beaten("accuracy", floors[0], ()) == ""
