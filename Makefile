# Portico: the few commands a person needs. `make` alone lists them.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

# rustup puts cargo here; a fresh shell may not have it on its path yet.
export PATH := $(PATH):$(HOME)/.cargo/bin

PREFIX ?= /usr/local
DESTDIR ?=
ARGS ?=

# Staging into DESTDIR is anybody's; writing to the system itself takes root.
SUDO := $(if $(DESTDIR),,$(if $(filter 0,$(shell id -u)),,sudo))
RELEASE := $(or $(CARGO_TARGET_DIR),target)/release/portico

# API clients that others wrote, run by the tests against Portico. Always below target/ of this
# directory, so that the tests find them whatever CARGO_TARGET_DIR says.
CLIENTS := target/clients
VENV := $(CLIENTS)/venv
NODE := $(CLIENTS)/node

# What `make fuzz` runs, and for how long each.
FUZZ_TARGETS := query checksum xml meetings jwt
FUZZ_SECONDS ?= 60

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: run
run: build-tools ## Build and start the demo: simulated nodes, one tenant, the edge (ARGS="--listen …")
	@cargo run -- demo $(ARGS)

.PHONY: run-cluster
run-cluster: build-tools test-servers ## Build and start two instances over a private PostgreSQL and Redis, with simulated nodes
	@scripts/need curl
	@cargo build
	@scripts/run-cluster "$(abspath $(or $(CARGO_TARGET_DIR),target)/debug/portico)"

.PHONY: test
test: build-tools test-servers clients alerts ## Run all tests, also those with foreign API clients, PostgreSQL and Redis (prepares those first)
	@cargo test --lib --bins --tests
	@cargo test --doc

.PHONY: alerts
alerts: ## Check the alerts for Prometheus, and run their tests
	@scripts/need promtool
	@promtool check rules conf/prometheus/alerts.yml
	@promtool test rules conf/prometheus/alerts_test.yml

.PHONY: chaos
chaos: build-tools test-servers ## Break everything for a while under load (CHAOS_SECONDS=60, CHAOS_SEED=…)
	@CHAOS_SECONDS="$${CHAOS_SECONDS:-60}" cargo test --test it chaos:: -- --nocapture

.PHONY: check
check: build-tools cargo-deny ## The lint gate: format, clippy, docs, dependencies, systemd unit, scripts
	@cargo fmt --check
	@cargo clippy --locked --all-targets -- -D warnings
	@RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps --document-private-items
	@cargo deny --log-level error --locked check bans licenses sources
	@scripts/verify-unit systemd/portico.service
	@if command -v shellcheck > /dev/null; then shellcheck scripts/*; else echo "SKIPPED: shellcheck is not on this machine" >&2; fi

.PHONY: fuzz
fuzz: build-tools fuzz-tools ## Feed the readers of queries, checksums, XML and tokens with anything, 60 s each (nightly compiler)
	@for target in $(FUZZ_TARGETS); do \
		echo "fuzzing $$target for $(FUZZ_SECONDS) s"; \
		cargo +nightly fuzz run $$target -- -max_total_time=$(FUZZ_SECONDS) -timeout=10 -max_len=8192 -dict=fuzz/words.dict -print_funcs=0 -print_final_stats=1; \
	done

.PHONY: audit
audit: cargo-deny ## Ask the advisory database about our dependencies (needs the network)
	@cargo deny --locked check advisories

.PHONY: bench
bench: build-tools test-servers ## Measure: throughput against bare pingora, memory, polling, stores
	@cargo bench

.PHONY: release
release: build-tools ## Build the optimised binary
	@cargo build --locked --release

.PHONY: install
install: release ## Install binary, systemd unit and configuration (DESTDIR, PREFIX=/usr/local)
	@$(SUDO) scripts/install "$(RELEASE)" "$(DESTDIR)" "$(PREFIX)"

.PHONY: clean
clean: ## Remove everything that was built, the API clients too
	@rm -rf $(CLIENTS) fuzz/target
	@cargo clean

# What the targets above stand on.

.PHONY: build-tools
build-tools:
	@scripts/need cc make cmake cargo

# Tests and trials start servers of their own from what is installed.
.PHONY: test-servers
test-servers:
	@scripts/need postgres redis sqlite3 wrk curl

.PHONY: cargo-deny
cargo-deny:
	@command -v cargo-deny > /dev/null || cargo install --locked --debug cargo-deny@0.20.2

# Fuzzing needs what only a nightly compiler has; everything else is built by the stable one.
.PHONY: fuzz-tools
fuzz-tools:
	@rustup run nightly rustc --version > /dev/null 2>&1 \
		|| { echo "installing a nightly compiler"; rustup toolchain install nightly --profile minimal; }
	@command -v cargo-fuzz > /dev/null \
		|| { echo "installing cargo-fuzz"; cargo install --locked --debug cargo-fuzz@0.13.2; }

.PHONY: clients
clients: $(VENV)/.ready $(NODE)/.ready

$(VENV)/.ready: tests/clients/requirements.txt
	@scripts/need python3 venv
	@echo "preparing the Python API clients in $(VENV)"
	@python3 -m venv --clear $(VENV)
	@$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --requirement $<
	@touch $@

$(NODE)/.ready: tests/clients/package.json tests/clients/package-lock.json
	@scripts/need node npm
	@echo "preparing the JavaScript API client in $(NODE)"
	@mkdir -p $(NODE)
	@cp $^ $(NODE)
	@npm ci --prefix $(NODE) --ignore-scripts --no-audit --no-fund --loglevel=error > /dev/null
	@touch $@
