"""Programs with delegates: held to the same bounds as those of `cpu`, over the same base."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pocketlora_export.errors import PocketLoraError, Status
from pocketlora_export.runtime import Trainer, TrainerConfig
from pocketlora_export.runtime.engine import Engine, available_delegates
from pocketlora_export.runtime.session import Session
from tests.conftest import BundleFactory
from tests.parity.test_gradients import BATCHES
from tests.parity.test_gradients import check as check_gradients
from tests.parity.test_gradients import compare as compare_gradients
from tests.parity.test_logits import compare as compare_logits
from tests.support.bundles import Bundled
from tests.support.models import TWO_BACKENDS
from tests.support.oracle import load_adapter, load_base, random_rows
from tests.support.tolerance import forward_bound

# One kind of layer each, which is lowered once: depth adds nothing to what is checked here.
MODEL = TWO_BACKENDS
DELEGATES = {"xnnpack": "XnnpackBackend"}


@pytest.fixture(scope="module")
def made(make_bundle: BundleFactory) -> Bundled:
    return make_bundle(MODEL)


@pytest.fixture(scope="module")
def engine(made: Bundled) -> Engine:
    if "XnnpackBackend" not in available_delegates():
        pytest.skip("this build of the runtime has no XNNPACK")
    return Engine(made.bundle, backend="xnnpack", num_threads=1)


def test_the_programs_call_the_delegate(made: Bundled) -> None:
    manifest = json.loads((made.bundle / "manifest.json").read_text())
    found = {(p["backend"], p["kind"]): p["delegates"] for p in manifest["programs"]}
    kinds = ("train", "infer")
    assert found == {("xnnpack", k): ["XnnpackBackend"] for k in kinds} | {("cpu", k): [] for k in kinds}


def test_the_best_backend_that_is_there_is_chosen(made: Bundled, engine: Engine) -> None:
    assert Engine(made.bundle, num_threads=1).facts.backend == "xnnpack"
    assert Engine(made.bundle, backend="cpu", num_threads=1).facts.backend == "cpu"
    with pytest.raises(PocketLoraError, match="no programs for backend 'vulkan': it has xnnpack, cpu") as caught:
        Engine(made.bundle, backend="vulkan")
    assert caught.value.status is Status.BACKEND_MISSING
    assert engine.facts.backend == "xnnpack"


@pytest.mark.parametrize("lengths", [*BATCHES.values(), [(3,), (1,)]], ids=[*BATCHES, "one-row"])
def test_loss_and_gradients(
    lengths: list[tuple[int, ...]],
    made: Bundled,
    engine: Engine,
    peft_adapter: Any,
    record_property: Callable[[str, object], None],
) -> None:
    batches = [random_rows(part, MODEL.vocab, seed) for seed, part in enumerate(lengths)]
    check_gradients(compare_gradients(engine, made, peft_adapter(made), batches), MODEL, record_property)


@pytest.mark.parametrize("rank", [1, MODEL.max_rank])
def test_ranks_and_unused_sites(
    rank: int, made: Bundled, engine: Engine, peft_adapter: Any, record_property: Callable[[str, object], None]
) -> None:
    """Sites without an adapter have rank 0."""
    adapter = peft_adapter(made, r=rank, target_modules=["q_proj", "down_proj"])
    batches = [random_rows((19, 8), MODEL.vocab, 5)]
    check_gradients(compare_gradients(engine, made, adapter, batches), MODEL, record_property)


def test_logits_of_prefill_and_decode(made: Bundled, engine: Engine, peft_adapter: Any) -> None:
    adapter = peft_adapter(made)
    assert compare_logits(engine, load_base(made.dequantized), (), MODEL) <= forward_bound(MODEL)
    adapted = load_adapter(made.dequantized, adapter)
    assert compare_logits(engine, adapted, [engine.load_adapter(adapter)], MODEL) <= forward_bound(MODEL)


def test_a_training_curve_is_that_of_cpu(made: Bundled, engine: Engine) -> None:
    """Two hundred steps: both learn the same rows, and stay as close as rounding in another order lets them."""
    rows = [random_rows((24, 16), MODEL.vocab, seed, masked=0) for seed in range(4)]
    config = TrainerConfig(rank=4, alpha=8, learning_rate=5e-3, seed=3)

    def curve(opened: Engine) -> Any:
        trainer = Trainer(opened, config)
        return np.array([trainer.step([rows[step % len(rows)]]).loss for step in range(200)])

    found, expected = curve(engine), curve(Engine(made.bundle, backend="cpu", num_threads=1))
    assert found[-4:].mean() < 0.5 * found[:4].mean()
    assert np.abs(found / expected - 1)[:20].max() < 1e-3
    assert abs(found[-8:].mean() - expected[-8:].mean()) < 0.05 * expected[:4].mean()


def test_swaps_are_those_of_a_fresh_session(made: Bundled, engine: Engine, peft_adapter: Any) -> None:
    """Bit for bit, with truncation and no adapter between."""
    adapters = [engine.load_adapter(peft_adapter(made, seed=seed)) for seed in (1, 2)]
    tokens = random_rows((12,), MODEL.vocab, 3).tokens
    live = Session(engine)
    live.prefill(tokens[:10])
    for chosen in ([(adapters[0], 1.0)], [], [(adapters[1], 0.5)], [(adapters[0], 1.0), (adapters[1], 0.25)]):
        live.set_adapters(chosen)
        live.truncate(10)
        fresh = Session(engine)
        fresh.set_adapters(chosen)
        assert live.prefill(tokens[10:11]).tobytes() == fresh.prefill(tokens[:11]).tobytes()


def _changed(bundle: Path, place: Path, edit: Callable[[dict[str, Any]], object]) -> Path:
    """A copy with another manifest."""
    shutil.copytree(bundle, place)
    document = json.loads((place / "manifest.json").read_text())
    edit(document)
    data = json.dumps(document).encode()
    (place / "manifest.json").write_bytes(data)
    (place / "manifest.sha256").write_text(f"{hashlib.sha256(data).hexdigest()}  manifest.json\n")
    return place


def _with_delegates(names: list[str]) -> Callable[[dict[str, Any]], object]:
    def edit(document: dict[str, Any]) -> None:
        for program in document["programs"]:
            if program["backend"] == "xnnpack":
                program["delegates"] = names

    return edit


def test_a_backend_whose_delegate_is_missing_is_refused(made: Bundled, tmp_path: Path) -> None:
    """By name; `auto` takes the next one of the bundle."""
    bundle = _changed(made.bundle, tmp_path / "missing", _with_delegates(["NoSuchBackend"]))
    with pytest.raises(PocketLoraError, match="'xnnpack' needs NoSuchBackend, which this build") as caught:
        Engine(bundle, backend="xnnpack")
    assert caught.value.status is Status.BACKEND_MISSING
    assert all(name in str(caught.value) for name in available_delegates())
    assert Engine(bundle, num_threads=1).facts.backend == "cpu"


def test_a_delegate_that_the_manifest_hides_is_found(made: Bundled, engine: Engine, tmp_path: Path) -> None:
    bundle = _changed(made.bundle, tmp_path / "hidden", _with_delegates([]))
    with pytest.raises(PocketLoraError, match="calls the delegate XnnpackBackend, which is not listed") as caught:
        Session(Engine(bundle, backend="xnnpack", num_threads=1))
    assert caught.value.status is Status.BUNDLE_MISMATCH


def test_another_version_of_executorch_is_told(made: Bundled, tmp_path: Path) -> None:
    """A program that does not load and that another version lowered."""
    program = b"not a program" * 100

    def edit(document: dict[str, Any]) -> None:
        document["generator"]["executorch"] = "0.1.2"
        (entry,) = (file for file in document["files"] if file["path"] == "programs/cpu/train.pte")
        entry |= {"size": len(program), "sha256": hashlib.sha256(program).hexdigest()}

    bundle = _changed(made.bundle, tmp_path / "other", edit)
    (bundle / "programs/cpu/train.pte").write_bytes(program)
    with pytest.raises(PocketLoraError, match=r"lowered with ExecuTorch 0\.1\.2, this runtime has") as caught:
        Trainer(Engine(bundle, backend="cpu", num_threads=1), TrainerConfig(rank=2, alpha=4))
    assert caught.value.status is Status.BUNDLE_VERSION
