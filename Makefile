# Every way of working on Vartovyi, one target each; `make help` lists them.
# Nothing here needs root, except that `make test` installs missing system packages where it is root.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-builtin-rules

STATE ?= state
SEED ?=
DATA ?= ../shared/data
HOURS ?= 2
DAYS ?= 30
KILLS ?= 200
FAULTS ?= 0
TICKETS ?= 10000

VENV := .venv
BIN := $(VENV)/bin
PY := $(BIN)/python
RUN_STAMP := $(VENV)/.ready-to-run
DEV_STAMP := $(VENV)/.ready-to-develop
UNIT_TESTS := tests/unit tests/test_tidy.py
# Empty while a room's tests are not there yet, so that no target fails for want of a folder.
CONFORMANCE := $(wildcard tests/conformance)
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PYTHONDONTWRITEBYTECODE :=

.PHONY: help run test check test-agent e2e sim sim-month sim-desk mirrors-kill failover-random failover-lab score bench bench-agent clean setup format runbook \
	fault-disk fault-service fault-agent heal

help: ## this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: $(RUN_STAMP) ## collector and agent on this machine, with a sample contract; Ctrl-C stops both (STATE=folder)
	@$(PY) -m collector.try_it run --state "$(STATE)"

fault-disk: $(RUN_STAMP) ## while `make run` runs: fill its small file system
	@$(PY) -m collector.try_it fault disk --state "$(STATE)"

fault-service: $(RUN_STAMP) ## while `make run` runs: its watched service stops answering
	@$(PY) -m collector.try_it fault service --state "$(STATE)"

fault-agent: $(RUN_STAMP) ## while `make run` runs: freeze the agent (SIGSTOP)
	@$(PY) -m collector.try_it fault agent --state "$(STATE)"

heal: $(RUN_STAMP) ## undo every fault-*
	@$(PY) -m collector.try_it heal --state "$(STATE)"

setup: $(DEV_STAMP) ## virtual environment with everything that the checks need

check: $(DEV_STAMP) ## before every commit: format, lint, layers, types, unit, conformance on SQLite, short simulation
	@tests/tools/check "$(BIN)" $(UNIT_TESTS) $(CONFORMANCE)

test: $(DEV_STAMP) ## every test; installs what they need where it is root on Debian or CentOS
	@$(PY) -m tests.tools.setup
	@tests/tools/test_all "$(BIN)"

test-agent: ## the agent's tests on Python 3.9, and on 3.12 and 3.13 where they are installed
	@tests/tools/test_agent --need 3.9 --if-found 3.12 3.13

e2e: $(DEV_STAMP) ## real processes, real browser, real machines
	@$(PY) -m tests.tools.setup
	@$(PY) -m pytest tests/e2e

sim: $(DEV_STAMP) ## the simulated fleet: SEED=, HOURS= (simulated), HOSTS=
	@$(PY) -m tests.sim.world $(if $(SEED),--seed $(SEED)) --hours $(HOURS) $(if $(HOSTS),--hosts $(HOSTS))

sim-month: $(DEV_STAMP) ## a simulated month that opens no ticket: SEED=, DAYS=, FAULTS= (then exactly theirs), EVENTS=1 (1000 hosts, by events), HOSTS=
	@$(PY) -m tests.sim.live $(if $(SEED),--seed $(SEED)) --days $(DAYS) --faults $(FAULTS) $(if $(HOSTS),--hosts $(HOSTS)) $(if $(EVENTS),--events)

failover-random: $(DEV_STAMP) ## random histories of the failover engine: N= (100000), SEED=; a broken law prints its seed
	@$(PY) -m tests.unit.collector.failover.histories --n $(or $(N),100000) --seed $(or $(SEED),0)

failover-lab: $(DEV_STAMP) ## the failover laboratory, one row a case: CASES=A1,B2 RUNS= (random schedules, 200) SEED= JOBS= WRITE=1 (root)
	@$(PY) -m tests.tools.setup
	@$(PY) -m tests.lab $(if $(CASES),--cases $(CASES)) --runs $(or $(RUNS),200) --seed $(or $(SEED),1) --jobs $(or $(JOBS),2) $(if $(WRITE),--write)

sim-desk: $(DEV_STAMP) ## a simulated month of the desk, every clock counted again: SEED=, TICKETS=, DAYS=
	@$(PY) -m tests.sim.desk_month $(if $(SEED),--seed $(SEED)) --tickets $(TICKETS) --days $(DAYS)

mirrors-kill: $(DEV_STAMP) ## kill -9 at every point of a delivery into real Redmine and RT, 200 runs each: KILLS=, SEED=
	@$(PY) -m tests.tools.setup
	@MIRROR_KILLS=$(KILLS) MIRROR_SEED=$(or $(SEED),1) $(PY) -m pytest -q tests/conformance/mirrors/test_killed.py

score: $(RUN_STAMP) ## real data against the marks of its SCORE.md: DATA=folder, GATE=1 exits 1 where one is missed
	@$(PY) -m tests.score --data "$(DATA)" $(if $(GATE),--gate)

bench: $(DEV_STAMP) ## measure against the budgets; prints the table of docs/benchmarks.md
	@$(PY) -m tests.bench

bench-agent: $(DEV_STAMP) ## the agent's weight on Python 3.9 beside its peers; QUICK=1 shorter, WRITE=1 into docs/benchmarks.md
	@tests/tools/test_agent --prepare --if-found 3.9
	@$(PY) -m tests.bench --only weight $(if $(QUICK),--quick) $(if $(WRITE),--write)

runbook: $(RUN_STAMP) ## write docs/RUNBOOK.md and RUNBOOK.uk.md from the texts of ticketing/runbook
	@$(PY) -m ticketing.runbook.page

format: $(DEV_STAMP) ## let ruff lay the code out
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

clean: ## remove environments, caches and build leftovers; leaves STATE alone
	rm -rf .venv .venv-* build dist *.egg-info .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Two stamps: `make run` needs no linter. Both are rebuilt when the dependencies change.
$(PY):
	@python="$$(tests/tools/find_python 3.11+)"; echo "Making $(VENV) with $$python"; "$$python" -m venv $(VENV)

$(RUN_STAMP): pyproject.toml | $(PY)
	@echo "Installing Vartovyi into $(VENV)"
	@$(PY) -m pip install -qq --upgrade 'pip>=25.1'
	@$(PY) -m pip install -qq --editable '.[collector]'
	@touch $@

$(DEV_STAMP): pyproject.toml $(RUN_STAMP)
	@echo "Installing the tools that the checks need into $(VENV)"
	@$(PY) -m pip install -qq --group dev
	@touch $@
