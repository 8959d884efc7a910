# Everything a fresh machine needs is Python 3.11 or later and make.
#
#   make demo    set up, meta-train on characters of some scripts, learn unseen scripts from one example each
#   make test    set up and run the tests
#   make setup   only the virtual environment in .venv, with the versions of constraints.txt
#   make bench   measure steps, memory and sampling beside other libraries (installed in build/bench)
#   make check   lint, types, documentation and package, as continuous integration runs them

PYTHON ?= python3
PIP := .venv/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
DEMO ?=

BENCH ?=

.PHONY: setup demo test bench check lint types docs package clean

setup: .venv/core.stamp

demo: .venv/core.stamp
	.venv/bin/quickstudy demo $(DEMO)

# One thread a worker: two OpenMP threads on a busy two-core machine can be 35 times slower than one.
test: .venv/test.stamp
	OMP_NUM_THREADS=1 .venv/bin/python -m pytest -n 2

# BENCH=--quick runs everything once on tiny batches. Each script runs alone too: see benchmarks/README.md.
bench: .venv/core.stamp
	.venv/bin/python benchmarks/install.py
	.venv/bin/python benchmarks/steps.py $(BENCH)
	.venv/bin/python benchmarks/floor.py $(BENCH)
	.venv/bin/python benchmarks/memory.py $(BENCH)
	.venv/bin/python benchmarks/sampling.py $(BENCH)
	.venv/bin/python benchmarks/growth.py $(BENCH)
	.venv/bin/python benchmarks/workers.py $(BENCH)
	.venv/bin/python benchmarks/to_accuracy.py $(BENCH)
	.venv/bin/python benchmarks/page.py $(BENCH)

check: lint types docs package

lint: .venv/check.stamp
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .

types: .venv/check.stamp
	.venv/bin/mypy

docs: .venv/check.stamp
	.venv/bin/zensical build --clean --strict

package: .venv/check.stamp
	.venv/bin/python tests/package.py

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/core.stamp: .venv/bin/python pyproject.toml constraints.txt
	$(PIP) --editable .
	touch $@

.venv/test.stamp: .venv/core.stamp
	$(PIP) --editable '.[test]'
	touch $@

.venv/check.stamp: .venv/test.stamp
	$(PIP) --editable '.[test,dev,docs]'
	touch $@

clean:
	rm -rf .venv site dist
