"""Reports say what the record says, in one file that needs nothing else, whatever the names in it hold."""

from __future__ import annotations

import base64
import dataclasses
import io
import json
import math
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from quickstudy.errors import CheckpointError
from quickstudy.evaluate import findings as say
from quickstudy.evaluate import record as r
from quickstudy.evaluate.report import comparison_markdown, run_markdown, write_comparison, write_report
from quickstudy.evaluate.statistics import compare, t_interval

NASTY = '<script src="http://evil.example/x.js">alert(1)</script> & "quotes" | *stars* $x_1$'


def drawing(letter: str, seed: int) -> str:
    image = Image.new("L", (28, 28))
    shift = np.random.default_rng(seed).integers(-3, 4, 2)
    ImageDraw.Draw(image).text((8 + shift[0], 2 + shift[1]), letter, fill=255, font=ImageFont.load_default(20))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def result(name: str, mean: float, seed: int = 0, spread: float = 0.05, metric: str = "accuracy") -> r.Result:
    common = np.random.default_rng(99).normal(0, spread, 200)  # an easy episode is easy for all
    values = mean + common + np.random.default_rng(seed).normal(0, spread / 5, 200)
    if metric == "accuracy":
        values = values.clip(0, 1)
    found, ends = t_interval(values), (None, None)
    if metric == "accuracy":
        ends = (found.mean - 0.02, min(1.0, found.mean + 0.02))
    return r.Result(name, metric, *found, *ends, tuple(values.tolist()), 0.31, 2.5, "3f9a")  # type: ignore[arg-type]


def episode(wrong: int = 3) -> r.DrawnEpisode:
    names, rng = ("Tibetan/ka", "Tibetan/kha", "Malayalam/11", "Gurmukhi/letter_with_a_long_name", "Ge_ez/04"), range(5)
    support = tuple(r.DrawnSupport(drawing("RMKQW"[k], k), k) for k in rng)
    queries = [r.DrawnQuery(drawing("RMKQW"[k], 10 * k + n), k, k, 0.97) for k in rng for n in range(8)]
    for n in range(wrong):
        queries[n * 7 + 2] = dataclasses.replace(queries[n * 7 + 2], predicted=(queries[n * 7 + 2].label + 1) % 5)
    return r.DrawnEpisode(names, support, tuple(queries))


