"""Tasks from a folder of images: whatever the file system, the same episodes; whatever is wrong, one clear error."""

from __future__ import annotations

import os
import shutil
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from quickstudy.core.settings import dump, load
from quickstudy.errors import DataError, SettingsError
from quickstudy.tasks import folder as module
from quickstudy.tasks.folder import Folder

SMALL = {"size": 16, "shots": 1, "queries": 2, "ways": 2}


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("QUICKSTUDY_CACHE", str(tmp_path_factory.mktemp("cache")))


def write(path: Path, shade: int, seed: int = 0) -> Path:
    """A dark image whose left half has the shade of its class, and whose right half is noise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 100, (16, 16), dtype=np.uint8)
    pixels[:, :8] = shade
    pixels[[0, -1]] = 0
    Image.fromarray(pixels).save(path)
    return path


def make(root: Path, classes: int = 10, each: int = 4, reverse: bool = False) -> Path:
    """Classes c00, c01, ... with shades 0, 10, 20, ..."""
    todo = [(c, i) for c in range(classes) for i in range(each)]
    for c, i in reversed(todo) if reverse else todo:
        write(root / f"c{c:02}" / f"{i}.png", 10 * c, seed=100 * c + i)
    return root


def test_episodes_hold_the_images_of_their_classes(tmp_path):
    tasks = Folder(path=make(tmp_path), **SMALL)
    for split in ("train", "val", "test"):
        source = tasks.source(split)
        assert source.item == (1, 16, 16)
        episodes = source.batch(range(20))
        names = np.array(source.class_names)[source.classes(range(20))]
        for part in episodes:
            shades = part.x[:, :, 0, 8, 3].numpy()
            expected = np.vectorize(lambda name: 10 * int(name[1:]))(names)
            label = part.y.int().argmax(-1).numpy()
            np.testing.assert_array_equal(shades, np.take_along_axis(expected, label, 1))


def test_splits_have_their_fractions_and_share_nothing(tmp_path):
    pools = Folder(path=make(tmp_path), **SMALL).pools()
    assert [pool.classes for pool in pools] == [6, 2, 2]
    assert sorted(name for pool in pools for name in pool.names) == [f"c{c:02}" for c in range(10)]
    pools = Folder(path=tmp_path, val_fraction=0.1, test_fraction=0.4, **SMALL).pools()
    assert [pool.classes for pool in pools] == [5, 1, 4]


def test_order_of_writing_and_place_do_not_matter(tmp_path):
    first = Folder(path=make(tmp_path / "a"), **SMALL).pools()
    second = Folder(path=make(tmp_path / "b" / "elsewhere", reverse=True), **SMALL).pools()
    assert [pool.fingerprint for pool in first] == [pool.fingerprint for pool in second]
    assert [pool.names for pool in first] == [pool.names for pool in second]


def test_the_spelling_of_accents_does_not_matter(tmp_path):
    made = []
    for form in ("NFC", "NFD"):
        root = make(tmp_path / form, classes=5)
        for i in range(4):
            write(root / unicodedata.normalize(form, "é") / f"{i}.png", 200, seed=i)
        made.append(Folder(path=root, **{**SMALL, "ways": 1}).pools())
    assert [pool.fingerprint for pool in made[0]] == [pool.fingerprint for pool in made[1]]
    assert any("é" in pool.names for pool in made[1])


def test_folders_named_after_splits_are_the_splits(tmp_path):
    made = make(tmp_path / "flat")
    for split, classes in {"train": (0, 1, 2), "val": (3, 4), "test": (5, 6, 7)}.items():
        for c in classes:
            shutil.copytree(made / f"c{c:02}", tmp_path / "split" / split / f"c{c:02}")
    pools = Folder(path=tmp_path / "split", **SMALL).pools()
    assert [pool.names for pool in pools] == [["c00", "c01", "c02"], ["c03", "c04"], ["c05", "c06", "c07"]]
    assert pools.test.x[pools.test.starts[1], 0, 8, 3] == 60
    shutil.rmtree(tmp_path / "split" / "val")
    with pytest.raises(DataError, match=r"val does not exist; expected a folder with one subfolder a class"):
        Folder(path=tmp_path / "split", **SMALL).pools()


def test_a_class_may_be_called_train(tmp_path):
    make(tmp_path, classes=5)
    for i in range(4):
        write(tmp_path / "train" / f"{i}.png", 200, seed=i)
    pools = Folder(path=tmp_path, **{**SMALL, "ways": 1}).pools()
    assert "train" in [name for pool in pools for name in pool.names]


def test_one_class_in_two_splits_is_refused(tmp_path):
    for split in ("train", "val", "test"):
        for c in range(2):
            for i in range(4):
                name = f"{split}{c}" if (split, c) != ("test", 1) else "train1"
                write(tmp_path / split / name / f"{i}.png", 50, seed=sum(map(ord, split)) + 10 * c + i)
    with pytest.raises(DataError, match="class 'train1' is in both train and test"):
        Folder(path=tmp_path, **SMALL).pools()


def test_a_copy_in_another_split_is_refused(tmp_path):
    for split in ("train", "val", "test"):
        for i in range(4):
            write(tmp_path / split / f"of {split}" / f"{i}.png", 50, seed=sum(map(ord, split)) + i)
    shutil.copy(tmp_path / "train" / "of train" / "2.png", tmp_path / "test" / "of test" / "1.png")
    with pytest.raises(DataError, match=r"test/1\.png \(test\) is a copy of .*train/2\.png \(train\)\. Remove one"):
        Folder(path=tmp_path, **{**SMALL, "ways": 1}).pools()


def test_colour_size_and_inversion(tmp_path):
    make(tmp_path)
    assert Folder(path=tmp_path, colour=True, **{**SMALL, "size": 20}).source().item == (3, 20, 20)
    plain, auto, turned = (Folder(path=tmp_path, invert=how, **SMALL).pools().train.x for how in (False, "auto", True))
    assert (plain == auto).all()
    assert (turned == 255 - plain).all()
    for file in tmp_path.rglob("*.png"):
        Image.fromarray(255 - np.asarray(Image.open(file))).save(file)
    assert (Folder(path=tmp_path, **SMALL).pools().train.x == plain).all()


def test_images_are_decoded_once_until_one_changes(tmp_path, monkeypatch):
    make(tmp_path)
    first = Folder(path=tmp_path, **SMALL).pools()
    assert Folder(path=tmp_path, **{**SMALL, "shots": 2}).pools() is first
    module._pools.cache_clear()  # as another process would find things
    monkeypatch.setattr(module, "decode", lambda *_: pytest.fail("read twice"))
    assert Folder(path=tmp_path, **SMALL).pools().train.fingerprint == first.train.fingerprint
    changed = write(tmp_path / "c00" / "0.png", 255, seed=9)
    os.utime(changed, ns=(0, 0))
    with pytest.raises(pytest.fail.Exception, match="read twice"):
        Folder(path=tmp_path, **SMALL).pools()


def test_too_few_images_are_noticed_before_reading(tmp_path, monkeypatch):
    make(tmp_path, each=3)
    (tmp_path / "c04" / "2.png").unlink()
    monkeypatch.setattr(module, "decode", lambda *_: pytest.fail("read"))
    with pytest.raises(
        DataError,
        match=r"class 'c04' of .* has 2 images, but 1 support \+ 2 query need 3\. .* min_examples=3",
    ):
        Folder(path=tmp_path, **SMALL).pools()
    with pytest.raises(DataError, match=r"but 2 support \+ 5 query need 7"):
        Folder(path=tmp_path, size=16, shots=(1, 2), queries=(2, 5)).pools()


def test_classes_with_too_few_images_can_be_left_out(tmp_path):
    make(tmp_path)
    (tmp_path / "c04" / "2.png").unlink()
    (tmp_path / "c04" / "3.png").unlink()
    tasks = Folder(path=tmp_path, min_examples=3, **{**SMALL, "ways": 1})
    names = [name for split in ("train", "val", "test") for name in tasks.source(split).class_names]
    assert sorted(names) == [f"c{c:02}" for c in range(10) if c != 4]


def test_bad_files_and_folders_are_named(tmp_path):
    make(tmp_path)
    whole = (tmp_path / "c03" / "1.png").read_bytes()
    (tmp_path / "c03" / "1.png").write_bytes(whole[:100])
    with pytest.raises(DataError, match=r"c03/1\.png cannot be read as an image"):
        Folder(path=tmp_path, **SMALL).pools()
    (tmp_path / "c03" / "1.png").write_bytes(whole)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"class 'empty' of .* has no images"):
        Folder(path=tmp_path, **SMALL).pools()
    with pytest.raises(DataError, match="gone does not exist"):
        Folder(path=tmp_path / "gone", **SMALL).pools()
    with pytest.raises(DataError, match=r"0\.png is a file; expected a folder"):
        Folder(path=tmp_path / "c00" / "0.png", **SMALL).pools()
    with pytest.raises(DataError, match=r"c00 has no subfolders \(4 loose images\)"):
        Folder(path=tmp_path / "c00", **SMALL).pools()


def test_an_image_that_may_not_be_read_is_named(tmp_path, monkeypatch):
    make(tmp_path)

    def refuse(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(DataError, match=r"0\.png cannot be read \(Permission denied\)"):
        Folder(path=tmp_path, **SMALL).pools()


def test_too_few_classes_for_three_splits(tmp_path):
    with pytest.raises(DataError, match="has 2 classes; train, val and test need some each"):
        Folder(path=make(tmp_path, classes=2), **SMALL).pools()


def test_settings_are_checked_and_round_trip(tmp_path, monkeypatch):
    with pytest.raises(SettingsError, match="leave no classes to train"):
        Folder(path=tmp_path, val_fraction=0.5, test_fraction=0.5)
    with pytest.raises(SettingsError, match="needs the setting 'path'"):
        Folder()
    with pytest.raises(SettingsError, match="write the lower number first"):
        Folder(path=tmp_path, shots=(5, 1))
    monkeypatch.chdir(tmp_path)
    chosen = Folder(path=Path("pictures"), colour=True)
    assert chosen.path == tmp_path / "pictures"
    assert load("tasks", dump(chosen)) == chosen
    assert load("tasks", {"name": "folder", "path": "pictures"}).path == tmp_path / "pictures"
