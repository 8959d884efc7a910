"""Debian's Chromium driven by Playwright, and a hand that draws in it."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
SOON = 15_000
"""Milliseconds that a busy machine is waited for."""
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PHONE = {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 2, "is_mobile": True, "has_touch": True}

Stroke = list[tuple[float, float]]


@contextmanager
def chromium() -> Iterator[Any]:
    """A browser; a skip with the reason where there is none."""
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install playwright")
    if CHROMIUM is None:
        pytest.skip("needs chromium: apt-get install chromium")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


def ring(size: float = 0.3, at: tuple[float, float] = (0.5, 0.5)) -> list[Stroke]:
    turns = [2 * math.pi * step / 12 for step in range(13)]
    return [[(at[0] + size * math.cos(turn), at[1] + size * math.sin(turn)) for turn in turns]]


def cross(size: float = 0.3, at: tuple[float, float] = (0.5, 0.5)) -> list[Stroke]:
    x, y = at
    return [[(x - size, y), (x + size, y)], [(x, y - size), (x, y + size)]]


def zigzag(size: float = 0.3, at: tuple[float, float] = (0.5, 0.5)) -> list[Stroke]:
    x, y = at
    return [[(x - size, y - size), (x + size, y - size), (x - size, y + size), (x + size, y + size)]]


def draw(page: Any, strokes: list[Stroke]) -> None:
    """Draw with the mouse on the sheet."""
    sheet = page.locator("#paper")
    sheet.scroll_into_view_if_needed()
    box = sheet.bounding_box()
    for stroke in strokes:
        points = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in stroke]
        page.mouse.move(*points[0])
        page.mouse.down()
        for point in points[1:]:
            page.mouse.move(*point)
        page.mouse.up()


def touch(page: Any, strokes: list[Stroke]) -> None:
    """Draw with a finger on the sheet."""
    sheet = page.locator("#paper")
    sheet.scroll_into_view_if_needed()
    box = sheet.bounding_box()
    finger = page.context.new_cdp_session(page)
    for stroke in strokes:
        for at, (x, y) in enumerate(stroke):
            point = {"x": box["x"] + x * box["width"], "y": box["y"] + y * box["height"]}
            kind = "touchMove" if at else "touchStart"
            finger.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [point]})
        finger.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    finger.detach()


def until(page: Any, expression: str) -> None:
    """Wait for a JavaScript expression to hold.

    Playwright's own `wait_for_function` asks again from within the page, where the page's content security policy
    forbids it to evaluate anything; `evaluate` comes from outside.
    """
    for _ in range(SOON // 50):
        if page.evaluate(expression):
            return
        page.wait_for_timeout(50)
    raise AssertionError(f"{expression} does not hold after {SOON / 1000:.0f} s")


def picture(path: Path, strokes: list[Stroke], side: int = 105) -> Path:
    """A PNG file of strokes, black on white."""
    from PIL import Image, ImageDraw

    image = Image.new("L", (side, side), 255)
    pencil = ImageDraw.Draw(image)
    for stroke in strokes:
        pencil.line([(x * side, y * side) for x, y in stroke], fill=0, width=4, joint="curve")
    image.save(path)
    return path


NAMED = {"button", "textbox", "combobox", "link", "meter", "image", "img", "dialog", "alertdialog", "region", "heading"}


def nameless(page: Any) -> list[str]:
    """The controls and landmarks of a page that the browser's own accessibility tree has no name for."""
    session = page.context.new_cdp_session(page)
    nodes = session.send("Accessibility.getFullAXTree")["nodes"]
    session.detach()
    found = []
    for node in nodes:
        role = node.get("role", {}).get("value")
        if node.get("ignored") or role not in NAMED or node.get("name", {}).get("value", "").strip():
            continue
        found.append(f"{role} {node.get('nodeId')}")
    return found


FAINT = """() => {
  const parse = (text) => { const [r, g, b, a = 1] = text.match(/[\\d.]+/g).map(Number); return [r, g, b, a]; };
  const over = ([r, g, b, a], below) => [r, g, b].map((value, at) => a * value + (1 - a) * below[at]);
  const light = (rgb) => {
    const [r, g, b] = rgb.map((v) => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = (element) => {
    const layers = [];
    for (let at = element; at; at = at.parentElement) layers.push(parse(getComputedStyle(at).backgroundColor));
    return layers.reverse().reduce((below, layer) => over(layer, below), [255, 255, 255]);
  };
  const found = [];
  for (const element of document.querySelectorAll("body *")) {
    const text = [...element.childNodes].filter((node) => node.nodeType === 3).map((node) => node.data).join("").trim();
    const written = element.matches("input, textarea") ? element.value : text;
    if (!written || !element.checkVisibility({ visibilityProperty: true }) || element.ariaDisabled === "true") continue;
    if (element.closest("#paper-box, .hush, option")) continue;
    const style = getComputedStyle(element);
    const below = ground(element);
    const [a, b] = [light(over(parse(style.color), below)), light(below)].sort((x, y) => y - x);
    const size = parseFloat(style.fontSize);
    const large = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < (large ? 3 : 4.5)) found.push(`${written.slice(0, 30)}: ${ratio.toFixed(2)}`);
  }
  return found;
}"""


def faint(page: Any) -> list[str]:
    """The texts of a page whose contrast is below WCAG's level AA, with the contrast."""
    found: list[str] = page.evaluate(FAINT)
    return found
