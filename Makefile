# Everything a newcomer needs: `make` lists the commands. Only make and Python >= 3.11 are assumed.
#
#   make quickstart PYTHON=python3.12    choose the interpreter that `.venv` is made from
#   make test ARGS="-x -k gaussian"      pass options on to pytest
#
# On Linux, PyPI's torch carries CUDA (some GB). For the small CPU build, put
# PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu in the environment.

PYTHON ?= python3
ARGS ?=
BIN := .venv/bin

.DEFAULT_GOAL := help
.PHONY: help quickstart test lint format results wheel clean

help: ## list these commands
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' Makefile

quickstart: .venv/train.stamp ## train a small network, measure it, draw it, predict with it
	$(BIN)/python train.py experiment=quickstart resume=true
	$(BIN)/python evaluate.py checkpoint=runs/quickstart/checkpoint.safetensors
	$(BIN)/python scripts/predict_diabetes.py

test: .venv/dev.stamp ## run the tests
	$(BIN)/python -m pytest $(ARGS)

lint: .venv/dev.stamp ## check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

format: .venv/dev.stamp ## rewrite the files in the style that lint checks
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

results: .venv/dev.stamp ## run all comparisons with published systems (hours), and write RESULTS.md
	OMP_NUM_THREADS=1 $(BIN)/python -m scripts.results $(ARGS)

wheel: $(BIN)/pip ## build dist/*.whl
	$(BIN)/pip wheel --no-deps --wheel-dir dist .

clean: ## remove what was built (keeps .venv, runs and checkpoints)
	rm -rf build dist .pytest_cache .ruff_cache
	find priorfit scripts tests -name __pycache__ -type d -prune -exec rm -rf {} +

# Installed again whenever what is asked for changes; otherwise a stamp costs nothing.
.venv/%.stamp: pyproject.toml constraints.txt | $(BIN)/pip
	$(BIN)/pip install --constraint constraints.txt --editable ".[$*]"
	@touch $@

# venv puts pip in place last, so a half-made environment is made again.
$(BIN)/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "priorfit needs Python 3.11 or newer, and '$(PYTHON)' is not. Try: make PYTHON=python3.12" >&2; exit 1; }
	$(PYTHON) -m venv .venv
