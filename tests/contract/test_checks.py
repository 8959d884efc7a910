"""Each check catches the fault that it is there for; declared exceptions and mistakes in asking are reported."""

import inspect
from typing import NamedTuple

import pytest
import torch
from torch import nn

from quickstudy import Categorical, Gaussian, MetaLearner, QueryScored, Tags
from quickstudy.checks import CHECKS, CheckResult, cases, check_method
from quickstudy.core.episode import masked_mean
from quickstudy.errors import MethodError, SettingsError


class Centroid(QueryScored):
    """Nearest class mean in a learned linear space: a method with no fault, which the others below each spoil.

    Args:
        scale: Multiplies the logits.
    """

    def __init__(self, item: tuple[int, ...], *, scale: float = 1.0) -> None:
        super().__init__()
        self.turn = nn.Linear(item[0], 4)
        self.scale = scale
        self.seen = torch.zeros(())

    def adapt(self, support, *noise):
        weight = support.y.to(support.x.dtype) * support.mask[:, None]
        return (weight.T @ self.turn(support.x)) / weight.sum(0)[:, None].clamp(min=1)

    def predict(self, learner, x):
        z = self.turn(x)
        return Categorical(self.scale * (2 * z @ learner.T - learner.square().sum(-1)))


class Spoilt(Centroid):
    def __init__(self, item: tuple[int, ...], *, scale: float = 1.0) -> None:
        super().__init__(item, scale=scale)


def result(cls, check) -> CheckResult:
    (found,) = check_method(cls, only=[check])
    return found


def test_a_sound_method_passes_everything():
    for found in check_method(Centroid):
        assert found.outcome == "passed" or found.reason == "it does not adapt in steps", found


class PredictsLogits(Spoilt):
    def predict(self, learner, x):
        return super().predict(learner, x).logits


class Unnormalised(NamedTuple):
    logits: torch.Tensor
    metric = "accuracy"

    @property
    def mean(self):
        return self.logits.exp()

    def nll(self, y):
        return Categorical(self.logits).nll(y)

    def score(self, y):
        return Categorical(self.logits).score(y)


class PredictsUnnormalised(Spoilt):
    def predict(self, learner, x):
        return Unnormalised(super().predict(learner, x).logits)


class PredictsValues(Spoilt):
    def predict(self, learner, x):
        logits = super().predict(learner, x).logits
        return Gaussian(logits, torch.ones_like(logits))


class LearnsAnObject(Spoilt):
    def adapt(self, support, *noise):
        return super().adapt(support), "five ways"

    def predict(self, learner, x):
        return super().predict(learner[0], x)


class StoresTheTask(Spoilt):
    def adapt(self, support, *noise):
        self.means = super().adapt(support)
        return self.means

    def predict(self, learner, x):
        return super().predict(self.means, x)


class CountsTasks(Spoilt):
    def adapt(self, support, *noise):
        self.seen += 1
        return super().adapt(support)


class ChangesItsInput(Spoilt):
    def adapt(self, support, *noise):
        support.x.mul_(2)
        return super().adapt(support)


class ChangesWeights(Spoilt):
    def predict(self, learner, x):
        with torch.no_grad():
            self.turn.weight.mul_(1.01)
        return super().predict(learner, x)


class DrawsChance(Spoilt):
    def adapt(self, support, *noise):
        means = super().adapt(support)
        return means + 0.1 * torch.randn(means.shape, dtype=means.dtype)


class SinglePrecision(Spoilt):
    def adapt(self, support, *noise):
        return super().adapt(support).float()

    def predict(self, learner, x):
        return super().predict(learner.to(x.dtype), x)


class BranchesOnData(Spoilt):
    def adapt(self, support, *noise):
        means = super().adapt(support)
        return means if means.sum() > 0 else means + 0


class CentresQueries(Spoilt):
    def predict(self, learner, x):
        return super().predict(learner, x - x.mean(0))


class IgnoresTheMask(Spoilt):
    def adapt(self, support, *noise):
        return super().adapt(support._replace(mask=torch.ones_like(support.mask)))


class ScoresPadding(Spoilt):
    def meta_loss(self, episode, *noise):
        query = episode.query
        return self.predict(self.adapt(episode.support), query.x).nll(query.y).mean()


