"""Settings: the same checks from Python and YAML, help written once, names kept through a round trip."""

import dataclasses
from typing import Annotated, Literal

import pytest
import yaml

from quickstudy import MAML, SGD, Adam, LearnedRates
from quickstudy.core.settings import (
    Choice,
    Configurable,
    Count,
    Fraction,
    Rate,
    Setting,
    Size,
    dump,
    load,
    make,
    owner_of,
    settings,
    settings_of,
)
from quickstudy.errors import SettingsError
from quickstudy.inner import Rule
from quickstudy.nets import MLP


@settings
class Walk:
    """How to walk."""

    steps: Size = 3
    """How many steps,
    one after the other."""
    rest: Count = 0
    """Steps to rest."""
    rate: Rate = 0.5
    """Length of a step."""
    chance: Fraction = 0.1
    """How often to turn."""
    gait: Literal["slow", "fast"] = "slow"
    """How it looks."""
    rule: Annotated[Rule, Choice("rule")] = SGD(rate=0.1)
    """How a slope becomes a step."""
    widths: tuple[Size, ...] = (4, 4)
    """Of the path."""


class Walker(Configurable):
    """Walks.

    Args:
        legs: How many.
            Two for people.
        gait: How it looks.

    Note: nothing.
    """

    def __init__(self, place: str, outputs: int = 1, *, legs: Size = 2, gait: Literal["slow", "fast"] = "slow") -> None:
        self.place, self.outputs, self.legs, self.gait = place, outputs, legs, gait


def test_defaults_and_choices():
    walk = Walk(steps=5, gait="fast")
    assert (walk.steps, walk.gait, walk.rate) == (5, "fast", 0.5)
    assert Walk() == Walk()
    assert hash(Walk()) == hash(Walk())


def test_settings_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError, match="steps"):
        Walk().steps = 4


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"stpes": 4}, r"Walk has no setting 'stpes'; did you mean 'steps'\? \(it has steps, rest,"),
        ({"zebra": 4}, r"Walk has no setting 'zebra' \(it has"),
        ({"steps": 0}, r"Walk\.steps: .*greater than or equal to 1, got 0\."),
        ({"steps": 2.5}, r"Walk\.steps: .*integer.*got 2\.5\."),
        ({"steps": "many"}, r"Walk\.steps: .*integer.*got 'many'\."),
        ({"rest": -1}, r"Walk\.rest: .*greater than or equal to 0, got -1\."),
        ({"rate": 0}, r"Walk\.rate: .*greater than 0, got 0\."),
        ({"rate": float("inf")}, r"Walk\.rate: .*finite number, got inf\."),
        ({"rate": float("nan")}, r"Walk\.rate: .*got nan\."),
        ({"chance": 1.5}, r"Walk\.chance: .*less than or equal to 1, got 1\.5\."),
        ({"gait": "gallop"}, r"Walk\.gait: .*'slow' or 'fast', got 'gallop'\."),
        ({"rule": "sdg"}, r"no rule named 'sdg'; did you mean 'sgd'\?"),
        ({"rule": {"name": "sgd", "rat": 1}}, r"SGD has no setting 'rat'; did you mean 'rate'"),
        ({"rule": {"rate": 1}}, r"a rule is chosen by its name, got \{'rate': 1\}\. Write e\.g\."),
        ({"rule": {"name": "sgd", "rate": -1}}, r"SGD\.rate: .*greater than 0, got -1\."),
        ({"widths": [4, 0]}, r"Walk\.widths\.1: .*greater than or equal to 1, got 0\."),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_mistakes_are_explained(given, message):
    with pytest.raises(SettingsError, match=message):
        Walk(**given)


def test_several_mistakes_come_at_once():
    with pytest.raises(SettingsError, match=r"(?s)Walk\.steps.*\nWalk\.rate"):
        Walk(steps=0, rate=0)


def test_settings_are_named():
    with pytest.raises(SettingsError, match="Walk takes its settings by name, got 1 without one"):
        Walk(5)


def test_missing_settings():
    @settings
    class Needy:
        path: str

    with pytest.raises(SettingsError, match="Needy needs the setting 'path'"):
        Needy()


def test_a_rule_is_chosen_by_instance_name_or_mapping():
    assert Walk(rule=Adam(rate=0.1)).rule == Adam(rate=0.1)
    assert Walk(rule="adam").rule == Adam()
    assert Walk(rule={"name": "adam", "rate": 0.2}).rule == Adam(rate=0.2)


