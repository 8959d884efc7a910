"""A network that was fitted to random causal models alone, on real small tables, beside tuned logistic regression.

    QUICKSTUDY_DATA=/path/to/data python benchmarks/claims/small_tables.py
    python benchmarks/claims/small_tables.py --model runs/prior --aside      # while choosing: tables that do not count

The claim: over at least 20 real small tables and several splits of each, the average AUC is at least that of logistic
regression whose penalty is tuned by cross-validation on the training rows, minus 0.01, in under a second a table,
prediction included. The network reads what kernel machines in closed form say of each row, ridge regression among them
(`quickstudy.methods.memory.kernelpfn`). (Hollmann et al. 2023, table 1, print a mean AUC of 0.894 on 18 numeric tables
of their own, on a GPU, by a network that was trained on millions of data sets.)

Tables are all classification sets of the collection with at most ten classes and 100 columns, one of each family, but
for those set aside by name to look at while the estimator was written. Of each, up to 256 rows (half of a small
table) are trained on and up to 512 others asked; splits are stratified by class, and the same for every contender.
Classes that would have fewer than five training rows are left out. AUC is that of each class against each other (Hand
and Till). A forest of 300 trees stands beside them, untuned.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import sklearn
import torch
from arff import read
from numpy.typing import NDArray
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss, roc_auc_score
from sklearn.model_selection import StratifiedKFold, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler

import quickstudy
from quickstudy.bundle import Bundle
from quickstudy.estimators.prior_fitted import TRAINED, PriorFittedClassifier
from quickstudy.registry import name_of

ASIDE = ("diabetes", "glass", "iris", "openintro_email", "vote")
"""Looked at while the estimator was written; they do not count."""
MOST_CLASSES, MOST_COLUMNS, FEWEST, TRAIN, TEST = 10, 100, 5, 256, 512
PENALTIES = np.logspace(-3, 3, 13)

Rows = tuple[NDArray[Any], NDArray[Any]]


def main() -> None:
    """Measure every table, print, and write."""
    torch.set_num_threads(1)
    asked = _asked()
    folder = Path(os.environ["QUICKSTUDY_DATA"]) / "tabular"
    found = {}
    for entry in _aside(folder) if asked.aside else entries(folder, "classification"):
        found[entry["name"]] = table = _measured(folder, entry, asked)
        means = {name: np.mean(table["auc"][name]) for name in table["auc"]}
        print(
            f"{entry['name']:28}{table['columns']:4} columns{table['classes']:3} classes  "
            + "  ".join(f"{name} {mean:.3f}" for name, mean in means.items())
            + f"  {max(table['seconds']):.2f} s, {max(table['processor seconds']):.2f} s of the processor",
            flush=True,
        )
    whole = _told(found)
    print(json.dumps(whole, indent=1))
    if asked.aside:
        return
    write(asked, TRAINED, {"set aside": ASIDE, "summary": whole, "tables": found})


def _asked() -> argparse.Namespace:
    parser = asking(__doc__, Path("docs/records/claims/small_tables.json"))
    parser.add_argument("--aside", action="store_true", help="only the tables set aside; nothing is written")
    return parser.parse_args()


def asking(about: str | None, out: Path) -> argparse.ArgumentParser:
    """What a claim on small tables can be asked."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=None, help="a run or bundle; the one that comes with quickstudy")
    parser.add_argument("--seeds", type=int, default=3, help="splits of each table")
    parser.add_argument("--out", type=Path, default=out)
    return parser


def write(asked: argparse.Namespace, own: Path, found: dict[str, Any]) -> None:
    """Keep what was found beside what it depends on; `own` is the bundle that comes with quickstudy."""
    facts = {
        "quickstudy": quickstudy.__version__,
        "torch": str(torch.__version__),
        "sklearn": sklearn.__version__,
        "model": "quickstudy's own" if asked.model in (None, own) else str(asked.model),
        "trained": trained(asked.model or own),
        "seeds": asked.seeds,
        "target": "-0.01",
    }
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    asked.out.write_text(json.dumps(facts | found, indent=1) + "\n")
    print(f"-> {asked.out}")


