"""The distance between our numbers and a peer's, held to a limit, shown at the end and, where asked, kept."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

FOUND = pytest.StashKey[list[tuple[str, str, float, float]]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--distances", type=Path, help="keep the distances in this file, as JSON")


def pytest_configure(config: pytest.Config) -> None:
    config.stash[FOUND] = []


@pytest.fixture
def agrees(request: pytest.FixtureRequest) -> Callable[..., None]:
    """Called with what is compared, ours, theirs and a limit: ‖ours - theirs‖ / ‖theirs‖ must stay below it."""

    def held(what: str, ours: torch.Tensor, theirs: torch.Tensor, limit: float) -> None:
        ours, theirs = (torch.as_tensor(each).detach().double() for each in (ours, theirs))
        assert ours.shape == theirs.shape
        apart = float((ours - theirs).norm() / theirs.norm())
        request.config.stash[FOUND].append((request.node.name, what, apart, limit))
        assert apart < limit, f"{what}: {apart:.1e} apart, expected below {limit:.0e}"

    return held


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if config.stash[FOUND]:
        terminalreporter.section("how far from peers")
        if path := config.getoption("--distances"):
            rows = [dict(zip(("test", "what", "apart", "limit"), each, strict=True)) for each in config.stash[FOUND]]
            path.write_text(json.dumps(rows), encoding="utf-8")
    for test, what, apart, limit in config.stash[FOUND]:
        terminalreporter.write_line(f"{apart:8.1e} of {limit:.0e}  {test.removeprefix('test_')}: {what}")
