"""Omniglot: 1,623 handwritten characters of 50 alphabets, each drawn by 20 people (Lake et al. 2015)."""

from __future__ import annotations

import functools
import hashlib
import io
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from quickstudy.core import chance
from quickstudy.core.settings import settings
from quickstudy.errors import DataError
from quickstudy.tasks.cache import cached_array, data_folder
from quickstudy.tasks.download import download
from quickstudy.tasks.fewshot import ImageTasks
from quickstudy.tasks.pool import Pool
from quickstudy.tasks.splits import Splits, check_splits

__all__ = ["Omniglot"]

URL = "https://raw.githubusercontent.com/brendenlake/omniglot/master/python/"
PUBLISHED_MD5 = {
    "images_background.zip": "68d2efa1b9178cc56df9314c21c6e718",
    "images_evaluation.zip": "6b91aef0f799c5bb55b94e3f2daec811",
}
DRAWERS = 20
SIDE = 28
TURNS = 4

# The alphabets of each archive and how many characters each has.
ALPHABETS: dict[str, dict[str, int]] = {
    "images_background": {
        "Alphabet_of_the_Magi": 20,
        "Anglo-Saxon_Futhorc": 29,
        "Arcadian": 26,
        "Armenian": 41,
        "Asomtavruli_(Georgian)": 40,
        "Balinese": 24,
        "Bengali": 46,
        "Blackfoot_(Canadian_Aboriginal_Syllabics)": 14,
        "Braille": 26,
        "Burmese_(Myanmar)": 34,
        "Cyrillic": 33,
        "Early_Aramaic": 22,
        "Futurama": 26,
        "Grantha": 43,
        "Greek": 24,
        "Gujarati": 48,
        "Hebrew": 22,
        "Inuktitut_(Canadian_Aboriginal_Syllabics)": 16,
        "Japanese_(hiragana)": 52,
        "Japanese_(katakana)": 47,
        "Korean": 40,
        "Latin": 26,
        "Malay_(Jawi_-_Arabic)": 40,
        "Mkhedruli_(Georgian)": 41,
        "N_Ko": 33,
        "Ojibwe_(Canadian_Aboriginal_Syllabics)": 14,
        "Sanskrit": 42,
        "Syriac_(Estrangelo)": 23,
        "Tagalog": 17,
        "Tifinagh": 55,
    },
    "images_evaluation": {
        "Angelic": 20,
        "Atemayar_Qelisayer": 26,
        "Atlantean": 26,
        "Aurek-Besh": 26,
        "Avesta": 26,
        "Ge_ez": 26,
        "Glagolitic": 45,
        "Gurmukhi": 45,
        "Kannada": 41,
        "Keble": 26,
        "Malayalam": 47,
        "Manipuri": 40,
        "Mongolian": 30,
        "Old_Church_Slavonic_(Cyrillic)": 45,
        "Oriya": 46,
        "Sylheti": 28,
        "Syriac_(Serto)": 23,
        "Tengwar": 25,
        "Tibetan": 42,
        "ULOG": 26,
    },
}

# Vinyals et al. (2016), as published with prototypical networks (Snell et al. 2017, MIT licence): what is not named
# here is for training. "Gurmukhi" is cut in two: its last four characters complete the 423 of the test.
VINYALS_VAL = ("Armenian", "Bengali", "Early_Aramaic", "Hebrew", "Mkhedruli_(Georgian)")
VINYALS_TEST = (
    *("Kannada", "Keble", "Malayalam", "Manipuri", "Mongolian", "Old_Church_Slavonic_(Cyrillic)", "Oriya", "Sylheti"),
    *("Syriac_(Serto)", "Tengwar", "Tibetan", "ULOG"),
    *(f"Gurmukhi/character{number}" for number in (42, 43, 44, 45)),
)

# Lake et al. publish no validation alphabets: these are the last five of the background set.
BACKGROUND_VAL = (
    *("Ojibwe_(Canadian_Aboriginal_Syllabics)", "Sanskrit", "Syriac_(Estrangelo)", "Tagalog", "Tifinagh"),
)


@settings
class Omniglot(ImageTasks):
    """Handwritten characters of 50 alphabets, 20 drawings each (Lake et al. 2015), 28 by 28.

    Three splits are in use, and results on one say nothing of another:

    - `vinyals` (Vinyals et al. 2016, prototypical networks): 1,028 / 172 / 423 characters, each turned by 0, 90, 180
      and 270 degrees to make 4,112 / 688 / 1,692 classes;
    - `background` (Lake et al. 2015): trained on the background alphabets and tested on the 20 evaluation alphabets,
      659 unseen characters of unseen alphabets, no rotations. Validation takes the last five background alphabets
      (Ojibwe to Tifinagh, 151 characters), which leaves 813 to train on;
    - `random` (MAML, Finn et al. 2017): 1,100 / 100 / 423 characters drawn at random, whatever their alphabet. In each
      episode, tests included, every class is turned by a random multiple of 90 degrees. The paper's own draw was not
      published; this one is fixed.

    Read from `QUICKSTUDY_DATA` (`omniglot/images_background.zip` and `images_evaluation.zip`, there or in
    `omniglot/repacked`), or downloaded (14 MB). Images are antialiased to 28 by 28 once, with ink 255 on 0, and kept in
    the cache folder.

    Raises:
        DataError: an archive that is missing, cut short, or lacks a character or drawing (naming it).
    """

    scheme: Literal["vinyals", "background", "random"] = "vinyals"
    """Which published split: "vinyals", "background" (unseen alphabets) or "random" (MAML's)."""

    def pools(self) -> Splits:
        return _pools(self.scheme, _archives())

    @property
    def _variants(self) -> int:
        return TURNS if self.scheme == "random" else 1


