# Everything runs in .venv, which these targets make and keep up to date.
# PYTHON chooses the interpreter that makes it; VARIANT=:tiny a smaller demo.
PYTHON ?= python3
VENV ?= .venv
VARIANT ?=
WORKDIR ?= runs/demo

MAKEFLAGS += --no-print-directory
bin := $(VENV)/bin
pip := $(bin)/python -m pip --disable-pip-version-check install --quiet

.PHONY: help demo demo-phone reproduce test test-deploy test-slow test-slurm \
  lint docs clean web test-web install-deploy _demo-phone _test-deploy
.DEFAULT_GOAL := help
.NOTPARALLEL:  # two installs into one environment disturb each other

help:
	@echo "make demo        train, attack and report on real data ($(WORKDIR))"
	@echo "make reproduce   every study of the paper; DATA=<folder with lfw/ and"
	@echo "                 sisfall/>, QUICK=1 for the main one in short"
	@echo "make demo-phone  train on drawn faces, export, serve; then open /demo"
	@echo "make test        run the tests but for the slow ones"
	@echo "make test-deploy run those of the extra 'deploy', in $(VENV)-deploy"
	@echo "make test-slow   run the slow tests"
	@echo "make test-slurm  run those that start a Slurm of their own"
	@echo "make lint        check style, types and import contracts"
	@echo "make docs        build the pages into docs/_build/html"
	@echo "make clean       remove .venv, caches and built pages; runs/ stays"
	@echo "make web         build the page /demo from web/; needs Node"
	@echo "make test-web    test it: in Node, and in Chromium where there is one"

demo: $(VENV)/.core
	@$(bin)/python launch/run.py \
	  --config=configs/spar_activity.py$(VARIANT) --workdir=$(WORKDIR)
	@echo "The report: $(WORKDIR)/report/index.html"

# Drawn faces: the numbers say nothing about people. Ctrl-C ends the service.
demo-phone:
	@$(MAKE) VENV=$(VENV)-deploy _demo-phone

PHONE ?= runs/phone
PORT ?= 8000
_demo-phone: $(VENV)/.deploy
	@$(bin)/python launch/run.py \
	  --config=configs/synthetic_faces.py$(or $(VARIANT),:small) \
	  --workdir=$(PHONE)
	@test -d $(PHONE)/bundle || $(bin)/python launch/export.py \
	  --workdir=$(PHONE) --out=$(PHONE)/bundle --demo
	@echo "Open http://127.0.0.1:$(PORT)/demo in a browser."
	@$(bin)/python launch/serve.py --bundle=$(PHONE)/bundle --port=$(PORT)

# Each study goes on where it was stopped, and is skipped when it is done; one
# that fails does not keep the others from running. ANEW=1 attacks those of an
# older version anew without training them again.
DATA ?=
RUNS ?= runs/paper
QUICK ?=
ANEW ?=
anew = $(if $(ANEW),--audit_anew)
lfw = --config.data.path=$(DATA)/lfw --config.features=$(RUNS)/features $(anew)
ifeq ($(QUICK),)
cuts = block11 block12 block13
studies = $(cuts) untuned verification dpfe emotion sisfall recipe
else
studies = quick
endif

# What is compiled for one study is kept for the next, and for going on: much of
# it is small.
.PHONY: $(addprefix study-,$(studies))
reproduce $(addprefix study-,$(studies)): export \
  JAX_COMPILATION_CACHE_DIR ?= $(abspath $(RUNS))/compiled
reproduce $(addprefix study-,$(studies)): export \
  JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS ?= 0.02
reproduce:
	@test -f "$(DATA)/lfw/labels.csv" || { echo "error: there is no" \
	  "$(DATA)/lfw/labels.csv. Name the folder that holds lfw/ and sisfall/:" \
	  "make reproduce DATA=<folder>"; exit 1; }
	@$(MAKE) --keep-going $(addprefix study-,$(studies))
	@echo "The reports: $(RUNS)/*/report/index.html"

launched = $(bin)/python launch
# One cut each; every one also compares those that are done.
$(addprefix study-,$(cuts)): study-%: $(VENV)/.pretrained
	@$(launched)/sweep.py --config=configs/ablations/layers_lfw.py:small $(lfw) \
	  --workdir=$(RUNS)/layers --runs=$*
