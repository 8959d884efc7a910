"""Tables are read as their files have them, and no contender sees another split."""

import gzip
import importlib
import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="scikit-learn is not installed (extra sklearn)")

RESULT = Path(__file__).parents[2] / "docs" / "records" / "claims" / "small_tables.json"
ARFF = """% a comment
@relation 'fruit and more'
@attribute 'the colour' {red, 'pale green'}
@attribute size numeric
@attribute code {1,2}
@ATTRIBUTE class {a,b}
@data
red, 1.5, 1, a
'pale green', ?, 2, b
% another

?, 3, 2, ?
"""


def test_arff_is_read(tmp_path):
    path = tmp_path / "fruit.arff.gz"
    path.write_bytes(gzip.compress(ARFF.encode()))
    x, y, names = importlib.import_module("arff").read(path, "class", set())
    assert names == ["the colour", "size", "code"]
    assert x.tolist() == [["red", 1.5, 1.0], ["pale green", None, 2.0]]
    assert y.tolist() == ["a", "b"]


def test_csv_is_read(tmp_path):
    path = tmp_path / "fruit.csv.gz"
    path.write_bytes(gzip.compress(b'"rownames","kind","size"\n1,"a, or b",2\n2,c,NA\n3,,4\n'))
    x, y, names = importlib.import_module("arff").read(path, "kind", {"rownames"})
    assert names == ["size"]
    assert x.tolist() == [[2.0], [None]]
    assert y.tolist() == ["a, or b", "c"]


def test_splits_are_apart_and_classes_common():
    claim = importlib.import_module("small_tables")
    y = np.array(["a"] * 60 + ["b"] * 50 + ["rare"] * 4)
    x = np.arange(len(y), dtype=object)[:, None]
    x, y = claim._common(x, y)
    assert set(y) == {"a", "b"}
    (known, labels), (asked, truth) = claim.split(x, y, 0, stratify=y)
    assert not set(known[:, 0]) & set(asked[:, 0])
    assert len(labels) == 55
    assert set(truth) == {"a", "b"}


def test_areas_of_two_and_of_more_classes():
    claim = importlib.import_module("small_tables")
    y = np.array(["a", "b", "a", "b"])
    said = np.array([[0.9, 0.1], [0.2, 0.8], [0.4, 0.6], [0.5, 0.5]])
    assert claim._auc(y, said) == pytest.approx(0.75)
    three = np.array(["a", "b", "c", "a", "b", "c"])
    assert claim._auc(three, np.eye(3)[[0, 1, 2, 0, 1, 2]]) == 1


def test_what_counts_was_not_looked_at():
    claim = importlib.import_module("small_tables")
    record = json.loads(RESULT.read_text())
    assert not set(record["tables"]) & set(claim.ASIDE)
    assert set(record["set aside"]) == set(claim.ASIDE)
    assert len(record["tables"]) >= 20
