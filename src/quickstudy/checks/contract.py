"""One small function for each promise. It raises where the promise is broken, and may return a note where it is kept.

All but the last run in float64, where a broken promise stands far above rounding.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import safetensors.torch
import torch
import yaml

from quickstudy.checks import probe
from quickstudy.checks.subject import WAYS, Subject
from quickstudy.core import chance, settings, tree
from quickstudy.core.episode import Episode, Examples
from quickstudy.core.learner import MetaLearner, Stepwise
from quickstudy.core.lift import over_tasks
from quickstudy.core.shapes import Float, Tensor
from quickstudy.errors import MethodError

__all__ = ["CHECKS", "Check", "NotApplicable"]

Check = Callable[[Subject], str | None]

CHECKS: dict[str, Check] = {}
"""Every check by name, in the order in which they run."""


class NotApplicable(Exception):  # noqa: N818 (nothing is wrong)
    """Raised by a check that says nothing of this method, with the reason."""


def _check(name: str, needs: str = "", classes: bool = False) -> Callable[[Check], Check]:
    """Enter a function in `CHECKS`. `needs` names the tag that claims it; `classes` says that it is about classes."""

    def enter(check: Check) -> Check:
        @functools.wraps(check)
        def claimed(subject: Subject) -> str | None:
            if classes and subject.kind == "gaussian":
                raise NotApplicable("real-valued targets have no classes")
            if needs and not getattr(subject.tags, needs):
                raise NotApplicable(f"not claimed: tags.{needs}=False")
            return check(subject)

        CHECKS[name] = claimed
        return check

    return enter


# --- what a method gives ----------------------------------------------------------------------------------------------


@_check("prediction")
def _prediction(subject: Subject) -> None:
    """A learner is a tree of tensors; a prediction is a NamedTuple of tensors with nll, score, mean and metric."""
    method, episode, noise = probe.one(subject)
    learner = method.adapt(episode.support, *noise)
    for leaf in tree.leaves(learner):
        if not isinstance(leaf, Tensor):
            raise MethodError(
                f"adapt returned a {type(leaf).__name__} in its learner; expected a tree of tensors only."
            )
    said = method.predict(learner, episode.query.x)
    if not hasattr(said, "_fields") or not all(probe.is_tensor(leaf) for leaf in tree.leaves(said)):
        raise MethodError(
            f"predict returned a {type(said).__name__}; expected a NamedTuple of tensors, as Categorical."
        )
    expected_metric = "accuracy" if subject.kind == "categorical" else "mse"
    if said.metric != expected_metric:
        raise MethodError(f"the prediction's metric is {said.metric!r}; expected {expected_metric!r} on this task.")
    y = episode.query.y
    for name, got, shape in (
        ("nll(y)", said.nll(y), y.shape[:1]),
        ("score(y)", said.score(y), y.shape[:1]),
        ("mean", said.mean, y.shape),
    ):
        if got.shape != shape or not torch.isfinite(got).all():
            raise MethodError(f"prediction.{name} has shape {tuple(got.shape)}; expected finite {tuple(shape)}.")
    if subject.kind == "categorical":
        total = said.mean.sum(-1)
        probe.same(total, torch.ones_like(total), "the sum of a query's class probabilities, from 1,")


@_check("steps")
def _steps(subject: Subject) -> None:
    """Asked for as many steps as it has of its own, it learns what `adapt` learns, by the same noise."""
    method, episode, noise = probe.one(subject)
    if not isinstance(method, Stepwise):
        raise NotApplicable("it does not adapt in steps")
    asked = method.predict(method.adapt_for(episode.support, method.steps, *noise), episode.query.x)
    probe.same(probe.answer(method, episode, noise), asked, f"the answer after the {method.steps} steps of its own")


@_check("purity")
def _purity(subject: Subject) -> None:
    """No verb changes parameters, buffers, inputs, attributes or torch's own chance; the same question, same answer.

    Training draws what noise the meta-loss reads, and no less.
    """
    method, episode, noise = probe.one(subject)
    batch = probe.one_to_train_on(subject)
    before = probe.photograph(method, episode, batch)
    chance_before = torch.random.get_rng_state()
    learner = method.adapt(episode.support, *noise)
    first = method.predict(learner, episode.query.x), method.meta_loss(batch, *noise)
    probe.unchanged(before, probe.photograph(method, episode, batch))
    if not torch.equal(chance_before, torch.random.get_rng_state()):
        raise MethodError(
            "adapt, predict or meta_loss drew from torch's own chance. Set noise_size; use the noise given."
        )
    other = probe.task(subject.episodes([7]))
    method.adapt(other.support, *noise)
    again = method.predict(learner, episode.query.x), method.meta_loss(batch, *noise)
    probe.same(first, again, "the answer to a question asked twice, with another task adapted to in between,")
    probe.same(first[0], probe.answer(method, episode, noise), "the answers after adapting a second time")
    fewer = [each[: method.noise_in_training] for each in noise]
    probe.same(first[1], method.meta_loss(batch, *fewer), "the meta-loss by the noise that training draws, from all,")


@_check("dtype")
def _dtype(subject: Subject) -> None:
    """What is floating point comes out as it went in: float64 from float64, float32 from float32."""
    for dtype in (torch.float64, torch.float32):
        method, episode, noise = probe.one(subject, dtype)
        learner = method.adapt(episode.support, *noise)
        loss = method.meta_loss(probe.one_to_train_on(subject, dtype), *noise)
        for where, values in (
            ("the learner", learner),
            ("the prediction", method.predict(learner, episode.query.x)),
            ("meta_loss", loss),
        ):
            for leaf in tree.leaves(values):
                if leaf.is_floating_point() and leaf.dtype != dtype:
                    raise MethodError(
                        f"{where} holds {leaf.dtype} though weights and inputs are {dtype}. Make new tensors with "
                        "x.new_zeros(...) or dtype=x.dtype."
                    )


# --- what may not influence what --------------------------------------------------------------------------------------


@_check("loop equals map", needs="maps")
def _loop_equals_map(subject: Subject) -> None:
    """Tasks run together by `vmap`, whole or in chunks, give the loop's losses, meta-gradients and predictions."""
    method = subject.build()
    looped = probe.batch(subject, method, "loop", None)
    for chunk in (None, 2):
        mapped = probe.batch(subject, method, "map", chunk)
        probe.same(looped, mapped, f"what vmap (chunk {chunk}) gives, from the loop's,")


