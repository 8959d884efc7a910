"""Counter-based chance: random numbers that are a function of where they are used, not of what was drawn before.

`words(key, index, count)` gives the same words for the same (key, index) in any order, grouping or process.
Everything random in quickstudy (which classes an episode holds, the noise an `adapt` is given) is drawn this way, one
stream a task. The generator is Philox 4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3"),
vectorised in numpy.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from quickstudy.core.shapes import Float, Tensor

__all__ = ["choose", "fingerprint", "key", "noise", "normals", "philox", "uniforms", "words"]

_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)
_MULTIPLIERS = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_WEYL = 0x9E3779B9, 0xBB67AE85
_BLOCK = 8192  # counters at a time: as many as a processor keeps at hand


def fingerprint(*parts: Any) -> str:
    """A short hash (16 hex digits) of anything JSON can hold; equal parts, equal hash, on every machine."""
    text = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def key(*parts: Any) -> int:
    """A 64-bit key for a stream, from anything JSON can hold: `key("omniglot", "train", seed)`."""
    return int(fingerprint(*parts), 16)


def philox(counter: NDArray[np.uint64], key: int) -> NDArray[np.uint64]:
    """The 4x32-10 block function: counters [4, m] of 32-bit words (in uint64) to random words [4, m]."""
    drawn = counter.copy()
    for start in range(0, counter.shape[1], _BLOCK):
        _rounds(drawn[:, start : start + _BLOCK], key)
    return drawn


def _rounds(counter: NDArray[np.uint64], key: int) -> None:
    """The ten rounds, in place: with a new array for each operation they take three times as long."""
    c0, c1, c2, c3 = counter
    p0, p1 = np.empty_like(c0), np.empty_like(c2)
    k0, k1 = key & 0xFFFFFFFF, key >> 32
    for _ in range(10):
        np.multiply(c0, _MULTIPLIERS[0], out=p0)
        np.multiply(c2, _MULTIPLIERS[1], out=p1)
        np.right_shift(p1, _HALF, out=c0)
        c0 ^= c1
        c0 ^= np.uint64(k0)
        np.bitwise_and(p1, _LOW, out=c1)
        np.right_shift(p0, _HALF, out=c2)
        c2 ^= c3
        c2 ^= np.uint64(k1)
        np.bitwise_and(p0, _LOW, out=c3)
        k0, k1 = (k0 + _WEYL[0]) & 0xFFFFFFFF, (k1 + _WEYL[1]) & 0xFFFFFFFF


def words(key: int, index: Sequence[int] | NDArray[Any], count: int) -> NDArray[np.uint64]:
    """`count` random 32-bit words (in uint64) for each of the streams `index`: an array [len(index), count]."""
    at = np.asarray(index, dtype=np.uint64)
    blocks = -(-count // 4)
    counter = np.empty((4, len(at), blocks), dtype=np.uint64)
    counter[0] = np.arange(blocks, dtype=np.uint64)
    counter[1] = 0
    counter[2] = (at & _LOW)[:, None]
    counter[3] = (at >> _HALF)[:, None]
    drawn = philox(counter.reshape(4, -1), key).reshape(4, len(at), blocks)
    return np.ascontiguousarray(drawn.transpose(1, 2, 0)).reshape(len(at), -1)[:, :count]


def uniforms(key: int, index: Sequence[int] | NDArray[Any], count: int) -> NDArray[np.float64]:
    """`count` numbers in the open interval (0, 1), with 32 bits each, for each stream: [len(index), count]."""
    return (words(key, index, count).astype(np.float64) + 0.5) * 2.0**-32


def normals(key: int, index: Sequence[int] | NDArray[Any], count: int) -> NDArray[np.float64]:
    """`count` standard normal numbers for each stream, by Box and Muller: [len(index), count]."""
    half = -(-count // 2)
    u = uniforms(key, index, 2 * half)
    radius, angle = np.sqrt(-2 * np.log(u[:, :half])), 2 * np.pi * u[:, half:]
    return np.concatenate([radius * np.cos(angle), radius * np.sin(angle)], axis=1)[:, :count]


def choose(random_words: NDArray[np.uint64], sizes: NDArray[Any] | int) -> NDArray[np.int64]:
    """Draw without replacement, many draws at once, exactly uniform over ordered samples (to 2⁻³² a word).

    Args:
        random_words: [..., count] 32-bit words.
        sizes: how many things each draw is from, broadcastable to [...]; at least `count` each.

    Returns:
        [..., count] distinct integers below the sizes, in the order drawn.
    """
    count = random_words.shape[-1]
    sizes = np.broadcast_to(np.asarray(sizes, dtype=np.int64), random_words.shape[:-1])
    drawn = np.empty(random_words.shape, dtype=np.int64)
    ordered: list[NDArray[np.int64]] = []  # what is taken so far, in rising order, an array for each rank
    for j in range(count):
        left = (sizes - j).astype(np.uint64)
        rank = ((random_words[..., j] * left) >> _HALF).astype(np.int64)
        for taken in ordered:  # the rank-th of what is left: step over everything taken at or below it
            rank += rank >= taken
        drawn[..., j] = rank
        carry = rank
        for place, taken in enumerate(ordered):
            ordered[place], carry = np.minimum(taken, carry), np.maximum(taken, carry)
        ordered.append(carry)
    return drawn


def noise(key: int, index: Sequence[int] | NDArray[Any], size: int) -> Float[Tensor, "t size"]:
    """Standard normal noise for the tasks `index`, as `adapt` of a method with `noise_size` takes it."""
    return torch.from_numpy(normals(key, index, size).astype(np.float32))
