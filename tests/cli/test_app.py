from __future__ import annotations

import json
import os
import subprocess
import sys
import time

import pytest

import quickstudy
from quickstudy import registry
from quickstudy.cli import app, main, screen
from quickstudy.cli.app import plain_names
from quickstudy.cli.listing import FAMILIES

COMMANDS = ("demo", "train", "evaluate", "compare", "adapt")
COMMANDS += ("bundle", "export", "push", "pull", "report", "list", "check")


def python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120)


@pytest.mark.parametrize("line", [[], ["--help"], ["train", "--help"], ["evaluate", "--help"], ["--version"]])
def test_help_does_not_wait_for_torch(line: list[str]) -> None:
    code = f"import sys; from quickstudy.cli import main; c = main({line}); print(c, 'torch' in sys.modules)"
    assert python(code).stdout.endswith("0 False\n")


def test_help_is_quick() -> None:
    """It waits for none of the packages that take long to import."""
    heavy = "{'fastapi', 'matplotlib', 'scipy', 'sklearn', 'sqlalchemy', 'torch', 'transformers'}"
    code = f"import sys; from quickstudy.cli import main; main(['--help']); print('also', {heavy} & set(sys.modules))"
    assert python(code).stdout.splitlines()[-1] == "also set()"


def test_threads_are_settled_before_torch_counts_them() -> None:
    code = (
        "import os; os.environ.pop('OMP_NUM_THREADS', None); from quickstudy.cli import main; "
        "main(['list', 'protonet', '--json']); import torch; "
        "print(torch.get_num_threads(), os.environ['OMP_WAIT_POLICY'])"
    )
    threads, policy = python(code).stdout.split()[-2:]
    assert 1 <= int(threads) <= (os.cpu_count() or 1)
    assert policy == "PASSIVE"


def test_every_command_explains_itself(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    overview = capsys.readouterr().out
    places = [overview.index(f"\n│ {command}") for command in COMMANDS]
    assert places == sorted(places)  # in the order in which they are used
    for command in COMMANDS:
        assert main([command, "--help"]) == 0
        page = capsys.readouterr().out
        assert "Examples:" in page
        assert max(map(len, page.splitlines())) <= 80


def test_help_of_a_method_shows_its_settings(capsys: pytest.CaptureFixture[str]) -> None:
    line = ["train", "maml", "--tasks", "sines", "--method.rule", "momentum", "--help"]
    assert main(line) == 0
    page = capsys.readouterr().out
    for name in ("--method.steps", "--method.rule.decay", "--tasks.shots", "--net.hidden", "--train.queries", "--rate"):
        assert name in page
    assert "Inner steps" in page
    assert "--tasks.ways INT" not in page


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.strip() == quickstudy.__version__


def test_list_names_everything(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list"]) == 0
    page = capsys.readouterr().out
    for table in registry.TABLES.values():
        for name in table:
            assert f"\n{name} " in page
    assert page.count("Methods ") == len(FAMILIES)


def test_list_for_machines(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    names = [entry["name"] for entry in found["methods"]]
    assert sorted(names) == sorted([*registry.METHODS, *registry.VARIANTS])
    assert names.index("maml") < names.index("fomaml") < names.index("reptile"), "variants stand by their method"
    assert {entry["family"] for entry in found["methods"]} == set(FAMILIES)
    assert all(entry["summary"] for entries in found.values() for entry in entries)


def test_list_shows_the_settings_of_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "maml", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    steps = found["settings"][0]
    assert (found["kind"], steps["name"], steps["default"]) == ("method", "steps", 5)
    assert main(["list", "maml"]) == 0
    page = capsys.readouterr().out
    assert "Finn et al. 2017" in page
    assert "rule.rate" in page
    assert "quickstudy train maml" in page
    assert main(["list", "flatten"]) == 0
    assert "It has no settings." in capsys.readouterr().out


def test_flags_with_underscores_are_understood() -> None:
    assert plain_names(["--weight_decay=a_b", "x_y", "--no_floors"]) == ["--weight-decay=a_b", "x_y", "--no-floors"]


def test_check_says_what_fails(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from quickstudy import checks
    from quickstudy.checks import CheckResult

    class Case:
        def __init__(self, name: str, outcome: str) -> None:
            self.name, self.outcome = name, outcome

        def run(self) -> CheckResult:
            return CheckResult(self.name, self.outcome, "reasons")  # type: ignore[arg-type]

    monkeypatch.setattr(checks, "cases", lambda method: [Case("purity", "passed"), Case("leak", "failed")])
    assert main(["check", "protonet"]) == 1
    assert "1 of 2 without fault" in capsys.readouterr().out
    assert main(["check", "protonet", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)[1] == {"name": "leak", "outcome": "failed", "reason": "reasons"}
    monkeypatch.setattr(checks, "cases", lambda method: [Case("purity", "passed")])
    assert main(["check", "protonet"]) == 0


def test_an_interruption_is_no_error(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(words: list[str]) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(app, "_run", interrupted)
    assert main(["list"]) == 130
    assert "Interrupted" in capsys.readouterr().err


def test_errors_of_the_system_are_told_plainly(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(words: list[str]) -> int:
        raise OSError(28, "No space left on device", "x.json")

    monkeypatch.setattr(app, "_run", full)
    assert main(["list"]) == 1
    assert capsys.readouterr().err == "error: x.json: no space left on device.\n"


def test_a_traceback_on_demand(monkeypatch: pytest.MonkeyPatch) -> None:
    from quickstudy import QuickstudyError

    monkeypatch.setenv("QUICKSTUDY_DEBUG", "1")
    with pytest.raises(QuickstudyError, match="no method named 'x'"):
        main(["check", "x"])


def test_a_reader_that_has_seen_enough() -> None:
    code = "from quickstudy.cli import main; import sys; sys.exit(main(['list', 'maml']))"
    line = f'{sys.executable} -c "{code}" | true; echo ${{PIPESTATUS[0]}}'
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=False, timeout=60)
    assert done.stdout.strip() == "0", done.stderr
    assert done.stderr == ""


def test_progress_off_a_terminal_is_a_line_now_and_then(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    with screen.progress("Training", 10) as ticker:
        for done in range(10):
            now[0] += 11
            ticker.at(done, "loss 1")
    assert capsys.readouterr().err == "Training: 20%  loss 1\nTraining: 50%  loss 1\nTraining: 80%  loss 1\n"
    with screen.progress("Training", 10, quiet=True) as ticker:
        now[0] += 1000
        ticker.at(5)
    assert capsys.readouterr().err == ""


def test_json_holds_no_nan(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="Out of range float"):
        screen.json_out({"x": float("nan")})
