"""Training images are mirrored and moved, as functions of their episode's number; what is asked of is never changed."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from quickstudy.core.settings import settings
from quickstudy.tasks.augment import augmented
from quickstudy.tasks.fewshot import PhotographTasks
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
class Photographs(PhotographTasks):
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


@pytest.mark.parametrize("augment", ["flip", "flip-crop"])
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
