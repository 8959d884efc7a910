"""A few real episodes with what a method said of them, for people to look at."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from quickstudy.core import tree
from quickstudy.core.episode import Episode, Examples, to_device
from quickstudy.core.learner import MetaLearner
from quickstudy.core.predictions import Prediction
from quickstudy.core.shapes import Shaped, Tensor
from quickstudy.evaluate.evaluate import evaluating, noise_for, place_of
from quickstudy.evaluate.protocol import Protocol
from quickstudy.evaluate.record import DrawnEpisode, DrawnPoints, DrawnQuery, DrawnSupport
from quickstudy.tasks.source import TaskSource

__all__ = ["draw_episodes", "png"]

POINTS = 101
"""Where a regression's curve is drawn, evenly over the episode's inputs."""
LARGEST = 96
"""Larger images are drawn with this many pixels on their longer side."""


def draw_episodes(
    method: MetaLearner, protocol: Protocol, count: int = 3, *, queries: int = 3
) -> tuple[DrawnEpisode | DrawnPoints, ...]:
    """The first episodes of a protocol as records keep them; not chosen, so neither flattering nor not.

    Args:
        method: Where its parameters are, it runs.
        protocol: What is asked.
        count: How many episodes.
        queries: How many queries of each class are drawn, at most; regressions draw all.

    Returns:
        `DrawnEpisode`s of images, `DrawnPoints` of one number as a function of one other; nothing for other tasks.
    """
    source = protocol.source()
    images = source.likelihood == "categorical" and len(source.item) == 3 and source.item[0] in (1, 3)
    points = source.likelihood == "gaussian" and source.item == (1,) and source.outputs == 1
    if not (images or points):
        return ()
    with evaluating(method), torch.no_grad():
        return tuple(_drawn(method, source, protocol, index, queries) for index in range(count))


def _drawn(
    method: MetaLearner, source: TaskSource, protocol: Protocol, index: int, queries: int
) -> DrawnEpisode | DrawnPoints:
    digest = source.digest(range(protocol.episodes))  # the noise is the evaluation's
    raw = source.batch([index])
    episode = tree.unstack(to_device(raw, *place_of(method)))[0]
    learner = method.adapt(episode.support, *(drawn[0] for drawn in noise_for(method, digest, [index])))
    if source.likelihood == "gaussian":
        x = torch.cat([episode.support.x, episode.query.x])
        grid = torch.linspace(float(x.min()), float(x.max()), POINTS).to(x)[:, None]
        return DrawnPoints(
            _points(episode.support.x, episode.support.y),
            _points(episode.query.x, episode.query.y),
            _points(grid, method.predict(learner, grid).mean),
        )
    return _images(tree.unstack(raw)[0], method.predict(learner, episode.query.x), _names(source, index), queries)


def _images(raw: Episode, prediction: Prediction, names: tuple[str, ...], queries: int) -> DrawnEpisode:
    probability, predicted = prediction.mean.max(-1)
    shown = [i for i, label in _labelled(raw.query, queries)]
    labels = raw.query.y.long().argmax(-1)
    return DrawnEpisode(
        classes=names,
        support=tuple(DrawnSupport(png(raw.support.x[i]), label) for i, label in _labelled(raw.support, None)),
        queries=tuple(
            DrawnQuery(png(raw.query.x[i]), int(labels[i]), int(predicted[i]), float(probability[i])) for i in shown
        ),
    )


def _labelled(part: Examples, most: int | None) -> Iterator[tuple[int, int]]:
    """Positions and labels of what is not padding, class by class, at most so many of each."""
    labels = part.y.long().argmax(-1)
    for label in range(part.y.shape[-1]):
        for i in torch.nonzero(part.mask & (labels == label))[:most, 0].tolist():
            yield i, label


def _names(source: TaskSource, index: int) -> tuple[str, ...]:
    classes = source.classes([index])
    return () if classes is None else tuple(source.class_names[i] for i in classes[0].tolist())


def _points(x: Tensor, y: Tensor) -> tuple[tuple[float, float], ...]:
    pairs = sorted(zip(x.flatten().tolist(), y.flatten().tolist(), strict=True))
    return tuple(pairs)


def png(image: Shaped[Tensor, "c h w"]) -> str:
    """An image, uint8 or fractions of 1, as a data URI."""
    eight_bit = image if image.dtype == torch.uint8 else (image.clamp(0, 1) * 255).round().to(torch.uint8)
    pixels: NDArray[np.uint8] = eight_bit.cpu().numpy().transpose(1, 2, 0)
    picture = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
    picture.thumbnail((LARGEST, LARGEST))
    file = io.BytesIO()
    picture.save(file, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode("ascii")
