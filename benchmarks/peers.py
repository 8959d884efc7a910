"""Our exact meta-gradient beside learn2learn's and higher's: same weights, same data, one process.

    python benchmarks/peers.py

makes a virtual environment for the peers (once, by default `build/peers`; choose another with `--environment`), runs
itself there and prints how far the meta-gradients are apart, as ‖a - b‖ / ‖b‖. It exits with 1 if float32 differs by
more than 1e-5 at a row's limit, or float64 by more than 1e-9 anywhere.

The reference net is written here with torch's own layers, so that nothing of quickstudy is on the peers' side.

The last two columns say how far either float32 result is from learn2learn's float64 one: what agreement can
mean. With batch norm at one shot, steps of 0.4 from a random start magnify rounding, and one maximum or ReLU that falls
on the other side of its kink moves the gradient by more than the limit, whoever does the arithmetic. Those rows are
shown, not held to it.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tarfile
import types
import venv
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
SINGLE_LIMIT, DOUBLE_LIMIT = 1e-5, 1e-9
CASES = [  # batch norm, inner rate, inner steps, held to the limit in float32
    *((True, 0.1, steps, True) for steps in (1, 3, 5)),
    *((False, 0.4, steps, True) for steps in (1, 3, 5)),
    *((True, 0.4, steps, False) for steps in (1, 3, 5)),
]
WAYS, QUERIES, WIDTH = 5, 15, 64


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--environment", type=Path, default=ROOT / "build" / "peers")
    environment = parser.parse_args().environment.resolve()
    if Path(sys.prefix).resolve() != environment:
        python = make_environment(environment)
        return subprocess.call([python, __file__, "--environment", str(environment)])
    learn2learn_sources(environment)
    return compare()


def make_environment(folder: Path) -> Path:
    """A virtual environment with this quickstudy and its peers; kept for the next time."""
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    done = folder / "peers-installed"
    if not done.exists():
        venv.create(folder, with_pip=True)
        pip = [str(python), "-m", "pip", "--disable-pip-version-check", "-q"]
        constraints = ["-c", str(ROOT / "constraints.txt")]
        subprocess.check_call([*pip, "install", *constraints, "-e", str(ROOT), "higher==0.2.1", "setuptools", "wheel"])
        # The C files that learn2learn ships do not compile from Python 3.11 on, so only its sources are taken.
        download = ["download", "--no-deps", "--no-build-isolation", "--no-binary", ":all:", "-d", str(folder)]
        subprocess.check_call([*pip, *download, "learn2learn==0.2.0"])
        with tarfile.open(folder / "learn2learn-0.2.0.tar.gz") as archive:
            archive.extractall(folder, filter="data")
        done.touch()
    return python


def learn2learn_sources(environment: Path) -> None:
    """Make `learn2learn.algorithms.maml` importable without the package's own `__init__`, which wants the C files."""
    for name in ("learn2learn", "learn2learn.algorithms"):
        package = types.ModuleType(name)
        package.__path__ = [str(environment / "learn2learn-0.2.0" / name.replace(".", "/"))]
        sys.modules[name] = package


def compare() -> int:
    """Print the table of differences; 1 where one exceeds its limit, else 0."""
    import torch

    torch.set_num_threads(1)
    failed = False
    print("| net | inner rate | inner steps | peer | float32 | float64 | ours in 32 from 64 | theirs in 32 from 64 |")
    print("|---|---|---|---|---|---|---|---|")
    for batch_norm, rate, steps, held in CASES:
        settings = (batch_norm, rate, steps)
        single, double = ours_and_theirs(torch.float32, *settings), ours_and_theirs(torch.float64, *settings)
        truth = double["learn2learn"]
        for peer in PEERS:
            d32, d64 = apart(single["ours"], single[peer]), apart(double["ours"], double[peer])
            failed |= d64 > DOUBLE_LIMIT or (held and d32 > SINGLE_LIMIT)
            floor = f"{apart(single['ours'], truth):.1e} | {apart(single[peer], truth):.1e}"
            net = "batch norm" if batch_norm else "no norm"
            limit = "" if held else " (no limit)"
            print(f"| {net} | {rate} | {steps} | {peer} | {d32:.1e}{limit} | {d64:.1e} | {floor} |", flush=True)
    print("beyond the limit" if failed else "all within their limits")
    return int(failed)


