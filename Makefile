# Everything runs in .venv, which these targets make and keep up to date.
# PYTHON chooses the interpreter that makes it; VARIANT=:tiny a smaller demo.
PYTHON ?= python3
VENV ?= .venv
VARIANT ?=
WORKDIR ?= runs/demo

MAKEFLAGS += --no-print-directory
bin := $(VENV)/bin
pip := $(bin)/python -m pip --disable-pip-version-check install --quiet

.PHONY: help demo test test-slow lint docs clean
.DEFAULT_GOAL := help
.NOTPARALLEL:  # two installs into one environment disturb each other

help:
	@echo "make demo       train, attack and report on real data ($(WORKDIR))"
	@echo "make test       run the tests but for the slow ones"
	@echo "make test-slow  run the slow tests"
	@echo "make lint       check style, types and import contracts"
	@echo "make docs       build the pages into docs/_build/html"
	@echo "make clean      remove .venv, caches and built pages; runs/ stays"

demo: $(VENV)/.core
	@$(bin)/python launch/run.py \
	  --config=configs/spar_activity.py$(VARIANT) --workdir=$(WORKDIR)
	@echo "The report: $(WORKDIR)/report/index.html"

# Tests of one file share what they compile and train, so they stay together.
test: $(VENV)/.test
	@$(bin)/python -m pytest -q -n auto --maxprocesses=4 --dist=loadfile

test-slow: $(VENV)/.test
	@$(bin)/python -m pytest -q -m slow

# All four say what they have to say before the target fails.
lint: $(VENV)/.lint $(VENV)/.test
	@status=0; \
	$(bin)/ruff check --quiet . || status=1; \
	$(bin)/ruff format --quiet --check . || { status=1; \
	  echo "Not formatted as above; run: $(bin)/ruff format ."; }; \
	$(bin)/pyrefly check --output-format=min-text --summary=none \
	  --python-interpreter-path=$(bin)/python || status=1; \
	$(bin)/lint-imports --no-logo || status=1; \
	exit $$status

docs: $(VENV)/.docs
	@$(bin)/python -m sphinx -W --keep-going -q docs docs/_build/html
	@echo "The pages: docs/_build/html/index.html"

clean:
	@rm -rf $(VENV) docs/_build docs/_api
	@rm -rf .pytest_cache .ruff_cache .import_linter_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# A stamp per set of packages, renewed when the list of packages changes.
$(VENV)/.core: pyproject.toml
	@test -x $(bin)/pip || $(PYTHON) -c \
	  'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "error: hybridpriv needs Python 3.11 or newer, but $(PYTHON) is" \
	    "`$(PYTHON) --version 2>&1`. Name one: make PYTHON=python3.12 ..."; \
	  exit 1; }
	@test -x $(bin)/pip || $(PYTHON) -m venv $(VENV)
	@echo "Installing hybridpriv into $(VENV) (a minute or two) ..."
	@$(pip) --editable .
	@touch $@

$(VENV)/.%: $(VENV)/.core
	@echo "Installing the '$*' extra into $(VENV) ..."
	@$(pip) --editable '.[$*]'
	@touch $@
