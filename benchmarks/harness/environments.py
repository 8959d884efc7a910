"""Virtual environments of the benchmarks' own, under build/bench: one for what runs on torch, one for JAX."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
import venv
from pathlib import Path

__all__ = ["ROOT", "Environments"]

ROOT = Path(__file__).resolve().parent.parent.parent
FOLDER = ROOT / "build" / "bench"

PEERS = {  # what contender needs, by environment; one at a time, so that one that cannot be installed keeps none back
    "torch": {
        "higher": ["higher==0.2.1"],
        "torchopt": ["torchopt==0.7.3"],
        "metalearn": ["parallel-metalearn==0.5.6"],
        # its declared needs (torchvision, pandas) are not those of what is used here, and a torchvision from the
        # default index does not load beside a CPU build of torch
        "easyfsl": ["--no-deps", "easyfsl==1.5.0"],
        "cvxpylayers": ["cvxpylayers>=1.2"],
    },
    "jax": {"jax": ["jax>=0.10", "numpy>=2"]},
}
LEARN2LEARN = "learn2learn-0.2.0"


class Environments:
    """The Python of each environment, and what could not be installed.

    Args:
        folder: Where they are; made when `install` is called.
    """

    def __init__(self, folder: Path = FOLDER) -> None:
        self.folder = folder
        self.skipped: dict[str, str] = self._noted()

    def python(self, environment: str) -> Path:
        place = "Scripts/python.exe" if os.name == "nt" else "bin/python"
        return self.folder / environment / place

    def python_for(self, module: str, environment: str) -> tuple[Path | None, str]:
        """The Python that runs a contender, or None and the reason."""
        if module in self.skipped:
            return None, self.skipped[module]
        if not self.python(environment).exists():
            return None, "its environment is not installed: run `make bench`, or benchmarks/install.py"
        return self.python(environment), ""

    def install(self) -> None:
        """Make what is not there yet. A peer that cannot be installed is noted with the reason."""
        for environment, peers in PEERS.items():
            folder = self.folder / environment
            if (folder / "installed").exists():
                continue
            print(f"installing {environment}: {', '.join(peers)}", file=sys.stderr, flush=True)
            venv.create(folder, with_pip=True)
            if environment == "torch":
                needs = ["setuptools", "wheel", "cython<3", "tqdm", "requests"]
                reason = self._pip(environment, "-e", str(ROOT), *needs)
                if reason:
                    raise SystemExit(f"quickstudy itself could not be installed: {reason}")
                self._note("learn2learn", self._learn2learn())
            for peer, needed in peers.items():
                self._note(peer, self._pip(environment, *needed))
            (folder / "installed").touch()

    def versions(self) -> dict[str, str]:
        """What is installed where the benchmarks run, by package."""
        found: dict[str, str] = {}
        for environment in PEERS:
            if self.python(environment).exists():
                listed = subprocess.run(
                    [self.python(environment), "-m", "pip", "list", "--format=json"], capture_output=True, check=False
                )
                found |= {p["name"]: p["version"] for p in json.loads(listed.stdout or "[]")}
        wanted = {
            "torch",
            "numpy",
            "quickstudy",
            "higher",
            "torchopt",
            "easyfsl",
            "cvxpylayers",
            "parallel-metalearn",
            "jax",
            "jaxlib",
        }
        found = {name: version for name, version in found.items() if name in wanted}
        return found if "learn2learn" in self.skipped else found | {"learn2learn": LEARN2LEARN.rpartition("-")[2]}

    def _pip(self, environment: str, *what: str) -> str:
        """Install; the reason where it failed."""
        constraints = ["-c", str(ROOT / "constraints.txt")]  # an unpinned torch takes several GB
        return self._run(environment, "-m", "pip", "install", "-q", "--disable-pip-version-check", *constraints, *what)

    def _learn2learn(self) -> str:
        """learn2learn from its sources: the C files it ships do not compile from Python 3.11 on, so Cython writes them
        anew; its package is not installed, for it asks for gym, qpth and torchvision."""
        sources = self.folder / "torch" / "sources"
        options = ["--no-deps", "--no-build-isolation", "--no-binary", ":all:", "-d", str(sources)]
        reason = self._run("torch", "-m", "pip", "download", "-q", *options, LEARN2LEARN.replace("-", "=="))
        if reason:
            return reason
        with tarfile.open(sources / f"{LEARN2LEARN}.tar.gz") as archive:
            archive.extractall(sources, filter="data")
        for written in (sources / LEARN2LEARN / "learn2learn" / "data").glob("*.c"):
            written.unlink()
        return self._run("torch", "setup.py", "build_ext", "--inplace", cwd=sources / LEARN2LEARN)

    def _run(self, environment: str, *arguments: str, cwd: Path | None = None) -> str:
        done = subprocess.run(
            [self.python(environment), *arguments], cwd=cwd, capture_output=True, text=True, check=False
        )
        lines = [line for line in done.stderr.strip().splitlines() if "WARNING" not in line]
        return "" if done.returncode == 0 else (lines[-1][:300] if lines else f"exit status {done.returncode}")

    def _note(self, peer: str, reason: str) -> None:
        if reason:
            self.skipped[peer] = f"could not be installed: {reason}"
            (self.folder / "skipped.json").write_text(json.dumps(self.skipped, indent=1))

    def _noted(self) -> dict[str, str]:
        try:
            noted: dict[str, str] = json.loads((self.folder / "skipped.json").read_text())
        except OSError:
            return {}
        return noted
