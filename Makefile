# The few commands that a checkout needs. Everything builds in the dev profile, so that one build serves all of them.

CARGO ?= cargo
DROVER := target/debug/drover
# Where `make demo` keeps its fleet; empty: in a temporary folder that goes with it.
DIR ?=
# memory, or kube for three real clusters (needs Go as well).
CLUSTERS ?= memory

ifeq ($(CLUSTERS)$(if $(DIR),+),kube+)
$(error DIR keeps clusters in memory only: real ones are made anew each time)
endif

UP := up --example examples/retail $(if $(DIR),--dir $(DIR))

.PHONY: help build demo test lint bench

help:
	@echo 'make demo                 a hub and six in-memory clusters on this machine'
	@echo 'make demo CLUSTERS=kube   a hub and three real Kubernetes clusters (needs Go 1.26)'
	@echo 'make demo DIR=fleet       the same, kept in a folder'
	@echo 'make build                drover, drover-hub and drover-spoke, in target/debug'
	@echo 'make test                 every test, those with real clusters included'
	@echo 'make lint                 format, clippy, declarations, licences'
	@echo 'make bench                speed against references taken in the same run (an hour)'

build:
	$(CARGO) build -p hub-server -p hub-cli -p spoke-agent

demo: build
ifeq ($(CLUSTERS),kube)
	$(CARGO) run --quiet -p tests-tools --bin testkube -- run --clusters 3 -- $(DROVER) $(UP) '{kubeconfigs}'
else ifeq ($(CLUSTERS),memory)
	@exec $(DROVER) $(UP)
else
	@echo 'CLUSTERS is memory or kube' >&2; exit 2
endif

# The preflight comes first: it names everything that is missing at once, and nothing is skipped in silence.
test:
	$(CARGO) run --quiet -p tests-tools --bin testkube -- preflight
	$(CARGO) run --quiet -p tests-tools --bin testkube -- build
	$(CARGO) build --workspace --all-targets
	$(CARGO) test --workspace --no-fail-fast

lint: build
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings
	$(DROVER) lint examples/retail
	@if command -v cargo-deny >/dev/null; then cargo deny check bans licenses sources; \
	else echo 'cargo-deny is not installed, so licences were not looked at (cargo install cargo-deny)' >&2; fi

# In the release profile, with the hub as a process of its own.
bench:
	$(CARGO) run --release --quiet -p tests-tools --bin testkube -- preflight
	$(CARGO) run --release --quiet -p tests-tools --bin testkube -- build
	$(CARGO) build --release -p hub-server -p hub-cli -p spoke-agent -p tests-bench
	target/release/tests-bench
