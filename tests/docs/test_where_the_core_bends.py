"""The page of exceptions names every method that makes use of one."""

from collections.abc import Callable
from pathlib import Path

import pytest

from quickstudy import MetaLearner, registry
from quickstudy.checks import cases
from quickstudy.core.learner import Examined

PAGE = Path(__file__).parent.parent.parent / "docs" / "where-the-core-bends.md"

BENDS: dict[str, Callable[[MetaLearner], object]] = {
    "trains_on": lambda method: method.tags.trains_on == "pool",
    "reach": lambda method: type(method).reach is not MetaLearner.reach,
    "start_from": lambda method: method.needs_start,
    "estimated": lambda method: method.estimated,
    "noise_size": lambda method: method.noise_size,
    "reads_loss": lambda method: getattr(getattr(method, "rule", None), "reads_loss", False),
    "examine": lambda method: isinstance(method, Examined),
}


@pytest.fixture(scope="module")
def methods() -> dict[str, MetaLearner]:
    names = [*registry.METHODS, *registry.VARIANTS]
    return {name: cases(name, only=["purity"])[0].subject.fresh() for name in names}


@pytest.mark.parametrize("what", BENDS)
def test_the_page_names_every_method_that_asks_for_it(what: str, methods: dict[str, MetaLearner]) -> None:
    """A variant where its method does not ask for it."""
    asks, lines = BENDS[what], PAGE.read_text(encoding="utf-8").splitlines()
    (named,) = [line.split("|")[2] for line in lines if line.startswith("| `") and what in line.split("|")[1]]
    asking = [name for name in registry.METHODS if asks(methods[name])]
    asking += [name for name, v in registry.VARIANTS.items() if asks(methods[name]) and v["name"] not in asking]
    assert asking
    assert not [name for name in asking if f"`{name}`" not in named]
