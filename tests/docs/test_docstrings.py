"""Every example in a docstring runs and prints what it says."""

import doctest
import importlib
import pkgutil

import pytest

import quickstudy
from quickstudy.errors import ExtraError

MODULES = [info.name for info in pkgutil.walk_packages(quickstudy.__path__, "quickstudy.")]
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE | doctest.IGNORE_EXCEPTION_DETAIL


@pytest.mark.parametrize("name", MODULES)
def test_docstring_examples(name: str) -> None:
    try:
        module = importlib.import_module(name)
    except ExtraError as error:
        pytest.skip(str(error))
    assert doctest.testmod(module, optionflags=FLAGS).failed == 0
