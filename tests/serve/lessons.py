"""What a person does on the page, for the tests that do it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from serve.browser import Stroke, cross, draw, ring


def row(page: Any, name: str) -> Any:
    return page.locator("#classes > li").filter(has=page.locator(f'[aria-label="Delete class {name}"]'))


def teach(page: Any, strokes: list[Stroke], name: str, hand: Any = draw) -> None:
    hand(page, strokes)
    row(page, name).get_by_role("button", name=f"This is {name}").click()


def asks(page: Any, strokes: list[Stroke], hand: Any = draw) -> None:
    """Draw on a clean sheet."""
    page.get_by_role("button", name="Clear").click()
    hand(page, strokes)


def says(page: Any, name: str) -> None:
    page.locator("#verdict").filter(has_text=re.compile(f"^{name}, ")).wait_for()


def counts(page: Any, name: str, examples: int) -> None:
    word = "example" if examples == 1 else "examples"
    row(page, name).get_by_text(f"{examples} {word}").wait_for()


def taught(page: Any, hand: Any = draw) -> None:
    """A ring taught as A and a cross as B, and the learner made."""
    teach(page, ring(), "A", hand)
    teach(page, cross(), "B", hand)
    page.wait_for_url("**/#*")


def focus(page: Any, name: str) -> None:
    """Press Tab until a control has the focus, and hold that it can be seen to have it."""
    for _ in range(40):
        page.keyboard.press("Tab")
        found = page.evaluate(
            "() => { const at = document.activeElement;"
            "return [at.getAttribute('aria-label') || at.textContent.trim(), getComputedStyle(at).outlineStyle]; }"
        )
        if found[0] == name:
            assert found[1] != "none", f"{name} does not show that it has the focus"
            return
    raise AssertionError(f"Tab never reaches {name!r}")


def give(page: Any, kind: str, place: str, *files: Path) -> None:
    """Drop or paste files, as a person would from another window."""
    given = [[each.name, list(each.read_bytes())] for each in files]
    page.evaluate(
        """([kind, place, given]) => {
            const held = new DataTransfer();
            for (const [name, bytes] of given) {
                held.items.add(new File([new Uint8Array(bytes)], name, {type: "image/png"}));
            }
            const about = {bubbles: true, cancelable: true, dataTransfer: held, clipboardData: held};
            const event = kind === "paste" ? new ClipboardEvent(kind, about) : new DragEvent(kind, about);
            document.querySelector(place).dispatchEvent(event);
        }""",
        [kind, place, given],
    )