def entries(folder: Path, task: str) -> list[dict[str, str]]:
    """The tables of a task that count, as the manifest has them: the first small one of each family."""
    found: dict[str, dict[str, str]] = {}
    for row in _manifest(folder):
        small = int(row["n_classes"] or 0) <= MOST_CLASSES and int(row["n_features"]) <= MOST_COLUMNS
        if row["task"] == task and small and row["name"] not in ASIDE:
            found.setdefault(row["family"], row)
    return [*found.values()]


def _aside(folder: Path) -> list[dict[str, str]]:
    return [row for row in _manifest(folder) if row["task"] == "classification" and row["name"] in ASIDE]


def _manifest(folder: Path) -> list[dict[str, str]]:
    with (folder / "manifest.csv").open(encoding="utf-8") as file:
        return [*csv.DictReader(file)]


def _measured(folder: Path, entry: dict[str, str], asked: argparse.Namespace) -> dict[str, Any]:
    x, y, _ = read(folder / entry["file"], entry["target"], set(entry["drop_columns"].split(";")))
    x, y = _common(x, y)
    found: dict[str, Any] = {"rows": len(y), "columns": x.shape[1], "classes": len(np.unique(y))}
    found |= {"seconds": [], "processor seconds": []}
    found["auc"] = {"prior-fitted": [], "logistic regression": [], "forest": []}
    for seed in range(asked.seeds):
        train, test = split(x, y, seed, stratify=y)
        start, computed = time.perf_counter(), time.process_time()
        said = PriorFittedClassifier(asked.model).fit(*train).predict_proba(test[0])
        found["seconds"].append(round(time.perf_counter() - start, 4))
        found["processor seconds"].append(round(time.process_time() - computed, 4))
        found["auc"]["prior-fitted"].append(_auc(test[1], said))
        found["auc"]["logistic regression"].append(_auc(test[1], _logistic(train, test[0])))
        forest = make_pipeline(plain(x, scaled=False), RandomForestClassifier(300, random_state=seed))
        found["auc"]["forest"].append(_auc(test[1], forest.fit(*train).predict_proba(test[0])))
    found["training rows"] = len(train[1])
    return found


