"""The claim about few-shot intents: episodes that keep halves apart, and the whole of it on next to nothing."""

import importlib
import json
import sys
from dataclasses import dataclass

import numpy as np
import pytest
import torch

pytest.importorskip("sklearn", reason="scikit-learn is not installed (extra sklearn)")

INTENTS = [f"intent {at}" for at in range(12)]


@pytest.fixture
def claim():
    return importlib.import_module("clinc150")


@dataclass(frozen=True)
class Told:
    """Stands for a language model: says which intent a sentence names, and noise."""

    model: str = "none"
    weights: str = "00"

    def encode(self, texts) -> torch.Tensor:
        rng = np.random.default_rng(0)
        at = [INTENTS.index(text.partition(":")[0]) for text in texts]
        return torch.tensor(np.eye(12)[at] + 0.3 * rng.normal(size=(len(at), 12)), dtype=torch.float32)


def part(claim, each: int, start: int = 0):
    y = np.repeat(np.arange(12), each)
    return claim.Sentences(np.arange(start, start + len(y), dtype=np.float32)[:, None], y)


@pytest.mark.parametrize("same", [True, False])
def test_episodes(claim, same):
    learn = part(claim, 12)
    ask = learn if same else part(claim, 6, start=1000)
    setting = claim.Setting(np.arange(3, 12), 4, learn, ask, 9, 7)
    drawn = list(claim.episodes(setting, 20))
    for each in drawn:
        assert set(each.y) == set(each.answer) == set(each.intents) <= set(range(3, 12))
        assert len(each.intents) == 4
        assert np.bincount(each.y)[each.intents].tolist() == [5] * 4
        assert np.bincount(each.answer)[each.intents].tolist() == [7 if same else 6] * 4  # as many as there are
        numbers = [*each.x[:, 0], *each.asked[:, 0]]
        assert len(set(numbers)) == len(numbers)
    again = list(claim.episodes(setting, 20))
    assert all((a.x == b.x).all() and (a.asked == b.asked).all() for a, b in zip(drawn, again, strict=True))
    assert len({tuple(each.x[:, 0]) for each in drawn}) == 20


def test_intents_to_tune_on_are_no_test_intents(claim, monkeypatch):
    monkeypatch.setattr(claim, "VAL_INTENTS", 5)
    parts = {name: part(claim, 8) for name in ("train", "val", "test")}
    tune, test = claim._settings(parts, INTENTS, 5)
    assert set(tune.intents) | set(test.intents) == set(range(12))
    assert not set(tune.intents) & set(test.intents)
    tune, test = claim._settings(parts, INTENTS, 12)
    assert tune.learn is tune.ask is parts["val"]
    assert (test.learn, test.ask) == (parts["train"], parts["test"])


def test_a_stiff_ridge_without_its_own_means_is_class_means(claim):
    rng = np.random.default_rng(0)
    y = np.repeat(np.arange(12), 14)
    part = claim.Sentences((rng.normal(size=(12, 6))[y] + rng.normal(size=(168, 6))).astype(np.float32), y)
    found = claim.own_means(claim.Setting(np.arange(12), 12, part, part, 9, 3), 5, penalty=1e9)
    means, ridge, corrected = found.values()
    assert corrected == pytest.approx(means)
    assert ridge < means


def test_the_claim_from_sentences_to_results(claim, tmp_path, monkeypatch, capsys):
    (tmp_path / "clinc_oos").mkdir()
    many = {"train": 10, "val": 9, "test": 8}
    content = {name: [[f"{i}: {n}", i] for i in INTENTS for n in range(each)] for name, each in many.items()}
    (tmp_path / "clinc_oos" / "data_full.json").write_text(json.dumps(content))
    monkeypatch.setenv("QUICKSTUDY_DATA", str(tmp_path))
    monkeypatch.setattr(claim, "TextEncoder", Told)
    monkeypatch.setattr(claim, "VAL_INTENTS", 6)
    heads = ("class means", "ridge", claim.BESIDE)
    monkeypatch.setattr(claim, "CANDIDATES", {head: claim.CANDIDATES[head][:2] for head in heads})
    small = ["--episodes", "6", "--large", "3", "--tune", "2", "--tune-large", "2"]
    said = ["x", *small, "--cache", str(tmp_path / "cache"), "--out", str(tmp_path / "found.json")]
    monkeypatch.setattr(sys, "argv", said)
    claim.main()
    found = json.loads((tmp_path / "found.json").read_text())
    assert set(found["settings"]) == {"5-way", "12-way"}
    of = found["settings"]["5-way"]["heads"]
    assert set(of) == set(heads)
    assert of["class means"]["accuracy"]["mean"] > 0.8
    assert of["ridge"]["claim holds"] in (True, False)
    assert len(of["ridge"]["validation"]) == 4
    assert found["settings"]["12-way"]["heads"]["ridge"]["accuracy on other intents"] is None
    assert len(list((tmp_path / "cache").glob("*.npy"))) == 3
    assert "5-way 5-shot, 6 test episodes" in capsys.readouterr().out
