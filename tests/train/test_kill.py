"""kill -9 at any moment and between any two system calls: a resumed run ends bit for bit like an uninterrupted one."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch

from quickstudy.train.loop import fit
from quickstudy.train.run import Run, training_source
from train.runs import sine_run, weights

DEATHS = 18
"""More than the 16 system calls of a step that saves a checkpoint and the best, so that each is once the last."""

# torch is imported once, with what it only loads when used; every death is that of a fork. Nothing of torch that has
# threads runs in the parent: they would not survive.
PROGRAM = """
    import os, signal, sys, time
    from pathlib import Path
    import torch
    from quickstudy.train.loop import fit
    from quickstudy.train.run import Run, training_source

    def live(left):
        def counted(call):
            def calls(*args, **kwargs):
                nonlocal left
                left -= 1
                if left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                return call(*args, **kwargs)
            return calls
        # syncing matters to power cuts, not to kill -9, and is slow on a busy disk: it is only counted
        os.fsync, Path.replace, Path.unlink = map(counted, (lambda handle: None, Path.replace, Path.unlink))
        run = Run.open(sys.argv[1])
        state, damaged = run.resume()
        assert not damaged, damaged
        for step in fit(state.method, training_source(run.settings), state=state):
            run.log({"step": step.number, "loss": step.loss})
            run.save(step.state)
            if step.number % 3 == 0:
                run.save_best(step.state, step.number)
        os._exit(0)

    def die_at_any_moment(delay):
        log = Path(sys.argv[1], "train.jsonl")
        start = log.stat().st_size if log.exists() else 0
        child = os.fork() or live(10**9)
        while not log.exists() or log.stat().st_size <= start:
            time.sleep(0.001)
        time.sleep(delay)
        os.kill(child, signal.SIGKILL)
        return child

    def die_at_call(left):
        return os.fork() or live(left)

    Run.open(sys.argv[1]).resume()
    torch.func.jvp(torch.sin, (torch.ones(()),), (torch.ones(()),))
    for life, how in [(die_at_any_moment, delay) for delay in (0, 0.007, 0.02)] + [
        (die_at_call, left) for left in [*range(1, int(sys.argv[2]) + 1), 10**9]
    ]:
        print(os.waitstatus_to_exitcode(os.waitpid(life(how), 0)[1]))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills forks")
def test_killed_at_any_moment_a_run_ends_bit_for_bit_the_same(tmp_path: Path) -> None:
    settings = sine_run(steps=150)
    whole, killed = Run.create(tmp_path / "whole", settings), Run.create(tmp_path / "killed", settings)
    state, _ = whole.resume()
    for step in fit(state.method, training_source(settings), state=state):
        whole.log({"step": step.number, "loss": step.loss})
        if step.number >= 147:
            whole.save(step.state)
            if step.number % 3 == 0:
                whole.save_best(step.state, step.number)
    command = [sys.executable, "-c", textwrap.dedent(PROGRAM), str(killed.folder), str(DEATHS)]
    lives = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    assert lives == ["-9"] * (3 + DEATHS) + ["0"]
    for run in (whole, killed):
        assert sorted(path.name for path in run.checkpoints.iterdir()) == [
            f"{name}.{ending}"
            for name in ("best-00000147", "best-00000150", "step-00000149", "step-00000150")
            for ending in ("json", "safetensors")
        ]
    one, other = whole.resume()[0], killed.resume()[0]
    assert torch.equal(weights(one.method), weights(other.method))
    assert all(torch.equal(value, other.tensors()[name]) for name, value in one.tensors().items())
    assert torch.equal(weights(whole.method()[0]), weights(killed.method()[0]))
    assert list(whole.history()) == list(killed.history())
