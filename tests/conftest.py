"""Fixtures that several rooms' tests share: bundles, made once a session and shared by all test processes."""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

# Small models gain nothing from threads, and several test processes run side by side. Set before torch is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from tests.support.bundles import Bundled, bundled, once, run_cli
from tests.support.models import TinyModel

# A shell that starts this in the background ignores Ctrl-C, and processes inherit that: the commands under test too.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_finish() -> None:
    """PyTorch's modules are hundreds of thousands of objects, and stay: the garbage collector need not walk them."""
    gc.freeze()


REPOSITORY = Path(__file__).resolve().parent.parent
BundleFactory = Callable[[TinyModel], Bundled]


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the repository."""
    return REPOSITORY


@pytest.fixture(scope="session")
def shared_tmp(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all processes of this session see, or the one that POCKETLORA_TEST_BUNDLES names.

    The variable keeps bundles between sessions, for work on anything but the toolchain: nothing notices when they
    are old.
    """
    base = tmp_path_factory.getbasetemp()
    # Under xdist every worker has a folder of its own below the session's.
    own = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "shared"
    root = Path(os.environ.get("POCKETLORA_TEST_BUNDLES") or own)
    root.mkdir(parents=True, exist_ok=True)
    return root


@pytest.fixture(scope="session")
def make_bundle(shared_tmp: Path) -> BundleFactory:
    """Bundle a tiny model; the same model is only made once."""
    return lambda tiny: bundled(shared_tmp, tiny)


@pytest.fixture(scope="session")
def tiny_bundle(shared_tmp: Path) -> Bundled:
    """NF4, tied, grouped-query attention, two layers; made by the commands, as a user makes one."""
    return bundled(shared_tmp, TinyModel(), by_command=True)


@pytest.fixture(scope="session")
def shipped_bundle(shared_tmp: Path, repository: Path) -> Path:
    """The bundle of the model that ships with the project, NF4."""
    place = shared_tmp / "shipped"
    model = repository / "models" / "pocket-llama-4m"
    once(place, lambda: run_cli("bundle", "-m", model, "-o", place / "bundle", "--quant", "nf4"))
    return place / "bundle"
