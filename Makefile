# The front door. `make quickstart` and `make test` are all that a newcomer needs.

WEIR_CACHE ?= $(HOME)/.cache/weir
export WEIR_CACHE
export CARGO_TARGET_DIR ?= $(WEIR_CACHE)/target

SECONDS ?= 60
PREFIX ?= /usr/local
CARGO := cargo
# The crates that have fuzz bodies: tests whose names begin with `fuzz_`.
FUZZED := -p weir-pdata -p weir-config -p weir -p weir-processor-threshold -p weir-receiver-otlp -p weir-receiver-skywalking
WEIR := $(CARGO_TARGET_DIR)/debug/weir

.PHONY: help quickstart install test unit system fuzz lint fmt docs bench bench-peers profile guard guard-baseline soak services

help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 16

quickstart: ## Set up, build, and run the main job for SECONDS (60) on generated data
	@scripts/setup build
	$(CARGO) build -p weir --locked
	@$(WEIR) quickstart --seconds $(SECONDS)

install: ## Build the program as it is shipped (20 to 40 minutes) and install it as PREFIX/bin/weir (/usr/local)
	@scripts/setup build
	$(CARGO) build --locked --profile dist -p weir
	install -D $(CARGO_TARGET_DIR)/dist/weir $(DESTDIR)$(PREFIX)/bin/weir

test: ## Set up and run all tests
	@scripts/setup test
	@scripts/test

unit: ## Unit and component tests only: no servers
	@scripts/setup build
	$(CARGO) test --locked --workspace --exclude weir-tests

system: ## Whole-system tests only: Kafka, ClickHouse, agents
	@scripts/setup test
	$(CARGO) build --locked -p weir
	$(CARGO) test --locked -p weir-tests

fuzz: ## Run each parser's fuzz body for SECONDS (60) on damaged inputs; a failure prints the seed that repeats it
	@scripts/setup build
	WEIR_FUZZ_SECONDS=$(SECONDS) $(CARGO) test --locked --no-fail-fast $(FUZZED) fuzz_ -- --nocapture

lint: ## rustfmt, clippy, cargo-deny, documentation without warnings, names and links in the texts, no circles of imports
	@scripts/setup lint
	$(CARGO) fmt --all --check
	scripts/check-docs
	scripts/import-circles
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --workspace --no-deps --document-private-items
	$(WEIR_CACHE)/tools/bin/cargo-deny --log-level error check licenses bans sources

fmt: ## Format the code
	$(CARGO) fmt --all

docs: ## Make the generated reference pages again
	$(CARGO) build --locked -p weir
	$(WEIR) docs .

bench: ## Measure CPU and memory of the main job; writes the table in docs/performance.md
	@scripts/setup test
	$(CARGO) build --locked --release -p weir -p weir-tests --bins --features weir/count-allocations
	cp $(CARGO_TARGET_DIR)/release/weir $(CARGO_TARGET_DIR)/release/weir-counting
	$(CARGO) build --locked --release -p weir -p weir-tests --bins
	python3 tests/bench/run.py

bench-peers: ## Measure Weir and a Flink job at the same work; writes the table of peers in docs/performance.md
	@scripts/setup peers
	$(CARGO) build --locked --release -p weir -p weir-tests --bins
	python3 tests/bench/peers.py

profile: ## Sample where the time of the main job goes, by stage; writes the table in docs/performance.md (needs Linux perf)
	@scripts/setup profile
	$(CARGO) build --locked --release -p weir -p weir-tests --bins
	python3 tests/bench/profile.py

guard: ## Compare the instruction counts of decode, aggregate and encode with the baseline; part of `make test`
	@scripts/setup test
	@scripts/guard

guard-baseline: ## Count them again and write the baseline, tests/bench/instructions.json
	@scripts/setup test
	@scripts/guard --write

soak: ## Kill gateways for SECONDS (60) and check that everything is stored once; WEIR_SEED=N repeats the choices
	@scripts/setup test
	$(CARGO) build --locked -p weir
	WEIR_SOAK_SECONDS=$(SECONDS) $(CARGO) test --locked -p weir-tests --test crash_loop -- --nocapture --test-threads=1

services: ## Start Kafka, ClickHouse and an alarm recorder for use by hand
	@scripts/setup test
	@exec $(WEIR_CACHE)/venv/bin/python tests/support/services.py
