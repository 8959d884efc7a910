"""Floors that are measured for a record after the run: on its own episodes, or not at all."""

from __future__ import annotations

import dataclasses
import importlib
import math
import sys
from pathlib import Path

import pytest

from quickstudy.errors import DataError
from quickstudy.evaluate.record import Record
from quickstudy.train.settings import Training

ROOT = Path(__file__).parents[2]


@pytest.fixture
def with_floors(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "recipes"))
    yield importlib.import_module("floors").with_floors
    del sys.modules["floors"]


@pytest.fixture
def record():
    return Record.read(ROOT / "docs" / "records" / "sines-maml.json")


def test_a_record_gets_the_floors_that_its_evaluation_would_have_measured(with_floors, record, tmp_path):
    bare = dataclasses.replace(record, floors=())
    found = with_floors(bare, tmp_path, Training(steps=20))
    assert [floor.name for floor in found.floors] == [floor.name for floor in record.floors]
    assert {floor.digest for floor in found.floors} == {record.protocol.digest}
    assert dataclasses.replace(found, floors=()) == bare
    assert all(math.isfinite(floor.mean) for floor in found.floors)


def test_floors_of_other_episodes_are_refused(with_floors, record, tmp_path):
    other = dataclasses.replace(record, protocol=dataclasses.replace(record.protocol, digest="0" * 16))
    with pytest.raises(DataError, match="the record's are 0000000000000000"):
        with_floors(other, tmp_path)
