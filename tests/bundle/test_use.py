"""A bundle in use: one task, many at once, uneven shots, fewer classes than a fixed number, order, noise, mistakes."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from bundle.made import WAYS, bundle_of, episode_of, labels_of, subject_of, toy
from quickstudy import Bundle, registry
from quickstudy.core import chance
from quickstudy.core.episode import Examples
from quickstudy.errors import BundleError, SettingsError

SIZES = ((5, 3), (5, 1), (5, 2), (3, 2))


def support_of(subject: Any, number: int, ways: int, shots: int) -> tuple[torch.Tensor, list[int], torch.Tensor]:
    """A toy task's first examples of each class, and its queries."""
    episode = episode_of(subject, number, ways)
    labels = labels_of(episode)
    kept = [at for at, label in enumerate(labels) if labels[:at].count(label) < shots]
    return episode.support.x[kept], [labels[at] for at in kept], episode.query.x


@pytest.mark.parametrize("name", [*registry.METHODS, "anil-tied"])
def test_many_is_one_by_one(name: str) -> None:
    """Tasks of other shots, and of other ways where the method takes them, padded together and alone."""
    if not registry.get("method", name).tags.classification:
        pytest.skip("it learns real values; see test_real_values")
    bundle, subject = toy(name)
    tasks = [support_of(subject, number, ways, shots) for number, (ways, shots) in enumerate(SIZES)]
    together = bundle.adapt_many([(x, y, None) for x, y, _ in tasks])
    asked = [(learner, x[: 4 + at]) for at, (learner, (_, _, x)) in enumerate(zip(together, tasks, strict=True))]
    said = bundle.predict_many(asked)
    for (x, y, _), learner, prediction, (_, queries), (ways, _) in zip(
        tasks, together, said, asked, SIZES, strict=True
    ):
        alone = bundle.adapt(x, y)
        assert alone.ways == learner.ways == ways
        expected = bundle.predict(alone, queries).mean
        assert expected.shape == prediction.mean.shape == (len(queries), ways)
        torch.testing.assert_close(prediction.mean, expected, atol=1e-5, rtol=0)
        torch.testing.assert_close(prediction.mean.sum(-1), torch.ones(len(queries)))


@pytest.mark.parametrize("name", ["maml", "protonet", "np"])
def test_one_task_is_what_the_method_says(name: str) -> None:
    """Against adapt and predict of the method itself, with the noise that the command line has always given it."""
    subject = subject_of(name)
    bundle = bundle_of(subject)
    method, episode = bundle.method, episode_of(subject)
    noise = [chance.noise(chance.key("adapt"), [0], method.noise_size)[0]] if method.noise_size else []
    with torch.no_grad():
        state = method.adapt(episode.support, *noise)
        expected = method.predict(state, episode.query.x).mean
    learner = bundle.adapt(episode.support.x, labels_of(episode))
    assert torch.equal(bundle.predict(learner, episode.query.x).mean, expected)


@pytest.mark.parametrize("name", [n for n in registry.METHODS if registry.get("method", n).tags.regression])
def test_real_values(name: str) -> None:
    subject = subject_of(name, "gaussian")
    bundle = bundle_of(subject)
    episodes = [episode_of(subject, number) for number in range(3)]
    tasks = [(e.support.x[: 3 + at], e.support.y[: 3 + at], None) for at, e in enumerate(episodes)]
    learners = bundle.adapt_many(tasks)
    said = bundle.predict_many([(each, e.query.x) for each, e in zip(learners, episodes, strict=True)])
    for (x, y, _), learner, prediction, episode in zip(tasks, learners, said, episodes, strict=True):
        assert learner.ways is None
        alone = bundle.predict(bundle.adapt(x, y.flatten().tolist()), episode.query.x)
        torch.testing.assert_close(prediction.mean, alone.mean, atol=1e-4, rtol=1e-4)


def test_fewer_classes_than_a_fixed_number() -> None:
    """The probabilities of the classes that are there are those of all, divided by their sum."""
    bundle, subject = toy("maml")
    x, y, queries = support_of(subject, 0, 3, 2)
    one_hot = torch.nn.functional.one_hot(torch.tensor(y), WAYS).bool()
    with torch.no_grad():
        state = bundle.method.adapt(Examples(x, one_hot, torch.ones(len(x), dtype=torch.bool)))
        every = bundle.method.predict(state, queries).mean
    said = bundle.predict(bundle.adapt(x, y), queries).mean
    torch.testing.assert_close(said, every[:, :3] / every[:, :3].sum(-1, keepdim=True))


