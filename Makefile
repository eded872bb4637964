# `make help` lists the targets. Everything is built under build/ and .venv/; nothing else is touched.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.NOTPARALLEL:
.DEFAULT_GOAL := help

VENV := .venv/bin
JOBS ?= $(shell n=$$(nproc); echo $$((n < 8 ? n : 8)))
export PATH := $(CURDIR)/.venv/bin:$(PATH)

# Builds that differ only in their options share one recipe: build/<name>.
CMAKE_COMMON = -S runtime_cpp -G Ninja -DCMAKE_BUILD_TYPE=Release \
  $(if $(shell command -v ccache),-DCMAKE_CXX_COMPILER_LAUNCHER=ccache -DCMAKE_C_COMPILER_LAUNCHER=ccache)
EXECUTORCH = $$($(VENV)/python -c 'import importlib.util as u; print(u.find_spec("executorch").submodule_search_locations[0])')
CTEST = ctest --output-on-failure --no-tests=error -j $(JOBS)
PYTEST = $(VENV)/pytest -q
# One thread a worker: the kernels would otherwise start as many as there are cores in each of them. Each worker begins
# with a stretch of neighbouring files: neighbours share a bundle, and two workers would wait for the same one to be made.
PYTEST_PARALLEL = OMP_NUM_THREADS=1 $(PYTEST) -n $(JOBS) --dist worksteal

CXX_FILES = $(shell git ls-files --cached --others --exclude-standard 'kernels/*.h' 'kernels/*.cc' 'kernels/*.inc' \
  'runtime_cpp/*.h' 'runtime_cpp/*.hpp' 'runtime_cpp/*.cc' 'runtime_cpp/*.c' 'examples/*.c' 'examples/*.cc')

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# ------------------------------------------------------------------------------------------------------------- set-up
build/stamps/system: .ci/system-packages.txt .ci/system_packages.sh
	@.ci/system_packages.sh build
	@mkdir -p $(@D) && touch $@

build/stamps/python: build/stamps/system constraints.txt pyproject.toml .ci/install_python.sh
	@echo "setup: installing Python packages into .venv (a few minutes the first time)"
	@.ci/install_python.sh
	@touch $@

.PHONY: setup
setup: build/stamps/python ## system packages (as root) and the virtual environment

# -------------------------------------------------------------------------------------------------------------- build
build/host/build.ninja: build/stamps/python
	cmake $(CMAKE_COMMON) -B build/host -Dexecutorch_DIR="$(EXECUTORCH)/share/cmake" > build/host.log || { cat build/host.log; exit 1; }

.PHONY: build
build: build/host/build.ninja ## the runtime, its command-line runner and the C++ tests, for this machine
	@cmake --build build/host -j $(JOBS)

# What the commands need, without the tests.
.PHONY: runtime
runtime: build/host/build.ninja
	@cmake --build build/host -j $(JOBS) --target pocketlora pocketlora_run

.PHONY: build-clang
build-clang: build/stamps/python build/stamps/clang ## the same with clang, to see its warnings
	@cmake $(CMAKE_COMMON) -B build/clang -DCMAKE_C_COMPILER=clang -DCMAKE_CXX_COMPILER=clang++ \
	  -Dexecutorch_DIR="$(EXECUTORCH)/share/cmake" > build/clang.log || { cat build/clang.log; exit 1; }
	@cmake --build build/clang -j $(JOBS)

# Sanitized builds, of the tests only. -O1 and line numbers alone: the kernels take half the time to compile.
SANITIZED = $(CMAKE_COMMON) -DCMAKE_BUILD_TYPE=RelWithDebInfo -DCMAKE_CXX_FLAGS_RELWITHDEBINFO="-O1 -g1 -DNDEBUG" \
  -DPOCKETLORA_BUILD_TOOLS=OFF -Dexecutorch_DIR="$(EXECUTORCH)/share/cmake"

build/asan/build.ninja: build/stamps/python
	cmake $(SANITIZED) -B build/asan -DPOCKETLORA_SANITIZE=address,undefined > build/asan.log || { cat build/asan.log; exit 1; }

build/tsan/build.ninja: build/stamps/python
	cmake $(SANITIZED) -B build/tsan -DPOCKETLORA_SANITIZE=thread > build/tsan.log || { cat build/tsan.log; exit 1; }

# A bundle for the C++ tests that need one, of this state of the toolchain.
TEST_BUNDLE := $(CURDIR)/build/test-bundle
$(TEST_BUNDLE)/manifest.json: $(shell git ls-files 'pocketlora_export/*.py') | runtime
	@rm -rf $(@D)
	$(VENV)/pocketlora-export bundle -m models/pocket-llama-4m -o $(@D) --quant nf4

# The aarch64 build runs here under emulation: correctness, never speed.
build/stamps/arm: build/stamps/python .ci/arm_sysroot.sh constraints.txt
	@.ci/system_packages.sh arm
	@.ci/arm_sysroot.sh build/arm
	@touch $@

# Its sources several at once: that each includes what it needs is seen by the build for this machine.
build/arm/out/build.ninja: build/stamps/arm cmake/aarch64-linux-gnu.cmake
	cmake $(CMAKE_COMMON) -B build/arm/out -DPOCKETLORA_UNITY=ON -DCMAKE_TOOLCHAIN_FILE="$(CURDIR)/cmake/aarch64-linux-gnu.cmake" \
	  -DPOCKETLORA_SYSROOT="$(CURDIR)/build/arm/sysroot" \
	  -Dexecutorch_DIR="$(CURDIR)/build/arm/executorch/share/cmake" > build/arm.log || { cat build/arm.log; exit 1; }

.PHONY: build-arm
build-arm: build/arm/out/build.ninja ## the runtime, the runner and the C++ tests for aarch64 Linux
	@cmake --build build/arm/out -j $(JOBS)

