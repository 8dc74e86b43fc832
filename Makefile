# Everything is built with one profile (release): the dependencies, wasmtime above all, compile once.

CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/teraslice
export CARGO_TARGET_DIR ?= $(CACHE)/target
TERASLICE := $(CARGO_TARGET_DIR)/release/teraslice
NEXTEST := $(shell command -v cargo-nextest 2>/dev/null)

# The scripts that start a Kubernetes cluster.
TERASLICE_KUBE ?= ../shared/kube
# Seeds of each scenario that `make sim` runs.
SEEDS ?= 100
# What `make test-store` runs.
STORE_CASES ?= cluster faults golden scenarios

.PHONY: help build assets demo test test-store test-backend test-k8s sim bench fuzz lint docs

help: ## lists the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "make %-12s %s\n", $$1, $$2}' Makefile

assets: ## builds the WebAssembly assets
	cargo xtask assets

build: assets ## builds the binary, the standard asset inside
	cargo build --release --workspace --bins

demo: build ## runs examples/flights/job.yaml and shows the result
	@TERASLICE=$(TERASLICE) CACHE=$(CACHE) examples/flights/demo.sh

test: build ## runs all tests
ifeq ($(NEXTEST),)
	# One selection of packages, as in `build`: another would compile the dependencies once more. One case at a time: those of the
	# whole system start clusters of processes.
	cargo test --release --workspace -- --test-threads 1
else
	cargo nextest run --cargo-profile release --workspace
endif
	cd assets && CARGO_TARGET_DIR=$(CACHE)/assets-native-target cargo test --release

test-store: build ## runs the cases of clusters with state on the search server TERASLICE_TEST_STORE
	TERASLICE_TEST_STORE=$(TERASLICE_TEST_STORE) cargo test --release --workspace $(STORE_CASES:%=--test %) -- --test-threads 1

test-backend: build ## runs the cases of clusters on the example backend TERASLICE_TEST_BACKEND, library or python
	TERASLICE_TEST_BACKEND=$(TERASLICE_TEST_BACKEND) cargo test --release --workspace --test cluster --test faults \
		--test scenarios -- --test-threads 1

test-k8s: build ## runs the cases that need a Kubernetes cluster, in one that the scripts of the folder TERASLICE_KUBE start
	tests/k8s/run.sh $(TERASLICE_KUBE) $(TERASLICE)

sim: build ## simulates clusters under SEEDS new seeds (100) of every scenario
	for scenario in cluster calm crowded failover leaving alone held; do \
		$(TERASLICE) sim --scenario $$scenario --seed $$(date +%s)000 --seeds $(SEEDS) || exit 1; \
	done

bench: build ## measures against a baseline in the same run, and prints one table
	cargo build --release --workspace --examples
	cargo bench --workspace --bench slicing --bench dispatch --bench dispatch_rpc --bench submit_latency \
		--bench pipeline --bench sandbox --bench state_store --bench plugin_calls
	$(CARGO_TARGET_DIR)/release/table

fuzz: ## feeds parsers with what nobody would write, FUZZ_SECONDS each (60)
	fuzz/run

lint: assets ## checks formatting and runs clippy
	cargo fmt --all -- --check
	cd assets && cargo fmt --all -- --check
	cargo clippy --release --workspace --all-targets -- -D warnings
	cd assets && CARGO_TARGET_DIR=$(CACHE)/assets-native-target cargo clippy --release --all-targets -- -D warnings

docs: assets ## builds the documentation; what is undocumented is an error
	RUSTDOCFLAGS="-D warnings" cargo doc --release --workspace --no-deps
