"""What each record says of its claim: rows of a figure, its target, and whether it is reached."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

__all__ = [
    "Row",
    "bayesian",
    "calibration",
    "deep_kernel",
    "in_context",
    "instances",
    "intents",
    "learned_optimiser",
    "novelty",
    "posterior",
    "processes",
    "quadratics",
    "reproduced",
    "shared_support",
    "small_table_values",
    "small_tables",
    "waves",
]

Record = dict[str, Any]


@dataclass(frozen=True)
class Row:
    """One figure. `reached` is None where there is no target, and the figure stands beside others."""

    what: str
    figure: str
    target: str = ""
    reached: bool | None = None
    paper: str = ""


def shown(found: Record, digits: int = 3, scale: float = 1.0) -> str:
    """A mean with its interval."""
    mean, low, high = (scale * found[key] for key in ("mean", "low", "high"))
    return f"{mean:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def small_tables(record: Record) -> list[Row]:
    summary = record["summary"]
    apart = summary["prior-fitted minus logistic regression"]
    auc = summary["mean auc"]
    count = summary["tables"]
    return [
        Row("real tables", f"{count}", "20 or more", count >= 20),
        Row(
            f"mean AUC minus tuned logistic regression's ({record['seeds']} splits of each table)",
            shown(apart, 4),
            "-0.01 or more",
            apart["mean"] >= -0.01,
        ),
        Row("mean AUC", f"{auc['prior-fitted']:.4f}", paper="0.894, on 18 tables of its own"),
        Row("mean AUC of tuned logistic regression", f"{auc['logistic regression']:.4f}"),
        Row("mean AUC of 300 trees, untuned", f"{auc['forest']:.4f}"),
        Row("tables on which it is ahead of logistic regression", f"{apart['tables ahead']} of {count}"),
        Row(
            "tables on which it is at most 0.01 behind",
            f"{apart['tables at most 0.01 behind']} of {count}",
        ),
        *_seconds(summary),
    ]


def small_table_values(record: Record) -> list[Row]:
    summary = record["summary"]
    apart = summary["prior-fitted minus ridge regression"]
    mean, median, ratio = summary["mean r2"], summary["median r2"], summary["error over that of ridge regression"]
    count = summary["tables"]
    return [
        Row("real tables", f"{count}", "20 or more", count >= 20),
        Row(
            f"mean R² minus tuned ridge regression's ({record['seeds']} splits of each table)",
            shown(apart),
            "-0.01 or more",
            apart["mean"] >= -0.01,
        ),
        Row("the same, median over tables", f"{apart['median']:.3f}"),
        Row("the same, mean without the table that speaks most for it", f"{apart['mean without its best table']:.3f}"),
        *(
            Row(f"mean, median R²{of_whom}", f"{mean[name]:.3f}, {median[name]:.3f}")
            for of_whom, name in (
                ("", "prior-fitted"),
                (" of tuned ridge regression", "ridge regression"),
                (" of 300 trees, untuned", "forest"),
            )
        ),
        Row(
            "root mean squared error over ridge regression's: median, geometric mean",
            f"{ratio['median']:.3f}, {ratio['geometric mean']:.3f}",
        ),
        Row("tables on which it is ahead of ridge regression", f"{apart['tables ahead']} of {count}"),
        Row("tables on which it is at most 0.01 behind", f"{apart['tables at most 0.01 behind']} of {count}"),
        Row("tables on which it is ahead of the trees", f"{summary['tables ahead of the forest']} of {count}"),
        Row("share of values within the central 90 % intervals", f"{100 * summary['coverage']:.1f} %"),
        *_seconds(summary),
    ]


def _seconds(summary: Record) -> list[Row]:
    return [
        Row(
            f"{what} to fit and predict a table, one thread: the median, the most",
            f"{summary[key]['median']:.2f}, {summary[key]['most']:.2f}",
            "below 1" if key.startswith("processor") else "",
            summary[key]["most"] < 1 if key.startswith("processor") else None,
        )
        for what, key in (
            ("seconds of the processor", "processor seconds a table"),
            ("wall-clock seconds, on a busy machine,", "seconds a table"),
        )
    ]


def posterior(record: Record) -> list[Row]:
    found = record["after so many points"]
    rows = [
        Row(
            "excess of the mean NLL over the exact posterior's, in nats",
            f"{record['excess']:.4f}",
            "0.05 or less",
            record["excess"] <= 0.05,
        )
    ]
    for points, each in found.items():
        rows.append(
            Row(
                f"excess after {points} points; the means' distance",
                f"{shown(each[EXCESS])}; {each['means apart']['mean']:.3f}",
                "0.05 or less; 0.05 or less" if points == max(found, key=int) else "",
                (each[EXCESS]["mean"] <= 0.05 and each["means apart"]["mean"] <= 0.05)
                if points == max(found, key=int)
                else None,
            )
        )
    return rows


EXCESS = "pfn's excess"


def instances(record: Record) -> list[Row]:
    found, published = record["right at instance"], record["published"]["mann"]
    mann = found["mann"]
    rows = [
        Row(
            f"accuracy at the {name} character of a class",
            shown(mann[at], 1, 100) + " %",
            f"{100 * published[at]:.1f} % or more",
            mann[at]["mean"] >= published[at],
            f"{100 * published[at]:.1f} %",
        )
        for at, name in (("2", "second"), ("5", "fifth"))
    ]
    rises = mann["1"]["high"] < mann["2"]["low"] and mann["2"]["high"] < mann["5"]["low"]
    rows.insert(
        0,
        Row(
            "accuracy at the first, second and fifth",
            ", ".join(f"{100 * mann[at]['mean']:.1f} %" for at in ("1", "2", "5")),
            "rising, intervals apart",
            rises,
            "36.4 %, 82.8 %, 94.9 %",
        ),
    )
    for name in ("lstm", "nearest features", "nearest pixels"):
        each = ", ".join(f"{100 * found[name][at]['mean']:.1f} %" for at in ("1", "2", "5"))
        rows.append(Row(f"the same, by {'an LSTM' if name == 'lstm' else f'the {name} so far'}", each))
    return rows


def intents(record: Record) -> list[Row]:
    beside = "logistic regression"
    rows = []
    for ways, found in record["settings"].items():
        for name, head in found["heads"].items():
            apart = head.get(f"above {beside}")
            told = f", {shown(apart, 2, 100)} above {beside}" if apart else ""
            holds = head.get("claim holds")
            target = "" if holds is None else "the interval of the difference reaches 0"
            rows.append(Row(f"{ways}, {name}", f"{100 * head['accuracy']['mean']:.2f} %{told}", target, holds))
    return rows


def in_context(record: Record) -> list[Row]:
    errors = record["errors"]
    at = str(record["examples in training"])
    usual = errors["as trained"]
    rows = [
        Row(
            f"squared error / 5 after {count} examples; least squares",
            f"{shown(usual['transformer'][count])}; {usual['least squares'][count]['mean']:.3f}",
            target,
            reached,
        )
        for count, target, reached in (
            ("2", "", None),
            ("4", "", None),
            (at, "0.02 or less (our reading)", usual["transformer"][at]["mean"] <= 0.02),
        )
    ]
    for where in ("inputs x 3", "skewed inputs", "noise 0.5", "sparse"):
        found = errors[where]["transformer"][at]
        beside = errors[where]["least squares"][at]["mean"]
        rows.append(Row(f"after {at}, {where}; least squares", f"{shown(found)}; {beside:.3f}"))
    worse = errors["inputs x 3"]["transformer"][at]["low"] > 9 * usual["transformer"][at]["high"]
    rows.append(Row("inputs scaled by 3", "as above", "more than 9 times the error (our reading)", worse))
    far = errors["longer prompts"]["transformer"]
    last = max(far, key=int)
    grows = far[last]["mean"] > far[at]["mean"]
    rows.append(Row(f"after {last} examples, three times as many as in training", shown(far[last]), "more", grows))
    return rows


def quadratics(record: Record) -> list[Row]:
    found = record["squared error after"]
    rows = []
    for at in ("5", "10", "35", "99"):
        beside = ", ".join(f"{name} {found[name][at]['mean']:.3f}" for name in ("least squares", "running mean"))
        rows.append(Row(f"squared error after {at} examples; {beside}", shown(found["lstm"][at])))
    share = found["lstm"]["35"]["mean"] / found["running mean"]["35"]["mean"]
    rows.append(
        Row(
            "of the running mean's error, what is left after 35",
            f"{share:.2f}",
            "0.10 or less (our reading)",
            share <= 0.1,
            "low, in a curve without figures",
        )
    )
    return rows


def learned_optimiser(record: Record) -> list[Row]:
    usual, larger = (record["values after"][title] for title in ("as trained", "20 numbers"))

    def told(found: Record, name: str, at: str) -> str:
        return f"{shown(found['mean'][name][at])}; {found['median'][name][at]:.3f}"

    rows = [Row("value after 100 steps, the LSTM: mean; median", told(usual, "LSTM", "100"))]
    for name, apart in usual["LSTM minus"].items():
        what = f"value after 100 steps, {name} with rate {record['rates'][name]:.2g}; the LSTM's minus that"
        figure = f"{told(usual, name, '100')}; {shown(apart['100'])}"
        rows.append(Row(what, figure, "below 0, with its interval", apart["100"]["high"] < 0, "below, in a curve"))
    for where, found, at in (("after 500 steps", usual, "500"), ("after 100 steps, of 20 numbers", larger, "100")):
        by_hand = {name: each[at]["mean"] for name, each in found["mean"].items() if name != "LSTM"}
        best = min(by_hand, key=by_hand.__getitem__)
        figure = f"{told(found, 'LSTM', at)}; {best}, {told(found, best, at)}"
        rows.append(Row(f"value {where}, the LSTM; the best of the others", figure))
    return rows


def processes(record: Record) -> list[Row]:
    figures, published = record["figures"], record["published on rbf"]
    rows = [
        Row(
            f"log-likelihood of a point, {name}",
            shown(figures["rbf"][name]["log p"]),
            paper=str(published.get(name, "")),
        )
        for name in ("cnp", "np", "anp", "convcnp", "tnp")
    ]
    rows.append(Row("the exact process", shown(figures["rbf"]["exact GP"]["log p"])))
    for each in record["claims"]:
        gain = each["gain"]
        rows.append(Row(each["claim"], shown(gain), "above 0, with its interval", gain["low"] > 0))
    near, far = (figures[where]["convcnp"]["log p"]["mean"] for where in ("rbf", "rbf, x + 4"))
    rows.append(Row("ConvCNP with inputs moved by 4", f"{abs(far - near):.6f}", "0", abs(far - near) < 1e-3))
    return rows


def bayesian(record: Record) -> list[Row]:
    figures = record["values"]["figures"]
    rows = []
    for name, each in figures.items():
        near, away = each["window"], each["elsewhere"]
        asked = name not in ("MAML", "exact")
        apart = away["nll minus MAML's"]
        beside = f"; {shown(apart, 2)}" if name != "MAML" else ""
        rows.append(
            Row(
                f"{name}: NLL of a value away from the support{'; minus MAML' if beside else ''}",
                shown(away["nll"], 2) + beside,
                "below MAML's, with the interval of the difference" if asked else "",
                apart["high"] < 0 if asked else None,
            )
        )
        wider = away["width"]["mean"] / near["width"]["mean"]
        covers = abs(away["coverage"]["mean"] - 0.95) <= 0.03 and wider >= 1.5
        rows.append(
            Row(
                f"{name}: coverage of its 95 % intervals there, and how much wider they are than near the support",
                f"{100 * away['coverage']['mean']:.1f} %, {wider:.2f} times",
                "92 to 98 %, 1.5 times or more (our reading)" if asked else "",
                covers if asked else None,
            )
        )
        apart = away["together minus MAML's"]
        rows.append(
            Row(
                f"{name}: NLL of all values there at once, a value{'; minus MAML' if beside else ''}",
                shown(away["together"], 2) + (f"; {shown(apart, 2)}" if beside else ""),
                "below MAML's, with the interval of the difference (our reading)" if asked else "",
                apart["high"] < 0 if asked else None,
            )
        )
    return rows


def calibration(record: Record) -> list[Row]:
    rows = []
    for name, each in record["classes"].items():
        before, after = (
            f"{each[f'ece {when}']:.4f} ({each[f'ece {when}, low']:.4f} to {each[f'ece {when}, high']:.4f})"
            for when in ("before", "after")
        )
        rows.append(
            Row(
                f"{name}, expected calibration error before and after ({100 * each['accuracy']:.1f} % right)",
                f"{before}, {after}",
                "0.02 or less after (our reading)",
                each["ece after"] <= 0.02,
            )
        )
    return rows


def shared_support(record: Record) -> list[Row]:
    figures = record["shared support"]
    least = figures["MAML"]["both"]["ece"]["low"]
    rows = []
    for name, parts in figures.items():
        asked = name not in ("MAML", "ProtoNet", "TNP")  # which are not Bayesian
        for said, part in (("the two classes", "both"), ("the one that the example is of", "owner")):
            found = parts[part]
            judged = asked and part == "both"
            nll, claimed, right = (f"{found[what]['mean']:.2f}" for what in ("nll", "most likely", "accuracy"))
            rows.append(
                Row(
                    f"{name}, queries of {said}: expected calibration error; NLL; probability of the likeliest class, "
                    "and how often it is right",
                    f"{shown(found['ece'])}; {nll}; {claimed}, {right}",
                    "an error below MAML's, intervals apart" if judged else "",
                    found["ece"]["high"] < least if judged else None,
                )
            )
    return rows


def deep_kernel(record: Record) -> list[Row]:
    figures, published = record["figures"], record["published"]
    targets = {"in range": 0.08, "out of range": 0.10}
    rows = []
    for name, each in figures.items():
        for where, most in targets.items():
            error = each[where]["mse"]
            paper = " and ".join(f"{value:g}" for value in published.get(name, {}).get(where, []))
            asked = name in ("DKT, spectral", "DKT, spectral, inputs beside features")
            figure = "diverged" if error is None else f"{error:.3f}"
            reached = error is not None and error <= most if asked else None
            rows.append(
                Row(f"squared error {where}, {name}", figure, f"{most:.2f} or less" if asked else "", reached, paper)
            )
    return rows


def reproduced(records: Record) -> list[Row]:
    """Of training seed 0 each."""
    rows = []
    for ways, paper in ((5, 98.8), (20, 96.0)):
        found = records[f"omniglot-protonet-all-{ways}-way"]["result"]
        rows.append(
            Row(
                f"prototypical networks, {ways}-way 1-shot, statistics of the support alone",
                shown(found, 2, 100) + " %",
                f"{paper} % or more",
                100 * found["mean"] >= paper,
                f"{paper} %",
            )
        )
    record = records["omniglot-maml-5-way"]
    found, minutes = record["result"], record["run"]["seconds"] / 60
    rows.append(
        Row(
            f"MAML, 5-way 1-shot, in {minutes:.0f} minutes (`recipes/omniglot-maml.yaml`)",
            shown(found, 2, 100) + " %",
            "93 % or more",
            100 * found["mean"] >= 93,
            "98.7 %, transductive, after 60,000 steps",
        )
    )
    return rows


def waves(record: Record) -> list[Row]:
    steps = record["curves"]["steps"]
    rows = []
    for at, most in ((1, 0.67), (5, 0.38), (10, 0.35)):
        i = [int(x) for x in steps["x"]].index(at)
        found = {"mean": steps["mean"][i], "low": steps["low"][i], "high": steps["high"][i]}
        rows.append(
            Row(
                f"squared error after {at} inner step{'s' if at > 1 else ''}",
                shown(found),
                f"{most:.2f} or less",
                found["mean"] <= most,
                f"{most:.2f}",
            )
        )
    return rows


def novelty(records: Record) -> list[Row]:
    """Of every single run that was asked about queries of other classes."""
    rows = []
    for name, record in records.items():
        if not record.get("novelty"):
            continue
        found, asked = record["novelty"], record["protocol"]
        where = f"{name}: {asked['ways']}-way {asked['shots']}-shot, {record['protocol']['episodes']:,} episodes"
        rows.append(Row(f"{where}, area under the ROC curve (score: {found['score']})", f"{found['auroc']:.3f}"))
        flagged = f"{100 * found['flagged']:.1f} %, {100 * (1 - found['kept']):.1f} %"
        rows.append(Row(f"{where}, flagged of other classes and of the support's", flagged))
    return rows
