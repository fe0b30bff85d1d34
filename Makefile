# Two commands do everything: `make demo` and `make test`. Each sets up .venv when it is missing or out of date.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# One thread a process: on a shared machine two spinning OpenMP threads can be 20x slower than one.
export OMP_NUM_THREADS ?= 1
export TOKENIZERS_PARALLELISM := false

.PHONY: demo test test-skills test-api test-platforms lint install clean

demo: $(VENV)/.ready
	$(BIN)/python examples/arithmetic/train.py --config examples/arithmetic/grpo.yaml $(ARGS)

test: $(VENV)/.ready
	$(BIN)/lint-imports
	$(BIN)/python -m pytest $(ARGS)

# Installs the programs of the agent platforms from the package registries and proves that they load what we generate.
test-platforms: $(VENV)/.ready
	$(BIN)/python -m pytest -m network -rA tests/harness/test_platforms.py $(ARGS)

# The API audit on real wheels: downloads about half a gigabyte into the cache of `areal api`, and takes minutes.
test-api: $(VENV)/.ready
	$(BIN)/python -m pytest -m network -rA tests/harness/apiaudit $(ARGS)

# The examples of the skills that changes since BASE touch, each in a throw-away copy of the tree.
BASE ?= HEAD~1
test-skills: $(VENV)/.ready
	$(BIN)/areal skill selftest --changed-since $(BASE) $(ARGS)

lint: $(VENV)/.ready
	$(BIN)/pre-commit run --all-files

install: $(VENV)/.ready

# torch first: the packages that need it then keep the build that is already there.
$(VENV)/.ready: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet "torch>=2.11,<2.14"
	$(BIN)/python -m pip install --quiet --editable ".[dev]"
	touch $@

clean:
	rm -rf $(VENV) build *.egg-info
