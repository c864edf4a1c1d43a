# What a developer does, each in one word. Nothing is needed but Python 3.11 or newer and pip:
#   make demo    see it work            make test    the whole test suite
SHELL := /bin/bash
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
PYTEST_WORKERS ?= 2
FAULT_SEEDS ?= 1 2 3
DEMO ?=
PYTEST ?=

# The first Python that is new enough; PYTHON=/path/to/python overrides it.
PYTHON ?= $(shell for each in python3 python3.13 python3.12 python3.11; do \
	$$each -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$each && break; done)

.PHONY: demo test test-fast test-faults lint types docs bench clean constraints help
.DEFAULT_GOAL := help

help:
	@echo "make demo | test | test-fast | test-faults | lint | types | docs | bench | clean | constraints"

demo: $(VENV)/.has-all
	$(BIN)/fedproxy demo $(DEMO)

test: $(VENV)/.has-test
	$(BIN)/python -m pytest -n $(PYTEST_WORKERS) --dist worksteal $(PYTEST)

test-fast: $(VENV)/.has-test
	$(BIN)/python -m pytest -n $(PYTEST_WORKERS) --dist worksteal -m "not slow" $(PYTEST)

# The whole fault matrix, with every crash point and every seed; `make test` runs a short form of it.
test-faults: $(VENV)/.has-test
	FEDPROXY_FAULT_SEEDS="$(FAULT_SEEDS)" $(BIN)/python -m pytest -v -n $(PYTEST_WORKERS) tests/faults $(PYTEST)

lint: $(VENV)/.has-test
	$(BIN)/ruff check .
	$(BIN)/lint-imports

types: $(VENV)/.has-test
	$(BIN)/mypy

docs: $(VENV)/.has-docs
	$(BIN)/sphinx-build -W --keep-going -b html docs out/docs

bench: $(VENV)/.has-bench
	$(BIN)/python -m benchmarks all --quick

constraints: | $(BIN)/python
	$(PIP) uv
	{ echo "# The versions fedproxy is developed and tested with: pip install -e '.[all]' -c constraints.txt"; \
	  echo "# Written by: make constraints"; \
	  $(BIN)/uv pip compile pyproject.toml --extra all --extra test --extra docs --extra bench --universal \
	    --python-version 3.11 --no-annotate --no-header --quiet; } > constraints.new
	mv constraints.new constraints.txt

clean:
	rm -rf $(VENV) out build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# One stamp for each set of extras, so that a second run installs nothing.
$(VENV)/.has-%: pyproject.toml constraints.txt | $(BIN)/python
	@echo "installing fedproxy[$*] into $(VENV) ..."
	@$(PIP) -e '.[$*]' -c constraints.txt
	@touch $@

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "error: no Python 3.11 or newer was found; name one: make PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { echo "error: $(PYTHON) cannot make a venv (on Debian: apt-get install python3-venv)" >&2; \
	  rm -rf $(VENV); exit 1; }
