"""The page at /: two drawn characters taught in a real browser, against a real server."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from serve import asking, browser, served
from serve.browser import cross, draw, picture, ring, touch, zigzag
from serve.served import Served

for needed in ("fastapi", "uvicorn", "sqlalchemy"):
    pytest.importorskip(needed, reason=f"{needed} comes with the extra `serve`")

SOON = 8000  # ms; a busy machine's patience


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with browser.chromium() as running:
        yield running


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return served.characters(tmp_path_factory.mktemp("bundles") / "characters")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, bundle: Path) -> Iterator[Served]:
    """A server that anybody on this machine may use."""
    running = Served(tmp_path_factory.mktemp("open"), bundle)
    running.start()
    yield running
    running.stop()


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory, bundle: Path) -> Iterator[Served]:
    """A server that asks for a key."""
    running = Served(tmp_path_factory.mktemp("locked"), bundle, keys=True)
    running.start()
    running.key = running.store.add_key("alice")
    yield running
    running.stop()


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server with models of text and of numbers."""
    running = asking.Running(tmp_path_factory.mktemp("mixed"), asking.bundle("text"), asking.bundle("vector"))
    running.start()
    yield running
    running.stop()


@pytest.fixture
def visit(chromium: Any) -> Iterator[Any]:
    """Opens pages, and fails where one logged an error, broke its security policy or asked another host."""
    contexts: list[Any] = []
    wrong: list[str] = []
    allowed: list[str] = []

    def opened(url: str, expect: str = "", **options: Any) -> Any:
        context = chromium.new_context(**options)
        contexts.append(context)
        allowed.append(expect)
        page = context.new_page()
        page.set_default_timeout(SOON)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda said: said.type == "error" and wrong.append(said.text))
        page.on("request", lambda asked: asked.url.startswith(url) or wrong.append(asked.url))
        page.on("filechooser", lambda chooser: None)  # or its dialogs are caught only now and then
        page.goto(url)
        return page

    yield opened
    for context in contexts:
        context.close()
    expected = [each for each in allowed if each]
    assert [each for each in wrong if not any(re.search(one, each) for one in expected)] == []


def row(page: Any, name: str) -> Any:
    return page.locator("#classes > li").filter(has=page.locator(f'[aria-label="Delete class {name}"]'))


def teach(page: Any, strokes: list[browser.Stroke], name: str, hand: Any = draw) -> None:
    hand(page, strokes)
    row(page, name).get_by_role("button", name=f"This is {name}").click()


def asks(page: Any, strokes: list[browser.Stroke], hand: Any = draw) -> None:
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


def test_two_drawn_characters_are_taught_and_told_apart(visit: Any, server: Served) -> None:
    page = visit(server.url)
    taught(page)
    for name, strokes in {"A": ring(0.27, (0.52, 0.49)), "B": cross(0.33, (0.48, 0.5))}.items():
        asks(page, strokes)
        says(page, name)
    for name in "AB":
        counts(page, name, 1)
        assert row(page, name).locator(".samples canvas").count() == 1
    shares = [float(meter.get_attribute("aria-valuenow")) for meter in page.get_by_role("meter").all()]
    assert abs(sum(shares) - 100) <= 1
    page.locator("#spoken").filter(has_text="It says: B, ").wait_for(state="attached")


def test_a_third_class_is_added_and_recognised(visit: Any, server: Served) -> None:
    page = visit(server.url)
    taught(page)
    page.get_by_role("button", name="Add a class").click()
    page.keyboard.type("zig zag")  # the name is selected, so that typing replaces it
    teach(page, zigzag(), "zig zag")
    counts(page, "zig zag", 1)
    draw(page, zigzag(0.28, (0.51, 0.5)))
    says(page, "zig zag")
    held = server.get(f"learners/{page.url.split('#')[1]}")
    assert {each["name"]: each["examples"] for each in held["classes"]} == {"A": 1, "B": 1, "zig zag": 1}


def test_more_examples_move_the_bars(visit: Any, server: Served) -> None:
    page = visit(server.url)
    taught(page)
    draw(page, zigzag())
    row(page, "B").locator(".share").filter(has_text="%").wait_for()
    row(page, "B").get_by_role("button", name="This is B").click()
    counts(page, "B", 2)
    says(page, "B")


def test_a_class_is_renamed_until_it_has_an_example(visit: Any, server: Served) -> None:
    page = visit(server.url)
    page.get_by_label("Name of the class").first.fill("alpha")
    teach(page, ring(), "alpha")
    page.get_by_role("heading", name="alpha").wait_for()
    assert page.get_by_label("Name of the class").count() == 1
    page.get_by_label("Name of the class").fill("alpha")
    page.get_by_text("There is a class “alpha” already").wait_for()
    assert page.get_by_role("button", name="This is it").is_disabled()


