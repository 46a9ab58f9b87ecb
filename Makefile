# Everything here sets itself up: the first run makes .venv. `make` alone lists the targets.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
EVENTS ?= 10000

.DEFAULT_GOAL := help
.PHONY: help demo test soak bench lint format clean

help:  ## List the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Meridian needs Python 3.11 or later; run: make PYTHON=/path/to/python3.11 …" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@

demo: $(READY)  ## Three regions, real flights, one region frozen: the drill (EVENTS=10000)
	$(BIN)/chaos drill --events $(EVENTS)

test: $(READY)  ## All tests but the soaks
	$(BIN)/pytest

soak: $(READY)  ## Minutes long: kill -9 fifty times, more seeds
	$(BIN)/pytest -m soak

bench: $(READY)  ## Measure against named baselines
	$(BIN)/python -m benchmarks

lint: $(READY)  ## ruff and mypy --strict
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(READY)  ## Let ruff arrange the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:  ## Remove what the other targets made
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis out.json
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