# --------------------------------------------------------------------------------------------------------------- demo
.PHONY: demo
demo: runtime ## quantize, lower, train two adapters and swap them, on the model that ships with the project
	$(VENV)/pocketlora-export demo

# --------------------------------------------------------------------------------------------------------------- tests
# Bundles of test models are made once for all of a run's tests, and never kept for the next run.
.PHONY: test fresh-bundles
test: export POCKETLORA_TEST_BUNDLES = $(CURDIR)/build/session-bundles
test: fresh-bundles lint test-cpp test-python test-embed test-arm ## everything that CI runs

fresh-bundles:
	@rm -rf build/session-bundles

.PHONY: test-cpp
test-cpp: build ## C++ unit tests
	cd build/host && $(CTEST)

.PHONY: test-python
test-python: runtime ## Python tests without the slow ones
	$(PYTEST_PARALLEL) -m "not slow and not arm and not embed"

# The packages of one group.
build/stamps/java build/stamps/clang: build/stamps/%: .ci/system-packages.txt .ci/system_packages.sh
	@.ci/system_packages.sh $*
	@mkdir -p $(@D) && touch $@

# The package as an app gets it, and libpocketlora_jni as a project of its own that finds it there.
.PHONY: install-embed
install-embed: runtime build/stamps/java
	@$(MAKE) --no-print-directory build/stamps/clang || echo "going on without clang: its test of the headers is skipped" >&2
	@rm -rf build/embed-prefix
	@cmake --install build/host --prefix build/embed-prefix > build/embed.log || { cat build/embed.log; exit 1; }
	@cmake -S runtime_cpp/jni -B build/jni -G Ninja -DCMAKE_PREFIX_PATH="$(CURDIR)/build/embed-prefix" > build/embed.log \
	  && cmake --build build/jni -j $(JOBS) && cmake --install build/jni --prefix build/embed-prefix > build/embed.log \
	  || { cat build/embed.log; exit 1; }

.PHONY: test-embed
test-embed: install-embed ## apps in C, C++ and Java against the installed package; the Java API's tests
	OMP_NUM_THREADS=1 $(PYTEST) -m embed tests/embed

.PHONY: test-arm
test-arm: runtime build-arm ## C++ unit tests, a training step and a decode of the aarch64 build under emulation
	cd build/arm/out && QEMU_CPU=max $(CTEST)
	cd build/arm/out && QEMU_CPU=cortex-a76 $(CTEST) -L kernels
	$(PYTEST_PARALLEL) -m "arm and not slow" tests/arm

.PHONY: test-slow
test-slow: runtime ## the tests that take minutes
	$(PYTEST) -m "slow and not arm"

.PHONY: test-asan
test-asan: build/asan/build.ninja $(TEST_BUNDLE)/manifest.json ## C++ unit tests under AddressSanitizer and UBSan
	@cmake --build build/asan -j $(JOBS)
	cd build/asan && POCKETLORA_TEST_BUNDLE="$(TEST_BUNDLE)" $(CTEST)

.PHONY: test-tsan
test-tsan: build/tsan/build.ninja $(TEST_BUNDLE)/manifest.json ## the tests with threads under ThreadSanitizer
	@cmake --build build/tsan -j $(JOBS) --target pocketlora_runtime_tests
	POCKETLORA_TEST_BUNDLE="$(TEST_BUNDLE)" build/tsan/pocketlora_runtime_tests \
	  --gtest_filter='*Stress*:*Threads*:*SessionEdit*:*PrefixCache*:*AdapterWatch*'

.PHONY: bench
bench: runtime build-bench ## kernels, export time, memory, a training step beside PEFT: JSON and Markdown in build/bench-results
	OMP_NUM_THREADS=1 $(VENV)/python -m benchmarks.kernels
	$(VENV)/python -m benchmarks.export_time
	$(VENV)/python -m benchmarks.memory
	OMP_NUM_THREADS=1 $(VENV)/python -m benchmarks.peers --peer peft-fp32 --peer llama.cpp
	$(VENV)/python -m benchmarks.tokenizer
	$(VENV)/python -m benchmarks.data_prepare --rows 200000

.PHONY: build-bench
build-bench: build/stamps/python
	@cmake -S kernels -B build/bench -G Ninja -DPOCKETLORA_BUILD_BENCHMARKS=ON -DPOCKETLORA_BUILD_TESTS=OFF > build/bench.log \
	  || { cat build/bench.log; exit 1; }
	@cmake --build build/bench -j $(JOBS)

# ---------------------------------------------------------------------------------------------------------------- lint
.PHONY: lint
lint: build/stamps/python ## ruff, mypy, import layers, clang-format
	$(VENV)/ruff check .
	$(VENV)/ruff format --check .
	$(VENV)/mypy
	$(VENV)/lint-imports --no-cache
	@$(VENV)/clang-format --dry-run --Werror $(CXX_FILES)

.PHONY: tidy
tidy: build ## clang-tidy over the C++ sources (takes minutes; needs clang-tidy)
	@command -v clang-tidy > /dev/null || { echo "clang-tidy is missing: apt-get install -y clang-tidy" >&2; exit 1; }
	@printf '%s\n' $(filter %.cc,$(CXX_FILES)) | grep -v -E '/neon\.cc$$|_bench\.cc$$' | xargs -P $(JOBS) -n 4 clang-tidy -p build/host --quiet

.PHONY: format
format: build/stamps/python ## let the formatters rewrite the sources
	$(VENV)/ruff check --fix-only .
	$(VENV)/ruff format .
	@$(VENV)/clang-format -i $(CXX_FILES)

.PHONY: clean
clean: ## remove what was built; .venv stays
	rm -rf build out dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
