# Everything a checkout can do. Each target sets up what it needs; repeated, that costs nothing.
PYTHON ?= python3
export PYTHON
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help serve test check format bench soak conformance clean

help:  ## list the targets
	@sed -n 's/^\([a-z]*\):.*##/\1\t/p' $(MAKEFILE_LIST) | expand -t 14

serve:  ## install and serve on http://127.0.0.1:8000 (ARGS="--port 9000 ...")
	@scripts/venv workers
	@.venv/bin/hubbub serve $(ARGS)

test:  ## install what tests need and run them all (ARGS="-k name ...")
	@scripts/venv test conformance
	@scripts/apt chromium || true
	@scripts/node || true
	@scripts/test $(ARGS)

check:  ## lint, types and the import contract
	@scripts/venv test check
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .
	@.venv/bin/mypy
	@.venv/bin/lint-imports --no-cache

format:  ## lay the code out
	@scripts/venv test check
	@.venv/bin/ruff check --fix .
	@.venv/bin/ruff format .

bench:  ## measure speed and memory against the limit in C and the peers (ARGS="--quick")
	@scripts/venv bench
	@command -v cc >/dev/null || scripts/apt gcc libc6-dev
	@.venv/bin/python -m benchmarks $(ARGS)

soak:  ## ten minutes of faults under load, checked message by message (ARGS="--seed 7 --minutes 30")
	@scripts/venv test
	@.venv/bin/python -m tests.client.cutting
	@.venv/bin/python -m tests.checker.run $(ARGS)

conformance:  ## run the whole Autobahn suite and record it in docs/conformance.md (ARGS="--quick")
	@scripts/venv test conformance
	@.venv/bin/python -m tests.conformance.run $(ARGS)

clean:  ## remove everything that was made here
	@rm -rf .venv build dist clients/js/dist clients/js/node_modules reports .pytest_cache .mypy_cache .ruff_cache .hypothesis
