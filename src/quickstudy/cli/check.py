"""`quickstudy check`: hold a method to the contract of `MetaLearner`."""

from __future__ import annotations

from quickstudy.cli import screen
from quickstudy.cli.screen import Switch

__all__ = ["EXAMPLES", "check"]

EXAMPLES = """\
Examples:
  quickstudy check maml
  quickstudy check my_package.my_module:MyMethod
"""


def check(
    method: str,
    /,
    *,
    json: Switch = False,
    quiet: Switch = False,
    threads: int | None = None,
) -> int:
    """Check a method against the contract: purity, no leaks from queries, gradients, saving, that it learns, and more.

    The exit code is 0 when nothing is wrong and 1 when a check fails.

    Args:
        method: A registered name, or the address of a class of yours, package.module:Class.
        json: Print JSON.
        quiet: Show no progress.
        threads: Threads for torch; by default as many as there are idle processors.
    """
    from quickstudy.checks import CheckResult, cases

    results: list[CheckResult] = []
    ready = cases(method)
    with screen.progress("Checking", len(ready), quiet=quiet) as ticker:
        for case in ready:
            ticker.at(len(results), case.name)
            results.append(case.run())
    failed = [result for result in results if not result.passed]
    if json:
        screen.json_out([{"name": r.name, "outcome": r.outcome, "reason": r.reason} for r in results])
    else:
        screen.table(["Check", "", ""], [[r.name, r.outcome, r.reason] for r in results])
        screen.say(f"\n{method}: {len(results) - len(failed)} of {len(results)} without fault.")
    return 1 if failed else 0
