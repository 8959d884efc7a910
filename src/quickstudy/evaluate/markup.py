"""The few elements a report's page is made of. Text goes in plain and is escaped here, once."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from importlib import resources
from typing import NamedTuple

__all__ = ["Cell", "card", "cards", "details", "element", "facts", "listed", "page", "section", "table", "text"]

# the browser itself then refuses anything from outside the file
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


class Cell(NamedTuple):
    """A cell of a table: its text, a smaller second line, and how it looks."""

    main: str
    small: str = ""
    look: str = ""
    """A class of the style sheet: "words" for prose, "good" and "bad" for verdicts."""


def text(value: object) -> str:
    """Any value as text that HTML cannot take for anything else."""
    return html.escape(str(value))


def element(tag: str, value: object, look: str = "") -> str:
    """`value`, escaped, in a tag."""
    return f'<{tag} class="{look}">{text(value)}</{tag}>' if look else f"<{tag}>{text(value)}</{tag}>"


def page(title: str, parts: Iterable[str], footer: str) -> str:
    """A whole document; `parts` are HTML, `title` and `footer` are text."""
    style = resources.files("quickstudy.evaluate").joinpath("report.css").read_text(encoding="utf-8")
    body = "\n".join(part for part in parts if part)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        f"{element('title', title)}\n<style>\n{style}</style>\n</head>\n<body>\n<main>\n{body}\n</main>\n"
        f'<footer class="soft small">{element("p", footer)}</footer>\n</body>\n</html>\n'
    )


def section(title: str, inside: str) -> str:
    """A part of the page under its heading; nothing where there is nothing inside."""
    return f"<section>\n{element('h2', title)}\n{inside}\n</section>" if inside else ""


def card(title: str, note: str, inside: str) -> str:
    """A box with a heading and a line about what is `inside` (HTML)."""
    return f'<div class="card">{element("h3", title)}{element("p", note, "soft small")}{inside}</div>'


def cards(inside: Sequence[str]) -> str:
    """Boxes side by side, as many as there is room for."""
    look = "cards pairs" if len(inside) in {2, 4} else "cards"
    return f'<div class="{look}">{"".join(inside)}</div>' if inside else ""


def details(summary: str, inside: str, opened: bool = False) -> str:
    """HTML that opens at its summary."""
    return f"<details{' open' * opened}>{element('summary', summary)}{inside}</details>"


def facts(title: str, items: Iterable[tuple[str, str]]) -> str:
    """A box of terms and what they are."""
    lines = "".join(f"<div>{element('dt', term)}{element('dd', value)}</div>" for term, value in items)
    return f'<div class="card">{element("h3", title)}<dl class="facts small">{lines}</dl></div>'


def table(caption: str, head: Sequence[str], rows: Sequence[Sequence[Cell | str]], own: int | None = None) -> str:
    """A table that scrolls sideways where it must; the first cell of each row names it; row `own` stands out."""
    cells = [[Cell(c) if isinstance(c, str) else c for c in row] for row in rows]
    prose = {n for row in cells for n, cell in enumerate(row) if cell.look}
    names = "".join(f'<th scope="col"{" class=words" * (n in prose)}>{text(name)}</th>' for n, name in enumerate(head))
    lines = "".join(_row(row, n == own) for n, row in enumerate(cells))
    return (
        f'{element("p", caption, "soft small")}<div class="scroll" role="region" tabindex="0" '
        f'aria-label="{text(caption)}"><table>'
        f"<thead><tr>{names}</tr></thead><tbody>{lines}</tbody></table></div>"
    )


def listed(pairs: Iterable[tuple[str, str]]) -> str:
    """ "a: 1; b: 2." for those who hear a plot read out."""
    return "; ".join(f"{name}: {value}" for name, value in pairs) + "."


def _row(cells: Sequence[Cell], own: bool) -> str:
    first, *others = cells
    inside = f'<th scope="row">{text(first.main)}</th>' + "".join(map(_cell, others))
    return f"<tr{' class=own' * own}>{inside}</tr>"


def _cell(cell: Cell) -> str:
    small = element("small", cell.small) if cell.small else ""
    if cell.look in {"good", "bad"}:
        return f'<td class="words">{element("span", cell.main, cell.look)}{small}</td>'
    return f'<td class="{cell.look or "num"}">{text(cell.main)}{small}</td>'
