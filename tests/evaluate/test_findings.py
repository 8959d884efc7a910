"""Headlines claim what the numbers bear out, and no more."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from quickstudy.evaluate import findings as say
from quickstudy.evaluate import record as r
from quickstudy.evaluate.statistics import compare, t_interval


def result(name: str, values: np.ndarray, metric: str = "accuracy", digest: str = "d") -> r.Result:
    found = t_interval(values)
    return r.Result(name, metric, *found, None, None, tuple(values.tolist()), 0.5, 1.0, digest)  # type: ignore[arg-type]


def record(run: r.Result, *floors: r.Result, ways: r.Sizes = 5) -> r.Record:
    return r.Record(
        run=r.RunInfo(run.name, "maml", {}, {"name": "mlp"}, "none", False, {"name": "t"}, {}, 10, 65.0, 0, 7),
        protocol=r.ProtocolInfo({"name": "t"}, "test", ways, 1, 15, 1000, 0, "f", "d"),
        machine=r.Machine("cpu", 2, 1, "2", "0", "cpu"),
        result=run,
        floors=floors,
    )


RNG = np.random.default_rng(0)
EASE = RNG.normal(0, 0.1, 1000)
"""How easy each episode is, for every method alike."""
RUN = result("run", 0.8 + EASE + RNG.normal(0, 0.01, 1000))
CLOSE = result("close", 0.795 + EASE + RNG.normal(0, 0.01, 1000))
FAR = result("far", 0.4 + EASE)
SAME = result("same", np.asarray(RUN.values) + RNG.permutation(np.repeat([-0.01, 0.01], 500)))
BETTER = result("better", 0.81 + EASE)


def test_the_headline_is_the_sentence_promised() -> None:
    values = np.full(1000, 0.986) + RNG.permutation(np.repeat([-0.032, 0.032], 500))
    floor = result("linear probe", np.full(1000, 0.9))
    sentence = "98.6 % (98.4–98.8) on 5-way 1-shot, 1,000 test episodes; ahead of every floor."
    assert say.headline(record(result("run", values), floor)) == sentence


def test_pairing_decides_and_overlap_is_said() -> None:
    found = say.verdicts(record(RUN, CLOSE, FAR))
    assert [(v.standing, v.overlap, v.paired) for v in found] == [("ahead", True, True), ("ahead", False, True)]
    assert found[0].lead == pytest.approx(0.005, abs=0.002)
    assert found[0].low < found[0].lead < found[0].high
    told = say.best_floor(record(RUN, CLOSE, FAR))
    assert told.startswith("The best floor is close at 79.")
    assert "Its own interval overlaps that of close: only the pairing" in told
    assert "only the pairing" not in say.best_floor(record(RUN, FAR))


def test_every_floor_not_beaten_is_named() -> None:
    assert say.against_floors(record(RUN, FAR, SAME, BETTER)) == "does NOT beat: same (level), better (behind)"
    assert "the run is behind by" in say.best_floor(record(RUN, FAR, BETTER))


def test_without_shared_episodes_only_separate_intervals_count() -> None:
    elsewhere = [dataclasses.replace(floor, digest="other") for floor in (CLOSE, FAR, BETTER)]
    found = say.verdicts(record(RUN, *elsewhere))
    assert [(v.standing, v.paired) for v in found] == [("level", False), ("ahead", False), ("level", False)]
    assert "on the same episodes" not in say.best_floor(record(RUN, *elsewhere))


def test_less_error_is_ahead() -> None:
    run, floor = result("run", 0.3 + abs(EASE), "mse"), result("floor", 3.0 + abs(EASE), "mse")
    found = say.verdicts(record(run, floor))[0]
    assert found.standing == "ahead"
    assert found.lead == pytest.approx(2.7)
    assert say.verdicts(record(floor, run))[0].standing == "behind"
    assert "MSE 0.3" in say.headline(record(run, floor, ways=None))
    assert "on 1-shot, 1,000 test episodes" in say.headline(record(run, ways=None))


def test_no_floor_is_said() -> None:
    assert say.headline(record(RUN)).endswith("; no floor was measured.")
    assert say.best_floor(record(RUN)) == ""


def ranked(*results: r.Result) -> str:
    one = record(RUN)
    entries = tuple(r.Competitor(one.run, found) for found in results)
    return say.ranking(r.Comparison(one.protocol, one.machine, entries, compare(results)))


def test_a_ranking_claims_only_what_can_be_told_apart() -> None:
    assert ranked(FAR, RUN, CLOSE).startswith("run is ahead of all the others: ")
    assert ranked(FAR, BETTER).startswith("better is ahead of the other: ")
    shifted = result("shifted", np.asarray(RUN.values) + 1e-5 + RNG.permutation(np.repeat([-0.01, 0.01], 500)))
    told = ranked(FAR, RUN, shifted)
    assert told.startswith("shifted scores best, ")
    assert told.endswith("cannot be told apart from: run.")
    low, high = result("low", 0.3 + abs(EASE), "mse"), result("high", 3.0 + abs(EASE), "mse")
    assert ranked(high, low).startswith("low is ahead of the other: MSE")


@pytest.mark.parametrize(
    ("ways", "shots", "said"),
    [(5, 1, "5-way 1-shot"), ((5, 20), (1, 5), "5–20-way 1–5-shot"), (None, 10, "10-shot"), (None, None, "")],
)
def test_episode_sizes(ways: r.Sizes, shots: r.Sizes, said: str) -> None:
    info = dataclasses.replace(record(RUN).protocol, ways=ways, shots=shots)
    assert say.episode_size(info) == said
    assert say.test_episodes(info) == f"{said}{', ' if said else ''}1,000 test episodes"


@pytest.mark.parametrize(
    ("value", "metric", "said"),
    [
        (0.1234, "accuracy", "+12.3"),
        (-0.0004, "accuracy", "−0.04"),
        (0.00946, "accuracy", "+0.95"),
        (-2.5, "mse", "−2.50"),
        (123.4, "mse", "+123"),
        (math.nan, "mse", "–"),
    ],
)
def test_differences(value: float, metric: str, said: str) -> None:
    assert say.difference(value, metric) == said  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (2.34, "2.3 s"),
        (65.2, "1 min 05 s"),
        (3725.0, "1 h 02 min"),
        (math.nan, "an unknown time"),
        (59.97, "1 min 00 s"),
    ],
)
def test_durations(seconds: float, said: str) -> None:
    assert say.duration(seconds) == said


def test_choices_are_written_out() -> None:
    chosen = {
        "name": "maml",
        "steps": 5,
        "rule": {"name": "sgd", "rate": 0.4},
        "clip": None,
        "ways": (5, 20),
        "on": True,
    }
    assert say.choice(chosen) == "maml (steps 5, rule sgd (rate 0.4), ways 5–20, on yes)"
    assert say.choice({}) == "–"
    assert say.choice({"hidden": [40, 40, 40]}) == "hidden 40 40 40"


def test_p_values() -> None:
    assert [say.chance(p) for p in (0.2345, 0.0001, 1.0, math.nan)] == ["0.23", "< 0.001", "1", "–"]
