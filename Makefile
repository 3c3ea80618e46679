# The tasks of this project; `make help` lists them.
#
# Needs GNU make, a POSIX shell, Python 3.11 or newer, and a package index to install from.
# Everything goes into .venv, at the versions of constraints.txt. What is installed already is not
# installed again until pyproject.toml or constraints.txt changes.

VENV ?= .venv
# constraints.txt was made with 3.11, so that comes first.
PYTHON ?= $(shell for python in python3.11 python3 python3.12 python3.13 python3.14 python; do \
	"$$python" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' \
	>/dev/null 2>&1 && echo "$$python" && break; done)
# `make test ARGS="tests/dynamics -x"`
ARGS ?=

bin := $(VENV)/bin
pip := $(bin)/python -m pip --disable-pip-version-check --no-input -qq
pinned := $(pip) install --constraint constraints.txt
pins := pyproject.toml constraints.txt
# Distributions of their own, in this repository.
plugins := $(wildcard plugins/*)

# All tests run on all cores, files kept whole, as some make what their tests share; each on a thread.
workers := --numprocesses auto --maxprocesses 4 --dist loadfile
threads := OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1}

.DELETE_ON_ERROR:
.PHONY: help demo test test-all test-forms lint format bench docs hub-check wheel constraints clean

help: ## list these tasks
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1\t\2/p' Makefile | expand -t 20

demo: $(VENV)/.spectrakit ## analyse the bundled checkpoints into demo/ and show the results
	@for model in tiny-mamba tiny-mamba2 tiny-llama; do \
		printf '\n$$ spectrakit analyze %s --out demo/%s\n' $$model $$model; \
		$(bin)/spectrakit analyze $$model --out demo/$$model || exit; \
	done
	@printf '\nThe files:\n'; find demo -type f ! -name '.*' | sort
	@printf '\nOpen these pictures:\n'; find "$(CURDIR)/demo" -name '*.png' | sort
	@printf '\nThe command is $(bin)/spectrakit, or spectrakit after: . $(bin)/activate\n'

test: $(VENV)/.test $(VENV)/.plugins ## run all tests (ARGS="tests/dynamics -x" for some)
	$(if $(ARGS),,@$(foreach plugin,$(plugins),echo "the tests of $(plugin)" && \
		$(threads) $(bin)/python -m pytest -q $(plugin) $(workers) &&) true)
	$(threads) $(bin)/python -m pytest $(if $(ARGS),$(ARGS),$(workers))

test-all: export SPECTRAKIT_TEST_ALL = 1
test-all: test ## run all tests, with every case of a batch that is killed, not a tenth of them

test-forms: $(VENV)/.forms ## test the forms of checkpoints with the libraries that write them
	$(threads) $(bin)/python -m pytest tests/forms tests/checkpoints/test_adapters.py \
		tests/checkpoints/mlx tests/architectures/test_quantised_models.py \
		tests/docs/test_own_checkpoints_page.py $(ARGS)

lint: $(VENV)/.lint $(VENV)/.plugins ## check style, format and types
	$(bin)/ruff check
	$(bin)/ruff format --check
	$(bin)/mypy

format: $(VENV)/.lint ## put the code into the format that `make lint` asks for
	$(bin)/ruff check --fix
	$(bin)/ruff format

bench: $(VENV)/.test $(VENV)/.plugins ## measure speed and size, and print a table
	$(bin)/python -m benchmarks $(ARGS)

docs: $(VENV)/.test ## bring generated pages and shown outputs up to date
	$(bin)/python docs/tables_page.py --write docs/tables.md
	$(bin)/python docs/coverage.py --write
	$(bin)/python docs/refresh.py
	$(bin)/spectrakit analyze tiny-mamba --out build/picture
	cp build/picture/spectrum.svg docs/tiny-mamba.svg

hub-check: $(VENV)/.spectrakit ## read a little of six public models on the Hub, and write a report
	$(bin)/python docs/hub_check.py --out build/hub-check.md $(ARGS)

wheel: $(VENV)/.test ## build the wheel and the source distribution into dist/
	$(bin)/python -m build --no-isolation

constraints: ## pin anew: today's versions of everything but torch, into constraints.txt
	$(require-python)
	rm -rf build/constraints
	"$(PYTHON)" -m venv build/constraints
	build/constraints/bin/python -m pip install -qq --upgrade pip hatchling
	build/constraints/bin/python -m pip install -qq --upgrade --no-build-isolation \
		"$$(grep '^torch==' constraints.txt)" . --group dev $(plugins:%=--group %/pyproject.toml:test)
	sed -n '/^#/p' constraints.txt > build/constraints.txt
	build/constraints/bin/python -m pip freeze --all --exclude spectrakit \
		| sed 's/+cpu$$//' >> build/constraints.txt
	mv build/constraints.txt constraints.txt

clean: ## remove what the other tasks made, but for the environment
	rm -rf build dist demo .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +

# ---- what the tasks need installed ----

define require-python
	@test -n "$(PYTHON)" || { \
		echo "error: this machine has no Python 3.11 or newer with its venv module" >&2; \
		echo "  try: install one, then make PYTHON=/path/to/python3" >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "error: spectrakit needs Python 3.11 or newer; $(PYTHON) is" \
			"$$("$(PYTHON)" --version 2>&1)" >&2; \
		echo "  try: make PYTHON=/path/to/a/newer/python3" >&2; exit 1; }
endef

$(bin)/python:
	$(require-python)
	@echo "making $(VENV) with $(PYTHON)"
	@"$(PYTHON)" -m venv "$(VENV)"

$(VENV)/.spectrakit: $(pins) | $(bin)/python
	@echo "installing spectrakit into $(VENV): torch and all, a few minutes the first time"
	@$(pinned) pip hatchling
	@$(pinned) --no-build-isolation --editable .
	@touch $@

$(VENV)/.test: $(VENV)/.spectrakit
	@echo "installing what the tests need"
	@$(pinned) --group test
	@touch $@

$(VENV)/.plugins: $(VENV)/.spectrakit $(plugins:%=%/pyproject.toml)
	@echo "installing the plugins of this repository"
	@$(pip) install --no-build-isolation --no-deps $(plugins:%=--editable %)
	@$(pinned) $(plugins:%=--group %/pyproject.toml:test)
	@touch $@

$(VENV)/.forms: $(VENV)/.test tests/forms/requirements.txt
	@echo "installing libraries that write checkpoints"
	@$(pinned) --requirement tests/forms/requirements.txt
	@touch $@

$(VENV)/.lint: $(VENV)/.spectrakit
	@echo "installing ruff and mypy"
	@$(pinned) --group lint
	@touch $@