def record(name: str = "protonet-omniglot", mean: float = 0.95, transductive: bool = False) -> r.Record:
    rng = np.random.default_rng(3)
    losses = [r.Learned(s, 0.1 + 1.5 * math.exp(-s / 300) + 0.08 * rng.random(), 0.2 * s) for s in range(1, 1001)]
    checks = [r.Validated(s, v := 0.96 - 0.7 * math.exp(-s / 200), v - 0.01, v + 0.01) for s in range(100, 1001, 100)]
    floors = (
        result("no adaptation", 0.2, 1),
        result("raw-input centroid", 0.42, 2),
        result("random-feature centroid", 0.51, 3),
        result("linear probe", 0.90, 4),
        result("fine-tuning", 0.944, 5),
    )
    rise = (0.2, 0.62, 0.81, 0.9, mean)
    steps = r.Curve((0, 1, 2, 3, 5), rise, tuple(v - 0.02 for v in rise), tuple(v + 0.02 for v in rise))
    more = (mean, 0.97, 0.98, 0.985)
    shots = r.Curve(
        (1, 2, 5, 20),
        more,
        tuple(v - 0.01 for v in more),
        tuple(v + 0.01 for v in more),
        {f.name: tuple(min(0.98, f.mean + 0.03 * n) for n in range(4)) for f in floors},
    )
    bins = tuple(
        r.Bin(n / 10, n / 10 + 0.1, c := 3**n // 20, n / 10 + 0.05 if c else math.nan, n / 10 + 0.02 if c else math.nan)
        for n in range(10)
    )
    return r.Record(
        run=r.RunInfo(
            name=name,
            method="protonet",
            method_settings={"distance": "euclidean", "temperature": 1.0},
            net={"name": "conv4", "channels": 64, "norm": {"name": "batch"}},
            normalisation="transductive" if transductive else "support",
            transductive=transductive,
            tasks={"name": "omniglot", "scheme": "vinyals", "ways": 60, "shots": 1, "queries": 5},
            training={"steps": 1000, "batch": 1, "rate": 0.001, "optimizer": "adam", "schedule": "cosine"},
            steps=1000,
            seconds=412.0,
            seed=0,
            parameters=111936,
        ),
        protocol=r.ProtocolInfo(
            {"name": "omniglot", "scheme": "vinyals"}, "test", 5, 1, 15, 200, 0, "9b1d77aa", "3f9a"
        ),
        machine=r.Machine("AMD EPYC 9654 96-Core Processor", 2, 1, "2.13.0+cpu", "0.1.0", "cpu"),
        result=result(name, mean),
        floors=floors,
        curves=r.Curves(steps, shots),
        calibration=r.Calibration(bins, 0.031, 0.21, 0.08),
        learning=(*losses, *checks),
        episodes=(episode(), episode(0)),
    )


def sines() -> r.Record:
    def wave(n: int) -> r.DrawnPoints:
        x = np.linspace(-5, 5, 60)
        y = (1 + n) * np.sin(x - n)
        at = np.random.default_rng(n).uniform(-5, 5, (2, 10))
        points = [tuple((float(v), float((1 + n) * np.sin(v - n))) for v in row) for row in at]
        return r.DrawnPoints(points[0], points[1], tuple(zip(x.tolist(), (y + 0.1 * x).tolist(), strict=True)))

    base = record("maml-sines")
    curve = r.Curve((0, 1, 5, 10), (3.1, 0.64, 0.37, 0.34), (2.9, 0.6, 0.34, 0.31), (3.3, 0.68, 0.4, 0.37))
    return dataclasses.replace(
        base,
        protocol=r.ProtocolInfo({"name": "sines"}, "test", None, 5, 10, 600, 0, "aa", "3f9a"),
        result=result("maml-sines", 0.34, 0, 0.1, "mse"),
        floors=(result("no adaptation", 3.01, 1, 0.3, "mse"), result("fine-tuning", 0.335, 2, 0.1, "mse")),
        curves=r.Curves(curve, None),
        calibration=None,
        episodes=tuple(wave(n) for n in range(3)),
    )


def comparison() -> tuple[r.Comparison, list[r.Record]]:
    records = [record("protonet", 0.95), record("maml", 0.93), record("maml (transductive)", 0.949, transductive=True)]
    records = [
        dataclasses.replace(one, result=result(one.run.name, one.result.mean, 20 + n)) for n, one in enumerate(records)
    ]
    results = tuple(r.Competitor(one.run, one.result) for one in records)
    return r.Comparison(
        records[0].protocol, records[0].machine, results, compare([one.result for one in records])
    ), records


class Page(HTMLParser):
    """What a page holds, with every tag closed in its place."""

    VOID = ("meta", "img", "br")

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.source = path.read_text(encoding="utf-8")
        self.feed(self.source)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {k: v or "" for k, v in attrs}))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {k: v or "" for k, v in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] != ["style"]:
            self.words.append(data)

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.tags if name == tag]

    @property
    def text(self) -> str:
        return " ".join("".join(self.words).split())


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Page]:
    folder = tmp_path_factory.mktemp("pages")
    found, records = comparison()
    return {
        "run": Page(write_report(record(), folder / "run")),
        "transductive": Page(write_report(record(transductive=True), folder / "transductive")),
        "sines": Page(write_report(sines(), folder / "sines")),
        "comparison": Page(write_comparison(found, folder / "comparison", records)),
        "no curves": Page(write_comparison(found, folder / "bare")),
    }


def test_pages_are_self_contained(pages: dict[str, Page]) -> None:
    for name, page in pages.items():
        inside = re.sub(r"data:image/png;base64,[\w+/=]+", "", page.source)
        assert not re.search(r"https?:|//\w|@import|<script|<link|<iframe|url\((?!#)", inside), name
        loads = [v for _, a in page.tags for k, v in a.items() if k in {"src", "href", "xlink:href", "srcset", "data"}]
        assert all(v.startswith(("data:image/png;base64,", "#")) for v in loads), name
        policy = page.all("meta")[2]
        assert policy["http-equiv"] == "Content-Security-Policy"
        assert policy["content"].startswith("default-src 'none';")


