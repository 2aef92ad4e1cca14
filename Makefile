# Everything is installed into .venv, once; `make PYTHON=python3.12 ..` chooses another Python.
PYTHON ?= python3
BIN := .venv/bin

.DEFAULT_GOAL := help
.PHONY: help ablation test test-fast lint calibrate killmatrix fuzz docs ui screenshots
# Where `make screenshots` finds a finished `sweeps=presets`.
ROOT ?= runs
CORES := $(shell getconf _NPROCESSORS_ONLN)
# One more than there are cores: many slow tests wait for a process or a server.
WORKERS := $(shell expr $(CORES) + 1)
PYTEST = $(BIN)/python tests/helpers/processor_time.py $(BIN)/pytest

# Tests start hundreds of processes, of which each would compile the source again.
test test-fast: export PYTHONDONTWRITEBYTECODE =

help: ## Show this list.
	@sed -n 's/^\([a-z-]*\): .*## \(.*\)/make \1\t\2/p' Makefile | expand -t 20

ablation: .venv/installed ## Compare the four presets: simulate, train 4 x 5 seeds, report.
	$(BIN)/headsweep train sweeps=presets
	$(BIN)/headsweep report presets

test: .venv/installed-dev ## Run the whole suite, and print its processor minutes.
	$(PYTEST) -n $(WORKERS) --dist loadfile --no-loadscope-reorder

test-fast: .venv/installed-dev ## Run the quick tests of every package, for daily work.
	$(PYTEST) -n $(CORES) --dist loadscope -m "not slow"

lint: .venv/installed-dev ## Check style, format and types.
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

calibrate: .venv/installed ## Count the wrong verdicts on real seeds; reads ../shared/data.
	$(BIN)/python benchmarks/calibration/run.py --data ../shared/data
	$(BIN)/python benchmarks/calibration/looks.py --data ../shared/data

killmatrix: .venv/installed-dev ## Kill, damage and move sweeps 50 times; all must end as if left alone.
	PYTHONPATH=tests $(BIN)/python -m helpers.kill_matrix $(KILLS)

fuzz: .venv/installed-dev ## Run 1,000 damaged inputs: no traceback, no hang, no silent change.
	PYTHONPATH=tests $(BIN)/python -m helpers.fuzzing $(FUZZ)

docs: .venv/installed-dev ## Build the documentation into site/; open site/index.html.
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet

ui: .venv/installed ## Open the runs in MLflow on 127.0.0.1.
	$(BIN)/headsweep ui

screenshots: .venv/installed-dev ## Take docs/mlflow_*.png of the sweep presets in ROOT=runs.
	$(BIN)/pytest tests/system/test_browser.py --runs $(ROOT) --pictures docs

.venv/installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("needs Python 3.11+: make PYTHON=python3.11" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --disable-pip-version-check -c constraints.txt -e .
	@touch $@

.venv/installed-dev: .venv/installed
	$(BIN)/pip install --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@
