"""What several tests make."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from quickstudy import Episode, Examples
from quickstudy.nets import OfConv4


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


def torchs_attention(ours: Any) -> nn.MultiheadAttention:
    """Torch's own attention with the weights of an `Attention`."""
    theirs = nn.MultiheadAttention(ours.out.in_features, ours.heads, batch_first=True).double()
    parts = [ours.of_query, ours.of_key, ours.of_value]
    with torch.no_grad():
        theirs.in_proj_weight.copy_(torch.cat([part.weight for part in parts]))
        theirs.in_proj_bias.copy_(torch.cat([part.bias for part in parts]))
    theirs.out_proj.load_state_dict(ours.out.state_dict())
    return theirs


def torchs_transformer(blocks: Any, *, activation: str = "relu", norm: str = "after") -> nn.TransformerEncoder:
    """Torch's own transformer with the weights of some `Block`s."""
    first = blocks[0]
    width, hidden, heads = first.perceptron[0].in_features, first.perceptron[0].out_features, first.attention.heads
    layer = nn.TransformerEncoderLayer(
        width, heads, hidden, dropout=0.0, activation=activation, batch_first=True, norm_first=norm == "before"
    )
    stack = nn.TransformerEncoder(layer, len(blocks), enable_nested_tensor=False).double()
    for theirs, ours in zip(stack.layers, blocks, strict=True):
        theirs.self_attn.load_state_dict(torchs_attention(ours.attention).state_dict())
        theirs.linear1.load_state_dict(ours.perceptron[0].state_dict())
        theirs.linear2.load_state_dict(ours.perceptron[2].state_dict())
        theirs.norm1.load_state_dict(ours.norms[0].state_dict())
        theirs.norm2.load_state_dict(ours.norms[1].state_dict())
    return stack


def passes_of_groups(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The groups of each pass of groups through Conv-4 from now on, so that a test sees whether there was one."""
    seen: list[int] = []
    whole = OfConv4.of_groups

    def of_groups(self: OfConv4, net: Any, x: torch.Tensor, *others: Any) -> Any:
        seen.append(len(x))
        return whole(self, net, x, *others)

    monkeypatch.setattr(OfConv4, "of_groups", of_groups)
    return seen