def test_a_class_is_deleted_after_asking(visit: Any, server: Served) -> None:
    page = visit(server.url)
    taught(page)
    page.get_by_role("button", name="Add a class").click()
    teach(page, zigzag(), "C")
    counts(page, "C", 1)
    page.get_by_role("button", name="Delete class C").click()
    page.get_by_role("button", name="Keep it").click()
    counts(page, "C", 1)
    page.get_by_role("button", name="Delete class C").click()
    page.get_by_role("alertdialog").get_by_role("button", name="Delete").click()
    row(page, "C").wait_for(state="detached")
    names = [each["name"] for each in server.get(f"learners/{page.url.split('#')[1]}")["classes"]]
    assert names == ["A", "B"]


def test_a_reload_brings_the_learner_back(visit: Any, server: Served) -> None:
    page = visit(server.url)
    teach(page, ring(), "A")
    page.reload()  # nothing is on the server yet
    counts(page, "A", 1)
    teach(page, cross(), "B")
    page.wait_for_url("**/#*")
    page.reload()
    for name in "AB":
        counts(page, name, 1)
        assert row(page, name).locator(".samples canvas").count() == 1
    draw(page, cross(0.28))
    says(page, "B")


def test_learners_are_listed_opened_and_deleted(visit: Any, server: Served) -> None:
    page = visit(server.url)
    taught(page)
    first = page.url.split("#")[1]
    page.get_by_role("button", name="Start anew").click()
    page.get_by_text("No example yet").first.wait_for()
    assert "#" not in page.url
    page.get_by_role("button", name="Your learners").click()
    entry = page.locator("#learners li").first
    assert "A, B" in entry.inner_text()
    entry.get_by_role("button").first.click()
    page.wait_for_url(f"**/#{first}")
    counts(page, "A", 1)
    page.get_by_role("button", name="Your learners").click()
    page.locator("#learners li").first.get_by_role("button", name="Delete").click()
    page.get_by_role("alertdialog").get_by_role("button", name="Delete").click()
    page.locator("#learners li").filter(has_text="on the page now").wait_for(state="detached")
    assert server.status(f"learners/{first}") == 404


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


def test_a_text_model_is_taught_by_typing_and_from_a_file(visit: Any, mixed: Served, tmp_path: Path) -> None:
    page = visit(mixed.url)
    page.get_by_label("Model", exact=True).select_option("text")
    box = page.get_by_label("A text", exact=True)
    box.fill("a bad cab")
    row(page, "A").get_by_role("button", name="This is A").click()
    (tmp_path / "texts.txt").write_text("he hugged her\n\nfe gh\n")
    with page.expect_file_chooser() as asked:
        row(page, "B").get_by_role("button", name="Add a text file to B").click()
    asked.value.set_files(tmp_path / "texts.txt")
    counts(page, "B", 2)
    page.wait_for_url("**/#*")
    box.fill("bad a cab")
    says(page, "A")
    assert row(page, "B").locator(".quote").all_inner_texts() == ["he hugged her", "fe gh"]
    assert '{"inputs":[{"text":"What shall I say?"}]}' in page.locator("#curl").inner_text()


def test_numbers_are_checked_before_they_are_sent(visit: Any, mixed: Served) -> None:
    page = visit(mixed.url)
    page.get_by_label("Model", exact=True).select_option("vector")
    box = page.get_by_label("A row of 3 numbers")
    for text, problem in {
        "1 2": "This has 2 numbers; this model takes 3.",
        "1, two, 3": "This has something that is no number.",
        "1 2 3\n4 5": "Row 2 has 2 numbers; this model takes 3.",
    }.items():
        box.fill(text)
        page.locator("#asking-error").get_by_text(problem).wait_for()
    box.fill("1\t2\t3\n4\t5\t6e0")
    row(page, "A").get_by_role("button", name="This is A").click()
    counts(page, "A", 2)
    box.fill("-1; -2; -3.5")
    row(page, "B").get_by_role("button", name="This is B").click()
    page.wait_for_url("**/#*")
    box.fill("2 3 4")
    says(page, "A")


def test_what_is_unlike_everything_is_said_to_be(visit: Any, server: Served) -> None:
    page = visit(server.url)
    taught(page)
    said = {"class": "A", "probability": 0.6, "probabilities": {"A": 0.6, "B": 0.4}, "known": False}
    page.route("**/predict", lambda route: route.fulfill(json={"predictions": [said]}))
    draw(page, zigzag())
    page.locator("#verdict").get_by_text("Unlike anything it was taught").wait_for()
    page.get_by_text("Nearest is A.").wait_for()
    assert page.locator(".best").count() == 0


def test_what_is_drawn_small_in_a_corner_is_framed(visit: Any, server: Served) -> None:
    page = visit(server.url)
    teach(page, ring(0.08, (0.15, 0.15)), "A")
    teach(page, cross(0.08, (0.85, 0.8)), "B")
    page.wait_for_url("**/#*")
    draw(page, ring())
    says(page, "A")


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
