"""Chance: the published generator, uniform draws, and numbers that depend on nothing but where they are used."""

import itertools
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from quickstudy.core import chance


def hexes(text):
    return [int(word, 16) for word in text.split()]


@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [
        ("0 0 0 0", "0 0", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        (" ".join(["ffffffff"] * 4), "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
    ],
)
def test_known_answers_of_philox(counter, key, expected):
    """The vectors published with Random123."""
    low, high = hexes(key)
    words = chance.philox(np.array(hexes(counter), dtype=np.uint64)[:, None], low | high << 32)
    assert words[:, 0].tolist() == hexes(expected)


def test_words_are_the_generator_at_the_stream_s_counter():
    key, index = 12345678901234567890, 7 + (9 << 32)
    by_hand = [chance.philox(np.array([[b], [0], [7], [9]], dtype=np.uint64), key)[:, 0] for b in (0, 1)]
    assert chance.words(key, [index], 6)[0].tolist() == np.concatenate(by_hand)[:6].tolist()


def test_long_streams_are_the_same_words():
    """However many counters are taken at a time."""
    long = chance.words(7, [2, 5], 4 * 20_001 + 3)
    assert long.shape == (2, 4 * 20_001 + 3)
    for block in (0, 8_191, 8_192, 16_384, 20_000):
        counter = np.array([[block], [0], [5], [0]], dtype=np.uint64)
        assert (long[1, 4 * block : 4 * block + 4] == chance.philox(counter, 7)[:, 0]).all()


@given(st.lists(st.integers(0, 2**63), min_size=1, max_size=8), st.integers(1, 9), st.randoms())
def test_grouping_and_order_change_nothing(indices, count, random):
    together = chance.words(5, indices, count)
    alone = np.concatenate([chance.words(5, [i], count) for i in indices])
    assert (together == alone).all()
    order = random.sample(range(len(indices)), len(indices))
    assert (chance.words(5, [indices[i] for i in order], count) == together[order]).all()
    assert (chance.words(5, indices, count + 3)[:, :count] == together).all()


def test_streams_and_keys_differ():
    drawn = np.concatenate([chance.words(key, range(50), 8) for key in (1, 2, 2**63)])
    assert len({tuple(row) for row in drawn}) == 150


def test_uniforms_are_uniform():
    u = chance.uniforms(3, range(1000), 100).ravel()
    assert 0 < u.min() < 1e-4
    assert 1 - 1e-4 < u.max() < 1
    counts = np.histogram(u, bins=100, range=(0, 1))[0]
    assert chi_square(counts) < 148.2  # the 99.9% point at 99 degrees of freedom


def test_normals_are_normal():
    z = chance.normals(4, range(1000), 101)
    assert z.shape == (1000, 101)
    flat = z.ravel()
    for power, moment, spread in ((1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)):
        assert abs((flat**power).mean() - moment) < 4 * np.sqrt(spread / flat.size)
    together = np.corrcoef(z[:, :50].ravel(), z[:, 51:101].ravel())[0, 1]
    assert abs(together) < 4 / np.sqrt(50_000)


def test_noise_is_normals_in_single_precision():
    noise = chance.noise(9, [3, 1], 5)
    assert noise.dtype == torch.float32
    assert np.allclose(noise.numpy(), chance.normals(9, [3, 1], 5), atol=1e-6)


def chi_square(counts):
    expected = counts.sum() / counts.size
    return float(((counts - expected) ** 2 / expected).sum())


def test_choose_is_uniform_over_ordered_samples():
    """All 60 ordered draws of 3 from 5 are equally likely."""
    drawn = chance.choose(chance.words(11, range(60_000), 3), 5)
    found = Counter(map(tuple, drawn.tolist()))
    assert set(found) == set(itertools.permutations(range(5), 3))
    assert chi_square(np.array(list(found.values()))) < 98.3  # the 99.9% point at 59 degrees of freedom


@given(st.integers(1, 12), st.integers(0, 30), st.integers(0, 1000))
def test_choose_never_repeats(count, more, stream):
    size = count + more
    drawn = chance.choose(chance.words(1, [stream], count), size)[0]
    assert len(set(drawn.tolist())) == count
    assert drawn.min() >= 0
    assert drawn.max() < size


def test_choose_takes_sizes_one_by_one():
    sizes = np.array([[3, 4], [5, 100]])
    words = chance.words(2, range(4), 3).reshape(2, 2, 3)
    drawn = chance.choose(words, sizes)
    for i, j in itertools.product(range(2), range(2)):
        assert drawn[i, j].tolist() == chance.choose(words[i, j], int(sizes[i, j])).tolist()
    assert (drawn < sizes[..., None]).all()


def test_choosing_all_is_a_permutation():
    drawn = chance.choose(chance.words(6, range(100), 10), 10)
    assert (np.sort(drawn, axis=1) == np.arange(10)).all()


def test_keys_and_fingerprints_name_their_parts():
    assert chance.key("omniglot", "train", 0) == int(chance.fingerprint("omniglot", "train", 0), 16)
    assert chance.fingerprint({"b": 1, "a": [2, None]}) == chance.fingerprint({"a": [2, None], "b": 1})
    assert chance.fingerprint("a", "b") != chance.fingerprint("ab")
    # A value that must never change: every record and every test set hangs on it.
    assert chance.fingerprint("omniglot", "train", 0) == "8ab52e168279a881"
    assert len({chance.key("x", i) for i in range(1000)}) == 1000