def test_pages_can_be_read_without_seeing_them(pages: dict[str, Page]) -> None:
    for name, page in pages.items():
        ids = [a["id"] for _, a in page.tags if "id" in a]
        assert len(ids) == len(set(ids)), name
        used = re.findall(r"(?:url\(|href=\")#([^)\"]+)", page.source)
        assert set(used) == set(ids), name
        assert all(a["alt"] for a in page.all("img")), name
        assert all(a["scope"] in {"row", "col"} for a in page.all("th")), name
        assert all(a["role"] == "img" and len(a["aria-label"]) > 20 for a in page.all("svg")), name
        assert len(page.all("h1")) == 1, name
        assert page.all("html")[0]["lang"] == "en"


def test_a_run_page_has_all_its_parts(pages: dict[str, Page]) -> None:
    page = pages["run"]
    for heading in ("Against the floors", "Learning", "Adaptation", "Shots", "Calibration", "Test episodes"):
        assert heading in page.text
    assert len(page.all("svg")) == 5
    assert len(page.all("img")) == 2 * (5 + 40)
    assert page.source.count('class="tile miss"') == 3
    assert page.source.count("✗ ") == 3 + 2  # and the line of each episode that explains it
    assert "Expected calibration error 3.1 %" in page.text
    for fact in ("omniglot (scheme vinyals)", "1,000 steps in 6 min 52 s, seed 0", "9b1d77aa", "torch 2.13.0+cpu"):
        assert fact in page.text
    assert "not transductive" in page.text
    assert say.MEANING in page.text


def test_a_transductive_run_is_marked_loudly(pages: dict[str, Page]) -> None:
    for name in ("transductive", "comparison"):
        assert 'class="loud"' in pages[name].source
        assert say.TRANSDUCTIVE in pages[name].text
    assert 'class="loud"' not in pages["run"].source
    assert say.TRANSDUCTIVE in run_markdown(record(transductive=True))
    assert say.TRANSDUCTIVE in comparison_markdown(comparison()[0])


def test_regression_is_reported_by_its_error_and_its_fits(pages: dict[str, Page]) -> None:
    page = pages["sines"]
    assert "mean squared error on 5-shot, 600 test episodes of sines" in page.text
    assert len(page.all("svg")) == 1 + 2 + 3
    assert " %" not in say.headline(sines())


def test_names_from_data_stay_text(tmp_path: Path) -> None:
    odd = nasty()
    page = Page(write_report(odd, tmp_path))
    assert "script" not in [tag for tag, _ in page.tags]
    assert NASTY in page.text
    assert "\n| \\<script" in run_markdown(odd)
    assert "<script" not in run_markdown(odd).replace("\\<script", "")


def nasty() -> r.Record:
    odd = record(NASTY)
    first = odd.episodes[0]
    assert isinstance(first, r.DrawnEpisode)
    return dataclasses.replace(
        odd,
        result=dataclasses.replace(odd.result, name=NASTY),
        floors=tuple(dataclasses.replace(f, name=NASTY + f.name) for f in odd.floors),
        episodes=(dataclasses.replace(first, classes=(NASTY, *first.classes[1:])),),
        protocol=dataclasses.replace(odd.protocol, tasks={"name": NASTY, "path": NASTY}),
    )


def test_images_that_are_not_in_the_record_are_not_loaded(tmp_path: Path) -> None:
    e = episode()
    bad = dataclasses.replace(e, support=tuple(r.DrawnSupport("http://evil.example/x.png", s.label) for s in e.support))
    page = Page(write_report(dataclasses.replace(record(), episodes=(bad,)), tmp_path))
    assert "evil.example" not in page.source
    assert page.text.count("no image (support)") == 5


def test_many_queries_are_cut_and_the_page_says_so(tmp_path: Path) -> None:
    e = episode(0)
    long = dataclasses.replace(e, queries=e.queries * 4)
    page = Page(write_report(dataclasses.replace(record(), episodes=(long,)), tmp_path))
    assert len(page.all("img")) == 5 + 100
    assert "160 of the 160 queries drawn are right" in page.text
    assert page.text.count("The first 20 of 32.") == 5


def test_json_is_the_record_with_what_it_means(tmp_path: Path) -> None:
    write_report(record(), tmp_path)
    values = json.loads((tmp_path / "report.json").read_text())
    assert values["headline"] == say.headline(record())
    assert [v["standing"] for v in values["verdicts"]] == ["ahead"] * 5
    assert (
        r.Record.from_json({k: v for k, v in values.items() if k not in {"headline", "verdicts"}}).run == record().run
    )
    found, _ = comparison()
    write_comparison(found, tmp_path)
    assert json.loads((tmp_path / "report.json").read_text())["headline"] == say.ranking(found)


