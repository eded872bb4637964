"""Prefill and decode of the C++ runtime against Hugging Face, position by position, over 64 tokens."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pocketlora_export.runtime import Trainer, TrainerConfig
from pocketlora_export.runtime.engine import AdapterSet, Engine
from pocketlora_export.runtime.session import CacheDtype, Session
from tests.conftest import BundleFactory
from tests.parity.test_gradients import MODELS
from tests.support.bundles import Bundled
from tests.support.models import TinyModel
from tests.support.oracle import load_adapter, load_base, logits_of, random_rows, relative_error
from tests.support.tolerance import forward_bound

LENGTH = 64
PROMPT = 20


def runtime_logits(engine: Engine, tokens: Any, adapters: AdapterSet, cache_dtype: CacheDtype = "fp32") -> Any:
    """Logits of the prompt's last token and of every token decoded after it, [LENGTH - PROMPT + 1, V]."""
    session = Session(engine, cache_dtype=cache_dtype, compute="fp32")
    session.set_adapters(adapters)
    rows = [session.prefill(tokens[:PROMPT])]
    rows += [session.decode(int(token)) for token in tokens[PROMPT:]]
    return np.stack(rows)


def worst_row(found: Any, expected: Any) -> float:
    """The largest relative error of one position."""
    return max(relative_error(f, e) for f, e in zip(found, expected, strict=True))


def compare(engine: Engine, model: Any, adapters: AdapterSet, tiny: TinyModel) -> float:
    """Worst relative error over the prompt's end and all decoded positions."""
    tokens = random_rows((LENGTH,), tiny.vocab, 11).tokens
    return worst_row(runtime_logits(engine, tokens, adapters), logits_of(model, tokens)[PROMPT - 1 :])


@pytest.mark.parametrize("tiny", MODELS.values(), ids=MODELS)
def test_base_and_peft_adapter(
    tiny: TinyModel,
    make_bundle: BundleFactory,
    peft_adapter: Any,
    open_engine: Any,
    record_property: Callable[[str, object], None],
) -> None:
    made = make_bundle(tiny)
    engine, adapter = open_engine(made), peft_adapter(made)
    bare = compare(engine, load_base(made.dequantized), (), tiny)
    adapted = compare(engine, load_adapter(made.dequantized, adapter), [engine.load_adapter(adapter)], tiny)
    record_property("bare_error", bare)
    record_property("adapted_error", adapted)
    print(f"bare {bare:.1e}, with adapter {adapted:.1e}")
    assert bare <= forward_bound(tiny)
    assert adapted <= forward_bound(tiny)


def test_long_prompt_in_chunks(tiny_bundle: Bundled, open_engine: Any) -> None:
    """A prompt longer than one prefill call gives the logits of the whole."""
    engine = open_engine(tiny_bundle)
    length = engine.facts.prefill_t_max + 17
    assert length <= engine.facts.max_seq_len
    tokens = random_rows((length,), tiny_bundle.tiny.vocab, 12).tokens
    found = Session(engine, compute="fp32").prefill(tokens)
    expected = logits_of(load_base(tiny_bundle.dequantized), tokens)[-1]
    assert relative_error(found, expected) <= forward_bound(tiny_bundle.tiny)


def test_weighted_combination(tiny_bundle: Bundled, peft_adapter: Any, open_engine: Any) -> None:
    """Two adapters at once are the sum of their weighted updates."""
    engine = open_engine(tiny_bundle)
    folders = [peft_adapter(tiny_bundle, seed=seed) for seed in (1, 2)]
    weights = (0.75, -0.5)
    model = load_base(tiny_bundle.dequantized)
    for name, delta in _deltas(tiny_bundle, folders, weights).items():
        model.get_submodule(name).weight.data += delta
    adapters = [(engine.load_adapter(f), w) for f, w in zip(folders, weights, strict=True)]
    assert compare(engine, model, adapters, tiny_bundle.tiny) <= forward_bound(tiny_bundle.tiny)


