"""Tasks from arrays in a file: what is in them, how classes are dealt, and what is refused."""

import numpy as np
import pytest

from quickstudy.errors import DataError, SettingsError
from quickstudy.tasks.features import Features


def arrays(classes: int = 10, each: int = 6, item: tuple[int, ...] = (3,)) -> dict[str, np.ndarray]:
    """Examples that hold the number of their class, in a mixed order."""
    y = np.random.default_rng(0).permutation(np.arange(classes).repeat(each))
    return {"x": np.ones((len(y), *item), dtype=np.float32) * y.reshape(-1, *[1] * len(item)), "y": y}


def saved(folder, **changes) -> Features:
    path = folder / "features.npz"
    np.savez(path, **{name: array for name, array in (arrays() | changes).items() if array is not None})
    return Features(path=path, ways=2, shots=2, queries=3)


def test_examples_are_those_of_the_file(tmp_path):
    tasks = saved(tmp_path)
    source = tasks.source("test")
    assert source.item == (3,)
    episode = source.batch(range(4))
    kinds = source.classes(range(4))
    for part in episode:
        way = part.y.int().argmax(-1)
        told = [[float(source.class_names[kinds[t, w]]) for w in ways] for t, ways in enumerate(way.tolist())]
        assert part.x[..., 0].tolist() == told


def test_classes_are_dealt_by_name(tmp_path):
    tasks = saved(tmp_path)
    parts = {part: tasks.source(part).class_names for part in ("train", "val", "test")}
    assert {part: len(names) for part, names in parts.items()} == {"train": 6, "val": 2, "test": 2}
    assert sorted(name for names in parts.values() for name in names) == [str(kind) for kind in range(10)]
    order = np.random.default_rng(1).permutation(60)
    again = saved(tmp_path, x=arrays()["x"][order], y=arrays()["y"][order])
    assert {part: again.source(part).class_names for part in parts} == parts
    other = Features(path=tasks.path, ways=2, shots=2, queries=3, deal=1)
    assert {part: other.source(part).class_names for part in parts} != parts
    named = saved(tmp_path, y=np.array([f"{kind}" for kind in arrays()["y"]]))
    assert {part: named.source(part).class_names for part in parts} == parts


def test_the_file_may_say_what_is_for_what(tmp_path):
    split = np.array(["val", "test", "train", "train", "train"])[arrays()["y"] % 5]
    tasks = saved(tmp_path, split=split)
    assert tasks.source("val").class_names == ["0", "5"]
    assert tasks.source("test").class_names == ["1", "6"]
    assert tasks.source("train+val").class_names == ["2", "3", "4", "7", "8", "9", "0", "5"]


def test_a_file_that_changed_is_read_again(tmp_path):
    before = saved(tmp_path).source().fingerprint
    assert saved(tmp_path).source().fingerprint == before
    assert saved(tmp_path, x=arrays()["x"] + 1).source().fingerprint != before


def test_images_and_maps_are_items_too(tmp_path):
    tasks = saved(tmp_path, x=np.zeros((60, 2, 4, 4), dtype=np.uint8))
    assert tasks.source().item == (2, 4, 4)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"y": None}, "holds x; expected x .* and y"),
        ({"y": np.zeros(7, dtype=int)}, r"y has shape \(7,\) where x has \(60, 3\)"),
        ({"y": np.zeros((60, 2), dtype=int)}, r"y is int64 of shape \(60, 2\); expected one whole number or text"),
        ({"y": np.zeros(60)}, "y is float64"),
        ({"y": np.array([object()] * 60)}, "cannot be read as arrays"),
        ({"y": np.arange(60) % 2}, "has 2 classes; train, val and test need some each"),
        ({"split": np.array(["train"] * 60)}, "split gives no example to 'test'"),
        ({"split": np.array(["train", "dev"] * 30)}, "split holds 'dev'"),
        ({"split": np.array(["train", "val", "test"] * 20)}, r"class '\d' is in both train and val"),
        ({"x": np.full((60, 3), np.nan)}, "features/train: 6 of the 6 examples of class '.' hold NaN"),
    ],
    ids=lambda value: value.replace(" ", "_")[:20] if isinstance(value, str) else "",
)
def test_what_is_wrong_is_named(tmp_path, changes, message):
    with pytest.raises(DataError, match=message):
        saved(tmp_path, **changes).source()


def test_other_files_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"nowhere\.npz cannot be read"):
        Features(path=tmp_path / "nowhere.npz").source()
    (tmp_path / "text.npz").write_text("not an archive")
    with pytest.raises(DataError, match=r"text\.npz cannot be read as arrays"):
        Features(path=tmp_path / "text.npz").source()
    np.save(tmp_path / "one.npy", np.zeros((4, 2)))
    with pytest.raises(DataError, match=r"one\.npy cannot be read as arrays"):
        Features(path=tmp_path / "one.npy").source()
    with pytest.raises(SettingsError, match="leave no classes to train"):
        Features(path=tmp_path / "text.npz", val_fraction=0.5, test_fraction=0.5)
