"""Random tables: rows of a random causal model, of which some nodes are columns and one says the class, or the value.

The numbers of a table are a function of a key and its own number alone; many tables of one size are made together.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from quickstudy.core import chance
from quickstudy.tasks.source import Indices

__all__ = ["KINDS", "Drawn", "Valued", "tables", "values"]

Array = NDArray[np.float64]
Ints = NDArray[np.int64]

KINDS = 10
"""Classes that a table has before some are merged, at most."""
LAYERS = 3
SPARE = KINDS + 2
"""Nodes of a layer beyond the columns of the table: those that say the class are no columns."""
BENDS = 8
"""Bent lines that a value is a sum of, at most."""
TINY = 1e-6


class Drawn(NamedTuple):
    """Tables of one size."""

    x: Array
    """[t, n, c]"""
    y: Ints
    """Classes, [t, n]."""


class Valued(NamedTuple):
    """Tables of one size, with a value to predict."""

    x: Array
    """[t, n, c]"""
    y: Array
    """Values, [t, n], of mean 0 and deviation 1 in each table."""


class _Dice:
    """Numbers of chance of some tables, by what they are for."""

    def __init__(self, key: int, at: Indices) -> None:
        self.key, self.at = key, at

    def uniform(self, what: str, *shape: int) -> Array:
        return chance.uniforms(chance.key(self.key, what), self.at, int(np.prod(shape))).reshape(-1, *shape)

    def between(self, what: str, low: float, high: float, *shape: int) -> Array:
        """Numbers whose logarithms are uniform."""
        found: Array = low * (high / low) ** self.uniform(what, *shape)
        return found

    def normal(self, what: str, *shape: int) -> Array:
        return chance.normals(chance.key(self.key, what), self.at, int(np.prod(shape))).reshape(-1, *shape)


def tables(key: int, at: Indices, rows: int, columns: int, ways: int) -> Drawn:
    """Tables of so many rows, columns and classes. The first rows are one of each class, in order.

    Causes (normal, uniform, or in clusters) pass through up to three layers of a random sparse net with noise; columns
    are nodes of any layer, causes and effects alike (the structural causal models of Hollmann et al. 2023, section 4).
    In a third of the tables the class comes first and moves the causes; in the others it is told by a node, cut at
    random places, or is the greatest of several. Some columns are then replaced by noise, cut into a few values, or
    bent; some labels are drawn anew; and classes are merged until there are `ways`.
    """
    dice = _Dice(key, at)
    kinds = _kinds(dice, min(rows, KINDS), ways)
    first = dice.uniform("class first") < 1 / 3
    shares = _shares(dice, "shares", kinds, KINDS)
    label = (dice.uniform("labels", rows)[..., None] > shares.cumsum(-1)[:, None, :-1]).sum(-1)
    label[:, :KINDS] = np.arange(rows)[None, :KINDS] % kinds[:, None]  # of each class a row
    nodes, allowed, last = _nodes(dice, rows, columns + SPARE, np.where(first[:, None], label, -1))
    told, used = _told(dice, nodes, last, kinds, shares)
    label = np.where(first[:, None], label, told)
    np.put_along_axis(allowed, used, allowed[np.arange(len(used))[:, None], used] & first[:, None], 1)
    x = _columns(dice, nodes, allowed, columns)
    y = _faulty(dice, _merged(dice, label, kinds, ways), ways)
    order = _one_of_each(y, ways)
    return Drawn(np.take_along_axis(x, order[..., None], 1), np.take_along_axis(y, order, 1))


def values(key: int, at: Indices, rows: int, columns: int) -> Valued:
    """Tables of so many rows and columns, and a value of each row.

    The causal models are those of `tables`. In half of the tables the value is that of one more node, mostly of the
    last layer, so that columns may be its causes, its effects, or neither; in the others it is a function of the
    columns: a sum of up to eight lines or bends, each along a column or across several. Noise is then added, in some
    tables more of it where a node is high, or with heavy tails; and values may be skewed, have tails, come in steps or
    have a floor, as columns have.
    """
    dice = _Dice(key, at)
    nodes, allowed, last = _nodes(dice, rows, columns + SPARE, np.full((len(at), rows), -1))
    used = _valued(dice, allowed, last)
    spreads = np.where(allowed, dice.uniform("which spreads", nodes.shape[-1]), 2.0).argmin(1)
    np.put_along_axis(allowed, used[:, None], False, 1)
    x = _columns(dice, nodes, allowed, columns)
    of_node, spread = (_scaled(np.take_along_axis(nodes, each[:, None, None], 2)) for each in (used, spreads))
    y = np.where(dice.uniform("of columns", 1, 1) < 0.5, _of_columns(dice, x), of_node)
    return Valued(x, _scaled(_bent(dice, _doubted(dice, y, spread), "value, "))[..., 0])


def _kinds(dice: _Dice, most: int, ways: int) -> Ints:
    """How many classes there are before some are merged, [t]."""
    u = dice.uniform("kinds", 2)
    more = ways + np.floor(u[:, 1] * (max(most, ways) - ways + 1)).astype(np.int64)
    return np.where(u[:, 0] < 0.65, ways, more)


def _shares(dice: _Dice, what: str, kinds: Ints, most: int) -> Array:
    """How common each class is, [t, most], from alike to very different."""
    weight = np.exp(1.2 * dice.uniform(f"{what}, uneven", 1) * dice.normal(what, most))
    weight = np.where(np.arange(most) < kinds[:, None], weight, 0.0)
    found: Array = weight / weight.sum(-1, keepdims=True)
    return found


# --- nodes ------------------------------------------------------------------------------------------------------------


def _nodes(dice: _Dice, rows: int, width: int, label: Ints) -> tuple[Array, NDArray[np.bool_], Ints]:
    """All nodes, [t, n, width of all layers]; which of them are part of the table's model; and its last layer, [t]."""
    active = np.ceil(width ** (0.75 * dice.uniform("causes"))).astype(np.int64)
    causes = _causes(dice, rows, width) + _moved(dice, width, active, label)
    layers = [np.where(np.arange(width) < active[:, None, None], causes, 0.0)]
    depth = 1 + np.floor(LAYERS * dice.uniform("depth") ** 1.5).astype(np.int64)
    noise = dice.between("noise", 0.003, 0.3, LAYERS, 1)
    for layer in range(LAYERS):
        number = active if layer == 0 else np.full_like(active, width)
        bent = _layer(dice, layer, layers[-1], number)
        own = dice.uniform(f"{layer}, own noise", 1, width)
        layers.append(bent + noise[:, layer, None] * own * dice.normal(f"{layer}, noise", rows, width))
    place = np.arange(width * (LAYERS + 1))
    allowed = (place // width <= depth[:, None]) & ((place >= width) | (place < active[:, None]))
    return np.concatenate(layers, -1), allowed, depth


def _causes(dice: _Dice, rows: int, width: int) -> Array:
    """Independent causes: normal, uniform or in clusters."""
    u, normal = dice.uniform("kind of causes", 1, 1), dice.normal("causes", rows, width)
    flat = (dice.uniform("flat causes", rows, width) - 0.5) * np.sqrt(12)
    member = np.floor(4 * dice.uniform("members", rows)).astype(np.int64)
    centres = np.take_along_axis(dice.normal("centres", 4, width), member[..., None], 1)
    return np.select([u < 0.5, u < 0.75], [normal, flat], centres + 0.3 * normal)


def _moved(dice: _Dice, width: int, active: Ints, label: Ints) -> Array:
    """By how much the class moves each cause; 0 where it does not come first (-1)."""
    telling = dice.uniform("telling")
    told = (dice.uniform("told", 1, width) < telling[:, None, None]) | (np.arange(width) == 0)
    moves = dice.normal("moves", KINDS, width) * told
    far = dice.between("far", 1.0, 6.0) / np.sqrt(np.maximum(active * telling, 1.0))
    found: Array = far[:, None, None] * np.take_along_axis(moves, np.maximum(label, 0)[..., None], 1)
    return np.where(label[..., None] >= 0, found, 0.0)


def _layer(dice: _Dice, layer: int, below: Array, number: Ints) -> Array:
    """A layer's nodes before noise, of deviation 1 over the rows; `number` nodes below are not empty."""
    width = below.shape[-1]
    kept = 1 - 0.7 * dice.uniform(f"{layer}, sparse", 1, 1)
    weight = dice.normal(f"{layer}, weights", width, width) * (dice.uniform(f"{layer}, kept", width, width) < kept)
    weight /= np.sqrt(np.maximum(kept * number[:, None, None], 1.0))
    x = _scaled(below) @ weight + 0.5 * dice.normal(f"{layer}, bias", 1, width)
    kind = np.floor(len(_ACTIVATIONS) * dice.uniform(f"{layer}, activation")).astype(np.int64)
    bent = np.empty_like(x)
    for number_of_kind, function in enumerate(_ACTIVATIONS):
        bent[kind == number_of_kind] = function(x[kind == number_of_kind])
    return _scaled(bent)


_ACTIVATIONS: tuple[Callable[[Array], Array], ...] = (
    np.tanh,
    np.tanh,
    lambda x: x,
    lambda x: x,
    lambda x: x,
    lambda x: np.maximum(x, 0.0),
    np.abs,
    lambda x: np.sin(2 * x),
    lambda x: np.where(x > 0, 1.0, 0.2) * x,
)


def _scaled(x: Array) -> Array:
    """Of mean 0 and deviation 1 over the rows; constant nodes are 0."""
    apart = x - x.mean(1, keepdims=True)
    found: Array = apart / np.sqrt(np.square(apart).mean(1, keepdims=True) + TINY)
    return found


# --- classes ----------------------------------------------------------------------------------------------------------


def _told(dice: _Dice, nodes: Array, last: Ints, kinds: Ints, shares: Array) -> tuple[Ints, Ints]:
    """Classes told by nodes of the last layer, [t, n], and which nodes those are, [t, KINDS]."""
    width = nodes.shape[-1] // (LAYERS + 1)
    chosen = dice.uniform("which say", width).argsort(-1)[:, :KINDS]
    chosen = chosen + (last * width)[:, None]
    said = _scaled(np.take_along_axis(nodes, chosen[:, None], 2))
    unsure = np.where(dice.uniform("sure", 1, 1) < 0.35, 0.0, dice.between("unsure", 0.05, 0.7, 1, 1))
    said = said + unsure * dice.normal("doubt", *said.shape[1:])
    greatest = dice.uniform("greatest") < 0.4
    along = _cut(said[..., 0], kinds, shares)
    score = np.where(np.arange(KINDS) < kinds[:, None, None], said + np.log(shares + TINY)[:, None] / 2, -np.inf)
    which = np.where(greatest[:, None], score.argmax(-1), along)
    used = np.where(greatest[:, None] & (np.arange(KINDS) < kinds[:, None]), chosen, chosen[:, :1])
    return which, used


def _cut(score: Array, kinds: Ints, shares: Array) -> Ints:
    """The class of each row by the rank of its score, each of them at least once, [t, n]."""
    rows = score.shape[1]
    rank = score.argsort(1).argsort(1)
    ends = np.floor(shares.cumsum(-1) * (rows - kinds[:, None]) + TINY).astype(np.int64) + np.arange(1, KINDS + 1)
    found: Ints = np.minimum((rank[..., None] >= ends[:, None]).sum(-1), kinds[:, None] - 1)
    return found


def _merged(dice: _Dice, label: Ints, kinds: Ints, ways: int) -> Ints:
    """Classes of `ways`: so many of the finer ones in any order, and the others joined to any of them or to one."""
    u = dice.uniform("merged", KINDS)
    order = np.where(np.arange(KINDS) < kinds[:, None], u, 2.0).argsort(-1).argsort(-1)
    joined = np.floor(ways * dice.uniform("joined", KINDS)).astype(np.int64)
    against = dice.uniform("one against the rest", 1) < 0.7
    joined = np.where(against, ways - 1, joined)
    to = np.where(order < ways, order, joined)
    found: Ints = np.take_along_axis(to, label, 1)
    return found


def _faulty(dice: _Dice, y: Ints, ways: int) -> Ints:
    """Some labels drawn anew."""
    rate = np.maximum(0.0, 0.3 * dice.uniform("faulty", 1) - 0.2)
    other = np.floor(ways * dice.uniform("other labels", y.shape[1])).astype(np.int64)
    y = np.where(dice.uniform("faults", y.shape[1]) < rate, other, y)
    for way in range(ways):  # a class that lost all its rows gets one back
        counts = (y[..., None] == np.arange(ways)).sum(1)
        of_commonest = (y == counts.argmax(1)[:, None]).argmax(1)
        lost = np.flatnonzero(counts[:, way] == 0)
        y[lost, of_commonest[lost]] = way
    return y


def _one_of_each(y: Ints, ways: int) -> Ints:
    """An order of the rows that begins with the first of each class, [t, n]."""
    place = np.tile(np.arange(y.shape[1]), (len(y), 1))
    for way in range(ways):
        np.put_along_axis(place, (y == way).argmax(1)[:, None], way - ways, 1)
    return place.argsort(1)


# --- values -----------------------------------------------------------------------------------------------------------


def _valued(dice: _Dice, allowed: NDArray[np.bool_], last: Ints) -> Ints:
    """The node that says the value, [t]."""
    layer = np.arange(allowed.shape[1]) // (allowed.shape[1] // (LAYERS + 1))
    of_any = dice.uniform("value of any layer", 1) < 0.25
    asked = allowed & (of_any | (layer == last[:, None]))
    found: Ints = np.where(asked, dice.uniform("which value", allowed.shape[1]), 2.0).argmin(1)
    return found


def _of_columns(dice: _Dice, x: Array) -> Array:
    """A function of the columns as they are measured, [t, n, 1], some of which say more than others."""
    columns = x.shape[-1]
    matter = np.exp(1.5 * dice.normal("matter", columns, 1))
    weight = matter * dice.normal("across", columns, BENDS)
    along = np.arange(columns)[:, None] == np.floor(columns * dice.uniform("along", 1, BENDS))
    weight = np.where(dice.uniform("one by one", 1, 1) < 1 / 3, along, weight)
    weight /= np.sqrt(np.square(weight).sum(1, keepdims=True))
    said = np.clip(_scaled(x), -5, 5) @ weight + dice.normal("bends, bias", 1, BENDS)
    kind = np.floor(len(_ACTIVATIONS) * dice.uniform("bends, activation", 1, BENDS)).astype(np.int64)
    bent = np.select([kind == each for each in range(len(_ACTIVATIONS))], [bend(said) for bend in _ACTIVATIONS])
    number = np.ceil(BENDS ** dice.uniform("how many bends", 1, 1))
    share = dice.normal("bends, share", 1, BENDS) * (np.arange(BENDS) < number)
    return _scaled((_scaled(bent) * share).sum(-1, keepdims=True))


def _doubted(dice: _Dice, y: Array, spread: Array) -> Array:
    """Values with noise: as much of it everywhere, more of it where `spread` is high, or with heavy tails."""
    noise = dice.normal("doubt", *y.shape[1:])
    heavy = noise / np.sqrt(np.maximum(dice.uniform("tails of doubt", *y.shape[1:]), 0.02))
    u = dice.uniform("kind of doubt", 1, 1)
    noise = np.select([u < 0.6, u < 0.85], [noise, noise * np.exp(0.5 * np.clip(spread, -3, 3))], heavy)
    unsure = np.where(dice.uniform("sure", 1, 1) < 0.15, 0.0, dice.between("unsure", 0.03, 2.0, 1, 1))
    return _scaled(y + unsure * noise)


# --- columns ----------------------------------------------------------------------------------------------------------


def _columns(dice: _Dice, nodes: Array, allowed: NDArray[np.bool_], columns: int) -> Array:
    """Nodes that are columns, as they are measured, [t, n, c]."""
    rows = nodes.shape[1]
    chosen = np.where(allowed, dice.uniform("columns", nodes.shape[-1]), 2.0).argsort(-1)[:, :columns]
    x = _scaled(np.take_along_axis(nodes, chosen[:, None], 2))
    blurred = dice.uniform("blurred", 1, 1) < 0.5
    x = x + np.where(blurred, dice.between("blur", 0.03, 0.3, 1, 1), 0.0) * dice.normal("measured", rows, columns)
    idle = dice.uniform("idle", 1, columns) < 0.8 * dice.uniform("how many idle", 1, 1) ** 3
    x = np.where(idle, dice.normal("idle values", rows, columns), x)
    few = dice.uniform("few values", 1, columns) < np.clip(2 * dice.uniform("how many few", 1, 1) - 0.6, 0, 1)
    return np.where(few, _few(dice, x), _bent(dice, x))


def _few(dice: _Dice, x: Array) -> Array:
    """Columns of a few values: two, or up to eight, in order or in none."""
    rows, columns = x.shape[1:]
    number = np.where(dice.uniform("two", columns) < 0.6, 2, 3 + np.floor(6 * dice.uniform("levels", columns)))
    ends = np.where(np.arange(7) < number[..., None] - 1, 0.03 + 0.94 * dice.uniform("ends", columns, 7), 2.0)
    rank = x.argsort(1).argsort(1) / rows
    level = (rank[..., None] > ends[:, None]).sum(-1)
    mixed = dice.uniform("names", columns, 8).argsort(-1)
    names = np.where(dice.uniform("ordered", columns, 1) < 0.5, np.arange(8), mixed)
    found: Array = np.take_along_axis(names, level.transpose(0, 2, 1), -1).transpose(0, 2, 1).astype(np.float64)
    return found


def _bent(dice: _Dice, x: Array, of: str = "") -> Array:
    """Columns of many values, some of them skewed, with tails, in steps, or with a floor."""
    columns = x.shape[-1]
    u, by = dice.uniform(f"{of}bent", 1, columns), dice.uniform(f"{of}by how much", 1, columns)
    skewed = np.exp((0.3 + by) * np.clip(x, -6, 6))
    tails = np.sign(x) * np.abs(x) ** (1.3 + 1.5 * by)
    steps = np.round(x * (1 + 3 * by))
    floor = np.maximum(x, 2 * by - 1)
    return np.select([u < 0.55, u < 0.7, u < 0.8, u < 0.9], [x, skewed, tails, steps], floor)
