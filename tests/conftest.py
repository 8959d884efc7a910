"""How every test runs: one thread, shape annotations executed, generated examples the same each time."""

import os

# Two OpenMP threads on a busy two-core machine can be 35 times slower than one.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import hypothesis
import jaxtyping

jaxtyping.install_import_hook(
    [f"quickstudy.{part}" for part in ("core", "nets", "inner", "methods", "checks")], "beartype.beartype"
)

hypothesis.settings.register_profile("steady", deadline=None, derandomize=True)
hypothesis.settings.load_profile("steady")
