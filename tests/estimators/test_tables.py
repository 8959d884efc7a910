"""Raw tables become numbers as their training rows have it."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="scikit-learn is not installed (extra sklearn)")

from quickstudy.errors import DataError, SettingsError
from quickstudy.estimators.tables import LEVELS, Columns, Named, Numeric


def rows(*given: object) -> np.ndarray:
    found = np.empty((len(given), len(given[0])), dtype=object)
    for at, row in enumerate(given):
        found[at] = row
    return found


def test_numbers_are_filled_in_by_the_median():
    columns = Columns(np.array([[1.0], [2.0], [9.0], [np.nan]]))
    assert columns.kinds == [Numeric(2.0, flagged=False)]
    assert columns.numbers(np.array([[np.nan], [5.0]])).tolist() == [[2.0], [5.0]]


def test_where_more_was_missing_a_column_says_so():
    x = np.array([[1.0], [np.nan], [3.0], [np.nan]])
    assert Columns(x).numbers(x).tolist() == [[1, 0], [2, 1], [3, 0], [2, 1]]


def test_names_become_columns_the_commonest_first():
    x = rows(["b"], ["a"], ["b"], ["c"], [None])
    columns = Columns(x)
    assert columns.kinds == [Named(("b", "", "a", "c"))]
    assert columns.numbers(rows(["c"], [None], ["new"])).tolist() == [[0, 0, 0, 1], [0, 1, 0, 0], [0, 0, 0, 0]]


def test_of_two_names_one_says_all():
    x = rows(["yes"], ["no"], ["yes"])
    assert Columns(x).numbers(x).tolist() == [[0], [1], [0]]


def test_rare_names_are_alike():
    x = rows(*([f"name {i // 2}"] for i in range(60)))
    columns = Columns(x)
    assert len(columns.kinds[0].levels) == LEVELS
    assert columns.numbers(x).shape == (60, LEVELS)
    assert not columns.numbers(rows(["name 29"])).any()


def test_numbers_written_as_text_are_numbers_unless_said_otherwise():
    x = rows(["1", 3], ["2.5", 3], ["1", 4])
    assert Columns(x).numbers(x).tolist() == [[1, 3], [2.5, 3], [1, 4]]
    assert Columns(x, [1]).kinds == [Numeric(1.0, flagged=False), Named(("4",))]


def test_missing_values_of_every_kind():
    class NAType:
        def __ne__(self, other: object) -> bool:
            raise TypeError("boolean value of NA is ambiguous")

        __hash__ = None

    x = rows([1.0], [None], [float("nan")], [NAType()], [3.0])
    assert Columns(x).numbers(x)[:, 0].tolist() == [1, 2, 2, 2, 3]


def test_a_column_without_values_is_nothing_to_go_by():
    x = rows([None, 1.0], [None, 2.0])
    assert Columns(x).numbers(x).tolist() == [[0, 1], [0, 2]]


def test_what_cannot_be_read_is_said():
    with pytest.raises(DataError, match=r"column 0 holds 'tall', but numbers in the training rows"):
        Columns(np.array([[1.0], [2.0]])).numbers(rows(["tall"]))
    with pytest.raises(SettingsError, match=r"categorical names column 3, but X has 2 columns"):
        Columns(np.zeros((4, 2)), [0, 3])
    with pytest.raises(DataError, match=r"column 1 holds 'a'; expected numbers\. Name the column in categorical"):
        Columns(rows([1, "a"], [2, "b"]), [0])
