# Two commands: `make dev` and `make test`. Both install what they need into this folder first (.venv, node_modules).
PYTHON ?= python3
BIN := .venv/bin

# A PYTHON that is named is the one to use: .venv is made anew if it has another.
ifeq ($(origin PYTHON),command line)
ifneq ($(shell $(PYTHON) -V),$(shell $(BIN)/python -V 2>/dev/null))
$(shell rm -f .venv/installed)
endif
endif

# The machine's certificate store is what a company's proxy is known to.
export UV_SYSTEM_CERTS ?= 1
export NODE_USE_SYSTEM_CA ?= 1

.PHONY: help dev check test types screenshots soak bench bench-sql lint format mutants gaps lock reset clean

help: ## show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

dev: .venv/installed node_modules/installed ## start everything on 127.0.0.1 and stay in the foreground
	@exec $(BIN)/python -m edge_api.local dev

check: lint node_modules/installed ## before each commit: lint, and the tests that are fast (1 min)
	@exec $(BIN)/python -m pytest -m "not slow" --ignore=tests/page

test: .venv/installed node_modules/installed ## run the whole suite against a throw-away stack
	@exec $(BIN)/python -m pytest

types: .venv/installed node_modules/installed ## generate the types, openapi.json and what verify compares with
	@$(BIN)/python -m edge_api.local types

screenshots: .venv/installed node_modules/installed ## take the pictures of docs/images (needs Chromium)
	@exec $(BIN)/python -m tests.page.screenshots

soak: .venv/installed node_modules/installed ## offer a stack more than it can take, for a minute
	@exec $(BIN)/python -m pytest -n0 -rP --timeout=600 --soak=60 tests/soak

bench: .venv/bench ## measure the API beside other ways to build it (needs wrk: apt-get install wrk)
	@exec $(BIN)/python -m bench

bench-sql: .venv/installed node_modules/installed ## measure the SQL functions at up to a million accounts
	@exec $(BIN)/python -m bench.database

lint: .venv/installed ## ruff, mypy, sqlfluff, squawk
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/sqlfluff lint --processes 0 --disable-progress-bar supabase sql edge_api
	$(BIN)/squawk supabase/migrations/*.sql

format: .venv/installed ## put the code into its standard form
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

mutants: .venv/installed node_modules/installed ## weaken the database in every way, and see the policy tests notice (3 min)
	@exec $(BIN)/python -m tests.database.mutants

gaps: .venv/installed node_modules/installed ## open every gap of the catalogue, and see verify find and fix it (2 min)
	@exec $(BIN)/python -m pytest tests/database/verify tests/database/test_verify.py --all-gaps

reset: .venv/installed ## wipe the data of `make dev`
	@exec $(BIN)/python -m edge_api.local reset

lock: .venv/installed ## pin the newest versions that pyproject.toml and package.json allow
	$(BIN)/uv pip compile --quiet --upgrade --universal --generate-hashes --custom-compile-command 'make lock' \
		--python-version 3.11 --all-extras --group dev pyproject.toml --output-file requirements.lock
	$(BIN)/uv pip compile --quiet --upgrade --universal --generate-hashes --custom-compile-command 'make lock' \
		--python-version 3.11 --constraint requirements.lock --extra metrics --extra otel \
		pyproject.toml --output-file deploy/requirements.lock
	echo hatchling | $(BIN)/uv pip compile --quiet --upgrade --universal --generate-hashes --custom-compile-command 'make lock' \
		--python-version 3.11 --constraint requirements.lock - --output-file deploy/build.lock
	$(BIN)/uv pip compile --quiet --upgrade --universal --generate-hashes --custom-compile-command 'make lock' \
		--python-version 3.11 --constraint requirements.lock .ci/requirements.in --output-file .ci/requirements.lock
	$(BIN)/uv pip compile --quiet --upgrade --universal --generate-hashes --custom-compile-command 'make lock' \
		--python-version 3.11 --constraint requirements.lock bench/requirements.in --output-file bench/requirements.lock
	@# in a folder of its own: beside node_modules, npm notes what is installed there, which is this machine's binaries alone
	@set -e; folder=$$(mktemp -d); trap 'rm -rf "$$folder"' EXIT; cp package.json .npmrc "$$folder"; \
		$(BIN)/python -m edge_api.local npm install --package-lock-only --prefix "$$folder"; \
		cp "$$folder/package-lock.json" package-lock.json
	@# npm notes where to donate; a lock of ours names packages and hashes only
	@$(BIN)/python -c 'import json, pathlib; file = pathlib.Path("package-lock.json"); lock = json.loads(file.read_text()); \
		[package.pop("funding", None) for package in lock["packages"].values()]; \
		file.write_text(json.dumps(lock, indent=2, ensure_ascii=False) + "\n")'

clean: ## remove what was installed
	rm -rf .venv node_modules

# Without uv on the machine, the uv that requirements.lock pins is put into .venv and then installs the rest.
.venv/installed: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "edge-api needs Python 3.11 or newer: make PYTHON=python3.12 ...")'
	@echo "Installing the Python packages into .venv: some 0.9 GB"
	@if command -v uv >/dev/null; then \
		uv venv --quiet --clear --python "$$($(PYTHON) -c 'import sys; print(sys.executable)')" .venv && \
		VIRTUAL_ENV=.venv uv pip sync --quiet --compile-bytecode --require-hashes requirements.lock; \
	else \
		$(PYTHON) -m venv --clear .venv && \
		sed -n '/^uv==/,/# via/p' requirements.lock >.venv/uv.txt && \
		$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r .venv/uv.txt && \
		VIRTUAL_ENV=.venv $(BIN)/uv pip sync --quiet --compile-bytecode --require-hashes requirements.lock; \
	fi
	@VIRTUAL_ENV=.venv $(BIN)/uv pip install --quiet --no-deps --no-build-isolation --editable .
	@echo "The Python packages are installed: $$(du -sh .venv | cut -f1)"
	@touch $@

.venv/bench: bench/requirements.lock .venv/installed | node_modules/installed
	@VIRTUAL_ENV=.venv $(BIN)/uv pip install --quiet --require-hashes -r bench/requirements.lock
	@touch $@

# "install" and not "ci", which refuses a lock that does not have this machine's binaries: SECURITY.md, "Not pinned".
node_modules/installed: package.json package-lock.json .npmrc | .venv/installed
	@echo "Installing the node packages into node_modules: some 0.3 GB"
	@$(BIN)/python -m edge_api.local npm install --no-save --loglevel=error
	@echo "The node packages are installed: $$(du -sh node_modules | cut -f1)"
	@touch $@
