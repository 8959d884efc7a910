"""What the claim about the learned optimiser is set beside, and the claim end to end on next to nothing."""

import importlib
import json
import sys

import pytest
import torch

from quickstudy.inner import unroll


@pytest.fixture
def claim():
    return importlib.import_module("learned_optimiser")


@pytest.fixture
def functions(claim):
    return claim._functions(torch.Generator().manual_seed(3), 4)


def test_steps_by_hand_are_those_of_each_function_alone(claim, functions):
    values = claim._by_hand("SGD", 0.01, functions, 3)
    for w, y, start, along in zip(*functions, values, strict=True):
        place = start.clone()
        for value in along:
            assert value == pytest.approx(float((w @ place - y).square().sum()), rel=1e-4)
            place -= 0.01 * 2 * w.T @ (w @ place - y)


def test_learned_steps_are_those_of_the_rule_in_the_inner_loop(claim, functions):
    learned = claim.RULE.learned({"place": torch.zeros(10)})
    values = torch.cat(list(claim._walk(learned, functions, 40)), 1)
    assert values.shape == (4, 40)
    for w, y, start, along in zip(*functions, values, strict=True):
        path = unroll(claim._value, {"place": start}, (w, y), rule=claim.RULE, steps=40, learned=learned)
        for params, value in zip(path[1:], along, strict=True):
            assert value == pytest.approx(float(claim._value(params, w, y)), rel=1e-3)


def test_a_rate_with_which_values_diverge_is_not_the_best(claim, functions):
    rate = claim._best_rate("SGD", functions)
    assert 0.001 < rate < 0.1


def test_the_claim_from_training_to_results(claim, tmp_path, monkeypatch, capsys):
    out = tmp_path / "found.json"
    monkeypatch.setattr(claim, "RATES", [0.01, 0.1])
    monkeypatch.setattr(claim, "VALIDATION", 4)
    monkeypatch.setitem(claim.BY_HAND, "Adam", lambda place, rate: torch.optim.SGD([place], 1000 * rate))
    monkeypatch.setattr(claim, "LONGER", 120)
    monkeypatch.setattr(sys, "argv", f"x --steps 5 --batch 3 --tasks 4 --out {out}".split())
    claim.main()
    found = json.loads(out.read_text())
    assert found["trained"]["coordinate-lstm"]["steps"] == 5
    assert set(found["rates"]) == set(claim.BY_HAND)
    usual = found["values after"]["as trained"]
    for name in claim.BY_HAND:
        apart = usual["mean"]["LSTM"]["100"]["mean"] - usual["mean"][name]["100"]["mean"]
        assert usual["LSTM minus"][name]["100"]["mean"] == pytest.approx(apart, abs=1e-3)
    assert usual["mean"]["Adam"]["100"] == usual["mean"]["Adam"]["0"]  # it diverged: as if it had not stepped
    assert "LSTM" in capsys.readouterr().out
