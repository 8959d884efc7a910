"""Closed forms, solvers and gradients beside other people's: how far they are apart, each held to a limit.

    python benchmarks/oracles.py

makes a virtual environment for the peers (once, by default `build/oracles`; choose another with `--environment`) and
runs tests/peers there. It prints every distance as ‖ours - theirs‖ / ‖theirs‖, keeps them in
benchmarks/results/oracles.json, of which `python benchmarks/page.py` makes a table, and exits with 1 if one is beyond
its limit. Peers: cvxpy and cvxpylayers (support vector machine), scikit-learn (logistic and ridge regression), EasyFSL
(prototypes, matching, relations, SimpleShot), TorchOpt (implicit gradient), higher (unrolled gradient), GPyTorch
(Gaussian processes).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import venv
from pathlib import Path

from harness.alone import keep

ROOT = Path(__file__).resolve().parent.parent
PEERS = [
    ["cvxpy", "cvxpylayers", "scikit-learn", "gpytorch", "torchopt==0.7.3", "higher==0.2.1"],
    ["--no-deps", "easyfsl==1.5.0"],  # what it asks for besides torch is not used here, and may not fit a CPU torch
]

NAMED = ["cvxpy", "cvxpylayers", "easyfsl", "gpytorch", "higher", "numpy", "scikit-learn", "torch", "torchopt"]
"""Whose versions are kept with the distances."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--environment", type=Path, default=ROOT / "build" / "oracles")
    folder = parser.parse_args().environment.resolve()
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if not (folder / "oracles-installed").exists():
        venv.create(folder, with_pip=True)
        pip = [str(python), "-m", "pip", "--disable-pip-version-check", "-q", "install"]
        subprocess.check_call([*pip, "-c", str(ROOT / "constraints.txt"), "-e", f"{ROOT}[test]"])
        for peers in PEERS:
            subprocess.check_call([*pip, *peers])
        (folder / "oracles-installed").touch()
    distances = folder / "distances.json"
    distances.unlink(missing_ok=True)
    tests = [str(python), "-m", "pytest", "-rs", f"--distances={distances}", str(ROOT / "tests" / "peers")]
    code = subprocess.call(tests, cwd=ROOT)
    if code == 0:
        installed = subprocess.check_output([str(python), "-m", "pip", "list", "--format=json"], text=True)
        versions = {each["name"].lower(): each["version"] for each in json.loads(installed)}
        keep("oracles", json.loads(distances.read_text()), versions={name: versions[name] for name in NAMED})
    return code


if __name__ == "__main__":
    sys.exit(main())
