# Two commands: `make train` runs the main job, `make test` the tests. Both build .venv when it is missing.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
SAMPLES ?= 1000
# Seconds for what `make train` computes once the samples are there; 0 = until all trials are done.
# What is found by then is registered. A processor without bfloat16 takes twice as long for a step.
TIMEOUT ?= $(shell grep -qsE 'avx512_bf16|amx_bf16' /proc/cpuinfo && echo 165 || echo 250)
# Processes that share the tests; 0 runs them one after the other. Three for two cores: while some tests wait for servers,
# browsers and Ray, others compute.
WORKERS ?= 3
ARGS ?=

.PHONY: train test lint format ui demo cluster-demo clean

# The store first: two jobs at once that find none would both make it, and MLflow has no lock for that.
train: $(STAMP)
	$(BIN)/python -m training.store
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/mlflow run . --env-manager local --experiment-name gaze-finetuning -P samples=$(SAMPLES) -P timeout=$(TIMEOUT) $(ARGS)

test: $(STAMP)
	$(BIN)/python -m pytest tests -n $(WORKERS) --dist loadgroup --no-loadscope-reorder $(ARGS)

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-logo
	$(BIN)/mypy

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

ui: $(STAMP)
	$(BIN)/mlflow ui

demo: $(STAMP)
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m serving.demo

cluster-demo: $(STAMP)
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m benchmarks.cluster_demo

clean:
	rm -rf data .pytest_cache .ruff_cache .hypothesis .mypy_cache .import_linter_cache .coverage*

# Written last: an interrupted installation is done again.
$(STAMP): requirements.txt $(wildcard requirements/*.txt)
	command -v $(PYTHON) >/dev/null || { echo "error: $(PYTHON) is not on PATH; install Python 3.11, or give make PYTHON=/path/to/python3.11" >&2; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check --quiet -r requirements.txt
	$(BIN)/python -m training.store  # so that `mlflow run` by hand, twice at once, finds it too
	touch $@
