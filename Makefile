# make help lists what there is.
#   PYTHON=/path/to/python   an interpreter, 3.10 to 3.12 (default: the first suitable one on PATH)
#   VENV=/path/to/folder     where the environment goes (default: .venv)
#   ARGS="..."               passed on to tools/run_pipeline.py or pytest

VENV ?= .venv
PYTHON ?=
ARGS ?=

RUN := $(VENV)/bin/python
CANDIDATES := $(or $(PYTHON),python3 python python3.12 python3.11 python3.10)
SUITABLE := import sys; sys.exit(not (3, 10) <= sys.version_info[:2] < (3, 13))

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-slow lint docs clean

help: ## list the targets
	@awk -F ': .*## ' '/^[a-z-]+:.*## /{printf "make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## prepare the environment in $(VENV); quick when it is up to date
	@for python in $(CANDIDATES); do \
	    if "$$python" -c '$(SUITABLE)' >/dev/null 2>&1; then \
	        exec "$$python" -B tools/setup_env.py "$(VENV)" $(if $(PYTHON),--strict-python); \
	    fi; \
	done; \
	echo "bestie_d2 needs Python 3.10 to 3.12, found none in: $(CANDIDATES);" \
	    "try make PYTHON=/path/to/python" >&2; exit 1

demo: setup ## the whole chain on the embedded data (ARGS=... for tools/run_pipeline.py)
	@"$(RUN)" tools/run_pipeline.py --config configs/pipelines/shapes.yaml $(ARGS)

# Files of tests are shared by processes of one thread each: two threads that wait for each other
# gain nothing on networks as small as those of the tests. They come in their order, the slow ones
# first (tests/conftest.py). ARGS="-n 0" keeps to one process.
test: setup lint ## lint and types, then the test suite (ARGS=... for pytest)
	@OMP_NUM_THREADS=1 "$(RUN)" -m pytest -n auto --maxprocesses 4 --dist loadfile \
	    --no-loadscope-reorder $(ARGS)

# One after the other: they measure. BESTIE_D2_SOAK_MINUTES and the others make it shorter.
test-slow: export BESTIE_D2_FUZZED ?= 100000
test-slow: export OMP_NUM_THREADS = 1
test-slow: setup ## an hour and a half: random kills, 100,000 damaged files, a set of COCO's size
	@"$(RUN)" -m pytest -m nightly -s $(ARGS)
	@"$(RUN)" -m pytest --timeout 7200 tests/test_fuzzed_files.py $(ARGS)

lint: setup ## ruff and mypy: rules, formatting, types
	@"$(RUN)" -m ruff check .
	@"$(RUN)" -m ruff format --check .
	@"$(RUN)" -m mypy

docs: setup ## the pages of docs/ as a site in output/site; a broken link fails
	@"$(RUN)" tools/write_docs.py
	@"$(RUN)" -c "import mkdocs" 2>/dev/null || "$(RUN)" -m pip install -q -c constraints.txt mkdocs
	@"$(RUN)" -m mkdocs build
	@echo "output/site/index.html"

clean: ## remove the environment, caches and build left-overs
	@if [ -e "$(VENV)/bestie_d2_setup.json" ]; then rm -rf "$(VENV)"; fi
	@rm -rf build dist *.egg-info .pytest_cache .ruff_cache .mypy_cache .hypothesis
	@find bestie_d2 tests tools third_party -name __pycache__ -type d -prune -exec rm -rf {} +
