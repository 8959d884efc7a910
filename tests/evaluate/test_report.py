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
