# make demo    the whole path on the bundled digits; ends in runs/demo/report.html
# make test    every test
# make check   lint, format, types
# make interop the frameworks, ONNX Runtimes and OpenVINO in .interop, and the tests with them
# make bench   the benchmarks' tables
# make clean   remove what make made
#
# Each target does its own set-up: .venv at the root of the checkout, pinned dependencies, and
# Lava in an environment of its own where a Python 3.10 can be found.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS += --no-builtin-rules
.ONESHELL:
.DELETE_ON_ERROR:
.PHONY: demo test check interop bench clean lava

PYTHON ?= python3
CODE := benchmarks examples exporters sltdeploy tests
PIP := .venv/bin/python -m pip install -qq --disable-pip-version-check -c constraints.txt

demo: .venv/installed lava
	@.venv/bin/sltdeploy demo

test: .venv/installed lava
	@.venv/bin/python -m pytest

check: .venv/installed
	@.venv/bin/ruff check $(CODE)
	.venv/bin/ruff format --check $(CODE)
	.venv/bin/pyright --pythonpath .venv/bin/python

interop: .venv/installed
	@.venv/bin/python tests/interop/environments.py
	.venv/bin/python -m pytest tests/test_interop.py tests/test_onnx_versions.py

bench: .venv/installed
	@shopt -s nullglob
	for script in benchmarks/*.py; do echo "== $$script"; .venv/bin/python "$$script"; done

clean:
	rm -rf .venv .interop build dist runs .pytest_cache .ruff_cache .hypothesis

# torch goes first, so that norse takes the version that is pinned here.
.venv/installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || {
	    echo 'make: $(PYTHON) must be a Python 3.11, 3.12 or 3.13: make PYTHON=/path/to/python3.11' >&2
	    exit 2
	}
	echo 'make: installing into .venv (some minutes the first time)' >&2
	$(PYTHON) -m venv .venv
	$(PIP) torch
	dev=$$(.venv/bin/python -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["dependency-groups"]["dev"])')
	$(PIP) -e '.[search,onnx,report,loihi]' $$dev
	touch $@

# Without a Python 3.10 all but Lava still works: only CI insists on it.
lava: .venv/installed
	@if [ ! -e .venv/lava-installed ]; then
	    if .venv/bin/sltdeploy setup lava >&2; then
	        touch .venv/lava-installed
	    elif [ "$${CI:-}" = true ]; then
	        exit 3
	    fi
	fi