@_check("no query leak")
def _no_query_leak(subject: Subject) -> None:
    """What is said of a query is the same alone, among others, and among others that changed."""
    method, episode, noise = probe.one(subject)
    learner = method.adapt(episode.support, *noise)
    x = episode.query.x
    together = method.predict(learner, x).mean
    half = len(x) // 2
    mend = ". Take statistics from the support (quickstudy.core.apply), not from whatever batch is at hand"
    alone = torch.cat([method.predict(learner, x[i : i + 1]).mean for i in range(len(x))])
    probe.same(together, alone, "a query's prediction alone, from that among others,", mend)
    changed = torch.cat([x[:half], 3 * x[half:].flip(0) + 1])
    others = method.predict(learner, changed).mean[:half]
    probe.same(together[:half], others, "predictions when other queries changed", mend)


@_check("padding")
def _padding(subject: Subject) -> None:
    """Masked examples, whatever they hold, change no prediction, loss or meta-gradient."""
    method, episode, noise = probe.one(subject)
    batch = probe.one_to_train_on(subject)
    plain = probe.answer(method, episode, noise)
    slope = probe.loss_and_gradient(method, batch, noise)
    mend = ". Weigh every sum and mean over examples by their mask"
    for filling in (0.0, 1e4):
        padded = episode._replace(support=probe.padded(episode.support, filling))
        said = probe.answer(method, padded, noise)
        probe.same(plain, said, f"predictions when the support was padded with {filling:g}", mend)
        wider = Episode(*(probe.padded(part, filling) for part in batch))
        again = probe.loss_and_gradient(method, wider, noise)
        probe.same(slope, again, f"meta_loss or its gradient when padded with {filling:g}", mend)


