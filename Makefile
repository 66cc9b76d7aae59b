# One command for each thing to do; `make help` lists them.

FUZZ_SECONDS ?= 20
SOAK_SECONDS ?= 900
ARGS ?=
export PATH := $(CURDIR)/target/tools/bin:$(PATH):$(HOME)/.cargo/bin:/usr/sbin

.PHONY: help demo build deps test lint audit fuzz soak bench

help: ## this list
	@sed -n 's/^\([a-z]*\):.*## /  make \1	/p' Makefile | expand -t 16

demo: ## rollouts of a good and a bad version behind the gateway, live; ARGS="--once --json" for a report
	@scripts/deps.sh build
	cargo run --locked --release --package tidegate -- demo $(ARGS)

build: ## the binary that ships, target/dist/tidegate
	@scripts/deps.sh build
	cargo build --locked --profile dist --package tidegate

deps: ## all that the commands below need
	@scripts/deps.sh build test lint fuzz bench

test: ## every test; the end-to-end ones run the real binary
	@scripts/deps.sh build test
	cargo build --locked --workspace --bins
	cargo test --locked --workspace --doc --quiet
	cargo nextest run --locked --workspace

lint: ## format, clippy, licences and bans, dependency direction
	@scripts/deps.sh build lint
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	cargo deny --locked check --hide-inclusion-graph bans licenses sources
	scripts/check-dependencies.sh

audit: ## known vulnerabilities; fetches the advisory database from GitHub
	@scripts/deps.sh build lint
	cargo deny --locked check advisories

fuzz: ## each fuzz target for FUZZ_SECONDS (20)
	@scripts/deps.sh build fuzz
	scripts/fuzz.sh $(FUZZ_SECONDS)

soak: ## a quarter of an hour of load with reloads, faults and an upgrade; SOAK_SECONDS=900
	@scripts/deps.sh build test
	cargo build --locked --release --workspace --bins
	TIDEGATE_SOAK_SECONDS=$(SOAK_SECONDS) cargo nextest run --locked --release --profile soak --no-capture \
		--package tidegate-tests -E 'test(/^soak::/)'

bench: ## lookups and splits, instruction counts, how the judge of rollouts does, CPU time against a bare pingora proxy, Envoy and nginx
	@scripts/deps.sh build bench
	cargo bench --locked --profile dist --package tidegate-benches
	cargo run --locked --profile dist --package tidegate-benches --bin instructions
	cargo run --locked --profile dist --package tidegate-benches --bin judges
	scripts/proxy-cost.sh
	scripts/mirror-cost.sh
