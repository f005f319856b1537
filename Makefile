# make demo    install into .venv and run the first study, on photographs that come with packages
# make test    the whole test suite, offline, in two processes
# make lint    ruff and mypy
# make perf    the speed table: ours beside a peer or the naive way, as ratios
# make clean   remove what these made, results included

PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test lint perf clean install
.DEFAULT_GOAL := demo

install: .venv/installed

.venv/installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "bench needs Python 3.11 or newer; try: make PYTHON=python3.11"; exit 2; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

demo: .venv/installed
	$(BIN)/bench sweep studies/gamma.yaml
	@echo "Open reports/gamma/report.html, or browse every run: $(BIN)/bench mlflow"

test: .venv/installed
	$(BIN)/python -m pytest -n 2 --dist loadfile

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

perf: .venv/installed
	$(BIN)/python tests/perf.py

clean:
	rm -rf .venv .bench reports/gamma build *.egg-info .pytest_cache .mypy_cache .ruff_cache
