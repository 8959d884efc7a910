"""Tables as files hold them: ARFF and CSV, gzipped, as rows of text and numbers."""

from __future__ import annotations

import csv
import gzip
import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["read"]

MISSING = {"", "?", "NA"}
HEAD = re.compile(r"@attribute\s+('[^']*'|\"[^\"]*\"|\S+)", re.IGNORECASE)


def read(path: Path, target: str, dropped: set[str]) -> tuple[NDArray[Any], NDArray[np.str_], list[str]]:
    """Features [n, columns] of numbers and text (None where missing), labels [n] as text, and the columns' names.

    A column is of numbers where all that is known of it is; rows without a label are left out.
    """
    with gzip.open(path, "rt", encoding="utf-8", errors="replace") as file:
        lines = file.read().splitlines()
    names, rows = _csv(lines) if ".csv" in path.name else _arff(lines)
    at = names.index(target)
    rows = [row for row in rows if row[at] not in MISSING]
    kept = [i for i, name in enumerate(names) if i != at and name not in dropped]
    columns = [_typed([row[i] for row in rows]) for i in kept]
    x = np.empty((len(rows), len(kept)), dtype=object)
    for i, column in enumerate(columns):
        x[:, i] = column
    return x, np.array([row[at] for row in rows]), [names[i] for i in kept]


def _csv(lines: list[str]) -> tuple[list[str], list[list[str]]]:
    names, *rows = list(csv.reader(lines))
    return names, rows


def _arff(lines: list[str]) -> tuple[list[str], list[list[str]]]:
    begin = next(i for i, line in enumerate(lines) if line.strip().lower() == "@data")
    names = [found[1].strip("'\"") for line in lines[:begin] if (found := HEAD.match(line.strip()))]
    body = [line for line in lines[begin + 1 :] if line.strip() and not line.startswith("%")]
    rows = csv.reader(body, quotechar="'", escapechar="\\", skipinitialspace=True)
    return names, [[value.strip().strip('"') for value in row] for row in rows]


def _typed(values: list[str]) -> list[Any]:
    known = [None if value.strip() in MISSING else value.strip() for value in values]
    try:
        return [None if value is None else float(value) for value in known]
    except ValueError:
        return known
