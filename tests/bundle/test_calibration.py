"""The nearest size's temperature and threshold, kept in the learner: as sure as it is right, and what is foreign as the
detector itself would say."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from bundle.made import bundle_of, episode_of, glyphs_run, labels_of, subject_of, toy
from quickstudy import Bundle
from quickstudy.bundle.calibration import Calibration, _chosen, cutoff, nearest
from quickstudy.bundle.learner import Learner
from quickstudy.core.episode import Examples
from quickstudy.evaluate.novelty import Detector, Familiarity
from quickstudy.evaluate.temperature import fitted


def found(ways: int, shots: int, score: str = "probability", value: float = 0.5) -> Calibration:
    return Calibration(ways, shots, Detector(score, value, 0.9))


def test_the_nearest_size_by_ratios() -> None:
    known = [found(2, 1), found(5, 1), found(5, 5), found(20, 5)]
    for (ways, shots), (best_ways, best_shots) in {
        (2, 1): (2, 1),
        (3, 1): (2, 1),
        (4, 1): (5, 1),
        (5, 3): (5, 5),
        (9, 5): (5, 5),
        (11, 5): (20, 5),
        (1000, 50): (20, 5),
        (1, 1): (2, 1),
    }.items():
        best = nearest(known, ways, shots)
        assert best is not None
        assert (best.ways, best.shots) == (best_ways, best_shots), (ways, shots)
    assert nearest([], 5, 1) is None
    assert nearest(known, None, 1) is None  # real values


def test_what_is_usual_on_the_support_goes_into_the_cutoff() -> None:
    levels = {"logit": 2.0, "energy": -3.0}
    plain = cutoff(found(5, 1, "energy", 0.25), levels)
    over = cutoff(found(5, 1, "energy over support", 0.25), levels)
    assert plain is not None
    assert over is not None
    assert (plain.score, plain.value) == ("energy", 0.25)
    assert (over.score, over.value) == ("energy", -2.75)
    assert cutoff(None, levels) is None


@pytest.mark.parametrize("score", ["probability", "certainty", "logit", "energy over support", "logit over support"])
@pytest.mark.parametrize("name", ["protonet", "maml", "np"])
@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_margins_are_the_detectors(name: str, score: str, temperature: float) -> None:
    detector = Detector(score, -0.5, 0.9)
    bundle, subject = toy(name, calibrations=[Calibration(5, 3, detector, temperature)])
    episodes = [episode_of(subject, number) for number in range(3)]
    learners = bundle.adapt_many([(e.support.x, labels_of(e), 5) for e in episodes])
    for learner, episode in zip(learners, episodes, strict=True):
        said, at_support = (bundle.predict(learner, part.x) for part in (episode.query, episode.support))
        margins = bundle.margins(learner, said)
        assert margins is not None
        expected = detector.margin(said, at_support, episode.support.mask)
        torch.testing.assert_close(margins, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", ["protonet", "maml", "np", "bmaml"])
def test_what_is_said_is_said_at_the_nearest_size_s_temperature(name: str) -> None:
    """Of tasks that are taken together each has its own; the best guess stays."""
    detector = Detector("energy over support", 0.0, 0.9)
    both = [Calibration(5, 3, detector, 2.5), Calibration(2, 3, detector, 0.5)]
    bundle, subject = toy(name, calibrations=both)
    plain, _ = toy(name)
    asked = [(episode_of(subject, number, ways), ways) for number, ways in ((0, 5), (1, 2), (2, 5))]
    tasks = [(e.support.x, labels_of(e), ways) for e, ways in asked]
    learners, raw = bundle.adapt_many(tasks), plain.adapt_many(tasks)
    assert [each.temperature for each in learners] == [2.5, 0.5, 2.5]
    assert [each.temperature for each in raw] == [1.0, 1.0, 1.0]
    queries = [e.query.x for e, _ in asked]
    said = bundle.predict_many(list(zip(learners, queries, strict=True)))
    before = plain.predict_many(list(zip(raw, queries, strict=True)))
    for one, other, learner in zip(said, before, learners, strict=True):
        expected = (other.mean.log() / learner.temperature).softmax(-1)
        torch.testing.assert_close(one.mean, expected, atol=1e-5, rtol=1e-4)
        assert torch.equal(one.mean.argmax(-1), other.mean.argmax(-1))
    again = Learner.from_bytes(learners[1].to_bytes())
    assert again.temperature == 0.5
    torch.testing.assert_close(bundle.predict(again, queries[1]).mean, said[1].mean)


def test_real_values_have_none() -> None:
    bundle = bundle_of(subject_of("maml", "gaussian"))
    episode = episode_of(subject_of("maml", "gaussian"))
    assert bundle.adapt(episode.support.x, labels_of(episode)).temperature == 1.0


def test_the_temperature_is_the_one_at_which_validation_queries_are_likeliest(tmp_path: Path) -> None:
    """Of the weights that a run begins with, which are less sure than they are right."""
    run = glyphs_run(tmp_path / "run", "maml", name="mlp", hidden=[64])
    (found,) = Bundle.of_run(run, sizes=[(5, 1)]).calibrations
    source = dataclasses.replace(run.settings.tasks, ways=5, shots=1, queries=5).source("val")
    method, _ = run.method()
    assert found.temperature == pytest.approx(fitted(method, source, 128), rel=1e-6)
    assert found.temperature < 0.7
    batch = source.batch(range(128))
    nll = {}
    for name, bundle in (("plain", Bundle.of_run(run)), ("calibrated", Bundle.of_run(run, sizes=[(5, 1)]))):
        x = batch.support.x.float() / 255
        y = batch.support.y.int().argmax(-1).tolist()
        learners = bundle.adapt_many([(each, labels, 5) for each, labels in zip(x, y, strict=True)])
        said = bundle.predict_many(list(zip(learners, batch.query.x.float() / 255, strict=True)))
        nll[name] = float(torch.stack([s.nll(t) for s, t in zip(said, batch.query.y, strict=True)]).mean())
    assert nll["calibrated"] < nll["plain"] - 0.01


@pytest.mark.parametrize(("gain", "chosen"), [(0.002, "energy"), (0.05, "energy over support")])
def test_a_score_over_the_support_must_be_worth_it(gain: float, chosen: str) -> None:
    """Scores that tell 90 of 100 apart, and a little more with what is usual on the support."""
    scores: dict[str, NDArray[np.float64]] = {"energy": np.zeros(1000), "energy over support": np.zeros(1000)}
    own, foreign = dict(scores), dict(scores)
    for name, share in (("energy", 0.8), ("energy over support", 0.8 + 2 * gain)):
        own[name] = (np.arange(1000) < 1000 * share).astype(float)  # equal ones count half: AUROC (1 + share) / 2
    assert _chosen(Familiarity(own, foreign)).score == chosen


def test_empty_classes_of_a_fixed_number_count_for_nothing() -> None:
    """Three classes of a method for five: the familiarities are those of what is said of the three."""
    detector = Detector("energy over support", 0.0, 0.9)
    bundle, subject = toy("maml", calibrations=[Calibration(3, 3, detector, 2.0)])
    episode = episode_of(subject, ways=3)
    learner = bundle.adapt(episode.support.x, labels_of(episode), 3)
    said, at_support = (bundle.predict(learner, part.x) for part in (episode.query, episode.support))
    assert said.mean.shape[-1] == 3
    margins = bundle.margins(learner, said)
    assert margins is not None
    torch.testing.assert_close(margins, detector.margin(said, at_support, episode.support.mask), atol=1e-4, rtol=1e-4)


def test_calibration_is_of_the_method_as_it_is_used(tmp_path: Path) -> None:
    """Of queries of the right classes about 95 in 100 are kept, for fewer classes than a fixed number too."""
    run = glyphs_run(tmp_path / "run", "maml")
    bundle = Bundle.of_run(run, sizes=[(3, 2)])
    (known,) = bundle.calibrations
    assert (known.ways, known.shots) == (3, 2)
    source = run.settings.tasks.__class__(ways=3, shots=2, queries=5).source("val", seed=1)
    kept, asked = 0, 0
    for number in range(60):
        batch = source.batch([number])
        x, y, _ = (field[0] for field in Examples(*batch.support))
        learner = bundle.adapt(x.float() / 255, y.int().argmax(-1).tolist(), 3)
        said = bundle.predict(learner, batch.query.x[0].float() / 255)
        margins = bundle.margins(learner, said)
        assert margins is not None
        kept, asked = kept + int((margins >= 0).sum()), asked + len(margins)
    # 900 queries, of which those of a task are alike: 6 standard errors of independent ones
    assert abs(kept / asked - 0.95) < 6 * math.sqrt(0.95 * 0.05 / asked) + 0.01