study-quick: $(VENV)/.pretrained
	@$(launched)/sweep.py --config=configs/ablations/layers_lfw.py:small $(lfw) \
	  --workdir=$(RUNS)/quick --runs=block13 --config.train.seeds=1 \
	  --config.audit.attack_seeds=2 --config.audit.transfer.steps=300 \
	  --config.audit.inversion.steps=500
study-untuned: $(VENV)/.pretrained
	@$(launched)/sweep.py --config=configs/ablations/untuned_lfw.py:small $(lfw) \
	  --workdir=$(RUNS)/untuned
study-verification: $(VENV)/.pretrained
	@$(launched)/run.py --config=configs/lfw_verification.py:small $(lfw) \
	  --workdir=$(RUNS)/verification
study-dpfe: $(VENV)/.pretrained
	@$(launched)/sweep.py --config=configs/ablations/dpfe_lfw.py:small $(lfw) \
	  --workdir=$(RUNS)/dpfe
study-emotion: $(VENV)/.pretrained
	@$(launched)/run.py --config=configs/lfw_emotion.py:small $(lfw) \
	  --workdir=$(RUNS)/emotion
study-sisfall: $(VENV)/.core
	@$(launched)/run.py --config=configs/sisfall_activity.py:small \
	  --config.data.path=$(DATA)/sisfall $(anew) --workdir=$(RUNS)/sisfall
study-recipe: $(VENV)/.core
	@$(launched)/run.py --config=configs/paper/gender_vgg16.py:small \
	  --config.data.path=$(DATA)/lfw $(anew) --workdir=$(RUNS)/recipe

# Tests of one file share what they compile and train, so they stay together. A
# worker that died is not replaced: the run would wait for ever for the new one.
# A test that hangs says where, and ends.
WORKERS := -n auto --maxprocesses=4 --dist=loadfile --max-worker-restart=0 \
  -o faulthandler_timeout=1800 -o faulthandler_exit_on_timeout=true
test: $(VENV)/.test
	@$(bin)/python -m pytest -q $(WORKERS)

# In an environment of its own: the extra holds other packages back, and all
# else must do without it.
install-deploy:
	@$(MAKE) VENV=$(VENV)-deploy $(VENV)-deploy/.test,deploy

test-deploy:
	@$(MAKE) VENV=$(VENV)-deploy _test-deploy

_test-deploy: $(VENV)/.test,deploy
	@$(bin)/python -m pytest -q $(WORKERS) $(MARKED) tests/deploy

test-slow: $(VENV)/.test
	@$(bin)/python -m pytest -q -m slow
	@$(MAKE) test-deploy MARKED="-m slow"

# Needs Debian's slurm-wlm and munge; says so where they are missing.
test-slurm: $(VENV)/.test
	@why=`$(bin)/python tests/cluster/single_node.py` || exit 1; \
	if test -n "$$why"; then \
	  echo "Not run: a sweep through Slurm ($$why)."; \
	else \
	  $(bin)/python -m pytest -q -m slurm tests/cluster; \
	fi

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
	@rm -rf $(VENV) $(VENV)-deploy docs/_build docs/_api
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

# The page is part of the package as it is built, so that only who changes web/
# needs Node. Its end-to-end test needs Debian's chromium, or CHROMIUM=<program>.
CHROMIUM ?= $(firstword $(shell command -v chromium || \
  command -v chromium-browser || command -v google-chrome))
packages := web/node_modules/.package-lock.json

web: $(packages)
	@npm --prefix web run --silent build

test-web: $(packages)
	@npm --prefix web test --silent
ifeq ($(CHROMIUM),)
	@echo "Not run: the page in a browser (no Chromium found; CHROMIUM=...)."
else
	@$(MAKE) VENV=$(VENV)-deploy $(VENV)-deploy/.deploy
	@CHROMIUM=$(CHROMIUM) PYTHON=$(abspath $(VENV)-deploy/bin/python) \
	  npm --prefix web run --silent test:e2e
endif

$(packages): web/package.json web/package-lock.json
	@command -v npm > /dev/null || { \
	  echo "error: web/ needs Node 20.19 or newer, with npm"; exit 1; }
	@npm --prefix web ci --silent --no-audit --no-fund
	@touch $@