def test_methods_that_read_in_order_are_given_rounds() -> None:
    """As training episodes are: the first example of every class, then the second."""
    bundle, subject = toy("snail")
    assert not bundle.method.tags.support_order
    episode = episode_of(subject)
    rounds = [(label, at) for at, label in enumerate(labels_of(episode))]
    by_class = [at for _, at in sorted(rounds)]  # as folders hold them
    seen: list[torch.Tensor] = []
    adapt = bundle.method.adapt
    bundle.method.adapt = lambda support, *noise: (seen.append(support.y.int().argmax(-1)), adapt(support, *noise))[1]  # type: ignore[method-assign]
    bundle.adapt(episode.support.x[by_class], [labels_of(episode)[at] for at in by_class])
    assert seen[0].tolist() == [0, 1, 2, 3, 4] * 3


def test_examples_stay_together_with_their_labels() -> None:
    bundle, subject = toy("lstm")
    x, y, queries = support_of(subject, 0, 5, 3)
    turned = torch.randperm(len(y), generator=torch.Generator().manual_seed(0)).tolist()
    plain = bundle.predict(bundle.adapt(x, y), queries).mean
    # within a class examples keep their order; only the classes' turns differ
    stable = sorted(turned, key=lambda at: (y[:at].count(y[at]), turned.index(at)))
    said = bundle.predict(bundle.adapt(x[stable], [y[at] for at in stable]), queries).mean
    torch.testing.assert_close(said, plain)


def test_the_same_support_makes_the_same_learner_whatever_came_before() -> None:
    subject = subject_of("np")
    bundle = bundle_of(subject)
    assert bundle.method.noise_size > 0
    episode = episode_of(subject)
    first = bundle.adapt(episode.support.x, labels_of(episode)).to_bytes()
    bundle.adapt(episode.query.x, episode.query.y if subject.kind == "gaussian" else [0, 1, 2, 3, 4] * 4)
    assert bundle.adapt(episode.support.x, labels_of(episode)).to_bytes() == first


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"y": [0, 1]}, "got 15 examples and 2 labels"),
        ({"y": [0, 1, 2, 3, 7] * 3}, "got the label 7; expected numbers from 0 to 4"),
        ({"y": [0, 1, 2, 3, -1] * 3}, "got the label -1"),
        ({"y": [0, 1, 2, 3, 3] * 3}, "class 4 of 5 has no example"),
        ({"ways": 6, "y": [0, 1, 2, 3, 5] * 3}, "got 6 classes; .*was trained for 5 and takes no more. Leave 1 out"),
        ({"x": torch.zeros(15, 3)}, r"the support have shape \[15, 3\]; expected \['n', 16\]"),
        ({"x": torch.zeros(0, 16), "y": []}, r"shape \[0, 16\]"),
    ],
)
def test_supports_that_cannot_be(change: dict[str, Any], message: str) -> None:
    bundle, subject = toy("maml")
    given = {"x": episode_of(subject).support.x, "y": [0, 1, 2, 3, 4] * 3, "ways": 5} | change
    with pytest.raises(SettingsError, match=message):
        bundle.adapt(**given)


def test_values_that_cannot_be() -> None:
    bundle = bundle_of(subject_of("maml", "gaussian"))
    x = torch.zeros(2, 16)
    with pytest.raises(SettingsError, match="ways=2, but this bundle predicts real values"):
        bundle.adapt(x, [0.0, 1.0], 2)
    with pytest.raises(SettingsError, match=r"shape \[2, 2\]; expected finite ones of shape \[2, 1\]"):
        bundle.adapt(x, torch.zeros(2, 2))
    with pytest.raises(SettingsError, match="expected finite"):
        bundle.adapt(x, [0.0, float("nan")])


def test_a_learner_belongs_to_its_bundle() -> None:
    bundle, subject = toy("protonet")
    other, _ = toy("protonet")
    with torch.no_grad():
        next(iter(other.method.parameters())).add_(1e-3)
    x, y, queries = support_of(subject, 0, 5, 3)
    with pytest.raises(BundleError, match=f"learner of version {bundle.version}; toy is version {other.version}"):
        other.predict(bundle.adapt(x, y), queries)
    twin, _ = toy("protonet")
    assert twin.version == bundle.version
    torch.testing.assert_close(
        twin.predict(bundle.adapt(x, y), queries).mean, bundle.predict(bundle.adapt(x, y), queries).mean
    )


def test_a_bundle_adapts_without_a_trace() -> None:
    bundle, subject = toy("maml")
    before = {name: value.clone() for name, value in bundle.method.state_dict().items()}
    x, y, queries = support_of(subject, 0, 5, 3)
    learner = bundle.adapt(x, y)
    bundle.predict(learner, queries)
    assert all(torch.equal(value, before[name]) for name, value in bundle.method.state_dict().items())
    assert not bundle.method.training


def test_any_number_of_ways() -> None:
    bundle, subject = toy("protonet")
    fixed, _ = toy("maml")
    assert (bundle.ways, fixed.ways) == (None, WAYS)
    x, y, queries = support_of(subject, 0, 9, 2)
    assert bundle.predict(bundle.adapt(x, y), queries).mean.shape == (len(queries), 9)
    assert isinstance(bundle, Bundle)
