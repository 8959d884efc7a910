"""Floors are evaluated on the episodes of the protocol, one by one; and a few episodes are drawn."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator

import numpy as np
import torch
from PIL import Image

from quickstudy import MAML, SGD, MetaLearner, ProtoNet
from quickstudy.evaluate import Protocol, draw_episodes, evaluate, evaluate_floors
from quickstudy.evaluate.record import DrawnEpisode, DrawnPoints
from quickstudy.nets import MLP, Flatten
from quickstudy.tasks.fewshot import ArrayTasks
from quickstudy.tasks.pool import Pool
from quickstudy.tasks.sines import Sines
from quickstudy.tasks.splits import Splits


def image_protocol(item: tuple[int, ...] = (1, 8, 8)) -> Protocol:
    def pool(name: str, seed: int) -> Pool:
        x = np.random.default_rng(seed).integers(0, 256, (36, *item), dtype=np.uint8)
        return Pool.from_arrays(x, np.repeat(np.arange(6), 6), [f"{name}{i}" for i in range(6)], name=name)

    tasks = ArrayTasks(splits=Splits(pool("a", 0), pool("b", 1), pool("c", 2)), ways=3, shots=2, queries=4)
    return Protocol(tasks=tasks, episodes=6)


def test_floors_are_made_one_at_a_time_and_share_the_episodes() -> None:
    protocol, made, seen = image_protocol(), [], []

    def methods() -> Iterator[tuple[str, MetaLearner]]:
        for name, net in (("raw", Flatten((1, 8, 8))), ("random", MLP((1, 8, 8)))):
            made.append(name)
            yield name, ProtoNet(net)

    def report(name: str, done: int, total: int) -> None:
        seen.append((name, len(made), done, total))

    results = evaluate_floors(methods(), protocol, progress=report)
    assert [result.name for result in results] == ["raw", "random"]
    assert {result.digest for result in results} == {protocol.digest}
    assert results[0].values == evaluate(ProtoNet(Flatten((1, 8, 8))), protocol, name="").values
    assert seen == [("raw", 1, 6, 6), ("random", 2, 6, 6)]


def test_drawn_images_are_those_of_the_episode_with_the_methods_own_predictions() -> None:
    protocol, method = image_protocol(), ProtoNet(Flatten((1, 8, 8)))
    drawn = draw_episodes(method, protocol, 2, queries=1)
    assert len(drawn) == 2
    source = protocol.source()
    raw, classes = source.batch([1]), source.classes([1])
    assert classes is not None
    second = drawn[1]
    assert isinstance(second, DrawnEpisode)
    assert second.classes == tuple(source.class_names[i] for i in classes[0])
    assert [part.label for part in second.support] == [0, 0, 1, 1, 2, 2]
    assert [part.label for part in second.queries] == [0, 1, 2]
    first_of_class_1 = int(raw.query.y[0, :, 1].nonzero()[0])
    assert (_pixels(second.queries[1].image) == raw.query.x[0, first_of_class_1, 0].numpy()).all()
    distance = [
        (raw.query.x[0, first_of_class_1] / 255 - raw.support.x[0][raw.support.y[0, :, k]].float().mean(0) / 255)
        .square()
        .sum()
        for k in range(3)
    ]
    p = torch.stack(distance).neg().softmax(0)
    assert second.queries[1].predicted == int(p.argmax())
    assert abs(second.queries[1].probability - float(p.max())) < 1e-5


def test_drawings_are_colour_where_the_images_are_and_never_huge() -> None:
    item = (3, 120, 60)
    first = draw_episodes(ProtoNet(Flatten(item)), image_protocol(item), 1)[0]
    assert isinstance(first, DrawnEpisode)
    assert _pixels(first.support[0].image).shape == (96, 48, 3)
    assert len(first.queries) == 9


def test_a_regression_is_drawn_as_points_and_a_curve_over_their_inputs() -> None:
    torch.manual_seed(0)
    method = MAML(MLP((1,)), 1, steps=1, rule=SGD(rate=0.01), likelihood="gaussian")
    first = draw_episodes(method, Protocol(tasks=Sines(shots=5, queries=7), episodes=3), 1)[0]
    assert isinstance(first, DrawnPoints)
    assert (len(first.support), len(first.queries), len(first.curve)) == (5, 7, 101)
    inputs = [x for x, _ in (*first.support, *first.queries)]
    assert (first.curve[0][0], first.curve[-1][0]) == (min(inputs), max(inputs))
    assert [x for x, _ in first.curve] == sorted(x for x, _ in first.curve)


def test_what_nobody_could_look_at_is_not_drawn() -> None:
    assert draw_episodes(ProtoNet(Flatten((5,))), image_protocol((5,))) == ()


def _pixels(uri: str) -> np.ndarray:
    head, _, body = uri.partition(",")
    assert head == "data:image/png;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(body))))
