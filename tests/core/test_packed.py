"""Tensors and notes as bytes: what the safetensors library itself reads of them, and what is refused."""

from __future__ import annotations

import json

import pytest
import safetensors
import safetensors.torch
import torch

from quickstudy.core.packed import note, pack


def test_what_is_packed_is_read_by_safetensors(tmp_path):
    whole = torch.arange(6.0).reshape(2, 3)
    tied = {"a": whole, "b": whole.T, "c": torch.nn.Parameter(whole[0]), "d": torch.tensor([True, False])}
    notes = {"size": [1, None], "said": 'as "written"'}
    content = pack(tied, told=notes)
    (tmp_path / "packed.safetensors").write_bytes(content)
    with safetensors.safe_open(tmp_path / "packed.safetensors", "pt") as opened:
        assert opened.metadata() == {"told": json.dumps(notes)}
        assert set(opened.keys()) == tied.keys()
        for name, each in tied.items():
            assert torch.equal(opened.get_tensor(name), each.detach())
    assert note(content, "told") == notes
    assert pack(dict(reversed(tied.items())), told=notes) == content


def test_without_notes_nothing_is_in_the_header():
    tensors = {"a": torch.ones(3)}
    assert pack(tensors) == safetensors.torch.save(tensors)
    with pytest.raises(KeyError):
        note(pack(tensors), "told")


def test_bytes_without_a_header_are_refused():
    content = pack({"a": torch.ones(3)}, told=1)
    for damaged in (b"", content[:7], content[:40], b"\0" * 100, b"\xff" * 100):
        with pytest.raises(ValueError, match="too few for their header"):
            note(damaged, "told")
    with pytest.raises(ValueError, match="Expecting value"):
        note(content[:8] + b"x" * (len(content) - 8), "told")
