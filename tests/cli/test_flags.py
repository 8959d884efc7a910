from __future__ import annotations

from typing import Annotated, Literal

import pytest

from quickstudy.cli.flags import complete, flags_of, nest, overlay, shown, shown_type, words
from quickstudy.core.settings import Rate, Size, load
from quickstudy.errors import SettingsError
from quickstudy.methods.gradient.maml import MAML
from quickstudy.nets import MLP

Sizes = Size | tuple[Size, Size]


@pytest.mark.parametrize(
    ("annotation", "text", "expected"),
    [
        (Size, "5", "5"),
        (Sizes, "5", "5"),
        (Sizes, "3,20", ["3", "20"]),
        (tuple[Size, ...], "64", ["64"]),
        (tuple[Size, ...], "64, 32", ["64", "32"]),
        (tuple[Size, ...], "[64,32]", ["64", "32"]),
        (Rate | None, "none", None),
        (Rate | None, "null", None),
        (str, "a,b", "a,b"),
        (Literal["none", "support"] | None, "none", "none"),
        (Literal["none", "support"], "none", "none"),
        (Annotated[Literal[1, 2], "x"], "2", 2),
    ],
)
def test_words_are_split_by_type(annotation: object, text: str, expected: object) -> None:
    assert words(text, annotation) == expected


@pytest.mark.parametrize(
    ("annotation", "expected"),
    [
        (Size, "INT"),
        (Rate | None, "FLOAT"),
        (Sizes, "INT|INT,INT"),
        (tuple[Size, ...], "INT,..."),
        (Literal["a", "b"], "NAME"),
        (str, "TEXT"),
    ],
)
def test_types_in_a_word(annotation: object, expected: str) -> None:
    assert shown_type(annotation) == expected


def test_what_must_be_given_is_said() -> None:
    from cyclopts import Group

    from quickstudy.cli.flags import parameter
    from quickstudy.tasks.folder import Folder

    path = next(flag for flag in flags_of(Folder, ("tasks",), {}) if flag.name == "--tasks.path")
    assert parameter(path, Group("x")).annotation.__metadata__[0].help.endswith("[required]")


def test_values_as_typed() -> None:
    assert [shown(v) for v in ((40, 40), None, True, 0.4, "x")] == ["40,40", "none", "yes", "0.4", "x"]


def test_every_setting_is_a_flag_and_choices_bring_their_own() -> None:
    names = [flag.name for flag in flags_of(MAML, ("method",), {})]
    assert names[:3] == ["--method.steps", "--method.rule", "--method.rule.rate"]
    names = [flag.name for flag in flags_of(MAML, ("method",), {"rule": {"name": "momentum"}})]
    assert "--method.rule.decay" in names


def test_what_is_typed_reaches_the_settings() -> None:
    flags = flags_of(MAML, ("method",), {"rule": "momentum"})
    typed = {"method__steps": "3", "method__rule": "momentum", "method__rule__decay": "0.5"}
    nested = nest(flags, typed)["method"]
    assert nested == {"steps": "3", "rule": {"name": "momentum", "decay": "0.5"}}
    chosen = load("method", {"name": "maml", **complete(nested, MAML)})
    assert (chosen.steps, chosen.rule.decay) == (3, 0.5)


def test_adjusting_a_choice_keeps_the_default_choice() -> None:
    completed = complete({"rule": {"rate": "0.7"}}, MAML)
    assert completed["rule"] == {"name": "sgd", "rate": "0.7"}
    assert load("method", {"name": "maml", **completed}).rule.rate == 0.7


def test_a_choice_of_the_wrong_kind() -> None:
    with pytest.raises(SettingsError, match=r"rule is a rule, chosen by name, got 3"):
        complete({"rule": 3}, MAML)


def test_overlay_keeps_what_is_below_until_the_choice_changes() -> None:
    below = {"method": {"name": "maml", "steps": 5}, "steps": 10}
    assert overlay(below, {"method": {"gradient": "exact"}}) == {
        "method": {"name": "maml", "steps": 5, "gradient": "exact"},
        "steps": 10,
    }
    assert overlay(below, {"method": {"name": "protonet"}, "steps": "20"}) == {
        "method": {"name": "protonet"},
        "steps": "20",
    }
    assert overlay({"method": "maml"}, {"method": {"steps": "3"}}) == {"method": {"name": "maml", "steps": "3"}}


def test_a_class_without_choices() -> None:
    assert [flag.path for flag in flags_of(MLP, ("net",), {})] == [
        ("net", "hidden"),
        ("net", "activation"),
        ("net", "norm"),
        ("net", "skip"),
    ]
