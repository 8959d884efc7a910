"""Every recipe is one that `quickstudy train --config` takes, and says what it is a recipe of."""

from pathlib import Path

import pytest

from quickstudy.cli.recipe import checked, read_yaml
from quickstudy.tasks.fewshot import FewShotTasks

RECIPES = sorted((Path(__file__).parents[2] / "recipes").glob("*.yaml"))


def test_there_are_recipes():
    assert len(RECIPES) >= 5


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_loads(path):
    asked = checked(read_yaml(path))
    assert asked.run.net is not None, "a recipe names its net"
    assert asked.watch.validation_episodes >= 100
    if isinstance(asked.run.tasks, FewShotTasks):
        assert asked.run.tasks.queries == 15


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_names_its_paper(path):
    head = [line for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("#")]
    assert "et al." in " ".join(head) or "otherwise as" in " ".join(head).lower()
