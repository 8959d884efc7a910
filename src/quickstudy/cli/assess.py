"""Everything that is measured of a trained run: its result, floors, curves, calibration, a few episodes to look at."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from typing import Any

from quickstudy import registry
from quickstudy.bundle.calibration import EPISODES, of_sizes
from quickstudy.cli import screen
from quickstudy.core.learner import MetaLearner
from quickstudy.core.settings import dump, owner_of
from quickstudy.core.workers import Workers
from quickstudy.errors import QuickstudyError, SettingsError, TaskError
from quickstudy.evaluate import (
    Answers,
    Protocol,
    answer,
    calibration,
    draw_episodes,
    evaluate_floors,
    intervals,
    result,
    shots_curve,
    steps_curve,
)
from quickstudy.evaluate.examined import examined
from quickstudy.evaluate.novelty import familiarity, measured
from quickstudy.evaluate.record import (
    Curves,
    Learned,
    Machine,
    Novelty,
    Recalibrated,
    Record,
    Result,
    RunInfo,
    Validated,
)
from quickstudy.evaluate.temperature import fitted
from quickstudy.nets import normalisation
from quickstudy.train.floors import CONVENTIONAL, make_floors
from quickstudy.train.loop import Step
from quickstudy.train.run import Run
from quickstudy.train.state import device_of

__all__ = ["Options", "assess", "floors", "run_info"]


@dataclasses.dataclass(frozen=True)
class Options:
    """How thorough an assessment is."""

    floors: bool = True
    """Whether the floors are trained and measured beside the run."""
    minutes: float | None = None
    """Most minutes for the floors' conventional training; None lets it take its 1,000 steps."""
    curves: bool = True
    """Whether curves over inner steps and shots are measured."""
    novelty: bool = True
    """Whether it is measured how well queries of no class of the support are told."""
    recalibrated: bool = True
    """Whether predictions are also measured at a temperature that is fitted on validation tasks."""
    examined: bool = True
    """Whether what the method measures of itself is asked for."""
    curve_episodes: int = 300
    """Episodes for each point of a curve, at most: enough for its shape, at a fraction of the cost."""
    quiet: bool = False


def assess(run: Run, protocol: Protocol, options: Options = Options()) -> Record:
    """Evaluate a trained run, with what its report shows.

    Raises:
        CheckpointError: nothing was trained, or it cannot be read.
        SettingsError: the method was trained for tasks of another shape.
        TaskError: the split has too few classes or examples for the protocol.
    """
    method, scalars = run.method()
    _refuse_other_shapes(run, method, protocol)
    device = device_of(run.settings.training)
    name = run.folder.resolve().name
    with screen.progress(f"Evaluating {name}", protocol.episodes, quiet=options.quiet) as ticker:
        temperature = _temperature(method.to(device), protocol) if options.recalibrated else None
        answers = answer(
            method,
            protocol,
            temperature=temperature,
            device=device,
            progress=lambda done, total: ticker.at(done),
            workers=Workers.here(),
        )
    found = result(answers, name)
    return Record(
        run=run_info(run, method, scalars),
        protocol=protocol.info(),
        machine=Machine.here(device),
        result=found,
        floors=floors(run, protocol, options) if options.floors else (),
        curves=_curves(method, protocol, options) if options.curves else Curves(),
        calibration=calibration(answers),
        intervals=intervals(answers),
        recalibrated=_recalibrated(temperature, protocol, answers),
        novelty=_novelty(run, method, scalars["number"], protocol) if options.novelty else None,
        examined=examined(method, protocol) if options.examined else (),
        learning=tuple(_learning(run)),
        episodes=draw_episodes(method, protocol),
    )


def _temperature(method: MetaLearner, protocol: Protocol) -> float | None:
    """The one for the protocol's tasks, fitted on others of the validation split; None where that has no such tasks."""
    asked = dataclasses.replace(protocol, split="val", seed=protocol.seed + 1)
    try:
        return fitted(method, asked.source(), min(protocol.episodes, EPISODES))
    except QuickstudyError:
        return None


def _recalibrated(temperature: float | None, protocol: Protocol, answers: Answers) -> Recalibrated | None:
    said = answers.tempered
    if temperature is None or said is None:
        return None
    return Recalibrated(
        temperature=temperature,
        episodes=min(protocol.episodes, EPISODES),
        nll=float(said.nll.mean()),
        calibration=calibration(said),
        intervals=intervals(said),
    )


