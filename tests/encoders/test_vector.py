"""Numbers as they are, and a refusal of what is none."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from quickstudy.core.settings import dump, load
from quickstudy.encoders import VectorEncoder
from quickstudy.errors import DataError


def test_numbers_are_taken_as_they_are() -> None:
    encoder = VectorEncoder(item=(3,))
    rows = [[1, 2.5, -3], np.array([1, 2, 3], dtype=np.int64), torch.tensor([0.1, 0.2, 0.3]), (True, False, True)]
    x = encoder.encode(rows)
    assert x.dtype == torch.float32
    expected = torch.tensor([[1, 2.5, -3], [1, 2, 3], [0.1, 0.2, 0.3], [1, 0, 1]])
    assert torch.equal(x, expected)
    assert encoder.encode([]).shape == (0, 3)


def test_other_shapes() -> None:
    encoder = VectorEncoder(item=(2, 2))
    assert encoder.encode([[[1, 2], [3, 4]]]).shape == (1, 2, 2)
    assert load("encoder", dump(encoder)) == encoder
    assert dump(encoder) == {"name": "vector", "item": [2, 2]}


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ([1, 2], r"input 1 has shape \[2\]. Expected numbers of shape \[3\]"),
        ([[1, 2, 3]], r"shape \[1, 3\]"),
        ([1, 2, float("nan")], "holds NaN"),
        ([1, 2, float("inf")], "holds NaN, or numbers that are infinite"),
        ([1, 2, 1e300], "infinite in float32"),
        (["1", "2", "3"], "not numbers"),
        ("abc", "not numbers"),
        ([1, [2], 3], "no array of numbers"),
        ([1, 2, None], "not numbers"),
        ([1, 2, 3j], "not numbers"),
        ({"a": 1}, "not numbers"),
        (None, "not numbers"),
        ([1, 2, 10**400], "not numbers"),
    ],
)
def test_what_is_no_vector(bad: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        VectorEncoder(item=(3,)).encode([[1, 2, 3], bad])
