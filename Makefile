# What a person or CI types. On a fresh Debian 12 with git, make and a Rust toolchain everything here works as it stands.
#   make demo          a whole line on this machine, until Ctrl-C      make demo ONCE=1   the same, once
#   make test          everything CI runs                              make lint          its first half
#   make test-browser  the operators' page in headless Chromium, with pictures in target/browser
#   make power-cut     a hundred power cuts beneath the journal        make journal-faults   each of its system calls killed
#   make bench         what DESIGN promises of speed and size, as ratios (SHORT=1: in small, a minute)
#   make bench-ca      certificates a second and the processor's time for each, beside the token's own
#   make interop-ca    what the CA issues, held against others' linters and verifiers
#   make crash         station and CA killed at every boundary, and 200 times at random (KILLS=200, SEED=…)
#   make fuzz          every door given octets that nobody wrote (RUNS=20000 for each; DOOR=… for one; SEED=…)

SHELL := /bin/sh
# rustup puts cargo where a shell started before it does not look.
export PATH := $(PATH):$(HOME)/.cargo/bin
# The whole workspace is built with the versions in Cargo.lock.
CARGO := cargo
LOCKED := --locked
TARGET := $(or $(CARGO_TARGET_DIR),target)
BUF := $(TARGET)/npm/node_modules/.bin/buf
# Station and CA with crash points, under names of their own: the ordinary binaries stay, and nothing else is built again.
ARMED := --bin station-agent-crash-points --bin intermediate-ca-crash-points \
	--features station/crash-points,intermediate-ca/crash-points

.PHONY: fuzz test-browser lint-deps protos released-protos bench bench-ca demo test lint crash interop-ca interop-journal tampering power-cut journal-faults build deps test-deps toolchain help simulate
.DEFAULT_GOAL := help

help:
	@sed -n '2,10s/^# *//p' Makefile

# All of it is built, as by `make test`: another choice of packages means other features, and most crates built again.
demo: deps toolchain
	$(CARGO) build $(LOCKED) --workspace --bins
	@exec $(TARGET)/debug/demo $(if $(filter-out 0,$(ONCE)),--once) $(DEMO)

test: test-deps lint
	$(CARGO) build $(LOCKED) --workspace --bins
	$(CARGO) build $(LOCKED) --workspace $(ARMED)
	if $(CARGO) nextest --version >/dev/null 2>&1; \
	then $(CARGO) nextest run $(LOCKED) --workspace --no-fail-fast && $(CARGO) test $(LOCKED) --workspace --doc; \
	else $(CARGO) test $(LOCKED) --workspace --no-fail-fast; fi
	@$(TARGET)/debug/tampering --records 3000 --changes 40
	@tests/interop/journal/run.sh $(abspath $(TARGET))/interop-journal 1100
	@tests/negative.sh

# Every story of the operators in headless Chromium; pictures in every language and three sizes in target/browser.
test-browser: test-deps toolchain
	$(CARGO) build $(LOCKED) --workspace --bins
	$(CARGO) test $(LOCKED) --package tests --test browser

# Long forms of what `make test` does a little of; POWER_CUT="--seed 7 --cuts 500" and the like go through.
crash: test-deps toolchain
	$(CARGO) build $(LOCKED) --workspace --bins
	$(CARGO) build $(LOCKED) --workspace $(ARMED)
	@$(TARGET)/debug/kills --kills $(or $(KILLS),200) $(if $(SEED),--seed $(SEED)) $(CRASH)

power-cut: test-deps toolchain
	$(CARGO) build $(LOCKED) --workspace --bins
	@$(TARGET)/debug/power-cut $(POWER_CUT)

journal-faults: test-deps toolchain
	$(CARGO) build $(LOCKED) --workspace --bins
	@$(TARGET)/debug/journal-faults $(JOURNAL_FAULTS)

# With optimisation, as it is installed: unoptimised, Rust's own part is ten times as slow, and every ratio another one.
# What is measured is all that is built for it. BENCH="--only drain --waiting 20000" and the like go through.
bench: test-deps toolchain
	$(CARGO) build $(LOCKED) --release --package bench --package station --package intermediate-ca --bins
	@$(TARGET)/release/bench $(if $(filter-out 0,$(SHORT)),--short) $(BENCH)

# The CA alone: figures to be told, and no gate.
bench-ca: test-deps toolchain
	$(CARGO) build $(LOCKED) --release --package bench --package station --package intermediate-ca --bins
	-@$(TARGET)/release/bench --only ca $(if $(filter-out 0,$(SHORT)),--short) $(BENCH)

# Every profile, device key and hash; writes the table in agent/intermediate-ca/README.md.
interop-ca: test-deps toolchain
	$(CARGO) build $(LOCKED) --workspace --bins
	@$(TARGET)/debug/interop-ca --write

# The reference implementation of signed notes and tiles, in Go, audits a journal's files.
interop-journal: test-deps toolchain
	@tests/interop/journal/run.sh $(abspath $(TARGET))/interop-journal $(RECORDS)

# A journal changed in every way behind the station's back; TAMPERING="--seed 7 --changes 1000" and the like go through.
tampering: toolchain
	$(CARGO) build $(LOCKED) --workspace --bins
	@$(TARGET)/debug/tampering $(TAMPERING)

# libFuzzer before each door, one after the other. What it counts is compiled into every crate, in a target directory of its own;
# with --target, build scripts and macros stay as they are.
FUZZ_TARGET = $(shell rustc -vV | sed -n 's/^host: //p')
FUZZ_FLAGS := -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
	-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
	-Cllvm-args=-sanitizer-coverage-trace-compares
fuzz: fuzz-deps toolchain
	RUSTFLAGS="$(FUZZ_FLAGS)" $(CARGO) build $(LOCKED) --package fuzz --features libfuzzer --bin fuzz \
		--profile fuzz --target $(FUZZ_TARGET) --target-dir $(TARGET)/fuzz
	@$(TARGET)/fuzz/$(FUZZ_TARGET)/fuzz/fuzz --place $(TARGET)/fuzz $(if $(RUNS),--runs $(RUNS)) $(if $(DOOR),--door $(DOOR)) \
		$(if $(SEED),--seed $(SEED)) $(FUZZ)

lint: deps toolchain protos
	$(CARGO) fmt --all --check
	$(CARGO) clippy $(LOCKED) --workspace --all-targets -- --deny warnings
	RUSTDOCFLAGS="--deny warnings" $(CARGO) doc $(LOCKED) --workspace --no-deps

# The protos by buf's style guide, and against the last release: what its clients and journals rely on stays.
protos: lint-deps
	$(BUF) lint proto
	$(BUF) breaking proto --against proto/released.binpb

# With a release: what it promises from now on.
released-protos: lint-deps
	$(BUF) build proto --exclude-source-info --output proto/released.binpb

build: deps toolchain
	$(CARGO) build $(LOCKED) --workspace --all-targets

deps:
	@deploy/dependencies.sh demo

lint-deps:
	@deploy/dependencies.sh lint $(TARGET)

fuzz-deps:
	@deploy/dependencies.sh fuzz

test-deps:
	@deploy/dependencies.sh test $(TARGET)

toolchain:
	@command -v $(CARGO) >/dev/null || { echo "No Rust toolchain here: install one as https://rustup.rs says." >&2; exit 1; }

# Many seeds of the simulation, and one closing line; SEED=n replays one with everything that happens.
SEEDS ?= 200
simulate: deps toolchain
	$(CARGO) run --quiet $(LOCKED) --profile simulation --package simulation --bin simulate -- --seeds $(SEEDS) $(if $(SEED),--seed $(SEED))
