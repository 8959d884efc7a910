"""The three splits of Omniglot are the published ones, and a damaged archive is named."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from helpers import data_folder
from quickstudy.core.settings import load
from quickstudy.errors import DataError, SettingsError
from quickstudy.tasks import omniglot
from quickstudy.tasks.omniglot import Omniglot
from quickstudy.tasks.pool import Pool
from quickstudy.tasks.splits import Splits, check_splits

ARCHIVES = ("omniglot/repacked/images_background.zip", "omniglot/repacked/images_evaluation.zip")


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Splits]]:
    """Splits by the name of the scheme, from the real archives by way of an empty cache."""
    data_folder(*ARCHIVES)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("QUICKSTUDY_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield lambda scheme: Omniglot(scheme=scheme).pools()


@pytest.mark.parametrize(
    ("scheme", "classes"),
    [("vinyals", (4112, 688, 1692)), ("background", (813, 151, 659)), ("random", (4400, 400, 1692))],
)
def test_every_scheme_has_its_published_size_and_no_leak(
    real: Callable[[str], Splits], scheme: str, classes: tuple[int, ...]
):
    splits = real(scheme)
    assert tuple(pool.classes for pool in splits) == classes
    assert all((pool.counts == 20).all() and pool.item == (1, 28, 28) for pool in splits)
    check_splits(splits, groups=scheme == "background", content=True)
    assert splits.train is real(scheme).train


def test_vinyals_classes_are_those_published_with_prototypical_networks(real: Callable[[str], Splits]):
    lists = data_folder("splits/protonet_splits.zip") / "splits/protonet_splits.zip"
    with zipfile.ZipFile(lists) as archive:
        for split, pool in real("vinyals")._asdict().items():
            listed = archive.read(f"data/omniglot/splits/vinyals/{split}.txt").decode().split()
            assert sorted(pool.names) == sorted(listed)


def test_alphabets_are_unseen_in_the_background_scheme(real: Callable[[str], Splits]):
    splits = real("background")
    groups = [set(pool.groups or []) for pool in splits]
    assert [len(each) for each in groups] == [25, 5, 20]
    assert groups[2] == set(omniglot.ALPHABETS["images_evaluation"])


def image(pool: Pool, name: str, number: int = 0) -> np.ndarray:
    return pool.x[pool.starts[pool.names.index(name)] + number, 0].numpy()


def test_images_are_the_drawings_with_bright_ink(real: Callable[[str], Splits]):
    folder = data_folder(*ARCHIVES)
    pool = real("background").test
    with zipfile.ZipFile(folder / ARCHIVES[1]) as archive:
        for name, number in (("Angelic/character01", 0), ("ULOG/character26", 19), ("Tibetan/character10", 7)):
            member = sorted(m for m in archive.namelist() if f"/{name}/" in m and m.endswith(".png"))[number]
            with Image.open(io.BytesIO(archive.read(member))) as drawing:
                ink = 1.0 - np.asarray(drawing, dtype=float)
            got = image(pool, name, number) / 255
            assert got.mean() == pytest.approx(ink.mean(), rel=0.08)  # ink is kept, not sampled
            # centre of mass, in fractions of the side
            for axis in (0, 1):
                at = [(np.arange(len(a)) + 0.5) / len(a) @ a.sum(1 - axis) / a.sum() for a in (got, ink)]
                assert at[0] == pytest.approx(at[1], abs=0.01)


def test_rotations_are_classes_in_vinyals_scheme(real: Callable[[str], Splits]):
    pool, plain = real("vinyals").test, real("background").test
    name = "Tengwar/character05"
    upright = Image.fromarray(image(plain, name, 3))
    turns = {"000": None, "090": "ROTATE_90", "180": "ROTATE_180", "270": "ROTATE_270"}
    for degrees, turn in turns.items():
        expected = upright if turn is None else upright.transpose(getattr(Image.Transpose, turn))
        assert np.array_equal(image(pool, f"{name}/rot{degrees}", 3), np.asarray(expected))


def test_rotations_are_chance_in_mamls_scheme(real: Callable[[str], Splits]):
    tasks = Omniglot(scheme="random", queries=1)
    for split in ("train", "val", "test"):
        source = tasks.source(split)  # type: ignore[arg-type]
        assert len(source.class_names) == {"train": 1100, "val": 100, "test": 423}[split]
        assert "/rot" not in source.class_names[0]
        pool = getattr(tasks.pools(), split)
        batch, classes = source.batch(range(60)), source.classes(range(60))
        seen = set()
        for task, way in np.ndindex(60, 5):
            name = source.class_names[classes[task, way]]
            x = batch.support.x[task, way, 0].numpy()
            turns = [
                turn
                for turn in range(4)
                if any(np.array_equal(x, image(pool, f"{name}/rot{90 * turn:03}", n)) for n in range(20))
            ]
            assert turns
            seen.add(turns[0])
        assert seen == {0, 1, 2, 3}
    assert tasks.pool("train").outputs == 1100


def test_the_cache_is_read_the_second_time(real: Callable[[str], Splits], monkeypatch: pytest.MonkeyPatch):
    first = real("background").test.fingerprint
    monkeypatch.setattr(omniglot, "_read", None)
    omniglot._pools.cache_clear()
    assert real("background").test.fingerprint == first


def test_the_random_draw_is_fixed():
    part = omniglot.PARTS["random"]()
    assert {name: int((part == name).sum()) for name in ("train", "val", "test")} == {
        "train": 1100,
        "val": 100,
        "test": 423,
    }
    assert [omniglot.NAMES[i] for i in np.flatnonzero(part == "val")[:3]] == [
        "Alphabet_of_the_Magi/character15",
        "Alphabet_of_the_Magi/character16",
        "Alphabet_of_the_Magi/character19",
    ]


def test_settings():
    assert load("tasks", {"name": "omniglot", "scheme": "random", "ways": 20}) == Omniglot(scheme="random", ways=20)
    with pytest.raises(SettingsError, match=r"Omniglot\.scheme: input should be 'vinyals', 'background' or 'random'"):
        Omniglot(scheme="lake")  # type: ignore[arg-type]


# Small archives of the same layout: two alphabets, three characters.


def png(ink: int = 0) -> bytes:
    drawing = Image.new("1", (105, 105), 1)
    drawing.paste(0, (20, 20, 40 + ink, 80))
    out = io.BytesIO()
    drawing.save(out, "PNG")
    return out.getvalue()


def archive(path: Path, alphabets: dict[str, int], leave_out: str = "", broken: dict[str, bytes] | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as made:
        made.writestr("__MACOSX/x/y/z.png", b"not an image")
        for alphabet, count in alphabets.items():
            for number in range(1, count + 1):
                for drawer in range(1, 21):
                    member = f"{path.stem}/{alphabet}/character{number:02}/{number:04}_{drawer:02}.png"
                    if member.endswith(leave_out or "\0"):
                        continue
                    made.writestr(member, (broken or {}).get(member, png(number + drawer)))


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder with small archives; `omniglot` is made to expect them."""
    tables = {"images_background": {"Long": 1, "Wide": 1}, "images_evaluation": {"Short": 1}}
    monkeypatch.setattr(omniglot, "ALPHABETS", tables)
    monkeypatch.setattr(omniglot, "NAMES", ["Long/character01", "Wide/character01", "Short/character01"])
    monkeypatch.setitem(omniglot.PARTS, "background", lambda: np.array(["train", "val", "test"]))
    monkeypatch.setenv("QUICKSTUDY_DATA", str(tmp_path))
    monkeypatch.setenv("QUICKSTUDY_CACHE", str(tmp_path / "cache"))
    for name, alphabets in tables.items():
        archive(tmp_path / "omniglot" / f"{name}.zip", alphabets)
    omniglot._pools.cache_clear()
    return tmp_path / "omniglot"


