"""The page that adds a method: its code becomes one file, its line one entry, and the method keeps the contract."""

import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

from quickstudy import check_method, registry
from quickstudy.core.settings import Setting, load, make
from quickstudy.nets import Flatten

PAGE = (Path(__file__).parents[2] / "docs" / "add-a-method.md").read_text()
CODE = re.search(r"^## The file.*?^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)[1]
LINE = re.search(
    r'^## The line.*?^```\n\s*"(\w+)": "quickstudy\.methods\.metric\.(\w+):(\w+)",\n```', PAGE, re.M | re.S
)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Where the page's file lies, importable."""
    (tmp_path / f"{LINE[2]}.py").write_text(CODE)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    sys.modules.pop(LINE[2], None)


@pytest.fixture
def name(folder, monkeypatch):
    """The method, entered by the page's line (but for where its file lies)."""
    monkeypatch.setitem(registry.METHODS, LINE[1], f"{LINE[2]}:{LINE[3]}")
    return LINE[1]


def test_it_keeps_the_contract_by_name(name):
    results = check_method(name)
    assert [(r.name, r.reason) for r in results if r.outcome != "passed"] == [("steps", "it does not adapt in steps")]
    assert len(results) == 14


def test_its_address_will_do(folder):
    (found,) = check_method(f"{LINE[2]}:{LINE[3]}", only=["settings"])
    assert found.passed


def test_documentation_and_settings_come_with_it(name):
    assert registry.summary("method", name).startswith("Solve for a linear head in closed form")
    (penalty,) = Setting.all_of(registry.get("method", name))
    assert (penalty.name, penalty.default) == ("penalty", 1.0)
    assert penalty.help == "Where the learned penalty on large weights starts."
    chosen = load("method", {"name": name, "penalty": 0.5})
    assert make(registry.get("method", name), chosen, net=Flatten((3,)), outputs=5).settings.penalty == 0.5


def test_the_head_is_ridge_regression(folder):
    """(ZᵀZ + λI)⁻¹ ZᵀY, from which the page's formula differs by Woodbury's identity."""
    import torch

    from helpers import random_episodes
    from quickstudy.core import tree

    episode = tree.map_leaves(lambda leaf: leaf[0], random_episodes(tasks=1, item=(3,), dtype=torch.float64))
    method = importlib.import_module(LINE[2]).Ridge(Flatten((3,)), penalty=0.5).double()
    z, y = episode.support.x, episode.support.y.double()
    expected = torch.linalg.inv(z.T @ z + 0.5 * torch.eye(3, dtype=torch.float64)) @ z.T @ y
    torch.testing.assert_close(method.adapt(episode.support).weights, expected, rtol=1e-6, atol=1e-7)


def test_the_command_line_checks_the_file(folder):
    command = [
        str(Path(sys.executable).with_name("quickstudy")),
        "check",
        f"{LINE[2]}:{LINE[3]}",
        "--quiet",
        "--threads",
        "1",
    ]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "14 of 14 without fault" in done.stdout
