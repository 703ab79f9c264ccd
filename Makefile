# One command each. Everything runs in a virtual environment of its own, made on first use.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/installed
PIP := $(BIN)/python -m pip --quiet --quiet --disable-pip-version-check
PYTEST := $(BIN)/python -m pytest

DATA ?= penstock-data
SEEDS ?= 1-2000
PREFIX ?= $(HOME)/.local

.DEFAULT_GOAL := help
.PHONY: help demo test check bench sim fuzz nightly serve install clean

help:
	@echo "make demo     index the Python standard library through the broker, with a worker and the broker killed"
	@echo "make test     every test"
	@echo "make check    lint, format, types, import contracts"
	@echo "make serve    a broker on 127.0.0.1:7419, data in ./penstock-data (DATA=...)"
	@echo "make bench    measure Penstock beside the peers that are installed; writes docs/benchmarks.md"
	@echo "make sim      the simulator (SEEDS=1-2000; SEEDS=17 for one)"
	@echo "make fuzz     the property tests, many more examples each"
	@echo "make nightly  the long versions of the tests"
	@echo "make install  the penstock command in ~/.local/bin (PREFIX=...)"
	@echo "make clean    remove what make made (never data)"

$(STAMP): pyproject.toml clients/python/pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Penstock needs Python 3.11 or newer; name one with make PYTHON=/path/to/python3" >&2; exit 1; }
	@echo "Setting up $(VENV) (once)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(PIP) install -c constraints.txt -e clients/python -e '.[dev]'
	@touch $@

$(VENV)/installed-bench: $(STAMP)
	@$(PIP) install -c constraints.txt -e clients/python -e '.[bench]'
	@touch $@

demo: $(STAMP)
	@$(BIN)/python -m examples.stdlib_index

test: $(STAMP)
	@$(PYTEST) -m "not nightly" $(ARGS)

check: $(STAMP)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

bench: $(VENV)/installed-bench
	@$(BIN)/python -m benchmarks $(ARGS)

sim: $(STAMP)
	@$(BIN)/python -m tests.sim --seeds $(SEEDS) $(ARGS)

fuzz: $(STAMP)
	@$(PYTEST) -m "hypothesis and not nightly" --hypothesis-profile=fuzz --timeout=3600 $(ARGS)

nightly: $(STAMP)
	@PENSTOCK_SIM_SEEDS=100000 PENSTOCK_SIM_OPERATIONS=2000 \
	  PENSTOCK_MODEL_EXAMPLES=20000 PENSTOCK_MODEL_STEPS=200 PENSTOCK_KILL_ROUNDS=500 PENSTOCK_TERMINATE_ROUNDS=500 $(PYTEST) --hypothesis-profile=nightly --timeout=14400 $(ARGS)

serve: $(STAMP)
	@$(BIN)/penstock serve --data $(DATA) $(ARGS)

install:
	@$(PYTHON) -m venv $(PREFIX)/share/penstock
	@$(PREFIX)/share/penstock/bin/python -m pip -qq --disable-pip-version-check install -c constraints.txt ./clients/python .
	@mkdir -p $(PREFIX)/bin
	@ln -sf $(PREFIX)/share/penstock/bin/penstock $(PREFIX)/bin/penstock
	@echo "Installed $(PREFIX)/bin/penstock"

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage .coverage.* htmlcov dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
