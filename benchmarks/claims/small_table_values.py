"""A network that was fitted to random causal models alone, on real tables of values, beside tuned ridge regression.

    QUICKSTUDY_DATA=/path/to/data python benchmarks/claims/small_table_values.py

The claim: over at least 20 real small tables and several splits of each, the average R² is at least that of ridge
regression whose penalty is tuned by cross-validation on the training rows, minus 0.01, in under a second a table,
prediction included. The network weighs Gaussian processes in closed form, a linear one among them
(`quickstudy.methods.memory.kernelmixture`).

Tables are all regression sets of the collection with at most 100 columns, one of each family; none was looked at before
they were measured. Of each, up to 256 rows (half of a small table) are trained on and up to 512 others asked; splits
are the same for every contender. R² is one minus the mean squared error over the variance of the rows asked. A forest
of 300 trees stands beside them, untuned. Coverage is the share of values within the central 90 % intervals.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from arff import read
from numpy.typing import NDArray
from sklearn.ensemble import RandomForestRegressor
from sklearn.linear_model import Ridge
from sklearn.model_selection import KFold
from sklearn.pipeline import make_pipeline
from small_tables import PENALTIES, Rows, asking, entries, longest, plain, split, write

from quickstudy.estimators import PriorFittedRegressor

CONTENDERS = ("prior-fitted", "ridge regression", "forest")


def main() -> None:
    """Measure every table, print, and write."""
    torch.set_num_threads(1)
    asked = _asked()
    folder = Path(os.environ["QUICKSTUDY_DATA"]) / "tabular"
    found = {}
    for entry in entries(folder, "regression"):
        found[entry["name"]] = table = _measured(folder, entry, asked)
        print(
            f"{entry['name']:28}{table['columns']:4} columns  "
            + "  ".join(f"{name} {np.mean(table['r2'][name]):.3f}" for name in CONTENDERS)
            + f"  covered {np.mean(table['coverage']):.2f}  {max(table['processor seconds']):.2f} s of the processor",
            flush=True,
        )
    whole = told(found)
    print(json.dumps(whole, indent=1))
    write(asked, PriorFittedRegressor.trained, {"summary": whole, "tables": found})


def _asked() -> argparse.Namespace:
    return asking(__doc__, Path("docs/records/claims/small_table_values.json")).parse_args()


def _measured(folder: Path, entry: dict[str, str], asked: argparse.Namespace) -> dict[str, Any]:
    x, labels, _ = read(folder / entry["file"], entry["target"], set(entry["drop_columns"].split(";")))
    y = labels.astype(np.float64)
    found: dict[str, Any] = {"rows": len(y), "columns": x.shape[1], "seconds": [], "processor seconds": []}
    found |= {"r2": {name: [] for name in CONTENDERS}, "coverage": []}
    for seed in range(asked.seeds):
        train, (rows, truth) = split(x, y, seed)
        start, computed = time.perf_counter(), time.process_time()
        fitted = PriorFittedRegressor(asked.model).fit(*train)
        said = {"prior-fitted": fitted.predict(rows)}
        found["seconds"].append(round(time.perf_counter() - start, 4))
        found["processor seconds"].append(round(time.process_time() - computed, 4))
        low, high = fitted.predict_quantiles(rows, (0.05, 0.95)).T
        found["coverage"].append(float(((low <= truth) & (truth <= high)).mean()))
        said["ridge regression"] = _ridge(train, rows)
        forest = make_pipeline(plain(x, scaled=False), RandomForestRegressor(300, random_state=seed))
        said["forest"] = forest.fit(*train).predict(rows)
        for name, values in said.items():
            found["r2"][name].append(r2(truth, values))
    found["training rows"] = len(train[1])
    return found


def r2(truth: NDArray[np.float64], said: NDArray[np.float64]) -> float:
    """The share of the variance of the rows asked that is said of them."""
    return float(1 - np.square(truth - said).sum() / np.square(truth - truth.mean()).sum())


def _ridge(train: Rows, asked: NDArray[Any]) -> NDArray[np.float64]:
    """With the penalty whose held-out training rows have the least squared error, in five folds."""
    x, y = train
    cost = np.zeros(len(PENALTIES))
    for inside, outside in KFold(5, shuffle=True, random_state=0).split(x):
        ready = plain(x).fit(x[inside])
        known, left = ready.transform(x[inside]), ready.transform(x[outside])
        for i, penalty in enumerate(PENALTIES):
            cost[i] += np.square(Ridge(penalty).fit(known, y[inside]).predict(left) - y[outside]).sum()
    found: NDArray[np.float64] = make_pipeline(plain(x), Ridge(PENALTIES[cost.argmin()])).fit(x, y).predict(asked)
    return found


def told(found: dict[str, Any]) -> dict[str, Any]:
    """Means over tables, of each table's mean over splits, and how far contenders are apart."""
    means = {name: np.array([np.mean(table["r2"][name]) for table in found.values()]) for name in CONTENDERS}
    left = {name: np.sqrt(np.maximum(1 - values, 1e-12)) for name, values in means.items()}
    apart = means["prior-fitted"] - means["ridge regression"]
    ratio = left["prior-fitted"] / left["ridge regression"]
    drawn = np.random.default_rng(0).choice(apart, (10_000, len(apart))).mean(1)
    return {
        "tables": len(apart),
        "mean r2": {name: float(values.mean()) for name, values in means.items()},
        "median r2": {name: float(np.median(values)) for name, values in means.items()},
        "prior-fitted minus ridge regression": {
            "mean": float(apart.mean()),
            "low": float(np.quantile(drawn, 0.025)),
            "high": float(np.quantile(drawn, 0.975)),
            "median": float(np.median(apart)),
            "mean without its best table": float((apart.sum() - apart.max()) / (len(apart) - 1)),
            "tables ahead": int((apart > 0).sum()),
            "tables at most 0.01 behind": int((apart >= -0.01).sum()),
        },
        "tables ahead of the forest": int((means["prior-fitted"] > means["forest"]).sum()),
        "error over that of ridge regression": {
            "median": float(np.median(ratio)),
            "geometric mean": float(np.exp(np.log(ratio).mean())),
        },
        "coverage": float(np.mean([np.mean(table["coverage"]) for table in found.values()])),
        "seconds a table": longest(found, "seconds"),
        "processor seconds a table": longest(found, "processor seconds"),
    }


if __name__ == "__main__":
    main()
