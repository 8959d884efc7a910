"""The tables of names: every entry imports, explains itself, and is built from the structure it asks for."""

import inspect
from pathlib import Path

import pytest

from quickstudy import MetaLearner, methods, registry
from quickstudy.core.settings import Setting, dump, load, make, settings_of
from quickstudy.encoders import Encoder
from quickstudy.errors import SettingsError
from quickstudy.inner import Rule
from quickstudy.nets import Net
from quickstudy.tasks.source import Tasks

BASES = {"method": MetaLearner, "tasks": Tasks, "net": Net, "rule": Rule, "encoder": Encoder}
ENTRIES = [(kind, name) for kind, table in registry.TABLES.items() for name in table]


def required(cls):
    """Whether settings of a class can be made of defaults alone."""
    return [s.name for s in Setting.all_of(cls) if repr(s.default) == "PydanticUndefined"]


@pytest.mark.parametrize(("kind", "name"), ENTRIES)
def test_entry(kind, name):
    cls = registry.get(kind, name)
    assert issubclass(cls, BASES[kind])
    assert not inspect.isabstract(cls)
    assert registry.name_of(cls) == name


@pytest.mark.parametrize(("kind", "name"), ENTRIES)
def test_entry_says_in_one_line_what_it_is(kind, name):
    line = registry.summary(kind, name)
    assert 15 < len(line) <= 120
    assert line.endswith((".", "?", "!"))


@pytest.mark.parametrize(("kind", "name"), ENTRIES)
def test_every_setting_has_help(kind, name):
    for setting in Setting.all_of(registry.get(kind, name)):
        assert len(setting.help) > 6, f"{name}.{setting.name} has no help"
        assert setting.help.endswith("."), f"{name}.{setting.name}: {setting.help!r} is not a sentence"


@pytest.mark.parametrize(("kind", "name"), ENTRIES)
def test_default_settings_round_trip(kind, name):
    cls = registry.get(kind, name)
    if required(cls):
        pytest.skip(f"it has no default for {required(cls)}")
    chosen = settings_of(cls)()
    assert dump(chosen)["name"] == name
    assert load(kind, dump(chosen)) == chosen
    assert load(kind, name) == chosen


@pytest.mark.parametrize("name", registry.METHODS)
def test_methods_answer_three_questions(name):
    """What is learned, how it adapts, how it is scored."""
    text = registry.get("method", name).__doc__
    assert "Adapts by:" in text
    assert "Scored by:" in text
    assert "Meta-learned:" in text or "Learned beforehand:" in text


def test_a_typo_gets_a_suggestion():
    with pytest.raises(SettingsError, match=r"no method named 'mamml'; did you mean 'maml'.*Known: maml"):
        registry.get("method", "mamml")
    with pytest.raises(SettingsError, match=r"no net named 'zzz'\. Known: conv4"):
        registry.get("net", "zzz")


def test_an_address_stands_for_a_class():
    from quickstudy.nets import MLP

    assert registry.get("net", "quickstudy.nets.mlp:MLP") is MLP
    with pytest.raises(SettingsError, match=r"'nowhere.at:All' cannot be imported: No module named 'nowhere'"):
        registry.get("net", "nowhere.at:All")
    with pytest.raises(SettingsError, match=r"'quickstudy.nets.mlp:MLQ' cannot be imported.*package\.module:Class"):
        registry.get("net", "quickstudy.nets.mlp:MLQ")


def test_the_name_of_a_strange_class_is_its_address():
    assert registry.name_of(BASES["rule"]) == "quickstudy.inner.rules:Rule"


def test_floors_are_made_of_registered_methods():
    known = {"method", "settings", "net", "trained"}
    for name, floor in registry.FLOORS.items():
        assert set(floor) <= known, name
        assert {"method", "settings", "trained"} <= set(floor), name
        load("method", {"name": floor["method"], **floor["settings"]})
        if "net" in floor:
            load("net", floor["net"])


def test_make_gives_only_the_structure_asked_for():
    from quickstudy.methods.metric.protonet import ProtoNet

    net = make(registry.get("net", "flatten"), load("net", "flatten"), item=(3, 2), outputs=9)
    assert net.features == 6
    assert make(ProtoNet, load("method", "protonet"), net=net, outputs=5, item=(3, 2)).net is net


@pytest.mark.parametrize("name", registry.VARIANTS)
def test_variants_are_settings_of_methods(name):
    variant = registry.VARIANTS[name]
    assert name not in registry.METHODS
    assert load("method", name) == load("method", {"name": variant["name"], **variant["settings"]})
    assert registry.get("method", name) is registry.get("method", variant["name"])
    assert 15 < len(registry.summary("method", name)) <= 120


@pytest.mark.parametrize("name", registry.FOR_VALUES)
def test_settings_for_values_are_those_of_methods_that_take_values(name):
    assert registry.get("method", name).tags.regression
    given = registry.expand("method", {"name": name, **registry.suited_to_values(name)})
    assert dump(load("method", given)) | {"likelihood": ""} != dump(load("method", name)) | {"likelihood": ""}


def test_a_variant_of_a_method_is_suited_as_the_method_is():
    assert registry.suited_to_values("fomaml") == registry.suited_to_values("maml") != {}
    assert registry.suited_to_values("protonet") == {}


def test_a_method_is_of_the_family_whose_folder_it_is_in():
    assert registry.family("maml") == registry.family("meta-lstm") == "gradient"
    assert registry.family("protonet") == "metric"
    folders = {path.name for path in Path(methods.__path__[0]).iterdir() if path.is_dir()}
    assert {registry.family(name) for name in [*registry.METHODS, *registry.VARIANTS]} <= folders
