# Every target sets up what it needs in .venv and reuses it. Needs Python >= 3.10, git and make.
PYTHON ?= python3
PIP_FLAGS ?=# extra flags for pip, such as --extra-index-url
STUDY ?= quick
ARGS ?=# for reproduce-figure, such as ARGS="seeds=[0,1,2]", or for torture and bench

VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
INSTALLED_DEV := $(VENV)/.installed-dev
INSTALLED_RAY := $(VENV)/.installed-ray
OLDEST := .venv-oldest
FAST := not slow and not long and not processes and not slurm and not hosts and not ray

.DEFAULT_GOAL := help
.PHONY: help install install-dev reproduce-figure test test-fast test-oldest test-long test-cluster test-ray torture bench check-gpu find-gpu lint format wheel clean

help: ## Show this help
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

reproduce-figure: $(INSTALLED) ## Train the nets of a figure and draw it (STUDY=quick ARGS=...)
	@$(BIN)/resnet-study study=$(STUDY) $(ARGS)

test: $(INSTALLED_DEV) ## Run all tests except test-long and test-cluster
	@$(BIN)/python -m pytest -n auto -m "not long and not processes and not slurm and not hosts and not ray"

test-fast: $(INSTALLED_DEV) ## Run the quick tests (a few minutes)
	@$(BIN)/python -m pytest -n auto -m "$(FAST)"

test-oldest: $(OLDEST)/.installed ## Run the tests with the oldest versions that pyproject.toml allows
	@$(OLDEST)/bin/python -m pytest -n auto -m "$(FAST)"

test-long: $(INSTALLED_DEV) ## Kill runs, fill disks, change locales, use launchers
	@$(BIN)/python -m pytest -n auto -m long

test-cluster: $(INSTALLED_DEV) ## Test several processes, and as root two hosts and Slurm
	@$(BIN)/python -m pytest -n 2 --dist loadfile -m "processes or slurm or hosts"

test-ray: $(INSTALLED_RAY) ## End a node of a Ray cluster, and a worker of joblib (installs Ray, 370 MB)
	@$(BIN)/python -m pytest -m ray

torture: $(INSTALLED_DEV) ## Kill runs, damage files, mistype settings; count what fails
	@$(BIN)/python scripts/torture.py $(ARGS)

bench: $(INSTALLED_DEV) ## Compare the trainer's speed with its peers' (ARGS=--busy, --profile, --precisions, --growth)
	@$(BIN)/python scripts/bench $(ARGS)

check-gpu: find-gpu $(INSTALLED_DEV) ## Test and time everything on a CUDA device (ARGS=--dry-run: on the CPU)
	@$(BIN)/python scripts/check_gpu.py $(ARGS)

# Without a GPU, stop before the installation; later, torch looks for one itself.
find-gpu:
	@case "$(ARGS)" in *--dry-run*) exit ;; esac; [ -e $(INSTALLED_DEV) ] || nvidia-smi -L > /dev/null 2>&1 || \
		{ echo "error: nvidia-smi finds no GPU, so nothing was installed: use a machine with one, or add" \
		"ARGS=--dry-run; if torch may find one nevertheless, type make install-dev check-gpu" >&2; exit 3; }

lint: $(INSTALLED_DEV) ## Check style, types, imports and links (ruff, mypy, import-linter)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/python scripts/check_links.py

format: $(INSTALLED_DEV) ## Format the code and fix what ruff can fix
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

wheel: $(INSTALLED_DEV) ## Build the source distribution, and from it the wheel, into dist/
	@$(BIN)/python -m build

install: $(INSTALLED) ## Set up .venv with what runs need

install-dev: $(INSTALLED_DEV) ## Set up .venv with what tests and checks need too

clean: ## Remove .venv and caches (outputs/ stays)
	rm -rf $(VENV) $(OLDEST) dist .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' \
		|| { echo "error: $(PYTHON) is older than 3.10: name another with make PYTHON=..." >&2; exit 1; }
	@echo "creating $(VENV)"
	@$(PYTHON) -m venv $(VENV)

$(INSTALLED): pyproject.toml | $(BIN)/python
	@echo "installing into $(VENV) (torch is large: a few minutes the first time)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_FLAGS) -e .
	@touch $@

$(INSTALLED_DEV): pyproject.toml | $(BIN)/python
	@echo "installing into $(VENV) (torch is large: a few minutes the first time)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_FLAGS) -e '.[dev]'
	@touch $@ $(INSTALLED)

$(INSTALLED_RAY): pyproject.toml | $(INSTALLED_DEV)
	@echo "installing Ray into $(VENV) (370 MB)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_FLAGS) -e '.[ray]'
	@touch $@

$(OLDEST)/.installed: pyproject.toml tests/support/oldest.txt
	@$(PYTHON) -c 'import sys; sys.exit(not sys.version_info[:2] in ((3, 10), (3, 11)))' \
		|| { echo "error: the oldest versions need Python 3.10 or 3.11: name one with make PYTHON=..." >&2; exit 1; }
	@echo "installing into $(OLDEST) (several gigabytes)"
	@$(PYTHON) -m venv --clear $(OLDEST)
	@PIP_CONSTRAINT=$(CURDIR)/tests/support/oldest.txt PIP_BUILD_CONSTRAINT=$(CURDIR)/tests/support/oldest.txt \
		$(OLDEST)/bin/python -m pip install --quiet --disable-pip-version-check $(PIP_FLAGS) \
		-e '.[dev,joblib,ray,slurm]'
	@touch $@
