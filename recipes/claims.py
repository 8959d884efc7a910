"""Write docs/claims.md: `python recipes/claims.py`.

It is made from the records in docs/records, which the commands beside each claim write; no figure is typed. What is
typed are the papers' figures, the targets, which were set before anything was measured, and what was tried.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import of_boards
import of_claims as of
from of_claims import Row

ROOT = Path(__file__).parent.parent
RECORDS = ROOT / "docs" / "records"
PAGE = ROOT / "docs" / "claims.md"

HEAD = """# Claims

What quickstudy's methods were expected to show, and what they showed. Made by `python recipes/claims.py` from the
records in `docs/records`; no figure is typed but the papers' (in a column of their own, each under its own protocol,
mostly with far longer training), the targets, and what is told of earlier tries. Targets are the papers' figures or
were set by this project before anything was measured, or the claim says when; where a claim has no figure, and ours
was chosen to make it one, the target says "our reading".
Intervals are 95 % over test tasks. Training was from one seed each, but for leaderboard rows that name several, whose
means these are: intervals do not cover its chance.
Where keys of attention have come to begin as queries since, in small tables, with points of Gaussian processes, in
neural processes and the transformer of ambiguous functions, nothing was trained anew.
"""


@dataclass(frozen=True)
class Claim:
    """What is claimed, where, and how it is measured."""

    title: str
    says: str
    command: str
    record: str
    rows: Callable[[Any], list[Row]]
    note: str = ""
    """What fell short, and what was tried."""


CLAIMS = [
    Claim(
        "A prior-fitted network on small tables",
        "A transformer that was trained on random causal models alone tells classes apart on real tables as well as "
        "tuned logistic regression, without training or tuning on them (Hollmann et al. 2023). Ours reads what kernel "
        "machines in closed form say of each row, one of them linear; theirs reads the features.",
        "python benchmarks/claims/small_tables.py",
        "claims/small_tables",
        of.small_tables,
        "Settings of the prior and of the kernel machines were chosen on neither these tables nor those set aside; the "
        "prior was changed before any real table was read, because half of its tables could not be told at all. An "
        "earlier measurement of the same network read at most 64 columns at a time, as a default; it took up to 5.8 "
        "seconds where there were more, and its mean AUC was 0.8848. That default is all that these tables changed. A "
        "network that reads cells, as the published ones do (`TablePFN`), was begun and given up after 100 steps: 2.4 "
        "seconds each for 8 tables.",
    ),
    Claim(
        "A prior-fitted network on small tables of values",
        "A transformer that was trained on random causal models alone predicts values on real tables as well as tuned "
        "ridge regression, without training or tuning on them (after Hollmann et al. 2025, who normalise errors "
        "between the contenders of each table). Ours weighs Gaussian processes in closed form, one of them linear; "
        "theirs reads the features.",
        "python benchmarks/claims/small_table_values.py",
        "claims/small_table_values",
        of.small_table_values,
        "Prior, kernels and training were chosen on tables of the prior alone; these tables were measured once, and "
        "chose nothing. Means are ruled by `meta`, whose few great values nobody predicts. Where the value is all but "
        "an exact sum of columns (`csb_ch6`, `wooldridge_sleep75`, `wooldridge_attend`) ridge regression has next to "
        "no error and the network's is about a thousand times that, which is why the geometric mean is above 1: it "
        "reads columns by the inverse hyperbolic sine of their deviations, and few tables of its prior are without "
        "noise. Only `modeldata_ames` took more than a second; since it was measured, both additive models of a table "
        "share their kernels, and this one takes three fifths of that time. The network was trained for 20 minutes on "
        "a busy machine, of which it had about a fifth.",
    ),
    Claim(
        "A prior-fitted network and the exact posterior",
        "Trained on functions of a Gaussian process, a transformer approximates its posterior predictive distribution "
        "(Müller et al. 2022, section 5.1).",
        "python benchmarks/claims/pfn_gp.py --tasks 1000 --steps 20000",
        "claims/pfn_gp",
        of.posterior,
        "Shorter runs were measured before on the same test functions: 0.0720 after 2,000 steps, 0.0487 after 4,000 "
        "(0.070 after 30 points) and 0.0366 after 10,000 (0.054). Excess grows with the number of points, and falls "
        "with longer training.",
    ),
    Claim(
        "A memory binds labels to characters never seen",
        "In a sequence of 50 characters of five new classes, a memory-augmented network guesses at the first of a "
        "class and knows the second and the fifth (Santoro et al. 2016, table 1). Theirs reads pixels; ours reads the "
        "features of a prototypical network trained on the training classes, and learns the binding alone.",
        "python benchmarks/claims/mann_instances.py",
        "claims/mann_instances",
        of.instances,
        "Half as many steps were measured before on the same sequences: 79.1 % at the second and 93.4 % at the fifth. "
        "With a convolutional net that was to learn along, from pixels, 1,500 steps taught neither net to bind. Since "
        "then the memory begins with larger keys, which it learns from sooner; it was not trained anew.",
    ),
    Claim(
        "Linear regression in context",
        "On linear functions that it has never seen, a transformer's error follows that of least squares, is next to "
        "nothing once there are more examples than dimensions, and grows for inputs scaled otherwise and prompts "
        "longer than in training (Garg et al. 2022, figures 2 and 4).",
        "python benchmarks/claims/in_context.py --steps 20000",
        "claims/in_context",
        of.in_context,
        "Trained for 12,000 steps, with keys that began unlike queries, it had 0.024 (0.020 to 0.027) left after 10 "
        "examples. It has no code of positions, so that nothing but their number is new about longer prompts.",
    ),
    Claim(
        "Quadratics in an LSTM's state",
        "With fixed weights, an LSTM's error on a new quadratic function falls to a low one in some 35 examples "
        "(Hochreiter et al. 2001).",
        "python benchmarks/claims/lstm_quadratics.py",
        "claims/lstm_quadratics",
        of.quadratics,
        "After 3,000 steps, measured before on the same functions, 0.25 of the running mean's error was left; the "
        "target was set then. Nothing but the length of training has changed since.",
    ),
    Claim(
        "Steps learned by an LSTM",
        "Trained on functions ‖Wθ - y‖² of ten numbers, an LSTM that says each coordinate's step finds lower values of "
        "new ones within the 100 steps that it was trained for than optimisers made by hand, each with the rate that "
        "suits such functions best (Andrychowicz et al. 2016, figure 4).",
        "python benchmarks/claims/learned_optimiser.py",
        "claims/learned_optimiser",
        of.learned_optimiser,
        "Trained back through all 100 steps at once, as was tried first, it did not get below Adam: 0.47 on these "
        "functions after 2,000 outer steps. At the rate that was chosen for it Nesterov's momentum diverges on one of "
        "the 2,000 test functions, which made its mean 3,246 in a first measurement; now steps that end above where "
        "they began count as none. Beyond the steps of training Adam's median is far lower than the LSTM's.",
    ),
    Claim(
        "Neural processes, in the papers' order",
        "On functions of a Gaussian process, attention makes unseen points likelier and a transformer more so (Nguyen "
        "and Grover 2022, table 1); a convolutional process answers alike wherever its inputs lie (Gordon et al. "
        "2020).",
        "python benchmarks/claims/neural_processes.py --tasks 1504 --out docs/records/claims/neural-processes.json",
        "claims/neural-processes",
        of.processes,
        "The papers train for 100,000 steps of 16 tasks. On a periodic kernel, which none was trained on, the "
        "transformer was expected above the conditional process and is below it: it is surer where it is wrong.",
    ),
    Claim(
        "Who knows what the examples leave open",
        "Where five points are explained by a sine and by a line, Bayesian methods spread over both (Finn et al. 2018, "
        "Yoon et al. 2018); MAML has one answer. A transformer that reads the support (TNP) is set beside them.",
        "python benchmarks/claims/ambiguity.py",
        "claims/ambiguity",
        of.bayesian,
        "MAML's intervals are as wide where it has points as where it has none. Of the methods that step from a "
        "learned start the others are no likelier away from them: PLATIPUS's members do differ (the best of twenty "
        "has an error of 5.6 there, MAML's answer 8.6, the best of ABML's 8.7), but their mixture is not likelier, "
        "value by value. Of all values at once it is: who spreads over whole functions is right about all values or "
        "none. That score, and its target, were added after all others had been measured, to the same runs. "
        "Trained by the likelihood of its mixture, in place of the chaser loss, Bayesian MAML is surer and likelier "
        "near its points, and as wide as it should be elsewhere; ABML and PLATIPUS, trained so and asked on "
        "validation tasks, were 0.02 and 0.09 behind MAML elsewhere. The transformer learns far more of the family in "
        "as many steps. Judged by intervals apart, as it was at first, deep kernel transfer was not below MAML; tasks "
        "are the same for all, so differences are taken task by task. After 1,000 steps, measured before, MAML stood "
        "at 2.74 and DKT at 2.45. Bayesian MAML's inner rate was 0.02 then; in longer training its meta-loss became "
        "infinite with that.",
    ),
    Claim(
        "Probabilities that can be taken at their word",
        "One temperature, fitted on validation tasks, makes few-shot classifiers' probabilities calibrated on new "
        "classes.",
        "python benchmarks/claims/calibration.py",
        "claims/calibration",
        of.calibration,
        "Measured before, on a net that halved by strides and with a temperature from 200 validation tasks, the "
        "Gaussian process's error was 0.0236: its temperature had made it worse. An error is a sum of distances, to "
        "which resampling adds: intervals of the smallest lie high, and may leave the figure itself out.",
    ),
    Claim(
        "Two classes that share their only example",
        "Where two of five classes have the same support example, drawn from one of the two, the right answer to their "
        "queries is one half each. Bayesian methods were expected to know, and MAML to be confidently wrong.",
        "python benchmarks/claims/calibration.py",
        "claims/calibration",
        of.shared_support,
        "None was trained on such tasks. Queries of the class that the example is not of look like no example, and are "
        "taken for some third class: they make up most of each error. Of the queries that look like the example, VERSA "
        "and prototypical networks say one half for either class, as both have the same weights or means. The outputs "
        "of methods that step differ between classes from the start, which two equal examples do not mend: MAML gives "
        "the likeliest class 81 % and is right in 45. On a net that halved by strides and after 500 steps it named "
        "72.5 % of the usual queries, was less sure (an error of 0.375), and none was below it.",
    ),
    Claim(
        "Two classes that share their only example, with such tasks in training",
        "The same, where half of the training tasks have two such classes: what a method can learn to say of them.",
        "python benchmarks/claims/calibration.py --share 0.5 --methods ProtoNet VERSA DKT TNP MAML ABML PLATIPUS "
        "--runs runs/shared-support --out docs/records/claims/shared_support.json",
        "claims/shared_support",
        of.shared_support,
        "All learn to be less sure, MAML too. A transformer that reads the support as a whole (TNP) has the smallest "
        "error beside prototypical networks, and names 68 % of the queries of usual tasks, where the others name 90 "
        "and more. The price is doubt about usual tasks, of which the calibration error is 0.04 to 0.12.",
    ),
    Claim(
        "Deep kernel transfer on sines",
        "A Gaussian process on learned features regresses noisy sines from five points, in the range that it was "
        "trained on and beyond it (Patacchiola et al. 2020, table 1).",
        "python benchmarks/claims/deep_kernel.py",
        "claims/deep-kernel",
        of.deep_kernel,
        "Features of rectified units, as the paper's, go on beyond the range as they left it; how well that continues "
        "a sine is nothing that training asks for. One run each of its net was measured before: at a rate of 3e-3 "
        "that falls along a cosine, 0.015 in range and 0.945 beyond after 4,000 steps of 16 tasks, and 1.73 beyond "
        "after 16,000; at the paper's rate 0.97 beyond after 50,000 steps of one task. Longer training is no help. "
        "The kernel extrapolates where the input itself is among its features; units of tanh beside it, which "
        "saturate, let it learn sooner than from inputs alone. That net was chosen on validation tasks of both "
        "ranges, of ten that were tried for a minute each: narrower ones without the input, weight decay, and "
        "rectified units beside the input left more error beyond the range; eight units of tanh beside it did as "
        "well.",
    ),
    Claim(
        "Few-shot intents on frozen text features",
        "Heads in closed form name no fewer intents of CLINC150 than tuned logistic regression on the same features, "
        "from five sentences each.",
        "python benchmarks/claims/clinc150.py",
        "claims/clinc150",
        of.intents,
    ),
    Claim(
        "Omniglot",
        "Class means in a learned space, trained on train and validation classes (Snell et al. 2017, table 1); MAML "
        "(Finn et al. 2017, table 1).",
        "quickstudy train --config recipes/omniglot-protonet-all.yaml --out runs/omniglot-protonet-all",
        "",
        of.reproduced,
    ),
    Claim(
        "MAML on sines",
        "Trained for one step on ten points, evaluated on five (Finn et al. 2017, figure 3).",
        "quickstudy train --config recipes/sines-maml.yaml --out runs/sines-maml",
        "sines-maml",
        of.waves,
        "Seven versions were tried; [Results](results.md) has them all. A start that is trained for one step makes "
        "some tasks in ten thousand diverge in more, and the means depend on whether one of them is among the test "
        "tasks; so the weights are chosen on 4,000 of validation.",
    ),
    Claim(
        "Sine waves, one budget for all",
        "Of the [leaderboard](leaderboards.md): MAML at its paper's errors (Finn et al. 2017, table 2), Meta-SGD below "
        "it (Li et al. 2017, table 1), CAVIA (Zintgraf et al. 2019), MT-net beside Meta-SGD (Lee and Choi 2018), and "
        "implicit gradients no worse than exact ones (Rajeswaran et al. 2019).",
        "python benchmarks/leaderboard.py sines",
        "leaderboards/sines",
        of_boards.sines,
        "Differences are paired, task by task. The papers' order of MT-net and Meta-SGD is judged by means, as theirs "
        "are no further apart than their intervals.",
    ),
    Claim(
        "Omniglot, ten minutes of training",
        "Of the [leaderboard](leaderboards.md): the metric-based methods near their papers (Snell et al. 2017, "
        "Bertinetto et al. 2019, Sung et al. 2018, Vinyals et al. 2016), the methods that step not far behind, Reptile "
        "behind MAML (Nichol et al. 2018).",
        "python benchmarks/leaderboard.py omniglot",
        "leaderboards/omniglot",
        of_boards.omniglot,
        "Proto-MAML's figures are those of its start, heads at the class means: its inner steps change none of its "
        "answers. Without its steps ANIL with a tied head cannot tell classes apart. The targets of methods that step "
        "are this project's.",
    ),
    Claim(
        "CIFAR-FS, ten minutes of training",
        "Of the [leaderboard](leaderboards.md): prototypical networks and, with longer training, R2-D2 within three "
        "points of their papers (Bertinetto et al. 2019, table 2), and every method ahead of one that does not adapt.",
        "python benchmarks/leaderboard.py cifar_fs",
        "leaderboards/cifar_fs",
        of_boards.cifar_fs,
        "Test episodes are drawn from 250 images of each class, the papers' from 600.",
    ),
    Claim(
        "Queries of no class of the support",
        "A query of a class that the support does not have is less familiar than one of a class that it has. The score "
        "and the threshold, below which a query is flagged, were chosen on validation tasks. No target was set.",
        "quickstudy evaluate runs/cifar_fs-r2d2-long --ways 5 --shots 1 --queries 15 --episodes 1000",
        "",
        of.novelty,
    ),
]


def read(name: str) -> Any:
    """A record, a leaderboard, or all records of single runs; None where it has not been measured."""
    if name.startswith("leaderboards/"):
        return of_boards.board(name.partition("/")[2], RECORDS)
    if not name:
        return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(RECORDS.glob("*.json"))}
    path = RECORDS / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def trained(record: Any) -> str:
    """How long what was measured had been trained, and from which seed; nothing of a leaderboard, which says so."""
    if not isinstance(record, dict):
        return ""
    runs = record.get("trained", record.get("training"))
    if "run" in record:
        run = record["run"]
        return (
            f"Trained: {run['method']} {run['steps']:,} steps, {run['seconds'] / 60:.1f} minutes, seed {run['seed']}."
        )
    if not isinstance(runs, dict) or not runs:
        return ""
    parts = []
    for name, run in runs.items():
        seed = run.get("settings", {}).get("training", {}).get("seed", 0)
        parts.append(
            f"{name.rpartition(', ')[0] or name} {run['steps']:,} steps, {run['seconds'] / 60:.1f} minutes, seed {seed}"
        )
    return "Trained: " + "; ".join(dict.fromkeys(parts)) + "."


def table(rows: list[Row]) -> list[str]:
    """Rows as Markdown."""
    lines = ["| measured | figure | target | reached | the paper's figure |", "|---|---|---|---|---|"]
    for row in rows:
        reached = "" if row.reached is None else ("yes" if row.reached else "**no**")
        lines.append(f"| {row.what} | {row.figure} | {row.target} | {reached} | {row.paper} |")
    return lines


def section(claim: Claim, record: Any) -> list[str]:
    """A claim as a section of the page."""
    lines = [f"## {claim.title}", "", claim.says, "", f"`{claim.command}`", ""]
    if record is None:
        return [*lines, "Not measured yet.", ""]
    if facts := trained(record):
        lines += [facts, ""]
    lines += [*table(claim.rows(record)), ""]
    return [*lines, claim.note, ""] if claim.note else lines


def overview(records: dict[str, Any]) -> list[str]:
    """How many figures of each claim reach their targets."""
    lines = ["| claim | figures with a target | reached |", "|---|---|---|"]
    for claim in CLAIMS:
        record = records[claim.record]
        asked = [row for row in claim.rows(record) if row.reached is not None] if record else []
        anchor = re.sub(r"[^a-z0-9 -]", "", claim.title.lower()).replace(" ", "-")
        done = f"{sum(bool(row.reached) for row in asked)}" if record else "not measured yet"
        done = done if asked or not record else "no target was set"
        lines.append(f"| [{claim.title}](#{anchor}) | {len(asked) or ''} | {done} |")
    return lines


def page() -> str:
    """The page as its records have it."""
    records = {claim.record: read(claim.record) for claim in CLAIMS}
    lines = [HEAD, *overview(records), ""]
    for claim in CLAIMS:
        lines += section(claim, records[claim.record])
    return "\n".join(lines).rstrip() + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
