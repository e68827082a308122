# The two commands: `make run` and `make test`. Both install what is missing first; see README.md.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
export PKG_CONFIG_PATH := $(CURDIR)/.native/lib/pkgconfig:$(PKG_CONFIG_PATH)
# Compute threads of several servers on one machine must not spin against each other.
export OMP_WAIT_POLICY ?= passive

# A dependency's stray files make SwiftPM warn at every build.
QUIETER := 2>&1 | grep --line-buffered -v -e 'unhandled; explicitly declare' -e '/CMakeLists.txt$$' >&2

.PHONY: run build release test test-tls setup lint mutants soak fuzz chaos overload emulated recovery bench petals test-petals clean

run: build
	@.build/release/chainserve up $(ARGS)

build: setup
	@echo "building chainserve (release; the first time takes some minutes)" >&2
	@swift build -c release --product chainserve $(QUIETER)

# With TLS, for pools of several machines; in a folder of its own, so that neither build undoes the other.
release: setup
	@echo "building chainserve with TLS (release; the first time takes many minutes)" >&2
	@swift build -c release --product chainserve --traits TLS --scratch-path .build-tls $(QUIETER)

test: setup
	@echo "building the tests (debug; the first time takes some minutes)" >&2
	@swift build --build-tests $(QUIETER)
	@.build/debug/chainserve fetch >/dev/null
	@swift test --skip-build --no-parallel  # one at a time: many start servers and wait for them

# The tests of TLS and of the certificate authority, and those of links and keys with them.
test-tls: setup
	@swift build --build-tests --traits TLS --scratch-path .build-tls $(QUIETER)
	@swift test --skip-build --no-parallel --traits TLS --scratch-path .build-tls --filter ChainSecurityTests

setup:
	@Scripts/native.sh

lint:
	@swift format lint --strict --recursive Package.swift Sources Tests Benchmarks

mutants: setup
	@Scripts/mutants.sh $(ARGS)

# Long runs, by hand: seeds of faults in a box, damaged inputs, and kills and overload of a live pool.
soak: setup
	@swift build -c release --product chainserve-soak $(QUIETER)
	@.build/release/chainserve-soak --seeds $(or $(SEEDS),1..5000)

fuzz: setup
	@swift build -c release --product chainserve-fuzz $(QUIETER)
	@.build/release/chainserve-fuzz $(or $(ARGS),all)

chaos: build
	@Scripts/chaos.py $(ARGS)

overload: build
	@Scripts/overload.py $(ARGS)

# The emulated nine-slice pool, live, against the simulator; and streams whose servers are killed.
emulated: build
	@Scripts/emulated.py $(ARGS)

recovery: build
	@Scripts/recovery.py --model "$$(.build/release/chainserve fetch)" $(ARGS)

# The PETALS engine: its environment outside the clone, and its whole integration suite.
petals:
	@Scripts/petals.sh $(ARGS)

test-petals: build
	@Scripts/test-petals.sh $(ARGS)

bench: setup
	@Scripts/bench.sh $(ARGS)

clean:
	@rm -rf .build .build-tls .native
