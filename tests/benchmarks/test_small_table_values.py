"""Ridge regression is tuned on training rows alone, and what is told of the tables is their means."""

import importlib
import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="scikit-learn is not installed (extra sklearn)")

RESULT = Path(__file__).parents[2] / "docs" / "records" / "claims" / "small_table_values.json"


def test_splits_are_apart():
    claim = importlib.import_module("small_table_values")
    x, y = np.arange(700, dtype=object)[:, None], np.arange(700.0)
    (known, values), (asked, truth) = claim.split(x, y, 0)
    assert not set(known[:, 0]) & set(asked[:, 0])
    assert (len(values), len(truth)) == (256, 444)
    assert (known[:, 0] == values).all()


def test_the_share_that_is_said():
    claim = importlib.import_module("small_table_values")
    truth = np.array([1.0, 2.0, 3.0])
    assert claim.r2(truth, truth) == 1
    assert claim.r2(truth, np.full(3, 2.0)) == 0
    assert claim.r2(truth, truth[::-1]) == pytest.approx(-3)


def test_ridge_regression_finds_its_penalty():
    """Many columns of noise ask for a large one, a line without noise for a small one."""
    claim = importlib.import_module("small_table_values")
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 40)).astype(object)
    line = x[:, 0].astype(float) - 2 * x[:, 1].astype(float)
    said = claim._ridge((x[:100], line[:100]), x[100:])
    assert claim.r2(line[100:], said) > 0.99999, "with a penalty of 1 it is 0.9995"
    noisy = 0.3 * line + 3 * rng.normal(size=200)
    assert claim.r2(noisy[100:], claim._ridge((x[:100], noisy[:100]), x[100:])) > -0.3, (
        "with a penalty of 1 it is -0.83"
    )


def test_families_count_once():
    claim = importlib.import_module("small_table_values")
    record = json.loads(RESULT.read_text())
    assert len(record["tables"]) >= 20
    assert record["summary"] == claim.told(record["tables"])
    most = importlib.import_module("small_tables").MOST_COLUMNS
    assert max(table["columns"] for table in record["tables"].values()) <= most
