# dnn_offload without ROS's own tools. Every target that needs the environment makes it first;
# a second run takes well under a second for that. `make help` lists the targets.

SHELL := /bin/bash
# The first that is there; what it then says of its version is bootstrap's.
PYTHON ?= $(firstword $(foreach name,python3 python3.12 python3.11 python3.10,\
	$(shell command -v $(name) 2>/dev/null)))
IN_ENVIRONMENT := source tools/env.sh &&

.DEFAULT_GOAL := help
.PHONY: help setup build demo test lint docs clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

setup:  ## make .venv (or use the sourced ROS 2 Jazzy) and build the package into install/
	@test -n "$(PYTHON)" || { echo "no Python here: install python3, 3.10 to 3.12 \
	(Ubuntu, Debian: sudo apt install python3 python3-dev python3-venv)" >&2; exit 1; }
	@$(PYTHON) tools/bootstrap.py

build: setup  ## the same: only what changed is built

demo: setup  ## run robot and server here for a minute and leave a report; DEMO_ARGS=... passes on
	@$(IN_ENVIRONMENT) $$DNN_OFFLOAD_NODES/demo $(DEMO_ARGS)

test: setup  ## linters, type check, unit tests, node tests; TEST_ARGS=... picks some
	@$(IN_ENVIRONMENT) python tools/run_tests.py $(TEST_ARGS)

lint: setup  ## ruff and mypy only
	@$(IN_ENVIRONMENT) python tools/run_tests.py --only lint

docs: setup  ## write docs/parameters.md and the tables of docs/ros.md from what is declared
	@$(IN_ENVIRONMENT) python -m dnn_offload.nodes.document_parameters

clean:  ## remove everything that was made here, the environment too
	rm -rf .venv build install log demo_out .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
