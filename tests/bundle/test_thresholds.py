"""What belongs to no class: the nearest size's threshold, kept in the learner, as the detector itself would say."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from bundle.made import episode_of, glyphs_run, labels_of, toy
from quickstudy import Bundle
from quickstudy.bundle.thresholds import Threshold, _chosen, cutoff, nearest
from quickstudy.core.episode import Examples
from quickstudy.evaluate.novelty import Detector, Familiarity


def threshold(ways: int, shots: int, score: str = "probability", value: float = 0.5) -> Threshold:
    return Threshold(ways, shots, Detector(score, value, 0.9))


def test_the_nearest_size_by_ratios() -> None:
    known = [threshold(2, 1), threshold(5, 1), threshold(5, 5), threshold(20, 5)]
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
        found = nearest(known, ways, shots)
        assert found is not None
        assert (found.ways, found.shots) == (best_ways, best_shots), (ways, shots)
    assert nearest([], 5, 1) is None


def test_what_is_usual_on_the_support_goes_into_the_cutoff() -> None:
    levels = {"logit": 2.0, "energy": -3.0}
    plain = cutoff([threshold(5, 1, "energy", 0.25)], 5, 1, levels)
    over = cutoff([threshold(5, 1, "energy over support", 0.25)], 5, 1, levels)
    assert plain is not None
    assert over is not None
    assert (plain.score, plain.value) == ("energy", 0.25)
    assert (over.score, over.value) == ("energy", -2.75)
    assert cutoff([], 5, 1, levels) is None
    assert cutoff([threshold(5, 1)], None, 1, levels) is None  # real values


@pytest.mark.parametrize("score", ["probability", "certainty", "logit", "energy over support", "logit over support"])
@pytest.mark.parametrize("name", ["protonet", "maml", "np"])
def test_margins_are_the_detectors(name: str, score: str) -> None:
    detector = Detector(score, -0.5, 0.9)
    bundle, subject = toy(name, known=[Threshold(5, 3, detector)])
    episodes = [episode_of(subject, number) for number in range(3)]
    learners = bundle.adapt_many([(e.support.x, labels_of(e), 5) for e in episodes])
    for learner, episode in zip(learners, episodes, strict=True):
        said, at_support = (bundle.predict(learner, part.x) for part in (episode.query, episode.support))
        margins = bundle.margins(learner, said)
        assert margins is not None
        expected = detector.margin(said, at_support, episode.support.mask)
        torch.testing.assert_close(margins, expected, atol=1e-4, rtol=1e-4)


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
    bundle, subject = toy("maml", known=[Threshold(3, 3, detector)])
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
    (known,) = bundle.known
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
