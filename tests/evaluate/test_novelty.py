"""Familiarities against their formulas, AUROC against all pairs, and foreign queries against labels."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from quickstudy import Categorical, Mixture, ProtoNet
from quickstudy.errors import TaskError
from quickstudy.evaluate.novelty import Detector, Familiarity, auroc, calibrated, familiarities, familiarity, measured
from quickstudy.nets import Flatten
from quickstudy.tasks.fewshot import FewShotSource
from quickstudy.tasks.pool import Pool
from quickstudy.tasks.sines import Sines


def source(classes: int = 40, ways: int = 3, apart: float = 8.0) -> FewShotSource:
    """Classes far apart in many dimensions: nearest to none of the support's is plain to see."""
    rng = np.random.default_rng(0)
    x = apart * np.repeat(rng.normal(size=(classes, 20)), 8, 0) + rng.normal(size=(8 * classes, 20))
    pool = Pool.from_arrays(x.astype(np.float32), np.repeat(np.arange(classes), 8), name="p")
    return FewShotSource(pool, ways=ways, shots=2, queries=3)


def test_familiarities_are_their_formulas() -> None:
    logits, at_support = torch.tensor([[2.0, 0.0, -1.0], [0.1, 0.0, 0.0]]), torch.tensor([[3.0, 1.0, 0.0], [9.0, 9, 9]])
    mask = torch.tensor([True, False])
    found = familiarities(Categorical(logits), Categorical(at_support), mask)
    p = logits.exp() / logits.exp().sum(1, keepdim=True)
    torch.testing.assert_close(found["probability"], p.max(1).values)
    torch.testing.assert_close(found["certainty"], (p * p.log()).sum(1))
    torch.testing.assert_close(found["logit"], torch.tensor([2.0, 0.1]))
    torch.testing.assert_close(found["energy"], logits.exp().sum(1).log())
    torch.testing.assert_close(found["energy over support"], found["energy"] - at_support[0].exp().sum().log())
    torch.testing.assert_close(found["logit over support"], found["logit"] - 3)


def test_a_mixture_has_the_mean_of_its_members_logits_and_ruled_out_classes_stay_out() -> None:
    one, other = torch.tensor([[1.0, 0.0, -torch.inf]]), torch.tensor([[3.0, -2.0, -torch.inf]])
    said = Mixture(Categorical(torch.stack([one, other])), torch.tensor([0.0, 0.0]))
    found = familiarities(said, said, torch.tensor([True]))
    assert found["logit"].item() == 2
    assert found["energy"].item() == pytest.approx(np.logaddexp(2, -1), rel=1e-6)
    assert found["logit over support"].item() == 0


def test_auroc_counts_pairs() -> None:
    rng = np.random.default_rng(0)
    own, foreign = rng.integers(0, 9, 50).astype(float) + 2, rng.integers(0, 9, 70).astype(float)
    pairs = [(a > b) + 0.5 * (a == b) for a in own for b in foreign]
    assert auroc(own, foreign) == pytest.approx(np.mean(pairs))


def test_the_best_score_is_chosen_and_keeps_ninety_five_of_a_hundred() -> None:
    rng = np.random.default_rng(0)
    good, bad = rng.normal(3, 1, 4000), rng.normal(0, 1, 4000)
    found = Familiarity({"noise": bad, "told": good}, {"noise": rng.normal(0, 1, 4000), "told": bad})
    detector = calibrated(found)
    assert detector.score == "told"
    told = measured(detector, found)
    assert told.kept == pytest.approx(0.95, abs=1e-3)
    # AUROC of N(3, 1) above N(0, 1) is Φ(3/√2); flagged is Φ of the threshold, 3 - 1.645
    assert told.auroc == pytest.approx(0.983, abs=0.005)
    assert told.flagged == pytest.approx(0.912, abs=0.01)


def test_foreign_queries_are_told_from_own_ones_and_have_other_classes() -> None:
    method, tasks = ProtoNet(Flatten((20,))), source()
    found = familiarity(method, tasks, 100)
    classes = tasks.classes(range(100))
    own, other = classes, np.concatenate([np.roll(classes[:64], -1, 0), np.roll(classes[64:], -1, 0)])
    shared = sum(len(set(a) & set(b)) for a, b in zip(own.tolist(), other.tolist(), strict=True))
    assert shared > 0  # so that it is seen that these are left out
    assert len(found.own["logit"]) == 100 * 9
    assert len(found.foreign["logit"]) == 100 * 9 - 3 * shared
    detector = calibrated(found)
    assert detector.score != "probability"  # prototypes are sure of what is far from all of them
    assert measured(detector, familiarity(method, source(classes=41), 50)).auroc > 0.99


def test_a_margin_is_the_score_above_its_threshold() -> None:
    said = Categorical(torch.tensor([[2.0, 0.0], [0.5, 0.0]]))
    margin = Detector("logit", 1.0, 0.9).margin(said, said, torch.ones(2, dtype=torch.bool))
    torch.testing.assert_close(margin, torch.tensor([1.0, -0.5]))


def test_tasks_without_other_classes_are_refused() -> None:
    with pytest.raises(TaskError, match="share their classes"):
        familiarity(ProtoNet(Flatten((20,))), source(classes=3), 4)
    with pytest.raises(TaskError, match="SineSource has no classes"):
        familiarity(ProtoNet(Flatten((1,))), Sines().source("val"), 4)
