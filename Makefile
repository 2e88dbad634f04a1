SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

# Debian keeps mariadbd in /usr/sbin, which isn't on everybody's PATH.
export PATH := $(CURDIR)/.venv/bin:$(PATH):/usr/sbin:/sbin

.PHONY: help
help: ## say what each target does
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: setup
setup: .venv/ready ## make .venv and install what is missing (PYTHON=... picks the interpreter); the others call it

ifdef PYTHON
.PHONY: .venv/ready # the interpreter named may not be the one .venv was made with
endif
.venv/ready: pyproject.toml constraints.txt scripts/setup.sh scripts/apt_install.sh
	@bash scripts/setup.sh

.PHONY: demo
demo: setup ## both sample sites' nightly backup on throwaway servers, under the real scheduler; about a minute
	@python -m demo.demo

.PHONY: demo-weekly
demo-weekly: setup ## the same, then the week: every backup restored and compared, logs cleaned, tables tended; under two minutes
	@python -m demo.weekly

.PHONY: demo-restore
demo-restore: setup ## a table dropped on MariaDB and on PostgreSQL, and brought back from a backup; about 15 seconds
	@python -m demo.restore

.PHONY: up
up: setup ## Airflow's UI with the sample sites on throwaway servers, until Ctrl-C
	@python -m demo.up

.PHONY: test
test: lint ## lint, then all tests on real throwaway servers (ARGS=... goes to pytest)
	@# One worker more than two cores: tests wait for servers. One second chance, which the summary names: real servers
	@# on a busy machine miss a moment now and then.
	pytest -n 3 --dist loadfile --no-loadscope-reorder --reruns 1 -rR --durations=15 --durations-min=1 $(ARGS)

.PHONY: test-celery
test-celery: setup ## a night on two Celery workers that share no disk, and one of them lost; root, about 8 minutes
	VIRTUAL_ENV=$(CURDIR)/.venv uv pip install --quiet --constraints constraints.txt --editable '.[dev,celery]'
	UPKEEP_TEST_CELERY=1 pytest tests/fleet $(ARGS)

.PHONY: lint
lint: setup ## ruff and mypy
	ruff check
	ruff format --check
	mypy

.PHONY: bench
bench: setup ## measure against the manuals' scripts on about 1 GB; takes minutes and 10 GB of disk
	python -m bench

.PHONY: wheel
wheel: setup ## dist/airflow_upkeep-*.whl: plugin, command line, DAG files, SQL and samples in one package
	python -m hatchling build --target wheel

.PHONY: compose-secrets
compose-secrets: ## ./secrets for docker-compose.yaml: random passwords and keys; what is there stays
	@bash scripts/compose_secrets.sh

.PHONY: fresh
fresh: ## the README's commands in a minimal Debian, timed (root, up to half an hour; docs/release.md)
	@bash scripts/fresh_machine.sh

.PHONY: constraints
constraints: setup ## resolve constraints.txt anew, to the newest versions that fit Python 3.11 to 3.13
	@bash scripts/constraints.sh

.PHONY: clean
clean: ## remove .venv, caches and what builds left
	rm -rf .venv .run .hypothesis .mypy_cache .pytest_cache .ruff_cache build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