def test_markdown_tables_are_whole() -> None:
    found, _ = comparison()
    for text in (run_markdown(nasty()), run_markdown(sines()), comparison_markdown(found)):
        tables = re.findall(r"(?:^\|.*\|\n)+", text, re.MULTILINE)
        assert len(tables) >= 2
        for table in tables:
            widths = {line.replace("\\|", "").count("|") for line in table.splitlines()}
            assert len(widths) == 1
    assert "| protonet-omniglot | 94.6 (94.0–95.2) | 92.6–96.6 | 0.310 |  | this run |" in run_markdown(record())


def test_the_same_record_gives_the_same_bytes(tmp_path: Path) -> None:
    one, two = write_report(record(), tmp_path / "a"), write_report(record(), tmp_path / "b")
    assert one.read_bytes() == two.read_bytes()
    assert sorted(entry.name for entry in one.parent.iterdir()) == ["report.html", "report.json", "report.md"]


def test_a_folder_that_cannot_be_written_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(CheckpointError, match=r"taken.report.json cannot be written: .*make room.*another folder"):
        write_report(record(), tmp_path / "taken")


def test_a_write_cut_short_leaves_the_old_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = write_report(record(), tmp_path).read_bytes()

    def full(self: Path, *args: object, **kwargs: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(CheckpointError, match="No space left"):
        write_report(record("other"), tmp_path)
    assert (tmp_path / "report.html").read_bytes() == before


def test_a_run_without_extras_or_floors_is_still_a_page(tmp_path: Path) -> None:
    bare = dataclasses.replace(record(), floors=(), curves=r.Curves(), calibration=None, learning=(), episodes=())
    page = Page(write_report(bare, tmp_path))
    assert "No floor was measured." in page.text
    assert "Test episodes" not in page.text


@pytest.mark.parametrize("gone", ["run", "floor", "both"])
def test_results_that_diverged_are_shown_as_such(tmp_path: Path, gone: str) -> None:
    lost = {"mean": math.nan, "low": math.nan, "high": math.nan, "values": (math.nan,) * 200, "nll": math.nan}
    base = record()
    run = dataclasses.replace(base.result, **lost) if gone != "floor" else base.result
    floor = dataclasses.replace(base.floors[0], **lost) if gone != "run" else base.floors[0]
    odd = dataclasses.replace(base, result=run, floors=(floor,))
    assert "not finite" in Page(write_report(odd, tmp_path)).text
    assert say.verdicts(odd)[0].standing == {"run": "behind", "floor": "ahead", "both": "level"}[gone]


def contrast(a: str, b: str) -> float:
    def luminance(colour: str) -> float:
        parts = [int(colour[n : n + 2], 16) / 255 for n in (1, 3, 5)]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    high, low = sorted((luminance(a), luminance(b)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_colours_stand_out_from_what_is_behind_them(pages: dict[str, Page], scheme: int) -> None:
    source = pages["run"].source
    colours = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", source.split(":root {")[scheme + 1].split("}")[0]))
    for behind in ("page", "card"):
        for text in ("ink", "soft", "right", "wrong"):
            assert contrast(colours[text], colours[behind]) >= 4.5, (text, behind)
    for n in range(1, 7):
        assert contrast(colours[f"series-{n}"], colours["card"]) >= 3
    assert contrast(colours["loud"], colours["loud-page"]) >= 4.5
    assert set(re.findall(r"var\(--([\w-]+)\)", source)) <= set(colours)


def test_intervals_of_real_values_are_told_on_page_and_in_markdown(tmp_path):
    held = (r.Interval(0.5, 0.481, 0.71), r.Interval(0.95, 0.931, 1.204))
    whole = dataclasses.replace(record(), calibration=None, intervals=held)
    said = "Central 95 % intervals hold 93.1 % of the values, and are 1.20 wide on average."
    text = run_markdown(whole)
    assert said in text
    assert "| 50 % | 48.1 % | 0.710 |" in text
    page = write_report(whole, tmp_path).read_text(encoding="utf-8")
    assert said in page
    assert "48.1 %" in page
    assert say.coverage(record().intervals) == ""
