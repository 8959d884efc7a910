"""Imports go down, entries of a row do not import each other, and no modules import each other in a circle."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "src" / "quickstudy"
ROWS = [
    "errors registry",
    "core",
    "nets tasks inner",
    "methods encoders",
    "evaluate checks",
    "train",
    "bundle",
    "areas",
    "estimators serve",
    "cli",
]
RANK = {name: row for row, names in enumerate(ROWS) for name in names.split()}

# `registry` speaks of errors, the one step sideways.
SIDEWAYS = {("registry", "errors")}


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in sorted(ROOT.rglob("*.py"))}


def resolve(name: str) -> str:
    """The module that a dotted name lies in: `quickstudy.core.tree.stack` in `quickstudy.core.tree`."""
    while name not in MODULES:
        name = name.rpartition(".")[0]
        assert name, "not a module of quickstudy"
    return name


def imported(path: Path, here: str) -> list[tuple[str, int]]:
    """Every module of quickstudy that a file imports anywhere, with the line: in functions and for types too."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{here}:{node.lineno} imports relatively; write quickstudy...."
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        found += [(resolve(name), node.lineno) for name in names if name.split(".")[0] == "quickstudy"]
    return found


EDGES = [(here, there, line) for here, path in MODULES.items() for there, line in imported(path, here)]


def area(module: str) -> str:
    """The part of the package that a module belongs to; "" for the root, which names everything for its users."""
    return ([*module.split("."), ""])[1]


def test_every_part_has_its_row():
    parts = {area(module) for module in MODULES} - {"", "__main__"}
    assert parts <= set(RANK), f"no row for {sorted(parts - set(RANK))}: add them to ROWS, above what imports them"


def test_imports_go_down():
    wrong = [
        f"{here}:{line} imports {there}"
        for here, there, line in EDGES
        if area(here) in RANK
        and area(there) in RANK
        and area(here) != area(there)
        and (area(here), area(there)) not in SIDEWAYS
        and RANK[area(there)] >= RANK[area(here)]
    ]
    assert not wrong, "\n".join(wrong)


# The root names everything, so a module below may ask it only for its version.
def test_nothing_below_imports_the_root_for_its_names():
    names = {"__version__", *(m.split(".")[1] for m in MODULES if "." in m)}
    wrong = []
    for here, path in MODULES.items():
        for node in ast.walk(ast.parse(path.read_text())):
            if here != "quickstudy" and isinstance(node, ast.ImportFrom) and node.module == "quickstudy":
                wrong += [f"{here}:{node.lineno} {alias.name}" for alias in node.names if alias.name not in names]
    assert not wrong, "\n".join(wrong)


def test_methods_are_looked_up_not_imported():
    for here, there, line in EDGES:
        if area(here) in ("evaluate", "train", "bundle", "serve"):
            assert area(there) != "methods", f"{here}:{line} imports {there}; look it up in the registry"


def circles(edges: dict[str, set[str]]) -> list[list[str]]:
    """Strongly connected components of more than one module (Tarjan 1972)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(node: str) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        for other in edges.get(node, set()):
            if other not in index:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], index[other])
        if low[node] == index[node]:
            component = stack[stack.index(node) :]
            del stack[stack.index(node) :]
            if len(component) > 1:
                found.append(sorted(component))

    for node in edges:
        if node not in index:
            visit(node)
    return found


def test_no_circles():
    edges: dict[str, set[str]] = {}
    for here, there, _ in EDGES:
        # A package's __init__ gathers what its modules give; from a sibling, that is not a circle of meaning only if
        # the sibling does not import the package back, which is what this finds.
        if here != there and area(here) and area(there):
            edges.setdefault(here, set()).add(there)
    assert circles(edges) == []


def test_the_circle_finder_finds_circles():
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == [["a", "b", "c"]]
    assert circles({"a": {"b", "c"}, "b": {"c"}}) == []


def test_folders_are_two_deep():
    for path in MODULES.values():
        assert len(path.relative_to(ROOT).parts) <= 3, path


@pytest.mark.parametrize("module", [m for m in MODULES if area(m) not in ("", "__main__", "cli")])
def test_the_library_never_prints_or_pickles(module):
    tree = ast.parse(MODULES[module].read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id != "print", f"{module}:{node.lineno} prints"
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            names = [alias.name for alias in node.names] + [getattr(node, "module", "") or ""]
            assert not {"pickle", "dill", "cloudpickle", "joblib"} & set(names), f"{module}:{node.lineno}"
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in ("save", "load"):
            owner = node.func.value
            assert not (isinstance(owner, ast.Name) and owner.id == "torch"), f"{module}:{node.lineno} pickles"
