"""Characters of many scripts, drawn on this machine: the tasks that need no download.

The characters come from the DejaVu faces that matplotlib ships. Each is rendered in every face that has it, large and
plain; these are its *masters*. A *drawing* is a master under a small random change of pose, stroke and shape. The
change is a function of the character and the number of the drawing alone, and everything after FreeType is computed in
whole numbers, so machines that have the same fonts and FreeType draw the same.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import sys
import unicodedata
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont, features

from quickstudy.core import chance
from quickstudy.core.settings import settings
from quickstudy.errors import DataError
from quickstudy.tasks.cache import cached_array
from quickstudy.tasks.fewshot import FewShotTasks
from quickstudy.tasks.pool import Pool
from quickstudy.tasks.source import Split
from quickstudy.tasks.splits import Splits

__all__ = ["DRAWINGS", "SCRIPTS", "SIDE", "Character", "Glyphs", "render"]

Pixels = NDArray[np.uint8]

SCRIPTS: dict[Split, tuple[str, ...]] = {
    # Scripts that grew out of Greek capitals share shapes, so they share a split.
    "train": ("LATIN", "GREEK", "COPTIC", "CYRILLIC", "OLD ITALIC", "LISU", "CANADIAN SYLLABICS", "ARABIC"),
    "val": ("ARMENIAN", "OGHAM"),
    "test": ("GEORGIAN", "HEBREW", "LAO", "NKO", "TIFINAGH"),
}
"""The scripts of each split, as the Unicode names of their characters begin."""

SIDE = 28
"""Height and width of a drawing, in pixels."""
DRAWINGS = 20
"""Drawings of each character, as many as Omniglot has."""

# Successive drawings of a character take successive faces, so the plainest and most different come first.
_FACES = (
    *("Sans", "Serif", "SansMono", "Sans-Bold", "Serif-Bold", "SansMono-Bold"),
    *("Sans-Oblique", "Serif-Italic", "SansMono-Oblique"),
    *("Sans-BoldOblique", "Serif-BoldItalic", "SansMono-BoldOblique"),
)
_POINTS = 96  # size at which faces are rendered, some twice as fine as a master
_MASTER = 2 * SIDE  # side of a master: one output pixel then averages about four
_INK = 40  # the longer side of the ink on a master
_ALIKE = 0.92  # blurred cosine above which two plain characters count as one shape; found by looking at pairs
# Bars and blots differ in thickness only, which distortion changes: which one it was, no eye could tell.
_SLENDER = 0.25  # ink narrower than this share of its length is a bar
_SOLID = 0.75  # ink that fills more than this share of its box is a blot; a disc fills π/4

_THINNER, _WIDER = -0.6, 1.0  # pixels of a master on either side of a stroke
_ROTATION = np.deg2rad(10)
_SHEAR = 0.15
_SCALE = 0.85, 1.15
_SHIFT = 1.25  # pixels
_WAVES = 4  # cosine waves along each axis that bend the sheet, the constant one included
_BEND = 0.5  # pixels: standard deviation of the lowest waves
_CHUNK = 256  # drawings made at once, so that the working set stays in the cache


@settings
class Glyphs(FewShotTasks):
    """Characters of 15 scripts, rendered from DejaVu with small distortions; no download.

    Splits share no script, and no character whose plain shape is also that of one met earlier, so test alphabets are
    unseen. Drawings are 28 by 28, ink bright, 20 a character.

    >>> from quickstudy.tasks.glyphs import Glyphs
    >>> Glyphs(ways=5, shots=1).source("test").batch([0, 1]).support.x.shape
    torch.Size([2, 5, 1, 28, 28])
    """

    def pools(self) -> Splits:
        return _pools()


class Character(NamedTuple):
    """A character of the data set."""

    code: int
    script: str
    split: Split

    @property
    def name(self) -> str:
        """Its Unicode name, such as "Georgian letter an"."""
        return unicodedata.name(chr(self.code)).capitalize()


def render() -> tuple[list[Character], Pixels]:
    """Draw the whole data set: characters, split by split, and drawings uint8 [characters, 20, 1, 28, 28].

    Raises:
        DataError: matplotlib's fonts are not where it says.
    """
    folder = _fonts()
    found = _candidates(folder)
    masters, starts = _masters(found, folder)
    kept = _distinct(masters[starts[:-1]])
    faces = np.diff(starts)[kept]
    source = starts[:-1][kept][:, None] + np.arange(DRAWINGS) % faces[:, None]
    codes = np.array([found[i].code for i in kept])
    return [found[i] for i in kept], _draw(masters, source, codes)


@functools.cache
def _pools() -> Splits:
    drawn = functools.cache(render)
    key = _recipe()
    codes = cached_array(f"glyphs-characters-{key}", lambda: np.array([c.code for c in drawn()[0]])).tolist()
    images = cached_array(f"glyphs-drawings-{key}", lambda: drawn()[1])
    of = {c.code: c for c in _candidates(_fonts())}
    characters = [of[code] for code in codes]

    def pool(split: Split) -> Pool:
        at = [i for i, c in enumerate(characters) if c.split == split]
        chosen = [characters[i] for i in at]
        return Pool(
            images.reshape(-1, 1, SIDE, SIDE),
            np.array(at) * DRAWINGS,
            np.full(len(at), DRAWINGS),
            [c.name for c in chosen],
            groups=[c.script.capitalize() for c in chosen],
            name=f"glyphs/{split}",
        )

    return Splits(pool("train"), pool("val"), pool("test"))


def _recipe() -> str:
    """A hash of everything that decides the drawings: the fonts, the renderer and this file."""
    fonts = [hashlib.blake2b(_face(_fonts(), face).read_bytes()).hexdigest() for face in _FACES]
    return chance.fingerprint(fonts, features.version("freetype2"), inspect.getsource(sys.modules[__name__]))


def _fonts() -> Path:
    import matplotlib  # a third of a second, not spent before it is needed

    return Path(matplotlib.get_data_path()) / "fonts" / "ttf"


def _face(folder: Path, face: str) -> Path:
    path = folder / f"DejaVu{face}.ttf"
    if not path.is_file():
        raise DataError(
            f"glyphs are drawn from the fonts that matplotlib ships, and {path} is not there. Install matplotlib again "
            "(pip install --force-reinstall matplotlib), or use another task family."
        )
    return path


def _codes(folder: Path, face: str) -> set[int]:
    """The characters that a face has; any other would come out as a box."""
    from matplotlib.ft2font import FT2Font

    return set(FT2Font(str(_face(folder, face))).get_charmap())


def _candidates(folder: Path) -> list[Character]:
    """The letters of the chosen scripts that are not composed of others, in the order of `SCRIPTS`."""
    letters = [
        code
        for code in sorted(_codes(folder, _FACES[0]))
        if unicodedata.category(chr(code)) in ("Lu", "Ll", "Lo")
        and unicodedata.normalize("NFKD", chr(code)) == chr(code)
    ]
    return [
        Character(code, script, split)
        for split, scripts in SCRIPTS.items()
        for script in scripts
        for code in letters
        if unicodedata.name(chr(code)).startswith(f"{script} ")
    ]


def _masters(found: list[Character], folder: Path) -> tuple[Pixels, NDArray[np.int64]]:
    """The masters [m, 56, 56] of all characters, and where each one's begin (and the last one's end)."""
    faces = [
        (ImageFont.truetype(_face(folder, face), _POINTS, layout_engine=ImageFont.Layout.BASIC), _codes(folder, face))
        for face in _FACES
    ]
    made, starts = [], [0]
    for character in found:
        drawn = [_master(font, chr(character.code)) for font, has in faces if character.code in has]
        made += [master for master in drawn if master is not None]
        starts.append(len(made))
    return np.stack(made), np.array(starts)


def _master(font: ImageFont.FreeTypeFont, letter: str) -> Pixels | None:
    """One character in one face, its ink centred and scaled to a common size; None where there is no ink."""
    sheet = Image.new("L", (3 * _POINTS, 3 * _POINTS))
    ImageDraw.Draw(sheet).text((1.5 * _POINTS, 1.5 * _POINTS), letter, fill=255, font=font, anchor="mm")
    box = sheet.getbbox()
    if box is None:
        return None
    ink = sheet.crop(box)
    width, height = (max(1, round(_INK * side / max(ink.size))) for side in ink.size)
    master = Image.new("L", (_MASTER, _MASTER))
    master.paste(ink.resize((width, height), Image.Resampling.BOX), ((_MASTER - width) // 2, (_MASTER - height) // 2))
    return np.asarray(master)


def _distinct(plain: Pixels) -> list[int]:
    """Which masters [n, 56, 56] to keep: neither bars nor blots, and unlike every one kept before."""
    small = plain.reshape(len(plain), SIDE, 2, SIDE, 2).mean((2, 4))
    for axis in (1, 2):  # a blur, so that strokes a pixel apart still touch
        small = small / 2 + (np.roll(small, 1, axis) + np.roll(small, -1, axis)) / 4
    flat = small.reshape(len(plain), -1)
    flat /= np.linalg.norm(flat, axis=1, keepdims=True)
    alike = flat @ flat.T > _ALIKE
    kept = np.zeros(len(plain), dtype=bool)
    for i, ink in enumerate(plain):
        short, long = sorted([int(ink.any(0).sum()), int(ink.any(1).sum())])
        shaped = short >= _SLENDER * long and ink.sum() <= _SOLID * 255 * short * long
        kept[i] = shaped and not (alike[i] & kept).any()
    return [int(i) for i in np.flatnonzero(kept)]


def _draw(masters: Pixels, source: NDArray[np.int64], codes: NDArray[np.int64]) -> Pixels:
    """The drawings [c, 20, 1, 28, 28] of the characters `codes`, from the masters `source` [c, 20]."""
    waves = 2 * (_WAVES**2 - 1)  # the constant wave would only be another shift
    pose = chance.uniforms(chance.key("glyphs", "pose"), codes, DRAWINGS * 7).reshape(-1, 7)
    bend = chance.normals(chance.key("glyphs", "bend"), codes, DRAWINGS * waves).reshape(-1, 2, waves // 2)
    flat = source.reshape(-1)
    out = np.empty((len(flat), SIDE, SIDE), dtype=np.uint8)
    for at in range(0, len(flat), _CHUNK):
        some = slice(at, at + _CHUNK)
        inked = _thicken(masters[flat[some]], _THINNER + (_WIDER - _THINNER) * pose[some, 6])
        out[some] = _sample(inked, _places(pose[some], bend[some]))
    return out.reshape(*source.shape, 1, SIDE, SIDE)


def _thicken(masters: Pixels, amount: NDArray[np.float64]) -> NDArray[np.int32]:
    """Strokes wider (amount up to 1) or thinner (down to -1) by that many pixels of the master on either side."""
    wide, thin = masters, masters
    for axis in (1, 2):
        wide = np.maximum(np.maximum(wide, np.roll(wide, 1, axis)), np.roll(wide, -1, axis))
        thin = np.minimum(np.minimum(thin, np.roll(thin, 1, axis)), np.roll(thin, -1, axis))
    plain = masters.astype(np.int32)
    other = np.where((amount > 0)[:, None, None], wide, thin)
    part = np.rint(256 * np.abs(amount)).astype(np.int32)[:, None, None]
    thick: NDArray[np.int32] = plain + ((part * (other - plain)) >> 8)
    return thick


def _places(pose: NDArray[np.float64], bend: NDArray[np.float64]) -> NDArray[np.int64]:
    """Where on its master each pixel of a drawing looks: [n, 2 (x, y), 28 (row), 28 (column)], in 1/256 pixels."""
    sign = 2 * pose - 1
    angle, shear = _ROTATION * sign[:, 0], _SHEAR * sign[:, 1]
    scale = _SCALE[0] + (_SCALE[1] - _SCALE[0]) * pose[:, 2:4]
    cos, sin = np.cos(angle), np.sin(angle)
    turn = np.stack([np.stack([cos, sin - shear * cos], -1), np.stack([-sin, cos + shear * sin], -1)], 1)
    turn = turn / scale[:, :, None]
    axis = np.arange(SIDE) - (SIDE - 1) / 2
    grid = np.stack(np.meshgrid(axis, axis), 0)  # x changes along columns
    from_centre = grid[None] - _SHIFT * sign[:, 4:6, None, None]
    places = np.einsum("nij,njyx->niyx", turn, from_centre) + _bend(bend)
    fixed: NDArray[np.int64] = np.rint(256 * (2 * places + (_MASTER - 1) / 2)).astype(np.int64)
    return fixed


def _bend(amounts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Smooth displacements [n, 2, 28, 28] in pixels: cosine waves, the shorter the weaker."""
    number = np.arange(_WAVES)
    wave = np.cos(np.pi * number[:, None] * (np.arange(SIDE) + 0.5) / SIDE)
    weight = _BEND / np.maximum(1, number[:, None] + number)
    sheets = (weight[..., None, None] * wave[:, None, :, None] * wave[None, :, None, :]).reshape(-1, SIDE * SIDE)
    bent: NDArray[np.float64] = (amounts @ sheets[1:]).reshape(*amounts.shape[:2], SIDE, SIDE)
    return bent


def _sample(images: NDArray[np.int32], places: NDArray[np.int64]) -> Pixels:
    """Bilinear reading in whole numbers, so that machines agree to the bit."""
    inside = np.clip(places, 0, 256 * (_MASTER - 1) - 1)  # the rim of a master is blank
    x, y = inside[:, 0], inside[:, 1]
    right, down = (x & 255).astype(np.int32), (y & 255).astype(np.int32)
    start = np.arange(len(images))[:, None, None] * _MASTER**2 + (y >> 8) * _MASTER + (x >> 8)
    flat = images.reshape(-1)

    def row(first: NDArray[Any]) -> NDArray[np.int32]:
        both: NDArray[np.int32] = flat[first] * (256 - right) + flat[first + 1] * right
        return both

    mixed = row(start) * (256 - down) + row(start + _MASTER) * down
    return ((mixed + (1 << 15)) >> 16).astype(np.uint8)
