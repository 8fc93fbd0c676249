# `make` lists the targets. Everything is installed into .venv and the user's cache folder; nothing else is touched.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
POSTURE := .venv-posture/.ready
OBJECT_STORE := .venv-s3/.ready
ENVIRONMENT ?= local

.PHONY: help
help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

.PHONY: up
up: $(READY) ## Build and start the sandbox, then bring up every store of stacks/local/stores.yaml
	@$(BIN)/stores sandbox up
	@$(BIN)/stores up --env $(ENVIRONMENT)

.PHONY: down
down: $(READY) ## Stop the sandbox and remove what belonged to it; the build cache stays
	@$(BIN)/stores sandbox down

.PHONY: test
test: $(READY) $(POSTURE) $(OBJECT_STORE) test-programs ## Run the tests, the end-to-end ones against a sandbox of their own included
	@$(BIN)/stores sandbox build
	@BIN=$(BIN) bash tests/halves.sh

# One after the other: what is timed must have the machine for itself. The first failure does not keep the rest away.
.PHONY: test-long
test-long: $(READY) $(OBJECT_STORE) test-programs ## Full counts of the figures of docs/reliability.md, which it writes (hours)
	@code=0; \
	$(BIN)/python -m bench || code=1; \
	$(BIN)/pytest -m long --timeout 3600 tests || code=1; \
	$(BIN)/python -m bench.mutation || code=1; \
	$(BIN)/python -m bench --report; \
	exit $$code

# A browser for the picture of a shop, and MariaDB's programs, of which no service is started.
.PHONY: test-programs
test-programs:
	@if ! { command -v chromium && command -v mariadbd; } >/dev/null; then \
	  [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null \
	    || { echo "error: the tests need chromium and mariadbd; install them" >&2; exit 2; }; \
	  echo "Installing Chromium and MariaDB's programs (a minute) ..."; \
	  apt-get update -qq; \
	  DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends \
	    chromium mariadb-server-core mariadb-client-core >/dev/null; \
	fi

.PHONY: check
check: lint test ## Everything that must hold before a merge

.PHONY: posture
posture: $(READY) $(POSTURE) ## Judge a complete store of prod by checkov, kube-score and kubeconform
	@$(BIN)/pytest -q tests/posture

.PHONY: lint
lint: $(READY) ## Format, lint, types and import direction
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

.PHONY: format
format: $(READY) ## Format the code and apply safe fixes
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

.PHONY: docs
docs: $(READY) ## Write the generated parts of the documentation anew: schemas and the chart's values
	@$(BIN)/stores schema --write
	@$(BIN)/python charts/ci_values.py
	@$(BIN)/python charts/readme.py
	@$(BIN)/python charts/quota.py

.PHONY: lock
lock: ## Pin every dependency anew, with hashes (needs uv)
	uv pip compile -q --universal --generate-hashes --python-version 3.11 --group dev \
	  --custom-compile-command "make lock" pyproject.toml -o requirements.lock
	uv pip compile -q --universal --generate-hashes --python-version 3.11 \
	  --custom-compile-command "make lock" tests/posture/requirements.in -o tests/posture/requirements.lock
	uv pip compile -q --universal --generate-hashes --python-version 3.11 \
	  --custom-compile-command "make lock" tests/charts/object-store.in -o tests/charts/object-store.lock

.PHONY: clean
clean: ## Remove the virtual environment; state and sandboxes stay
	rm -rf .venv .venv-posture .venv-s3

# A stamp: a half-made environment is made anew.
$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "error: $(PYTHON) is older than 3.11; run make PYTHON=python3.11" >&2; exit 2; }
	@echo "Installing the pinned Python packages into .venv (about a minute) ..."
	@$(PYTHON) -m venv .venv \
	  || { echo "error: $(PYTHON) cannot make virtual environments; install python3-venv" >&2; exit 2; }
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

# checkov brings a hundred packages, some of them in older versions than ours: they have an environment of their own.
$(POSTURE): tests/posture/requirements.lock
	@echo "Installing checkov into .venv-posture (about a minute) ..."
	@$(PYTHON) -m venv .venv-posture
	@.venv-posture/bin/pip install --quiet --disable-pip-version-check --require-hashes -r tests/posture/requirements.lock
	@touch $@

# Likewise the object store that backups are tried with.
$(OBJECT_STORE): tests/charts/object-store.lock
	@echo "Installing an object store for the tests into .venv-s3 (half a minute) ..."
	@$(PYTHON) -m venv .venv-s3
	@.venv-s3/bin/pip install --quiet --disable-pip-version-check --require-hashes -r tests/charts/object-store.lock
	@touch $@
