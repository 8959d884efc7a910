"""CIFAR-FS is read from either form, with Bertinetto's split, and damaged archives are named."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from helpers import data_folder
from quickstudy.errors import DataError
from quickstudy.tasks import cifar_fs
from quickstudy.tasks.cifar_fs import NAMES, SPLIT, CifarFS
from quickstudy.tasks.splits import Splits


@pytest.fixture(autouse=True)
def forget() -> Iterator[None]:
    cifar_fs._pools.cache_clear()
    yield
    cifar_fs._pools.cache_clear()


def test_the_split_is_the_published_one():
    assert [len(SPLIT[name]) for name in ("train", "val", "test")] == [64, 16, 20]
    assert len(set(NAMES)) == 100
    folder = data_folder("cifar_fs/cifar_fs_train_classes.json") / "cifar_fs"
    for split, names in SPLIT.items():
        assert sorted(json.loads((folder / f"cifar_fs_{split}_classes.json").read_text())) == sorted(names)


def test_the_real_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder = data_folder("cifar_fs/cifar_fs_open.npz") / "cifar_fs"
    monkeypatch.setenv("QUICKSTUDY_CACHE", str(tmp_path))
    splits = CifarFS().pools()
    assert [pool.classes for pool in splits] == [64, 16, 20]
    assert [set(pool.counts.tolist()) for pool in splits] == [{600}, {150}, {250}]
    with np.load(folder / "cifar_fs_open.npz") as archive:
        images, labels, names = archive["test_images"], archive["test_labels"], archive["class_names"].tolist()
    pool = splits.test
    for name in ("baby", "worm", "rocket"):
        at = pool.starts[pool.names.index(name)]
        wanted = images[labels == names.index(name)].transpose(0, 3, 1, 2)
        assert np.array_equal(pool.x[at : at + 250].numpy(), wanted)


# Small copies in both forms.


def few(each: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Images [n, 32, 32, 3] and labels of all 100 classes; the first pixel of an image repeats its label."""
    labels = np.random.default_rng(seed).permutation(np.repeat(np.arange(100), each))
    images = np.random.default_rng(seed).integers(0, 256, (len(labels), 32, 32, 3), dtype=np.uint8)
    images[:, 0, 0, 0] = labels
    return images, labels


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("QUICKSTUDY_DATA", str(tmp_path))
    monkeypatch.setenv("QUICKSTUDY_CACHE", str(tmp_path / "cache"))
    (tmp_path / "cifar_fs").mkdir()
    return tmp_path / "cifar_fs"


def right(splits: Splits, order: list[str]) -> bool:
    """Whether every image lies in the class that its first pixel names."""
    return all(
        (pool.x[start : start + count, 0, 0, 0] == order.index(name)).all()
        for pool in splits
        for name, start, count in zip(pool.names, pool.starts, pool.counts, strict=True)
    )


def test_archives_join_and_may_number_classes_as_they_like(folder: Path):
    order = NAMES[50:] + NAMES[:50]
    one, two = few(3), few(2, seed=1)
    np.savez(folder / "a.npz", train_images=one[0], train_labels=one[1], class_names=np.array(order))
    np.savez(folder / "b.npz", rest_images=two[0], rest_labels=two[1], class_names=np.array(order))
    splits = CifarFS(queries=2).pools()
    assert right(splits, order)
    assert set(splits.val.counts.tolist()) == {5}
    assert CifarFS(queries=2).source("test").batch([0]).query.x.shape == (1, 10, 3, 32, 32)


def binary(path: Path, counts: tuple[int, int] = (50_000, 10_000)) -> tuple[np.ndarray, np.ndarray]:
    """CIFAR-100's binary archive with blank images but for the first pixel; returns their labels by part."""
    labels = []
    with tarfile.open(path, "w:gz", compresslevel=1) as archive:
        for name, count in zip(("train", "test"), counts, strict=True):
            records = np.zeros((count, 2 + 3072), np.uint8)
            records[:, 1] = records[:, 2] = np.random.default_rng(count).permutation(np.arange(count) % 100)
            records[:, 0] = 77
            labels.append(records[:, 1])
            info = tarfile.TarInfo(f"cifar-100-binary/{name}.bin")
            info.size = records.size
            archive.addfile(info, io.BytesIO(records.tobytes()))
    return labels[0], labels[1]