@_check("support order", needs="support_order")
def _support_order(subject: Subject) -> None:
    """The support in another order makes the same learner."""
    method, episode, noise = probe.one(subject)
    order = torch.randperm(len(episode.support.x), generator=torch.Generator().manual_seed(0))
    shuffled = Examples(*(field[order] for field in episode.support))
    plain = probe.answer(method, episode, noise)
    said = probe.answer(method, episode._replace(support=shuffled), noise)
    probe.same(plain, said, "predictions when the support was reordered", ". Or declare tags.support_order=False")


@_check("relabelling", needs="relabels", classes=True)
def _relabelling(subject: Subject) -> None:
    """Other names for the classes rename the predictions, and change nothing else."""
    method, episode, noise = probe.one(subject)
    names = torch.arange(WAYS).roll(2)
    support = episode.support._replace(y=episode.support.y[:, names])
    plain = probe.answer(method, episode, noise).mean[:, names]
    said = probe.answer(method, episode._replace(support=support), noise).mean
    probe.same(plain, said, "predictions when classes were renamed", ". Or declare tags.relabels=False")


@_check("any ways", needs="any_ways", classes=True)
def _any_ways(subject: Subject) -> None:
    """One instance takes tasks of fewer and of more classes."""
    method = subject.build()
    for ways in (2, WAYS + 3):
        episode = probe.task(subject.episodes([0], ways=ways))
        noise = probe.task(subject.noise(method, [0]))
        mean = probe.answer(method, episode, noise).mean
        if mean.shape != episode.query.y.shape or not torch.isfinite(mean).all():
            raise MethodError(
                f"{ways} ways gave probabilities of shape {tuple(mean.shape)}; expected finite "
                f"{tuple(episode.query.y.shape)}. Read ways from support.y.shape[-1], or declare tags.any_ways=False."
            )


# --- weights, settings, gradients -------------------------------------------------------------------------------------


@_check("save and load")
def _save_and_load(subject: Subject) -> None:
    """Its state, through safetensors into a fresh instance, gives identical predictions."""
    method, episode, noise = probe.one(subject)
    saved = safetensors.torch.save({name: value.contiguous() for name, value in method.state_dict().items()})
    other = subject.build(seed=1)
    other.load_state_dict(safetensors.torch.load(saved))
    plain = probe.answer(method, episode, noise)
    said = probe.answer(other, episode, noise)
    mend = ". Keep what is learned in parameters or buffers"
    probe.same(plain, said, "predictions after save and load", mend, exact=True)


@_check("settings")
def _settings(subject: Subject) -> None:
    """Its settings, written as YAML and read back, are equal and make the same module, which promises what they do."""
    text = yaml.safe_dump(settings.dump(subject.chosen))
    read = {name: value for name, value in yaml.safe_load(text).items() if name != "name"}
    back = settings.settings_of(subject.cls)(**read)
    if back != subject.chosen:
        raise MethodError(f"settings read back from YAML are {back}; expected {subject.chosen}. Use plain values.")
    twin = Subject(subject.cls, back, subject.net, subject.item, subject.kind)
    weights = subject.build().state_dict(), twin.build().state_dict()
    probe.same(*weights, "the weights that the settings make", exact=True)
    own = subject.build().tags
    if own != subject.tags:
        raise MethodError(f"its tags are {own}; expected those of tags_with: {subject.tags}. Set them in __init__.")


