"""Every method and variant from the command line, with its defaults: trained for two steps, methods evaluated too."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from quickstudy import registry
from quickstudy.cli import main
from quickstudy.core.learner import tags_of
from quickstudy.core.settings import load, owner_of

NAMES = [*registry.METHODS, *registry.VARIANTS]
AFTER_RFS = ("rfs-distill", "meta-baseline")
SMALL = "--steps 2 --validate-every 0 --quiet --threads 1"
GLYPHS = "--tasks glyphs --tasks.ways 2 --tasks.shots 2 --tasks.queries 1"
NETS = {"gradient": "--net mlp --net.hidden 4", "bayesian": "--net mlp --net.hidden 4"}  # in which all weights may step
CONV = "--net conv4 --net.width 4 --net.downsample stride"


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def train(name: str, flags: str, out: str) -> None:
    assert main(["train", name, *flags.split(), *SMALL.split(), "--out", out]) == 0


def evaluated(run: str, capsys: pytest.CaptureFixture[str]) -> float:
    capsys.readouterr()
    asked = "--episodes 3 --no-floors --no-curves --quiet --threads 1 --json"
    assert main(["evaluate", run, *asked.split()]) == 0
    return float(json.loads(capsys.readouterr().out)["result"]["mean"])


def those_that_learn(kind: str) -> list[str]:
    return [name for name in NAMES if getattr(tags_of(load("method", name)), kind)]


@pytest.mark.parametrize("name", those_that_learn("classification"))
def test_classes(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    family = owner_of(load("method", name)).__module__.split(".")[-2]
    flags = f"{GLYPHS} {NETS.get(family, CONV)} --batch 1"
    if name in AFTER_RFS:
        train("rfs", flags, "first")
        flags += " --start first"
    train(name, flags, "run")
    if name in registry.METHODS:
        assert 0 <= evaluated("run", capsys) <= 1


@pytest.mark.parametrize("name", those_that_learn("classification"))
def test_classes_in_bfloat16_with_channels_last(name: str) -> None:
    """Where tasks are mapped, autocast and the layout of convolutions meet torch's rules for mapped tensors."""
    method = owner_of(load("method", name))
    net = NETS.get(method.__module__.split(".")[-2], CONV)
    flags = f"{GLYPHS} {net} --precision bf16 --channels-last --how {'map' if method.tags.maps else 'loop'}"
    if name in AFTER_RFS:
        train("rfs", flags, "first")
        flags += " --start first"
    train(name, f"{flags} --batch 2", "run")


@pytest.mark.parametrize("name", those_that_learn("regression"))
def test_values(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    train(name, "--tasks sines --batch 1", "run")
    if name not in those_that_learn("classification"):
        assert 0 < evaluated("run", capsys) < 1e3