def test_help_is_read_where_it_is_written():
    told = {setting.name: setting for setting in Setting.all_of(Walk)}
    assert list(told) == ["steps", "rest", "rate", "chance", "gait", "rule", "widths"]
    assert told["steps"].help == "How many steps, one after the other."
    assert told["steps"].default == 3
    told = {setting.name: setting for setting in Setting.all_of(Walker)}
    assert {name: setting.help for name, setting in told.items()} == {
        "legs": "How many. Two for people.",
        "gait": "How it looks.",
    }


def test_help_is_inherited():
    @settings
    class Long(Walk):
        far: Count = 1
        """How far."""

    told = {setting.name: setting.help for setting in Setting.all_of(Long)}
    assert told["rest"] == "Steps to rest."
    assert told["far"] == "How far."


@pytest.mark.parametrize(
    "chosen",
    [
        Adam(rate=3e-7),
        LearnedRates(per="tensor"),
        settings_of(MAML)(steps=2, rule=Adam(rate=0.1), gradient="first-order"),
        settings_of(MLP)(hidden=(3, 4, 5), activation="gelu"),
    ],
    ids=lambda chosen: type(chosen).__name__,
)
def test_yaml_round_trip(chosen):
    kind = {"Adam": "rule", "LearnedRates": "rule", "MAML": "method", "MLP": "net"}[type(chosen).__name__]
    assert load(kind, yaml.safe_load(yaml.safe_dump(dump(chosen)))) == chosen


def test_dump_names_what_was_chosen():
    assert dump(settings_of(MAML)(rule=Adam())) == {
        "name": "maml",
        "steps": 5,
        "rule": {"name": "adam", "rate": 0.01, "decay1": 0.9, "decay2": 0.999, "epsilon": 1e-8},
        "gradient": "exact",
        "adapts": "all",
        "head": "per-class",
        "likelihood": "categorical",
    }
    assert dump({"a": (1, None), "b": True}) == {"a": [1, None], "b": True}


def test_load_needs_a_name():
    with pytest.raises(SettingsError, match=r"a net is chosen by its name, got \{'hidden': 3\}"):
        load("net", {"hidden": 3})


def test_arguments_that_are_settings_are_checked():
    walker = Walker("here", legs=4)
    assert walker.settings == settings_of(Walker)(legs=4)
    assert (walker.place, walker.legs) == ("here", 4)
    with pytest.raises(SettingsError, match=r"Walker\.legs: .*greater than or equal to 1, got 0"):
        Walker("here", legs=0)
    with pytest.raises(SettingsError, match="Walker has no setting 'legz'; did you mean 'legs'"):
        Walker("here", legz=2)


def test_structure_may_be_named():
    assert Walker(place="there", outputs=3).settings == settings_of(Walker)()
    with pytest.raises(TypeError, match="place"):
        Walker()


def test_settings_as_an_attribute():
    assert Walker.Settings is settings_of(Walker)
    assert owner_of(Walker.Settings()) is Walker


def test_make_gives_what_is_asked_for():
    made = make(Walker, Walker.Settings(gait="fast"), place="here", item=(1,), outputs=7)
    assert (made.place, made.outputs, made.gait) == ("here", 7, "fast")
    assert make(Walker, made.settings, place="here", outputs=7).settings == made.settings


def test_settings_of_settings_are_themselves():
    assert settings_of(Walk) is Walk


def test_a_subclass_may_add_settings_of_its_own():
    class Runner(Walker):
        """Runs.

        Args:
            speed: How fast.
        """

        def __init__(self, place: str, *, speed: Rate = 2.0) -> None:
            super().__init__(place, legs=2)
            self.speed = speed

    runner = Runner("here", speed=3.0)
    assert (runner.legs, runner.speed) == (2, 3.0)
    assert [setting.name for setting in Setting.all_of(Runner)] == ["speed"]
    assert runner.settings == Runner.Settings(speed=3.0)


def test_a_subclass_may_leave_the_constructor_alone():
    class Stroller(Walker):
        """Strolls."""

    stroller = Stroller("here", legs=3)
    assert stroller.legs == 3
    assert stroller.settings == settings_of(Stroller)(legs=3)
    with pytest.raises(SettingsError, match=r"legs: .*got 0"):
        Stroller("here", legs=0)