@_check("gradients")
def _gradients(subject: Subject) -> str:
    """The gradient of meta_loss agrees with central differences along random directions, to 1e-5 of its length."""
    if getattr(subject.chosen, "gradient", "exact") == "first-order":
        raise NotApplicable("gradient='first-order' is not the derivative of meta_loss, on purpose")
    method, batch = subject.build(), probe.one_to_train_on(subject)
    noise = probe.task(subject.noise(method, [0]))
    if method.estimated:
        raise NotApplicable(method.estimated)
    names = [name for name, _ in method.named_parameters()]
    if not names:
        raise NotApplicable("it has no parameters")
    start = torch.cat([weight.detach().flatten() for weight in method.parameters()])
    slope = torch.cat([s.flatten() for s in probe.loss_and_gradient(method, batch, noise)[1]])
    worst, step = 0.0, 1e-6
    for direction in torch.from_numpy(chance.normals(chance.key("directions"), range(5), len(start))):
        along = direction / direction.norm()
        ahead, behind = (probe.loss_at(method, start + length * along, batch, noise) for length in (step, -step))
        gap = abs((ahead - behind) / (2 * step) - float(slope @ along))
        worst = max(worst, gap / max(float(slope.norm()), 1e-3))
    if not worst < 1e-5:
        raise MethodError(
            f"the gradient of meta_loss differs from central differences by {worst:.1e} of its length; expected below "
            "1e-5. Detach nothing on the way, or declare the exception 'gradients' with its reason."
        )
    return f"within {worst:.0e} of central differences"


# --- it learns --------------------------------------------------------------------------------------------------------

ROUND, ROUNDS, TASKS, RATE = 50, 4, 8, 1e-2
FRESH = range(1_000_000, 1_000_300)  # tasks that training never reaches


@_check("learns")
def _learns(subject: Subject) -> str:
    """At most 200 training steps make it clearly better on fresh tasks than untrained, and than unadapted."""
    method = subject.fresh()
    if not list(method.parameters()):
        raise NotApplicable("it has no parameters to train")
    untrained = _score(subject, method)
    optimizer = torch.optim.Adam(method.parameters(), lr=RATE)
    text = ""
    for done in range(ROUNDS):
        _train(subject, method, optimizer, range(done * ROUND, (done + 1) * ROUND))
        trained, unadapted = _score(subject, method), _score(subject, method, adapted=False)
        text = f"{_text(trained)} trained, {_text(untrained)} untrained, {_text(unadapted)} not adapting"
        if _ahead(subject, trained, untrained) and _ahead(subject, trained, unadapted):
            return text
    raise MethodError(
        f"after {ROUND * ROUNDS} steps it scores {text}; expected the first ahead of both, intervals apart."
    )


def _train(subject: Subject, method: MetaLearner, optimizer: torch.optim.Optimizer, steps: range) -> None:
    pool = subject.tags.trains_on == "pool"
    for step in steps:
        indices = [step] if pool else range(step * TASKS, (step + 1) * TASKS)
        batch = subject.training(indices, torch.float32)
        noise = subject.noise(method, indices, torch.float32)
        optimizer.zero_grad()
        over_tasks(method, batch, *noise, how=subject.how).mean().backward()
        torch.nn.utils.clip_grad_norm_(method.parameters(), 10.0)
        optimizer.step()


def _ahead(subject: Subject, score: tuple[float, float], other: tuple[float, float]) -> bool:
    """Whether a score is better than another, their intervals apart."""
    gain = score[0] - other[0] if subject.kind == "categorical" else other[0] - score[0]
    return gain > score[1] + other[1]


def _score(subject: Subject, method: MetaLearner, adapted: bool = True) -> tuple[float, float]:
    """The mean score over fresh tasks, and half of its 95% interval.

    Unadapted is the learner after no steps, or where there are no steps to leave out, that of another task.
    """
    episodes = subject.episodes(FRESH, torch.float32)
    noise = subject.noise(method, FRESH, torch.float32)
    if not adapted and not isinstance(method, Stepwise):
        episodes = Episode(tree.map_leaves(lambda leaf: leaf.roll(1, 0), episodes.support), episodes.query)

    def score(episode: Episode, *noise: Tensor) -> Float[Tensor, ""]:
        if not adapted and isinstance(method, Stepwise):
            learner = method.adapt_for(episode.support, 0)
        else:
            learner = method.adapt(episode.support, *noise)
        return method.predict(learner, episode.query.x).score(episode.query.y).mean()

    with torch.no_grad():
        scores = over_tasks(score, episodes, *noise, how=subject.how)
    return float(scores.mean()), 1.96 * float(scores.std()) / math.sqrt(len(scores))


def _text(score: tuple[float, float]) -> str:
    return f"{score[0]:.3f} ± {score[1]:.3f}"