def pools() -> Splits:
    return Omniglot(scheme="background").pools()


def test_small_archives_are_read_in_the_order_of_drawers(small: Path):
    splits = pools()
    assert splits.val.names == ["Wide/character01"]
    ink = splits.val.x[splits.val.starts[0] :][:20].float().mean((1, 2, 3))
    assert (ink.diff() > 0).all()
    assert splits.train.x.amax() == 255
    assert splits.train.x.amin() == 0


def test_a_missing_archive(small: Path):
    (small / "images_evaluation.zip").unlink()
    with pytest.raises(
        DataError, match=r"there is no .*omniglot/images_evaluation\.zip\. Put the archive there, or unset"
    ):
        pools()


@pytest.mark.parametrize("keep", [0.9, 0.3, 0.0])
def test_a_truncated_archive(small: Path, keep: float):
    path = small / "images_background.zip"
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * keep)])
    with pytest.raises(DataError, match=r"images_background\.zip is not a whole zip archive .*cut short: delete it"):
        pools()


def test_a_missing_drawing(small: Path):
    archive(small / "images_background.zip", {"Long": 1, "Wide": 1}, leave_out="Wide/character01/0001_07.png")
    with pytest.raises(DataError, match=r"holds 19 drawings of Wide/character01; expected 20 .and 2 characters in all"):
        pools()


def test_a_missing_character(small: Path):
    archive(small / "images_background.zip", {"Long": 1})
    with pytest.raises(DataError, match="holds 0 drawings of Wide/character01"):
        pools()


@pytest.mark.parametrize(
    "content", [b"", b"no image", png()[:60], png()[:-30], png().replace(b"IDAT", b"IDAX"), png()[:41] + png()[42:]]
)
def test_an_unreadable_image(small: Path, content: bytes):
    member = "images_background/Long/character01/0001_03.png"
    archive(small / "images_background.zip", {"Long": 1, "Wide": 1}, broken={member: content})
    with pytest.raises(
        DataError, match=rf"images_background\.zip: {member} is not a readable image .*Fetch the archive"
    ):
        pools()


def test_a_flipped_byte_in_the_archive(small: Path):
    path = small / "images_background.zip"
    content = bytearray(path.read_bytes())
    content[content.index(b"0001_03.png") + 60] ^= 0xFF
    path.write_bytes(bytes(content))
    with pytest.raises(DataError, match=r"0001_03\.png is not a readable image"):
        pools()


def test_without_a_data_folder_archives_are_downloaded(small: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("QUICKSTUDY_DATA")
    asked = []

    def fetched(url: str, md5: str) -> Path:
        asked.append((url, md5))
        return small / url.rpartition("/")[2]

    monkeypatch.setattr(omniglot, "download", fetched)
    assert pools().test.classes == 1
    assert asked == [
        (f"https://raw.githubusercontent.com/brendenlake/omniglot/master/python/{name}", md5)
        for name, md5 in (
            ("images_background.zip", "68d2efa1b9178cc56df9314c21c6e718"),
            ("images_evaluation.zip", "6b91aef0f799c5bb55b94e3f2daec811"),
        )
    ]