def _archives() -> tuple[Path, ...]:
    root = data_folder()
    if root is None:
        return tuple(download(URL + name, md5) for name, md5 in PUBLISHED_MD5.items())
    return tuple(_find(root / "omniglot", name) for name in PUBLISHED_MD5)


def _find(folder: Path, name: str) -> Path:
    for path in (folder / name, folder / "repacked" / name):
        if path.exists():
            return path
    raise DataError(
        f"QUICKSTUDY_DATA is set, but there is no {folder / name}. Put the archive there, or unset QUICKSTUDY_DATA to "
        "download it."
    )


@functools.cache
def _pools(scheme: str, archives: tuple[Path, ...]) -> Splits:
    hashes = [hashlib.sha256(path.read_bytes()).hexdigest() for path in archives]
    kind = chance.fingerprint(hashes, SIDE, "lanczos", TURNS)
    x = cached_array(f"omniglot-{kind}", lambda: turned(np.concatenate([_read(path) for path in archives])))
    characters = np.arange(len(NAMES))
    part = PARTS[scheme]()
    turns = 1 if scheme == "background" else TURNS

    def pool(split: str) -> Pool:
        chosen = characters[part == split]
        classes = (chosen[:, None] + len(NAMES) * np.arange(turns)).reshape(-1)
        names = [NAMES[c] if turns == 1 else f"{NAMES[c]}/rot{90 * r:03}" for c in chosen for r in range(turns)]
        groups = [name.partition("/")[0] for name in names]
        counts = np.full(len(classes), DRAWERS)
        return Pool(x, classes * DRAWERS, counts, names, groups=groups, name=f"omniglot/{scheme}/{split}")

    return check_splits(Splits(pool("train"), pool("val"), pool("test")), groups=scheme == "background", content=False)


NAMES = [
    f"{alphabet}/character{number:02}"
    for alphabets in ALPHABETS.values()
    for alphabet, count in alphabets.items()
    for number in range(1, count + 1)
]


def _named(prefixes: Iterable[str]) -> NDArray[np.bool_]:
    wanted = set(prefixes)
    return np.array([name in wanted or name.partition("/")[0] in wanted for name in NAMES])


def _parts(val: NDArray[np.bool_], test: NDArray[np.bool_]) -> NDArray[Any]:
    return np.where(test, "test", np.where(val, "val", "train"))


def _random() -> NDArray[Any]:
    rank = np.argsort(np.argsort(chance.words(chance.key("omniglot", "random"), [0], len(NAMES))[0], kind="stable"))
    return _parts((rank >= 1100) & (rank < 1200), rank >= 1200)


PARTS = {
    "vinyals": lambda: _parts(_named(VINYALS_VAL), _named(VINYALS_TEST)),
    "background": lambda: _parts(_named(BACKGROUND_VAL), _named(ALPHABETS["images_evaluation"])),
    "random": _random,
}


def turned(x: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """All images [n, c, h, w], then all turned by 90 degrees, by 180, by 270 (counter-clockwise): [4 n, c, h, w]."""
    return np.concatenate([np.rot90(x, turn, axes=(2, 3)) for turn in range(TURNS)])


def _read(path: Path) -> NDArray[np.uint8]:
    """The drawings of an archive, character by character in the order of `ALPHABETS`: [n, 1, 28, 28]."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = list(_members(path, archive.namelist()))
            return np.stack([_decode(path, archive, member) for member in members])[:, None]
    except (zipfile.BadZipFile, OSError) as error:
        raise DataError(
            f"{path} is not a whole zip archive ({error}). It was probably cut short: delete it and fetch it again."
        ) from None


def _members(path: Path, listed: list[str]) -> Iterator[str]:
    drawings: dict[str, list[str]] = {}
    for member in sorted(listed):
        if member.endswith(".png") and member.count("/") == 3:
            drawings.setdefault(member.partition("/")[2].rpartition("/")[0], []).append(member)
    for alphabet, count in ALPHABETS[path.stem].items():
        for number in range(1, count + 1):
            found = drawings.get(f"{alphabet}/character{number:02}", [])
            if len(found) != DRAWERS:
                raise DataError(
                    f"{path} holds {len(found)} drawings of {alphabet}/character{number:02}; expected {DRAWERS} (and "
                    f"{sum(ALPHABETS[path.stem].values())} characters in all). Fetch the whole archive again."
                )
            yield from found


def _decode(path: Path, archive: zipfile.ZipFile, member: str) -> NDArray[np.uint8]:
    try:
        with Image.open(io.BytesIO(archive.read(member))) as image:
            paper = image.convert("L")
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, SyntaxError, ValueError) as error:
        raise DataError(f"{path}: {member} is not a readable image ({error}). Fetch the archive again.") from None
    ink = Image.eval(paper, lambda value: 255 - value)  # drawings are black on white
    return np.asarray(ink.resize((SIDE, SIDE), Image.Resampling.LANCZOS))
