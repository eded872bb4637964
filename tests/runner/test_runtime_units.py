"""The runtime's C++ tests that need a real bundle: ctest skips them, here they get one."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest


def test_cpp_tests_with_a_bundle(shipped_bundle: Path, repository: Path) -> None:
    tests = repository / "build" / "host" / "pocketlora_runtime_tests"
    environment = {**os.environ, "POCKETLORA_TEST_BUNDLE": str(shipped_bundle)}
    done = subprocess.run([tests], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-4000:]
    skipped = {line.split()[3] for line in done.stdout.splitlines() if line.startswith("[  SKIPPED ] ") and "." in line}
    skipped = {name.rstrip(",") for name in skipped}
    # Root may read everything, so one test has nothing to see then.
    assert skipped <= {"DamagedBundleTest.AFileThatCannotBeReadIsNotCalledDamaged"}


@pytest.mark.slow
def test_two_minutes_of_training_and_swaps(shipped_bundle: Path, repository: Path) -> None:
    tests = repository / "build" / "host" / "pocketlora_runtime_tests"
    settings = {"POCKETLORA_TEST_BUNDLE": str(shipped_bundle), "POCKETLORA_STRESS_SECONDS": "120"}
    command = [str(tests), "--gtest_filter=StressTest.*"]
    done = subprocess.run(command, env={**os.environ, **settings}, capture_output=True, text=True, check=False)
    print(done.stdout)
    assert done.returncode == 0, done.stdout[-4000:]
    assert "[  PASSED  ] 1 test" in done.stdout
