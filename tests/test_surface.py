"""What a user can import is what is written down, and asking for help does not wait for torch."""

import ast
import importlib
import subprocess
import sys

import pytest

import quickstudy
from quickstudy.errors import ExtraError
from test_imports import MODULES

ROOT = ast.parse(MODULES["quickstudy"].read_text())


def test_all_is_what_has_a_home():
    assert len(set(quickstudy.__all__)) == len(quickstudy.__all__)
    assert set(quickstudy.__all__) == set(quickstudy._HOMES)
    assert list(quickstudy._HOMES) == sorted(quickstudy._HOMES)
    assert not set(quickstudy._EXTRAS) & set(quickstudy.__all__)


def test_the_root_is_small():
    assert len(quickstudy.__all__) <= 30


def test_everything_named_is_there():
    for name in [*quickstudy.__all__, *quickstudy._EXTRAS]:
        found = getattr(quickstudy, name)
        assert name in dir(quickstudy)
        assert getattr(found, "__name__", name) == name
        assert found.__doc__, f"{name} has no documentation"


def test_unknown_names_are_refused():
    with pytest.raises(AttributeError, match="module 'quickstudy' has no attribute 'MAMML'"):
        quickstudy.MAMML  # noqa: B018


def test_types_are_imported_from_their_homes():
    """What type checkers see (under TYPE_CHECKING) is what `__getattr__` finds."""
    (block,) = (node for node in ROOT.body if isinstance(node, ast.If))
    seen = {alias.name: node.module for node in block.body for alias in node.names}
    assert seen == {name: f"quickstudy.{home}" for name, home in (quickstudy._HOMES | quickstudy._EXTRAS).items()}


def public(tree: ast.Module) -> set[str]:
    """Names a module defines without a leading underscore, at its top level."""
    found = set()
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            found.add(node.name)
        elif isinstance(node, ast.Assign):
            found |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    return {name for name in found if not name.startswith("_")}


@pytest.mark.parametrize("module", [m for m in MODULES if m not in ("quickstudy", "quickstudy.__main__")])
def test_all_of_a_module(module):
    """`__all__` is there where anything is defined, and names only what exists; ruff sorts it."""
    tree = ast.parse(MODULES[module].read_text())
    try:
        loaded = importlib.import_module(module)
    except ExtraError as error:
        pytest.skip(str(error))
    names = getattr(loaded, "__all__", None)
    if names is None:
        assert not public(tree), f"{module} defines {sorted(public(tree))} but has no __all__"
        return
    assert len(set(names)) == len(names)
    for name in names:
        assert hasattr(loaded, name), f"{module}.__all__ names {name}, which is not there"
        defined_here = getattr(getattr(loaded, name), "__module__", module) == module
        init = MODULES[module].name == "__init__.py"
        assert init or defined_here or name in public(tree) or name in {"Tensor", "Bool", "Float", "Int", "Shaped"}


def test_what_a_package_gives_its_modules_give_too():
    for module, path in MODULES.items():
        if path.name != "__init__.py" or module == "quickstudy":
            continue
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("quickstudy."):
                names = {alias.name for alias in node.names}
                assert names <= set(importlib.import_module(node.module).__all__), f"{module} from {node.module}"


def fresh(code: str) -> str:
    """What a new interpreter prints."""
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_import_does_not_load_torch():
    assert (
        fresh("import quickstudy, sys; print([m for m in ('torch', 'numpy', 'pydantic') if m in sys.modules])") == "[]"
    )


def test_the_registry_does_not_load_torch():
    assert fresh("import quickstudy.registry, sys; print('torch' in sys.modules)") == "False"


def test_using_a_name_loads_what_it_needs():
    assert fresh("import quickstudy, sys; quickstudy.QuickstudyError; print('torch' in sys.modules)") == "False"
    assert fresh("from quickstudy import MAML; print(MAML.__name__)") == "MAML"


def test_the_package_is_typed_and_has_a_version():
    assert (MODULES["quickstudy"].parent / "py.typed").exists()
    assert quickstudy.__version__.count(".") == 2
