# Trot's commands; `make` alone lists them.
# PYTHON: creates the environment. VENV: where it lies. ARGS: options for train and bench.
PYTHON ?= python3
VENV ?= .venv
ARGS ?=

PY := $(VENV)/bin/python
STAMP := $(VENV)/.installed
MKDOCS := NO_MKDOCS_2_WARNING=1 $(PY) -m mkdocs build --strict --site-dir site

.PHONY: help setup train test test-slow test-gpu check docs format bench
.DEFAULT_GOAL := help

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' Makefile

setup: $(STAMP) ## create the environment and install everything (again only when a version changed)

# Anew only when the lock or the project's metadata changed.
$(STAMP): requirements.lock pyproject.toml
	@PYTHON='$(PYTHON)' VENV='$(VENV)' bash scripts/setup.sh
	@touch $@

train: setup ## train a robot, measure it and film it: the quick start
	@$(PY) scripts/quickstart.py $(ARGS)

test: setup ## run the tests, the slow ones left out
	@$(PY) -m pytest -q -n auto --dist loadfile

test-slow: setup ## run the slow tests
	@$(PY) -m pytest -q -m slow

test-gpu: setup ## run the tests that need a GPU
	@$(PY) -m pytest -q -m gpu

check: setup ## check format, lint, types and the documentation's links
	@$(PY) -m ruff format --check .
	@$(PY) -m ruff check .
	@$(PY) -m mypy
	@$(MKDOCS) --quiet
	@$(PY) -m pytest -q tests/docs/test_pages.py -k links

docs: setup ## build the documentation as a site in site/
	@$(MKDOCS)
	@echo "site/index.html"

format: setup ## format the code and apply safe lint fixes
	@$(PY) -m ruff check --fix-only .
	@$(PY) -m ruff format .

bench: setup ## measure the speed
	@$(PY) scripts/benchmark.py $(ARGS)
