"""How a result changes along one thing: inner steps, or shots."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from quickstudy.core.how import AskedHow
from quickstudy.core.learner import MetaLearner, Stepwise
from quickstudy.core.workers import Workers
from quickstudy.errors import SettingsError, TaskError
from quickstudy.evaluate.evaluate import answer
from quickstudy.evaluate.protocol import Protocol
from quickstudy.evaluate.record import Curve
from quickstudy.evaluate.statistics import Interval, t_interval

__all__ = ["shots_curve", "steps_curve"]

STEPS = (0, 1, 2, 3, 5, 10)
SHOTS = (1, 2, 3, 5, 10)

Point = TypeVar("Point")


def steps_curve(
    method: MetaLearner,
    protocol: Protocol,
    steps: Sequence[int] | None = None,
    *,
    how: AskedHow = "auto",
    progress: Callable[[int, int], None] | None = None,
    workers: Workers | None = None,
) -> Curve | None:
    """The metric after each number of inner steps, on the same episodes; 0 is before any adaptation.

    Args:
        method: What adapts.
        protocol: What is asked at each point.
        steps: The numbers; None takes 0, 1, 2, 3, 5, 10, the method's own and its double.
        how: As in `answer`.
        progress: Called with the points done and their number.
        workers: As in `answer`.

    Returns:
        The curve; None for a method that does not adapt in steps.
    """
    if not isinstance(method, Stepwise):
        return None
    chosen = sorted({*STEPS, method.steps, 2 * method.steps} if steps is None else set(steps))
    if chosen[0] < 0:
        raise SettingsError(f"steps holds {chosen[0]}: inner steps are 0 or more.")

    def point(number: int) -> Interval:
        return t_interval(answer(method, protocol, steps=number, how=how, workers=workers).values)

    return _curve(chosen, _each(chosen, point, progress), {})


def shots_curve(
    method: MetaLearner,
    protocol: Protocol,
    shots: Sequence[int] | None = None,
    *,
    floors: Mapping[str, MetaLearner] | None = None,
    how: AskedHow = "auto",
    progress: Callable[[int, int], None] | None = None,
    workers: Workers | None = None,
) -> Curve | None:
    """The metric with each number of shots, nothing else of the protocol changed.

    Args:
        method: What adapts.
        protocol: What is asked at each point.
        shots: The numbers; None takes 1, 2, 3, 5, 10 and the protocol's own, as far as the classes have the examples.
        floors: Methods whose means are put beside it, by name.
        how: As in `answer`.
        progress: Called with the points done and their number.
        workers: As in `answer`.

    Returns:
        The curve; None for tasks without a setting `shots`.

    Raises:
        TaskError: `shots` asks for more examples than a class has.
    """
    own = getattr(protocol.chosen, "shots", None)
    if own is None:
        return None
    own = {own} if isinstance(own, int) else set(own)
    chosen = _given(protocol, sorted(own.union(SHOTS))) if shots is None else sorted(set(shots))
    asked = {number: dataclasses.replace(protocol, shots=number) for number in chosen}

    def point(number: int) -> tuple[Interval, dict[str, float]]:
        beside = {
            name: float(answer(floor, asked[number], how=how, workers=workers).values.mean())
            for name, floor in (floors or {}).items()
        }
        return t_interval(answer(method, asked[number], how=how, workers=workers).values), beside

    points = _each(chosen, point, progress)
    beside = {name: tuple(means[name] for _, means in points) for name in floors or {}}
    return _curve(chosen, [interval for interval, _ in points], beside)


def _given(protocol: Protocol, numbers: list[int]) -> list[int]:
    """The numbers of shots for which the classes have enough examples."""
    found = []
    for number in numbers:
        try:
            dataclasses.replace(protocol, shots=number).source()
        except TaskError:
            break
        found.append(number)
    return found


def _each(
    numbers: Sequence[int], point: Callable[[int], Point], progress: Callable[[int, int], None] | None
) -> list[Point]:
    points = []
    for done, number in enumerate(numbers, 1):
        points.append(point(number))
        if progress is not None:
            progress(done, len(numbers))
    return points


def _curve(x: Sequence[int], points: Sequence[Interval], floors: dict[str, tuple[float, ...]]) -> Curve:
    mean, low, high = zip(*points, strict=True)
    return Curve(tuple(x), mean, low, high, floors)
