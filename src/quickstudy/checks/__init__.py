"""The contract, executed: `check_method` holds any method, registered or a user's own, to what `MetaLearner` promises.

`contract` holds one small function for each promise, `subject` the toy tasks and the small methods they are tried on,
`run` what calls them. What a method does not claim (`Tags`) is skipped with that reason, and what it is known to break
is written in `Tags.exceptions` as {check: reason}; an exception that has become untrue is a failure too.
"""

from quickstudy.checks.contract import CHECKS
from quickstudy.checks.run import Case, CheckResult, cases, check_method, parametrised
from quickstudy.checks.subject import Subject

__all__ = ["CHECKS", "Case", "CheckResult", "Subject", "cases", "check_method", "parametrised"]
