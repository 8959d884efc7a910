"""What several tests make."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from quickstudy import Episode, Examples


def data_folder(*needed: str) -> Path:
    """The folder named by QUICKSTUDY_DATA, or a skip with the reason where it lacks a file."""
    root = os.environ.get("QUICKSTUDY_DATA")
    if not root:
        pytest.skip("QUICKSTUDY_DATA is not set: it names the folder with the real data sets")
    for name in needed:
        if not (Path(root) / name).exists():
            pytest.skip(f"QUICKSTUDY_DATA holds no {name}")
    return Path(root)


def random_episodes(
    tasks: int = 3,
    ways: int = 4,
    shots: int = 2,
    queries: int = 3,
    item: tuple[int, ...] = (1, 16, 16),
    dtype: torch.dtype = torch.float32,
    seed: int = 0,
) -> Episode:
    """A batch of classification episodes of noise."""
    generator = torch.Generator().manual_seed(seed)

    def part(each: int) -> Examples:
        y = torch.eye(ways, dtype=torch.bool).repeat(each, 1).expand(tasks, -1, -1).clone()
        x = torch.randn(tasks, ways * each, *item, generator=generator, dtype=torch.float64).to(dtype)
        return Examples(x, y, torch.ones(tasks, ways * each, dtype=torch.bool))

    return Episode(part(shots), part(queries))


def random_points(n: int, seed: int = 0, values: int = 1, item: tuple[int, ...] = (2,)) -> Examples:
    """Places and real values of noise, of one task, in float64."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, *item, generator=generator, dtype=torch.float64)
    y = torch.randn(n, values, generator=generator, dtype=torch.float64)
    return Examples(x, y, torch.ones(n, dtype=torch.bool))
