"""Raw tables as columns of numbers: what is missing is filled in, and names become columns of their own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from quickstudy.errors import DataError, SettingsError

__all__ = ["Columns", "Named", "Numeric"]

LEVELS = 12
"""Names of one column that get columns of their own, at most; rarer ones are alike."""

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Numeric:
    """A column of numbers: filled in by the median, with a column that says where if enough were missing."""

    middle: float
    flagged: bool

    def numbers(self, column: NDArray[Any]) -> list[Array]:
        values = _floats(column)
        lost = np.isnan(values)
        filled = np.where(lost, self.middle, values)
        return [filled, lost.astype(np.float64)] if self.flagged else [filled]


@dataclass(frozen=True)
class Named:
    """A column of names: one column of numbers for each of the commonest; of two names one says all."""

    levels: tuple[str, ...]

    def numbers(self, column: NDArray[Any]) -> list[Array]:
        names = _names(column)
        return [(names == level).astype(np.float64) for level in self.levels]


class Columns:
    """How the columns of a table become numbers, as the training rows have it.

    Args:
        x: Training rows, [n, columns], of numbers or objects; None and NaN are missing.
        named: Places of columns whose values are names even where they are numbers; "auto" for those that hold text.

    Raises:
        SettingsError: a place is none of the table's.
    """

    def __init__(self, x: NDArray[Any], named: Sequence[int] | Literal["auto"] = "auto") -> None:
        if named != "auto" and (wrong := [at for at in named if not 0 <= at < x.shape[1]]):
            raise SettingsError(
                f"categorical names column {wrong[0]}, but X has {x.shape[1]} columns; count them from 0."
            )
        self.kinds: list[Numeric | Named] = []
        for at, column in enumerate(x.T):
            by_name = _has_text(column) if named == "auto" else at in named
            self.kinds.append(_named(column) if by_name else _numeric(column, at))

    def numbers(self, x: NDArray[Any]) -> Array:
        """Rows as numbers, [n, c].

        Raises:
            DataError: text where the training rows had numbers.
        """
        found = []
        for at, (kind, column) in enumerate(zip(self.kinds, x.T, strict=True)):
            if isinstance(kind, Numeric) and _has_text(column):
                text = next(value for value in column if _is_text(value))
                raise DataError(
                    f"column {at} holds {str(text)!r}, but numbers in the training rows. Give numbers, or name it in "
                    "categorical."
                )
            found += kind.numbers(column)
        return np.stack(found, 1) if found else np.zeros((len(x), 0))


def _numeric(column: NDArray[Any], at: int) -> Numeric:
    if _has_text(column):
        text = next(value for value in column if _is_text(value))
        raise DataError(f"column {at} holds {str(text)!r}; expected numbers. Name the column in categorical.")
    values = _floats(column)
    known = values[~np.isnan(values)]
    lost = len(values) - len(known)
    return Numeric(float(np.median(known)) if len(known) else 0.0, flagged=bool(2 <= lost < len(values)))


def _named(column: NDArray[Any]) -> Named:
    levels, counts = np.unique(_names(column), return_counts=True)
    order = np.lexsort((levels, -counts))
    kept = [str(levels[at]) for at in order[:LEVELS]]
    return Named(tuple(kept[1:] if len(levels) == 2 else kept))


def _names(column: NDArray[Any]) -> NDArray[np.str_]:
    """Values as text; what is missing is a name of its own, the empty one."""
    return np.array(["" if _missing(value) else str(value) for value in column], dtype=str)


def _floats(column: NDArray[Any]) -> Array:
    if column.dtype.kind in "biuf":
        return column.astype(np.float64)
    return np.array([np.nan if _missing(value) else float(value) for value in column], dtype=np.float64)


def _has_text(column: NDArray[Any]) -> bool:
    return column.dtype.kind in "US" or (column.dtype.kind == "O" and any(map(_is_text, column)))


def _is_text(value: Any) -> bool:
    """Whether it is no number, nor written like one."""
    if not isinstance(value, (str, bytes)):
        return False
    try:
        float(value)
    except ValueError:
        return True
    return False


def _missing(value: Any) -> bool:
    # pandas.NA is equal to nothing, itself included, and says so by NA, which is no truth
    return value is None or type(value).__name__ == "NAType" or bool(value != value)  # noqa: PLR0124