def test_the_original_binary_archive(folder: Path):
    binary(folder / "cifar-100-binary.tar.gz")
    splits = CifarFS().pools()
    assert right(splits, NAMES)
    assert all((pool.counts == 600).all() and pool.item == (3, 32, 32) for pool in splits)


def test_pixels_of_the_binary_archive_are_channels_first(folder: Path, monkeypatch: pytest.MonkeyPatch):
    content = np.concatenate([[0, 5], np.arange(3072) % 251]).astype(np.uint8)
    monkeypatch.setattr(cifar_fs, "PARTS", (("train", 1), ("test", 1)))
    with tarfile.open(folder / "x.tar.gz", "w:gz") as archive:
        for name in ("train", "test"):
            info = tarfile.TarInfo(f"cifar-100-binary/{name}.bin")
            info.size = content.size
            archive.addfile(info, io.BytesIO(content.tobytes()))
    images, labels = cifar_fs._read_binary(folder / "x.tar.gz")
    assert labels.tolist() == [5, 5]
    assert images[0, 2, 3, 4] == (2 * 1024 + 3 * 32 + 4) % 251


def test_without_a_data_folder_the_original_is_downloaded(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("QUICKSTUDY_DATA")
    asked = []

    def fetched(url: str, md5: str) -> Path:
        asked.append((url, md5))
        binary(folder / "cifar-100-binary.tar.gz")
        return folder / "cifar-100-binary.tar.gz"

    monkeypatch.setattr(cifar_fs, "download", fetched)
    assert CifarFS().pools().train.classes == 64
    assert asked == [
        ("https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz", "03b5dce01913d631647c71ecec9e9cb8"),
    ]


def test_nothing_there(folder: Path):
    with pytest.raises(DataError, match=r"cifar_fs holds neither cifar-100-binary\.tar\.gz nor \.npz archives"):
        CifarFS().pools()


def test_an_archive_cut_short(folder: Path):
    path = folder / "cifar-100-binary.tar.gz"
    binary(path)
    path.write_bytes(path.read_bytes()[:-5000])
    with pytest.raises(DataError, match=r"cifar-100-binary\.tar\.gz is not a whole archive .*Delete it and fetch it"):
        CifarFS().pools()


def test_an_archive_of_another_length(folder: Path):
    binary(folder / "cifar-100-binary.tar.gz", (500, 100))
    with pytest.raises(DataError, match=r"train\.bin has 1537000 bytes; expected 153700000"):
        CifarFS().pools()


def test_an_archive_of_something_else(folder: Path):
    with tarfile.open(folder / "cifar-100-binary.tar.gz", "w:gz"):
        pass
    with pytest.raises(DataError, match=r"is not a whole archive .*train.bin.* not found"):
        CifarFS().pools()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"class_names": np.array(["cat", *NAMES[1:]])}, r"few\.npz: 'cat' is no class of CIFAR-100"),
        ({"train_images": np.zeros((300, 3, 32, 32), np.uint8)}, r"train_images is uint8 of shape \(300, 3, 32, 32\)"),
        ({"train_images": np.zeros((300, 32, 32, 3))}, "train_images is float64 of shape .*without scaling"),
        ({"train_labels": np.zeros(300, int)}, r"few\.npz in .*: no image of class 'aquarium_fish'"),
        ({"train_labels": np.full(300, 100)}, r"few\.npz cannot be read as CIFAR-FS .*out of bounds"),
        ({"train_labels": np.zeros(299, int)}, r"few\.npz: 300 train_images but 299 labels"),
        ({"train_labels": None}, r"few\.npz cannot be read as CIFAR-FS .*train_labels"),
    ],
)
def test_archives_that_cannot_be_used(folder: Path, change: dict[str, np.ndarray | None], message: str):
    images, labels = few(3)
    parts = {"train_images": images, "train_labels": labels, "class_names": np.array(NAMES)} | change
    np.savez(folder / "few.npz", **{name: part for name, part in parts.items() if part is not None})
    with pytest.raises(DataError, match=message):
        CifarFS().pools()


def test_a_truncated_npz(folder: Path):
    images, labels = few(3)
    path = folder / "few.npz"
    np.savez(path, train_images=images, train_labels=labels, class_names=np.array(NAMES))
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(DataError, match=r"few\.npz cannot be read as CIFAR-FS .*copy the archive again"):
        CifarFS().pools()
