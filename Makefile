# make demo   the main job on bundled pairs, in .venv, without torch
# make test   linters, types and tests, in .venv-test
# make clean  both environments away

PYTHON ?= python3
EXTRAS ?= openvino,train,synth,datasets,serve
WORKERS ?= 2

.PHONY: demo test clean

demo: .venv/installed
	.venv/bin/stereolive demo

test: .venv-test/installed
	.venv-test/bin/ruff check .
	.venv-test/bin/ruff format --check .
	.venv-test/bin/mypy
	.venv-test/bin/pytest -n $(WORKERS)

.venv/installed: pyproject.toml Makefile scripts/check_system.py
	$(call environment,.venv)
	.venv/bin/python -m pip install --quiet --editable .
	touch $@

.venv-test/installed: pyproject.toml Makefile constraints.txt scripts/check_system.py
	$(call environment,.venv-test)
	.venv-test/bin/python -m pip install --quiet --constraint constraints.txt --editable ".[$(EXTRAS)]" --group dev
	touch $@

clean:
	rm -rf .venv .venv-test

# An environment with a pip that knows dependency groups. ensurepip is tried only after the system was checked.
define environment
@command -v $(PYTHON) > /dev/null || { echo "There is no $(PYTHON): apt-get install python3 python3-venv"; exit 1; }
@$(PYTHON) scripts/check_system.py
rm -rf $(1)
$(PYTHON) -m venv $(1)
$(1)/bin/python -m pip install --quiet --upgrade "pip>=25.1"
endef
