"""A transformer in context against torch's own, over tokens laid out as published."""

import math

import pytest
import torch

from helpers import random_points, torchs_transformer
from quickstudy import Examples
from quickstudy.methods.memory.transformer import InContext
from quickstudy.nets import Flatten

WIDTH = 8


def build(tokens: str, **settings) -> InContext:
    torch.manual_seed(0)
    settings = {"width": WIDTH, "layers": 2, **settings}
    return InContext(Flatten((2,)), 1, tokens=tokens, likelihood="gaussian", **settings).double()


def sine(place: int) -> torch.Tensor:
    """Section 3.5 of Vaswani et al., sines before cosines."""
    angles = [place / 1e4 ** (i / (WIDTH // 2)) for i in range(WIDTH // 2)]
    return torch.tensor([math.sin(a) for a in angles] + [math.cos(a) for a in angles], dtype=torch.float64)


def laid_out(method: InContext, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """The tokens of a sequence whose last input's label is asked for."""
    tokens, last = [], torch.zeros(1, dtype=torch.float64)
    for place, each in enumerate(x):
        if method.tokens == "delayed":
            tokens.append(method.of_input(each) + method.of_label(last) + sine(place))
            last = y[place] if place < len(y) else last
            continue
        tokens.append(method.of_input(each) + (sine(2 * place) if method.tokens == "alternate" else 0))
        if place < len(y):
            label = method.of_label(y[place])
            if method.tokens == "pairs":
                tokens[-1] = tokens[-1] + label
            else:
                tokens.append(label + sine(2 * place + 1))
    return torch.stack(tokens)


@pytest.mark.parametrize("tokens", ["alternate", "delayed", "pairs"])
@pytest.mark.parametrize("examples", [0, 5])
def test_a_query_is_the_last_token_of_one_causal_pass(tokens, examples):
    method, points, asked = build(tokens), random_points(examples), random_points(3, 1).x
    said = method.predict(method.adapt(points), asked).mean
    peer = torchs_transformer(method.blocks, activation="gelu", norm="before")
    for i, query in enumerate(asked):
        sequence = laid_out(method, torch.cat([points.x, query[None]]), points.y)
        out = peer(sequence[None], mask=torch.ones(len(sequence), len(sequence)).triu(1).bool())
        torch.testing.assert_close(said[i], method.head(method.norm(out[0, -1])))


@pytest.mark.parametrize("tokens", ["alternate", "delayed", "pairs"])
def test_padding_has_no_place(tokens):
    method, points, asked = build(tokens), random_points(6), random_points(3, 1).x
    mask = torch.tensor([False, True, True, False, True, False])
    kept = Examples(*(field[mask] for field in points))
    padded = method.predict(method.adapt(points._replace(mask=mask)), asked).mean
    torch.testing.assert_close(padded, method.predict(method.adapt(kept), asked).mean)


def test_an_odd_width_has_places_too():
    method = build("alternate", width=9, heads=3)
    said = method.predict(method.adapt(random_points(4)), random_points(2, 1).x).mean
    assert said.isfinite().all()
