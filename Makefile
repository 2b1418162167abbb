# What a person does in a checkout. Each target builds .venv first where it is missing or out of date.
#   make demo     the stand-in trust, scanned for real
#   make test     all tests; as root on Debian the labs too (ARGS="-k word" narrows)
#   make lint     style, formatting, and every shipped control's examples
#   make types    mypy
#   make bench    measurements
#   make docs     write docs/reference anew, then the tests of the documentation
#   make lock     resolve the dependencies anew (UPGRADE=--upgrade takes the newest)

PYTHON ?= python3
BIN := .venv/bin
ARGS ?=
UPGRADE ?=

.PHONY: venv demo test lint types bench docs lock

venv:
	@PYTHON="$(PYTHON)" sh .ci/venv

demo: venv
	@$(BIN)/spiritlevel demo $(ARGS)

test: venv
	@if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && [ -f tests/lab/deps.sh ]; then sh tests/lab/deps.sh; fi
	@$(BIN)/pytest -W error -n auto --dist loadgroup $(ARGS)

lint: venv
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/spiritlevel validate

types: venv
	$(BIN)/mypy

bench: venv
	@$(BIN)/python -m tests.bench $(ARGS)

docs: venv
	@$(BIN)/python -m tests.docs_gen
	@$(BIN)/pytest -W error tests/test_docs.py $(ARGS)

# One lock for every Python from 3.11 on. It names packages and hashes only: where they come from is the machine's affair.
lock: venv
	$(BIN)/uv pip compile $(UPGRADE) --quiet --universal --python-version 3.11 --extra demo --extra keyring --extra postgres --group dev --generate-hashes \
		--no-emit-index-url --no-emit-find-links --no-annotate --no-header --output-file requirements.lock pyproject.toml
