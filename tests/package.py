"""Build the wheel, install it in a fresh virtual environment without a compiler, and use it there.

Run by `make package`. The environment borrows the dependencies of this one (through a .pth file), so that what is
tested is the wheel: its contents, its metadata, its entry point and its import time.
"""

from __future__ import annotations

import re
import subprocess
import sys
import sysconfig
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).parent.parent
IMPORT_SECONDS = 2.0
DEPENDENCIES = 10

USE = """
import time, torch
start = time.perf_counter()
import quickstudy
from quickstudy import *
seconds = time.perf_counter() - start
print(quickstudy.__file__, seconds)
"""


def main() -> None:
    """Build, install, import and call; raises where anything is not as promised."""
    with tempfile.TemporaryDirectory() as folder:
        fresh = Path(folder) / "fresh"
        run(sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--wheel-dir", folder, str(ROOT))
        (wheel,) = Path(folder).glob("*.whl")
        assert wheel.name.endswith("-py3-none-any.whl"), wheel.name
        venv.create(fresh, with_pip=True)
        python = str(fresh / "bin" / "python")
        run(python, "-m", "pip", "install", "-q", "--no-deps", "--no-index", str(wheel))
        site = next((fresh / "lib").glob("python*/site-packages"))
        (site / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
        page = [each.name for each in (ROOT / "src/quickstudy/serve/page").iterdir()]
        missing = [name for name in page if not (site / "quickstudy/serve/page" / name).exists()]
        assert "index.html" in page
        assert not missing, missing
        metadata = next(site.glob("quickstudy-*.dist-info/METADATA")).read_text()
        needed = [line for line in re.findall("^Requires-Dist: (.*)", metadata, re.MULTILINE) if "extra ==" not in line]
        assert len(needed) < DEPENDENCIES, needed
        where, seconds = run(python, "-c", USE, cwd=folder).split()
        assert str(fresh) in where, where
        assert float(seconds) < IMPORT_SECONDS, seconds
        run(str(fresh / "bin" / "quickstudy"), "list", cwd=folder)
        print(f"{wheel.name}: {len(needed)} core dependencies, imported in {float(seconds):.2f} s beyond torch")


def run(*command: str, cwd: str | Path = ROOT) -> str:
    """The standard output of a command that must succeed."""
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"
    return done.stdout


if __name__ == "__main__":
    main()