def _novelty(run: Run, method: MetaLearner, step: int, protocol: Protocol) -> Novelty | None:
    """How well queries of no class of the support are told on the protocol's tasks, by the run's own detector."""
    source = protocol.source()
    if source.likelihood != "categorical":
        return None
    sizes = {name: size for name in ("ways", "shots") if (size := getattr(protocol.chosen, name, None)) is not None}
    found = of_sizes(run, method, step, sizes)
    if found is None:
        return None
    detector, temperature = found
    try:
        return measured(detector, familiarity(method, source, min(protocol.episodes, EPISODES), temperature))
    except TaskError:  # tasks that all have the same classes
        return None


def run_info(run: Run, method: MetaLearner, scalars: dict[str, Any]) -> RunInfo:
    """What was trained, and how, as records keep it."""
    settings = run.settings
    policy = normalisation(method)
    chosen = dump(settings.method)
    if "likelihood" in chosen:  # whatever stands there, the method was built for its tasks
        chosen["likelihood"] = settings.tasks.source("train").likelihood
    return RunInfo(
        name=run.folder.resolve().name,
        method=registry.name_of(owner_of(settings.method)),
        method_settings={name: value for name, value in chosen.items() if name != "name"},
        net=dump(settings.net) if settings.net is not None else {},
        normalisation=policy,
        transductive="transductive" in policy,
        tasks=dump(dataclasses.replace(settings.tasks, **settings.train)),
        training={name: dump(value) for name, value in vars(settings.training).items()},
        steps=scalars["number"],
        seconds=scalars["seconds"],
        seed=settings.training.seed,
        parameters=sum(weight.numel() for weight in method.parameters()),
    )


def _refuse_other_shapes(run: Run, method: MetaLearner, protocol: Protocol) -> None:
    own, asked = run.settings.tasks.source("train"), protocol.source()
    kind = type(method).__name__
    if (own.item, own.likelihood) != (asked.item, asked.likelihood):
        raise SettingsError(
            f"{run.folder} learns {own.likelihood} tasks on items of shape {own.item}; these are {asked.likelihood} on "
            f"{asked.item}. Evaluate it on tasks of its own shape."
        )
    if not method.tags.any_ways and own.outputs != asked.outputs:
        raise SettingsError(
            f"{run.folder} was trained for tasks of {own.outputs} classes and {kind} takes no other number; got "
            f"{asked.outputs}. Evaluate it with --ways {own.outputs}, or train with --tasks.ways {asked.outputs}."
        )


def floors(run: Run, protocol: Protocol, options: Options = Options()) -> tuple[Result, ...]:
    """What the run must beat: trained once into a folder of the run, then evaluated on the same episodes."""
    own = run.settings.training
    training = dataclasses.replace(CONVENTIONAL, minutes=options.minutes, seed=own.seed, split=own.split)
    with screen.progress("Training the floors", 1.0, quiet=options.quiet) as ticker:

        def at(step: Step) -> None:
            ticker.at(step.state.done(step.number), f"loss {step.loss:.3f}")

        methods = list(make_floors(run.settings, run.folder / "floors", training, at, Workers.here()))
    with screen.progress("Evaluating the floors", len(methods), quiet=options.quiet) as ticker:
        order = {name: place for place, (name, _) in enumerate(methods)}
        return evaluate_floors(
            methods,
            protocol,
            device=device_of(run.settings.training),
            progress=lambda name, done, total: ticker.at(order[name] + done / total, name),
            workers=Workers.here(),
        )


def _curves(method: MetaLearner, protocol: Protocol, options: Options) -> Curves:
    fewer = dataclasses.replace(protocol, episodes=min(options.curve_episodes, protocol.episodes))
    with screen.progress("Curves", 2.0, quiet=options.quiet) as ticker:
        steps = steps_curve(
            method,
            fewer,
            progress=lambda done, total: ticker.at(done / total, "inner steps"),
            workers=Workers.here(),
        )
        shots = shots_curve(
            method,
            fewer,
            progress=lambda done, total: ticker.at(1 + done / total, "shots"),
            workers=Workers.here(),
        )
    return Curves(steps, shots)


def _learning(run: Run) -> Iterator[Learned | Validated]:
    for record in run.history():
        if "validation" in record:
            found = {name: _number(record["validation"][name]) for name in ("mean", "low", "high")}
            yield Validated(record["step"], found["mean"], found["low"], found["high"])
        elif not record.get("flat"):  # whose loss is another
            yield Learned(record["step"], _number(record["loss"]), record["seconds"])


def _number(value: float | None) -> float:
    return math.nan if value is None else value
