"""One thread a test process: two OpenMP threads on a busy two-core machine can be 35 times slower than one."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
