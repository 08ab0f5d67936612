# Two commands do everything on a fresh machine with Python 3.11+, pip and make:
#   make demo   environment, demo data, train AC-SASRec, evaluate, recommend
#   make test   environment, lint, types, import rule, all tests
# Other targets:
#   make lint, make types, make imports, make pytest   the parts of make test
#   make docs                                          the documentation as a site, in site/
#   make notebook                                      execute docs/notebook.ipynb anew
#   make recording                                     run the commands of docs/quick-start.md, write what they print
#   make release-check                                 wheel, description, version; install and work away from the checkout;
#                                                      PYTHONS="python3.12 python3.13" tries other interpreters
#   make bench                                         benchmarks of training, evaluation and preparation on this machine
#   make lowest                                        a selection of tests with the lowest versions that pyproject.toml allows
#   make audit                                         known vulnerabilities of the pinned versions, and hashes of their files
#   make hashes                                        write constraints-hashed.txt anew after a change of constraints.txt
#   make clean                                         remove the environment and the caches and builds of tools
# To use another interpreter: make test PYTHON=python3.12

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
DEVELOPING := $(VENV)/.developing
COMPILED := $(VENV)/.compiled
TOOLS := $(VENV)-tools
UV := $(TOOLS)/bin/uv
LOWEST := tests/test_app.py tests/test_config.py tests/commands/test_doctor.py tests/evaluation/test_significance_tests.py \
    tests/data/test_readers.py tests/data/test_times.py tests/tuning/test_study.py tests/inspection/test_report.py

# Where Python keeps no bytecode, each process compiles some two thousand files of PyTorch anew, which takes seconds.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help demo test lint types imports pytest browser docs notebook recording release-check bench lowest audit hashes clean

help:
	@sed -n 's/^#   //p' Makefile

demo: $(COMPILED)
	$(BIN)/actsr download demo
	$(BIN)/actsr preprocess demo
	$(BIN)/actsr train --model ac-sasrec --preset demo
	$(BIN)/actsr evaluate
	$(BIN)/actsr recommend

test: $(COMPILED) lint types imports pytest

lint: $(DEVELOPING)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(DEVELOPING)
	$(BIN)/mypy

imports: $(DEVELOPING)
	$(BIN)/lint-imports --no-cache

pytest: $(COMPILED) $(DEVELOPING) browser
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

docs: $(DEVELOPING)
	PYTHONPATH=. NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet

notebook: $(COMPILED) $(DEVELOPING)
	$(BIN)/python -m tools.notebook

recording: $(COMPILED) $(DEVELOPING)
	$(BIN)/python -m tools.recording

release-check: $(DEVELOPING)
	$(BIN)/python -m tools.release $(PYTHONS)

bench: $(COMPILED) $(DEVELOPING)
	$(BIN)/python -m benchmarks training --models sasrec,ac-sasrec
	$(BIN)/python -m benchmarks evaluation
	$(BIN)/python -m benchmarks preparation --sizes 200000,2000000
	$(BIN)/python -m benchmarks intervals

# PyTorch's build depends on the machine, so its version is the pinned one, pip finds it, and its file has no recorded hash.
lowest: $(TOOLS)
	echo "torch; python_version < '3'" > $(TOOLS)/without-torch.txt
	$(UV) pip compile --quiet --resolution lowest-direct --python $(PYTHON) --override $(TOOLS)/without-torch.txt \
	    --extra test pyproject.toml --output-file $(TOOLS)/lowest.txt
	rm -rf $(TOOLS)/torch
	$(TOOLS)/bin/python -m pip download --quiet --no-deps --constraint constraints.txt --dest $(TOOLS)/torch torch
	$(PYTHON) -m venv --clear --without-pip $(VENV)-lowest
	$(UV) pip install --quiet --python $(VENV)-lowest/bin/python --requirement $(TOOLS)/lowest.txt $(TOOLS)/torch/*.whl
	$(UV) pip install --quiet --python $(VENV)-lowest/bin/python --no-deps --editable .
	NUMBA_CACHE_DIR=$(CURDIR)/$(VENV)-lowest/machine-code $(VENV)-lowest/bin/pytest -n auto -p no:cacheprovider -m "not slow" -k "not nothing_heavy" -W ignore::DeprecationWarning $(LOWEST)

audit: $(TOOLS)
	$(PYTHON) -m venv --clear $(VENV)-audit
	$(UV) pip install --quiet --python $(VENV)-audit/bin/python --no-deps --require-hashes --requirement constraints-hashed.txt
	$(TOOLS)/bin/pip-audit --strict --disable-pip --no-deps --requirement constraints.txt

hashes: $(TOOLS)
	$(UV) pip compile --quiet --no-deps --generate-hashes --no-emit-package torch --no-header --no-annotate \
	    --python $(PYTHON) constraints.txt --output-file constraints-hashed.txt

$(TOOLS):
	$(PYTHON) -m venv $@
	$@/bin/python -m pip install --quiet uv==0.13.9 pip-audit==2.10.1

# Compiling all files of all packages takes longer than the rest; Python compiles those that are imported.
$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("actsr needs Python 3.11 or later" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --no-compile --constraint constraints.txt --editable ".[export,index,serve]"
	@touch $@

# Tests and checks need more packages; the demo does without, which shortens its set-up by a third.
$(DEVELOPING): $(READY)
	$(BIN)/python -m pip install --quiet --no-compile --constraint constraints.txt --editable ".[dev]"
	@touch $@

# With `make --jobs 2 test`, those packages are installed meanwhile.
$(COMPILED): $(READY) $(wildcard actsr_cli/attention/kernels/*.py)
	$(BIN)/python -m actsr_cli.attention.kernels.first_call
	@touch $@

clean:
	rm -rf $(VENV) $(VENV)-tools $(VENV)-lowest $(VENV)-audit build dist site .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
