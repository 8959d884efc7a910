"""Training images are changed, as functions of their episode's number; what is asked of is never changed."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from quickstudy.core.settings import settings
from quickstudy.tasks.augment import augmented
from quickstudy.tasks.fewshot import ImageTasks
from quickstudy.tasks.pool import Pool
from quickstudy.tasks.splits import Splits

SIDE = 16
WORDS = np.random.default_rng(0).integers(0, 2**32, 400, dtype=np.uint64)


def numbered(count: int) -> np.ndarray:
    """Images whose every pixel says where it stands: row, column, and the number of the image."""
    rows, columns = np.indices((SIDE, SIDE))
    images = [np.stack([rows, columns, np.full_like(rows, number % 256)]) for number in range(count)]
    return np.stack(images).astype(np.uint8)


@settings
class Photographs(ImageTasks):
    """Three splits of numbered images."""

    def pools(self) -> Splits:
        def pool(name: str) -> Pool:
            labels = np.repeat(np.arange(6), 10)
            return Pool.from_arrays(numbered(60), labels, [f"{name}{k}" for k in range(6)], name=name)

        return Splits(pool("train"), pool("val"), pool("test"))


def test_none_leaves_every_image_as_it_is():
    assert np.array_equal(augmented(numbered(400), WORDS, "none"), numbered(400))


def test_half_of_the_images_are_mirrored():
    plain = numbered(400)
    changed = augmented(plain, WORDS, "flip")
    mirrored = (changed == plain[..., ::-1]).all((1, 2, 3))
    assert ((changed == plain).all((1, 2, 3)) ^ mirrored).all()
    assert 160 < mirrored.sum() < 240


def test_frames_move_by_an_eighth_at_most_and_evenly():
    changed = augmented(numbered(400), WORDS, "flip-crop")
    assert np.array_equal(changed[:, 2], numbered(400)[:, 2])  # each is still itself
    middle = changed[:, :2, SIDE // 2, SIDE // 2].astype(int)
    down = middle[:, 0] - SIDE // 2
    across = np.minimum(abs(middle[:, 1] - SIDE // 2), abs(middle[:, 1] - SIDE // 2 + 1))
    assert sorted(set(down)) == [-2, -1, 0, 1, 2]
    assert np.bincount(down + 2).min() > 50  # of 80
    assert across.max() == 2


def test_what_lay_outside_is_the_image_mirrored_at_its_edge():
    image = numbered(1)
    padded = np.pad(image, ((0, 0), (0, 0), (2, 2), (2, 2)), mode="reflect")
    crops = [padded[..., y : y + SIDE, x : x + SIDE] for y in range(5) for x in range(5)]
    allowed = {crop.tobytes() for crop in crops} | {crop[..., ::-1].tobytes() for crop in crops}
    found = {augmented(image, word[None], "flip-crop").tobytes() for word in WORDS}
    assert found == allowed


def test_affine_turns_stretches_and_moves_as_far_as_it_says():
    # Two slopes, of 8 a pixel, say where each pixel of the new image comes from; it is wider than high, so that turning
    # in halves of the frame would show.
    height, width = 24, 30
    rows, columns = np.indices((height, width))
    images = np.tile(np.stack([8 * rows, 8 * columns]).astype(np.uint8), (400, 1, 1, 1))
    from_rows, from_columns = augmented(images, WORDS, "affine").transpose(1, 0, 2, 3) / 8
    middle = (slice(8, 16), slice(10, 20))  # what came from within the frame, whatever the word
    at = np.stack([columns[middle] - (width - 1) / 2, rows[middle] - (height - 1) / 2, np.ones((8, 10))], axis=-1)
    centred = (from_columns - (width - 1) / 2, from_rows - (height - 1) / 2)
    across, down = (np.linalg.lstsq(at.reshape(-1, 3), f[:, *middle].reshape(400, -1).T)[0].T for f in centred)
    turns = np.stack([np.arctan2(-across[:, 1], across[:, 0]), np.arctan2(down[:, 0], down[:, 1])])
    assert turns[0] == pytest.approx(turns[1], abs=0.02)  # no shear
    sides = np.stack([np.hypot(*across[:, :2].T), np.hypot(*down[:, :2].T)])
    shifts = np.stack([across[:, 2] / width, down[:, 2] / height])
    for found, most in ((turns, np.pi / 16), (sides - 1, 0.1), (shifts, 0.1)):
        assert abs(found).max() == pytest.approx(most, rel=0.1)
        assert abs(found.mean(1)).max() < 0.1 * most
        assert found.std(1) == pytest.approx(most / np.sqrt(3), rel=0.1)  # even over the range
    parts = np.corrcoef(np.stack([turns[0], *sides, *shifts]))
    assert abs(parts - np.eye(5)).max() < 0.2  # each by bits of its own


@pytest.mark.parametrize("augment", ["flip", "flip-crop", "affine"])
def test_episodes_are_functions_of_their_numbers(augment: str):
    source = Photographs(ways=3, shots=2, queries=2, augment=augment).source("train")
    whole = source.batch(range(8))
    alone = source.batch([5])
    for one, many in zip(alone, whole, strict=True):
        assert torch.equal(one.x[0], many.x[5])
    again = Photographs(ways=3, shots=2, queries=2, augment=augment).source("train").batch(range(8))
    assert torch.equal(again.support.x, whole.support.x)


def test_it_changes_pixels_and_neither_classes_nor_examples():
    plain, changed = (
        Photographs(ways=3, shots=2, queries=2, augment=augment).source("train").batch(range(8))
        for augment in ("none", "flip-crop")
    )
    for before, after in zip(plain, changed, strict=True):
        assert torch.equal(before.y, after.y)
        assert torch.equal(before.x[:, :, 2], after.x[:, :, 2])  # the numbers of the images
        assert not torch.equal(before.x, after.x)


def test_more_shots_keep_the_changed_queries():
    few, many = (
        Photographs(ways=3, shots=shots, queries=2, augment="flip-crop").source("train").batch(range(4))
        for shots in (1, 3)
    )
    assert torch.equal(few.query.x, many.query.x)


@pytest.mark.parametrize("split", ["val", "test"])
def test_what_is_validated_and_tested_on_is_never_changed(split):
    plain, asked = (Photographs(augment=augment, queries=4) for augment in ("none", "flip-crop"))
    assert torch.equal(plain.source(split).batch([0]).support.x, asked.source(split).batch([0]).support.x)
    assert plain.source(split).fingerprint == asked.source(split).fingerprint
    assert torch.equal(plain.pool(split).batch([0]).query.x, asked.pool(split).batch([0]).query.x)


def test_flat_batches_are_changed_too():
    plain, changed = (Photographs(augment=augment, queries=4).pool("train") for augment in ("none", "flip-crop"))
    assert torch.equal(plain.batch([3]).query.y, changed.batch([3]).query.y)
    assert torch.equal(plain.batch([3]).query.x[:, :, 2], changed.batch([3]).query.x[:, :, 2])
    assert not torch.equal(plain.batch([3]).query.x, changed.batch([3]).query.x)
    assert plain.fingerprint != changed.fingerprint
