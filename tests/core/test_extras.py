"""A package that is not there is named with the extra that brings it."""

import sys

import pytest

from quickstudy.core.extras import extra
from quickstudy.errors import ExtraError


def test_what_is_there_is_imported():
    assert extra("json.decoder", "anything") is sys.modules["json.decoder"]


def test_what_is_not_there_is_named_with_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ExtraError, match=r"^transformers cannot be imported.*pip install 'quickstudy\[text\]'\.$"):
        extra("transformers", "text")


def test_it_is_an_import_error(tmp_path, monkeypatch):
    (tmp_path / "built_for_another_torch.py").write_text("raise RuntimeError('operator does not exist')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ImportError, match="operator does not exist"):
        extra("built_for_another_torch", "vision")