class FavoursTheFirst(Spoilt):
    def adapt(self, support, *noise):
        first = torch.zeros_like(support.mask)
        first[support.mask.to(torch.int8).argmax()] = True
        return super().adapt(support) + 0.1 * masked_mean(self.turn(support.x).sum(-1), first)


class FavoursAClass(Spoilt):
    def predict(self, learner, x):
        logits = super().predict(learner, x).logits
        return Categorical(logits + torch.arange(logits.shape[-1], dtype=logits.dtype))


class FiveWays(Spoilt):
    def predict(self, learner, x):
        logits = super().predict(learner, x).logits
        return Categorical(logits + logits.new_zeros(5))


class LearnsInAnAttribute(Spoilt):
    def __init__(self, item: tuple[int, ...], *, scale: float = 1.0) -> None:
        super().__init__(item, scale=scale)
        self.shift = torch.randn(())

    def predict(self, learner, x):
        return super().predict(learner, x + self.shift)


class Cutoff:
    """Not a plain value: YAML holds its name, which does not read back."""

    def __eq__(self, other):
        return False

    __hash__ = object.__hash__


class OddSetting(Spoilt):
    def __init__(self, item: tuple[int, ...], *, cutoff: Cutoff = Cutoff()) -> None:  # noqa: B008
        super().__init__(item)


class PromisesOtherwise(Spoilt):
    @classmethod
    def tags_with(cls, chosen):
        return Tags(any_ways=False)


class DetachesMeans(Spoilt):
    def adapt(self, support, *noise):
        return super().adapt(support).detach()


class ForgetsItsNoise(Spoilt):
    noise_size, steps = 1, 1

    def adapt(self, support, *noise):
        return (1 + noise[0]) * super().adapt(support)

    def adapt_for(self, support, steps, *noise):
        return steps * super().adapt(support)


class ReadsMoreNoise(Spoilt):
    noise_size, training_noise_size = 2, 1

    def adapt(self, support, *noise):
        return super().adapt(support)

    def meta_loss(self, episode, *noise):
        return super().meta_loss(episode) + noise[0][-1]


class NeverLearns(Spoilt):
    def meta_loss(self, episode, *noise):
        return super().meta_loss(episode) * 0


class Unlearns(Spoilt):
    def meta_loss(self, episode, *noise):
        return -super().meta_loss(episode)


