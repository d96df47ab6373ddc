# Every target does its own set-up: a fresh clone needs Python 3.11 and make, nothing else.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
# On Linux the public index's torch brings gigabytes of CUDA. Another index beside it may hold the
# CPU's build, as TORCH_INDEX=https://download.pytorch.org/whl/cpu; torch is installed first, so that
# nothing else is looked for there.
TORCH := $(shell grep '^torch==' constraints.txt)
TORCH_INDEX ?=
READY := $(VENV)/.ready
TEST_READY := $(VENV)/.test-ready
PORT ?= 8501
BESIDE := -n auto --maxprocesses 4 --dist loadfile
# The models and studies of the tests, made once for all that run.
MADE := build/test-made

.DEFAULT_GOAL := help
.PHONY: help demo test test-long check bench golden component demo-assets clean browser

help: ## list the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

$(VENV)/bin/python:
	@command -v $(PYTHON) >/dev/null || { echo "error: $(PYTHON) not found; install Python 3.11 or give PYTHON=path"; exit 2; }
	$(PYTHON) -m venv $(VENV)

$(READY): $(VENV)/bin/python pyproject.toml constraints.txt
	$(BIN)/pip install -q --disable-pip-version-check -c constraints.txt $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) $(TORCH)
	$(BIN)/pip install -q --disable-pip-version-check -c constraints.txt -e .
	@touch $@

$(TEST_READY): $(READY)
	$(BIN)/pip install -q --disable-pip-version-check -c constraints.txt -e '.[test,check]'
	@touch $@

demo: $(READY) ## compare the embedded models and open the dashboard
	$(BIN)/distillscope demo --port $(PORT)

browser: $(TEST_READY)
	@$(BIN)/python tests/find_browser.py

# Tests without a browser share nothing but what they read and run beside one another; those with
# one want both cores for themselves.
test: $(TEST_READY) browser ## run every test that takes less than minutes
	@rm -rf $(MADE)
	DISTILLSCOPE_TEST_MADE="$(CURDIR)/$(MADE)" $(BIN)/python -m pytest -m "not long and not browser" $(BESIDE) --durations=10
	DISTILLSCOPE_TEST_MADE="$(CURDIR)/$(MADE)" $(BIN)/python -m pytest -m "browser and not long" --durations=10

test-long: $(TEST_READY) browser ## run what takes long: random kills, 200 000 points
	$(BIN)/python -m pytest -m long --durations=0

check: $(TEST_READY) ## format, lint, types, import order
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports
	$(BIN)/mypy

bench: $(TEST_READY) browser ## measure speed and memory, each beside its peer
	$(BIN)/python -m benchmarks

golden: $(TEST_READY) ## rewrite the golden files (say why in the commit)
	DISTILLSCOPE_GOLDEN=write $(BIN)/python -m pytest tests -m "not long" -k golden

component: ## build the paired map from its source (needs node)
	cd dashboard/components/pair_map && npm ci --no-audit --no-fund && npm run check && npm run build

demo-assets: $(READY) ## train the embedded models again (minutes)
	$(BIN)/python assets/demo/make.py

clean: ## remove the environment and everything computed
	rm -rf $(VENV) studies build dist *.egg-info