def _deltas(made: Bundled, folders: list[Path], weights: tuple[float, ...]) -> dict[str, Any]:
    deltas: dict[str, Any] = {}
    for folder, weight in zip(folders, weights, strict=True):
        for name, module in load_adapter(made.dequantized, folder).base_model.model.named_modules():
            if hasattr(module, "get_delta_weight"):
                deltas[name] = deltas.get(name, 0) + weight * module.get_delta_weight("default").detach()
    return deltas


@pytest.mark.parametrize("name", ["nf4-tied-gqa", "int4-untied-gqa-llama3-biases"])
def test_trained_adapter_loads_in_peft(name: str, make_bundle: BundleFactory, open_engine: Any, tmp_path: Path) -> None:
    """What the runtime saves is what peft reads, and both compute the same logits from it."""
    tiny = MODELS[name]
    made = make_bundle(tiny)
    engine = open_engine(made)
    trainer = Trainer(engine, TrainerConfig(rank=4, alpha=8, learning_rate=1e-2, seed=3))
    for step in range(10):
        trainer.step([random_rows((40,), tiny.vocab, step)])
    adapter = trainer.adapter()
    adapter.save(tmp_path / "trained")
    model = load_adapter(made.dequantized, tmp_path / "trained")
    assert compare(engine, model, [adapter], tiny) <= forward_bound(tiny)
    assert compare(engine, model, [engine.load_adapter(tmp_path / "trained")], tiny) <= forward_bound(tiny)
    # Training moved the output by far more than the tolerance, so the adapter was really applied on both sides.
    assert compare(engine, model, (), tiny) > 100 * forward_bound(tiny)


@pytest.mark.parametrize("cache_dtype", ["fp16", "int8"])
@pytest.mark.parametrize("name", ["nf4-tied-gqa", "nf4-untied-gqa-window"])
def test_cache_formats(
    name: str,
    cache_dtype: CacheDtype,
    make_bundle: BundleFactory,
    open_engine: Any,
    record_property: Callable[[str, object], None],
) -> None:
    """A narrower cache is attention over keys and values that were rounded to it, and nothing else."""
    tiny = MODELS[name]
    made = make_bundle(tiny)
    engine, tokens = open_engine(made), random_rows((LENGTH,), tiny.vocab, 11).tokens
    found = runtime_logits(engine, tokens, (), cache_dtype)
    error = worst_row(found, logits_of(load_base(made.dequantized, cache_dtype), tokens)[PROMPT - 1 :])
    effect = worst_row(found, logits_of(load_base(made.dequantized), tokens)[PROMPT - 1 :])
    record_property("error", error)
    record_property("effect", effect)
    print(f"{error:.1e} of the rounded model, {effect:.1e} of the fp32 one")
    # A value beside the middle between two steps may be stored as either: one step of one key, averaged over the keys.
    step = {"fp16": 2.0**-11, "int8": 1 / 127}[cache_dtype]
    assert error <= forward_bound(tiny) + step / math.sqrt(tiny.kv_heads * tiny.head_dim)
    assert effect > forward_bound(tiny)


def test_a_window_gives_its_pages_back(make_bundle: BundleFactory, open_engine: Any) -> None:
    """The cache of a long text with a window is resident by the window, not by the text."""
    tiny = TinyModel(tied=False, window=16, max_len=768, layers=1, seed=6)
    engine = open_engine(make_bundle(tiny))
    session = Session(engine)
    largest = 0
    for token in random_rows((700,), tiny.vocab, 13).tokens:
        session.decode(int(token))
        largest = max(largest, session.info().cache_resident)
    info = session.info()
    # The window, 64 rows that wait for their release, and a page at the ends of keys and values.
    assert largest <= (16 + 64 + 1) * info.bytes_per_token + 4 * 4096
    assert largest < info.length * info.bytes_per_token / 2
