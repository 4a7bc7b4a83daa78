# `make run` and `make test` do everything, the environment included; the second time they install nothing.
#   make PYTHON=python3.12 run     another interpreter (3.11 or newer)

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RESULTS := results/local
MARKS := not gpu and not network and not robustness and not benchmark and not slurm
INSTALLED := $(VENV)/.installed

# Waiting threads soon give the processor back, as in the command line (docs/decisions/0009-threads-and-memory.md).
export OMP_WAIT_POLICY ?= PASSIVE
export GOMP_SPINCOUNT ?= 20000

.PHONY: run test check docs clean install floors other-python

run: $(INSTALLED)
	$(BIN)/flue-bench run --seeds 3 --results $(RESULTS)
	@test -d $(RESULTS)/speed || $(BIN)/flue-bench speed -m embedded:teacher -m embedded:student --results $(RESULTS)
	@echo
	@$(BIN)/flue-bench leaderboard --results $(RESULTS)
	@$(BIN)/flue-bench leaderboard --results $(RESULTS) --format html --out $(RESULTS)/board.html
	@echo "The same as a page to open in a browser: $(RESULTS)/board.html"

test: $(INSTALLED)
	$(BIN)/python -m pytest -q -n auto --dist worksteal -m "$(MARKS)"

check: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The site, in build/site: a link that leads nowhere is an error.
docs: $(INSTALLED)
	$(BIN)/python -m benchmarks.makers.site build/pages
	$(BIN)/zensical build --strict

install: $(INSTALLED)

# Results stay: they may be days of work.
clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The fast tests with the lowest versions that pyproject.toml admits, in an environment of their own.
floors:
	rm -rf build/floors
	"$(PYTHON)" -m venv build/floors
	sed -nE 's/^ +"([A-Za-z0-9_-]+)>=([0-9.]+)",$$/\1==\2/p' pyproject.toml >build/floors/pins.txt
	pins=$$(build/floors/bin/python -c 'from pathlib import Path; print(Path("build/floors/pins.txt").resolve().as_uri())'); \
		PIP_CONSTRAINT="$$pins" build/floors/bin/python -m pip install --disable-pip-version-check \
		--only-binary=:all: --no-binary=seqeval --use-pep517 -e ".[dev]"
	build/floors/bin/python -m pytest -q -n auto --dist worksteal -m "$(MARKS) and not slow"

# An environment keeps the interpreter it was made with. Where another is asked for by name, that is an error.
ifneq ($(filter command environment,$(origin PYTHON)),)
VERSION := -c 'import sys; print("%d.%d" % sys.version_info[:2])'
ASKED := $(shell "$(PYTHON)" $(VERSION))
THERE := $(if $(wildcard $(BIN)/python),$(shell $(BIN)/python $(VERSION)),$(ASKED))
ifneq ($(THERE),$(ASKED))
$(INSTALLED): other-python
endif
endif

other-python:
	@echo "$(VENV) has Python $(THERE), but $(PYTHON) is Python $(ASKED). Run 'make clean' first (results stay), or leave PYTHON out." >&2
	@exit 1

# Everything comes as a wheel; seqeval, which the tests compare with, is published as source only. The two variables pin
# the build back-ends too (pip 25.3 and newer reads the second). pip builds those elsewhere, and splits the variables at
# blanks: a URL is absolute and has none.
$(INSTALLED): pyproject.toml constraints.txt
	@"$(PYTHON)" -c 'import sys; v = sys.version.split()[0]; sys.version_info >= (3, 11) or sys.exit("flue-bench needs Python 3.11 or newer, but $(PYTHON) is Python " + v + ". Name another: make PYTHON=python3.11 ...")'
	@echo "Installing the pinned environment into $(VENV): once, some minutes."
	"$(PYTHON)" -m venv $(VENV)
	pins=$$($(BIN)/python -c 'from pathlib import Path; print(Path("constraints.txt").resolve().as_uri())'); \
		PIP_CONSTRAINT="$$pins" PIP_BUILD_CONSTRAINT="$$pins" $(BIN)/python -m pip install --disable-pip-version-check \
		--only-binary=:all: --no-binary=seqeval --use-pep517 -e ".[dev]"
	@touch $@
