"""Every registered method, with its defaults and in its published variants, keeps the contract."""

import pytest

from quickstudy import registry
from quickstudy.checks import CHECKS, parametrised
from quickstudy.checks.run import cases

STRUCTURAL = [name for name in CHECKS if name != "learns"]
VALUES = "learns (regression)"
LEARNING = {
    ("transformer", "learns"): {"layers": 2},
    ("fomaml", VALUES): {"rule": {"name": "sgd", "rate": 0.4}},
    ("alfa", VALUES): {"rule": {"name": "alfa", "rate": 0.4}},
    ("mtnet", VALUES): {"rate": 0.4},
}
"""What learns within the check's 200 steps where the defaults do not: three layers begin to bind on some processors
only, and inner steps by default suit classes of images."""


def held(*names):
    """The cases of these methods as a decorator, those above with what is said there."""
    found = []
    for name in names:
        learning = {
            check: case
            for (owner, check), chosen in LEARNING.items()
            for case in (cases(name, chosen=chosen, only=["learns"]) if owner == name else ())
            if case.name == check
        }
        found += [pytest.param(learning.get(case.name, case), id=f"{name}-{case.name}") for case in cases(name)]
    return pytest.mark.parametrize("case", found)


def hold(case):
    result = case.run()
    if result.outcome == "skipped":
        pytest.skip(result.reason)
    assert result.passed, result.reason


@held(*registry.METHODS)
def test_registered(case):
    hold(case)


@held(*registry.VARIANTS)
def test_variant(case):
    hold(case)


@parametrised("maml", chosen={"rule": "momentum", "steps": 2, "gradient": "unrolled"}, only=STRUCTURAL)
def test_maml_unrolled_with_momentum(case):
    hold(case)


@parametrised("maml", chosen={"rule": "adam", "steps": 2}, only=STRUCTURAL)
def test_maml_with_adam(case):
    hold(case)


@parametrised("maml", chosen={"head": "tied", "steps": 2})
def test_maml_with_a_tied_head(case):
    hold(case)


@parametrised(
    "cavia",
    "protomaml",
    "platipus",
    chosen={"rule": {"name": "learned-rates", "rate": 0.05, "per": "tensor"}},
    only=["loop equals map", "padding", "any ways", "save and load", "settings", "gradients"],
)
def test_rates_learned_by_other_methods_than_maml(case):
    hold(case)


@parametrised("leo", chosen={"encoder": 0.0}, only=["gradients"])
def test_leo_without_the_distance_that_holds_a_constant(case):
    result = case.run()
    assert result.outcome == "passed", result.reason


@parametrised("protonet", chosen={"distance": "cosine", "temperature": 0.1})
def test_cosine_protonet(case):
    hold(case)


@parametrised("finetune", chosen={"adapts": "all", "steps": 25, "rule": {"name": "adam", "rate": 0.003}})
def test_finetune_all(case):
    hold(case)


SMALL_CONV = {"name": "conv4", "width": 4, "downsample": "stride"}


@parametrised("protonet", "finetune", net={**SMALL_CONV, "norm": "group"}, item=(1, 16, 16), only=STRUCTURAL)
def test_on_images(case):
    hold(case)


@parametrised("maml", chosen={"steps": 2}, net=SMALL_CONV, item=(1, 16, 16), only=["padding", "no query leak"])
def test_maml_on_images(case):
    hold(case)
