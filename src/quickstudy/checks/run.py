"""Running the checks: one by one, all at once, or as named tests."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any, Literal, get_args

from quickstudy import registry
from quickstudy.checks.contract import CHECKS, Check, NotApplicable
from quickstudy.checks.subject import Subject
from quickstudy.core import settings
from quickstudy.core.learner import MetaLearner, Tags
from quickstudy.core.predictions import Likelihood
from quickstudy.errors import MethodError, SettingsError

__all__ = ["Case", "CheckResult", "cases", "check_method", "parametrised"]

Outcome = Literal["passed", "failed", "expected failure", "skipped"]

REGRESSION = " (regression)"


@dataclasses.dataclass(frozen=True)
class CheckResult:
    """How one check of one method went."""

    name: str
    outcome: Outcome
    reason: str = ""
    """Why it failed or was skipped; what was measured where it passed."""

    @property
    def passed(self) -> bool:
        """Whether nothing is wrong: only the outcome "failed" is."""
        return self.outcome != "failed"


@dataclasses.dataclass(frozen=True)
class Case:
    """One check of one method, ready to run."""

    name: str
    check: Check
    subject: Subject
    expected: str = ""
    """The declared reason for which it is known to fail; empty where none is."""

    def run(self) -> CheckResult:
        """Do it. Whatever the method raises is a failure with that reason, never an error here."""
        try:
            note = self.check(self.subject) or ""
        except NotApplicable as why:
            return CheckResult(self.name, "skipped", str(why))
        except Exception as error:
            if self.expected:
                return CheckResult(self.name, "expected failure", self.expected)
            text = str(error) if isinstance(error, MethodError) else f"{type(error).__name__}: {error}"
            return CheckResult(self.name, "failed", text)
        if self.expected:
            reason = f"declared to fail ({self.expected}), but it passes. Remove it from Tags.exceptions."
            return CheckResult(self.name, "failed", reason)
        return CheckResult(self.name, "passed", note)


def check_method(
    method: str | type[MetaLearner],
    chosen: Mapping[str, Any] | None = None,
    *,
    net: str | Mapping[str, Any] | None = None,
    item: tuple[int, ...] | None = None,
    only: Iterable[str] | None = None,
) -> list[CheckResult]:
    """Hold a method to the contract, on toy tasks.

    Args:
        method: A registered name, an address `package.module:Class`, or a class. Its `__init__` may ask for the
            structure `net`, `item`, `outputs` and `pool_outputs`; all else is settings.
        chosen: Settings other than the defaults, as {name: value}.
        net: A net by name, or as {"name": ..., setting: value}; a small perceptron by default.
        item: The shape of one input, e.g. (1, 16, 16) for nets that read images; by default 16 numbers, or the one
            shape that the method reads.
        only: Names of checks; by default all in `CHECKS`.

    Returns:
        One result a check, named "check", and for methods that also do regression one more, "check (regression)".

    Raises:
        SettingsError: there is no method, setting, net or check of that name.
        MethodError: the class is not a `MetaLearner`, or declares an exception for a check that does not exist.

    >>> from quickstudy.checks import check_method
    >>> check_method("protonet", only=["purity"])
    [CheckResult(name='purity', outcome='passed', reason='')]
    """
    return [case.run() for case in cases(method, chosen, net=net, item=item, only=only)]


def cases(
    method: str | type[MetaLearner],
    chosen: Mapping[str, Any] | None = None,
    *,
    net: str | Mapping[str, Any] | None = None,
    item: tuple[int, ...] | None = None,
    only: Iterable[str] | None = None,
) -> list[Case]:
    """What `check_method` would run with the same arguments, for callers that run checks one at a time."""
    cls = registry.get("method", method) if isinstance(method, str) else method
    if isinstance(method, str):
        chosen = {**registry.expand("method", {"name": method, **(chosen or {})})}
        del chosen["name"]
    if not (isinstance(cls, type) and issubclass(cls, MetaLearner)):
        raise MethodError(f"{cls!r} is not a meta-learner. Inherit quickstudy.MetaLearner or quickstudy.QueryScored.")
    names = list(CHECKS if only is None else only)
    given = dict(chosen or {})
    tags = cls.tags_with(settings.settings_of(cls)(**given))
    _refuse_unknown(names, cls, tags)
    claimed = {"categorical": tags.classification, "gaussian": tags.regression}
    kinds: list[Likelihood] = [kind for kind in get_args(Likelihood) if claimed[kind]]
    found = []
    for kind in kinds:
        subject = _subject(cls, dict(given), net, item or tags.item or (16,), kind)
        label = REGRESSION if kind == "gaussian" else ""
        for name in names:
            reason = tags.exceptions.get(name + label) or tags.exceptions.get(name, "")
            found.append(Case(name + label, CHECKS[name], subject, reason))
    return found


def parametrised(*methods: str | type[MetaLearner], **options: Any) -> Any:
    """A pytest decorator: one named test for each check of each method, given as the argument `case`.

    ```python
    @parametrised("maml", MyMethod)
    def test_contract(case):
        result = case.run()
        assert result.passed, result.reason
    ```

    Args:
        methods: As `check_method` takes them; by default every registered method.
        options: `chosen`, `net`, `item` and `only` as `check_method` takes them, for all of them.
    """
    import pytest

    found = [(_label(m), case) for m in methods or registry.METHODS for case in cases(m, **options)]
    return pytest.mark.parametrize("case", [case for _, case in found], ids=[f"{m}-{case.name}" for m, case in found])


def _label(method: str | type) -> str:
    return method if isinstance(method, str) else method.__name__


def _refuse_unknown(names: list[str], cls: type[MetaLearner], tags: Tags) -> None:
    known = ", ".join(CHECKS)
    for name in names:
        if name not in CHECKS:
            raise SettingsError(f"no check named {name!r}{registry.closest(name, CHECKS) or '.'} Known: {known}.")
    for name in tags.exceptions:
        if name.removesuffix(REGRESSION) not in CHECKS:
            raise MethodError(
                f"{cls.__name__}.tags.exceptions names a check {name!r} that does not exist"
                f"{registry.closest(name, CHECKS) or '.'} Known: {known}."
            )


def _subject(
    cls: type[MetaLearner], chosen: dict[str, Any], net: Any, item: tuple[int, ...], kind: Likelihood
) -> Subject:
    made = settings.settings_of(cls)
    if "likelihood" in (field.name for field in dataclasses.fields(made)):
        chosen["likelihood"] = kind
    if net is None:
        # Smooth, for finite differences. Normalised for classes, so that statistics are passed too; not for waves,
        # where normalising by the support forgets where on the axis it was.
        norm = "support" if kind == "categorical" else "none"
        net = {"name": "mlp", "hidden": [16, 16], "activation": "tanh", "norm": norm}
    return Subject(cls, made(**chosen), settings.load("net", net), item, kind)
