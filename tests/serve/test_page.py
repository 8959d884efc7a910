"""The page at /: two drawn characters taught in a real browser, against a real server."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from serve.browser import cross, draw, picture, ring, until, zigzag
from serve.lessons import asks, counts, give, row, says, taught, teach
from serve.served import Served

for needed in ("fastapi", "uvicorn", "sqlalchemy", "python_multipart", "prometheus_client"):
    pytest.importorskip(needed, reason=f"{needed} comes with the extra `serve`")


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
    until(page, "sessionStorage.getItem('quickstudy:draft')")  # a person is slower than the drawing's PNG
    page.reload()  # nothing is on the server yet
    counts(page, "A", 1)
    teach(page, cross(), "B")
    page.wait_for_url("**/#*")
    until(page, "localStorage.getItem('quickstudy:shown:' + location.hash.slice(1))")
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


def test_pictures_are_dropped_on_classes_and_pasted_to_be_asked_about(
    visit: Any, server: Served, tmp_path: Path
) -> None:
    page = visit(server.url)
    page.locator("#bench").wait_for()
    (broken := tmp_path / "broken.png").write_bytes(b"no picture")
    rings = [picture(tmp_path / f"ring{n}.png", ring(0.28 + 0.02 * n)) for n in range(2)]
    give(page, "drop", "#classes > li:nth-child(1)", broken, *rings)
    counts(page, "A", 2)
    row(page, "A").get_by_text("broken.png cannot be read as a picture").wait_for()
    give(page, "drop", "#classes > li:nth-child(2)", picture(tmp_path / "cross.png", cross()))
    page.wait_for_url("**/#*")
    give(page, "paste", "body", picture(tmp_path / "asked.png", cross(0.27)))
    says(page, "B")
    give(page, "drop", "#paper", rings[0])
    says(page, "A")


def test_the_copied_command_asks_the_learner(visit: Any, server: Served, tmp_path: Path) -> None:
    if shutil.which("curl") is None:
        pytest.skip("needs curl")
    page = visit(server.url, permissions=["clipboard-read", "clipboard-write"])
    taught(page)
    page.get_by_role("button", name="Copy the command").click()
    page.get_by_text("Copied.").wait_for()
    command = page.evaluate("() => navigator.clipboard.readText()")
    picture(tmp_path / "picture.png", cross(0.28))
    done = subprocess.run(command, shell=True, cwd=tmp_path, capture_output=True, timeout=30, check=True)
    assert json.loads(done.stdout)["predictions"][0]["class"] == "B"


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