def ours_and_theirs(dtype: Any, batch_norm: bool, rate: float, steps: int) -> dict[str, Any]:
    """The meta-gradient by each implementation as one vector, from the same weights and data."""
    import torch

    torch.manual_seed(0)
    net = reference_net(batch_norm).to(dtype)  # drawn in float32, so the same numbers in both
    support, query = task(dtype)
    gradients = {"ours": by_quickstudy(net, support, query, steps, rate)}
    gradients |= {name: peer(net, support, query, steps, rate) for name, peer in PEERS.items()}
    return {name: torch.cat([g.flatten() for g in gradient]).double() for name, gradient in gradients.items()}


def apart(a: Any, b: Any) -> float:
    return float((a - b).norm() / b.norm())


def task(dtype: Any) -> tuple[Any, Any]:
    """One five-way one-shot task of smooth random images with a pattern to each class: (x, labels) twice.

    The numbers are the same in both precisions: float32 ones.
    """
    import torch

    chance = torch.Generator().manual_seed(1)
    pattern = torch.rand(WAYS, 1, 7, 7, generator=chance, dtype=torch.float64)

    def draw(count: int) -> tuple[Any, Any]:
        labels = torch.arange(WAYS).repeat(count)
        small = pattern[labels] + 0.3 * torch.rand(len(labels), 1, 7, 7, generator=chance, dtype=torch.float64)
        return torch.nn.functional.interpolate(small, (28, 28), mode="bilinear").float().to(dtype), labels

    return draw(1), draw(QUERIES)


def reference_net(batch_norm: bool) -> Any:
    """Conv-4 with max-pooling and a linear head, of torch's own layers; batch norm without running statistics."""
    from torch import nn

    layers: list[nn.Module] = []
    for fan_in in (1, WIDTH, WIDTH, WIDTH):
        layers.append(nn.Conv2d(fan_in, WIDTH, 3, padding=1, bias=not batch_norm))
        if batch_norm:
            layers.append(nn.BatchNorm2d(WIDTH, track_running_stats=False))
        layers += [nn.ReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(WIDTH, WAYS))


def by_quickstudy(net: Any, support: Any, query: Any, steps: int, rate: float) -> list[Any]:
    import torch

    from quickstudy import MAML, SGD, Episode, Examples
    from quickstudy.nets import Conv4

    batch_norm = any(isinstance(layer, torch.nn.BatchNorm2d) for layer in net)
    body = Conv4((1, 28, 28), width=WIDTH, norm="transductive" if batch_norm else "none")
    method = MAML(body, WAYS, steps=steps, rule=SGD(rate=rate), gradient="exact").to(support[0].dtype)
    with torch.no_grad():
        for mine, theirs in zip(method.parameters(), net.parameters(), strict=True):
            mine.copy_(theirs)

    def examples(x: Any, labels: Any) -> Examples:
        return Examples(x, torch.nn.functional.one_hot(labels, WAYS).bool(), torch.ones(len(x), dtype=torch.bool))

    loss = method.meta_loss(Episode(examples(*support), examples(*query)))
    return list(torch.autograd.grad(loss, list(method.parameters())))


def by_learn2learn(net: Any, support: Any, query: Any, steps: int, rate: float) -> list[Any]:
    import torch
    from learn2learn.algorithms.maml import MAML  # type: ignore[import-not-found]
    from torch.nn.functional import cross_entropy

    learner = MAML(net, lr=rate, first_order=False).clone()
    for _ in range(steps):
        learner.adapt(cross_entropy(learner(support[0]), support[1]))
    return list(torch.autograd.grad(cross_entropy(learner(query[0]), query[1]), list(net.parameters())))


def by_higher(net: Any, support: Any, query: Any, steps: int, rate: float) -> list[Any]:
    import higher  # type: ignore[import-not-found]
    import torch
    from torch.nn.functional import cross_entropy

    optimizer = torch.optim.SGD(net.parameters(), lr=rate)
    with higher.innerloop_ctx(net, optimizer, copy_initial_weights=False) as (fast, descent):
        for _ in range(steps):
            descent.step(cross_entropy(fast(support[0]), support[1]))
        return list(torch.autograd.grad(cross_entropy(fast(query[0]), query[1]), list(net.parameters())))


PEERS: dict[str, Callable[..., list[Any]]] = {"learn2learn": by_learn2learn, "higher": by_higher}

if __name__ == "__main__":
    sys.exit(main())
