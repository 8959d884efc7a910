"""The embedded characters: whole, distinct, of unseen scripts in the test, and hard enough to be worth learning."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter

from quickstudy.core.settings import dump, load
from quickstudy.errors import DataError
from quickstudy.tasks import glyphs
from quickstudy.tasks.glyphs import DRAWINGS, SCRIPTS, SIDE, Glyphs, render
from quickstudy.tasks.splits import Splits, check_splits


@pytest.fixture(scope="module")
def rendered():
    return render()


@pytest.fixture(scope="module")
def splits(rendered, tmp_path_factory) -> Splits:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("QUICKSTUDY_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setattr(glyphs, "render", lambda: rendered)
        return glyphs._pools.__wrapped__()


def test_there_are_enough_characters_of_every_script(rendered):
    characters, drawings = rendered
    assert drawings.shape == (len(characters), DRAWINGS, 1, SIDE, SIDE)
    assert drawings.dtype == np.uint8
    count = {split: sum(c.split == split for c in characters) for split in SCRIPTS}
    assert count["train"] >= 500
    assert count["val"] >= 50
    assert count["test"] >= 150
    assert {c.script for c in characters} == {script for scripts in SCRIPTS.values() for script in scripts}


def test_no_drawing_is_blank_or_boxed(rendered):
    characters, drawings = rendered
    ink = drawings.reshape(len(characters), DRAWINGS, -1)
    assert ink.max(-1).min() > 100
    assert ink.mean(-1).min() > 255 * 0.005
    assert ink.mean(-1).max() < 255 * 0.6
    # a face without a character would draw its box for all of them alike; all drawings differ
    assert len(np.unique(ink.reshape(-1, SIDE * SIDE), axis=0)) == len(characters) * DRAWINGS


def test_faces_without_a_character_are_skipped():
    found = [c for c in glyphs._candidates(glyphs._fonts()) if chr(c.code) in "Aߊ"]  # Latin A, N'Ko A
    _, starts = glyphs._masters(found, glyphs._fonts())
    assert np.diff(starts).tolist() == [12, 2]


def test_letters_of_one_shape_are_kept_once(rendered):
    names = {c.name for c in rendered[0]}
    assert "Latin capital letter a" in names
    assert not names & {"Greek capital letter alpha", "Cyrillic capital letter a", "Latin small letter o"}
    # unseen scripts must not smuggle in shapes that were trained on
    assert not names & {"Armenian capital letter oh", "Armenian small letter oh", "Tifinagh letter yar"}
    assert "Georgian letter ban" in names


def test_plain_shapes_differ_within_and_across_splits(rendered):
    characters, _ = rendered
    masters, starts = glyphs._masters(characters, glyphs._fonts())
    plain = [Image.fromarray(m).filter(ImageFilter.GaussianBlur(2)).resize((SIDE, SIDE)) for m in masters[starts[:-1]]]
    flat = np.stack([np.asarray(image, dtype=np.float64).reshape(-1) for image in plain])
    flat /= np.linalg.norm(flat, axis=1, keepdims=True)
    closeness = flat @ flat.T - np.eye(len(flat))
    assert closeness.max() < 0.98  # another blur than the one that chose them, hence the slack


def test_splits_share_nothing(splits):
    assert check_splits(splits, groups=True, content=True) is splits
    assert splits.test.groups is not None
    assert set(splits.test.groups) == {"Georgian", "Hebrew", "Lao", "Nko", "Tifinagh"}
    assert splits.train.item == (1, SIDE, SIDE)


def test_a_drawing_depends_on_its_character_and_number_alone(rendered):
    characters, drawings = rendered
    some = [5, 400, len(characters) - 1]
    found = [characters[i] for i in some]
    masters, starts = glyphs._masters(found, glyphs._fonts())
    source = starts[:-1][:, None] + np.arange(DRAWINGS) % np.diff(starts)[:, None]
    again = glyphs._draw(masters, source, np.array([c.code for c in found]))
    np.testing.assert_array_equal(again, drawings[some])


def test_rows_of_a_pool_are_the_drawings_of_its_characters(rendered, splits):
    characters, drawings = rendered
    of = {c.name: i for i, c in enumerate(characters)}
    for pool in splits:
        for at in (0, pool.classes // 2, pool.classes - 1):
            rows = pool.x[pool.starts[at] : pool.starts[at] + pool.counts[at]]
            np.testing.assert_array_equal(rows.numpy(), drawings[of[pool.names[at]]])


def test_drawings_are_read_from_the_cache(rendered, tmp_path, monkeypatch):
    monkeypatch.setenv("QUICKSTUDY_CACHE", str(tmp_path))
    monkeypatch.setattr(glyphs, "render", lambda: rendered)
    first = glyphs._pools.__wrapped__()
    monkeypatch.setattr(glyphs, "render", lambda: pytest.fail("rendered twice"))
    second = glyphs._pools.__wrapped__()
    assert [pool.fingerprint for pool in first] == [pool.fingerprint for pool in second]
    monkeypatch.setattr(glyphs, "_recipe", lambda: "another recipe")
    with pytest.raises(pytest.fail.Exception, match="rendered twice"):
        glyphs._pools.__wrapped__()


def test_missing_fonts_are_named(tmp_path, monkeypatch):
    monkeypatch.setattr(glyphs, "_fonts", lambda: tmp_path)
    with pytest.raises(DataError, match=r"DejaVuSans\.ttf is not there\. Install matplotlib again"):
        render()


PLAIN = np.full((1, 7), 0.5)  # no turn, shear or shift; the middle of the scales is 1
FLAT = np.zeros((1, 2, glyphs._WAVES**2 - 1))


def a_master() -> np.ndarray:
    found = [c for c in glyphs._candidates(glyphs._fonts()) if chr(c.code) == "R"]
    return glyphs._masters(found, glyphs._fonts())[0][:1]


def test_without_distortion_a_drawing_is_its_master_at_half_size():
    master = a_master()
    drawn = glyphs._sample(master.astype(np.int32), glyphs._places(PLAIN, FLAT))
    halved = master.reshape(1, SIDE, 2, SIDE, 2).mean((2, 4))
    assert np.abs(drawn - halved).max() <= 0.5


def test_rotation_scale_and_shift_agree_with_pillow():
    master = a_master()
    pose = PLAIN.copy()
    pose[0, [0, 2, 3, 4, 5]] = 1, 0, 0, 1, 0.5  # 10 degrees, 0.85 times as large, 1.25 pixels to the right
    drawn = glyphs._sample(master.astype(np.int32), glyphs._places(pose, FLAT))[0]
    big = Image.fromarray(master[0]).rotate(-np.rad2deg(glyphs._ROTATION), Image.Resampling.BICUBIC)
    small = round(glyphs._MASTER * glyphs._SCALE[0])
    middle = (glyphs._MASTER - small) / 2
    sheet = Image.new("L", big.size)
    sheet.paste(big.resize((small, small), Image.Resampling.BICUBIC), (round(middle + 2.5), round(middle)))
    expected = np.asarray(sheet.resize((SIDE, SIDE), Image.Resampling.BOX), dtype=np.float64)
    agreement = np.corrcoef(drawn.reshape(-1), expected.reshape(-1))[0, 1]
    assert agreement > 0.95
    for wrong in (0, 2, 3, 4, 5):  # the check sees each of the changes
        other = pose.copy()
        other[0, wrong] = 1 - pose[0, wrong]
        if wrong == 5:
            other[0, wrong] = 1
        drawn = glyphs._sample(master.astype(np.int32), glyphs._places(other, FLAT))[0]
        assert np.corrcoef(drawn.reshape(-1), expected.reshape(-1))[0, 1] < agreement - 0.03


def test_sampling_is_bilinear():
    rng = np.random.default_rng(0)
    side = glyphs._MASTER
    images = np.zeros((2, side, side), dtype=np.int32)
    images[:, 2:-2, 2:-2] = rng.integers(0, 256, (2, side - 4, side - 4))
    places = rng.integers(-3 * 256, (side + 2) * 256, (2, 2, SIDE, SIDE))
    drawn = glyphs._sample(images, places)
    padded = np.pad(images, ((0, 0), (8, 8), (8, 8))).astype(np.float64)
    for n, row, column in np.ndindex(drawn.shape):
        x, y = places[n, :, row, column] / 256 + 8
        i, j, fx, fy = int(y), int(x), x % 1, y % 1
        corner = padded[n, i : i + 2, j : j + 2]
        assert drawn[n, row, column] == pytest.approx([1 - fy, fy] @ corner @ [1 - fx, fx], abs=0.51)


def test_strokes_thicken_and_thin_as_pillow_dilates_and_erodes():
    master = a_master()
    image = Image.fromarray(master[0])
    np.testing.assert_array_equal(glyphs._thicken(master, np.array([0.0]))[0], master[0])
    np.testing.assert_array_equal(glyphs._thicken(master, np.array([1.0]))[0], image.filter(ImageFilter.MaxFilter(3)))
    np.testing.assert_array_equal(glyphs._thicken(master, np.array([-1.0]))[0], image.filter(ImageFilter.MinFilter(3)))


def test_bending_is_smooth_and_small():
    normals = np.random.default_rng(0).normal(size=(200, 2, glyphs._WAVES**2 - 1))
    bent = glyphs._bend(normals)
    assert 0.3 < bent.std() < 1.5  # pixels
    assert np.abs(np.diff(bent, axis=-1)).max() < 0.9  # the sheet never folds over
    assert np.abs(bent.mean((-1, -2))).max() < 1e-9  # and does not move as a whole


def test_raw_pixels_are_well_above_chance_and_well_below_what_can_be_learned(splits, monkeypatch):
    monkeypatch.setattr(glyphs, "_pools", lambda: splits)
    source = Glyphs().source("test", seed=3)
    episodes = source.batch(range(150))
    support, query = (part.x.flatten(2).float() / 255 for part in (episodes.support, episodes.query))
    nearest = torch.cdist(query, support).argmin(-1)  # one support a class
    truth = (episodes.query.y.float() @ episodes.support.y.float().transpose(1, 2)).argmax(-1)
    accuracy = (nearest == truth).float().mean().item()
    assert 0.58 < accuracy < 0.74


def test_settings_round_trip():
    chosen = Glyphs(ways=20, shots=(1, 5))
    assert dump(chosen)["name"] == "glyphs"
    assert load("tasks", dump(chosen)) == chosen
