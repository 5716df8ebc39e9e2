# Every target makes the environment it needs; a second run reinstalls nothing.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
export JAX_PLATFORMS ?= cpu
# Threads of the small factorisations only get in each other's way.
export OPENBLAS_NUM_THREADS ?= 1

.PHONY: demo test test-slow test-all fuzz lint format docs links bench bench-full package audit clean

demo: $(READY)
	$(BIN)/python examples/demo.py

test: $(READY)
	$(BIN)/python -m pytest -n auto -m "not slow and not data" $(ARGS)

test-slow: $(READY)
	$(BIN)/python -m pytest -n auto -m "slow" $(ARGS)

test-all: $(READY)
	$(BIN)/python -m pytest -n auto $(ARGS)

# Ten thousand random problems; takes some ten minutes.
fuzz: $(READY)
	$(BIN)/python -m tests.scale.fuzz $(ARGS)

lint: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright

format: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: $(READY)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

# Asks the links that lead out of the documentation; needs the network.
links: $(READY)
	$(BIN)/python -m tests.outside_links

bench: $(READY)
	$(BIN)/python -m benchmarks

bench-full: $(READY)
	$(BIN)/python -m benchmarks --full

# Builds what would be published, and checks it, without publishing it.
package: $(READY)
	$(BIN)/python -m pip install --quiet build twine
	rm -rf dist
	$(BIN)/python -m build
	$(BIN)/python -m twine check --strict dist/*

# The pinned versions against the published advisories; needs the network.
audit: $(READY)
	$(BIN)/python -m pip install --quiet pip-audit
	$(BIN)/python -m pip_audit --requirement constraints.txt --no-deps --disable-pip

clean:
	rm -rf $(VENV) dist out site .pytest_cache .ruff_cache .hypothesis

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "fixproj needs Python >= 3.11; name one: make PYTHON=python3.12 ..."; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	@touch $@
