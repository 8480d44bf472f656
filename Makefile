# Commands for contributors. `make` lists them.

# The oldest supported Python if it is installed: code that runs there runs on the newer ones.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# One more than there are cores: some tests wait.
WORKERS ?= $(shell expr $$(nproc 2>/dev/null || echo 2) + 1)
# Test workers, and the interpreters that tests start, are to find what one of them has compiled.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help venv demo test agents clients test-wheel test-matrix check lint types layers generated generate bench compliance docs clean

help:  ## List the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  %-12s %s\n", $$1, $$2}'

venv: $(STAMP)  ## Create the virtual environment

# The stamp is touched last, so that a failed installation is repeated.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "needs Python 3.11 or newer: make PYTHON=/path/to/python"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade --constraint constraints.txt pip
	$(BIN)/python -m pip install --quiet --no-compile --disable-pip-version-check --constraint constraints.txt --editable . --group dev
	@touch $(STAMP)

demo: venv  ## Start the emulator and run the demo against it
	@$(BIN)/python -m examples.demo

test: venv  ## Run the tests
	@$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal

agents:  ## Run the tests with large agent frameworks, in an environment of their own
	test -x .venv-agents/bin/python || $(PYTHON) -m venv .venv-agents
	.venv-agents/bin/python -m pip install --quiet --disable-pip-version-check --upgrade "pip>=25.1"
	.venv-agents/bin/python -m pip install --quiet --disable-pip-version-check --editable . --group agents
	@.venv-agents/bin/python -m pytest tests/agent_frameworks

test-wheel: venv  ## Run the tests against the built wheel
	@$(BIN)/python scripts/matrix.py wheel

test-matrix: venv  ## Run the tests with the lowest and the highest supported dependencies
	@$(BIN)/python scripts/matrix.py wheel lowest highest

clients: venv  ## Run other clients of PostHog against the emulator; FOLDER=… keeps them
	@$(BIN)/python scripts/clients.py $(if $(FOLDER),--folder "$(FOLDER)")

check: venv  ## Run all static checks: style, types, layers, generated code, public API
	@$(MAKE) --no-print-directory -j 2 types generated layers lint

lint: venv  ## Check style
	@$(BIN)/python -m ruff check .
	@$(BIN)/python -m ruff format --check .

types: venv  ## Check types
	@$(BIN)/python -m pyright

layers: venv  ## Check the layers: which module may import which
	@$(BIN)/lint-imports --no-cache
	@$(BIN)/python scripts/house.py --check

generated: venv  ## Check that generated code and the list of the public API are not stale
	@$(BIN)/python -m codegen check
	@$(BIN)/python scripts/public_api.py --check

generate: venv  ## Regenerate models, resources and registry from openapi/
	@$(BIN)/python -m codegen generate

bench: venv  ## Run the benchmarks: other clients, and the targets
	@$(BIN)/python -m benchmarks

compliance: venv  ## Run PostHog's SDK test harness: HARNESS=<its checkout> [HARNESS_PYTHON=<interpreter>]
	@$(BIN)/python -m tests.compliance.run "$(HARNESS)" $(if $(HARNESS_PYTHON),--python $(HARNESS_PYTHON))

docs: venv  ## Regenerate the reference and check the code snippets of the documentation
	@$(BIN)/python -m codegen generate
	@$(BIN)/python -m pytest tests/integration/test_documentation.py

clean:  ## Remove everything the targets create
	rm -rf $(VENV) .venv-* build dist .pytest_cache .ruff_cache .hypothesis benchmarks/out
