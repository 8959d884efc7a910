"""The page at / by keyboard, by touch and by ear; and when the server is busy, away or wants a key."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from serve import browser
from serve.browser import cross, draw, picture, ring, touch
from serve.lessons import counts, focus, row, says, taught, teach
from serve.served import Served

for needed in ("fastapi", "uvicorn", "sqlalchemy", "python_multipart", "prometheus_client"):
    pytest.importorskip(needed, reason=f"{needed} comes with the extra `serve`")


def test_pictures_are_taught_by_choosing_files_with_the_keyboard_alone(
    visit: Any, server: Served, tmp_path: Path
) -> None:
    page = visit(server.url)
    page.locator("#bench").wait_for()
    files = {
        "A": [picture(tmp_path / f"ring{n}.png", ring(0.28 + 0.02 * n)) for n in range(2)],
        "B": [picture(tmp_path / "cross.png", cross())],
    }
    for name, chosen in files.items():
        focus(page, f"Add pictures to {name}")
        with page.expect_file_chooser() as asked:
            page.keyboard.press("Enter")
        asked.value.set_files(chosen)
        counts(page, name, len(chosen))
    page.wait_for_url("**/#*")
    focus(page, "Choose a picture")
    with page.expect_file_chooser() as asked:
        page.keyboard.press("Enter")
    asked.value.set_files(picture(tmp_path / "asked.png", cross(0.27)))
    says(page, "B")
    focus(page, "This is B")
    page.keyboard.press("Enter")
    counts(page, "B", 2)


def test_a_phone_teaches_by_touch_without_scrolling_sideways(visit: Any, server: Served) -> None:
    page = visit(server.url, **browser.PHONE)
    taught(page, touch)
    touch(page, ring(0.25))
    says(page, "A")
    page.get_by_role("button", name="Add a class").click()
    page.keyboard.type("a name much too long for a telephone, without_any_place_to_break")
    page.evaluate("document.activeElement.blur()")
    for width in (390, 320):
        page.set_viewport_size({"width": width, "height": 844})
        assert page.evaluate("document.documentElement.scrollWidth") <= width
    small = page.evaluate(
        "() => [...document.querySelectorAll('button:not(.link)')].filter((one) => one.offsetParent"
        " && (one.offsetHeight < 40 || one.offsetWidth < 40)).map((one) => one.textContent)"
    )
    assert small == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_everything_has_a_name_and_can_be_read(visit: Any, server: Served, scheme: str) -> None:
    page = visit(server.url, color_scheme=scheme, reduced_motion="reduce")
    page.locator("#bench").wait_for()
    assert (browser.nameless(page), browser.faint(page)) == ([], [])
    taught(page)
    draw(page, ring(0.26))
    says(page, "A")
    assert (browser.nameless(page), browser.faint(page)) == ([], [])
    page.get_by_role("button", name="Your learners").click()
    page.locator("#learners li").first.wait_for()
    assert (browser.nameless(page), browser.faint(page)) == ([], [])


def test_what_the_server_refuses_is_said_beside_the_class(visit: Any, server: Served) -> None:
    page = visit(server.url, expect="status of (422|429)")
    taught(page)
    refusal = {"error": {"code": "invalid", "message": "this is no picture of anything. Send another."}}
    page.route("**/examples", lambda route: route.fulfill(status=422, json=refusal))
    teach(page, ring(), "A")
    row(page, "A").get_by_role("alert").get_by_text("this is no picture of anything").wait_for()
    counts(page, "A", 1)
    busy = {"error": {"code": "busy", "message": "too much at once."}}
    answers = iter([{"status": 429, "json": busy, "headers": {"Retry-After": "1"}}])

    def once_busy(route: Any) -> None:
        answer = next(answers, None)
        route.fulfill(**answer) if answer else route.continue_()

    page.unroute("**/examples")
    page.route("**/examples", once_busy)
    teach(page, cross(), "B")
    page.get_by_text("Trying again in 1 second.").wait_for()
    counts(page, "B", 2)


def test_a_restart_of_the_server_is_survived(visit: Any, server: Served) -> None:
    page = visit(server.url, expect="ERR_CONNECTION|Failed to fetch|status of 50")
    taught(page)
    server.stop()
    draw(page, ring(0.28))
    page.get_by_text("The server does not answer.").wait_for()
    row(page, "A").get_by_role("button", name="This is A").click()
    server.start()
    page.get_by_text("The server does not answer.").wait_for(state="hidden", timeout=20_000)
    counts(page, "A", 2)
    says(page, "A")


def test_a_server_with_keys_asks_for_one_and_keeps_it_for_the_tab_alone(visit: Any, locked: Served) -> None:
    page = visit(locked.url, expect="status of 401")
    page.get_by_label("Key").fill("wrong")
    page.get_by_role("button", name="Use this key").click()
    page.locator("#key-error:not(:empty)").wait_for()
    assert (browser.nameless(page), browser.faint(page)) == ([], [])
    page.get_by_label("Key").fill(locked.key)
    page.keyboard.press("Enter")
    taught(page)
    kept = page.evaluate(
        "() => [JSON.stringify({...sessionStorage}), JSON.stringify({...localStorage}), document.cookie]"
    )
    assert [locked.key in each for each in kept] == [True, False, False]
    assert locked.key not in page.content()
    assert "Bearer $QUICKSTUDY_KEY" in page.locator("#curl").inner_text()
    page.reload()
    counts(page, "A", 1)


def test_the_page_has_the_colours_of_the_report() -> None:
    from quickstudy import evaluate, serve

    def colours(sheet: Path) -> list[dict[str, str]]:
        blocks = re.findall(r":root \{(.*?)\}", sheet.read_text(), re.DOTALL)
        return [dict(re.findall(r"(--[\w-]+): ([^;]+);", block)) for block in blocks]

    ours = colours(Path(serve.__file__).with_name("page") / "palette.css")
    theirs = colours(Path(evaluate.__file__).with_name("report.css"))
    for mine, other in zip(ours, theirs, strict=True):
        shared = mine.keys() & other.keys()
        assert {"--page", "--ink", "--series-1", "--wrong"} <= shared
        assert {name: mine[name] for name in shared} == {name: other[name] for name in shared}
