"""A prefill that computes of the last layer what it needs, beside one that computes all of it, and Hugging Face."""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pocketlora_export.runtime.engine import Engine
from pocketlora_export.runtime.session import CacheDtype, Session
from tests.conftest import BundleFactory
from tests.parity.test_gradients import MODELS
from tests.parity.test_logits import worst_row
from tests.support.oracle import load_adapter, logits_of, random_rows
from tests.support.tolerance import forward_bound

# Two rows are the fewest with one before the last. Of 17 the last layer takes 16, which is a product of few rows.
CALLS = (2, 17, 1, 18, 3)


def without_keys(bundle: Path, copy: Path) -> Path:
    """The bundle as it would be without the stage."""
    copy.mkdir()
    for file in bundle.iterdir():
        (copy / file.name).symlink_to(file)
    document = json.loads((bundle / "manifest.json").read_text("utf-8"))
    infer = next(stages for stages in document["stages"] if stages["kind"] == "infer")
    assert infer["blocks"][-1]["methods"].pop("keys") == "block_keys"
    for block in infer["blocks"]:
        block["methods"].pop("keys", None)
    data = json.dumps(document).encode()
    digest = f"{hashlib.sha256(data).hexdigest()}  manifest.json\n".encode()
    for name, content in (("manifest.json", data), ("manifest.sha256", digest)):
        (copy / name).unlink()
        (copy / name).write_bytes(content)
    return copy


def answers(engine: Engine, tokens: Any, adapter: Path, cache_dtype: CacheDtype) -> list[Any]:
    """Logits after each call."""
    session = Session(engine, cache_dtype=cache_dtype, compute="fp32")
    session.set_adapters([engine.load_adapter(adapter)])
    return [session.prefill(piece) for piece in np.split(tokens, np.cumsum(CALLS)[:-1])]


@pytest.mark.parametrize("cache_dtype", ["fp32", "int8"])
@pytest.mark.parametrize("name", ["nf4-tied-gqa", "nf4-untied-gqa-window"])
def test_with_and_without_the_stage(
    name: str, cache_dtype: CacheDtype, make_bundle: BundleFactory, peft_adapter: Any, tmp_path: Path
) -> None:
    tiny = MODELS[name]
    made = make_bundle(tiny)
    adapter = peft_adapter(made)
    tokens = random_rows((sum(CALLS),), tiny.vocab, 14).tokens
    bundles = (made.bundle, without_keys(made.bundle, tmp_path / "without"))
    found, whole = (answers(Engine(bundle, num_threads=1), tokens, adapter, cache_dtype) for bundle in bundles)
    # A value beside the middle between two steps may be stored as either: one step of one key, averaged over the keys.
    step = {"fp32": 0.0, "int8": 1 / 127 / math.sqrt(tiny.kv_heads * tiny.head_dim)}[cache_dtype]
    assert worst_row(found, whole) <= forward_bound(tiny) + step
    # The last row of many is a product of few rows with the stage, which vectors add up in another order.
    assert not all(np.array_equal(f, w) for f, w in zip(found, whole, strict=True))
    if cache_dtype == "fp32":
        expected = logits_of(load_adapter(made.dequantized, adapter), tokens)[np.cumsum(CALLS) - 1]
        assert worst_row(found, expected) <= forward_bound(tiny)
        assert worst_row(whole, expected) <= forward_bound(tiny)
