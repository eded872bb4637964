"""The installed package as an app sees it: `make test-embed` installs it, and it is moved before it is used."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.bundles import Bundled, bundled
from tests.support.models import TinyModel


def call(*command: object, cwd: Path | None = None) -> str:
    """Run a command that must succeed; its stdout."""
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False, cwd=cwd)
    assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="session")
def tiny_bundle(shared_tmp: Path) -> Bundled:
    """The small bundle of the other tests, made in this process: that saves two starts of PyTorch."""
    return bundled(shared_tmp, TinyModel())


@pytest.fixture(scope="session")
def prefix(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the installed package: nothing in it may depend on where it was installed."""
    installed = Path(os.environ.get("POCKETLORA_PREFIX") or repository / "build" / "embed-prefix")
    assert (installed / "lib" / "libpocketlora_jni.so").is_file(), f"{installed}: nothing installed; make test-embed"
    moved = tmp_path_factory.mktemp("embed") / "moved"
    shutil.copytree(installed, moved, symlinks=True)
    return moved


def cmake_example(repository: Path, prefix: Path, language: str, build: Path) -> Path:
    """Build the example of a language out of tree, as a project of its own; its program."""
    source = repository / "examples" / "embed" / language
    cmake = Path(sys.executable).parent / "cmake"
    flags = "-Wall -Wextra -Wpedantic -Werror"
    options = (f"-DCMAKE_PREFIX_PATH={prefix}", f"-DCMAKE_C_FLAGS={flags}", f"-DCMAKE_CXX_FLAGS={flags}")
    call(cmake, "-G", "Ninja", "-S", source, "-B", build, f"-DCMAKE_MAKE_PROGRAM={cmake.parent / 'ninja'}", *options)
    call(cmake, "--build", build)
    return build / f"embed_{language}"


@pytest.fixture(scope="session")
def examples(repository: Path, prefix: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """The commands of the examples, by language."""
    build = tmp_path_factory.mktemp("examples")
    programs = {name: [str(cmake_example(repository, prefix, name, build / name))] for name in ("c", "cpp")}
    return programs | {
        "java": java_command(prefix, [repository / "examples" / "embed" / "java"], build / "java", "Main")
    }


def java_command(prefix: Path, sources: list[Path], classes: Path, main: str) -> list[str]:
    """Compile the Java files below some folders against the installed jar; the command that runs a class of them."""
    jar = prefix / "share" / "java" / "pocketlora.jar"
    files = sorted(file for folder in sources for file in folder.rglob("*.java"))
    options = ("--release", "8", "-encoding", "UTF-8", "-Xlint:all,-options", "-Werror")
    call("javac", *options, "-cp", jar, "-d", classes, *files)
    return ["java", "-Xcheck:jni", f"-Djava.library.path={prefix / 'lib'}", "-cp", f"{jar}:{classes}", main]
