# The two commands: `make run` and `make test`. Both install what is missing first; see README.md.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
export PKG_CONFIG_PATH := $(CURDIR)/.native/lib/pkgconfig:$(PKG_CONFIG_PATH)
# Compute threads of several servers on one machine must not spin against each other.
export OMP_WAIT_POLICY ?= passive

# Swift's own libraries inside the program, where that can be: calls into them are a seventh of its time less. And no checks
# while it runs that nothing reads what it is changing (SE-0176; the compiler's own checks, bounds and overflows stay, the
# tests run with all of them): the gateway adds a fifth less at p99. All release builds in one folder must agree on these,
# or each undoes the other.
export RELEASE_FLAGS ?= -c release $(if $(filter Linux,$(shell uname -s)),--static-swift-stdlib) \
	-Xswiftc -enforce-exclusivity=unchecked

# A dependency's stray files make SwiftPM warn at every build.
QUIETER := 2>&1 | grep --line-buffered -v -e 'unhandled; explicitly declare' -e '/CMakeLists.txt$$' >&2

.PHONY: run build release install check-deploy check-security check-bench check-dashboard test test-tls setup lint \
	mutants soak fuzz chaos overload emulated recovery bench petals test-petals clean

run: build
	@.build/release/chainserve up $(ARGS)

build: setup
	@echo "building chainserve (release; the first time takes some minutes)" >&2
	@swift build $(RELEASE_FLAGS) --product chainserve $(QUIETER)

# With TLS, for pools of several machines, which need no Swift; in a folder of its own, so that neither build undoes the
# other.
release: setup
	@echo "building chainserve with TLS (release; the first time takes many minutes)" >&2
	@swift build $(RELEASE_FLAGS) --product chainserve --traits TLS --scratch-path .build-tls $(QUIETER)

# A folder that can be copied to other machines: bin/, lib/ and share/. PREFIX is where it goes.
PREFIX ?= /opt/chainserve
install: release
	@Scripts/install.sh "$(PREFIX)"

# systemd units, Prometheus rules and the Grafana file, as far as the tools are there.
check-deploy: build
	@Scripts/check-deploy.py $(ARGS)

# Wrong certificates, wrong keys, too much and too slow, against a pool with TLS; two minutes of it waiting.
check-security: release
	@Scripts/check-security.py $(ARGS)

# The load generator's figures beside those of a recorder on the same run.
check-bench: build
	@Scripts/check-bench.py $(ARGS)

# The dashboard in headless Chromium (Debian: chromium; PyPI: playwright).
check-dashboard: build
	@Tests/Dashboard/check.py --binary .build/release/chainserve $(ARGS)

test: setup
	@echo "building the tests (debug; the first time takes some minutes)" >&2
	@swift build --build-tests $(QUIETER)
	@.build/debug/chainserve fetch >/dev/null
	@Scripts/clients.sh >/dev/null || echo "the tests with the openai client and llm are left out" >&2
	@swift test --skip-build --no-parallel  # one at a time: many start servers and wait for them

# The tests of TLS and of the certificate authority, those of links and keys with them, and a pool set up as in the guide.
test-tls: setup
	@swift build --build-tests --traits TLS --scratch-path .build-tls $(QUIETER)
	@swift test --skip-build --no-parallel --traits TLS --scratch-path .build-tls --filter ChainSecurityTests
	@Scripts/check-security.py --quick --binary .build-tls/debug/chainserve

setup:
	@Scripts/native.sh

lint:
	@swift format lint --strict --recursive Package.swift Sources Tests Benchmarks

mutants: setup
	@Scripts/mutants.sh $(ARGS)

# Long runs, by hand: seeds of faults in a box, damaged inputs, and kills and overload of a live pool.
soak: setup
	@swift build $(RELEASE_FLAGS) --product chainserve-soak $(QUIETER)
	@.build/release/chainserve-soak --seeds $(or $(SEEDS),1..5000)

fuzz: setup
	@swift build $(RELEASE_FLAGS) --product chainserve-fuzz $(QUIETER)
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