@pytest.mark.parametrize(
    ("cls", "check", "reason"),
    [
        (PredictsLogits, "prediction", "returned a Tensor; expected a NamedTuple"),
        (PredictsUnnormalised, "prediction", "sum of a query's class probabilities"),
        (PredictsValues, "prediction", "metric is 'mse'; expected 'accuracy'"),
        (LearnsAnObject, "prediction", "a str in its learner; expected a tree of tensors"),
        (ForgetsItsNoise, "steps", "after the 1 steps of its own differ"),
        (StoresTheTask, "purity", "made, removed or resized self.means.* store nothing"),
        (CountsTasks, "purity", "changed self.seen"),
        (ChangesItsInput, "purity", "changed inputs"),
        (ChangesWeights, "purity", "changed turn._parameters"),
        (ReadsMoreNoise, "purity", "the meta-loss by the noise that training draws, from all, differ"),
        (DrawsChance, "purity", "drew from torch's own chance"),
        (SinglePrecision, "dtype", "the learner holds torch.float32"),
        (BranchesOnData, "loop equals map", "RuntimeError"),
        (CentresQueries, "no query leak", "alone, from that among others, differ by"),
        (IgnoresTheMask, "padding", "predictions when the support was padded"),
        (ScoresPadding, "padding", "meta_loss or its gradient when padded"),
        (FavoursTheFirst, "support order", "support was reordered differ by"),
        (FavoursAClass, "relabelling", "classes were renamed differ by"),
        (FiveWays, "any ways", "RuntimeError: The size of tensor"),
        (LearnsInAnAttribute, "save and load", "after save and load differ by"),
        (OddSetting, "settings", "OddSetting.cutoff"),
        (PromisesOtherwise, "settings", r"expected those of tags_with: .*any_ways=False.* Set them in __init__"),
        (DetachesMeans, "gradients", "differs from central differences by"),
        (NeverLearns, "learns", "expected the first ahead of both"),
        (Unlearns, "learns", "expected the first ahead of both"),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else "",
)
def test_catches(cls, check, reason):
    found = result(cls, check)
    assert found.outcome == "failed"
    assert not found.passed
    with pytest.raises(MethodError, match=reason):
        raise MethodError(found.reason)


def test_every_check_is_known_to_catch_something():
    (mark,) = (m for m in test_catches.pytestmark if m.name == "parametrize")
    assert {check for _, check, _ in mark.args[1]} == set(CHECKS)


@pytest.mark.parametrize("method", ["protonet", "maml", "finetune"])
def test_batch_statistics_of_queries_are_a_leak(method):
    (leak,) = (r for r in _transductive(method) if r.name == "no query leak")
    assert leak.outcome == "failed"


def _transductive(method):
    return check_method(method, net={"name": "mlp", "norm": "transductive"}, only=["no query leak"])


class Leaks(CentresQueries):
    tags = Tags(exceptions={"no query leak": "transductive, as published"})


class Sound(Spoilt):
    tags = Tags(exceptions={"no query leak": "I was told so"})


class Mistyped(Spoilt):
    tags = Tags(exceptions={"no query leek": "transductive"})


class OnlyLoops(BranchesOnData):
    tags = Tags(maps=False, relabels=False)


def test_a_declared_exception_is_an_expected_failure():
    assert result(Leaks, "no query leak") == CheckResult(
        "no query leak", "expected failure", "transductive, as published"
    )
    assert result(Leaks, "no query leak").passed


def test_an_exception_that_passes_is_reported():
    found = result(Sound, "no query leak")
    assert found.outcome == "failed"
    assert "declared to fail (I was told so), but it passes. Remove it" in found.reason


def test_an_exception_for_no_check_is_refused():
    with pytest.raises(MethodError, match=r"names a check 'no query leek'.*did you mean 'no query leak'"):
        check_method(Mistyped)


def test_tags_choose_the_checks():
    assert result(OnlyLoops, "loop equals map") == CheckResult(
        "loop equals map", "skipped", "not claimed: tags.maps=False"
    )
    assert result(OnlyLoops, "relabelling").reason == "not claimed: tags.relabels=False"
    assert result(OnlyLoops, "learns").outcome == "passed"


def test_first_order_is_not_held_to_finite_differences():
    for found in check_method("maml", {"gradient": "first-order"}, only=["gradients"]):
        assert found.outcome == "skipped"
        assert "gradient='first-order'" in found.reason


class NoisyCentroid(Centroid):
    """Adds noise that it was given, one number a class and feature."""

    noise_size = 4

    def __init__(self, item: tuple[int, ...], *, size: float = 0.1) -> None:
        super().__init__(item)
        self.size = size

    def adapt(self, support, *noise):
        (drawn,) = noise
        return super().adapt(support) + self.size * drawn


def test_noise_is_drawn_outside_and_given():
    for found in check_method(NoisyCentroid):
        assert found.outcome == "passed" or found.reason == "it does not adapt in steps", found


def test_asking_for_what_does_not_exist():
    with pytest.raises(SettingsError, match="no check named 'purty'; did you mean 'purity'"):
        check_method("protonet", only=["purty"])
    with pytest.raises(SettingsError, match="no method named 'protonett'; did you mean 'protonet'"):
        check_method("protonett")
    with pytest.raises(SettingsError, match="MAML has no setting 'stpes'; did you mean 'steps'"):
        check_method("maml", {"stpes": 1})
    with pytest.raises(MethodError, match=r"is not a meta-learner\. Inherit"):
        inspect.unwrap(cases)(nn.Linear)


def test_an_address_is_as_good_as_a_name():
    (found,) = check_method("quickstudy.methods.metric.protonet:ProtoNet", only=["settings"])
    assert found.outcome == "passed"


def test_abstract_methods_are_reported_not_raised():
    class Half(MetaLearner):
        def __init__(self, *, steps: int = 1) -> None:
            super().__init__()

    found = check_method(Half, only=["purity"])[0]
    assert found.outcome == "failed"
    assert "abstract" in found.reason