def _common(x: NDArray[Any], y: NDArray[Any]) -> Rows:
    """Without the classes that would have too few training rows."""
    share = min(TRAIN, len(y) // 2) / len(y)
    names, counts = np.unique(y, return_counts=True)
    kept = np.isin(y, names[counts * share >= FEWEST])
    return x[kept], y[kept]


def split(x: NDArray[Any], y: NDArray[Any], seed: int, stratify: NDArray[Any] | None = None) -> tuple[Rows, Rows]:
    """The rows of a table that are trained on, and those that are asked."""
    train = min(TRAIN, len(y) // 2)
    test = min(TEST, len(y) - train)
    parts = train_test_split(x, y, train_size=train, test_size=test, stratify=stratify, random_state=seed)
    return (parts[0], parts[2]), (parts[1], parts[3])


def _auc(y: NDArray[Any], said: NDArray[np.float64]) -> float:
    if said.shape[1] == 2:
        return float(roc_auc_score(y == np.unique(y)[1], said[:, 1]))
    said = said / said.sum(1, keepdims=True)
    return float(roc_auc_score(y, said, multi_class="ovo", average="macro"))


# --- logistic regression ----------------------------------------------------------------------------------------------


def plain(x: NDArray[Any], scaled: bool = True) -> ColumnTransformer:
    """Numbers with their gaps filled, names one-hot (or, for trees, as numbers)."""
    text = [i for i in range(x.shape[1]) if any(isinstance(value, str) for value in x[:, i])]
    other = [i for i in range(x.shape[1]) if i not in text]
    of_names = SimpleImputer(missing_values=None, strategy="constant", fill_value="")
    one_hot = OneHotEncoder(handle_unknown="ignore")
    ordinal = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
    of_numbers = [SimpleImputer(strategy="median", keep_empty_features=True), *([StandardScaler()] if scaled else [])]
    return ColumnTransformer(
        [
            ("numbers", make_pipeline(_Floats(), *of_numbers), other),
            ("names", make_pipeline(of_names, one_hot if scaled else ordinal), text),
        ]
    )


class _Floats(sklearn.base.TransformerMixin, sklearn.base.BaseEstimator):  # type: ignore[misc]
    """Objects as numbers, None as NaN."""

    def fit(self, x: Any, y: Any = None) -> _Floats:
        self.fitted_ = True
        return self

    def transform(self, x: Any) -> NDArray[np.float64]:
        return np.asarray(x, dtype=np.float64)


def _logistic(train: Rows, asked: NDArray[Any]) -> NDArray[np.float64]:
    """With the penalty that finds the held-out training rows likeliest, in five folds (fewer for rare classes)."""
    x, y = train
    names, at = np.unique(y, return_inverse=True)
    folds = StratifiedKFold(max(2, min(5, int(np.bincount(at).min()))), shuffle=True, random_state=0)
    cost = np.zeros(len(PENALTIES))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of penalties so small that it does not converge
        for inside, outside in folds.split(x, at):
            ready = plain(x).fit(x[inside])
            known, asked_now = ready.transform(x[inside]), ready.transform(x[outside])
            for i, penalty in enumerate(PENALTIES):
                fold = LogisticRegression(C=penalty, max_iter=1000).fit(known, at[inside])
                cost[i] += log_loss(at[outside], fold.predict_proba(asked_now), labels=np.arange(len(names)))
        best = PENALTIES[cost.argmin()]
        whole = make_pipeline(plain(x), LogisticRegression(C=best, max_iter=1000)).fit(x, at)
    found: NDArray[np.float64] = whole.predict_proba(asked)
    return found


# --- what is told -----------------------------------------------------------------------------------------------------


def _told(found: dict[str, Any]) -> dict[str, Any]:
    """Means over tables, of each table's mean over splits, and how far contenders are apart."""
    auc = {
        name: np.array([np.mean(t["auc"][name]) for t in found.values()]) for name in next(iter(found.values()))["auc"]
    }
    apart = auc["prior-fitted"] - auc["logistic regression"]
    rng = np.random.default_rng(0)
    drawn = rng.choice(apart, (10_000, len(apart))).mean(1)
    return {
        "tables": len(apart),
        "mean auc": {name: float(values.mean()) for name, values in auc.items()},
        "prior-fitted minus logistic regression": {
            "mean": float(apart.mean()),
            "low": float(np.quantile(drawn, 0.025)),
            "high": float(np.quantile(drawn, 0.975)),
            "tables ahead": int((apart > 0).sum()),
            "tables at most 0.01 behind": int((apart >= -0.01).sum()),
        },
        "seconds a table": longest(found, "seconds"),
        "processor seconds a table": longest(found, "processor seconds"),
    }


def longest(found: dict[str, Any], what: str) -> dict[str, float]:
    seconds = [second for table in found.values() for second in table[what]]
    return {"median": float(np.median(seconds)), "most": max(seconds)}


def trained(folder: Path) -> dict[str, Any]:
    """How long the network was trained, and how."""
    bundle = Bundle.open(folder)
    told = bundle.provenance
    training = told["training"]
    settings = {"tasks": told["tasks"], "training": training}
    return {
        name_of(type(bundle.method)): {
            "steps": training["step"],
            "seconds": round(training["seconds"], 1),
            "settings": settings,
        }
    }


if __name__ == "__main__":
    main()
