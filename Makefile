# Two commands do everything on a fresh machine with Python 3.11+, pip and make:
#   make demo   environment, demo data, train AC-SASRec, evaluate, recommend
#   make test   environment, lint, types, import rule, all tests
# Other targets:
#   make lint, make types, make imports, make pytest   the parts of make test
#   make bench                                         benchmarks of training, evaluation and preparation on this machine
#   make clean                                         remove the environment and the caches and builds of tools
# To use another interpreter: make test PYTHON=python3.12

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: help demo test lint types imports pytest browser bench clean

help:
	@sed -n 's/^#   //p' Makefile

demo: $(READY)
	$(BIN)/actsr download demo
	$(BIN)/actsr preprocess demo
	$(BIN)/actsr train --model ac-sasrec --preset demo
	$(BIN)/actsr evaluate
	$(BIN)/actsr recommend

test: lint types imports pytest

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)
	$(BIN)/mypy

imports: $(READY)
	$(BIN)/lint-imports --no-cache

pytest: $(READY) browser
	$(BIN)/pytest -n auto --dist worksteal

# The tests of the report need a browser; they are skipped without one.
browser:
	@if ! command -v chromium >/dev/null || ! command -v chromedriver >/dev/null; then \
	    if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	        apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium chromium-driver >/dev/null \
	            || echo "chromium could not be installed"; \
	    else \
	        echo "chromium or chromedriver is missing: the report is not tested in a browser"; \
	    fi; \
	fi

bench: $(READY)
	$(BIN)/python -m benchmarks training --models sasrec,ac-sasrec
	$(BIN)/python -m benchmarks evaluation
	$(BIN)/python -m benchmarks preparation --sizes 200000,2000000
	$(BIN)/python -m benchmarks intervals

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("actsr needs Python 3.11 or later" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	@touch $@

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
