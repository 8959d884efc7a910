from __future__ import annotations

from pathlib import Path

import pytest

from quickstudy.cli import recipe
from quickstudy.errors import SettingsError


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("maml", {"method": {"name": "maml"}}),
        ("--steps 5 maml", {"method": {"name": "maml"}}),
        ("--out maml", {}),  # the word after a flag may be its value
        ("--quiet maml", {"method": {"name": "maml"}}),
        ("--steps=5 maml", {"method": {"name": "maml"}}),
        ("maml --tasks omniglot --net=mlp", {k: {"name": v} for k, v in zip(
            ("method", "tasks", "net"), ("maml", "omniglot", "mlp"), strict=True)}),
        ("maml --method.rule adam", {"method": {"name": "maml", "rule": {"name": "adam"}}}),
        ("--tasks --net", {}),
        ("--help", {}),
    ],
)  # fmt: skip
def test_a_first_look_finds_what_is_chosen(line: str, expected: dict[str, object]) -> None:
    assert recipe.scan(line.split()) == (expected, None)


def test_a_first_look_finds_the_file() -> None:
    assert recipe.scan(["--config", "x.yaml"])[1] == Path("x.yaml")


def test_names_in_a_file_are_choices(tmp_path: Path) -> None:
    file = tmp_path / "r.yaml"
    file.write_text("method: maml\nnet: {name: conv4, width: 8}\nsteps: 5\n")
    assert recipe.read_yaml(file) == {
        "method": {"name": "maml"},
        "net": {"name": "conv4", "width": 8},
        "steps": 5,
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("stpes: 5", r"nothing is called 'stpes'; did you mean 'steps'\? It may hold method, tasks"),
        ("method: [maml]", r"method is \['maml'\]; expected settings, e.g. `method: \{name: maml"),
        ("train: 5", r"train is 5; expected settings, e.g. `train: \{ways: 20\}`"),
        ("- 1\n- 2", r"holds '\[1, 2\]'; expected `name: value` lines"),
        ("a: b: c", r"is not valid YAML: .*line 1.* Write one `name: value` a line"),
        ("x: !!python/object:os.system {}", "is not valid YAML"),
    ],
)
def test_files_that_are_no_recipe(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "r.yaml"
    file.write_text(text)
    with pytest.raises(SettingsError, match=message):
        recipe.read_yaml(file)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"no file .* for --config"):
        recipe.read_yaml(tmp_path / "none.yaml")
    with pytest.raises(SettingsError, match="cannot be read"):
        recipe.read_yaml(tmp_path)


def test_an_empty_file_asks_for_the_defaults(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text("")
    assert recipe.read_yaml(tmp_path / "r.yaml") == {}


def test_what_is_asked_is_checked_as_in_python() -> None:
    asked = recipe.checked(
        {
            "method": {"name": "maml", "steps": "3", "rule": {"rate": "1e-1"}},
            "tasks": {"name": "sines"},
            "train": {"shots": "20"},
            "steps": "7",
            "validate_every": 0,
        }
    )
    assert (asked.run.method.steps, asked.run.method.rule.rate) == (3, 0.1)
    assert asked.run.net is None
    assert asked.run.train == {"shots": 20}
    assert (asked.run.training.steps, asked.watch.validate_every) == (7, 0)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"method": {"name": "mamml"}}, "no method named 'mamml'; did you mean 'maml'"),
        ({"method": {"name": "maml", "stpes": 1}}, "MAML has no setting 'stpes'; did you mean 'steps'"),
        ({"method": {"name": "maml", "steps": "-1"}}, r"MAML.steps: .* greater than or equal to 0, got '-1'"),
        ({"tasks": {"name": "sines", "shots": "x"}}, "Sines.shots: .* valid integer.*, got 'x'"),
        ({"train": {"way": 3}}, "train has no setting 'way'; did you mean 'ways'"),
        ({"train": {"ways": 0}}, "Glyphs.ways: .* greater than or equal to 1, got 0"),
        ({"rate": -1}, r"Training.rate: .* greater than 0, got -1"),
        ({"patience": -1}, r"Watch.patience: "),
    ],
)
def test_what_is_refused(given: dict[str, object], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        recipe.checked(given)
